"""The core registered with PyTorch's autograd, forward-mode, vmap, autocast and compiler."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Unpack

import torch

from spectral_stride import checks
from spectral_stride.arrays import bind, namespace_of
from spectral_stride.factors import Factor, Factors, Source, all_pass, factors, with_sources
from spectral_stride.gradients import (
    are_in_output,
    backward,
    backward_from_output,
    forward,
    push,
    read_back,
    seen_from,
)
from spectral_stride.operator import resample, resample_adjoint
from spectral_stride.plan import Plan, PlanOptions, host_numbers, in_range, permuted_plan, pool_plan
from spectral_stride.taps import Taps
from spectral_stride.torch.built import Strides, build, kept, nothing_interferes, transformed
from spectral_stride.torch.memory import logical_order, stored_order
from spectral_stride.torch.products import fastest


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
        # Where every axis has one sample there is nothing to do, and PyTorch wants a view.
        return (y.view_as(x) if y is x else y, *_only_ramps(q, parts))

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
        with _without_autocast(ctx.device):
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
        seen, seen_plan = _as_stored(y, plan, stored_order(y))
        return y, *_only_ramps(read_back(seen, built, seen_plan, fastest(y)), built)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        y, strides, plan, ctx.built = inputs
        ctx.order = stored_order(y)
        _, ctx.plan = _as_stored(y, plan, ctx.order)
        ctx.mark_dirty(y)
        ctx.save_for_backward(strides, *(output if _keeps_output(ctx.built) else output[1:]))
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        strides, *saved = ctx.saved_tensors
        g, *dq = cotangents
        with _without_autocast(strides.device):
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
    """A x of a constant map, by kernels that PyTorch has no derivatives of."""

    @staticmethod
    def forward(x: torch.Tensor, parts: Factors, plan: Plan) -> torch.Tensor:
        y: torch.Tensor = resample(x, parts, plan, fastest(x))
        # Where every axis has one sample there is nothing to do, and PyTorch wants a view.
        return y.view_as(x) if y is x else y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        _, ctx.parts, ctx.plan = inputs

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        with _without_autocast(g.device):
            return resample_adjoint(g, ctx.parts, ctx.plan, fastest(g)), None, None


def _parts(
    strides: torch.Tensor,
    plan: Plan,
    taps: tuple[Taps, ...] | None,
    built: Factors | None,
) -> Factors:
    """What was built already, or what these strides make of each axis."""
    return factors(strides, plan, taps) if built is None else built


def _parts_backward(
    strides: torch.Tensor, plan: Plan, taps: tuple[Taps, ...] | None, built: Factors | None
) -> Factors:
    """Return the same, for what the forward pass kept.

    What was built for that has no history: a backward pass that will be differentiated builds its
    own.
    """
    if built is None or not torch.is_grad_enabled():
        return _parts(strides, plan, taps, built)
    return with_sources(factors(strides, plan, taps), built)


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


def check_tensor(x: Any) -> None:
    """Refuse what is no tensor."""
    if not isinstance(x, torch.Tensor):
        remedy = "convert it first: torch.as_tensor(x)"
        checks.refuse(TypeError, "x", type(x).__name__, "a torch.Tensor", remedy)


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Keep masks and matrices in full precision: autocast would build them in half."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _autocast(x: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Cast x as autocast casts the input of a matmul; an FFT stays in float32."""
    kind = x.device.type
    wanted = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    if wanted and x.dtype == torch.float32 and "fft" not in plan.methods:
        return x.to(torch.get_autocast_dtype(kind))
    return x


def may_learn(strides: Strides) -> bool:
    """Whether a derivative in the strides may be asked for."""
    return isinstance(strides, torch.Tensor) and (
        transformed() or (strides.requires_grad and torch.is_grad_enabled())
    )


def _resample(
    x: torch.Tensor,
    strides: Strides,
    plan: Plan,
    taps: tuple[Taps, ...] | None,
    built: Factors | None,
) -> torch.Tensor:
    """Resample by whichever form serves here; autocast is off."""
    y: torch.Tensor
    if not may_learn(strides):
        return _fixed(x, kept(strides, plan, taps, x), plan)
    assert isinstance(strides, torch.Tensor)
    if not torch.compiler.is_compiling():
        # In half precision the output is too coarse to divide by a small share in it.
        fine = taps is None and x.dtype in (torch.float32, torch.float64)
        if built is None and not transformed():
            built = build(strides, plan, taps, hold_output=fine)
        y, *_ = _Resample.apply(x, strides, plan, taps, built)  # type: ignore[no-untyped-call]
        # What is kept is not to be changed, which whoever gets y may do.
        return y.clone() if _keeps_output(built) else y
    # A Function with a jvp cannot be compiled. The same first derivatives come out of the map
    # linearised in the strides at their own value, which is plain tensor code: s - s.detach() is
    # zero and has slope one.
    point = strides.detach()
    parts = factors(point, plan, taps)
    y, q = forward(x, parts, plan)
    dy, _ = push(None, strides - point, q, parts, plan)
    return y if dy is None else y + dy


def _fixed(x: torch.Tensor, parts: Factors, plan: Plan) -> torch.Tensor:
    """Resample by a constant map."""
    y: torch.Tensor
    if torch.compiler.is_compiling() or transformed():
        # Linear in x, and PyTorch's own derivatives of it are exact.
        y = resample(x, parts, plan)
    elif x.requires_grad and torch.is_grad_enabled():
        y = _Fixed.apply(x, parts, plan)  # type: ignore[no-untyped-call]
    else:
        with torch.no_grad():
            y = resample(x, parts, plan, fastest(x))
    return y


def resampled(
    x: torch.Tensor,
    strides: Strides,
    plan: Plan,
    taps: tuple[Taps, ...] | None = None,
    built: Factors | None = None,
) -> torch.Tensor:
    """Resample in autocast's dtype and in x's memory format; arguments are checked already.

    What these strides make of each axis may be ``built`` already, where they are learned.
    """
    x = _autocast(x, plan)
    with _without_autocast(x.device):
        return _in_stored_order(x, plan, lambda x, plan: _resample(x, strides, plan, taps, built))


def _in_stored_order(
    x: torch.Tensor, plan: Plan, apply: Callable[[torch.Tensor, Plan], torch.Tensor]
) -> torch.Tensor:
    """Apply what follows a plan to x with its axes as they lie in memory."""
    order = stored_order(x)
    y = apply(*_as_stored(x, plan, order))
    return y if order is None else logical_order(y, order)


def _as_stored(
    x: torch.Tensor, plan: Plan, order: tuple[int, ...] | None
) -> tuple[torch.Tensor, Plan]:
    return (x, plan) if order is None else (x.permute(order), permuted_plan(plan, order))


def resampled_and_mixed(
    x: torch.Tensor,
    strides: Strides,
    plan: Plan,
    taps: tuple[Taps, ...],
    mix: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """Resample for the taps of a convolution; ``mix`` applies its kernel, and adds a bias.

    As `resampled`, but where it can be, the derivatives in the strides are taken behind the kernel.
    The bias comes last then: it holds nothing of them, and a large one would drown in its rounding
    what does.
    """
    built = None
    if (
        x.ndim == 4
        and may_learn(strides)
        and nothing_interferes()
        and _autocast(x, plan).dtype in (torch.float32, torch.float64)
    ):
        assert isinstance(strides, torch.Tensor)
        built = build(strides, plan, taps, hold_output=True)
        if are_in_output(built):
            z = _in_stored_order(x, plan, lambda x, plan: _fixed(x, built, plan))
            y: torch.Tensor
            y, *_ = _LearnFromOutput.apply(mix(z, None), strides, plan, built)  # type: ignore[no-untyped-call]
            if _keeps_output(built):
                return y.clone() if bias is None else y + bias[:, None, None]
            return y if bias is None else y.add_(bias[:, None, None])
    return mix(resampled(x, strides, plan, taps, built), bias)


def diffstride(
    x: torch.Tensor,
    strides: torch.Tensor | Sequence[float],
    *,
    plan: Plan | None = None,
    **options: Unpack[PlanOptions],
) -> torch.Tensor:
    """Resample a tensor by a soft crop of its spectrum, differentiably in input and strides.

    `spectral_stride.diffstride`, registered with PyTorch: gradients of first and second order,
    forward mode, `torch.func` with `vmap`, `torch.compile`, `torch.export`, and autocast.

    Parameters
    ----------
    x : Tensor
        Real floating-point input; any batch shape.
    strides : Tensor of shape (len(axes),), or sequence of float
        Input samples per output sample. A tensor may require gradients; its dtype need not be x's.
    plan : Plan, optional
        From `make_plan`. Without one the strides are read on the host, which waits for a GPU and
        which no compiler can trace.
    **options
        Keyword arguments of `make_plan`, where no plan is given.

    Returns
    -------
    Tensor
        Of x's dtype and device, and in x's memory format where that is ``torch.channels_last`` or
        ``torch.channels_last_3d``. Under autocast a float32 input is taken in autocast's dtype, as
        for a matmul, unless an axis is computed by FFT.

    Raises
    ------
    ValueError, TypeError
        As `spectral_stride.diffstride`.

    Notes
    -----
    Saved for the backward pass are, only where the strides require gradients, of each axis the
    coefficients of the bins on its ramp: 2R in place of the N samples that come to it. Eagerly on a
    CPU, and not in half precision, these are read off the n samples of the output where that is
    clearly less. Where they would be more than n, over all axes, the output is saved itself, and a
    copy is returned. Either takes strides within their bounds, and a share in the output of every
    bin that is not close to zero: then the gradient's rounding is up to 32 times that of the
    output. The stride gradient follows the rules of `spectral_stride.vjp` on corners and bounds.
    Second derivatives in the strides are those of the smooth pieces; under `torch.compile` and
    `torch.export` they are zero.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import diffstride
    >>> x = torch.cos(2 * torch.pi * 6 * torch.arange(32) / 32)
    >>> strides = torch.tensor([4.0], requires_grad=True)
    >>> diffstride(x, strides).square().sum().backward()
    >>> bool(strides.grad < 0)  # a larger stride passes less of this wave
    True
    """
    check_tensor(x)
    _, vector, plan = bind(x, strides, plan, options)
    if isinstance(strides, torch.Tensor) or torch.compiler.is_compiling():
        return resampled(x, vector, plan)
    return resampled(x, in_range(host_numbers("strides", strides)), plan)


def spectral_pool(
    x: torch.Tensor,
    out_sizes: Sequence[int],
    *,
    axes: Sequence[int] | None = None,
    norm: str = "forward",
    method: str = "auto",
) -> torch.Tensor:
    """Resample a tensor to given sizes by a hard crop of its spectrum.

    `spectral_stride.spectral_pool` with autocast. The map is linear and plain tensor code, so
    PyTorch's own derivatives of it are exact.

    Parameters
    ----------
    x : Tensor
        Real floating-point input; any batch shape.
    out_sizes : sequence of int
        Samples of the output, 1 to N along each axis.
    axes : sequence of int, optional
        The axes to resample; the last ``len(out_sizes)`` by default.
    norm : {"forward", "ortho", "backward"}, optional
        As in `torch.fft`: a constant keeps its value, grows by sqrt(N/n), or by N/n.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Returns
    -------
    Tensor
        Of x's dtype, device and memory format; under autocast as in `diffstride`.

    Raises
    ------
    ValueError, TypeError
        As `spectral_stride.spectral_pool`.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import spectral_pool
    >>> spectral_pool(torch.ones(8, 3, 32, 32), (16, 16)).shape
    torch.Size([8, 3, 16, 16])
    """
    check_tensor(x)
    namespace_of("x", x)
    plan = pool_plan(tuple(x.shape), out_sizes, axes=axes, norm=norm, method=method)
    x = _autocast(x, plan)
    order = stored_order(x)
    with _without_autocast(x.device):
        if order is None:
            return _fixed(x, all_pass(x, plan), plan)
        x, plan = x.permute(order), permuted_plan(plan, order)
        return logical_order(_fixed(x, all_pass(x, plan), plan), order)
