"""The core for tensors of PyTorch: which of its forms serves where, autocast, memory formats."""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import torch

from spectral_stride import checks
from spectral_stride.arrays import bind, namespace_of
from spectral_stride.factors import Factors, factors
from spectral_stride.gradients import are_in_output, forward, push
from spectral_stride.operator import resample
from spectral_stride.plan import Plan, PlanOptions, host_numbers, in_range, pool_plan
from spectral_stride.taps import Taps
from spectral_stride.torch.autograd import (
    differentiable,
    learn_from_output,
    resample_fixed,
    resample_learning,
    without_autocast,
)
from spectral_stride.torch.kernels import fastest
from spectral_stride.torch.map_cache import (
    Strides,
    build,
    cropped,
    forward_mode_is_nested,
    kept,
    nothing_interferes,
    transformed,
)
from spectral_stride.torch.memory_format import in_stored_order, owned


def check_tensor(x: Any) -> None:
    """Refuse what is no tensor."""
    if not isinstance(x, torch.Tensor):
        remedy = "convert it first: torch.as_tensor(x)"
        checks.refuse(TypeError, "x", type(x).__name__, "a torch.Tensor", remedy)


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
    if not may_learn(strides):
        return _fixed(x, kept(strides, plan, taps, x), plan)
    assert isinstance(strides, torch.Tensor)
    if not torch.compiler.is_compiling():
        if forward_mode_is_nested():
            # Of a Function's tangent PyTorch takes no tangent in its turn (2.13), and says zero.
            return owned(resample(x, differentiable(strides, plan, taps), plan), x)
        # In half precision the output is too coarse to divide by a small share in it.
        fine = taps is None and x.dtype in (torch.float32, torch.float64)
        if built is None and not transformed():
            built = build(strides, plan, taps, hold_output=fine)
        return resample_learning(x, strides, plan, taps, built)
    # A Function with a jvp cannot be compiled. The same first derivatives come out of the map
    # linearised in the strides at their own value, which is plain tensor code: s - s.detach() is
    # zero and has slope one.
    point = strides.detach()
    parts = factors(point, plan, taps)
    y: torch.Tensor
    y, q = forward(x, parts, plan)
    dy, _ = push(None, strides - point, q, parts, plan)
    return owned(y, x) if dy is None else y + dy


def _fixed(x: torch.Tensor, parts: Factors, plan: Plan) -> torch.Tensor:
    """Resample by a constant map."""
    y: torch.Tensor
    if torch.compiler.is_compiling() or transformed():
        # Linear in x, and PyTorch's own derivatives of it are exact.
        y = owned(resample(x, parts, plan), x)
    elif x.requires_grad and torch.is_grad_enabled():
        y = resample_fixed(x, parts, plan)
    else:
        with torch.no_grad():
            y = owned(resample(x, parts, plan, fastest(x)), x)
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
    with without_autocast(x.device):
        return in_stored_order(x, plan, lambda x, plan: _resample(x, strides, plan, taps, built))


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
            z = in_stored_order(x, plan, lambda x, plan: _fixed(x, built, plan))
            return learn_from_output(mix(z, None), strides, plan, built, bias)
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
    copy is returned. Either takes a share in the output of every bin that is not close to zero:
    then the gradient's rounding is up to 32 times that of the output, and that grows with the
    output's mean (noise with a mean of 100 times its spread: 1e-3 of the gradient in float32, where
    the input's coefficients give 1e-4; with 3 times its spread 1e-5). The stride gradient follows
    the rules of `spectral_stride.vjp` on corners and bounds. Second derivatives in the strides are
    those of the smooth pieces, beyond the bounds those at the bound; under `torch.compile` and
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
    with without_autocast(x.device):
        return in_stored_order(x, plan, lambda x, plan: _fixed(x, cropped(plan, x), plan))
