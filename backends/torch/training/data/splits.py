"""Which splits of an opened data set are for training and for the test, with their labels."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from spectral_stride.torch.training.data.columns import (
    class_names,
    classes_in_words,
    encode,
    find_input,
    find_labels,
    has_labels,
    is_missing,
    label_at,
    undecoded,
)
from spectral_stride.torch.training.data.samples import OPTION, RawSamples
from spectral_stride.torch.training.refusal import Refusals, refuse

TEST_SPLIT, HOLD_OUT = "--test-split", "--hold-out"
HELD_OUT = "Tested on {:.4g} of the training rows, and not on the test's."
TRAIN_NAMES = ("train", "training")
# The first that is there and has labels is the test.
TEST_NAMES = ("test", "testing", "validation", "valid", "val", "dev", "eval")
# Of the training rows, where there is no split for the test.
TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Splits:
    """The samples for training and for the test, and what they hold.

    Attributes
    ----------
    train, test : RawSamples
    kind : str
        "image" or "audio".
    classes : dict of str to list of str
        Names of the classes of each column of labels, in the order of their numbers.
    notes : tuple of str
        What a user should know of the choice.
    """

    train: RawSamples
    test: RawSamples
    kind: str
    classes: dict[str, list[str]]
    notes: tuple[str, ...]


def choose_splits(
    source: str,
    tables: Mapping[str, Any],
    *,
    labels: Sequence[str] | None = None,
    input_column: str | None = None,
    test_split: str | None = None,
    hold_out: float = 0.0,
) -> Splits:
    """Choose the training and the test rows of an opened data set, and read their labels.

    Without a split for the test, a fifth of the training rows is: the same one for every seed, and
    stratified by the first task. So is what is held out of the training rows, if anything is.

    Parameters
    ----------
    source : str
        For messages.
    tables : mapping of str to datasets.Dataset
    labels, input_column, test_split : optional
        Columns and split by name, in place of those that are found.
    hold_out : float, optional
        Share of the training rows that stands in the place of the test.

    Raises
    ------
    RefusedError
        For an empty split, columns that are not there, and labels that cannot be learned.
    """
    train_name = _train_name(source, tables)
    table = _filled(source, train_name, tables)
    column, kind = find_input(source, table, input_column)
    names = class_names(source, table, find_labels(source, table, labels, column))
    classes = classes_in_words(table, names)

    def samples(split: str) -> RawSamples:
        one = _filled(source, split, tables)
        one = undecoded(one.select_columns([column, *names]), column, kind)
        return RawSamples(source, split, one, column, np.arange(len(one)), encode(one, names))

    train = samples(train_name)
    _refuse_unknown(train, names, np.argwhere(train.labels < 0))
    notes: list[str] = []
    hidden: list[str] = []
    for wanted in [test_split] if test_split else TEST_NAMES:
        name = _name_like(source, wanted, tables)
        if name is None or name == train_name:
            if test_split:
                others = ", ".join(other for other in tables if other != train_name) or "none"
                remedy = "write one of these, or leave it out"
                refuse(TEST_SPLIT, repr(wanted), f"splits of {source}: {others}", remedy)
            continue
        test = samples(name)
        if not test_split and not has_labels(test.table, list(names)):
            hidden.append(name)
            notes.append(f"Split {name!r} has no labels, and is not used.")
            continue
        known = [
            np.isin(ours, seen) for ours, seen in zip(test.labels.T, train.labels.T, strict=True)
        ]
        _refuse_unknown(test, names, np.argwhere(~np.stack(known, axis=1)))
        unused = [other for other in tables if other not in (train_name, name, *hidden)]
        if unused:
            notes.append(f"Not used: split {', '.join(unused)}.")
        break
    else:
        train, test = _fifth(train, names)
        notes.append("No split for the test: a fixed fifth of the training rows is kept for it.")
    if hold_out:
        train, test = map(train.take, held_out(train.labels[:, 0], hold_out))
        notes.append(HELD_OUT.format(hold_out))
    return Splits(train, test, kind, classes, tuple(notes))


def _train_name(source: str, tables: Mapping[str, Any]) -> str:
    """Name the split for training: one that is called so, or the only one."""
    names = [name for name in tables if name.lower() in TRAIN_NAMES] or list(tables)
    if len(names) != 1:
        got = f"{source}, with the splits {', '.join(tables) or 'none'}"
        refuse(OPTION, got, "one split named train, or one split alone", "rename one of them")
    return names[0]


def _name_like(source: str, wanted: str, tables: Mapping[str, Any]) -> str | None:
    """Find a split by its name, written in capitals or not."""
    names = [name for name in tables if name.lower() == wanted.lower()]
    if len(names) > 1:
        got = f"{source}, with the splits {', '.join(names)}"
        refuse(OPTION, got, "splits that differ in more than capitals", "rename one of them")
    return names[0] if names else None


def refuse_capitals(folder: Path, tables: Mapping[str, Any]) -> None:
    """Refuse a folder of tables in which the name of a split that was not opened has capitals.

    `datasets` knows most splits by names in small letters alone. It would take the rows of others
    for training, or leave them out. A README.md may say otherwise.

    Raises
    ------
    RefusedError
    """
    if (folder / "README.md").exists():
        return
    faults = Refusals(OPTION)
    for path in sorted(folder.rglob("*")):
        words = re.split(r"[-._ 0-9]", path.name)
        splits = [word for word in words if word.lower() in (*TRAIN_NAMES, *TEST_NAMES)]
        is_part = path.suffix == ".parquet" or path.is_dir()
        if is_part and not all(word.islower() or word in tables for word in splits):
            got = f"{path}, whose split is written in capitals"
            faults.add(got, "names of splits in small letters beside tables", "rename it")
    faults.tell()


def _filled(source: str, name: str, tables: Mapping[str, Any]) -> Any:
    """Return the table of a split, refusing one without rows."""
    if not len(tables[name]):
        got = f"{source}, whose split {name!r} is empty"
        refuse(OPTION, got, "splits with rows", "remove that split or fill it")
    return tables[name]


def _refuse_unknown(raw: RawSamples, names: Mapping[str, Any], where: NDArray[np.int64]) -> None:
    """Refuse labels, given by row and task, that cannot be used."""
    faults = Refusals(OPTION)
    for row, task in where.tolist():
        column = list(names)[task]
        value = label_at(raw.table, column, row)
        if is_missing(raw.table, column, value):
            got, allowed = "which has no label", "a label in every row"
        else:
            got, allowed = f"whose label {value!r} no training row has", "labels that training has"
        got = f"{raw.name(row)}, {got} in column {column!r}"
        faults.add(got, allowed, "put that row right or leave it out")
    faults.tell()


def _parted(labels: NDArray[np.int64], share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Part rows in two, the second with this share of each class: the same ones every time.

    Raises
    ------
    ValueError
        For a class that does not have a row for each part.
    """
    rest, chosen = train_test_split(
        np.arange(len(labels)), test_size=share, stratify=labels, random_state=0
    )
    return np.sort(rest), np.sort(chosen)


def held_out(
    labels: NDArray[np.int64], share: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Part the rows for training in those that remain, and those that stand for the test.

    Raises
    ------
    RefusedError
        For a share that leaves a class without a row in one of them.
    """
    try:
        rest, chosen = _parted(labels, share)
        fits = len(np.unique(labels[rest])) == len(np.unique(labels[chosen]))
    except ValueError:
        fits = False
    if not fits:
        classes, counts = np.unique(labels, return_counts=True)
        got = (
            f"{share:g} of {len(labels)} training rows of {len(classes)} classes, with "
            f"{counts.min()} rows of the rarest"
        )
        allowed = "a share that leaves rows of every class in both parts"
        refuse(HOLD_OUT, got, allowed, f"write {HOLD_OUT} 0.2, or leave it out")
    return rest, chosen


def _fifth(train: RawSamples, names: Mapping[str, Any]) -> tuple[RawSamples, RawSamples]:
    """Keep a fixed fifth of the training rows for the test, stratified by the first task."""
    first = train.labels[:, 0]
    try:
        kept, left_out = _parted(first, TEST_SHARE)
    except ValueError:  # a class with one row, or fewer rows than it takes to have all in both
        counts = np.bincount(first)
        place = int(np.where(counts > 0, counts, len(train) + 1).argmin())
        column = next(iter(names))
        value = label_at(train.table, column, int(np.flatnonzero(first == place)[0]))
        got = (
            f"{train.source}, with {len(train)} rows for {len(np.unique(first))} classes in column "
            f"{column!r}, {counts[place]} of them of {value!r}, and no split for the test"
        )
        refuse(OPTION, got, "5 rows or more of each class", "add rows, or a split named test")
    return train.take(kept), train.take(left_out)
