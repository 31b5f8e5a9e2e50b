"""The core registered with PyTorch's autograd, forward-mode, vmap, autocast and compiler."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Unpack

import torch

import spectral_stride as core
from spectral_stride import checks
from spectral_stride.arrays import bind, namespace_of
from spectral_stride.gradients import input_gradient, stride_gradient
from spectral_stride.plan import Plan, PlanOptions, permuted_plan, pool_plan
from spectral_stride.torch.memory import logical_order, stored_order
from spectral_stride.transform import hard_crop


class _Resample(torch.autograd.Function):
    """y = A(s) x with the core's gradients; what is saved is the input itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor, strides: torch.Tensor, plan: Plan) -> torch.Tensor:
        y: torch.Tensor = core.diffstride(x, strides, plan=plan)
        # Where every axis has one sample there is nothing to do, and PyTorch wants a view.
        return y.view_as(x) if y is x else y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        x, strides, ctx.plan = inputs
        # The map is linear in x: x is needed for the strides' gradient alone.
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, strides)
        ctx.save_for_forward(x, strides)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (g,) = cotangents
        x, strides = ctx.saved_tensors
        dx = dstrides = None
        with _without_autocast(g):
            if ctx.needs_input_grad[0]:
                dx = input_gradient(g, strides, ctx.plan)
            if ctx.needs_input_grad[1]:
                dstrides = stride_gradient(x, g, strides, ctx.plan)
        return dx, dstrides, None

    @staticmethod
    def jvp(
        ctx: Any, dx: torch.Tensor | None, dstrides: torch.Tensor | None, _: None
    ) -> torch.Tensor:
        x, strides = ctx.saved_tensors
        dy: torch.Tensor
        _, dy = core.jvp(x, strides, dx, dstrides, plan=ctx.plan)
        return dy


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


def _resample(x: torch.Tensor, vector: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Resample by whichever of two forms serves here; autocast is off."""
    if not torch.compiler.is_compiling():
        y: torch.Tensor = _Resample.apply(x, vector, plan)  # type: ignore[no-untyped-call]
        return y
    # A Function with a jvp cannot be compiled. The same first derivatives come out of the map
    # linearised in the strides at their own value, which is plain tensor code: s - s.detach() is
    # zero and has slope one.
    point = vector.detach()
    learns = vector.requires_grad and torch.is_grad_enabled()
    tangent = vector - point if learns else None
    y, dy = core.jvp(x, point, None, tangent, plan=plan)
    return y if tangent is None else y + dy


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
    Saved for the backward pass: x, and only where the strides require gradients. The stride
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
    x = _autocast(x, plan)
    order = stored_order(x)
    with _without_autocast(x):
        if order is None:
            return _resample(x, vector, plan)
        y = _resample(x.permute(order), vector, permuted_plan(plan, order))
        return logical_order(y, order)


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
