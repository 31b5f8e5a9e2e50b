"""What a frozen place computes: the forms that come to the same numbers, and which costs least."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from spectral_stride.dft import gain
from spectral_stride.fast.taps import Taps
from spectral_stride.plan import Plan
from spectral_stride.torch.deploy.matrices import (
    Matrix,
    Rolled,
    of_axes,
    rolled,
    shifts,
    with_taps,
)
from spectral_stride.torch.deploy.operations import (
    POOLINGS,
    Operation,
    at_stride_1,
    averaging,
    padded,
    shape_at_stride_1,
)
from spectral_stride.torch.deploy.phases import WHOLE, JoinPhases, join_cost
from spectral_stride.torch.deploy.products import CALL, MOVED, Along, built, cheapest
from spectral_stride.torch.layers.conv_order import Convolution, each_axis, pads_of

# What a multiply-accumulate costs in a convolution of each channel by itself, in those of a large
# product, and what it costs a convolution to write a number and to read one. See `products`.
DEPTHWISE, WRITTEN, READ = 3.0, 16.0, 30.0


class Resample(nn.Module):
    """Products along axes; nothing where every size stays."""

    def __init__(self, products: nn.Sequential) -> None:
        super().__init__()
        self.products = products

    def forward(self, x: torch.Tensor, operation: Operation | None = None) -> torch.Tensor:
        """Resample what an operation makes of x, if there is one."""
        y: torch.Tensor = self.products(x if operation is None else at_stride_1(operation, x))
        return y


class Average(Resample):
    """Products that take the means of windows too."""

    def forward(self, x: torch.Tensor, operation: Operation | None = None) -> torch.Tensor:
        """Resample x."""
        return super().forward(x)


class ConvolveTaps(nn.Module):
    """Products onto the taps of each output sample, then the kernel at a stride of its own size."""

    def __init__(
        self,
        products: nn.Sequential,
        gain: float,
        stride: tuple[int, int],
        dilation: tuple[int, int],
        pads: tuple[tuple[int, int], tuple[int, int]],
    ) -> None:
        super().__init__()
        self.products, self.gain = products, gain
        self.stride, self.dilation, self.pads = stride, dilation, pads

    def forward(self, x: torch.Tensor, conv: Convolution) -> torch.Tensor:
        """Resample, then convolve."""
        if conv.padding_mode != "zeros":
            x, _ = padded(conv, x, pads_of(conv))
        x, padding = padded(conv, x, self.pads) if any(map(any, self.pads)) else (x, (0, 0))
        return functional.conv2d(
            self.products(x),
            conv.weight,
            _scaled(conv.bias, self.gain),
            self.stride,
            padding,
            self.dilation,
            conv.groups,
        )


def _scaled(bias: torch.Tensor | None, gain: float) -> torch.Tensor | None:
    """What resampling makes of a constant."""
    return bias if bias is None or gain == 1 else bias * gain


class ConvolveRolled(nn.Module):
    """Products onto a grid that neighbouring outputs share, then the kernel at a whole stride.

    With z = G_h x G_w^T the convolution of z is that of a signal that goes round. What it sees too
    much lies beyond the ends of the convolution at stride 1, on a few lines of each axis, and comes
    off as two products of low rank: see `Rolled`.
    """

    wide: torch.Tensor
    top: torch.Tensor
    side: torch.Tensor
    exact: torch.Tensor
    above: torch.Tensor
    beside: torch.Tensor

    def __init__(
        self,
        height: Rolled,
        width: Rolled,
        products: nn.Sequential,
        exact: Matrix,
        gain: float,
        like: torch.Tensor,
    ) -> None:
        super().__init__()
        self.products = products
        self.gain, self.ratios = gain, (height.ratio, width.ratio)
        matrices = {
            "wide": width.samples,
            "top": height.ends,
            "side": width.ends,
            "exact": exact,  # the taps of the height, where the ends of the width are convolved
            "above": height.wrapped,
            "beside": width.wrapped.T,
        }
        for name, matrix in matrices.items():
            self.register_buffer(name, matrix.to(like).contiguous())

    def forward(self, x: torch.Tensor, conv: Convolution) -> torch.Tensor:
        """Resample, convolve, and take off what went round."""
        if conv.padding_mode != "zeros":
            x, _ = padded(conv, x, pads_of(conv))
        d_h, d_w = each_axis(conv.dilation)

        def convolve(z: torch.Tensor, stride: Any, dilation: Any, bias: Any = None) -> torch.Tensor:
            return functional.conv2d(z, conv.weight, bias, stride, 0, dilation, conv.groups)

        bias = _scaled(conv.bias, self.gain)
        y = convolve(self.products(x), self.ratios, (d_h, d_w), bias)
        lines = functional.linear(torch.matmul(self.top, x), self.wide)
        rows = convolve(lines, (1, self.ratios[1]), (d_h, d_w))
        ends = torch.matmul(self.exact, functional.linear(x, self.side))
        columns = convolve(ends, (conv.kernel_size[0], 1), (1, d_w))
        batch = columns.shape[:-2]
        one = torch.cat([self.above.expand(*batch, -1, -1), columns], -1)
        other = torch.cat([rows, self.beside.expand(*batch, -1, -1)], -2)
        return y - torch.matmul(one, other)


class _Choice(NamedTuple):
    cost: float
    build: Callable[[], nn.Module]


def form_of(
    plan: Plan, strides: Sequence[float] | None, x: torch.Tensor, operation: Operation | None
) -> nn.Module:
    """Make the form that costs least for a plan, of what comes to a place and its operation."""
    maps = of_axes(plan, strides)
    planned = zip(plan.axes, maps, strict=True)
    moved = [(axis - len(plan.shape), matrix) for axis, matrix in planned if matrix is not None]
    made = tuple(x.shape) if operation is None else shape_at_stride_1(operation, x)
    # What the batch has is not known: all is counted for one entry of it.
    shape = made[len(made) > 3 :]
    chain = cheapest(moved, shape) if moved else None
    behind = Resample(nn.Sequential() if chain is None else built(chain, x))
    if operation is None or chain is None:
        return behind
    full = _operating(operation, shape, math.prod(x.shape[-3:]))
    choices = [_Choice(full + chain.cost, lambda: behind)]
    along = dict(moved)
    if set(along) <= {-2, -1}:
        choices += _by_phases(along, x, operation, shape, full)
    # The other forms are for sizes of both axes, which a plan for both alone knows.
    is_for_both = list(plan.axes) == [len(plan.shape) - 2, len(plan.shape) - 1]
    if isinstance(operation, nn.AvgPool2d):
        choices += _averaging(along, x, operation) if is_for_both else []
    elif not isinstance(operation, nn.MaxPool2d):
        # A batch norm and an activation that follow cannot become part of the convolution then.
        norm = 4 * MOVED * operation.out_channels * math.prod(plan.out_sizes)
        choices = [_Choice(choice.cost + norm, choice.build) for choice in choices]
        if is_for_both:
            choices += _resampling_first(plan, maps, x, operation, norm)
    return min(choices, key=lambda choice: choice.cost).build()


def _operating(operation: Operation, shape: Sequence[int], numbers: int) -> float:
    """Count what an operation costs that leaves this shape and reads so many numbers."""
    if isinstance(operation, POOLINGS):
        each, weight = math.prod(each_axis(operation.kernel_size)), DEPTHWISE
    else:
        each = operation.in_channels // operation.groups * math.prod(operation.kernel_size)
        weight = DEPTHWISE if operation.groups > 1 else 1.0
        numbers += operation.weight.numel()
    return float((weight * each + WRITTEN) * math.prod(shape) + READ * numbers)


def _by_phases(
    along: dict[int, Matrix],
    x: torch.Tensor,
    operation: Operation,
    shape: tuple[int, ...],
    full: float,
) -> list[_Choice]:
    """List the form of phases, if an axis has some."""
    if isinstance(operation, nn.AvgPool2d):
        return []
    found = {axis: one for axis, matrix in along.items() if (one := shifts(matrix)) is not None}
    if not found:
        return []
    axes = found.get(-2, WHOLE), found.get(-1, WHOLE)
    height, width = [size // len(one.matrices) for size, one in zip(shape[-2:], axes, strict=True)]
    sizes = height, width
    left = [(axis, matrix) for axis, matrix in along.items() if axis not in found]
    chain = cheapest(left, (shape[0], *sizes)) if left else None
    rest = 0.0 if chain is None else chain.cost
    cost = full + join_cost(axes, sizes, shape[0]) + rest

    def build() -> nn.Module:
        products = nn.Sequential() if chain is None else built(chain, x)
        return JoinPhases(axes, sizes, products, operation, x)

    return [_Choice(cost, build)]


def _averaging(along: dict[int, Matrix], x: torch.Tensor, pool: nn.AvgPool2d) -> list[_Choice]:
    """List the form whose products average too."""
    folded: list[Along] = []
    for axis in (-2, -1):
        averages = each_axis(pool.kernel_size)[axis] > 1 or pool.divisor_override is not None
        if axis not in along and not averages:
            continue
        means = averaging(pool, axis, x.shape[axis])
        folded.append((axis, along[axis] @ means if axis in along else means))
    chain = cheapest(folded, tuple(x.shape[-3:]))
    return [_Choice(chain.cost, lambda: Average(built(chain, x)))]


def _resampling_first(
    plan: Plan, maps: Sequence[Matrix | None], x: torch.Tensor, conv: Convolution, norm: float
) -> list[_Choice]:
    """List the forms that resample before they convolve."""
    sizes, kernel, dilation = tuple(x.shape[-2:]), conv.kernel_size, each_axis(conv.dilation)
    pads = pads_of(conv)
    if conv.padding_mode != "zeros":
        sizes = tuple(size + sum(both) for size, both in zip(sizes, pads, strict=True))
        pads = (0, 0), (0, 0)
    before = [one for one, _ in pads]
    each = list(zip(maps, map(Taps, kernel, dilation, before, sizes), strict=True))
    pairs = zip(plan.sizes, plan.out_sizes, strict=True)
    scale = math.prod([gain(plan.norm, *pair) for pair in pairs])
    onto = [None if matrix is None else with_taps(matrix, taps) for matrix, taps in each]
    channels = conv.in_channels
    along: list[Along] = [
        (axis, matrix) for axis, matrix in zip((-2, -1), onto, strict=True) if matrix is not None
    ]
    shape = channels, *sizes
    chain = cheapest(along, shape, repeats=max(kernel) > 1)
    read = [
        size if matrix is None else matrix.shape[0]
        for size, matrix in zip(sizes, onto, strict=True)
    ]
    numbers = channels * math.prod(read)

    def taps_form() -> nn.Module:
        strides, apart, left = zip(
            *[
                (1, d, both) if matrix is None else (k, 1, (0, 0))
                for matrix, k, d, both in zip(onto, kernel, dilation, pads, strict=True)
            ],
            strict=True,
        )
        return ConvolveTaps(built(chain, x), scale, strides, apart, left)

    out = conv.out_channels, *plan.out_sizes
    found = [_Choice(chain.cost + _operating(conv, out, numbers), taps_form)]
    windows = [None if matrix is None else rolled(matrix, taps) for matrix, taps in each]
    height, width = windows
    exact = onto[0]
    if max(kernel) > 1 and height is not None and width is not None and exact is not None:
        (tall, _), (wide, _) = height.samples.shape, width.samples.shape
        first = cheapest([(-2, height.samples), (-1, width.samples)], shape, repeats=True)
        (rows, above), (columns, beside) = height.wrapped.shape, width.wrapped.shape
        cost = first.cost + _operating(conv, out, channels * tall * wide)
        # The convolutions of the ends, each of which reads all weights, and what comes off by them.
        taken = height.ends.shape[0] * wide, exact.shape[0] * width.ends.shape[0]
        for ends, many in zip(((above, columns), (rows, beside)), taken, strict=True):
            cost += _operating(conv, (conv.out_channels, *ends), channels * many)
        cost += math.prod(out) * (above + beside + 4 * MOVED) + norm + 10 * CALL

        def rolled_form() -> nn.Module:
            return ConvolveRolled(height, width, built(first, x), exact, scale, x)

        found.append(_Choice(cost, rolled_form))
    return found
