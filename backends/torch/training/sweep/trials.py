"""One trial of a sweep: its folder, and its training as a task of a Dask worker.

Everything that is known of a trial is in its folder. A task looks there for what is done, goes on
with what was broken off, and leaves a reason where it fails; nobody keeps a list beside it.
"""

import io
import traceback
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import current_process
from pathlib import Path
from threading import Lock
from typing import Any

from rich.console import Console

from spectral_stride.torch.training.config import Config, acting, has_effect
from spectral_stride.torch.training.files import read_json, write_whole
from spectral_stride.torch.training.fit import run_job
from spectral_stride.torch.training.refusal import RefusedError, refuse
from spectral_stride.torch.training.results import accuracy, macs
from spectral_stride.torch.training.run_folder import (
    CONFIG,
    ERROR,
    SUMMARY,
    LockedError,
    config_of,
    locked,
    reason_in,
)
from spectral_stride.torch.training.sweep.grid import SWEPT, Point

DONE, FAILED, LOCKED, WAITING = "done", "failed", "locked", "waiting"

# Seconds that a task waits for the process that trains in its folder. Then others have their turn.
PATIENCE = 5.0

# Trainings share the random numbers of their process: of a worker's threads one trains at a time.
_TURN = Lock()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one trial.

    Attributes
    ----------
    name : str
        Of its folder, in that of the sweep.
    state : {"done", "failed", "locked", "waiting"}
        Locked: another process trains in the folder.
    accuracy : float or None
        Share of the test samples that are classified rightly, 0 to 1, once done.
    macs : int or None
        Multiply-accumulates per sample after the training, once done.
    error : str
        Why it failed, one line.
    """

    name: str
    state: str
    accuracy: float | None = None
    macs: int | None = None
    error: str = ""

    def line(self) -> str:
        """Say it in words.

        Examples
        --------
        >>> from spectral_stride.torch.training.sweep.trials import Outcome
        >>> Outcome("strided-seed0", "done", accuracy=0.5, macs=2_000_000).line()
        '50.00 % at 2.00 M MACs'
        """
        if self.accuracy is None or self.macs is None:
            return self.error
        return f"{100 * self.accuracy:.2f} % at {self.macs / 1e6:.2f} M MACs"


def _outcome_of(folder: Path) -> Outcome:
    """Read what came out of a trial that is done."""
    try:
        (trained,) = read_json(folder / SUMMARY, within=folder)["runs"]
        share = accuracy(trained["test_accuracy"], "test_accuracy")
        return Outcome(folder.name, DONE, share, macs(trained["after"]["macs"], "macs"))
    except (LookupError, TypeError, ValueError) as error:
        reason = f"without {error}" if isinstance(error, KeyError) else str(error)
        got = f"{str(folder / SUMMARY)!r} ({reason})"
        refuse(
            "--out", got, f"a {SUMMARY} of one training", "remove it: the trial is then done again"
        )


def failure(folder: Path, error: BaseException) -> Outcome:
    """Leave the reason of a failure in the trial's folder, and say it in one line."""
    story = "".join(traceback.format_exception(error))
    with suppress(OSError):  # on a full disk the line has to do
        folder.mkdir(exist_ok=True)
        write_whole(folder / ERROR, story.encode(errors="backslashreplace"))
    return Outcome(folder.name, FAILED, error=reason_in(story))


def _trials_in(sweep: Path) -> dict[Config, Path]:
    """Find the trials in a sweep's folder, by what acts in them; of two alike, one that is done."""
    found: dict[Config, Path] = {}
    for path in sorted(sweep.glob(f"*/{CONFIG}")):
        with suppress(RefusedError):  # no trial, or none that this version could make
            config = acting(config_of(path.parent))
            if config not in found or (path.parent / SUMMARY).exists():
                found[config] = path.parent
    return found


def _check_folder(folder: Path, config: Config) -> None:
    """Refuse a trial's folder that holds another training."""
    if not (folder / CONFIG).exists():
        return
    try:
        found = acting(config_of(folder))
    except RefusedError as error:
        reason = str(error)
    else:
        wanted = acting(config)
        differing = [name for name in SWEPT if getattr(found, name) != getattr(wanted, name)]
        if not differing:
            return
        reason = ", ".join(f"{name} {getattr(found, name)}" for name in differing)
    got = f"{str(folder)!r}, which holds another training ({reason})"
    refuse("--out", got, f"a folder with this trial's {CONFIG}, or none", "move it away")


def _fixed(configs: Collection[Config]) -> dict[str, Any]:
    """Return the options that are the same wherever they have an effect."""
    found = {
        option: {
            getattr(config, option) for config in configs if has_effect(option, config.downsampling)
        }
        for option in SWEPT
    }
    return {option: values.pop() for option, values in found.items() if len(values) == 1}


def _check_fixed(points: Collection[Point], before: Mapping[Config, Path]) -> None:
    """Refuse a grid that differs from the trials before it in what neither varies."""
    now, then = _fixed([point.config for point in points]), _fixed(before)
    for option in now.keys() & then.keys():
        if now[option] != then[option]:
            allowed = f"{then[option]}, with which this sweep has begun"
            both = f"{option}: [{then[option]}, {now[option]}]"
            remedy = f"write {both} into the grid, or sweep to another --out"
            refuse("grid", f"{option}: {now[option]}", allowed, remedy)


def with_their_folders(points: Collection[Point], sweep: Path) -> list[Point]:
    """Give each point the name of the folder that holds its training already, if one does.

    The name that a grid makes today may be another: it follows the options that there are.
    """
    before = _trials_in(sweep)
    return [
        replace(point, name=before[acting(point.config)].name)
        if acting(point.config) in before
        else point
        for point in points
    ]


def finished(points: Collection[Point], sweep: Path) -> dict[str, Outcome]:
    """Find what is done of a grid, by the names of its points.

    Raises
    ------
    RefusedError
        If the sweep's folder holds trials of another grid, or one in the place of another.
    """
    before = _trials_in(sweep)
    _check_fixed(points, before)
    done = {}
    for point in points:
        folder = before.get(acting(point.config))
        if folder is not None and (folder / SUMMARY).exists():
            done[point.name] = replace(_outcome_of(folder), name=point.name)
        else:
            _check_folder(sweep / point.name, point.config)
    return done


def run_trial(name: str, config: Config, sweep: Path) -> Outcome:
    """Train one trial to its end; in a worker.

    Parameters
    ----------
    name : str
        Of its folder, which may hold what an earlier worker has left of it.
    config : Config
    sweep : Path
        Folder of the sweep.

    Returns
    -------
    Outcome
        Also where the training raises: its reason is then in the folder, too.
    """
    # Dask marks its workers as daemons, which may start no processes, such as those that read data.
    current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    folder = sweep / name
    with _TURN:
        try:
            folder.mkdir(exist_ok=True)  # and not those above it: all workers share the sweep's
            with locked(folder, PATIENCE):
                _check_folder(folder, config)
                return _train(config, folder)
        except LockedError as error:
            return Outcome(name, LOCKED, error=str(error))
        except RefusedError as error:
            return Outcome(name, FAILED, error=str(error))
        except OSError as error:
            return failure(folder, error)


def _train(config: Config, folder: Path) -> Outcome:
    """Train in a folder that is locked, or leave the reason there why it could not be done."""
    silent = Console(file=io.StringIO(), force_terminal=False)
    try:
        (folder / ERROR).unlink(missing_ok=True)
        if not (folder / SUMMARY).exists():  # which the process may have left that had the folder
            run_job(config, None, silent, resume=str(folder))
        return _outcome_of(folder)
    except Exception as error:
        return failure(folder, error)
