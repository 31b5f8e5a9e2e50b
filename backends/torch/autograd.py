"""The core's maps as Functions of PyTorch's autograd, differentiable backward and forward."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from spectral_stride.factors import Factor, Factors, Source, factors, with_sources
from spectral_stride.gradients import (
    backward,
    backward_from_output,
    forward,
    push,
    read_back,
    seen_from,
)
from spectral_stride.operator import resample, resample_adjoint
from spectral_stride.plan import Plan
from spectral_stride.taps import Taps
from spectral_stride.torch.kernels import fastest
from spectral_stride.torch.memory_format import as_stored, logical_order, owned, stored_order


def resample_learning(
    x: torch.Tensor,
    strides: torch.Tensor,
    plan: Plan,
    taps: tuple[Taps, ...] | None,
    built: Factors | None,
) -> torch.Tensor:
    """A(s) x, differentiable in both.

    What these strides make of each axis may be ``built`` already.
    """
    y: torch.Tensor
    y, *_ = _Resample.apply(x, strides, plan, taps, built)  # type: ignore[no-untyped-call]
    return _not_kept(y, built)


def learn_from_output(
    y: torch.Tensor,
    strides: torch.Tensor,
    plan: Plan,
    built: Factors,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """Let the strides of ``built`` learn from y, an image that it resampled, with mixed channels.

    What is returned is y, to which nobody else may hold on, with the bias of its channels. That
    comes last: it holds nothing of the strides, and a large one would drown what does in its
    rounding.
    """
    y, *_ = _LearnFromOutput.apply(y, strides, plan, built)  # type: ignore[no-untyped-call]
    if bias is None:
        return _not_kept(y, built)
    bias = bias[:, None, None]
    return y + bias if _keeps_output(built) else y.add_(bias)


def resample_fixed(x: torch.Tensor, parts: Factors, plan: Plan) -> torch.Tensor:
    """A x of a constant map, differentiable in x, by kernels that PyTorch has no derivatives of."""
    y: torch.Tensor = _Fixed.apply(x, parts, plan)  # type: ignore[no-untyped-call]
    return y


def differentiable(strides: torch.Tensor, plan: Plan, taps: tuple[Taps, ...] | None) -> Factors:
    """What these strides make of each axis, with derivatives of every order in them."""
    return factors(strides, plan, taps, stop=torch.Tensor.detach)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Keep masks and matrices in full precision: autocast would build them in half."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class _Resample(torch.autograd.Function):
    """y = A(s) x and the coefficients q of its ramps, with the core's gradients.

    What is saved is q and not x, or y where that is less. As q is an output, and an output has a
    gradient of its own, derivatives of every order come out of the same three maps.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: torch.Tensor,
        strides: torch.Tensor,
        plan: Plan,
        taps: tuple[Taps, ...] | None,
        built: Factors | None,
    ) -> tuple[torch.Tensor, ...]:
        parts = _parts(strides, plan, taps, built)
        y, q = forward(x, parts, plan, kernels=fastest(x))
        return (owned(y, x), *_only_ramps(q, parts))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        _, strides, ctx.plan, ctx.taps, ctx.built = inputs
        ctx.shape, ctx.dtype, ctx.device = output[0].shape, output[0].dtype, output[0].device
        kept = output if _keeps_output(ctx.built) else output[1:]
        ctx.save_for_backward(strides, *kept)
        ctx.save_for_forward(strides, *kept)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        strides, *saved = ctx.saved_tensors
        g, *dq = cotangents
        with without_autocast(ctx.device):
            parts = _parts_backward(strides, ctx.plan, ctx.taps, ctx.built)
            dx, dstrides = backward(
                g,
                _of_every_axis(saved, parts),
                parts,
                ctx.plan,
                strides.dtype,
                dq=_every_axis(dq, parts),
                into_x=ctx.needs_input_grad[0],
                kernels=fastest(g),
            )
        if not ctx.needs_input_grad[1]:
            dstrides = None
        elif dstrides is None:
            dstrides = torch.zeros_like(strides)
        return dx, dstrides, None, None, None

    @staticmethod
    def jvp(
        ctx: Any, dx: torch.Tensor | None, dstrides: torch.Tensor | None, *_: None
    ) -> tuple[torch.Tensor | None, ...]:
        strides, *saved = ctx.saved_tensors
        parts = _parts(strides, ctx.plan, ctx.taps, None)
        dy, dq = push(dx, dstrides, _every_axis(saved, parts), parts, ctx.plan)
        if dy is None:
            dy = strides.new_zeros(ctx.shape, dtype=ctx.dtype)
        # PyTorch takes no None for a tangent.
        found = zip(_only_ramps(dq, parts), saved, strict=True)
        return dy, *(torch.zeros_like(q) if one is None else one for one, q in found)


class _LearnFromOutput(torch.autograd.Function):
    """y as it is, with the derivatives in the strides that made it, found in y itself.

    For a y on which more was done than resampling along the planned axes, such as the mixing of its
    channels. It takes y's place, so that whoever gets it may change it.
    """

    @staticmethod
    def forward(
        y: torch.Tensor, strides: torch.Tensor, plan: Plan, built: Factors
    ) -> tuple[torch.Tensor, ...]:
        seen, seen_plan = as_stored(y, plan, stored_order(y))
        return y, *_only_ramps(read_back(seen, built, seen_plan, fastest(y)), built)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        y, strides, plan, ctx.built = inputs
        ctx.order = stored_order(y)
        _, ctx.plan = as_stored(y, plan, ctx.order)
        ctx.mark_dirty(y)
        ctx.save_for_backward(strides, *(output if _keeps_output(ctx.built) else output[1:]))
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        strides, *saved = ctx.saved_tensors
        g, *dq = cotangents
        with without_autocast(strides.device):
            parts = _parts_backward(strides, ctx.plan, None, ctx.built)
            if ctx.order is not None:
                g = None if g is None else g.permute(ctx.order)
                saved = [y.permute(ctx.order) for y in saved] if _keeps_output(parts) else saved
            dy, dstrides = backward_from_output(
                g,
                _of_every_axis(saved, parts),
                parts,
                ctx.plan,
                strides.dtype,
                dq=_every_axis(dq, parts),
                kernels=fastest(g),
            )
            if dy is not None and torch.is_grad_enabled():
                # What made y does not know of the strides.
                dy = seen_from(parts, ctx.built, dy, ctx.plan)
            if dy is not None and ctx.order is not None:
                dy = logical_order(dy, ctx.order)
        return dy, torch.zeros_like(strides) if dstrides is None else dstrides, None, None


class _Fixed(torch.autograd.Function):
    """A x of a constant map, and A^T g."""

    @staticmethod
    def forward(x: torch.Tensor, parts: Factors, plan: Plan) -> torch.Tensor:
        return owned(resample(x, parts, plan, fastest(x)), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        _, ctx.parts, ctx.plan = inputs

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        with without_autocast(g.device):
            return resample_adjoint(g, ctx.parts, ctx.plan, fastest(g)), None, None


def _parts(
    strides: torch.Tensor,
    plan: Plan,
    taps: tuple[Taps, ...] | None,
    built: Factors | None,
) -> Factors:
    """What was built already, or what these strides make of each axis."""
    return differentiable(strides, plan, taps) if built is None else built


def _parts_backward(
    strides: torch.Tensor, plan: Plan, taps: tuple[Taps, ...] | None, built: Factors | None
) -> Factors:
    """Return the same, for what the forward pass kept.

    What was built for that has no history: a backward pass that will be differentiated builds its
    own.
    """
    if built is None or not torch.is_grad_enabled():
        return _parts(strides, plan, taps, built)
    return with_sources(differentiable(strides, plan, taps), built)


def _only_ramps(values: Sequence[Any], parts: Factors) -> list[Any]:
    """Of one value per axis, those of the axes that have coefficients."""
    pairs = zip(values, parts, strict=True)
    return [value for value, part in pairs if _has_coefficients(part)]


def _every_axis(values: Sequence[Any], parts: Factors) -> list[Any]:
    """Undo `_only_ramps`, with None at the other axes."""
    left = iter(values)
    return [next(left) if _has_coefficients(part) else None for part in parts]


def _of_every_axis(saved: Sequence[Any], parts: Factors) -> list[Any]:
    """Of each axis what was saved of it, which may be the output for all of them."""
    return list(saved) * len(parts) if _keeps_output(parts) else _every_axis(saved, parts)


def _has_coefficients(part: Factor | None) -> bool:
    return part is not None and part.ramp is not None and part.source is not Source.SAMPLES


def _keeps_output(parts: Factors | None) -> bool:
    return any(part is not None and part.source is Source.SAMPLES for part in parts or ())


def _not_kept(y: torch.Tensor, built: Factors | None) -> torch.Tensor:
    """Of an output that is kept a copy: whoever gets it may change it."""
    return y.clone() if _keeps_output(built) else y
