"""Derivatives of y = A_1 ... A_d x in x and in the strides, from the ramps' coefficients alone.

With t_d = x and t_{i-1} = A_i t_i the forward map goes through the axes i = d .. 1 to y = t_0. Only
the r bins on its ramp depend on an axis' stride: dA_i/ds_i = P_i^T diag(d_i) Q_i, as in `axis`. So
all that a stride needs of t_i are the coefficients q_i = Q_i t_i, taken on the way. Backwards, with
u_0 = g and u_i = A_i^T u_{i-1}, its gradient is the sum of q_i p_i, p_i = diag(d_i) P_i u_{i-1},
and that of x is u_d. Forwards the stride's tangent is added behind the axis, P_i^T diag(d_i) (q_i
ds_i). No (n x N) matrix of cotangents is formed, nor a spectrum beyond the ramp.
"""

from collections.abc import Sequence

from spectral_stride.arrays import Array, DType, array_namespace, cast, device
from spectral_stride.axis import Resampling
from spectral_stride.operator import PLAIN, Products, apply_axis

# Of each planned axis one array; None where there is none, and for zeros.
PerAxis = Sequence[Array | None]


def forward(op: Resampling, x: Array, products: Products = PLAIN) -> tuple[Array, PerAxis]:
    """Return y and, of each axis with a ramp, its coefficients q/b: all that `backward` needs."""
    q: list[Array | None] = [None] * len(op.maps)
    for position in reversed(range(len(op.maps))):
        x, q[position] = apply_axis(op, x, position, products=products)
    return x, q


def backward(
    op: Resampling,
    g: Array | None,
    q: PerAxis,
    dtype: DType,
    *,
    dq: PerAxis | None = None,
    into_x: bool = True,
    products: Products = PLAIN,
) -> tuple[Array | None, Array | None]:
    """Gradients of <g, y> + sum of <dq_i, q_i> in x and in the strides; None stands for zeros.

    That of the strides has shape (len(axes),) and the given dtype. Without ``into_x`` that of x is
    not computed, and None.
    """
    total: Array | None = None
    for position, (axis_map, kept) in enumerate(zip(op.maps, q, strict=True)):
        onwards = into_x or position < len(op.maps) - 1
        p = None
        if g is not None and onwards:
            g, p = apply_axis(op, g, position, adjoint=True, products=products)
        elif g is not None and axis_map is not None and axis_map.ramp is not None:
            # Of the last axis only its coefficients are wanted.
            p = axis_map.project(g, op.plan.axes[position], products.along)
        if p is not None and kept is not None and axis_map is not None:
            one = products.pair(cast(p, dtype), cast(kept, dtype), op.plan.axes) * axis_map.scale
            total = add(total, at_place(one, position, len(op.maps)))
        back = dq[position] if onwards and dq is not None else None
        if back is not None and axis_map is not None:
            g = add(g, axis_map.read_adjoint(back, op.plan.axes[position], products.along))
    return g if into_x else None, None if total is None else sum_over_batch(total)


def push(
    op: Resampling, dx: Array | None, ds: Array | None, q: PerAxis
) -> tuple[Array | None, PerAxis]:
    """Tangents along (dx, ds) of what `forward` returns; None stands for zeros."""
    dq: list[Array | None] = [None] * len(op.maps)
    for position in reversed(range(len(op.maps))):
        axis_map, kept = op.maps[position], q[position]
        if dx is not None:
            dx, dq[position] = apply_axis(op, dx, position)
        if ds is not None and kept is not None and axis_map is not None:
            # The tangent goes with q and not with the rows: transposed, that is the sum of p q in
            # working precision, and no product over the whole batch.
            moved = cast(cast(kept, ds.dtype) * ds[position], kept.dtype)
            dx = add(dx, axis_map.spread(moved, op.plan.axes[position], PLAIN.along))
    return dx, dq


def add(one: Array | None, other: Array | None) -> Array | None:
    """Sum of two arrays, where None stands for zeros."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def at_place(value: Array, position: int, count: int) -> Array:
    """Put sums of one axis in a place of their own, on a new last axis of zeros."""
    xp = array_namespace(value)
    places = xp.arange(count, device=device(value))
    return value[..., None] * xp.astype(places == position, value.dtype)


def sum_over_batch(total: Array) -> Array:
    """One sum for all axes: a library that holds the batch in chunks drops each when it is done."""
    batch = tuple(range(total.ndim - 1))
    return array_namespace(total).sum(total, axis=batch) if batch else total
