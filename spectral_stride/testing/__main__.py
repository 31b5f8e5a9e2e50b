"""`python -m spectral_stride.testing`: every implementation against every property, in a table."""

import argparse
import sys
from collections.abc import Sequence

from spectral_stride import checks
from spectral_stride.testing.agreement import check_agreement
from spectral_stride.testing.implementation import Implementation
from spectral_stride.testing.known import KNOWN, UnavailableError
from spectral_stride.testing.properties import PROPERTIES
from spectral_stride.testing.suite import Report, Row, run

with checks.needed("python -m spectral_stride.testing", "rich", extra="testing"):
    from rich import box
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table


def _cell(row: Row) -> str:
    if row.failure:
        return "FAILED"
    return "not run" if row.not_run else f"{row.cases} {row.largest:.2f}"


def property_table(reports: Sequence[Report]) -> Table:
    """One line a property, one column an implementation: cases run, largest error."""
    table = Table("property", box=box.SIMPLE)
    for report in reports:
        table.add_column(report.name.replace("spectral_stride", "ss"), justify="right")
    for rows in zip(*(report.rows for report in reports), strict=True):
        table.add_row(rows[0].property.replace("_", " "), *(_cell(row) for row in rows))
    return table


def agreement_table(report: Report, names: Sequence[str]) -> Table:
    """Every pair: the largest difference, in float64 above the diagonal and in float32 below."""
    table = Table("float32 below, float64 above", box=box.SIMPLE)
    cells = {row.property: "FAILED" if row.failure else f"{row.largest:.2f}" for row in report.rows}
    for name in names:
        table.add_column(name.replace("spectral_stride", "ss"), justify="right")
    for i, one in enumerate(names):
        line = [
            cells.get(f"{one} and {other} in float64" if i < j else f"{other} and {one} in float32")
            for j, other in enumerate(names)
        ]
        table.add_row(one.replace("spectral_stride", "ss"), *(cell or "" for cell in line))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite on what is installed, print the tables, and return how many rows failed."""
    parser = argparse.ArgumentParser(prog="python -m spectral_stride.testing", description=__doc__)
    parser.add_argument("--examples", type=int, default=30, help="cases a property (default: 30)")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[known.name for known in KNOWN],
        help=f"implementations to run: {', '.join(known.name for known in KNOWN)}",
    )
    asked = parser.parse_args(arguments)
    if asked.examples < 1:
        parser.error(f"--examples: got {asked.examples}; allowed: 1 or more; instead: leave it out")
    console = Console()
    if not console.is_terminal:
        console.width = 200  # nobody folds a file's lines
    found: list[tuple[Implementation, float]] = []
    for known in KNOWN:
        if asked.only and known.name not in asked.only:
            continue
        try:
            found.append((known.load(), known.share))
        except UnavailableError as reason:
            console.print(f"not run: {known.name}: {reason}", markup=False)
    if not found:
        console.print("nothing to run")
        return 1
    steps = [(one, share, prop) for one, share in found for prop in PROPERTIES]
    progress = Console(stderr=True)
    rows = [
        run(one, prop, asked.examples * share)
        for one, share, prop in track(
            steps, "properties", console=progress, transient=True, disable=not progress.is_terminal
        )
    ]
    width = len(PROPERTIES)
    reports = [
        Report(one.name, tuple(rows[width * i : width * (i + 1)]))
        for i, (one, _) in enumerate(found)
    ]
    console.print("Cases run, and the largest error over what rounding allows")
    console.print(property_table(reports))
    if len(found) > 1:
        # Some of them are slow on each case, and a pair is as slow as its slower half.
        share = min(share for _, share in found)
        agreement = check_agreement([one for one, _ in found], round(2 + asked.examples * share))
        console.print("Largest difference of a pair over what rounding allows")
        console.print(agreement_table(agreement, [one.name for one, _ in found]))
        reports.append(agreement)
    for report in reports:
        if report.failures:
            console.print(f"\n{report.name}:\n\n{report.story}", markup=False)
    return min(sum(len(report.failures) for report in reports), 125)


if __name__ == "__main__":
    sys.exit(main())
