"""The forward maps: learnable-stride resampling, and spectral pooling to a given size."""

from collections.abc import Sequence
from typing import Any, Unpack

from spectral_stride import checks
from spectral_stride.arrays import Array, bind, namespace_of
from spectral_stride.factors import all_pass, factors
from spectral_stride.operator import resample
from spectral_stride.plan import Plan, PlanOptions, pool_plan


def diffstride(
    x: Array, strides: Any, *, plan: Plan | None = None, **options: Unpack[PlanOptions]
) -> Array:
    """Resample by cropping the spectrum with a soft mask whose size the strides set.

    Along each axis, with X = rfft(x): y = irfft(m X, n), with the mask of `soft_mask` and the size
    of `make_plan`.

    Parameters
    ----------
    x : array
        Real floating-point input of any array library; any batch shape, empty ones too.
    strides : sequence of float, or array of shape (len(axes),)
        Input samples per output sample, one per axis. A finite positive stride outside
        `stride_bounds` is clamped.
    plan : Plan, optional
        From `make_plan`; then ``strides`` may be traced, and an array of strides is not read on the
        host. The plan fits every array with its number of dimensions and its sizes along the
        planned axes.
    **options
        Keyword arguments of `make_plan`, where no plan is given.

    Returns
    -------
    array
        Of x's library, device and dtype. Masks and matrices are built in at least float32; in
        float16 and bfloat16 the products are taken in that dtype, and "auto" computes an FFT axis
        in float32.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, the plan does not fit, or the dtype is not real floating
        point. The message says what was got, what is allowed, and what to write.

    See Also
    --------
    vjp, jvp : with derivatives in x and in the strides.
    spectral_pool : a hard crop to a given size.

    Notes
    -----
    Constants keep their value under the default norm: DC always passes. Axes are independent of
    each other, so the mask is separable and treats +k and -k alike; the published layer does not on
    its vertical axis.

    A dask array stays lazy, chunk by chunk along the other axes, so that it may be larger than
    memory; each resampled axis has to lie in one chunk. Strides in a dask array stay lazy with a
    plan; without one they alone are computed, for the sizes.

    Source: Riad, Teboul, Grangier, Zeghidour, "Learning strides in convolutional neural networks",
    ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_stride import diffstride
    >>> x = np.ones((8, 3, 32, 32), dtype=np.float32)
    >>> diffstride(x, (2.0, 2.0)).shape
    (8, 3, 24, 24)
    >>> diffstride(x, (2.0, 2.0), ramp="inside").shape
    (8, 3, 16, 16)
    >>> diffstride(x, (2.5,), axes=(1,), ramp="inside").shape
    (8, 2, 32, 32)
    """
    _, s, plan = bind(x, strides, plan, options)
    return resample(x, factors(s, plan, learn=False), plan)


def spectral_pool(
    x: Array,
    out_sizes: Sequence[int],
    *,
    axes: Sequence[int] | None = None,
    norm: str = "forward",
    method: str = "auto",
) -> Array:
    """Resample to given sizes by a hard crop of the spectrum.

    Along each axis y = irfft(X[0 .. n//2], n) with X = rfft(x); for an even n the imaginary part of
    bin n/2 is dropped.

    Parameters
    ----------
    x : array
        Real floating-point input of any array library; any batch shape.
    out_sizes : sequence of int
        Samples of the output, 1 to N along each axis.
    axes : sequence of int, optional
        The axes to resample; the last ``len(out_sizes)`` by default.
    norm : {"forward", "ortho", "backward"}, optional
        As in `numpy.fft`: a constant keeps its value, grows by sqrt(N/n), or by N/n.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Returns
    -------
    array
        Of x's library, device and dtype.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range. The message says what was got, what is allowed, and what
        to write.

    Notes
    -----
    n = 1 is the mean (times the norm's gain), n = N is the identity.

    Source: Rippel, Snoek, Adams, "Spectral representations for convolutional neural networks",
    NeurIPS 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_stride import spectral_pool
    >>> x = np.cos(2 * np.pi * np.arange(8) / 8)
    >>> spectral_pool(x, (4,)).round(6) + 0.0
    array([ 1.,  0., -1.,  0.])
    """
    namespace_of("x", x)
    plan = pool_plan(tuple(x.shape), out_sizes, axes=axes, norm=norm, method=method)
    checks.one_chunk("x", x, plan.axes)
    return resample(x, all_pass(x, plan), plan)
