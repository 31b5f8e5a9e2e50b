"""A checkpoint: written so that the one before outlives a kill, and read with a word on what fails.

It holds tensors and plain values, and is read as no more than that: a pickle may hold any program.
"""

import inspect
import io
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from spectral_stride.torch.training.files import UnreadableError, opened, write_whole
from spectral_stride.torch.training.refusal import RefusedError, refuse
from spectral_stride.torch.training.results import MOST, number, shown, whole

# Characters of an error that PyTorch or Lightning words; some list every tensor of a network.
_LONGEST_REASON = 300
_START_ANEW = "copy it anew if it is a copy, or move it away: the training then starts anew"
# Without which a training would go on as another one.
_NEEDED = ("state_dict", "loops", "optimizer_states", "lr_schedulers", "pytorch-lightning_version")


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are all there, or those of before: also when the disk is full.

    Lightning writes into the folder for temporary files and moves what it wrote, which between two
    file systems is a copy. In a run of several processes it asks the first of them alone.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write beside the checkpoint of before, then take its place."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), content.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read it, however else Lightning would.

        Without what Lightning's own callback keeps: the paths of earlier checkpoints, which it
        deletes as it writes the next one. There is one checkpoint, in one place.
        """
        checkpoint = read_checkpoint(Path(path))
        kept = checkpoint.get("callbacks")
        if isinstance(kept, dict):
            own = ModelCheckpoint.__name__
            checkpoint["callbacks"] = {
                name: state for name, state in kept.items() if not str(name).startswith(own)
            }
        return checkpoint


def read_checkpoint(
    path: Path, option: str = "--resume", remedy: str = _START_ANEW
) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Parameters
    ----------
    path : Path
    option : str, optional
        What the user has named it by.
    remedy : str, optional
        What to do about a file that is none.

    Raises
    ------
    RefusedError
        For a file that is empty, cut, or no checkpoint of a training.
    """
    try:
        # It lies one folder down in that of its training.
        with opened(path, path.absolute().parents[1]) as file:
            checkpoint = _load(file)
        for name in _NEEDED:
            checkpoint[name]  # where it is missing Lightning says so in its own way, or goes on
        if not isinstance(checkpoint["state_dict"], dict):
            raise TypeError("state_dict is no mapping")
        _check_loops(checkpoint["loops"], "loops")
        for count in ("epoch", "global_step"):
            whole(checkpoint[count], count, 0, MOST)
    except UnreadableError as error:
        _refuse(path, str(error), option, remedy)
    except pickle.UnpicklingError:
        # PyTorch's own words advise to run what is in the file.
        _refuse(path, "no tensors and plain values", option, remedy)
    except Exception as error:  # what a broken archive raises has no common kind
        _refuse(path, _reason(error), option, remedy)
    return checkpoint


def _load(file: BinaryIO) -> dict[str, Any]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of what it then refuses
            checkpoint: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:  # it looks for the end at a place that is not there
        raise EOFError("cut off") from error
    return checkpoint


class _Restored(lightning.Callback):
    """Knows when everything in a checkpoint has found its place."""

    def __init__(self) -> None:
        self.done = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Look at what nobody else looks at before the first step."""
        fresh: Any = pl_module.configure_optimizers()
        (optimizer,), (schedule,) = trainer.optimizers, trainer.lr_scheduler_configs
        _check_state(optimizer, fresh["optimizer"])
        found, like = (
            one["scheduler"] if isinstance(one, dict) else one.scheduler
            for one in (schedule, fresh["lr_scheduler"])
        )
        _check_form(found.state_dict(), like.state_dict(), "the schedule")
        if found.last_epoch != trainer.global_step:
            raise ValueError(
                f"a schedule at step {shown(found.last_epoch)} of {trainer.global_step}"
            )
        self.done = True


@contextmanager
def restoring(path: Path | None, trainer: lightning.Trainer) -> Iterator[None]:
    """Refuse a checkpoint from which a training cannot go on.

    Parameters
    ----------
    path : Path or None
        Of the checkpoint; None where the training begins.
    trainer : Trainer
        That trains in the block. What is raised once it has begun has other reasons.

    Raises
    ------
    RefusedError
    """
    restored = _Restored()
    trainer.callbacks.insert(0, restored)  # type: ignore[attr-defined]
    try:
        yield
    except (RefusedError, OSError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # Lightning and PyTorch raise whatever a missing field leads to
        if path is None or restored.done:
            raise
        _refuse(path, _reason(error))


def _check_loops(value: Any, name: str) -> None:
    """Refuse what is no count: of Lightning's loops there is nothing else."""
    if isinstance(value, dict):
        for key, one in value.items():
            _check_loops(one, str(key))
    elif not isinstance(value, bool):
        whole(value, name, 0, MOST)


def _check_state(optimizer: torch.optim.Optimizer, fresh: torch.optim.Optimizer) -> None:
    """Refuse what a checkpoint says of parameters of other shapes; PyTorch does so at a step."""
    _check_form(_options(optimizer), _options(fresh), "the optimizer's options")
    fields = _fields(optimizer)
    for parameter, state in optimizer.state.items():
        if fields.keys() - state.keys():
            raise ValueError("the optimizer's state lacks fields of some parameters")
        for name, is_count in fields.items():
            value = state[name]
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                raise ValueError(f"{name} {shown(value)}, and no tensor of numbers")
            shape = () if is_count else tuple(parameter.shape)
            if value.shape != shape:
                raise ValueError(f"{name} of shape {tuple(value.shape)} for {shape}")
            if value.isnan().any():
                raise ValueError(f"{name} has entries that are NaN")


def _options(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the options of each group of parameters."""
    groups: list[dict[str, Any]] = optimizer.param_groups
    return [{name: one for name, one in group.items() if name != "params"} for group in groups]


def _fields(optimizer: torch.optim.Optimizer) -> dict[str, bool]:
    """Name what an optimizer keeps of a parameter that it has moved, and say if it is a count."""
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.ones(1)
    kind: Any = type(optimizer)
    taken = inspect.signature(kind).parameters
    options = {name: one for name, one in optimizer.defaults.items() if name in taken}
    moved = kind([parameter], **options)
    moved.step()
    return {name: value.ndim == 0 for name, value in moved.state[parameter].items()}


def _check_form(found: Any, like: Any, name: str) -> None:
    """Refuse plain values of another form than others that are right, and other words."""
    if isinstance(like, dict) and isinstance(found, dict):
        for key, one in like.items():
            _check_form(found[key], one, str(key))
    elif isinstance(like, list | tuple) and isinstance(found, list | tuple):
        if len(found) != len(like):
            raise ValueError(f"{name} of {len(found)}, for {len(like)}")
        for one, other in zip(found, like, strict=True):
            _check_form(one, other, name)
    elif isinstance(like, bool | None):
        if not isinstance(found, bool | None):
            raise ValueError(f"{name} {shown(found)}, and no truth value")
    elif isinstance(like, int | float):
        number(found, name, -MOST, MOST)
    elif type(found) is not type(like) or (isinstance(like, str) and found != like):
        raise ValueError(f"{name} {shown(found)}, where {shown(like)} is usual")


def _reason(error: Exception) -> str:
    text = f"without {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
    line = " ".join(text.split()) or "cut off"
    short = line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."
    return short if isinstance(error, KeyError) else f"{type(error).__name__}: {short}"


def _refuse(
    path: Path, reason: str, option: str = "--resume", remedy: str = _START_ANEW
) -> NoReturn:
    allowed = "a whole checkpoint of this training"
    refuse(option, f"{str(path)!r} ({reason})", allowed, remedy)
