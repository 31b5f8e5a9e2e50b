"""Which column holds the samples, which hold the labels, and labels as class numbers."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectral_stride.torch.training.data.samples import OPTION, quiet_pillow
from spectral_stride.torch.training.refusal import refuse

LABELS = "--labels"
INPUT = "--input"
# Kinds of numbers and words that can name a class; a real number cannot.
_NAMES_CLASSES = ("bool", "int", "uint", "string", "large_string")
# Above so many, classes that are found by looking are more likely the names of rows.
MOST_CLASSES = 10_000
# Rows that are looked at where a column does not say what it holds.
SNIFFED = 10


def find_input(source: str, table: Any, wanted: str | None) -> tuple[str, str]:
    """Find the column of samples, by its type.

    Parameters
    ----------
    source : str
        For messages.
    table : datasets.Dataset
    wanted : str or None
        Its name, where the user gave one.

    Returns
    -------
    column : str
    kind : str
        "image" or "audio".

    Raises
    ------
    RefusedError
        Where there is no such column, or more than one.
    """
    kinds = {name: _kind(table, name) for name in table.features}
    candidates = [(name, kind) for name, kind in kinds.items() if kind]
    columns = _listed(table)
    if wanted is not None:
        if wanted not in kinds:
            refuse(INPUT, repr(wanted), f"a column of {source}: {columns}", "write one of these")
        kind = kinds[wanted]
        if kind is None:
            got = f"{wanted!r}, whose cells hold neither images nor recordings"
            refuse(INPUT, got, f"a column of {source} that does", f"it has {columns}")
        return wanted, kind
    if len(candidates) != 1:
        got = f"{source}, with {len(candidates)} columns of images or recordings among {columns}"
        remedy = f"write {INPUT} COLUMN" if candidates else "name a data set that has them"
        refuse(OPTION, got, f"one such column, or one named by {INPUT}", remedy)
    return candidates[0]


def _kind(table: Any, name: str) -> str | None:
    """What a column holds: by its type, or, for bytes without a type, by the first rows."""
    from datasets import Audio, Image, Value

    feature = table.features[name]
    if isinstance(feature, Image):
        return "image"
    if isinstance(feature, Audio):
        return "audio"
    is_file = isinstance(feature, dict) and "bytes" in feature
    if not is_file and feature not in (Value("binary"), Value("large_binary")):
        return None
    for cell in table.select_columns(name)[:SNIFFED][name]:
        kind = _sniffed(cell.get("bytes") if isinstance(cell, dict) else cell)
        if kind:
            return kind
    return None


def undecoded(table: Any, column: str, kind: str) -> Any:
    """Return the table with files as they are, {"bytes": ..., "path": ...}, in one column."""
    from datasets import Audio, Image

    return table.cast_column(column, {"image": Image, "audio": Audio}[kind](decode=False))


def _sniffed(content: bytes | None) -> str | None:
    """What bytes are; damaged or too large an image is one, too, and refused by its row later."""
    import soundfile
    from PIL import Image, UnidentifiedImageError

    if not content:
        return None
    damaged = None
    try:
        with quiet_pillow():
            Image.open(BytesIO(content)).close()
        return "image"
    except UnidentifiedImageError:
        pass
    except Exception:  # each format of Pillow's has errors of its own
        damaged = "image"
    from spectral_stride.torch.training.data.recordings import open_recording

    try:
        open_recording(content).close()
        return "audio"
    except soundfile.LibsndfileError:
        return damaged


def _listed(table: Any) -> str:
    return ", ".join(f"{name} ({_type(feature)})" for name, feature in table.features.items())


def _type(feature: Any) -> str:
    name = type(feature).__name__
    return str(feature.dtype) if name == "Value" else name


def find_labels(source: str, table: Any, wanted: Sequence[str] | None, used: str) -> list[str]:
    """Find the columns of labels: those named, or every column whose type is ClassLabel.

    Raises
    ------
    RefusedError
        Where nothing is named and no column has that type, and for a name that is no column or
        whose cells cannot name classes.
    """
    from datasets import ClassLabel

    others = {name: feature for name, feature in table.features.items() if name != used}
    columns = _listed(table)
    if not wanted:
        typed = [name for name, feature in others.items() if isinstance(feature, ClassLabel)]
        if not typed:
            likely = [name for name in others if _names_classes(table, name)]
            got = f"{source}, with no column of type ClassLabel among {columns}"
            remedy = f"write {LABELS} {likely[0] if len(likely) == 1 else 'COLUMN,...'}"
            refuse(OPTION, got, f"such a column, or columns named by {LABELS}", remedy)
        return typed
    for name in wanted:
        if name not in others:
            got = f"{name!r}" + (", the column of samples" if name == used else "")
            refuse(LABELS, got, f"columns of {source}: {columns}", "write some of these")
        if not isinstance(others[name], ClassLabel) and not _names_classes(table, name):
            got = f"{name!r} ({_type(others[name])})"
            refuse(LABELS, got, "columns of ClassLabel, integers or strings", f"it has {columns}")
    if len(set(wanted)) < len(wanted):
        refuse(LABELS, ",".join(wanted), "each column once", f"it has {columns}")
    return list(wanted)


def _names_classes(table: Any, name: str) -> bool:
    """Whether cells can name classes: by their type, or as whole numbers among empty cells.

    A table that was written as text has no integers where a cell is empty.
    """
    kind = _type(table.features[name]).rstrip("0123456789")
    if kind != "float":
        return kind in _NAMES_CLASSES
    present = [value for value in _values(table, name) if not is_missing(table, name, value)]
    return bool(present) and all(value.is_integer() for value in present)


def class_names(source: str, table: Any, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Name each column's classes: those of its type, or the sorted values of training rows.

    Raises
    ------
    RefusedError
        For a column with one class, or with so many that it more likely names rows.
    """
    from datasets import ClassLabel

    names: dict[str, list[Any]] = {}
    for column in columns:
        feature, values = table.features[column], _values(table, column)
        present = {value for value in set(values) if not is_missing(table, column, value)}
        if isinstance(feature, ClassLabel):
            names[column] = list(range(feature.num_classes))
        else:
            names[column] = sorted(present)
            if len(present) == len(values) or len(present) > MOST_CLASSES:
                got = f"{column!r}, with {len(present)} different values in {len(values)} rows"
                refuse(LABELS, got, "columns whose values come again", "name another column")
        if len(present) < 2:
            got = f"{source}, with {len(present)} class in column {column!r} of the training part"
            remedy = f"add samples of another class, or name other columns: {LABELS} COLUMN,..."
            refuse(OPTION, got, "two classes or more", remedy)
    return names


def classes_in_words(table: Any, names: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """Write the classes of `class_names` as a reader would: by their names, where they have any."""
    return {
        column: [_in_words(table.features[column], value) for value in values]
        for column, values in names.items()
    }


def _in_words(feature: Any, value: Any) -> str:
    """Write one class; a whole number among empty cells came as 3.0."""
    if hasattr(feature, "int2str"):
        return str(feature.int2str(value))
    return str(int(value) if isinstance(value, float) else value)


def encode(table: Any, names: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
    """Return class numbers of shape (rows, tasks); -1 for a label that is missing or unknown."""
    numbers = [
        [places.get(value, -1) for value in _values(table, column)]
        for column, places in (
            (column, {value: place for place, value in enumerate(values)})
            for column, values in names.items()
        )
    ]
    return np.array(numbers, dtype=np.int64).reshape(len(names), len(table)).T


def is_missing(table: Any, column: str, value: Any) -> bool:
    """Whether a cell knows no label: None, no number, or -1 where numbers stand for names."""
    from datasets import ClassLabel

    if value is None or value != value:
        return True
    return bool(value == -1 and isinstance(table.features[column], ClassLabel))


def has_labels(table: Any, columns: Sequence[str]) -> bool:
    """Whether any label of a table is known."""
    return not all(
        is_missing(table, column, value) for column in columns for value in _values(table, column)
    )


def label_at(table: Any, column: str, row: int) -> Any:
    """Return a label as the table has it, for a message."""
    feature, value = table.features[column], table[row][column]
    if hasattr(feature, "int2str") and value is not None and 0 <= value < feature.num_classes:
        return feature.int2str(value)
    return value


def _values(table: Any, column: str) -> list[Any]:
    values: list[Any] = table.select_columns(column)[:][column]
    return values
