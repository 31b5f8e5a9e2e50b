"""A source opened with Hugging Face's `datasets`, as one table for each split, without a word."""

import glob
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from spectral_stride.torch.training.data.parquet_classes import (
    Footer,
    by_name,
    read_footer,
    refuse_unlike,
)
from spectral_stride.torch.training.data.samples import OPTION
from spectral_stride.torch.training.refusal import refuse, refuse_other_reading

_LOGGERS = ("datasets", "huggingface_hub")
ALLOWED = (
    "digits, a hub id (owner/name, owner/name:config, owner/name@revision), a parquet file, a "
    "folder of parquet files, or a folder with one folder of images or recordings for each class"
)


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Keep the logs of `datasets` off the screen, and its bars where there is no terminal.

    What goes wrong is said once, by the exception.
    """
    import datasets

    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    hide = not sys.stderr.isatty() and not datasets.are_progress_bars_disabled()
    try:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if hide:
            datasets.disable_progress_bars()
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if hide:
            datasets.enable_progress_bars()


def open_hub(source: str) -> dict[str, Any]:
    """Open a hub id: "owner/name", with "@revision" and ":config" where it needs them.

    Returns
    -------
    dict of str to datasets.Dataset
        One table for each split.

    Raises
    ------
    RefusedError
        Where the hub cannot be reached, or does not have it in a form that needs no code of its
        own.
    """
    rest, _, config = source.partition(":")
    name, _, revision = rest.partition("@")
    return _load(source, name, name=config or None, revision=revision or None)


def open_folder(
    source: str, folder: Path, config: str | None = None, labels: Sequence[str] | None = None
) -> dict[str, Any]:
    """Open a folder in the form of a hub repository: parquet files, or a file of metadata.

    Returns
    -------
    dict of str to datasets.Dataset
        One table for each split. Classes have the same numbers in all of them, also where the files
        name them in another order.

    Raises
    ------
    RefusedError
        For what `datasets` cannot make a table of, and classes with other names in another file.
    """
    refuse_other_reading(OPTION, folder.resolve())
    tables = _load(source, str(folder.resolve()), folder, name=config)
    return by_name(tables, _footers(folder, config), labels)


def _footers(place: Path, config: str | None) -> dict[str, list[Footer]]:
    """Read the footers of the parquet files that each split is made of."""
    import datasets

    if place.is_file():
        return {"train": [read_footer(place)]}
    with quiet_datasets(), _literal(place):
        builder = datasets.load_dataset_builder(str(place.resolve()), name=config)
    return {
        str(split): [read_footer(file) for file in files if str(file).endswith(".parquet")]
        for split, files in (builder.config.data_files or {}).items()
    }


def open_parquet(source: str, file: Path) -> dict[str, Any]:
    """Open one parquet file as the split "train".

    Raises
    ------
    RefusedError
        For a file that is damaged or no parquet.
    """
    refuse_other_reading(OPTION, file)
    return _load(source, "parquet", file, data_files={"train": glob.escape(str(file))})


@contextmanager
def _literal(folder: Path | None) -> Iterator[None]:
    """Have a folder found by its own path, and not by every path that fits its path as a pattern.

    `datasets` puts the folder's path before the pattern that it looks for inside of it, so that
    "birds[1]" would be read from its neighbour "birds1".
    """
    from datasets import data_files

    resolve = data_files.resolve_pattern

    def resolve_below(pattern: str, base_path: str, *rest: Any, **choices: Any) -> list[str]:
        found: list[str] = resolve(pattern, glob.escape(base_path), *rest, **choices)
        return found

    if folder is None or glob.escape(str(folder.resolve())) == str(folder.resolve()):
        yield
        return
    data_files.resolve_pattern = resolve_below
    try:
        yield
    finally:
        data_files.resolve_pattern = resolve


def _load(source: str, path: str, place: Path | None = None, **choices: Any) -> dict[str, Any]:
    import datasets

    try:
        with quiet_datasets(), _literal(place):
            return dict(datasets.load_dataset(path, **choices))
    # The library has no class of its own for what it cannot open: damaged files come as errors of
    # Arrow, of the file system, of the network, or as a plain ValueError.
    except Exception as error:
        _refuse_load(source, place, choices.get("name"), error)


def _refuse_load(source: str, place: Path | None, config: str | None, error: Exception) -> NoReturn:
    """Say in one line why a source could not be opened, and what to do."""
    from datasets.exceptions import DatasetGenerationError
    from datasets.table import CastError
    from pyarrow import ArrowException

    # That class says only that something happened; its cause says what.
    cause = error.__cause__ if isinstance(error, DatasetGenerationError) else None
    cause = cause or error
    reason = f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
    remedy = "put it right, or name another one"
    no_rows = "BatchSize must be greater than 0" in str(cause)  # in a group of a parquet file
    if place and (no_rows or isinstance(cause, CastError)):
        with suppress(ArrowException, OSError):  # of a file that is damaged too
            refuse_unlike([one for some in _footers(place, config).values() for one in some])
    damaged = _damaged_file(place) if place else None
    if no_rows:
        reason, remedy = "one of its files has no rows", "fill that file or remove it"
    elif isinstance(cause, CastError):
        names = (cause.requested_column_names, cause.table_column_names)
        reason = "a file has the columns {}, another {}".format(*map(", ".join, names))
        remedy = "bring them to the same columns"
    elif damaged:
        source, reason = str(damaged), f"it cannot be read: {reason}"
        remedy = "replace the file"
    elif empty := re.search(r'Instruction "(.+)" corresponds to no data', str(error)):
        reason, remedy = f"its split {empty[1]!r} is empty", "remove that split or fill it"
    elif isinstance(error, ConnectionError):
        reason = "no such folder is here, and the Hugging Face hub cannot be reached"
        remedy = "connect once, so that it is kept, or write the path of a copy: --data FOLDER"
    elif type(error).__name__ == "DatasetNotFoundError":
        reason = "the hub has none of this name, or asks for a login"
        remedy = "check the name; for a set behind terms accept them and run `hf auth login`"
    elif "'torchcodec'" in str(cause):
        reason = "recordings beside a file of metadata, which are not read"
        remedy = "sort them into class folders, or write them to parquet"
    elif "scripts are no longer supported" in str(error):
        reason = "it is a program, and programs from the hub are not run"
        remedy = f"write --data {source.partition(':')[0]}@refs/convert/parquet"
    elif "Config name is missing" in str(error):
        remedy = f"write --data {source}:CONFIG"
    refuse(OPTION, f"{source} ({reason})", ALLOWED, remedy)


def _damaged_file(place: Path) -> Path | None:
    """Find the parquet file below a folder that cannot be read, which `datasets` does not name."""
    import datasets

    for file in [place] if place.is_file() else sorted(place.rglob("*.parquet")):
        try:
            with quiet_datasets():
                rows = datasets.load_dataset(
                    "parquet", data_files=glob.escape(str(file)), split="train", streaming=True
                )
                for _ in rows.with_format("arrow").iter(batch_size=1000):
                    pass
        except Exception:  # as in _load
            return file
    return None
