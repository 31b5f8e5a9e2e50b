"""The training itself, for Lightning: the loss with its penalty, the optimizer, what is logged."""

from dataclasses import asdict
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch.nn.functional import cross_entropy

from spectral_stride.torch.optim import param_groups
from spectral_stride.torch.training.config import Config, RefusedError
from spectral_stride.torch.training.models import build_model, layer_name

Batch = tuple[torch.Tensor, torch.Tensor]

# Adam forgets the size of early gradients within some hundred steps, not thousands: the penalty's
# gradient falls steeply as strides grow, and would otherwise stop moving them.
BETAS = (0.9, 0.99)
WARM_UP = 0.3


class Classifier(lightning.LightningModule):
    """A network that learns classes and strides: cross entropy + penalty * complexity.

    A checkpoint holds the arguments, so ``Classifier.load_from_checkpoint(path)`` needs nothing
    else.

    Parameters
    ----------
    config : dict
        The fields of a `Config`.
    num_classes, in_channels : int
        Of the data.

    Attributes
    ----------
    model : ResNet
        Logits from normalized images.
    """

    def __init__(self, config: dict[str, Any], num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.config = Config(**config)
        self.model = build_model(
            self.config.model,
            num_classes=num_classes,
            in_channels=in_channels,
            width=self.config.width,
            downsampling=self.config.downsampling,
            strides=self.config.stride_pairs,
            ramp=self.config.ramp,
            smoothness=self.config.smoothness,
        )

    @classmethod
    def build(cls, config: Config, num_classes: int, in_channels: int) -> "Classifier":
        """Build one from a `Config`, in the form that a checkpoint can hold."""
        return cls(asdict(config), num_classes, in_channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (batch, num_classes)."""
        logits: torch.Tensor = self.model(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss of one batch, and log it with the strides that led to it."""
        images, labels = batch
        logits, strides = self._logits(images), self._strides()
        entropy = cross_entropy(logits, labels)
        complexity = self.model.complexity()
        loss: torch.Tensor = entropy + self.config.penalty * complexity
        if not torch.isfinite(loss):
            raise self._diverged(f"a loss of {float(loss.detach())}")
        right = (logits.argmax(dim=1) == labels).float().mean()
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/accuracy", right, prog_bar=True)
        self.log("train/complexity", complexity)
        self.log_dict(strides)
        return loss

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the share of test images that are classified rightly."""
        images, labels = batch
        right = (self._logits(images).argmax(dim=1) == labels).float().mean()
        self.log("test/accuracy", right, batch_size=len(labels))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW on one cycle of learning rates; strides have their own, and no weight decay."""
        config = self.config
        groups = param_groups(self.model, config.lr, config.weight_decay, config.stride_lr)
        optimizer = torch.optim.AdamW(groups, betas=BETAS)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in groups],
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=WARM_UP,
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        try:
            logits: torch.Tensor = self(images)
        except ValueError as error:  # a stride that is not finite
            raise self._diverged("strides that are not finite") from error
        return logits

    def _strides(self) -> dict[str, float | torch.Tensor]:
        """Present strides under the names that the metrics have: "stride/stem/height" ..."""
        logged: dict[str, float | torch.Tensor] = {}
        for name, down in self.model.downsamplings().items():
            height, width = down.strides()
            for axis, stride in (("height", height), ("width", width)):
                value = stride.detach() if isinstance(stride, torch.Tensor) else stride
                logged[f"stride/{layer_name(name)}/{axis}"] = value
        return logged

    def _diverged(self, got: str) -> RefusedError:
        return RefusedError(
            f"training: got {got} at step {self.global_step}; allowed: finite numbers; instead: "
            "write a smaller --lr, --stride-lr or --penalty"
        )
