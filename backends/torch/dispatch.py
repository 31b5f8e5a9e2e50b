"""Which form of the core serves a tensor: eager or traced, learning or constant, autocast or not.

Arguments are checked already.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from spectral_stride.arrays import working_dtype
from spectral_stride.axis import Resampling
from spectral_stride.fast.taps import Taps
from spectral_stride.gradients import forward, push
from spectral_stride.operator import apply
from spectral_stride.plan import Plan
from spectral_stride.torch.autograd import (
    ConstantFunction,
    FeasibleStrides,
    LearnFromOutput,
    ResampleFunction,
    clamp,
    differentiable_map,
    is_autocast,
    without_autocast,
)
from spectral_stride.torch.graph_node import feasible_as_node, resample_as_node
from spectral_stride.torch.kernels import products_for
from spectral_stride.torch.map_cache import (
    AllTaps,
    LearnedMap,
    Strides,
    constant_map,
    forward_mode_is_nested,
    is_one_node,
    is_plain_eager,
    is_transformed,
    learned_map,
    plain_map,
)
from spectral_stride.torch.memory_format import in_order, logical_order, stored_order, writable

FULL_PRECISION = (torch.float32, torch.float64)


def may_learn(strides: Strides) -> bool:
    """Whether a derivative in the strides may be asked for."""
    return isinstance(strides, torch.Tensor) and (
        is_transformed() or (strides.requires_grad and torch.is_grad_enabled())
    )


def feasible(strides: torch.Tensor, *bounds: Sequence[float]) -> torch.Tensor:
    """Clamp one stride an axis; its gradient is projected. The bounds are those of the Function."""
    if is_one_node():
        return feasible_as_node(strides, *bounds)
    if torch.compiler.is_compiling():
        # Plain tensor code, that any transform inside of a graph takes.
        point = strides.detach()
        return clamp(point, *bounds[:2]) + (strides - point)
    y: torch.Tensor = FeasibleStrides.apply(strides, *bounds)  # type: ignore[no-untyped-call]
    return y


def resample(
    x: torch.Tensor,
    strides: Strides,
    plan: Plan,
    taps: AllTaps = None,
    known: LearnedMap | None = None,
    *,
    may_wait: bool = False,
) -> torch.Tensor:
    """Resample in autocast's dtype and in x's memory format.

    The map of strides that learn may be ``known`` already, for x as it lies in memory. If the host
    ``may_wait`` for a device, it reads strides there, which takes less time than that the device
    builds their map.
    """
    x = _autocast(x, plan)
    if plan.hard and not may_learn(strides):
        strides = None
    strides = _working(strides, x)
    if is_one_node():
        if isinstance(strides, tuple):
            strides = torch.tensor(strides, dtype=working_dtype(torch, x.dtype), device=x.device)
        return resample_as_node(x, strides, plan, taps, learn=may_learn(strides))
    order = stored_order(x)
    with without_autocast(x.device):
        if order is None:
            return _in_form(x, strides, plan, taps, known, may_wait)
        y = _in_form(x.permute(order), strides, in_order(plan, order), taps, known, may_wait)
        return logical_order(y, order)


def crop(x: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Resample by a hard crop that no strides learn from, or onto more samples."""
    return resample(x, None, plan)


def resample_then_convolve(
    x: torch.Tensor,
    strides: Strides,
    plan: Plan,
    taps: tuple[Taps, ...],
    convolve: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
    bias: torch.Tensor | None,
    *,
    may_wait: bool = False,
) -> torch.Tensor:
    """Resample for the taps of a convolution; ``convolve`` applies its kernel, and adds a bias.

    Where they can, strides learn behind the kernel, from its output.
    """
    known: LearnedMap | None = None
    if x.ndim == 4 and may_learn(strides) and is_plain_eager():
        x = _autocast(x, plan)
        strides = _working(strides, x)
        if x.dtype in FULL_PRECISION:
            assert isinstance(strides, torch.Tensor)
            order = stored_order(x)
            known = learned_map(
                strides, in_order(plan, order), taps, from_output=True, may_wait=may_wait
            )
            op, how = known
            if how is not None:
                z = x if order is None else x.permute(order)
                z = _by_constant(z, op)
                z = z if order is None else logical_order(z, order)
                y: torch.Tensor
                y, *_ = LearnFromOutput.apply(  # type: ignore[no-untyped-call]
                    convolve(z, None), strides, replace(op, plan=plan), how
                )
                # The bias comes last: it holds nothing of the strides, and a large one would drown
                # what does in its rounding.
                if bias is not None:
                    bias = bias[:, None, None]
                    return y + bias if how.keeps_samples else y.add_(bias)
                return y.clone() if how.keeps_samples else y
    return convolve(resample(x, strides, plan, taps, known, may_wait=may_wait), bias)


def _autocast(x: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Cast x as autocast casts the input of a matmul; an FFT stays in float32."""
    if is_autocast(x.device) and x.dtype == torch.float32 and "fft" not in plan.methods:
        return x.to(torch.get_autocast_dtype(x.device.type))
    return x


def _working(strides: Strides, x: torch.Tensor) -> Strides:
    """Bring a tensor of strides to the precision of masks and matrices: that of x, or float32."""
    if isinstance(strides, torch.Tensor):
        return strides.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    return strides


def _in_form(
    x: torch.Tensor,
    strides: Strides,
    plan: Plan,
    taps: AllTaps,
    known: LearnedMap | None,
    may_wait: bool,
) -> torch.Tensor:
    """Resample by the form that serves here; autocast is off."""
    if not may_learn(strides):
        return _by_constant(x, constant_map(strides, plan, taps, x, may_wait=may_wait))
    assert isinstance(strides, torch.Tensor)
    if torch.compiler.is_compiling():
        return _linearised(x, strides, plan, taps)
    if forward_mode_is_nested():
        # Of a Function's tangent PyTorch takes no tangent in its turn (2.13), and says zero.
        return writable(apply(differentiable_map(strides, plan, taps), x), x)
    if known is None and not is_transformed():
        # In half precision the output is too coarse to divide by a small share in it.
        fine = taps is None and x.dtype in FULL_PRECISION
        known = learned_map(strides, plan, taps, from_output=fine, may_wait=may_wait)
    op, how = known or (None, None)
    y: torch.Tensor
    if op is None or how is None:
        y, *_ = ResampleFunction.apply(x, strides, plan, taps, op)  # type: ignore[no-untyped-call]
        return y
    y, *_ = LearnFromOutput.apply(_by_constant(x, op), strides, op, how)  # type: ignore[no-untyped-call]
    return y.clone() if how.keeps_samples else y


def _by_constant(x: torch.Tensor, op: Resampling) -> torch.Tensor:
    """Resample by a map that stands still."""
    if torch.compiler.is_compiling() or is_transformed():
        # Linear in x, and PyTorch's own derivatives of it are exact.
        return writable(apply(op, x), x)
    if x.requires_grad and torch.is_grad_enabled():
        y: torch.Tensor = ConstantFunction.apply(x, op)  # type: ignore[no-untyped-call]
        return y
    with torch.no_grad():
        return writable(apply(op, x, products=products_for(x)), x)


def _linearised(x: torch.Tensor, strides: torch.Tensor, plan: Plan, taps: AllTaps) -> torch.Tensor:
    """Resample for a compiler, which cannot take a Function with a jvp.

    The same first derivatives come out of the map linearised in the strides at their own value,
    which is plain tensor code: s - s.detach() is zero and has slope one.
    """
    point = strides.detach()
    op = plain_map(point, plan, taps)
    y, q = forward(op, x)
    dy, _ = push(op, None, strides - point, q)
    return writable(y, x) if dy is None else y + dy
