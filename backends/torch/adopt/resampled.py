"""The module that stands in for an operation with a stride: the operation, then a learned one."""

from typing import Any, Self

import torch
from torch import nn

from spectral_stride.torch.adopt.places import Operation
from spectral_stride.torch.layers.diffstride import DiffStride


class Resampled(nn.Module):
    """An operation at stride 1, resampled by a layer that it may share with others.

    y = DiffStride(operation(x)), in the cheaper order where the operation is a `torch.nn.Conv2d`.
    What is read from it and is not its own, such as ``kernel_size``, is the operation's.

    Parameters
    ----------
    operation : Operation
        Its module loses its stride.
    resampling : DiffStride
    owns : bool
        Whether the layer is a module of this one. Where it is not, another place has it, so that a
        network has each parameter under one name.

    Notes
    -----
    The operation is no module of this one: its parameters, buffers and modules are, in the same
    dicts. So all have the names that they had, and a state_dict of the strided network lacks
    nothing but the strides.
    """

    def __init__(self, operation: Operation, resampling: DiffStride, owns: bool) -> None:
        super().__init__()
        module = operation.module
        module.stride = (1,) * operation.ndim
        # In tuples they are no modules of this one.
        self._operation, self._resampling = (operation,), (resampling,)
        self._parameters, self._buffers = module._parameters, module._buffers
        self._modules = module._modules
        self._non_persistent_buffers_set = module._non_persistent_buffers_set
        self.training = module.training
        if owns:
            self.resampling = resampling

    @property
    def shared_resampling(self) -> DiffStride:
        """The layer with the strides, whichever place has it among its modules."""
        return self._resampling[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the operation and resample what it returns."""
        operation, resampling = self._operation[0], self._resampling[0]
        x = operation.extended(x)
        y: torch.Tensor
        if isinstance(operation.module, nn.Conv2d):
            y = resampling(x, operation.module)
        else:
            y = resampling(operation.module(x))
        return y

    def train(self, mode: bool = True) -> Self:
        """Set the mode, of the operation too."""
        self._operation[0].module.training = mode
        return super().train(mode)

    def __getattr__(self, name: str) -> Any:
        """Read what is the operation's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_"):
                raise
            return getattr(self._operation[0].module, name)

    def extra_repr(self) -> str:
        """The operation, and where its strides are those of another place."""
        module = self._operation[0].module
        text = f"{type(module).__name__}({module.extra_repr()})"
        return text if "resampling" in self._modules else f"{text}, strides of another place"
