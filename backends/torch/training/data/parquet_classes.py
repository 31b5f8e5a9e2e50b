"""What each parquet file of a data set says of itself: rows, columns, and the names of classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectral_stride.torch.training.data.samples import OPTION
from spectral_stride.torch.training.refusal import refuse


@dataclass(frozen=True, slots=True)
class Footer:
    """The end of one file, read without its rows.

    Attributes
    ----------
    file : str
    rows : int
    columns : tuple of str
    classes : dict of str to list of str
        Names of the classes of each column of type ClassLabel, in the order of their numbers.
    """

    file: str
    rows: int
    columns: tuple[str, ...]
    classes: dict[str, list[str]]


def read_footer(file: Path | str) -> Footer:
    """Read the footer of one parquet file; what is wrong with it is an error of Arrow's own."""
    from datasets import ClassLabel, Features
    from pyarrow import parquet

    with parquet.ParquetFile(file) as opened:
        features = Features.from_arrow_schema(opened.schema_arrow)
        rows = int(opened.metadata.num_rows)
    classes = {
        column: list(feature.names)
        for column, feature in features.items()
        if isinstance(feature, ClassLabel)
    }
    return Footer(str(file), rows, tuple(features), classes)


def refuse_unlike(footers: Sequence[Footer]) -> None:
    """Refuse the first file without rows, or with a column that another file does not have.

    That is for when a source could not be opened: `datasets` works with some such files, and where
    it does not it names none.

    Raises
    ------
    RefusedError
    """
    for footer in footers:
        if not footer.rows:
            got = f"{footer.file}, which has no rows"
            refuse(OPTION, got, "files with rows", "fill it or remove it")
    for other in footers:
        for footer in footers:
            lacks = [column for column in other.columns if column not in footer.columns]
            if lacks:
                more = [repr(name) for name in footer.columns if name not in other.columns]
                instead = f" and has {', '.join(more)} instead" if more else ""
                got = f"{footer.file}, which lacks column {lacks[0]!r} of {other.file}{instead}"
                remedy = "rename or add that column, or remove one of the files"
                refuse(OPTION, got, "the same columns in every file", remedy)


def by_name(
    tables: Mapping[str, Any],
    footers: Mapping[str, Sequence[Footer]],
    columns: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Number the classes of every split by the names of its own files.

    `datasets` takes the names of one file for all, and leaves the numbers as they are, which then
    stand for other classes wherever a file has its names in another order.

    Parameters
    ----------
    tables : mapping of str to datasets.Dataset
        One for each split.
    footers : mapping of str to sequence of Footer
        Of the files of each split.
    columns : sequence of str, optional
        Those that matter; without it all.

    Returns
    -------
    dict of str to datasets.Dataset
        The same tables, apart from numbers of classes.

    Raises
    ------
    RefusedError
        For a file whose names are not those of the others, or, inside of a split, in another order.
    """
    every = [one for some in footers.values() for one in some]
    return {
        name: _renumbered(table, footers.get(name, ()), every, columns)
        for name, table in tables.items()
    }


def _renumbered(
    table: Any,
    footers: Sequence[Footer],
    all_footers: Sequence[Footer],
    wanted: Sequence[str] | None,
) -> Any:
    from datasets import ClassLabel

    order = table.column_names
    for column, feature in table.features.items():
        if not isinstance(feature, ClassLabel) or (wanted is not None and column not in wanted):
            continue
        every = [one for one in all_footers if column in one.classes]
        own = [one for one in footers if column in one.classes]
        for one in own:
            _refuse_other(one, own[0], column, ordered=True)
            _refuse_other(one, every[0], column, ordered=False)
        if not own or own[0].classes[column] == every[0].classes[column]:
            continue
        places = [every[0].classes[column].index(name) for name in own[0].classes[column]]
        numbers = [
            # What is no class stays so: -1 and None are cells without a label.
            places[number] if number is not None and 0 <= number < len(places) else number
            for number in table.select_columns(column)[:][column]
        ]
        table = table.remove_columns(column).add_column(column, numbers, feature=feature)
        table = table.select_columns(order)
    return table


def _refuse_other(one: Footer, like: Footer, column: str, ordered: bool) -> None:
    names, others = one.classes[column], like.classes[column]
    if names == others if ordered else set(names) == set(others):
        return
    got = (
        f"{one.file}, whose column {column!r} names its classes {', '.join(names[:5])}, while the "
        f"classes of {like.file} are {', '.join(others[:5])}"
    )
    allowed = "the same class names in every file, in one order within a split"
    remedy = "write the files with the same names, as align_labels_with_mapping in `datasets` does"
    refuse(OPTION, got, allowed, remedy)
