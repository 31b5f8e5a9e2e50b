"""What an operation with a stride becomes: the same module at stride 1, resampled behind itself."""

from typing import Any

import torch

from spectral_stride.torch.adopt.places import Operation
from spectral_stride.torch.adopt.standing_in import StandIn, stand_in
from spectral_stride.torch.layers.diffstride import DiffStride
from spectral_stride.torch.layers.seen_sizes import SeenSizes
from spectral_stride.torch.layers.symbolic import as_node, is_symbol


class Resampled(StandIn):
    """A convolution or pooling at stride 1, resampled by a layer that it may share with others.

    y = DiffStride(operation(x)), in the cheaper order where the operation is a `torch.nn.Conv2d`.

    It is the operation itself, whose class has become one of both, and hooks see what was
    resampled.
    """

    _operation: Operation
    # In a tuple, in which it is no module of this one: only the first place of a group has it among
    # its modules, so that a network has each parameter under one name.
    _layer: tuple[DiffStride]
    # Sizes of what it takes and of what it returns. The layer sees others, those of places that
    # share it too.
    _seen: SeenSizes
    _made: SeenSizes

    @property
    def shared_resampling(self) -> DiffStride:
        """The layer with the strides, whichever place has it among its modules."""
        return self._layer[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the operation and resample what it returns."""
        if is_symbol(x):
            return as_node(self, x)
        operation, layer = self._operation, self._layer[0]
        extended = operation.extended(x)
        y: torch.Tensor
        if isinstance(self, layer.operations) and operation.is_plain and not operation.fixed:
            y = layer.resampled(extended, self)
        else:
            y = layer(super().forward(extended))
        # Behind the layer, which tells a compiler how to take this.
        self._seen.note(x, operation.axes)
        self._made.note(y, operation.axes)
        return y

    def extra_repr(self) -> str:
        """The operation, and where its strides are those of another place."""
        text = super().extra_repr()
        return text if "resampling" in self._modules else f"{text}, strides of another place"


def resample_behind(operation: Operation, layer: DiffStride, owns: bool) -> None:
    """Take the stride from an operation's module, and resample behind it by a layer."""
    module = operation.module
    module.stride = operation.fixed_strides
    stand_in(Resampled, module)
    module._operation, module._layer = operation, (layer,)
    module._seen, module._made = SeenSizes(), SeenSizes()
    if owns:
        module.resampling = layer


def resampled_no_more(place: Any) -> None:
    """Let a place be its operation at stride 1 again."""
    place._modules.pop("resampling", None)
    kind = place._operation.kind
    del place._operation, place._layer, place._seen, place._made, place._kind
    place.__class__ = kind
