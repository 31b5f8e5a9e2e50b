"""The core on CuPy arrays: each call on the device that holds x, and clear words where none does.

CuPy records nothing for differentiation, so derivatives are the core's own `vjp` and `jvp`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import spectral_stride as core
from spectral_stride import checks
from spectral_stride.plan import Plan, PlanOptions

try:
    import cupy
except ImportError as missing:
    checks.refuse(
        ImportError,
        "cupy",
        f"no CuPy that can be imported ({missing})",
        "a machine where `import cupy` works, with or without a GPU",
        "pip install cupy-cuda13x for CUDA 13, cupy-cuda12x for CUDA 12; "
        "in a checkout pip install -e '.[cupy]'",
    )


def check_array(name: str, x: Any) -> None:
    """Refuse what is no CuPy array, and say so where there can be none for want of a device."""
    if isinstance(x, cupy.ndarray):
        return
    if not cupy.is_available():
        checks.refuse(
            RuntimeError,
            name,
            f"{type(x).__name__} on a machine where CuPy {cupy.__version__} finds no CUDA device",
            "a cupy.ndarray, which needs a GPU and a driver for CuPy's version of CUDA",
            "look at cupy.show_config(), or call the same function of spectral_stride on a NumPy "
            "array",
        )
    remedy = f"convert it first: cupy.asarray({name})"
    checks.refuse(TypeError, name, type(x).__name__, "a cupy.ndarray", remedy)


def diffstride(
    x: Any, strides: Any, *, plan: Plan | None = None, **options: Unpack[PlanOptions]
) -> Any:
    """Resample a CuPy array by a soft crop of its spectrum, on its device.

    `spectral_stride.diffstride`: y = irfft(m rfft(x), n) along each axis.

    Parameters
    ----------
    x : cupy.ndarray
        Real floating-point input; any batch shape.
    strides : sequence of float, or cupy.ndarray of shape (len(axes),)
        Input samples per output sample.
    plan : Plan, optional
        From `make_plan`. Without one an array of strides is copied to the host, which waits for the
        device; that is the only copy.
    **options
        Keyword arguments of `make_plan`, where no plan is given.

    Returns
    -------
    cupy.ndarray
        Of x's dtype, on x's device, which need not be the current one.

    Raises
    ------
    ValueError, TypeError
        As `spectral_stride.diffstride`, and for an array of another library.
    RuntimeError
        If there is no CUDA device, so that x cannot be a CuPy array.

    Examples
    --------
    >>> import cupy
    >>> from spectral_stride.cupy import diffstride
    >>> x = cupy.ones((8, 3, 32, 32))
    >>> diffstride(x, (2.0, 2.0)).shape
    (8, 3, 16, 16)
    """
    check_array("x", x)
    with x.device:
        return core.diffstride(x, strides, plan=plan, **options)


def vjp(
    x: Any, strides: Any, *, plan: Plan | None = None, **options: Unpack[PlanOptions]
) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
    """Resample a CuPy array, and return the map from an output cotangent to both gradients.

    `spectral_stride.vjp`: dx = A^T g, and ds from the bins on the ramp.

    Parameters
    ----------
    x : cupy.ndarray
        Real floating-point input; any batch shape.
    strides : sequence of float, or cupy.ndarray of shape (len(axes),)
        Input samples per output sample.
    plan : Plan, optional
        As in `diffstride`.
    **options
        Keyword arguments of `make_plan`, where no plan is given.

    Returns
    -------
    y : cupy.ndarray
        As `diffstride` returns it.
    pullback : callable
        ``pullback(g)`` takes a cotangent of y's shape and returns ``(dx, dstrides)``, of x's shape
        and of shape (len(axes),), on x's device.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        As `diffstride`, and if ``g`` is no CuPy array of y's shape.

    Notes
    -----
    Corners of the mask and clamped strides are as in `spectral_stride.vjp`.

    Examples
    --------
    >>> import cupy
    >>> from spectral_stride.cupy import vjp
    >>> x = cupy.cos(2 * cupy.pi * 6 * cupy.arange(32) / 32)
    >>> y, pullback = vjp(x, (4.0,))
    >>> dx, dstrides = pullback(y)
    >>> bool(dstrides[0] < 0)  # a larger stride passes less of this wave
    True
    """
    check_array("x", x)
    with x.device:
        y, core_pullback = core.vjp(x, strides, plan=plan, **options)

    def pullback(g: Any) -> tuple[Any, Any]:
        check_array("g", g)
        with x.device:
            return core_pullback(g)

    return y, pullback


def jvp(
    x: Any,
    strides: Any,
    dx: Any,
    dstrides: Any,
    *,
    plan: Plan | None = None,
    **options: Unpack[PlanOptions],
) -> tuple[Any, Any]:
    """Resample a CuPy array, and push tangents of the input and the strides forward.

    `spectral_stride.jvp`: dy = A dx + (dA/ds ds) x.

    Parameters
    ----------
    x : cupy.ndarray
        Real floating-point input; any batch shape.
    strides : sequence of float, or cupy.ndarray of shape (len(axes),)
        Input samples per output sample.
    dx : cupy.ndarray or None
        Tangent of x, of its shape; None stands for zeros.
    dstrides : sequence of float, cupy.ndarray of shape (len(axes),), or None
        Tangent of the strides; None stands for zeros.
    plan : Plan, optional
        As in `diffstride`.
    **options
        Keyword arguments of `make_plan`, where no plan is given.

    Returns
    -------
    y, dy : cupy.ndarray
        As `diffstride` returns it, and its tangent.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        As `diffstride`, and if a tangent does not have the shape of what it belongs to.

    Notes
    -----
    Corners of the mask and clamped strides are as in `spectral_stride.vjp`.

    Examples
    --------
    >>> import cupy
    >>> from spectral_stride.cupy import jvp
    >>> x = cupy.cos(2 * cupy.pi * 6 * cupy.arange(32) / 32)
    >>> y, dy = jvp(x, (4.0,), None, (1.0,))
    >>> y.shape == dy.shape
    True
    """
    check_array("x", x)
    if dx is not None:
        check_array("dx", dx)
    with x.device:
        return core.jvp(x, strides, dx, dstrides, plan=plan, **options)


@checks.known_options
def spectral_pool(
    x: Any,
    out_sizes: Sequence[int],
    *,
    axes: Sequence[int] | None = None,
    norm: str = "forward",
    method: str = "auto",
) -> Any:
    """Resample a CuPy array to given sizes by a hard crop of its spectrum, on its device.

    `spectral_stride.spectral_pool`: y = irfft(X[0 .. n//2], n) with X = rfft(x).

    Parameters
    ----------
    x : cupy.ndarray
        Real floating-point input; any batch shape.
    out_sizes : sequence of int
        Samples of the output, 1 to N along each axis.
    axes : sequence of int, optional
        The axes to resample; the last ``len(out_sizes)`` by default.
    norm : {"forward", "ortho", "backward"}, optional
        As in `cupy.fft`: a constant keeps its value, grows by sqrt(N/n), or by N/n.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Returns
    -------
    cupy.ndarray
        Of x's dtype, on x's device.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        As `spectral_stride.spectral_pool`, and for x as `diffstride`.

    Examples
    --------
    >>> import cupy
    >>> from spectral_stride.cupy import spectral_pool
    >>> spectral_pool(cupy.ones((8, 3, 32, 32)), (16, 16)).shape
    (8, 3, 16, 16)
    """
    check_array("x", x)
    with x.device:
        return core.spectral_pool(x, out_sizes, axes=axes, norm=norm, method=method)


@checks.known_options
def spectral_resize(
    x: Any,
    sizes: Sequence[int],
    *,
    axes: Sequence[int] | None = None,
    norm: str = "forward",
    method: str = "auto",
) -> Any:
    """Resample a CuPy array to given sizes, fewer or more, on its device.

    `spectral_stride.spectral_resize`: crop the spectrum, or put zeros behind it.

    Parameters
    ----------
    x : cupy.ndarray
        Real floating-point input; any batch shape.
    sizes : sequence of int
        Samples n of the output, 1 or more along each axis.
    axes : sequence of int, optional
        The axes to resample; the last ``len(sizes)`` by default.
    norm : {"forward", "ortho", "backward"}, optional
        As in `cupy.fft`: a constant keeps its value, is multiplied by sqrt(N/n), or by N/n.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Returns
    -------
    cupy.ndarray
        Of x's dtype, on x's device.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        As `spectral_stride.spectral_resize`, and for x as `diffstride`.

    Examples
    --------
    >>> import cupy
    >>> from spectral_stride.cupy import spectral_resize
    >>> spectral_resize(cupy.ones((8, 3, 16, 13)), (32, 32)).shape
    (8, 3, 32, 32)
    """
    check_array("x", x)
    with x.device:
        return core.spectral_resize(x, sizes, axes=axes, norm=norm, method=method)
