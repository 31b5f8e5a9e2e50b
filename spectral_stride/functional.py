"""The functions that are offered for arrays of any library: what each takes, checks and returns.

All but `complexity`, which is about a network and no array. The maths behind them is in `mask`,
`axis` and `gradients`, the sizes in `plan`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Unpack

from spectral_stride import checks
from spectral_stride.arrays import (
    Array,
    DType,
    Namespace,
    array_namespace,
    cast,
    check_every_entry,
    device,
    has_no_values,
    is_array,
    namespace_of,
    working_dtype,
)
from spectral_stride.axis import hard_crop, resampling
from spectral_stride.gradients import backward, forward, push
from spectral_stride.mask import cutoff, mask_on
from spectral_stride.operator import apply
from spectral_stride.plan import (
    LARGEST,
    SMALLEST,
    Plan,
    PlanOptions,
    host_numbers,
    in_range,
    new_plan,
    planned_sizes,
    sized_plan,
    stride_range,
    with_batch_of_one,
)


@checks.known_options
def stride_bounds(
    size: int, *, smoothness: float = 4.0, ramp: str = "inside"
) -> tuple[float, float]:
    """Smallest and largest effective stride on an axis.

    A stride s outside is used as ``clip(s, lo, hi)``, with the gradient at the bound (straight
    through).

    ==========  =====================================  =====
    ramp        lo                                     hi
    ==========  =====================================  =====
    "outside"   N/(N - R) if N - R >= 2, else N/2      N/2
    "inside"    1                                      N/2
    ==========  =====================================  =====

    Parameters
    ----------
    size : int
        Samples N along the axis.
    smoothness : float, optional
        Width R of the ramp in DFT bins.
    ramp : {"inside", "outside"}, optional
        Where the ramp lies: below the strided Nyquist bin, or above it, as published.

    Returns
    -------
    lo, hi : float
        Strides in input samples per output sample. An axis of one sample is never resampled: both
        are 1.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> from spectral_stride import stride_bounds
    >>> stride_bounds(32)
    (1.0, 16.0)
    >>> lo, hi = stride_bounds(32, ramp="outside")
    >>> round(lo, 3), hi
    (1.143, 16.0)
    """
    size = checks.positive_integer("size", size)
    smoothness = checks.smoothness(smoothness)
    ramp = checks.one_of("ramp", ramp, checks.RAMPS)
    return stride_range(size, smoothness, ramp)


@checks.known_options
def make_plan(
    shape: Sequence[int],
    strides: Sequence[float],
    *,
    axes: Sequence[int] | None = None,
    smoothness: float = 4.0,
    ramp: str = "inside",
    norm: str = "forward",
    crop: bool = True,
    multiple_of: int = 1,
    out_sizes: Sequence[int] | None = None,
    method: str = "auto",
    hard: bool = False,
) -> Plan:
    """Plan the sizes of a resampling from host numbers alone.

    On an axis of N samples with stride s and cutoff c = N/(2 s), the output has

    * ramp "outside": n = 2 K samples, where K is the last bin below c + R + 1, and N if nothing is
      cropped;
    * ramp "inside": n = ceil(N/s) samples, the size of a strided convolution.

    N/s, or the edge c + R + 1, counts as a whole number where it is within 2^-23 N/s, or 2^-23 c,
    of one (at most 1/64): a stride of 1.4 leaves 10 of 14 samples, also in float32, which has no
    1.4 but 1.39999998.

    Parameters
    ----------
    shape : sequence of int
        Shape of the input.
    strides : sequence of float
        One stride per axis, in input samples per output sample. A finite positive stride outside
        `stride_bounds` is clamped to them. An array of any library that can be read on the host
        will do too.
    axes : sequence of int, optional
        The axes to resample; the last ``len(strides)`` by default.
    smoothness : float, optional
        Width R of the soft edge in DFT bins; 0 is a hard crop, whose strides have no gradient.
    ramp : {"inside", "outside"}, optional
        Where the soft edge lies: below the strided Nyquist bin, so that the output has the size of
        a strided convolution, or above it, as published.
    norm : {"forward", "ortho", "backward"}, optional
        As in `numpy.fft`: a constant keeps its value, grows by sqrt(N/n), or by N/n (as published).
    crop : bool, optional
        If False the mask is applied and every size stays.
    multiple_of : int, optional
        Round every output size up to a multiple (at most N), and so sample what the mask lets pass
        more finely. (An even n shows a wave in its bin n/2 at half its height; a larger n, whole.)
    out_sizes : sequence of int, optional
        Exact output sizes, from 2 K with ramp "outside" and ceil(N/s) with "inside" (fewer would
        alias) to N; not together with ``multiple_of``.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed; "auto" takes the matmul on short axes and the FFT on long ones.
    hard : bool, optional
        Crop hard to the same sizes, y = spectral_pool(x, n), while the strides learn from the ramp:
        see `vjp`. Not together with ``crop=False``, where nothing would be cropped.

    Returns
    -------
    Plan
        Frozen, hashable and cached: equal arguments give the same object.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range. The message says what was got, what is allowed, and what
        to write.

    Notes
    -----
    A wider canvas (``multiple_of``, ``out_sizes``, or a plan kept while the strides move) has n//2
    + 1 bins. The mask is evaluated on all of them, so a stride may move inside the canvas; what
    outgrows it is cut at its Nyquist bin. An axis of one sample is left as it is.

    Examples
    --------
    >>> from spectral_stride import make_plan
    >>> make_plan((8, 3, 32, 32), (2.0, 2.0)).out_shape
    (8, 3, 16, 16)
    >>> make_plan((8, 3, 32, 32), (2.0, 2.0), ramp="outside").out_shape  # as published
    (8, 3, 24, 24)
    >>> make_plan((8, 3, 32, 32), (2.6, 2.6), multiple_of=4).out_shape
    (8, 3, 16, 16)
    """
    shape = checks.shape(shape)
    values = host_numbers("strides", strides)
    planned = checks.axes(axes, len(values), len(shape))
    checks.strides(values)
    smoothness = checks.smoothness(smoothness)
    ramp = checks.one_of("ramp", ramp, checks.RAMPS)
    norm = checks.one_of("norm", norm, checks.NORMS)
    method = checks.one_of("method", method, checks.METHODS)
    crop = checks.truth("crop", crop, True)
    hard = checks.truth("hard", hard, False)
    checks.hard_crops(hard, crop)
    multiple_of = checks.positive_integer("multiple_of", multiple_of)
    checks.spectral_sizes(shape, planned)
    asked = None
    if out_sizes is not None:
        if not crop:
            checks.out_sizes_uncropped()
        if multiple_of != 1:
            checks.out_sizes_multiple()
        asked = checks.sizes("out_sizes", out_sizes, len(planned))
    sizes = planned_sizes(
        shape,
        planned,
        values,
        smoothness=smoothness,
        ramp=ramp,
        crop=crop,
        multiple_of=multiple_of,
        asked=asked,
    )
    return sized_plan(shape, planned, sizes, smoothness, ramp, norm, method, hard)


def diffstride(
    x: Array, strides: Any, *, plan: Plan | None = None, **options: Unpack[PlanOptions]
) -> Array:
    """Resample by cropping the spectrum with a soft mask whose size the strides set.

    Along each axis, with X = rfft(x, norm=norm) on its first n//2 + 1 bins, y = irfft(m X, n,
    norm=norm): with the mask of `soft_mask`, or m = 1 of a hard plan, the size n of `make_plan`,
    and norm="forward" unless another is asked for.

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
    (8, 3, 16, 16)
    >>> diffstride(x, (2.0, 2.0), ramp="outside", norm="backward").shape  # as published
    (8, 3, 24, 24)
    >>> diffstride(x, (2.5,), axes=(1,)).shape
    (8, 2, 32, 32)
    """
    xp, s, plan = prepare(x, strides, plan, options)
    s = within_range(s, working_dtype(xp, x.dtype))
    return apply(resampling(s, plan, learn=False), x)


def vjp(
    x: Array, strides: Any, *, plan: Plan | None = None, **options: Unpack[PlanOptions]
) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    """Resample, and return the map from an output cotangent to both gradients.

    dx = A^T g, and ds = sum over the ramp's bins of w dm/ds <P g, Q x>/N, per axis.

    Parameters
    ----------
    x : array
        Real floating-point input; any batch shape.
    strides : sequence of float, or array of shape (len(axes),)
        Input samples per output sample.
    plan : Plan, optional
        From `make_plan`; then ``strides`` may be traced, and nothing is read on the host.
    **options
        Keyword arguments of `make_plan`, where no plan is given.

    Returns
    -------
    y : array
        As `diffstride` returns it.
    pullback : callable
        ``pullback(g)`` takes a cotangent of y's shape and returns ``(dx, dstrides)``: of x's shape
        and dtype, and of shape (len(axes),) in the dtype of a ``strides`` array of x's library
        (else in x's, at least float32).

    Raises
    ------
    ValueError, TypeError
        As `diffstride`, and if ``g`` is no array of y's shape.

    Notes
    -----
    The stride gradient is the right derivative on corners of the mask (integer strides lie on
    them). For a stride outside `stride_bounds` it is the gradient at the bound, so that a clamped
    stride can come back.

    With ``hard=True`` it is an estimate, straight through the crop, and no derivative of y, which
    moves with the strides in steps alone: differences of y do not match it. y = H_1 ... H_d x is
    that of `spectral_pool` and dx = H_d^T ... H_1^T g its exact gradient, while ds_i is
    <g, H_1 ... (dA_i/ds_i) ... H_d x>, with the soft map A_i of that axis alone: the derivative
    that y would have if H_i were moved by the soft map's change. An axis that keeps its size, n =
    N, is left as it is, and of it the ramp's bins alone are computed.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_stride import vjp
    >>> x = np.cos(2 * np.pi * 6 * np.arange(32) / 32)
    >>> y, pullback = vjp(x, (4.0,))
    >>> dx, dstrides = pullback(y)
    >>> dx.shape, dstrides.shape
    ((32,), (1,))
    >>> bool(dstrides[0] < 0)  # a larger stride passes less of this wave
    True
    """
    xp, s, plan = prepare(x, strides, plan, options)
    s = within_range(s, working_dtype(xp, x.dtype))
    op = resampling(s, plan)
    y, q = forward(op, x)
    kind, dtype = x.dtype, s.dtype  # x itself is not kept
    # Not y.shape: a library that traces may not know it.
    shape = plan.resampled(tuple(x.shape))
    is_own = is_array(strides) and array_namespace(strides) is xp
    if is_own and xp.isdtype(strides.dtype, "real floating"):
        dtype = strides.dtype

    def pullback(g: Array) -> tuple[Array, Array]:
        checks.same_library("g", g, namespace_of("g", g) is xp)
        checks.same_shape("g", tuple(g.shape), shape)
        checks.one_chunk("g", g, plan.axes)
        dx, ds = backward(op, cast(g, kind), q, s.dtype)
        return dx, xp.zeros_like(s, dtype=dtype) if ds is None else cast(ds, dtype)

    return y, pullback


def jvp(
    x: Array,
    strides: Any,
    dx: Array | None,
    dstrides: Any,
    *,
    plan: Plan | None = None,
    **options: Unpack[PlanOptions],
) -> tuple[Array, Array]:
    """Resample, and push tangents of the input and the strides forward.

    dy = A dx + (dA/ds ds) x: the map is linear in x.

    Parameters
    ----------
    x : array
        Real floating-point input; any batch shape.
    strides : sequence of float, or array of shape (len(axes),)
        Input samples per output sample.
    dx : array or None
        Tangent of x, of its shape; None stands for zeros, and is not computed with.
    dstrides : sequence of float, array of shape (len(axes),), or None
        Tangent of the strides; None stands for zeros.
    plan : Plan, optional
        From `make_plan`; then ``strides`` may be traced, and nothing is read on the host.
    **options
        Keyword arguments of `make_plan`, where no plan is given.

    Returns
    -------
    y, dy : array
        As `diffstride` returns it, and its tangent.

    Raises
    ------
    ValueError, TypeError
        As `diffstride`, and if a tangent does not have the shape of what it belongs to.

    Notes
    -----
    Corners and bounds are as in `vjp`: the right derivative, straight through the clamp. With
    ``hard=True`` dy = H dx + (dA/ds ds) x is the transpose of that pullback, and an estimate too.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_stride import jvp
    >>> x = np.cos(2 * np.pi * 6 * np.arange(32) / 32)
    >>> y, dy = jvp(x, (4.0,), None, (1.0,))
    >>> y.shape == dy.shape
    True
    """
    xp, s, plan = prepare(x, strides, plan, options)
    s = within_range(s, working_dtype(xp, x.dtype))
    op = resampling(s, plan)
    y, q = forward(op, x)
    if dx is not None:
        checks.same_library("dx", dx, namespace_of("dx", dx) is xp)
        checks.same_shape("dx", tuple(dx.shape), tuple(x.shape))
        checks.one_chunk("dx", dx, plan.axes)
        dx = cast(dx, x.dtype)
    if dstrides is not None:
        dstrides = stride_vector(xp, x, "dstrides", dstrides, plan)
        dstrides = cast(dstrides, working_dtype(xp, x.dtype))
    dy, _ = push(op, dx, dstrides, q)
    return y, xp.zeros_like(y) if dy is None else dy


@checks.known_options
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

    See Also
    --------
    spectral_resize : the same for fewer samples, and the way back to more.

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
    xp = namespace_of("x", x)
    plan = pool_plan(tuple(x.shape), out_sizes, axes=axes, norm=norm, method=method)
    checks.one_chunk("x", x, plan.axes)
    return apply(hard_crop(x, possible(plan, xp)), x)


@checks.known_options
def spectral_resize(
    x: Array,
    sizes: Sequence[int],
    *,
    axes: Sequence[int] | None = None,
    norm: str = "forward",
    method: str = "auto",
) -> Array:
    """Resample to given sizes, fewer or more: crop the spectrum, or put zeros behind it.

    y_j = gain/N sum over k = 0 .. min(N, n)//2 of w_k Re(X_k exp(2 pi i k j/n)) along each axis,
    with X = rfft(x), and w_k = 1 on bin 0 and on bin min(N, n)/2, 2 on all others.

    Parameters
    ----------
    x : array
        Real floating-point input of any array library; any batch shape.
    sizes : sequence of int
        Samples n of the output, 1 or more along each axis.
    axes : sequence of int, optional
        The axes to resample; the last ``len(sizes)`` by default.
    norm : {"forward", "ortho", "backward"}, optional
        As in `numpy.fft`: a constant keeps its value, is multiplied by sqrt(N/n), or by N/n.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed; "auto" goes by the larger of N and n.

    Returns
    -------
    array
        Of x's library, device and dtype.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range. The message says what was got, what is allowed, and what
        to write.

    See Also
    --------
    spectral_pool : the same, where an axis is never to get longer.

    Notes
    -----
    With n < N this is `spectral_pool`. With n = N an axis stays as it is. With n > N it is the
    trigonometric interpolation: between the samples lies the smoothest wave through them, and where
    n is a multiple of N every (n/N)-th sample is one of x (times the norm's gain).

    A signal that fits both sizes, with nothing at or above bin min(N, n)/2, goes there and back
    unchanged. If the smaller size is odd, each of its signals is such a one. If it is even, its
    last bin is the exception: enlarging makes a cosine of its whole height, and pooling shows that
    at half its height.

    Let R[n, N] be the matrix of one axis from N to n samples. Its transpose is the way back, at all
    bins and in either direction: R[n, N]^T = c R[N, n] with c = n/N for norm "forward", 1 for
    "ortho" and N/n for "backward". So <R x, g> = c <x, R' g> with R' pooling where R enlarges.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_stride import spectral_resize
    >>> x = np.cos(2 * np.pi * np.arange(4) / 4)
    >>> y = spectral_resize(x, (8,))
    >>> y.round(3) + 0.0
    array([ 1.   ,  0.707,  0.   , -0.707, -1.   , -0.707,  0.   ,  0.707])
    >>> spectral_resize(y, (4,)).round(3) + 0.0
    array([ 1.,  0., -1.,  0.])
    """
    xp = namespace_of("x", x)
    plan = resize_plan(tuple(x.shape), sizes, axes=axes, norm=norm, method=method)
    checks.one_chunk("x", x, plan.axes)
    return apply(hard_crop(x, possible(plan, xp)), x)


@checks.known_options
def soft_mask(size: int, stride: Any, *, smoothness: float = 4.0, ramp: str = "inside") -> Array:
    """Soft crop mask of one axis on all its bins.

    m_k = clip((edge - k)/width, 0, 1) for k = 0 .. N//2, with the cutoff c = max(N/s, 2)/2 at the
    clamped stride and

    ==========  ===========  =======================
    ramp        edge         width
    ==========  ===========  =======================
    "outside"   c + R + 1    R
    "inside"    c + 1/2      min(R, max(c/2, 1))
    ==========  ===========  =======================

    Parameters
    ----------
    size : int
        Samples N along the axis.
    stride : float or array of shape ()
        Input samples per output sample. An array may be traced.
    smoothness : float, optional
        Width R of the ramp in DFT bins; with 0 the mask is 1 below the edge and 0 from it on.
    ramp : {"inside", "outside"}, optional
        Where the ramp lies: below the strided Nyquist bin, or above it, as published.

    Returns
    -------
    array of shape (size//2 + 1,)
        Of the stride's library and dtype (at least float32); a NumPy float64 array for a number.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.

    Notes
    -----
    DC always passes: m_0 = 1. On an axis of one sample it is the only bin. The values of an array
    are not read, so a NaN in it is not refused. A library that differentiates this function finds
    slope 0 for strides outside `stride_bounds`; `vjp` and `jvp` give the slope at the bound.

    Source: Riad et al., "Learning strides in convolutional neural networks", ICLR 2022, for
    "outside".

    Examples
    --------
    >>> from spectral_stride import soft_mask
    >>> soft_mask(16, 4.0, smoothness=2)
    array([1. , 1. , 0.5, 0. , 0. , 0. , 0. , 0. , 0. ])
    >>> soft_mask(16, 4.0, smoothness=2, ramp="outside")
    array([1. , 1. , 1. , 1. , 0.5, 0. , 0. , 0. , 0. ])
    """
    size = checks.positive_integer("size", size)
    smoothness = checks.smoothness(smoothness)
    ramp = checks.one_of("ramp", ramp, checks.RAMPS)
    if is_array(stride) and not isinstance(stride, Real):
        xp = namespace_of("stride", stride)
        checks.stride_scalar(tuple(stride.shape))
        stride = within_range(stride, working_dtype(xp, stride.dtype))
    else:
        # Only here: it takes longer to load than all of the core.
        from array_api_compat import numpy as np_compat

        (number,) = in_range([checks.stride_number(stride)])
        stride = np_compat.asarray(number)  # type: ignore[attr-defined]  # star imports
    xp = array_namespace(stride)
    bins = xp.arange(size // 2 + 1, dtype=stride.dtype, device=device(stride))
    if size == 1:
        return xp.ones_like(bins)
    return mask_on(bins, cutoff(stride, size, smoothness, ramp), smoothness, ramp)


def pool_plan(
    shape: Sequence[int],
    out_sizes: Sequence[int],
    *,
    axes: Sequence[int] | None,
    norm: str,
    method: str,
) -> Plan:
    """Plan a hard crop to exactly ``out_sizes`` samples, 1 to N along each axis."""
    plan = resize_plan(shape, out_sizes, axes=axes, norm=norm, method=method, name="out_sizes")
    for axis, most, size in zip(plan.axes, plan.sizes, plan.out_sizes, strict=True):
        why, also = "spectral pooling never enlarges", ", or call spectral_resize, which does"
        checks.out_size(axis, size, 1, most, why, also)
    return plan


def resize_plan(
    shape: Sequence[int],
    sizes: Sequence[int],
    *,
    axes: Sequence[int] | None,
    norm: str,
    method: str = "auto",
    name: str = "sizes",
) -> Plan:
    """Plan for exactly these sizes, 1 or more along each axis; ``name`` is what messages say."""
    wanted = checks.sizes(name, sizes)
    planned = checks.axes(axes, len(wanted), len(shape), name, 16)
    norm = checks.one_of("norm", norm, checks.NORMS)
    method = checks.one_of("method", method, checks.METHODS)
    checks.spectral_sizes(tuple(shape), planned)
    shape = with_batch_of_one(shape, planned)
    return new_plan(shape, planned, wanted, 0.0, "inside", norm, method, True)


def prepare(
    x: Array, strides: Any, plan: Plan | None, options: PlanOptions
) -> tuple[Namespace, Array, Plan]:
    """Check one call, and return its namespace, its strides as an array, and its plan.

    Without a plan the strides are read on the host. With one, an array of strides is not: it may be
    traced. It is returned as it is, for its caller to cast.
    """
    xp = namespace_of("x", x)
    shape = tuple(x.shape)
    if plan is None:
        plan = make_plan(shape, host_numbers("strides", strides, options), **options)
    else:
        checks.is_plan(plan, Plan)
        checks.plan_alone(list(options))
        checks.plan_fits(plan.shape, plan.axes, shape)
    checks.one_chunk("x", x, plan.axes)
    vector = stride_vector(xp, x, "strides", strides, plan)
    return xp, vector, possible(plan, xp)


def possible(plan: Plan, xp: Namespace) -> Plan:
    """Return the plan in forms that a library has: without an FFT "auto" takes matrices alone.

    The standard has the FFT as an extension, which a library may leave out.
    """
    if hasattr(xp, "fft"):
        return plan
    if plan.method == "fft":
        checks.no_fft(xp.__name__)
    return replace(plan, method="matmul", methods=("matmul",) * len(plan.axes))


def stride_vector(xp: Namespace, x: Array, name: str, values: Any, plan: Plan) -> Array:
    """Strides, or their tangent, as an array of shape (len(axes),) of x's library.

    An array is returned as it is; numbers become one like x, in working precision.
    """
    if is_array(values) and array_namespace(values) is xp:
        check_every_entry(name, values)
        checks.stride_array(name, tuple(values.shape), values.dtype)
        checks.stride_count(name, values.shape[0], plan.axes)
        if has_no_values(values) and not has_no_values(x):
            checks.no_values(name, device(x))
        return values
    numbers = host_numbers(name, values)
    checks.stride_count(name, len(numbers), plan.axes)
    if name == "strides":
        checks.strides(numbers)
        numbers = in_range(numbers)
    else:
        checks.tangents(name, numbers)
    dtype = working_dtype(xp, x.dtype)
    return xp.asarray(list(numbers), dtype=dtype, device=device(x))


def within_range(strides: Array, dtype: DType) -> Array:
    """Cast an array of strides; those far outside every bound come to where any dtype has them.

    As `in_range` does with numbers. A library that differentiates this finds slope 0 there, as
    behind it, where the strides are clamped.
    """
    xp = array_namespace(strides)
    if strides.dtype != xp.float64:
        strides = cast(strides, dtype)  # which has them all
    low, high = xp.full_like(strides, SMALLEST), xp.full_like(strides, LARGEST)
    # One that is negative is wrong, and not read: it stays.
    strides = xp.where((strides >= 0) & (strides < low), low, strides)
    return cast(xp.where(strides > high, high, strides), dtype)
