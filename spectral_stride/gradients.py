"""Derivatives of the resampling: A^T in the input; in the strides, the bins on the ramp alone.

Only those bins depend on the stride of their axis: dA/ds = P^T diag(d) Q with the r ramp bins'
cosine and sine rows P (2r x n) and Q (2r x N), and d = w dm/ds gain/N. Both stride derivatives are
therefore two skinny products; neither forms an (n x N) matrix of cotangents, nor a spectrum beyond
the ramp.
"""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

from array_api_compat import array_namespace, device, is_array_api_obj

from spectral_stride import checks
from spectral_stride.arrays import Array, bind, cast, namespace_of, stride_vector
from spectral_stride.mask import cutoff, ramp_bins, slope_on, soft_masks
from spectral_stride.operator import (
    along,
    apply_rows,
    bin_weights,
    gain,
    resample,
    resample_adjoint,
    transposed,
    trig_rows,
)
from spectral_stride.plan import Plan, PlanOptions


def _ramp_rows(strides: Array, plan: Plan, position: int) -> tuple[Array, Array, Array] | None:
    """Return d (2r,), P (2r, n), Q (2r, N) of one axis; None where its stride changes nothing."""
    size, out_size = plan.sizes[position], plan.out_sizes[position]
    if size == 1 or plan.smoothness == 0:
        return None
    xp = array_namespace(strides)
    dtype = strides.dtype
    c = cutoff(strides[position], size, plan.smoothness, plan.ramp)
    bins = ramp_bins(c, size, out_size // 2, plan.smoothness, plan.ramp)
    slope = slope_on(xp.astype(bins, dtype), c, size, plan.smoothness, plan.ramp)
    d = bin_weights(bins, out_size, dtype) * slope * (gain(plan.norm, size, out_size) / size)
    out_rows = xp.concat(list(trig_rows(bins, out_size, dtype)), axis=0)
    in_rows = xp.concat(list(trig_rows(bins, size, dtype)), axis=0)
    return xp.concat([d, d], axis=0), out_rows, in_rows


def _on_ramp(
    x: Array, in_rows: Array, masks: Sequence[Array | None], plan: Plan, position: int
) -> Array:
    """Q x along one axis and A along all others; the skinny product first makes those cheap."""
    others = [mask if other != position else None for other, mask in enumerate(masks)]
    return resample(apply_rows(in_rows, x, plan.axes[position]), others, plan)


def input_gradient(g: Array, strides: Array, plan: Plan) -> Array:
    """Gradient of <g, A(s) x> in x: A^T g, of the plan's input sizes and g's dtype."""
    return resample_adjoint(g, soft_masks(strides, plan), plan)


def stride_gradient(x: Array, g: Array, strides: Array, plan: Plan) -> Array:
    """Gradient of <g, A(s) x> in the strides: sum over the ramp of d <P g, Q x>, per axis.

    ``strides`` is an array of shape (len(axes),) in working precision, and so is the result.
    """
    xp = array_namespace(x)
    masks = soft_masks(strides, plan)
    # Sums over the resampled axes first, set side by side, then one sum over the batch for all
    # strides: a library that holds the batch in chunks can then drop each chunk when it is done.
    places = xp.arange(len(plan.axes), device=device(x))
    gradients = along(xp.zeros_like(strides), -1, x.ndim + 1)
    for position, axis in enumerate(plan.axes):
        rows = _ramp_rows(strides, plan, position)
        if rows is None:
            continue
        d, out_rows, in_rows = rows
        left = cast(apply_rows(out_rows, g, axis), d.dtype)
        right = cast(_on_ramp(x, in_rows, masks, plan, position), d.dtype)
        products = left * right * along(d, axis, x.ndim)
        sums = xp.expand_dims(xp.sum(products, axis=plan.axes, keepdims=True), axis=-1)
        gradients = xp.where(places == position, sums, gradients)
    return xp.sum(gradients, axis=tuple(range(x.ndim)))


def stride_tangent(x: Array, strides: Array, dstrides: Array, plan: Plan) -> Array:
    """Directional derivative (dA/ds ds) x: sum over axes and their ramps of ds P^T diag(d) Q x.

    The transpose of `stride_gradient`, of the plan's output shape.
    """
    xp = array_namespace(x)
    masks = soft_masks(strides, plan)
    total = None
    for position, axis in enumerate(plan.axes):
        rows = _ramp_rows(strides, plan, position)
        if rows is None:
            continue
        d, out_rows, in_rows = rows
        scaled = transposed(out_rows) * (d * dstrides[position])
        part = apply_rows(scaled, _on_ramp(x, in_rows, masks, plan, position), axis)
        total = part if total is None else total + part
    if total is not None:
        return total
    kept = [slice(None)] * x.ndim
    for axis, size in zip(plan.axes, plan.out_sizes, strict=True):
        kept[axis] = slice(0, size)
    return xp.zeros_like(x[tuple(kept)])


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
        and dtype, and of shape (len(axes),) in the dtype of a ``strides`` array (else in x's, at
        least float32).

    Raises
    ------
    ValueError, TypeError
        As `diffstride`, and if ``g`` is no array of y's shape.

    Notes
    -----
    The stride gradient is the right derivative on corners of the mask (integer strides lie on
    them). For a stride outside `stride_bounds` it is the gradient at the bound, so that a clamped
    stride can come back.

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
    xp, s, plan = bind(x, strides, plan, options)
    y = resample(x, soft_masks(s, plan), plan)
    dtype = s.dtype
    if is_array_api_obj(strides) and xp.isdtype(strides.dtype, "real floating"):
        dtype = strides.dtype

    def pullback(g: Array) -> tuple[Array, Array]:
        checks.same_library("g", g, namespace_of("g", g) is xp)
        checks.same_shape("g", tuple(g.shape), tuple(y.shape))
        checks.one_chunk("g", g, plan.axes)
        g = cast(g, x.dtype)
        return input_gradient(g, s, plan), cast(stride_gradient(x, g, s, plan), dtype)

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
    Corners and bounds are as in `vjp`: the right derivative, straight through the clamp.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_stride import jvp
    >>> x = np.cos(2 * np.pi * 6 * np.arange(32) / 32)
    >>> y, dy = jvp(x, (4.0,), None, (1.0,))
    >>> y.shape == dy.shape
    True
    """
    xp, s, plan = bind(x, strides, plan, options)
    masks = soft_masks(s, plan)
    y = resample(x, masks, plan)
    dy = None
    if dx is not None:
        checks.same_library("dx", dx, namespace_of("dx", dx) is xp)
        checks.same_shape("dx", tuple(dx.shape), tuple(x.shape))
        checks.one_chunk("dx", dx, plan.axes)
        dy = resample(cast(dx, x.dtype), masks, plan)
    if dstrides is not None:
        tangent = stride_tangent(x, s, stride_vector(xp, x, "dstrides", dstrides, plan), plan)
        dy = tangent if dy is None else dy + tangent
    return y, xp.zeros_like(y) if dy is None else dy
