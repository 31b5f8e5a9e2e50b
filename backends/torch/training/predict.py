"""What a trained network says of files: their likeliest classes, in a table or as CSV."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spectral_stride.torch.training.data.class_folders import AUDIO, IMAGES
from spectral_stride.torch.training.refusal import Refusals, RefusedError, readable, refuse
from spectral_stride.torch.training.trained import LoadedRun

# Samples in a batch.
BATCH = 32


@dataclass(frozen=True, slots=True)
class Prediction:
    """A class that a file may have, and how likely that is."""

    file: str
    task: str
    name: str
    probability: float


def predict_files(
    run: LoadedRun, paths: Iterable[str], count: int, fault: Callable[[str], None]
) -> Iterator[Prediction]:
    """Name the likeliest classes of files, in the order of the files, the tasks and the classes.

    Parameters
    ----------
    run : LoadedRun
    paths : iterable of str
        A folder stands for all images, or recordings, in it and in the folders below.
    count : int
        Classes to name, of each file and task; all where there are fewer.
    fault : callable
        Called with a line for each file that cannot be read, and each path that leads nowhere.

    Yields
    ------
    Prediction

    Raises
    ------
    RefusedError
        For a network that says nothing of a file: its logits are not finite.
    """
    samples = _samples(run, paths, fault)
    while batch := list(islice(samples, BATCH)):
        files, tensors = zip(*batch, strict=True)
        with torch.inference_mode():
            logits = run.net(torch.stack(tensors))
        for number, file in enumerate(files):
            if not all(one[number].isfinite().all() for one in logits):
                got = f"a network whose logits of {file} are not finite"
                refuse("RUN", got, "one that has been trained", "name another run")
        ranked = [one.softmax(dim=1).topk(min(count, one.shape[1])) for one in logits]
        for number, file in enumerate(files):
            for (task, names), (shares, places) in zip(run.classes.items(), ranked, strict=True):
                for share, place in zip(shares[number], places[number], strict=True):
                    yield Prediction(file, task, readable(names[int(place)]), float(share))


def _samples(
    run: LoadedRun, paths: Iterable[str], fault: Callable[[str], None]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Read files one after another; what cannot be read is a fault."""
    endings = AUDIO if run.transform.reader.KIND == "recording" else IMAGES
    for path in paths:
        files = _files_in(Path(path), endings) if os.path.isdir(path) else [path]
        if not files:
            faults = Refusals("file")
            allowed = f"files, or folders that hold some of {' '.join(sorted(endings))}"
            faults.add(f"{path}, a folder without such a file", allowed, "name another one")
            fault(*faults.lines)
        for file in files:
            try:
                yield readable(file), run.transform(file)
            except RefusedError as error:
                fault(str(error))


def _files_in(folder: Path, endings: set[str]) -> list[str]:
    """List the files below a folder that have one of some endings, without hidden ones."""
    return [
        str(file)
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in endings and file.name[0] != "." and not file.is_dir()
    ]


def write(
    rows: Iterable[Prediction], tasks: Sequence[str], console: Console, *, as_csv: bool
) -> None:
    """Print predictions as a table, or as CSV where that is asked for or nobody looks on.

    Of several tasks each row names its own.
    """
    heads = ["file", *(["task"] if len(tasks) > 1 else []), "class", "probability"]
    cells = (
        [one.file, *([one.task] if len(tasks) > 1 else []), one.name, one.probability]
        for one in rows
    )
    if as_csv or not console.is_terminal:
        writer = csv.writer(console.file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows([*words, f"{share:.6f}"] for *words, share in cells)
        return
    table = Table()
    for head in heads:
        table.add_column(head, justify="right" if head == "probability" else "left")
    for *words, share in cells:
        table.add_row(*(Text(_printable(str(word))) for word in words), f"{share:.4f}")
    console.print(table)


def _printable(text: str) -> str:
    """Write what a terminal would obey, such as a line break, as an escape."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
