"""Who works on a trial: how a worker that lives is told from one that died.

A worker that is killed leaves its trial behind as running, and somebody has to notice.
"""

import warnings
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from optuna.exceptions import ExperimentalWarning
from optuna.storages import fail_stale_trials
from optuna.study import Study
from optuna.trial import TrialState

# Seconds. A worker writes to the database every minute, and is dead after three of silence.
HEARTBEAT = 60
GRACE = 180


class Leases(Protocol):
    """What a worker says about itself, and learns about others."""

    @property
    def knows_the_dead(self) -> bool:
        """Whether no worker that `bury` takes for dead wakes up: its folders may be taken over."""

    def begin(self) -> None:
        """Start to choose a trial."""

    def take(self, number: int) -> None:
        """Hold a trial, which ends the choice."""

    def end(self) -> None:
        """Hold nothing any more."""

    def bury(self, study: Study) -> None:
        """Mark as failed what dead workers have left running."""


class FileLeases:
    """Locks on files, which the operating system opens when their process ends, however it ends.

    Whoever chooses a trial, or looks for dead workers, holds the lock of the queue; whoever trains
    holds that of the trial. Between choosing and training both are held, so nobody takes a living
    worker for dead. The locks are those of flock, which Linux passes on to NFS servers.

    Parameters
    ----------
    folder : Path
        Which all workers share.
    """

    # The system opens the locks of a process that has ended, and not those of one that sleeps.
    knows_the_dead = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._queue = FileLock(folder / "queue.lock")
        self._held: FileLock | None = None

    def _lock(self, number: int) -> FileLock:
        return FileLock(self._folder / f"trial-{number}.lock")

    def begin(self) -> None:
        """Wait for the lock of the queue."""
        self._queue.acquire()

    def take(self, number: int) -> None:
        """Lock a trial, then open the queue to others."""
        self._held = self._lock(number)
        self._held.acquire()
        self._queue.release()

    def end(self) -> None:
        """Open both locks, if they are held."""
        self._queue.release()
        if self._held is not None:
            self._held.release()
            self._held = None

    def bury(self, study: Study) -> None:
        """Fail the running trials whose lock is open. Only between `begin` and `take`."""
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            lock = self._lock(trial.number)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            study.tell(trial.number, state=TrialState.FAIL)
            lock.release()


class Heartbeats:
    """Optuna's own signs of life in a database, for machines that share no file system.

    `Study.optimize` sends them. Which trial is whose is the database's business: there is
    nothing to hold.
    """

    # Silent, too, is a worker whose machine sleeps or has lost the network: it may come back.
    knows_the_dead = False

    def begin(self) -> None:
        """Do nothing: taking a trial is one transaction."""

    def take(self, number: int) -> None:
        """Do nothing: the trial is running in the database."""

    def end(self) -> None:
        """Do nothing: the trial's state says it."""

    def bury(self, study: Study) -> None:
        """Fail the running trials that have been silent for too long."""
        with warnings.catch_warnings():
            # Optuna calls it experimental, and calls it itself before every trial.
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(study)
