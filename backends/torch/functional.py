"""The core's functions for tensors of PyTorch: what they take, check and return."""

from collections.abc import Sequence
from typing import Any, Unpack

import torch

from spectral_stride import checks
from spectral_stride.arrays import NAMESPACES, array_namespace, namespace_of
from spectral_stride.functional import pool_plan, prepare, resize_plan
from spectral_stride.plan import Plan, PlanOptions, host_numbers, in_range
from spectral_stride.torch import dispatch

REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

NAMESPACES.update(
    dict.fromkeys((torch.Tensor, torch.nn.Parameter), array_namespace(torch.empty(0)))
)


def check_tensor(x: Any) -> None:
    """Refuse what is no tensor, or not of real floating-point numbers."""
    if not isinstance(x, torch.Tensor):
        remedy = "convert it first: torch.as_tensor(x)"
        checks.refuse(TypeError, "x", type(x).__name__, "a torch.Tensor", remedy)
    if x.layout != torch.strided or x.is_nested or x.dtype not in REAL:
        namespace_of("x", x)  # which says what is allowed


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
    those of the smooth pieces, beyond the bounds those at the bound. Under `torch.compile` there
    are none, as for all that PyTorch compiles; in what `torch.export` and compiled transforms trace
    they are zero.

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
    may_wait = plan is None  # the strides are read to make one
    _, vector, plan = prepare(x, strides, plan, options)
    if isinstance(strides, torch.Tensor) or torch.compiler.is_compiling():
        return dispatch.resample(x, vector, plan, may_wait=may_wait)
    return dispatch.resample(x, in_range(host_numbers("strides", strides)), plan)


@checks.known_options
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
    plan = pool_plan(tuple(x.shape), out_sizes, axes=axes, norm=norm, method=method)
    return dispatch.crop(x, plan)


@checks.known_options
def spectral_resize(
    x: torch.Tensor,
    sizes: Sequence[int],
    *,
    axes: Sequence[int] | None = None,
    norm: str = "forward",
    method: str = "auto",
) -> torch.Tensor:
    """Resample a tensor to given sizes, fewer or more: crop its spectrum, or put zeros behind it.

    `spectral_stride.spectral_resize` with autocast. The map is linear and plain tensor code, so
    PyTorch's own derivatives of it are exact.

    Parameters
    ----------
    x : Tensor
        Real floating-point input; any batch shape.
    sizes : sequence of int
        Samples n of the output, 1 or more along each axis.
    axes : sequence of int, optional
        The axes to resample; the last ``len(sizes)`` by default.
    norm : {"forward", "ortho", "backward"}, optional
        As in `torch.fft`: a constant keeps its value, is multiplied by sqrt(N/n), or by N/n.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Returns
    -------
    Tensor
        Of x's dtype, device and memory format; under autocast as in `diffstride`.

    Raises
    ------
    ValueError, TypeError
        As `spectral_stride.spectral_resize`.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import spectral_resize
    >>> spectral_resize(torch.ones(8, 3, 16, 13), (32, 32)).shape
    torch.Size([8, 3, 32, 32])
    """
    check_tensor(x)
    plan = resize_plan(tuple(x.shape), sizes, axes=axes, norm=norm, method=method)
    return dispatch.crop(x, plan)
