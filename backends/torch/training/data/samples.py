"""One part of an opened data set: raw files in the rows of a table, and their labels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectral_stride.torch.training.config import refuse

OPTION = "--data"
# Rows that are read from the table at once: some MB of compressed images.
CHUNK = 256


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
class Rows:
    """Chosen rows of one split.

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

    def take(self, chosen: NDArray[np.int64]) -> "Rows":
        """Return some of these rows, by their places here."""
        return replace(self, numbers=self.numbers[chosen], labels=self.labels[chosen])

    def spread(self, count: int | None) -> "Rows":
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
        RefusedError
            For an empty cell or a file that cannot be read.
        """
        return self._bytes(place, self._cell(place))

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self), CHUNK):
            cells = self.table[self.numbers[start : start + CHUNK]][self.column]
            for place, cell in enumerate(cells, start):
                yield self._bytes(place, cell)

    def _cell(self, place: int) -> Any:
        return self.table[int(self.numbers[place])][self.column]

    def _bytes(self, place: int, cell: Any) -> bytes:
        content, path = (cell["bytes"], cell["path"]) if cell else (None, None)
        if content is None and path:
            try:
                content = Path(path).read_bytes()
            except OSError as error:
                reason = error.strerror or type(error).__name__
                refuse(OPTION, f"{path} ({reason})", "files that can be read", "put it right")
        if not content:
            got = f"{self.name(place)}, which is empty"
            refuse(OPTION, got, f"a file in every row of column {self.column!r}", "leave it out")
        return bytes(content)
