"""The map as one node in a compiler's graph, which computes as eager code does.

A compiler that looked inside would trace and compile the rows, masks and matrices of every layer:
some 200 nodes for each axis.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from spectral_stride.axis import Resampling
from spectral_stride.fast.taps import Taps
from spectral_stride.gradients import backward, forward
from spectral_stride.mask import count_ramp_bins
from spectral_stride.operator import apply
from spectral_stride.plan import Plan, sized_plan, with_batch_of_one
from spectral_stride.torch.autograd import clamp, project
from spectral_stride.torch.kernels import products_for
from spectral_stride.torch.map_cache import (
    AllTaps,
    constant_map,
    crop_map,
    learned_map,
    plain_crop,
)
from spectral_stride.torch.memory_format import in_order, logical_order, stored_order


def resample_as_node(
    x: torch.Tensor, strides: torch.Tensor | None, plan: Plan, taps: AllTaps, *, learn: bool
) -> torch.Tensor:
    """Resample by the map of some strides, or without any by a hard crop.

    With ``learn`` the result has first derivatives in the strides, and without it in x alone.
    """
    # Not the plan itself: a node holds numbers and words.
    shape = with_batch_of_one(plan.shape, plan.axes)
    rule = (plan.smoothness, plan.ramp, plan.norm, plan.method, plan.hard)
    words = (shape, plan.axes, plan.out_sizes, *rule)
    numbers = [number for one in taps or () for number in one]
    y: torch.Tensor = _resample(x, strides, learn, *words, numbers)[0]
    return y


class _Node(NamedTuple):
    """What a node says of the map, for a tensor as it lies in memory.

    ``plan`` and ``taps`` are those of the tensor's axes in the order in which they are stored, and
    ``ramps`` the positions of the axes whose coefficients are kept for their strides.
    """

    learn: bool
    plan: Plan
    taps: AllTaps
    ramps: tuple[int, ...]

    def built(self, x: torch.Tensor, strides: torch.Tensor | None) -> Resampling:
        """Build the map, or find the one that was built for the same strides."""
        if strides is None:
            # A compiler that records CUDA graphs may have given memory that is not to be kept.
            build = crop_map if x.device.type == "cpu" else plain_crop
            return build(self.plan, self.taps, x)
        if self.learn:
            return learned_map(strides, self.plan, self.taps, from_output=False)[0]
        return constant_map(strides, self.plan, self.taps, x)


def _read(
    order: Sequence[int] | None,
    learn: bool,
    shape: Sequence[int],
    axes: Sequence[int],
    out_sizes: Sequence[int],
    smoothness: float,
    ramp: str,
    norm: str,
    method: str,
    hard: bool,
    taps: Sequence[int],
) -> _Node:
    """Read the words of a node, for axes in another order."""
    sizes = tuple(shape), tuple(axes), tuple(out_sizes)
    plan = sized_plan(*sizes, smoothness, ramp, norm, method, hard)
    count = len(Taps._fields)
    starts = range(0, len(taps), count)
    all_taps = tuple(Taps(*taps[start : start + count]) for start in starts) or None
    learns = learn and smoothness > 0
    ramps = tuple(position for position, size in enumerate(plan.sizes) if learns and size > 1)
    return _Node(learn, in_order(plan, tuple(order) if order else None), all_taps, ramps)


@torch.library.custom_op("spectral_stride::resample", mutates_args=())
def _resample(
    x: torch.Tensor,
    strides: torch.Tensor | None,
    learn: bool,
    shape: Sequence[int],
    axes: Sequence[int],
    out_sizes: Sequence[int],
    smoothness: float,
    ramp: str,
    norm: str,
    method: str,
    hard: bool,
    taps: Sequence[int],
) -> list[torch.Tensor]:
    """Return y, and where strides learn the coefficients of each ramp, as they are stored."""
    order = stored_order(x)
    words = (shape, axes, out_sizes, smoothness, ramp, norm, method, hard, taps)
    node = _read(order, learn, *words)
    stored = x if order is None else x.permute(order)
    op, products = node.built(stored, strides), products_for(stored)
    if not learn:
        return [_own(apply(op, stored, products=products), stored, order)]
    y, q = forward(op, stored, products)
    return [_own(y, stored, order), *[_own(one, stored, None) for one in q if one is not None]]


@_resample.register_fake
def _(
    x: torch.Tensor, strides: torch.Tensor | None, learn: bool, *words: Any
) -> list[torch.Tensor]:
    """Return what has the shapes of what `_resample` returns."""
    order = stored_order(x)
    node = _read(order, learn, *words)
    plan, found = node.plan, {}
    sizes = list(x.shape if order is None else x.permute(order).shape)
    kernels = [1] * len(plan.axes) if node.taps is None else [one.kernel for one in node.taps]
    for position in reversed(range(len(plan.axes))):
        axis, samples = plan.axes[position], plan.out_sizes[position]
        if position in node.ramps:
            bins = count_ramp_bins(plan.sizes[position], samples // 2, plan.smoothness, plan.ramp)
            rows = 2 * bins * kernels[position]
            found[position] = x.new_empty([*sizes[:axis], rows, *sizes[axis + 1 :]])
        sizes[axis] = kernels[position] * samples
    y = x.new_empty(sizes)
    return [y if order is None else logical_order(y, order), *[found[one] for one in node.ramps]]


@torch.library.custom_op("spectral_stride::resample_backward", mutates_args=())
def _resample_backward(
    g: torch.Tensor,
    strides: torch.Tensor | None,
    q: Sequence[torch.Tensor],
    into_x: bool,
    order: Sequence[int],
    learn: bool,
    shape: Sequence[int],
    axes: Sequence[int],
    out_sizes: Sequence[int],
    smoothness: float,
    ramp: str,
    norm: str,
    method: str,
    hard: bool,
    taps: Sequence[int],
) -> list[torch.Tensor]:
    """Return the gradients in x and in the strides, of those that are asked for.

    ``order`` is that in which the axes of x are stored; empty for a contiguous one.
    """
    words = (shape, axes, out_sizes, smoothness, ramp, norm, method, hard, taps)
    node = _read(order, learn, *words)
    stored = g.permute(tuple(order)) if order else g
    op, products = node.built(stored, strides), products_for(stored)
    if not learn:
        return [_own(apply(op, stored, adjoint=True, products=products), stored, order)]
    assert strides is not None
    kept: list[torch.Tensor | None] = [None] * len(op.maps)
    for position, one in zip(node.ramps, q, strict=True):
        kept[position] = one
    dx, ds = backward(op, stored, kept, strides.dtype, into_x=into_x, products=products)
    found = [] if dx is None else [_own(dx, stored, order)]
    return [*found, torch.zeros_like(strides) if ds is None else ds]


@_resample_backward.register_fake
def _(
    g: torch.Tensor,
    strides: torch.Tensor | None,
    q: Sequence[torch.Tensor],
    into_x: bool,
    order: Sequence[int],
    learn: bool,
    *words: Any,
) -> list[torch.Tensor]:
    """Return what has the shapes of what `_resample_backward` returns."""
    node = _read(order, learn, *words)
    sizes = list(g.permute(tuple(order)).shape if order else g.shape)
    for position, axis in enumerate(node.plan.axes):
        taps = node.taps
        sizes[axis] = node.plan.sizes[position] if taps is None else taps[position].size
    dx = g.new_empty(sizes)
    found = [logical_order(dx, tuple(order)) if order else dx] if into_x else []
    return [*found, torch.empty_like(strides)] if learn and strides is not None else found


def _own(y: torch.Tensor, x: torch.Tensor, order: Sequence[int] | None) -> torch.Tensor:
    """Return y in logical order, as a tensor that shares no memory with x: a node has to."""
    # Of an empty x all is a view.
    shared = y is x or y.numel() == 0
    y = y.clone(memory_format=torch.contiguous_format) if shared else y.contiguous()
    return logical_order(y, tuple(order)) if order else y


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: list[torch.Tensor]) -> None:
    """Save the strides and the coefficients, and nothing of x."""
    x, strides, *ctx.words = inputs
    ctx.order = list(stored_order(x) or ())
    ctx.save_for_backward(strides, *output[1:])


def _backward(ctx: Any, cotangents: list[torch.Tensor]) -> tuple[Any, ...]:
    """Return the gradients in x and in the strides, and none for any word."""
    strides, *q = ctx.saved_tensors
    learn, into_x = ctx.words[0], ctx.needs_input_grad[0]
    # PyTorch takes an empty list for one of tensors, and wants as many gradients back.
    none: list[Any] = [[] if isinstance(word, list) and not word else None for word in ctx.words]
    found = _resample_backward(cotangents[0], strides, q, into_x, ctx.order, *ctx.words)
    return found[0] if into_x else None, found[-1] if learn else None, *none


_resample.register_autograd(_backward, setup_context=_setup_context)


def feasible_as_node(
    strides: torch.Tensor,
    lower: Sequence[float],
    upper: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
) -> torch.Tensor:
    """Do what `FeasibleStrides` of `autograd` does."""
    y: torch.Tensor = _feasible(strides, lower, upper, low, high)
    return y


@torch.library.custom_op("spectral_stride::feasible", mutates_args=())
def _feasible(
    strides: torch.Tensor,
    lower: Sequence[float],
    upper: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
) -> torch.Tensor:
    """Return the nearest strides within the layer's bounds."""
    return clamp(strides, lower, upper)


@_feasible.register_fake
def _(strides: torch.Tensor, *bounds: Sequence[float]) -> torch.Tensor:
    """Return an empty tensor of the strides' shape, for a compiler."""
    return torch.empty_like(strides, memory_format=torch.contiguous_format)


def _setup_projection(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    """Save the strides and their bounds, for the projection of their gradient."""
    strides, _, _, ctx.low, ctx.high = inputs
    ctx.save_for_backward(strides)


def _project(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Return the projected gradient."""
    (strides,) = ctx.saved_tensors
    return project(g, strides, ctx.low, ctx.high), None, None, None, None


_feasible.register_autograd(_project, setup_context=_setup_projection)
