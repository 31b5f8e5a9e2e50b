"""The core's maps as Functions of PyTorch's autograd, differentiable backward and forward.

Two rules for strides that learn: from what comes to each axis (`ResampleFunction`), and from the
output alone (`LearnFromOutput`), behind a map that is then a constant one (`ConstantFunction`).
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from spectral_stride.axis import Resampling
from spectral_stride.fast.from_output import FromOutput, seen_from
from spectral_stride.gradients import backward, forward, push
from spectral_stride.operator import PLAIN, apply
from spectral_stride.plan import Plan
from spectral_stride.torch.kernels import products_for
from spectral_stride.torch.map_cache import AllTaps, plain_map
from spectral_stride.torch.memory_format import in_order, logical_order, stored_order, writable


def differentiable_map(strides: torch.Tensor, plan: Plan, taps: AllTaps = None) -> Resampling:
    """What these strides make of each axis, with derivatives of every order in them."""
    return plain_map(strides, plan, taps, stop=torch.Tensor.detach)


def is_autocast(device: torch.device) -> bool:
    """Whether autocast is on for a device; "meta" has none."""
    # Not by torch.amp.is_autocast_available, which the compiler of PyTorch 2.11 cannot trace.
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Keep masks and matrices in full precision: autocast would build them in half."""
    return torch.autocast(device.type, enabled=False) if is_autocast(device) else nullcontext()


class ResampleFunction(torch.autograd.Function):
    """y = A(s) x and the coefficients q of its ramps, with the core's gradients.

    What is saved is q and not x. As q is an output, and an output has a gradient of its own,
    derivatives of every order come out of the same three maps. A map without history may be built
    already.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: torch.Tensor, strides: torch.Tensor, plan: Plan, taps: AllTaps, op: Resampling | None
    ) -> tuple[torch.Tensor, ...]:
        """Return y and the coefficients of each ramp."""
        # Nothing differentiates this: a hard axis that keeps its size is the identity here.
        op = plain_map(strides, plan, taps) if op is None else op
        y, q = forward(op, x, products_for(x))
        return writable(y, x), *_without_none(q)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        """Save the strides and the coefficients."""
        _, strides, ctx.plan, ctx.taps, ctx.op = inputs
        y, *q = output
        ctx.shape, ctx.dtype, ctx.device = y.shape, y.dtype, y.device
        ctx.save_for_backward(strides, *q)
        ctx.save_for_forward(strides, *q)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients in x and in the strides."""
        strides, *q = ctx.saved_tensors
        g, *dq = cotangents
        with without_autocast(ctx.device):
            op = ctx.op
            if op is None or torch.is_grad_enabled():
                # Of a map without history there are no second derivatives.
                op = differentiable_map(strides, ctx.plan, ctx.taps)
            dx, ds = backward(
                op,
                g,
                _one_per_axis(op, q),
                strides.dtype,
                dq=_one_per_axis(op, dq),
                into_x=ctx.needs_input_grad[0],
                products=products_for(g),
            )
        if not ctx.needs_input_grad[1]:
            ds = None
        elif ds is None:
            ds = torch.zeros_like(strides)
        return dx, ds, None, None, None

    @staticmethod
    def jvp(
        ctx: Any, dx: torch.Tensor | None, ds: torch.Tensor | None, *_: None
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the tangents of y and of the coefficients."""
        strides, *q = ctx.saved_tensors
        op = differentiable_map(strides, ctx.plan, ctx.taps)
        dy, dq = push(op, dx, ds, _one_per_axis(op, q))
        if dy is None:
            dy = strides.new_zeros(ctx.shape, dtype=ctx.dtype)
        # PyTorch takes no None for a tangent.
        pairs = zip(dq, _one_per_axis(op, q), strict=True)
        return dy, *(
            torch.zeros_like(kept) if one is None else one
            for one, kept in pairs
            if kept is not None
        )


class FeasibleStrides(torch.autograd.Function):
    """Strides clamped to a layer's own bounds, with a gradient that is projected; see `project`.

    ``low`` and ``high`` are those of the projection: an input's size may bound strides further. The
    operator itself clamps to these.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        strides: torch.Tensor,
        lower: Sequence[float],
        upper: Sequence[float],
        low: Sequence[float],
        high: Sequence[float],
    ) -> torch.Tensor:
        """Return the nearest strides within the layer's bounds."""
        return clamp(strides, lower, upper)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        """Save what tells on which side a stride is."""
        strides, _, _, ctx.low, ctx.high = inputs
        ctx.save_for_backward(strides)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the projected gradient, or where it is differentiated in its turn the whole one.

        A sign has no derivative: second derivatives are those at the bound.
        """
        (strides,) = ctx.saved_tensors
        ds = g if torch.is_grad_enabled() else project(g, strides, ctx.low, ctx.high)
        return ds, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, ds: torch.Tensor, *_: None) -> torch.Tensor:
        """Return the tangent as it is."""
        return ds


def clamp(strides: torch.Tensor, low: Sequence[float], high: Sequence[float]) -> torch.Tensor:
    """Clamp each stride between bounds of its own, which the host knows."""
    if len(set(low)) == len(set(high)) == 1:
        return strides.clone().clamp(low[0], high[0])
    # Not by a tensor of bounds, which would have to be brought to the device.
    triples = zip(strides.unbind(), low, high, strict=True)
    return torch.stack([one.clamp(*bounds) for one, *bounds in triples])


def project(
    g: torch.Tensor, strides: torch.Tensor, low: Sequence[float], high: Sequence[float]
) -> torch.Tensor:
    """Leave out of a gradient what would push a stride further out of its bounds.

    A step goes against it. What brings a stride back is the whole gradient.
    """
    clamped = clamp(strides, low, high)
    outward = ((strides < clamped) & (g > 0)) | ((strides > clamped) & (g < 0))
    return torch.where(outward, torch.zeros_like(g), g)


def _without_none(values: Iterable[Any]) -> list[Any]:
    """Leave out axes that have no value."""
    return [value for value in values if value is not None]


def _one_per_axis(op: Resampling, values: Sequence[Any]) -> list[Any]:
    """Undo `_without_none`: None again for every axis that has no bins which a stride moves."""
    left = iter(values)
    return [None if one is None or one.ramp is None else next(left) for one in op.maps]


class ConstantFunction(torch.autograd.Function):
    """A x of a constant map, by kernels that PyTorch has no derivatives of, and A^T g."""

    @staticmethod
    def forward(x: torch.Tensor, op: Resampling) -> torch.Tensor:
        """Return A x."""
        return writable(apply(op, x, products=products_for(x)), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        """Keep the map, and nothing of x."""
        _, ctx.op = inputs

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return A^T g."""
        with without_autocast(g.device):
            return apply(ctx.op, g, adjoint=True, products=products_for(g)), None


class LearnFromOutput(torch.autograd.Function):
    """y as it is, with the derivatives in the strides of a map that made it, found in y itself.

    More may have been done to y than resampling along the planned axes, such as the mixing of its
    channels. It takes y's place, so that whoever gets it may change it; nobody else may hold on to
    it. Where all samples are kept, what is handed out has to be a copy.
    """

    @staticmethod
    def forward(
        y: torch.Tensor, strides: torch.Tensor, op: Resampling, how: FromOutput
    ) -> tuple[torch.Tensor, ...]:
        """Return y, and what is read off it."""
        if how.keeps_samples:
            return (y,)
        seen, op = _as_stored(y, op, stored_order(y))
        return y, *_without_none(how.keep(op, seen, products_for(y)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        """Save the strides, and what was read or all samples."""
        y, strides, ctx.op, ctx.how = inputs
        ctx.order = stored_order(y)
        ctx.mark_dirty(y)
        ctx.save_for_backward(strides, *(output if ctx.how.keeps_samples else output[1:]))
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients in y and in the strides."""
        strides, *kept = ctx.saved_tensors
        g, *dq = cotangents
        still, how, order = ctx.op, ctx.how, ctx.order
        with without_autocast(strides.device):
            if order is not None:
                still = replace(still, plan=in_order(still.plan, order))
                g = None if g is None else g.permute(order)
                kept = [y.permute(order) for y in kept] if how.keeps_samples else kept
            op = still
            if torch.is_grad_enabled():
                # Of a map without history there are no second derivatives.
                op = differentiable_map(strides, still.plan)
                how = how.found_in(op)
            dy, ds = how.backward(
                op,
                g,
                kept * len(op.maps) if how.keeps_samples else _one_per_axis(op, kept),
                strides.dtype,
                dq=None if how.keeps_samples else _one_per_axis(op, dq),
                products=products_for(g),
            )
            if dy is not None and op is not still:
                # What made y does not know of the strides.
                dy = seen_from(op, still, dy, PLAIN.along)
            if dy is not None and order is not None:
                dy = logical_order(dy, order)
        return dy, torch.zeros_like(strides) if ds is None else ds, None, None


def _as_stored(
    y: torch.Tensor, op: Resampling, order: tuple[int, ...] | None
) -> tuple[torch.Tensor, Resampling]:
    """Return y with its axes in memory order, and the map for that; both as they are for None."""
    if order is None:
        return y, op
    return y.permute(order), replace(op, plan=in_order(op.plan, order))
