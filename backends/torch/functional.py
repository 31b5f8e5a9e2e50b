"""The core registered with PyTorch's autograd, forward-mode, vmap, autocast and compiler."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Unpack

import torch

from spectral_stride import checks
from spectral_stride.arrays import bind, namespace_of
from spectral_stride.gradients import backward, forward, learning_axes, push
from spectral_stride.mask import soft_masks
from spectral_stride.operator import resample
from spectral_stride.plan import Plan, PlanOptions, permuted_plan, pool_plan
from spectral_stride.taps import Taps
from spectral_stride.torch.memory import logical_order, stored_order
from spectral_stride.torch.products import fastest
from spectral_stride.transform import hard_crop


class _Resample(torch.autograd.Function):
    """y = A(s) x and the coefficients q of its ramps, with the core's gradients.

    What is saved is q and not x. As q is an output, and an output has a gradient of its own,
    derivatives of every order come out of the same three maps.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: torch.Tensor, strides: torch.Tensor, plan: Plan, taps: tuple[Taps, ...] | None
    ) -> tuple[torch.Tensor, ...]:
        y, q = forward(x, strides, plan, taps, product=fastest(x))
        # Where every axis has one sample there is nothing to do, and PyTorch wants a view.
        return (y.view_as(x) if y is x else y, *_only_ramps(q, plan))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        _, strides, ctx.plan, ctx.taps = inputs
        ctx.shape, ctx.dtype = output[0].shape, output[0].dtype
        ctx.save_for_backward(strides, *output[1:])
        ctx.save_for_forward(strides, *output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        strides, *saved = ctx.saved_tensors
        g, *dq = cotangents
        with _without_autocast(strides):
            dx, dstrides = backward(
                g,
                _every_axis(saved, ctx.plan),
                strides,
                ctx.plan,
                ctx.taps,
                dq=_every_axis(dq, ctx.plan),
                into_x=ctx.needs_input_grad[0],
                product=fastest(g),
            )
        return dx, dstrides if ctx.needs_input_grad[1] else None, None, None

    @staticmethod
    def jvp(
        ctx: Any, dx: torch.Tensor | None, dstrides: torch.Tensor | None, *_: None
    ) -> tuple[torch.Tensor | None, ...]:
        strides, *saved = ctx.saved_tensors
        dy, dq = push(dx, dstrides, _every_axis(saved, ctx.plan), strides, ctx.plan, ctx.taps)
        if dy is None:
            dy = strides.new_zeros(ctx.shape, dtype=ctx.dtype)
        # PyTorch takes no None for a tangent.
        found = zip(_only_ramps(dq, ctx.plan), saved, strict=True)
        return dy, *(torch.zeros_like(q) if one is None else one for one, q in found)


def _only_ramps(values: Sequence[Any], plan: Plan) -> list[Any]:
    """Of one value per axis, those of the axes whose stride changes anything."""
    return [values[position] for position in learning_axes(plan)]


def _every_axis(values: Sequence[Any], plan: Plan) -> list[Any]:
    """Undo `_only_ramps`, with None at the other axes."""
    placed: list[Any] = [None] * len(plan.axes)
    for position, value in zip(learning_axes(plan), values, strict=True):
        placed[position] = value
    return placed


def _learns(strides: torch.Tensor) -> bool:
    """Whether a derivative in the strides may be asked for."""
    # Transforms hide from each other what they will ask for: under any of them it may be all.
    return (
        (strides.requires_grad and torch.is_grad_enabled())
        or torch.autograd.forward_ad._current_level >= 0
        or torch._C._are_functorch_transforms_active()
    )


def check_tensor(x: Any) -> None:
    """Refuse what is no tensor."""
    if not isinstance(x, torch.Tensor):
        remedy = "convert it first: torch.as_tensor(x)"
        checks.refuse(TypeError, "x", type(x).__name__, "a torch.Tensor", remedy)


def _without_autocast(x: torch.Tensor) -> AbstractContextManager[Any]:
    """Keep masks and matrices in full precision: autocast would build them in half."""
    if not torch.amp.is_autocast_available(x.device.type):
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def _autocast(x: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Cast x as autocast casts the input of a matmul; an FFT stays in float32."""
    kind = x.device.type
    wanted = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    if wanted and x.dtype == torch.float32 and "fft" not in plan.methods:
        return x.to(torch.get_autocast_dtype(kind))
    return x


def _resample(
    x: torch.Tensor, strides: torch.Tensor, plan: Plan, taps: tuple[Taps, ...] | None
) -> torch.Tensor:
    """Resample by whichever of three forms serves here; autocast is off."""
    y: torch.Tensor
    if not _learns(strides):
        # Linear in x, and PyTorch's own derivatives of it are exact.
        y = resample(x, soft_masks(strides, plan), plan, taps, fastest(x))
        return y
    if not torch.compiler.is_compiling():
        y, *_ = _Resample.apply(x, strides, plan, taps)  # type: ignore[no-untyped-call]
        return y
    # A Function with a jvp cannot be compiled. The same first derivatives come out of the map
    # linearised in the strides at their own value, which is plain tensor code: s - s.detach() is
    # zero and has slope one.
    point = strides.detach()
    y, q = forward(x, point, plan, taps)
    dy, _ = push(None, strides - point, q, point, plan, taps)
    return y if dy is None else y + dy


def resampled(
    x: torch.Tensor, strides: torch.Tensor, plan: Plan, taps: tuple[Taps, ...] | None = None
) -> torch.Tensor:
    """Resample in autocast's dtype and in x's memory format; arguments are checked already."""
    x = _autocast(x, plan)
    order = stored_order(x)
    with _without_autocast(x):
        if order is None:
            return _resample(x, strides, plan, taps)
        y = _resample(x.permute(order), strides, permuted_plan(plan, order), taps)
        return logical_order(y, order)


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
    Saved for the backward pass are, of each axis, the coefficients of the bins on its ramp: 2R/N of
    what arrives at an axis of N samples, and only where the strides require gradients. The stride
    gradient follows the rules of `spectral_stride.vjp` on corners and bounds. Second derivatives in
    the strides are those of the smooth pieces; under `torch.compile` and `torch.export` they are
    zero.

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
    return resampled(x, vector, plan)


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
    with _without_autocast(x):
        if order is None:
            y: torch.Tensor = hard_crop(x, plan)
            return y
        return logical_order(hard_crop(x.permute(order), permuted_plan(plan, order)), order)
