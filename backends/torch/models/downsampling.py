"""Places where a network gets smaller: by a learned stride, a spectral crop, or whole strides."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import nn

from spectral_stride import checks
from spectral_stride.torch.layers.diffstride import DiffStride
from spectral_stride.torch.layers.spectral_pool import SpectralPool
from spectral_stride.torch.models.blur_pool import BlurPool

DOWNSAMPLINGS = ("diffstride", "spectral", "strided", "blurpool", "maxpool")
# Those whose strides are whole numbers.
WHOLE = ("strided", "blurpool", "maxpool")

# The stride of one place: the same along both axes, or one number an axis.
Stride = float | Sequence[float]


def pair(stride: Stride) -> tuple[float, float]:
    """Return a stride as one number an axis, refusing what is neither one number nor two."""
    numbers = (stride, stride) if isinstance(stride, Real) else checks.entries(stride) or ()
    found = tuple(checks.real_number(number) for number in numbers)
    if len(found) != 2 or any(map(math.isnan, found)):
        allowed = "one number, or two for height and width, per place"
        remedy = "write 2 or (2, 2)"
        got = f"{checks.shown(stride)} for one place"
        checks.refuse(ValueError, "strides", got, allowed, remedy)
    return found[0], found[1]


class Downsampling(nn.Module):
    """One place where a network gets smaller: the stride of an operation, or a layer behind it.

    Exactly one of the two does the work: ``conv_stride`` is the stride to give to the operation, a
    convolution or a pooling, and calling the module with it resamples what it returns, where it has
    no stride of its own. Two branches that are added share one of these, so that they keep one
    size.

    ``kind`` is "diffstride", a learned stride; "spectral", spectral pooling; "strided", a stride of
    the operation itself; "blurpool" or "maxpool", an average or the maximum behind the operation at
    stride 1. All leave ceil(N/s) samples.
    """

    def __init__(self, kind: str, stride: Stride, **options: Any) -> None:
        super().__init__()
        checks.one_of("downsampling", kind, DOWNSAMPLINGS)
        self.initial = pair(stride)
        # Also refuses what no kind could use. The axes are those of the convolutions.
        learned = DiffStride(self.initial, ndim=2, axes=(-2, -1), **options)
        self.conv_stride = (1, 1)
        self.layer: nn.Module = nn.Identity()
        if kind == "diffstride":
            self.layer = learned
        elif kind == "spectral":
            if self.initial != (1.0, 1.0):
                self.layer = SpectralPool(self.initial)
        else:
            checks.integer_strides(kind, self.initial)
            whole = int(self.initial[0]), int(self.initial[1])
            if kind == "strided":
                self.conv_stride = whole
            elif whole != (1, 1) and kind == "blurpool":
                self.layer = BlurPool(whole)
            elif whole != (1, 1):
                self.layer = nn.MaxPool2d(whole, ceil_mode=True)

    def strides(self) -> torch.Tensor | tuple[float, float]:
        """Present strides: a differentiable tensor where they are learned, else two numbers."""
        layer: Any = self.layer
        if hasattr(layer, "effective_strides"):
            strides: torch.Tensor = layer.effective_strides()
            return strides
        return self.initial

    def forward(self, x: torch.Tensor, operation: nn.Module) -> torch.Tensor:
        """Apply the operation and make its result smaller."""
        # Layers that resample, frozen ones too, may do so before they convolve.
        if hasattr(self.layer, "resampled") and isinstance(operation, nn.Conv2d):
            y: torch.Tensor = self.layer(x, operation)
        else:
            y = self.layer(operation(x))
        return y


class Shrink(nn.Module):
    """An operation with a downsampling of its own: what stands in a `Sequential`."""

    def __init__(self, operation: nn.Module, down: Downsampling) -> None:
        super().__init__()
        self.operation = operation
        self.down = down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the operation and make its result smaller."""
        y: torch.Tensor = self.down(x, self.operation)
        return y


def convolution(
    in_channels: int,
    channels: int,
    kernel_size: int | tuple[int, int],
    down: Downsampling | None = None,
    groups: int = 1,
) -> nn.Conv2d:
    """Build a convolution that keeps the size, or has the stride that a downsampling gives it.

    There is no bias: a batch norm follows.
    """
    height, width = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
    return nn.Conv2d(
        in_channels,
        channels,
        (height, width),
        down.conv_stride if down else (1, 1),
        padding=(height // 2, width // 2),
        groups=groups,
        bias=False,
    )
