"""The progress bar: Lightning's, cut down to what fits on a line of 80 characters."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn


class Bar(RichProgressBar):
    """Epoch, steps, loss and accuracy of the last batch."""

    def configure_columns(self, trainer: lightning.Trainer) -> list[Any]:
        """Return what stands before the metrics; a time left of one epoch would tell nothing."""
        return [TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn()]

    def get_metrics(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return the metrics, "train/loss" as "loss", without the version of the logger."""
        items = super().get_metrics(trainer, pl_module)
        return {name.split("/")[-1]: item for name, item in items.items() if name != "v_num"}
