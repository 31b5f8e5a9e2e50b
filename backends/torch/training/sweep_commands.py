"""The words of ``spectral-stride sweep`` and ``spectral-stride report``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from spectral_stride.torch.training.config import Config

SWEEPS = Path("sweeps")
# As `leases.GRACE`, in a module that takes seconds to import.
MINUTES = 3

Grid = Annotated[
    str,
    typer.Argument(
        help="YAML: options of train, each with a value or a list; or a list of such grids.",
        metavar="GRID",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        help="Folder of the sweep, which may hold what it has finished; without it one under "
        "sweeps, named after the grid.",
        metavar="FOLDER",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Database that several machines share, such as postgresql://user@host/name. Without "
        "it a journal in the folder, which machines can share too. A database hears of a killed "
        f"worker only by {MINUTES} minutes of silence; until then its point counts as running.",
        metavar="URL",
    ),
]
Runs = Annotated[list[str], typer.Argument(help="Folders of runs or of sweeps.", metavar="RUNS...")]
ReportOut = Annotated[str, typer.Option("--out", help="Folder for the report.", metavar="FOLDER")]


def sweep(grid: Grid, out: Out = None, storage: Storage = None) -> None:
    """Train every point of a grid, once.

    Start it again to go on after an interruption: what has finished stays, what was broken off goes
    on after its last whole epoch, what has failed is tried again. Start it several times,
    on several machines, to work side by side. With --storage wait three minutes after a worker was
    killed, or its point counts as running, and is left out; it then begins anew, in a folder of its
    own, for nobody knows that the silent worker is dead.
    """
    from spectral_stride.torch.training.device import find_device
    from spectral_stride.torch.training.sweep.grid import read_grid

    path = Path(grid)
    for device in {point.config.device for point in read_grid(path)}:
        find_device(device)
    # Only now: these take seconds to import, and a wrong grid has been refused by here.
    from spectral_stride.torch.training import job
    from spectral_stride.torch.training.run_folder import CONFIG
    from spectral_stride.torch.training.sweep.outcomes import FAILED, RUNNING, outcome_table
    from spectral_stride.torch.training.sweep.sweep import sweep as run_sweep

    console = Console()
    silent = Console(quiet=True)

    def run(config: Config, folder: Path) -> dict[str, Any]:
        if (folder / CONFIG).exists():  # it was broken off
            _, summary = job.run(config, None, silent, resume=str(folder))
        else:
            _, summary = job.run(config, str(folder), silent, keep=True)
        return summary

    folder = SWEEPS / path.stem if out is None else Path(out)

    def tell(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    outcomes = run_sweep(path, folder, run, storage=storage, tell=tell)
    console.print(outcome_table(outcomes))
    if storage is not None and any(outcome.state == RUNNING for outcome in outcomes):
        tell(
            "A running trial is another worker's, or that of one killed less than "
            f"{MINUTES} minutes ago: then start the sweep again after that time."
        )
    if any(outcome.state == FAILED for outcome in outcomes):
        raise typer.Exit(1)


def report(runs: Runs, out: ReportOut = "report") -> None:
    """Write report.md, with pictures beside it, and report.html, with pictures inside it."""
    from spectral_stride.torch.training.report.document import write_report

    markdown, html = write_report([Path(run) for run in runs], Path(out))
    console = Console()
    console.print(f"Markdown  {markdown}", soft_wrap=True, highlight=False)
    console.print(f"HTML      {html}", soft_wrap=True, highlight=False)
