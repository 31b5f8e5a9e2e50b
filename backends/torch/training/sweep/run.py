"""A sweep from its grid to its table, and what a user sees of it meanwhile."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from distributed import Client
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from spectral_stride.torch.training.refusal import refuse, refuse_other_reading
from spectral_stride.torch.training.sweep.cluster import train_all
from spectral_stride.torch.training.sweep.grid import Point
from spectral_stride.torch.training.sweep.trials import (
    DONE,
    FAILED,
    LOCKED,
    WAITING,
    Outcome,
    finished,
    with_their_folders,
)


def run_sweep(
    points: Sequence[Point],
    folder: Path,
    cluster: AbstractContextManager[Client],
    console: Console,
) -> bool:
    """Train what is not done of a grid, and show what became of all of it.

    Parameters
    ----------
    points : sequence of Point
        From `grid.read_grid`.
    folder : Path
        Gets a run folder for each point; what is done in it stays.
    cluster : context manager
        From `cluster`; it is not entered where nothing is left to do.
    console : rich.console.Console

    Returns
    -------
    bool
        Whether everything is done.

    Raises
    ------
    RefusedError
        For a folder that cannot be written or holds other trials, and as `cluster.train_all`.
    """
    refuse_other_reading("--out", folder)
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got = f"{str(folder)!r} ({error.strerror or error})"
        refuse("--out", got, "a folder that can be written", "write --out sweeps/mine")
    points = with_their_folders(points, folder)
    outcomes = finished(points, folder)
    todo = [point for point in points if point.name not in outcomes]
    try:
        if todo:
            with cluster as client:
                _say(console, f"Dashboard  {client.dashboard_link}")
                trials = train_all(client, todo, folder)
                try:
                    for outcome in _with_progress(trials, console, len(outcomes), len(points)):
                        outcomes[outcome.name] = outcome
                except KeyboardInterrupt:
                    _say(console, "Stopping; started again, the sweep goes on.")
                    raise
    finally:
        table = [outcomes.get(point.name, Outcome(point.name, WAITING)) for point in points]
        if outcomes:
            console.print(_outcome_table(table))
    return all(outcome.state == DONE for outcome in table)


def _say(console: Console, line: str) -> None:
    """Print a line as it is, however wide the terminal."""
    console.print(line, soft_wrap=True, highlight=False)


def _with_progress(
    outcomes: Iterable[Outcome], console: Console, done: int, total: int
) -> Iterator[Outcome]:
    """Print a line for every outcome and pass it on; on a terminal, draw a progress bar below."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    failed, locked = 0, set[str]()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("trials", total=total, completed=done)
        for outcome in outcomes:
            # A trial that another process trains is tried again and again: it is named once.
            if outcome.name not in locked or outcome.state != LOCKED:
                line = f"[bold]{escape(outcome.name)}[/]  {outcome.state}: {escape(outcome.line())}"
                _say(console, line)
            if outcome.state == LOCKED:
                locked.add(outcome.name)
            else:
                failed += outcome.state == FAILED
                bar.update(task, description=f"trials, {failed} failed" if failed else "trials")
                bar.advance(task)
            yield outcome


def _outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """Lay out what is done, what is not, and why."""
    states = [outcome.state for outcome in outcomes]
    counts = [f"{states.count(DONE)} done", f"{states.count(FAILED)} failed"]
    counts += [f"{states.count(state)} {state}" for state in (LOCKED, WAITING) if state in states]
    table = Table(title=", ".join(counts), caption="MACs: multiply-accumulates per sample")
    table.add_column("trial", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("result", overflow="fold")
    for outcome in outcomes:
        table.add_row(escape(outcome.name), outcome.state, escape(outcome.line()))
    return table
