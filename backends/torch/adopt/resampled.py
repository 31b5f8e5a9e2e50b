"""What an operation with a stride becomes: the same module at stride 1, resampled behind itself."""

from functools import lru_cache
from typing import Any

import torch
from torch import nn

from spectral_stride.torch.adopt.places import Operation
from spectral_stride.torch.layers.diffstride import DiffStride
from spectral_stride.torch.layers.symbolic import as_node, is_symbol


class Resampled(nn.Module):
    """A convolution or pooling at stride 1, resampled by a layer that it may share with others.

    y = DiffStride(operation(x)), in the cheaper order where the operation is a `torch.nn.Conv2d`.

    It is the operation itself, whose class has become one of both: so its parameters, hooks and
    checkpoints stay, it is found wherever it is kept, and hooks see what was resampled.
    """

    _operation: Operation
    # In a tuple, in which it is no module of this one: only the first place of a group has it among
    # its modules, so that a network has each parameter under one name.
    _layer: tuple[DiffStride]

    @property
    def shared_resampling(self) -> DiffStride:
        """The layer with the strides, whichever place has it among its modules."""
        return self._layer[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the operation and resample what it returns."""
        if is_symbol(x):
            return as_node(self, x)
        operation, layer = self._operation, self._layer[0]
        x = operation.extended(x)
        if isinstance(self, nn.Conv2d) and operation.is_plain:
            return layer.resampled(x, self)
        if getattr(layer, "is_frozen", False) and isinstance(self, nn.MaxPool2d) and x.ndim == 4:
            # At stride 1 PyTorch takes a third of the time where channels lie last in memory.
            x = x.contiguous(memory_format=torch.channels_last)
        y: torch.Tensor = layer(super().forward(x))
        return y

    def extra_repr(self) -> str:
        """The operation, and where its strides are those of another place."""
        text = super().extra_repr()
        return text if "resampling" in self._modules else f"{text}, strides of another place"

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle by the operation's own class: the class of both has no name."""
        return _bare, (self._operation.kind,), dict(vars(self))


@lru_cache(maxsize=1024)
def _class_of_both(kind: type) -> Any:
    """Put `Resampled` in front of an operation's class."""
    return type(f"Resampled{kind.__name__}", (Resampled, kind), {})


def _bare(kind: type) -> Any:
    """Make a module whose state is still to come."""
    both = _class_of_both(kind)
    return both.__new__(both)


def resample_behind(operation: Operation, layer: DiffStride, owns: bool) -> None:
    """Take the stride from an operation's module, and resample behind it by a layer."""
    module = operation.module
    module.stride = (1,) * operation.ndim
    module.__class__ = _class_of_both(operation.kind)
    module._operation, module._layer = operation, (layer,)
    if owns:
        module.resampling = layer


def resampled_no_more(place: Any) -> None:
    """Let a place be its operation at stride 1 again."""
    place._modules.pop("resampling", None)
    kind = place._operation.kind
    del place._operation, place._layer
    place.__class__ = kind
