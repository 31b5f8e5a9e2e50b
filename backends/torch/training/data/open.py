"""Any data set by its name: the digits, the hub's, parquet files, folders of classes."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectral_stride.torch.training.data.class_folders import LABEL, has_tables, read_class_folders
from spectral_stride.torch.training.data.datamodule import TrainingData
from spectral_stride.torch.training.data.digits import DATA_SETS
from spectral_stride.torch.training.data.hub import ALLOWED, open_folder, open_hub, open_parquet
from spectral_stride.torch.training.data.samples import MEMORY, OPTION
from spectral_stride.torch.training.data.splits import choose_splits, refuse_capitals
from spectral_stride.torch.training.refusal import Refusals, refuse, refuse_unreadable

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?(:[\w.-]+)?")


def open_data(
    name: str,
    batch_size: int,
    seed: int,
    limit: int | None = None,
    *,
    size: int | None = None,
    background: str | None = "white",
    seconds: float | None = None,
    labels: Sequence[str] | None = None,
    input_column: str | None = None,
    test_split: str | None = None,
    hold_out: float = 0.0,
    memory: int = MEMORY,
) -> TrainingData:
    """Open a data set, find its samples and labels, and read it.

    Parameters
    ----------
    name : str
        "digits"; an id on the Hugging Face hub, "owner/name", with "@revision" and ":config" where
        it needs them; the path of a parquet file; of a folder of parquet files, by name for
        training and test; or of a folder with one folder of images or of recordings for each class,
        inside of train and test folders or not.
    batch_size : int
        Training samples per step.
    seed : int
        Of the order of training samples. It changes no split.
    limit : int, optional
        Use only so many samples of either part; for trials.
    size : int, optional
        Pixels, for images: resize the shorter side to this and crop the centre.
    background : str, optional
        Colour, in a word or number of CSS, that transparent images are laid on. None takes the
        colours that lie under what is transparent, often black.
    seconds : float, optional
        Length of recordings, 1.0 by default.
    labels : sequence of str, optional
        Columns of labels, each of them a task; without it every column of type ClassLabel.
    input_column : str, optional
        Column of images or recordings; without it the only one.
    test_split : str, optional
        Split for the test; without it "test", or else "validation", or else a fixed fifth of the
        training rows.
    hold_out : float, optional
        Share of the training samples that is kept from training and takes the place of the test, so
        that choices need no look at the test.
    memory : int, optional
        Bytes of decoded samples that may be kept in memory; larger sets are decoded by worker
        processes when samples are asked for.

    Returns
    -------
    TrainingData

    Raises
    ------
    RefusedError
        For what cannot be opened, found, read or learned; the line names the file or the row.

    Examples
    --------
    >>> from spectral_stride.torch.training.data.open import open_data
    >>> open_data("digits", batch_size=32, seed=0).sample_shape
    (1, 32, 32)
    """
    _check_numbers(size, seconds)
    own = {
        "--size": size,
        "--background": background if background not in ("white", None) else None,
        "--seconds": seconds,
        "--labels": labels or None,
        "--input": input_column,
        "--test-split": test_split,
    }
    if name in DATA_SETS:
        _refuse_given(own, list(own), f"no such option for --data {name}")
        return DATA_SETS[name](batch_size, seed, limit, hold_out)
    tables, found_labels, notes = _open(name, labels)
    chosen = choose_splits(
        name,
        tables,
        labels=labels or found_labels,
        input_column=input_column,
        test_split=test_split,
        hold_out=hold_out,
    )
    given: dict[str, Any] = {
        "train": chosen.train,
        "test": chosen.test,
        "classes": chosen.classes,
        "memory": memory,
        "notes": notes + chosen.notes,
    }
    if chosen.kind == "image":
        _refuse_given(own, ["--seconds"], f"no such option for {name}, which holds images")
        from spectral_stride.torch.training.data.images import Images

        return Images(batch_size, seed, limit, size=size, background=background, **given)
    recordings = f"no such option for {name}, which holds recordings"
    _refuse_given(own, ["--size", "--background"], recordings)
    from spectral_stride.torch.training.data.recordings import SECONDS, Audio

    return Audio(batch_size, seed, limit, seconds=SECONDS if seconds is None else seconds, **given)


def _check_numbers(size: int | None, seconds: float | None) -> None:
    if size is not None and size < 1:
        refuse("--size", size, "a whole number of pixels, at least 1", "write --size 224")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        refuse("--seconds", seconds, "a finite number above 0", "write --seconds 1")


def _refuse_given(own: dict[str, Any], options: Sequence[str], allowed: str) -> None:
    for option in options:
        if own[option] is not None:
            refuse(option, repr(own[option]), allowed, "leave it out")


def _open(
    name: str, labels: Sequence[str] | None
) -> tuple[dict[str, Any], list[str] | None, tuple[str, ...]]:
    """Open what a name stands for: a table for each split, labels that are known, and notes."""
    faults = Refusals(OPTION)
    refuse_unreadable(faults, name)
    faults.tell()
    path, config = Path(name).expanduser(), None
    if not path.exists() and ":" in name:
        before, _, after = name.rpartition(":")
        if Path(before).expanduser().is_dir():
            path, config = Path(before).expanduser(), after
    if path.is_dir():
        if config is None and not has_tables(path):
            folders = read_class_folders(path)
            return folders.tables, [LABEL], folders.notes
        # `datasets` is told of the whole path, also of one that was written as a relative one.
        for place in (path.resolve(), *sorted(path.rglob("*.parquet"))):
            refuse_unreadable(faults, str(place))
        faults.tell()
        tables = open_folder(name, path, config, labels or None)
        if config is None:
            refuse_capitals(path, tables)
        return tables, None, ()
    if path.is_file():
        if path.suffix != ".parquet":
            refuse(OPTION, f"{name}, a file", ALLOWED, "name a parquet file or the folder it is in")
        return open_parquet(name, path), None, ()
    if not _HUB_ID.fullmatch(name):
        refuse(OPTION, f"{name!r}, where there is no file or folder", ALLOWED, "check the name")
    return open_hub(name), None, ()
