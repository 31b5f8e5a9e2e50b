"""The training itself, for Lightning: the loss with its penalty, the optimizer, what is logged."""

import math
import statistics
import time
from bisect import bisect_right
from dataclasses import asdict
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch.nn.functional import cross_entropy

from spectral_stride.torch.layers.diffstride import DiffStride
from spectral_stride.torch.layers.whole_network import hold_sizes, project_strides
from spectral_stride.torch.models.constants import Constants
from spectral_stride.torch.param_groups import param_groups
from spectral_stride.torch.training.augment import cropped, flipped, mixed, shifted
from spectral_stride.torch.training.config import Config
from spectral_stride.torch.training.data.samples import normalized
from spectral_stride.torch.training.networks import build_model, layer_name
from spectral_stride.torch.training.recipes import RECIPES
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.results import LONGEST, number
from spectral_stride.torch.training.words import complete

# Samples, and labels of shape (batch, tasks).
Batch = tuple[torch.Tensor, torch.Tensor]

# Adam forgets the size of early gradients within some hundred steps, not thousands: the penalty's
# gradient falls steeply as strides grow, and would otherwise stop moving them.
BETAS = (0.9, 0.99)
MOMENTUM = 0.9
WARM_UP = 0.3


class Classifier(Constants, lightning.LightningModule):
    """A network that learns classes and strides: cross entropies + penalty * complexity.

    A checkpoint holds the arguments, so ``Classifier.load_from_checkpoint(path)`` needs nothing
    else.

    Parameters
    ----------
    config : dict
        The fields of a `Config`.
    tasks : dict of str to int
        Name and number of classes of each task.
    sample_shape : sequence of int
        (channels, height, width) of an image, (samples,) of a recording.
    sample_rate : int or None
        Of recordings, in Hz.
    mean, std : nested list of float
        What samples are normalized with; they broadcast against a batch.

    Attributes
    ----------
    model : Module
        Logits of each task from normalized samples.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        config: dict[str, Any],
        tasks: dict[str, int],
        sample_shape: tuple[int, ...],
        sample_rate: int | None,
        mean: list[Any],
        std: list[Any],
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.config = Config(**complete(config))
        self.recipe = RECIPES[self.config.recipe]
        self.tasks = tasks
        self.register_constants()
        self.model = build_model(
            self.config.model,
            num_classes=list(tasks.values()),
            sample_shape=sample_shape,
            sample_rate=sample_rate,
            width=self.config.width,
            downsampling=self.config.downsampling,
            strides=self.config.stride_pairs,
            ramp=self.config.ramp,
            smoothness=self.config.smoothness,
            hard=self.config.hard,
            part=self.config.part,
        )
        if self.recipe.channels_last and len(sample_shape) == 3:
            for parameter in self.model.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        # Not part of the module: what is saved is the network, however it is run.
        self._run: Any = None
        self._last = 0.0
        self._steps: list[float] = []
        self.seconds = 0.0
        self._median_before = math.nan
        # Of each layer with strides, where an earlier process had them: see `on_train_start`.
        self._met: list[tuple[list[float], list[float] | None]] = []

    def constants(self) -> dict[str, torch.Tensor]:
        """Return what samples are normalized with, as the arguments have it."""
        return {
            name: torch.tensor(self.hparams[name], device="cpu", dtype=torch.float32)
            for name in ("mean", "std")
        }

    @classmethod
    def build(cls, config: Config, data: Any) -> "Classifier":
        """Build one for a data module, in the form that a checkpoint can hold."""
        return cls(
            asdict(config),
            data.tasks,
            data.sample_shape,
            data.sample_rate,
            data.mean.tolist(),
            data.std.tolist(),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return logits of shape (batch, classes), one for each task, from raw samples."""
        return self._logits(self._normalized(x))

    def on_train_epoch_start(self) -> None:
        """Hold sizes for the epoch where the network is compiled, and start the clock."""
        self._last = time.perf_counter()
        if self._compiles():
            hold_sizes(self.model)
            if self._run is None:
                # Every epoch may have other sizes, and a last batch of another size.
                limit = 8 + 2 * self.config.epochs
                self._run = torch.compile(  # type: ignore[call-overload]  # newer than its types
                    self.model.forward, recompile_limit=limit
                )

    def on_test_start(self) -> None:
        """Test with the sizes of the final strides, which the training may have held still."""
        if self._compiles():
            hold_sizes(self.model)

    def on_train_batch_start(self, *_: Any) -> None:
        """Draw this step's random numbers from the seed, the process and the step alone.

        A run that was resumed then goes on as one that was never broken.
        """
        sources = [self.config.seed, self.global_rank, self.global_step]
        torch.manual_seed(int(np.random.SeedSequence(sources).generate_state(1, np.uint64)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss of one batch, and log it with the strides that led to it."""
        x, labels = batch
        x, partner, share = self._augmented(self._normalized(x))
        logits, strides = self._logits(x), self._strides()
        entropy = share * self._entropy(logits, labels)
        if partner is not None:
            entropy = entropy + (1 - share) * self._entropy(logits, labels[partner])
        complexity = self.model.complexity()
        loss: torch.Tensor = entropy + self.config.penalty * complexity
        if not torch.isfinite(loss):
            raise self._diverged(f"a loss of {float(loss.detach())}")
        right = torch.stack(self._right(logits, labels)).mean()
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/accuracy", right, prog_bar=True)
        self.log("train/complexity", complexity)
        self.log_dict(strides)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Project strides that the step threw out; note how long it took, from the one before."""
        project_strides(self.model)
        now = time.perf_counter()
        self._steps.append(now - self._last)
        self.seconds += now - self._last
        self._last = now

    def median_step(self) -> float:
        """Median time of the training steps of this process, or else of the one before."""
        return statistics.median(self._steps) if self._steps else self._median_before

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a run that goes on needs besides the parameters."""
        checkpoint["seconds"], checkpoint["step_seconds"] = self.seconds, self.median_step()
        checkpoint["met"] = [(one._start, one._reach) for one in self._layers()]
        # A budget that has settled leaves them so.
        checkpoint["hard"] = [one.hard for one in self._layers()]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` has kept, and refuse what no training has left."""
        for name, value in checkpoint.get("state_dict", {}).items():
            if value.is_floating_point() and not value.isfinite().all():
                raise ValueError(f"{name} has entries that are not finite")
        self.seconds = number(checkpoint["seconds"], "seconds", 0.0, LONGEST)
        median = checkpoint["step_seconds"]
        if median == median:  # not NaN, which it is before the first step
            self._median_before = number(median, "step_seconds", 0.0, LONGEST)
        self._met = [(start, reach) for start, reach in checkpoint["met"]]
        if len(self._met) != len(self._layers()):
            raise ValueError(f"'met' of {len(self._met)} layers, for {len(self._layers())}")
        for start, reach in self._met:
            for stride in [*start, *(reach or [])]:
                number(stride, "a stride under 'met'", -LONGEST, math.inf)

        for layer, hard in zip(self._layers(), checkpoint.get("hard", []), strict=False):
            layer.hard = bool(hard)
        for schedule in checkpoint.get("lr_schedulers", []):
            # Earlier versions had divisions alone, of the same sizes at the same steps.
            if schedule.pop("milestones", None) is not None:
                del schedule["gamma"]
                schedule["lr_lambdas"] = [None] * len(schedule["base_lrs"])

    def on_train_start(self) -> None:
        """Let strides reach as far as they could: loading a parameter forgets the inputs met."""
        for layer, (start, reach) in zip(self._layers(), self._met, strict=False):
            layer._start, layer._reach = start, reach

    def _layers(self) -> list[DiffStride]:
        return [one for one in self.model.modules() if isinstance(one, DiffStride)]

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the share of test samples that are classified rightly, of each task and overall."""
        x, labels = batch
        right = self._right(self(x), labels)
        for task, share in zip(self.tasks, right, strict=True):
            self.log(f"test/accuracy/{task}", share, batch_size=len(labels))
        self.log("test/accuracy", torch.stack(right).mean(), batch_size=len(labels))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the recipe's optimizer; strides have a rate of their own, and no weight decay."""
        config = self.config
        groups = param_groups(self.model, config.lr, config.weight_decay, config.stride_lr)
        if not self.recipe.decays_vectors:
            groups = _decaying_kernels_alone(groups)
        optimizer: torch.optim.Optimizer
        if self.recipe.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups, betas=BETAS)
        elif self.recipe.optimizer == "adam":
            optimizer = torch.optim.Adam(groups)
        else:
            optimizer = torch.optim.SGD(groups, momentum=MOMENTUM)
        # Not Lightning's estimate: to make it, processes that read samples begin with the first
        # epoch's, before a checkpoint says which epoch it is.
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        steps = config.epochs * len(data.train_dataloader())
        schedule: torch.optim.lr_scheduler.LRScheduler
        if self.recipe.rates is None:
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=[group["lr"] for group in groups],
                total_steps=steps,
                pct_start=WARM_UP,
                cycle_momentum=False,
            )
        else:
            starts, factors = zip(*self.recipe.rates, strict=True)
            first = [round(share * steps) for share in starts]
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: factors[bisect_right(first, step) - 1]
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _compiles(self) -> bool:
        return self.recipe.compiles and self.device.type == "cuda"

    def _normalized(self, x: torch.Tensor) -> torch.Tensor:
        if self.mean.device != x.device:
            self.settle_constants(x.device)
        x = normalized(x, self.mean, self.std)
        if self.recipe.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return x

    def _augmented(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, float]:
        """Return changed samples, and each one's partner in a mixture with its own share."""
        if x.ndim == 4:  # recordings are neither cropped, nor mirrored, nor moved
            if self.config.crop:
                x = cropped(x, self.config.crop)
            if self.config.flip:
                x = flipped(x)
            x = shifted(x, self.config.shift)
        if self.config.mixup:
            return mixed(x, self.config.mixup)
        return x, None, 1.0

    def _entropy(self, logits: tuple[torch.Tensor, ...], labels: torch.Tensor) -> torch.Tensor:
        """Sum of the tasks' cross entropies."""
        smoothing = self.config.label_smoothing
        return torch.stack(
            [
                cross_entropy(one, labels[:, task], label_smoothing=smoothing)
                for task, one in enumerate(logits)
            ]
        ).sum()

    @staticmethod
    def _right(logits: tuple[torch.Tensor, ...], labels: torch.Tensor) -> list[torch.Tensor]:
        """Share of each task's labels that are the likeliest class."""
        return [
            (one.argmax(dim=1) == labels[:, task]).float().mean() for task, one in enumerate(logits)
        ]

    def _logits(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        run = self._run if self.training and self._run is not None else self.model
        try:
            logits: tuple[torch.Tensor, ...] = run(x)
        except ValueError as error:
            if all(bool(layer.strides.isfinite().all()) for layer in self._layers()):
                raise RefusedError(str(error)) from error
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


def _decaying_kernels_alone(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Split each group of an optimizer in two, and give its vectors no weight decay."""
    split = []
    for group in groups:
        kernels = [parameter for parameter in group["params"] if parameter.ndim > 1]
        vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
        split += [{**group, "params": kernels}, {**group, "params": vectors, "weight_decay": 0.0}]
    return [group for group in split if group["params"]]
