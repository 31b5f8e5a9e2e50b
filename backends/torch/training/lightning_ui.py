"""What a user sees of Lightning, and can stop: a bar or lines; no side remarks; Ctrl-C."""

import logging
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

# How each warning starts, and why it says nothing that a user could act on.
_IRRELEVANT = (
    # The images are in memory: worker processes would only copy them around.
    r"The '\w+' does not have many workers",
    # The user said where to compute.
    r"[GT]PU available but not used",
    # Every process tests all samples: there is nothing to add up.
    r"It is recommended to use `self.log\(.*sync_dist=True",
    # The run goes on in its folder; its metrics are kept.
    r"Experiment logs directory .* exists and is not empty",
    r"Checkpoint directory .* exists and is not empty",
    # The run's folder was moved; there is no best checkpoint in it that could be lost.
    r"The dirpath has changed from",
    # Lightning asks PyTorch's trees in the old way.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def _epoch(trainer: lightning.Trainer) -> str:
    """Name the present epoch, from "Epoch 1/60" to "Epoch 60/60"."""
    count = str(trainer.max_epochs)
    return f"Epoch {trainer.current_epoch + 1:{len(count)}}/{count}"


# What the training step logs and a line shows.
_SHOWN = ("loss", "accuracy")


class EpochLines(lightning.Callback):
    """One line for each epoch, for where there is no terminal that a bar could be drawn on.

    Parameters
    ----------
    tell : callable
        Called with the line: the means of loss and accuracy over the epoch's steps, and its time.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self._sums: Counter[str] = Counter()
        self._start = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Begin a line."""
        self._sums.clear()
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Add what the step has logged; it stays on its device."""
        self._sums.update({name: trainer.callback_metrics[f"train/{name}"] for name in _SHOWN})
        self._sums["steps"] += 1

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Tell the line."""
        steps = self._sums["steps"]
        means = ", ".join(f"{name} {float(self._sums[name]) / steps:.4f}" for name in _SHOWN)
        self.tell(f"{_epoch(trainer)}: {means}, {time.perf_counter() - self._start:.1f} s")


class Bar(RichProgressBar):
    """The progress bar, on a line of 80 characters: epoch, steps, loss and accuracy."""

    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from 1; Lightning ends at 59 of 60."""
        return _epoch(self.trainer)

    def configure_columns(self, trainer: lightning.Trainer) -> list[Any]:
        """Return what stands before the metrics; a time left of one epoch would tell nothing."""
        return [TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn()]

    def get_metrics(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return the metrics, "train/loss" as "loss", without the version of the logger."""
        items = super().get_metrics(trainer, pl_module)
        return {name.split("/")[-1]: item for name, item in items.items() if name != "v_num"}


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advertisements and the warnings that do not apply here off the screen."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)  # its remarks on devices and other products are INFO
    try:
        with warnings.catch_warnings():
            for start in _IRRELEVANT:
                warnings.filterwarnings("ignore", message=start)
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def interruptible(trainer: lightning.Trainer) -> Iterator[None]:
    """Let Ctrl-C arrive as the KeyboardInterrupt that it is.

    Lightning turns it into an exit of its own, and makes the process deaf to the next one.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if trainer.interrupted:
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from stop
        raise
