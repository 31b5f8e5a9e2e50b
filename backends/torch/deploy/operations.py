"""What a place computes before it is resampled: its operation at stride 1, and phases of that."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from spectral_stride.torch.deploy.matrices import Matrix
from spectral_stride.torch.layers.conv_order import (
    Convolution,
    convolved_shape,
    each_axis,
    pads_of,
)

# A convolution or a pooling of images, at stride 1.
Operation = Any
POOLINGS = nn.MaxPool2d, nn.AvgPool2d


def padded(
    conv: Convolution, x: torch.Tensor, pads: Sequence[tuple[int, int]]
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Pad as far as a convolution cannot do it itself, and say what is left to it."""
    (top, bottom), (left, right) = pads
    if conv.padding_mode != "zeros":
        return functional.pad(x, (left, right, top, bottom), mode=conv.padding_mode), (0, 0)
    if (top, left) == (bottom, right):
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom)), (0, 0)


def at_stride_1(operation: Operation, x: torch.Tensor) -> torch.Tensor:
    """Apply an operation."""
    if isinstance(operation, nn.AvgPool2d):
        return nn.AvgPool2d.forward(operation, x)
    return Phases(operation, x, (1, 1)).starting(0, 0)


def shape_at_stride_1(operation: Operation, x: torch.Tensor) -> tuple[int, ...]:
    """Shape of what an operation returns."""
    if isinstance(operation, POOLINGS):
        return tuple(at_stride_1(operation, x).shape)
    return convolved_shape(operation, x)


class Phases:
    """Each r-th output of a convolution or a max pooling at stride 1, from a chosen one on.

    A convolution that starts at p > 0 starts at p - r instead, by more zeros, of which PyTorch pads
    as many behind: there are outputs on both sides that are not asked for.

    ``sizes`` are those of a phase, needed for a pooling that starts at p > 0.
    """

    def __init__(
        self,
        operation: Operation,
        x: torch.Tensor,
        ratios: tuple[int, int],
        sizes: tuple[int, int] | None = None,
    ) -> None:
        self.operation, self.ratios, self.sizes = operation, ratios, sizes
        if isinstance(operation, nn.MaxPool2d):
            # At stride 1 PyTorch takes a third of the time where channels lie last in memory.
            if x.ndim == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            self.x, self.padding = x, each_axis(operation.padding)
        else:
            self.x, self.padding = padded(operation, x, pads_of(operation))

    def starting(self, *starts: int) -> torch.Tensor:
        """Outputs from this one on."""
        op = self.operation
        if isinstance(op, nn.MaxPool2d):
            return self._maxima(starts)
        each = zip(self.padding, self.ratios, starts, strict=True)
        padding = [own + -start % ratio for own, ratio, start in each]
        return functional.conv2d(
            self.x, op.weight, op.bias, self.ratios, padding, op.dilation, op.groups
        )

    def _maxima(self, starts: tuple[int, ...]) -> torch.Tensor:
        """Crop or pad less in front, and let the last windows go over the edge."""
        pool, y = self.operation, self.x
        moved = [start - own for start, own in zip(starts, self.padding, strict=True)]
        for axis, many in zip((-2, -1), moved, strict=True):
            y = y.narrow(axis, many, y.shape[axis] - many) if many > 0 else y
        padding = [max(-many, 0) for many in moved]
        y = functional.max_pool2d(
            y, pool.kernel_size, self.ratios, padding, pool.dilation, ceil_mode=any(starts)
        )
        if any(starts) and self.sizes is not None:
            for axis, ratio, size in zip((-2, -1), self.ratios, self.sizes, strict=True):
                y = y.narrow(axis, 0, size) if ratio > 1 else y
        return y


def averaging(pool: nn.AvgPool2d, axis: int, size: int) -> Matrix:
    """Matrix (M, N) of the means along an axis."""
    kernel, padding = each_axis(pool.kernel_size)[axis], each_axis(pool.padding)[axis]
    divisor = pool.divisor_override
    counts = pool.count_include_pad or divisor is not None
    each = torch.eye(size, dtype=torch.float64)[:, None]
    means = functional.avg_pool1d(each, kernel, 1, padding, count_include_pad=counts)[:, 0].T
    if divisor is None:
        return means
    # Those of the height take all of it.
    return means * (kernel / divisor if axis == -2 else kernel)
