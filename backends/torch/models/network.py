"""What the networks here have in common: places where they get smaller, and heads."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from spectral_stride import checks, complexity
from spectral_stride.torch.models.downsampling import Downsampling, Stride

# How many classes there are to tell apart; or how many in each of several tasks.
Classes = int | Sequence[int]
# One tensor of shape (batch, classes); or a tuple of them, one a task.
Logits = torch.Tensor | tuple[torch.Tensor, ...]


class Network(nn.Module):
    """A network whose every downsampling is a `Downsampling`."""

    def downsamplings(self) -> dict[str, Downsampling]:
        """Return every place where the network gets smaller, by module name, in forward order."""
        return {
            name: module
            for name, module in self.named_modules()
            if isinstance(module, Downsampling)
        }

    def complexity(self) -> Any:
        """Return the paper's cost, sum_l prod_{i<=l} 1/(S_h^i S_w^i), differentiable."""
        return complexity([down.strides() for down in self.downsamplings().values()])


class Heads(nn.Module):
    """Linear classifiers on the features that one body has found: one, or one a task."""

    def __init__(self, features: int, num_classes: Classes) -> None:
        super().__init__()
        self.single = not isinstance(num_classes, Sequence)
        counts = num_classes if isinstance(num_classes, Sequence) else (num_classes,)
        if not counts:
            allowed = "a number of classes, or one for each task"
            checks.refuse(ValueError, "num_classes", "no task", allowed, "write num_classes=10")
        for count in counts:
            checks.positive_integer("num_classes", count)
        self.tasks = nn.ModuleList([nn.Linear(features, count) for count in counts])

    def forward(self, features: torch.Tensor) -> Logits:
        """Map (batch, features) to logits, or to a tuple of them where there are tasks."""
        logits = tuple(task(features) for task in self.tasks)
        return logits[0] if self.single else logits


def check_places(strides: Sequence[Stride], places: Sequence[str], example: str) -> None:
    """Refuse strides that are not one for each place where a network gets smaller."""
    if len(strides) != len(places):
        got = f"{len(strides)} strides {tuple(strides)}"
        allowed = f"{len(places)}: one for each of {', '.join(places)}"
        checks.refuse(ValueError, "strides", got, allowed, f"write strides={example}")


def initialize(network: nn.Module) -> None:
    """Draw the weights of convolutions so that maps keep their variance behind a ReLU."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
