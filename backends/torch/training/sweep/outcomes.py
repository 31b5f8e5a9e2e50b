"""What became of each point of a sweep, as the table that a sweep ends with."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from spectral_stride.torch.training.report.run_table import percent

DONE, FAILED, RUNNING, WAITING = "done", "failed", "running", "waiting"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one point.

    Attributes
    ----------
    name : str
        Of the point.
    state : {"done", "failed", "running", "waiting"}
        Running means in the hands of another worker.
    folder : str
        Of its last trial, in the sweep's folder.
    machine : str
        Where that trial runs or ran; empty before it starts.
    accuracy : float or None
        Share of the test samples that are classified rightly, 0 to 1, once done.
    macs : int or None
        Multiply-accumulates per sample after the training, once done.
    error : str
        Why it failed, one line.
    """

    name: str
    state: str
    folder: str
    machine: str = ""
    accuracy: float | None = None
    macs: int | None = None
    error: str = ""

    def line(self) -> str:
        """Say it in words.

        Examples
        --------
        >>> from spectral_stride.torch.training.sweep.outcomes import Outcome
        >>> Outcome("strided-seed0", "done", "strided-seed0", accuracy=0.5, macs=2_000_000).line()
        '50.00 % at 2.00 M MACs'
        """
        if self.state == FAILED:
            return self.error
        if self.accuracy is None or self.macs is None:
            return f"on {self.machine}" if self.machine else ""
        return f"{percent(self.accuracy)} at {self.macs / 1e6:.2f} M MACs"


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """Lay out what ran, what did not, and why.

    Parameters
    ----------
    outcomes : sequence of Outcome

    Returns
    -------
    rich.table.Table
    """
    counts = [
        f"{sum(outcome.state == state for outcome in outcomes)} {state}"
        for state in (DONE, FAILED, RUNNING, WAITING)
    ]
    table = Table(title=", ".join(counts), caption="MACs: multiply-accumulates per sample")
    table.add_column("trial", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("result", overflow="fold")
    for outcome in outcomes:
        table.add_row(outcome.folder, outcome.state, outcome.line())
    return table
