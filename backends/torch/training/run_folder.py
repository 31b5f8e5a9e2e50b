"""The run folder: made before the training, never over another run's files; read to go on."""

import csv
import io
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from itertools import dropwhile
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import lightning
import torch
from filelock import FileLock, Timeout
from lightning.pytorch.loggers import CSVLogger

from spectral_stride import checks
from spectral_stride.torch.training.config import DIGITS, OPTIONS, Config
from spectral_stride.torch.training.device import hardware, is_first_process
from spectral_stride.torch.training.files import (
    UnreadableError,
    opened,
    read_json,
    write_json,
    write_whole,
)
from spectral_stride.torch.training.options import flag_of
from spectral_stride.torch.training.refusal import RefusedError, refuse, refuse_other_reading
from spectral_stride.torch.training.words import complete, parse

RUNS = Path("runs")
CONFIG = "config.json"
SAMPLES = "samples.json"
SUMMARY = "summary.json"
PICTURE = "strides.png"
METRICS = "metrics.csv"
RESULT = "result.json"
ERROR = "error.txt"
LOCK = "run.lock"
CHECKPOINT = Path("checkpoints", "last.ckpt")
# What Lightning's loggers write before the first step.
_LOGS = ("events.out.tfevents.*", "hparams.yaml")
# Bytes: a row for each step, of some millions.
LARGEST_METRICS = 2**30

# Where the processes of one machine find the folder that the first of them has made.
_SHARED = "SPECTRAL_STRIDE_FOLDER"
_PACKAGES = ("spectral-stride", "torch", "lightning", "datasets", "numpy", "scikit-learn", "scipy")


def _default_folder(config: Config) -> Path:
    """Return a new path under ``runs`` that says what was run, and when."""
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    data = re.sub(r"[^\w.-]+", "-", Path(config.data).name)
    first = RUNS / f"{stamp}-{data}-{config.model}-{config.downsampling}"
    path, count = first, 1
    while path.exists():
        count += 1
        path = first.with_name(f"{first.name}-{count}")
    return path


def make_folder(out: str | None, config: Config) -> Path:
    """Make the run folder.

    Parameters
    ----------
    out : str or None
        Where the user wants it; None stands for a new folder under ``runs``.
    config : Config
        Gives a new folder its name.

    Returns
    -------
    Path

    Raises
    ------
    RefusedError
        If it holds files already, is a file, or cannot be written.
    """
    if not is_first_process():
        return _made_by_the_first(out)
    if out is None and config.nodes > 1:
        allowed = "a folder that all machines see"
        refuse("--out", f"none, for {config.nodes} nodes", allowed, "write --out FOLDER")
    path = _default_folder(config) if out is None else Path(out)
    refuse_other_reading("--out", path)
    free = f"write --out {path}-2" if out else "write --out with a folder of your own"
    try:
        if path.is_dir() and any(file.name != LOCK for file in path.iterdir()):
            allowed = "a new or an empty folder"
            refuse("--out", f"{str(path)!r}, which holds files", allowed, free)
        path.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path):
            pass  # it can be written
    except OSError as error:
        got = f"{str(path)!r} ({error.strerror or error})"
        refuse("--out", got, "a folder that can be written", "write --out runs/mine")
    os.environ[_SHARED] = str(path.absolute())
    return path


def _made_by_the_first(out: str | None) -> Path:
    """Return the folder, in any process but the first of a run."""
    return Path(os.environ.get(_SHARED) or out or RUNS)


def reason_in(story: str) -> str:
    r"""Say in one line why a training failed, out of the traceback that it left in its folder.

    Where the message has more than one line it is the first, and where the others are.

    Examples
    --------
    >>> from spectral_stride.torch.training.run_folder import reason_in
    >>> story = ["Traceback", '  File "a.py", line 1, in a', "    b()", "ValueError: c", "d", "e"]
    >>> reason_in("\n".join(story))
    'ValueError: c (more in error.txt)'
    """
    lines = [line for line in story.splitlines() if line.strip()]
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    below = lines[frames[-1] + 1 :] if frames else []
    # A frame's own lines are indented.
    message = list(dropwhile(lambda line: line[0].isspace(), below)) or lines[-1:]
    if not message:
        return "failed"
    kind, _, refusal = message[0].partition(": ")
    reason = refusal if kind.endswith(RefusedError.__name__) else message[0]
    return reason if len(message) == 1 else f"{reason} (more in {ERROR})"


class LockedError(RefusedError):
    """Another process trains in the folder."""


@contextmanager
def locked(folder: Path, seconds: float = 0.0) -> Iterator[None]:
    """Keep a run folder to this thread, which may ask for it again, until the block ends.

    The operating system lets go of it when the process dies, however it dies.

    Parameters
    ----------
    folder : Path
    seconds : float, optional
        To wait for another process that has it.

    Raises
    ------
    LockedError
        If another process keeps it for longer.
    RefusedError
        If its lock is a link.
    """
    if (folder / LOCK).is_symlink():  # what it leads to would be emptied
        allowed, remedy = "a file of the folder's own", "remove the link"
        refuse("folder", f"{str(folder / LOCK)!r}, a link", allowed, remedy)
    lock = FileLock(folder / LOCK, is_singleton=True)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        got = f"{str(folder)!r}, in which another process trains"
        checks.refuse(
            LockedError, "folder", got, "one process for each", "wait until that one ends"
        )
    try:
        yield
    finally:
        lock.release()


def config_of(folder: Path) -> Config:
    """Read the choices of a run.

    An option that there was not yet when the run was started gets the value that repeats what was
    done without it.

    Raises
    ------
    RefusedError
        If the folder is not that of a run, has an option that this version does not have, or holds
        choices that `parse` refuses.
    """
    try:
        content = read_json(folder / CONFIG, within=folder)
        choices = complete(content["config"])
        _refuse_unknown(folder, choices, content)
        data = os.path.abspath(Path(content["directory"], choices["data"]))
        # A path is that of the directory in which the run was started, and may name one of its
        # configurations; the digits are no path.
        exists = os.path.exists(data) or os.path.isdir(data.rpartition(":")[0])
        is_path = choices["data"] != DIGITS and exists
        return _parse(choices | ({"data": data} if is_path else {}), folder / CONFIG)
    except RefusedError:
        raise
    except KeyError as error:
        reason = f"without {error.args[0]!r} in its {CONFIG}"
    except UnreadableError as error:
        reason = f"{CONFIG}: {error}"
    except (OSError, ValueError, AttributeError, TypeError) as error:
        # The last two where what is there has another form, such as a list.
        reason = f"{type(error).__name__} for {CONFIG}"
    got = f"{str(folder)!r} ({reason})"
    refuse("--resume", got, "the folder of a run", "write --resume runs/NAME")


def _parse(words: Mapping[str, Any], path: Path) -> Config:
    """Parse the choices in a file: who is told of a wrong one has not written it just now."""
    try:
        return parse(words)
    except RefusedError as error:
        raise RefusedError(f"--resume {str(path)!r}: {error}") from error


def _refuse_unknown(folder: Path, choices: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Refuse a run that was started with an option of another version."""
    unknown = [flag_of(name) for name in choices if name not in OPTIONS]
    if unknown:
        package = _PACKAGES[0]
        theirs = content["versions"][package]
        got = f"{str(folder)!r}, started with {', '.join(unknown)} by version {theirs}"
        allowed = f"a run with options of this version, {version(package)}"
        remedy = f"install {package}=={theirs}, or train it anew"
        refuse("--resume", got, allowed, remedy)


def resumed(folder: str) -> Config:
    """Read the choices of a run that is to go on, in all of its processes."""
    config = config_of(Path(folder))
    os.environ[_SHARED] = str(Path(folder).absolute())
    return config


def missing_folders(path: Path) -> list[Path]:
    """List what has to be made for a folder to be there, the innermost one first."""
    # Not Path.exists, which raises for a name that is too long.
    return [one for one in (path, *path.parents) if not os.path.exists(one)]


def discard(folder: Path, made: Sequence[Path]) -> None:
    """Leave the folder of a run that was refused as `make_folder` found it.

    Nothing goes where a step was made, which `METRICS` would have, nor where there is anything
    else. ``made`` are the folders that were made for it.
    """
    own = (CONFIG, SAMPLES, LOCK, *_LOGS)
    files = [path for path in folder.rglob("*") if path.is_file()]
    if all(any(path.match(name) for name in own) for path in files):
        for path in files:
            path.unlink(missing_ok=True)
        for path in folder.iterdir():
            shutil.rmtree(path)
        with suppress(OSError):  # another run has begun beside it
            for path in made:
                path.rmdir()


def write_config(folder: Path, config: Config, device: str) -> None:
    """Write what it takes to repeat a run: the choices, the command, the versions, the machine."""
    versions = {name: version(name) for name in _PACKAGES}
    content = {
        "command": config.command(),
        "directory": str(Path.cwd()),
        "config": asdict(config),
        "versions": {"python": platform.python_version(), **versions},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "device": device,
            "model": hardware(device),
            # That a large step may take: small ones take one.
            "threads": torch.get_num_threads(),
        },
    }
    write_json(folder / CONFIG, content)


def keep_metrics(trainer: lightning.Trainer, step: int) -> None:
    """Put the rows from before a step back into the file that a new logger starts.

    Lightning's logger deletes the file of an earlier process when it is first used.
    """
    logger = next(one for one in trainer.loggers if isinstance(one, CSVLogger))
    path = Path(logger.log_dir) / METRICS
    if trainer.global_rank != 0:
        return
    kept = path.with_name(f"{METRICS}.kept")
    if kept.exists():  # a process was killed between the two last lines
        os.replace(kept, path)
    if not path.exists():
        return
    try:
        names, rows = _rows_before(path, step)
    except (UnreadableError, ValueError, csv.Error) as error:
        allowed = f"a {METRICS} as spectral-stride train writes it"
        remedy = "move it away: the training then goes on without its rows"
        refuse("--resume", f"{str(path)!r} ({error})", allowed, remedy)
    content = io.StringIO(newline="")
    writer = csv.DictWriter(content, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(kept, content.getvalue().encode())
    experiment = logger.experiment
    os.replace(kept, path)
    experiment.metrics_keys = names


def _rows_before(path: Path, step: int) -> tuple[list[str], list[dict[str, str]]]:
    """Read the names of the columns, and the whole rows from before a step."""
    with opened(path, path.parent, LARGEST_METRICS) as file:
        reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
        names = list(reader.fieldnames or [])
        if "step" not in names:
            raise UnreadableError("without a column 'step'")
        # The last row of a process that was killed may be half of one.
        unbroken = (
            row for row in reader if (row["step"] or "").isdecimal() and None not in row.values()
        )
        return names, [row for row in unbroken if int(row["step"]) < step]
