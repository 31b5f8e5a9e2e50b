"""Raw files and labels of one split, and the samples that are made of them, now or when asked."""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch.utils.data import Dataset, TensorDataset

from spectral_stride.torch.training.files import UnreadableError, opened
from spectral_stride.torch.training.refusal import Refusals, RefusedError, refuse

OPTION = "--data"
# Rows that are read from the table at once: some MB of compressed images.
CHUNK = 256

# Makes one sample of the bytes of one file.
Reader = Callable[[bytes], torch.Tensor]

# Rows that are looked at, evenly spread, for others that cannot be used where the first cannot.
LOOKED_ON = 1000

# Files that a thread decodes in one go: handing over costs as much as a small image does.
SHARE = 16

# Bytes of decoded samples that are kept in memory: all of CIFAR is a tenth, ImageNet a hundredfold.
MEMORY = 2 * 2**30
# More processes than that wait for the disk.
MOST_WORKERS = 8


def normalized(x: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Bring raw samples to what a network takes: mean 0 and deviation 1 over the training part."""
    return (x.float() - mean) / std


def spread(total: int, count: int | None) -> NDArray[np.int64]:
    """Choose at most ``count`` of so many places, evenly spread; None is all.

    Examples
    --------
    >>> from spectral_stride.torch.training.data.samples import spread
    >>> spread(10, 4).tolist()
    [0, 3, 6, 9]
    """
    if count is None or count >= total:
        return np.arange(total)
    return np.linspace(0, total - 1, count).astype(np.int64)


def check_limit(limit: int | None, labels: NDArray[np.int64], tasks: Iterable[str]) -> None:
    """Refuse a limit that leaves one class of a task: a network would learn to say it always.

    Parameters
    ----------
    limit : int or None
    labels : array of shape (samples, tasks)
        Of the training samples that it leaves.
    tasks : iterable of str

    Raises
    ------
    RefusedError
    """
    for task, column in zip(tasks, labels.T, strict=True):
        if limit is not None and (column == column[0]).all():
            got = f"{limit}, which leaves training samples of one class of {task!r}"
            allowed = "limits that leave two classes or more of each task"
            refuse("--limit", got, allowed, f"write --limit {10 * limit}, or --limit 0 for all")


@dataclass(frozen=True, slots=True)
class RawSamples:
    """Files and labels in chosen rows of one split, not yet decoded.

    Attributes
    ----------
    source : str
        What the user called the data set.
    split : str
        Name of the split.
    table : datasets.Dataset
        All of the split's rows; cells of the column are {"bytes": ..., "path": ...}, either of
        which may be None.
    column : str
        Of the images or recordings.
    numbers : int64 array of shape (rows,)
        Which rows of the table these are, from 0.
    labels : int64 array of shape (rows, tasks)
    """

    source: str
    split: str
    table: Any
    column: str
    numbers: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, chosen: NDArray[np.int64]) -> "RawSamples":
        """Return some of these rows, by their places here."""
        return replace(self, numbers=self.numbers[chosen], labels=self.labels[chosen])

    def spread(self, count: int | None) -> "RawSamples":
        """Return at most ``count`` rows, evenly spread: tables are often sorted by class."""
        if count is None or count >= len(self):
            return self
        return self.take(spread(len(self), count))

    def name(self, place: int) -> str:
        """Name a row for a message: its file, or its number in the split."""
        cell = self._cell(place)
        path = cell["path"] if cell else None
        if path and cell["bytes"] is None:
            return str(path)
        inner = f" ({path})" if path else ""
        return f"{self.source}: row {self.numbers[place]} of split {self.split!r}{inner}"

    def read(self, place: int) -> bytes:
        """Return the bytes of one file.

        Raises
        ------
        BadFileError
            For an empty cell or a file that cannot be read.
        """
        return self.content(self._cell(place))

    def cells(self) -> Iterator[Any]:
        """Read the rows in their order, some at once, without the files that they name."""
        for start in range(0, len(self), CHUNK):
            yield from self.table[self.numbers[start : start + CHUNK]][self.column]

    def _cell(self, place: int) -> Any:
        return self.table[int(self.numbers[place])][self.column]

    def content(self, cell: Any) -> bytes:
        """Return the bytes of the file that a cell holds or names.

        Raises
        ------
        BadFileError
            As `read` does.
        """
        content, path = (cell["bytes"], cell["path"]) if cell else (None, None)
        if content is None and path:
            try:
                # A pipe, or a device that a link leads to, has no end.
                with opened(Path(path)) as file:
                    content = file.read()
            except UnreadableError as error:
                wrong = f"which cannot be read ({error})"
                raise BadFileError(wrong, "files that can be read", "put it right") from error
        if not content:
            allowed = f"a file in every row of column {self.column!r}"
            raise BadFileError("which is empty", allowed, "leave it out")
        return bytes(content)


def origin(train: RawSamples, test: RawSamples) -> dict[str, str]:
    """Name the column of the samples, and the split that either part was taken from."""
    return {"input": train.column, "train": train.split, "test": test.split}


class BadFileError(Exception):
    """A file that a reader cannot use: what is wrong, what is allowed, and what to do."""

    def __init__(self, wrong: str, allowed: str, remedy: str) -> None:
        super().__init__(wrong, allowed, remedy)
        self.wrong, self.allowed, self.remedy = wrong, allowed, remedy


class UnlikeError(BadFileError):
    """A file that an option would bring to the form of the others: one such tells of all."""


class WorkerRefusedError(RefusedError):
    """A refusal that keeps its lines on the way from a process that reads samples.

    PyTorch brings an exception from there as its class and the text of its traceback, which ends
    with the class and the message.
    """

    def __init__(self, message: str) -> None:
        own = message.partition(f"{type(self).__name__}: ")[2] or message
        super().__init__(*own.strip().split("\n"))


def workers() -> int:
    """How many processes or threads should read files."""
    return min(MOST_WORKERS, os.cpu_count() or 1)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Leave out Pillow's remarks on damaged metadata: what harms the pixels is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def decode(parts: Sequence[RawSamples], reader: Reader) -> Iterator[torch.Tensor]:
    """Decode the rows of some parts in their order, several at once.

    On a terminal a bar says how far it is, unless this process works for another, which may have
    one of its own.

    After a file that the reader cannot use nothing more is given, but the others are looked at, so
    that one refusal tells of all.

    Raises
    ------
    RefusedError
        For files that the reader cannot use, at most ten, by their names or rows.
    """
    faults = Refusals(OPTION)
    no_bar = parent_process() is not None or not sys.stderr.isatty()
    with quiet_pillow():
        for raw in parts:
            shown = track(
                _decode(raw, reader),
                f"Reading {raw.split}",
                total=len(raw),
                console=Console(stderr=True),
                transient=True,
                disable=no_bar,
            )
            for place, sample in enumerate(shown):
                if isinstance(sample, BadFileError):
                    got = f"{raw.name(place)}, {sample.wrong}"
                    faults.add(got, sample.allowed, sample.remedy)
                    if isinstance(sample, UnlikeError):
                        faults.tell()
                elif not faults.lines:
                    yield sample
    faults.tell()


def _decode(raw: RawSamples, reader: Reader) -> Iterator[torch.Tensor | BadFileError]:
    cells = raw.cells()

    def read(cell: Any) -> torch.Tensor | BadFileError:
        try:
            return reader(raw.content(cell))
        except BadFileError as error:
            return error

    def read_all(some: list[Any]) -> list[torch.Tensor | BadFileError]:
        return [read(cell) for cell in some]

    with ThreadPoolExecutor(workers()) as pool:
        while chunk := list(islice(cells, CHUNK)):
            shares = (chunk[start : start + SHARE] for start in range(0, len(chunk), SHARE))
            for samples in pool.map(read_all, shares):
                yield from samples


def decode_one(raw: RawSamples, place: int, reader: Reader, *more: RawSamples) -> torch.Tensor:
    """Decode one row alone.

    Raises
    ------
    RefusedError
        Where that cannot be; it tells of others in this part and in ``more``, too.
    """
    others = raw.take(np.delete(np.arange(len(raw)), place))
    looked_on = [part.spread(LOOKED_ON) for part in (others, *more)]
    return next(decode([raw.take(np.array([place])), *looked_on], reader))


def in_memory(
    parts: Sequence[RawSamples], reader: Reader, shape: tuple[int, ...], dtype: torch.dtype
) -> list[torch.Tensor]:
    """Decode each part into one tensor (rows, *shape); one channel is broadcast to all.

    Raises
    ------
    RefusedError
        As `decode` does.
    """
    decoded = [torch.empty((len(raw), *shape), dtype=dtype) for raw in parts]
    places = (samples[place] for samples in decoded for place in range(len(samples)))
    for sample in decode(parts, reader):
        next(places).copy_(sample)
    return decoded


def labelled(samples: torch.Tensor, raw: RawSamples) -> TensorDataset:
    """Put decoded rows and their labels together."""
    return TensorDataset(samples, torch.from_numpy(raw.labels))


class LazySamples(Dataset[tuple[torch.Tensor, ...]]):
    """Samples that are decoded when they are asked for.

    Parameters
    ----------
    raw : RawSamples
    reader : callable
        Gives every row the same shape.
    """

    def __init__(self, raw: RawSamples, reader: Reader) -> None:
        self.raw = raw
        self.reader = reader
        self.labels = torch.from_numpy(raw.labels)

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, ...]:
        """Decode one row.

        Raises
        ------
        WorkerRefusedError
            For a file that the reader cannot use, by its name or row, and for others like it.
        """
        try:
            with quiet_pillow():
                return self.reader(self.raw.read(place)), self.labels[place]
        except BadFileError:
            return self._again(place), self.labels[place]

    def _again(self, place: int) -> torch.Tensor:
        """Decode a row that could not be, with a look at others: who mends one mends all."""
        try:
            return decode_one(self.raw, place, self.reader)
        except RefusedError as error:
            lines = (" ".join(line.split()) for line in error.args)
            raise WorkerRefusedError("\n".join(lines)) from None
