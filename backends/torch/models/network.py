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
        tasks = checks.entries(num_classes)
        self.single = tasks is None
        given = (num_classes,) if tasks is None else tasks
        if not given:
            allowed = "a number of classes, or one for each task"
            checks.refuse(ValueError, "num_classes", "no task", allowed, "write num_classes=10")
        counts = [checks.positive_integer("num_classes", count) for count in given]
        self.tasks = nn.ModuleList([nn.Linear(features, count) for count in counts])

    def forward(self, features: torch.Tensor) -> Logits:
        """Map (batch, features) to logits, or to a tuple of them where there are tasks."""
        logits = tuple(task(features) for task in self.tasks)
        return logits[0] if self.single else logits


def one_each(strides: Sequence[Stride], places: Sequence[str], example: str) -> tuple[Stride, ...]:
    """Return one stride for each place where a network gets smaller, or refuse them."""
    given = checks.entries(strides)
    if given is None or len(given) != len(places):
        got = checks.shown(strides if given is None else given)
        got = got if given is None else f"{len(given)} strides {got}"
        allowed = f"{len(places)}: one for each of {', '.join(places)}"
        checks.refuse(ValueError, "strides", got, allowed, f"write strides={example}")
    return given


def initialize(network: nn.Module) -> None:
    """Draw the weights of convolutions so that maps keep their variance behind a ReLU."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
