"""Derivatives of the resampling: sweeps over the axes that carry the ramps' coefficients along.

With t_d = x and t_{i-1} = A_i t_i the forward map goes through the axes i = d .. 1 to y = t_0. Only
the bins on its ramp depend on the stride of an axis: dA_i/ds_i = P_i^T diag(d_i) Q_i, with the
cosine and sine rows P (2r x n) and Q (2r x N) of the r bins on the ramp, and d = w dm/ds gain/N. So
all that a stride needs of t_i are the coefficients q_i = Q_i t_i, taken on the way. Backwards, with
u_0 = g and u_i = A_i^T u_{i-1}, its gradient is the sum of d_i q_i p_i with p_i = P_i u_{i-1}, and
that of x is u_d. Forwards its tangent joins behind the axis, as P_i^T (d_i q_i ds_i). No (n x N)
matrix of cotangents is formed, nor a spectrum beyond the ramp.
"""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

from array_api_compat import array_namespace, device, is_array_api_obj

from spectral_stride import checks
from spectral_stride.arrays import Array, bind, cast, namespace_of, stride_vector
from spectral_stride.mask import cutoff, ramp_bins, slope_on, soft_masks
from spectral_stride.operator import (
    Product,
    Ramp,
    apply_rows,
    apply_to_each,
    bin_weights,
    gain,
    in_rows,
    out_rows,
    sweep,
    transposed,
)
from spectral_stride.plan import Plan, PlanOptions
from spectral_stride.taps import Taps


def learning_axes(plan: Plan) -> tuple[int, ...]:
    """Positions of the planned axes whose stride changes anything."""
    if plan.smoothness == 0:
        return ()
    return tuple(position for position, size in enumerate(plan.sizes) if size > 1)


def ramps(strides: Array, plan: Plan) -> list[Ramp | None]:
    """The ramp of each planned axis; None where the stride changes nothing."""
    xp = array_namespace(strides)
    found: list[Ramp | None] = [None] * len(plan.axes)
    for position in learning_axes(plan):
        size, out_size = plan.sizes[position], plan.out_sizes[position]
        c = cutoff(strides[position], size, plan.smoothness, plan.ramp)
        bins = ramp_bins(c, size, out_size // 2, plan.smoothness, plan.ramp)
        slope = slope_on(xp.astype(bins, c.dtype), c, size, plan.smoothness, plan.ramp)
        share = gain(plan.norm, size, out_size) / size
        found[position] = Ramp(bins, bin_weights(bins, out_size, c.dtype) * slope * share)
    return found


def forward(
    x: Array,
    strides: Array,
    plan: Plan,
    taps: Sequence[Taps | None] | None = None,
    *,
    product: Product = apply_rows,
) -> tuple[Array, list[Array | None]]:
    """Return y and, of each axis, the ramp coefficients q; None where a stride changes nothing.

    With ``taps`` the plan is that of a convolution's output, and y is left to its kernel.
    """
    nothing = [None] * len(plan.axes)
    masks, found = soft_masks(strides, plan), ramps(strides, plan)
    return sweep(
        x,
        masks,
        plan,
        ramps=found,
        also=nothing,
        taps=taps or nothing,
        adjoint=False,
        product=product,
    )


def backward(
    g: Array | None,
    q: Sequence[Array | None],
    strides: Array,
    plan: Plan,
    taps: Sequence[Taps | None] | None = None,
    *,
    dq: Sequence[Array | None] | None = None,
    into_x: bool = True,
    product: Product = apply_rows,
) -> tuple[Array | None, Array]:
    """Gradients of <g, y> in x and in the strides, from the coefficients that `forward` returned.

    With cotangents ``dq`` of these, of <g, y> + sum of <dq_i, q_i>; None stands for zeros. The
    stride gradient has shape (len(axes),) and working precision. Without ``into_x`` that of x is
    not computed, and None.
    """
    xp = array_namespace(strides)
    masks, found = soft_masks(strides, plan), ramps(strides, plan)
    nothing: list[Any] = [None] * len(found)
    taps, also = taps or nothing, [*nothing]
    for position, (ramp, one) in enumerate(zip(found, dq or nothing, strict=True)):
        if ramp is not None and one is not None:
            rows = in_rows(ramp, plan, position, taps[position])
            also[position] = apply_rows(transposed(rows), one, plan.axes[position])
    last = found[-1]
    if not into_x:
        # The last axis is met and left as it is: all that is wanted of it are its coefficients.
        masks[-1] = also[-1] = None
    u, p = sweep(g, masks, plan, ramps=found, also=also, taps=taps, adjoint=True, product=product)
    if not into_x and u is not None and last is not None:
        rows = out_rows(last, plan, len(found) - 1)
        p[-1] = apply_to_each(rows, u, plan.axes[-1], taps[-1], product)
    # Each axis' sum over the resampled axes stands in a place of its own, and one sum over the
    # batch serves all: a library that holds the batch in chunks can then drop each when it is done.
    places = xp.arange(len(found), device=device(strides))
    total = None
    for position, (here, there) in enumerate(zip(p, q, strict=True)):
        if here is None or there is None:
            continue
        terms = cast(here, strides.dtype) * cast(there, strides.dtype)
        part = xp.expand_dims(xp.sum(terms, axis=plan.axes, keepdims=True), axis=-1)
        part = part * xp.astype(places == position, strides.dtype)
        total = part if total is None else total + part
    if total is None:
        dstrides = xp.zeros_like(strides)
    else:
        dstrides = xp.sum(total, axis=tuple(range(total.ndim - 1)))
    return u if into_x else None, dstrides


def push(
    dx: Array | None,
    dstrides: Array | None,
    q: Sequence[Array | None],
    strides: Array,
    plan: Plan,
    taps: Sequence[Taps | None] | None = None,
) -> tuple[Array | None, list[Array | None]]:
    """Tangents of what `forward` returns along (dx, dstrides); None stands for zeros."""
    found = ramps(strides, plan)
    nothing: list[Any] = [None] * len(found)
    taps, also = taps or nothing, [*nothing]
    for position, (ramp, values) in enumerate(zip(found, q, strict=True)):
        if dstrides is None or ramp is None or values is None:
            continue
        rows = transposed(out_rows(ramp, plan, position) * dstrides[position])
        also[position] = apply_to_each(rows, values, plan.axes[position], taps[position])
    masks = soft_masks(strides, plan)
    return sweep(dx, masks, plan, ramps=found, also=also, taps=taps, adjoint=False)


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
    y, q = forward(x, s, plan)
    kind, dtype = x.dtype, s.dtype  # x itself is not kept
    if is_array_api_obj(strides) and xp.isdtype(strides.dtype, "real floating"):
        dtype = strides.dtype

    def pullback(g: Array) -> tuple[Array, Array]:
        checks.same_library("g", g, namespace_of("g", g) is xp)
        checks.same_shape("g", tuple(g.shape), tuple(y.shape))
        checks.one_chunk("g", g, plan.axes)
        dx, ds = backward(cast(g, kind), q, s, plan)
        return dx, cast(ds, dtype)

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
    y, q = forward(x, s, plan)
    if dx is not None:
        checks.same_library("dx", dx, namespace_of("dx", dx) is xp)
        checks.same_shape("dx", tuple(dx.shape), tuple(x.shape))
        checks.one_chunk("dx", dx, plan.axes)
        dx = cast(dx, x.dtype)
    if dstrides is not None:
        dstrides = stride_vector(xp, x, "dstrides", dstrides, plan)
    dy, _ = push(dx, dstrides, q, s, plan)
    return y, xp.zeros_like(y) if dy is None else dy
