"""Files of a data set as tensors: all at once into memory, or one by one as they are asked for."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import torch
from rich.console import Console
from rich.progress import track
from torch.utils.data import Dataset, TensorDataset

from spectral_stride.torch.training.config import RefusedError, refuse
from spectral_stride.torch.training.data.samples import CHUNK, OPTION, Rows

# Makes one sample of the bytes of one file.
Reader = Callable[[bytes], torch.Tensor]

# Files that a thread decodes in one go: handing over costs as much as a small image does.
SHARE = 16

# Bytes of decoded samples that are kept in memory: all of CIFAR is a tenth, ImageNet a hundredfold.
MEMORY = 2 * 2**30
# More processes than that wait for the disk.
MOST_WORKERS = 8


class UnfitError(Exception):
    """A file that a reader cannot use: what is wrong, what is allowed, and what to do."""

    def __init__(self, wrong: str, allowed: str, remedy: str) -> None:
        super().__init__(wrong, allowed, remedy)
        self.wrong, self.allowed, self.remedy = wrong, allowed, remedy


class WorkerRefusedError(RefusedError):
    """A refusal that keeps its one line on the way from a process that reads samples.

    PyTorch brings an exception from there as its class and the text of its traceback, the last
    line of which is the message.
    """

    def __init__(self, message: str) -> None:
        last = message.strip().splitlines()[-1]
        super().__init__(last.partition(f"{type(self).__name__}: ")[2] or last)


def workers() -> int:
    """How many processes or threads should read files."""
    return min(MOST_WORKERS, os.cpu_count() or 1)


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Leave out Pillow's remarks on damaged metadata: what harms the pixels is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _refuse_file(rows: Rows, place: int, error: UnfitError) -> None:
    got = f"{rows.name(place)}, {error.wrong}"
    refuse(OPTION, got, error.allowed, error.remedy)


def decode(rows: Rows, reader: Reader) -> Iterator[torch.Tensor]:
    """Decode rows in their order, several at once, with a bar where there is a terminal.

    Raises
    ------
    RefusedError
        For the first file that the reader cannot use, by its name or row.
    """
    shown = track(
        _decode(rows, reader),
        f"Reading {rows.split}",
        total=len(rows),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with _quiet_pillow():
        yield from shown


def _decode(rows: Rows, reader: Reader) -> Iterator[torch.Tensor]:
    contents, place = iter(rows), 0

    def read_all(some: list[bytes]) -> tuple[list[torch.Tensor], UnfitError | None]:
        samples = []
        for content in some:
            try:
                samples.append(reader(content))
            except UnfitError as error:
                return samples, error
        return samples, None

    with ThreadPoolExecutor(workers()) as pool:
        while chunk := list(islice(contents, CHUNK)):
            shares = (chunk[start : start + SHARE] for start in range(0, len(chunk), SHARE))
            for samples, error in pool.map(read_all, shares):
                yield from samples
                place += len(samples)
                if error:
                    _refuse_file(rows, place, error)


def in_memory(
    rows: Rows, reader: Reader, shape: tuple[int, ...], dtype: torch.dtype
) -> torch.Tensor:
    """Decode rows into one tensor of shape (rows, *shape); one channel is broadcast to all."""
    samples = torch.empty((len(rows), *shape), dtype=dtype)
    for place, sample in enumerate(decode(rows, reader)):
        samples[place] = sample
    return samples


def labelled(samples: torch.Tensor, rows: Rows) -> TensorDataset:
    """Put decoded rows and their labels together."""
    return TensorDataset(samples, torch.from_numpy(rows.labels))


class LazyRows(Dataset[tuple[torch.Tensor, ...]]):
    """Rows that are decoded when they are asked for.

    Parameters
    ----------
    rows : Rows
    reader : callable
        Gives every row the same shape.
    """

    def __init__(self, rows: Rows, reader: Reader) -> None:
        self.rows = rows
        self.reader = reader
        self.labels = torch.from_numpy(rows.labels)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, ...]:
        """Decode one row.

        Raises
        ------
        WorkerRefusedError
            For a file that the reader cannot use, by its name or row.
        """
        try:
            with _quiet_pillow():
                return self.reader(self.rows.read(place)), self.labels[place]
        except RefusedError as error:
            raise WorkerRefusedError(str(error)) from error
        except UnfitError as error:
            got = f"{self.rows.name(place)}, {error.wrong}"
            line = f"{OPTION}: got {got}; allowed: {error.allowed}; instead: {error.remedy}"
            raise WorkerRefusedError(line) from error
