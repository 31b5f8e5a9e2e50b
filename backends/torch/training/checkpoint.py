"""A checkpoint: written so that the one before outlives a kill, and read with a word on what fails.

It holds tensors and plain values, and is read as no more than that: a pickle may hold any program.
"""

import io
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import lightning
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from spectral_stride.torch.training.files import UnreadableError, opened, write_whole
from spectral_stride.torch.training.refusal import RefusedError, refuse
from spectral_stride.torch.training.results import MOST, whole

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
        """Read it, however else Lightning would."""
        return read_checkpoint(Path(path))


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
        with opened(path) as file:
            checkpoint = _load(file)
        for name in _NEEDED:
            checkpoint[name]  # where it is missing Lightning says so in its own way, or goes on
        if not isinstance(checkpoint["state_dict"], dict):
            raise TypeError("state_dict is no mapping")
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
        for optimizer in trainer.optimizers:
            _check_state(optimizer)
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


def _check_state(optimizer: torch.optim.Optimizer) -> None:
    """Refuse what a checkpoint says of parameters of other shapes; PyTorch does so at a step."""
    states = optimizer.state
    if len({frozenset(state) for state in states.values()}) > 1:
        raise ValueError("the optimizer's state lacks fields of some parameters")
    for parameter, state in states.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                if value.ndim and value.shape != parameter.shape:
                    shape = tuple(parameter.shape)
                    raise ValueError(f"{name} of shape {tuple(value.shape)} for {shape}")
                if value.isnan().any():
                    raise ValueError(f"{name} has entries that are NaN")


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
