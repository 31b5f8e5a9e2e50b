"""A sweep: the points of a grid, trained by any number of workers on any number of machines.

Optuna keeps the queue and the results: in a journal file, which works on shared file systems, or in
a database. It needs no server of its own, and a trial in its queue is taken by one worker alone.
What to run is decided here and not by an Optuna sampler: its grid sampler may give one point to
several workers, and does not repeat what failed.
"""

import platform
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from rich.markup import escape

from spectral_stride.torch.training.config import Config, has_effect
from spectral_stride.torch.training.refusal import RefusedError, refuse
from spectral_stride.torch.training.run_folder import CONFIG, SUMMARY
from spectral_stride.torch.training.sweep import leases as signs
from spectral_stride.torch.training.sweep.grid import SWEPT, Point, read_grid
from spectral_stride.torch.training.sweep.outcomes import DONE, FAILED, RUNNING, WAITING, Outcome
from spectral_stride.torch.training.sweep.storage import open_storage

Run = Callable[[Config, Path], dict[str, Any]]

LOCKS = "locks"
ERROR = "error.txt"

_DIED = "its worker died, or was killed, or was not heard of for too long"
# How the reason begins where a user has stopped a trial.
_INTERRUPTED = "KeyboardInterrupt"
_STATES = {
    TrialState.COMPLETE: DONE,
    TrialState.RUNNING: RUNNING,
    TrialState.WAITING: WAITING,
    TrialState.FAIL: FAILED,
}
# What needs no other trial.
_ALIVE = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Leave it to this tool to say what failed, in one line."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def _config_of(trial: FrozenTrial) -> Config | None:
    """Return what a trial trains; None where this version of the library does not know it."""
    try:
        return Config(**trial.user_attrs["config"])
    except (KeyError, TypeError):
        return None


def _outcome(trial: FrozenTrial) -> Outcome:
    kept = trial.user_attrs
    state = _STATES[trial.state]
    return Outcome(
        kept["name"],
        state,
        kept.get("folder", kept["name"]),
        kept.get("machine", ""),
        kept.get("accuracy"),
        kept.get("macs"),
        kept.get("error", _DIED) if state == FAILED else "",
    )


class _Sweep:
    """One worker's view of a sweep."""

    def __init__(
        self,
        points: Sequence[Point],
        folder: Path,
        storage: str | None,
        run: Run,
        tell: Callable[[str], None],
    ) -> None:
        self.points = points
        self.folder = folder
        self.run = run
        self.tell = tell
        # Behind a database the trials' folders may be on other machines.
        self.shares_folder = storage is None
        self.leases: signs.Leases = (
            signs.FileLeases(folder / LOCKS) if storage is None else signs.Heartbeats()
        )
        self.storage = open_storage(folder, storage)
        self.trial: optuna.Trial | None = None
        self.broken_off = False
        self.study = optuna.create_study(
            study_name=folder.resolve().name,
            storage=self.storage,
            sampler=optuna.samplers.RandomSampler(),  # never asked
            direction="maximize",
            load_if_exists=True,
        )

    def trials_of(self, point: Point) -> list[FrozenTrial]:
        """Return the trials of a point, first to last."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if _config_of(trial) == point.config]

    def last(self, point: Point) -> FrozenTrial | None:
        """Return the trial that says how a point stands."""
        trials = self.trials_of(point)
        for state in _STATES:  # in this order: what is done stays done
            for trial in reversed(trials):
                if trial.state == state and self.matters(trial):
                    return trial
        return None

    def matters(self, trial: FrozenTrial) -> bool:
        """Whether a trial is neither dropped from the queue nor robbed of its results."""
        if trial.state == TrialState.COMPLETE and self.shares_folder:
            return (self.folder / str(trial.user_attrs["folder"]) / SUMMARY).is_file()
        return "dropped" not in trial.user_attrs

    def check_fixed(self) -> None:
        """Refuse a grid that differs from the earlier one in what it does not vary."""
        fixed = {}
        for option in SWEPT:
            configs = [p.config for p in self.points if has_effect(option, p.config.downsampling)]
            values = {getattr(config, option) for config in configs}
            if len(values) == 1:
                (fixed[option],) = values
        before = self.study.user_attrs.get("fixed")
        if before is not None:
            for option in fixed.keys() & before.keys():
                if fixed[option] != before[option]:
                    allowed = f"{before[option]}, with which this sweep has begun"
                    both = f"{option}: [{before[option]}, {fixed[option]}]"
                    remedy = f"write {both} into the grid, or sweep to another --out"
                    refuse("grid", f"{option}: {fixed[option]}", allowed, remedy)
            fixed = {option: fixed[option] for option in fixed.keys() & before.keys()}
        self.study.set_user_attr("fixed", fixed)

    def enqueue(self) -> None:
        """Put what is neither done, nor running, nor waiting into the queue."""
        for point in self.points:
            states = {trial.state for trial in self.trials_of(point) if self.matters(trial)}
            if states.intersection(_ALIVE):
                continue
            attributes = {"config": asdict(point.config), "name": point.name}
            self.study.enqueue_trial({}, user_attrs=attributes)

    def drop(self) -> None:
        """Mark what waits and is no longer in the grid: the grid that was read last decides.

        Only marked, as another worker may take it at this very moment.
        """
        configs = [point.config for point in self.points]
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if _config_of(trial) not in configs:
                with suppress(UpdateFinishedTrialError):
                    self.storage.set_trial_user_attr(trial._trial_id, "dropped", True)

    def is_waiting(self) -> bool:
        """Whether the queue holds anything."""
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def is_taken(self, trial: optuna.Trial) -> bool:
        """Whether two workers that began at once have both queued a trial's point.

        Trials are numbered by the storage, so both see the same one as the first.
        """
        return any(
            other.number < trial.number
            and other.user_attrs.get("config") == trial.user_attrs["config"]
            and self.matters(other)
            for other in self.study.get_trials(deepcopy=False, states=_ALIVE)
        )

    def new_folder(self, name: str) -> Path:
        """Make a folder for a trial.

        What an earlier one left in its own is kept: nobody knows what it is good for.
        """
        for number in count(1):
            folder = self.folder / (name if number == 1 else f"{name}-try{number}")
            with suppress(FileExistsError):
                folder.mkdir()
                break
        return folder

    def folder_of(self, trial: optuna.Trial) -> Path:
        """Return the folder of an earlier trial that was broken off, to go on in; or a new one."""
        last = {}  # of the trials that were in a folder, the last one decides
        for earlier in self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
            kept = earlier.user_attrs
            if "folder" in kept and kept.get("config") == trial.user_attrs["config"]:
                last[str(kept["folder"])] = kept
        for name, kept in last.items():
            folder = self.folder / name
            # Its own worker says why it broke a trial off; of one that says nothing only the leases
            # know whether it still writes there.
            left = (
                str(kept["error"]).startswith(_INTERRUPTED)
                if "error" in kept
                else self.leases.knows_the_dead
            )
            if left and (folder / CONFIG).is_file() and not (folder / SUMMARY).exists():
                (folder / ERROR).unlink(missing_ok=True)
                return folder
        return self.new_folder(trial.user_attrs["name"])

    def objective(self, trial: optuna.Trial) -> float:
        """Train one point and return its accuracy."""
        self.trial = trial
        self.leases.take(trial.number)
        if "config" not in trial.user_attrs:
            raise optuna.TrialPruned("another worker took the last of the queue")
        if "dropped" in trial.user_attrs:
            raise optuna.TrialPruned("it is no longer in the grid")
        if self.is_taken(trial):
            raise optuna.TrialPruned("another worker has queued it too")
        try:
            folder = self.folder_of(trial)
        except OSError as error:
            trial.set_user_attr("error", str(error))
            raise
        self.tell(f"[bold]{escape(folder.name)}[/]")
        trial.set_user_attr("folder", folder.name)
        trial.set_user_attr("machine", platform.node())
        try:
            summary = self.run(Config(**trial.user_attrs["config"]), folder)
        except BaseException as error:
            self.broken_off = isinstance(error, KeyboardInterrupt)
            reason = " ".join(str(error).split())
            is_plain = isinstance(error, RefusedError)
            message = reason if is_plain else f"{type(error).__name__}: {reason}"
            with suppress(UpdateFinishedTrialError):
                trial.set_user_attr("error", message)
            (folder / ERROR).write_text(traceback.format_exc(), encoding="utf-8")
            raise
        (trained,) = summary["runs"]
        trial.set_user_attr("accuracy", trained["test_accuracy"])
        trial.set_user_attr("macs", trained["after"]["macs"])
        return float(trained["test_accuracy"])

    def outcome(self, point: Point) -> Outcome:
        """Say how a point stands."""
        trial = self.last(point)
        return Outcome(point.name, WAITING, point.name) if trial is None else _outcome(trial)

    def after(self, _: optuna.Study, trial: FrozenTrial) -> None:
        """Say what became of a trial."""
        if trial.state in _STATES:
            outcome = _outcome(trial)
            self.tell(f"  {outcome.state}: {escape(outcome.line())}")

    def train_one(self) -> None:
        """Take a trial out of the queue and train it."""
        self.trial = None
        self.broken_off = False
        try:
            self.study.optimize(
                self.objective, n_trials=1, catch=(Exception,), callbacks=[self.after]
            )
        except ValueError:
            # Optuna cannot finish what is finished: another worker has taken this one for dead, as
            # after a night with the lid closed.
            trial = self.trial and self.storage.get_trial(self.trial._trial_id)
            if trial is None or trial.state != TrialState.FAIL:
                raise
            if self.broken_off:
                raise KeyboardInterrupt from None
            self.after(self.study, trial)

    def work(self) -> None:
        """Train until the queue is empty; then look once more for workers that died meanwhile."""
        while True:
            self.leases.begin()
            try:
                if not self.is_waiting():
                    self.leases.bury(self.study)
                    return
                self.train_one()
            finally:
                self.leases.end()


def sweep(
    grid: Path,
    folder: Path,
    run: Run,
    *,
    storage: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Train every point of a grid that nobody has trained yet, one after another.

    Called in several processes, on several machines, it divides the points among them. A trial that
    raises is failed, with its message, and the others go on. Called again, it trains what has
    not finished: what failed, what a killed worker left behind, what the grid has gained, and what
    was removed from the folder. What was interrupted goes on in its folder; what failed begins anew
    in another one, and so does what a silent worker has left behind a database, as that worker may
    wake up.

    Parameters
    ----------
    grid : Path
        For `grid.read_grid`.
    folder : Path
        Its name is that of the Optuna study. Gets a folder per trial, and Optuna's journal with its
        locks if no other storage is named.
    run : callable
        ``run(config, folder)`` trains into an empty folder and returns the summary.
    storage : str, optional
        URL of a database that all workers reach, as SQLAlchemy writes it.
    tell : callable, optional
        Called with a line before and after each trial, in the markup of rich.

    Returns
    -------
    list of Outcome
        How each point of the grid stands when nothing is left to take.

    Raises
    ------
    RefusedError
        For a wrong grid or storage, or a grid that changes what the sweep has held fixed; before
        anything is trained.
    """
    points = read_grid(grid)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got = f"{str(folder)!r} ({error.strerror or error})"
        refuse("--out", got, "a folder that can be written", "write --out sweeps/mine")
    with _quiet_optuna():
        work = _Sweep(points, folder, storage, run, tell)
        work.leases.begin()
        try:
            work.leases.bury(work.study)
            work.check_fixed()
            work.drop()
            work.enqueue()
        finally:
            work.leases.end()
        work.work()
        return [work.outcome(point) for point in points]
