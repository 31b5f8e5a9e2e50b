"""Derivatives of the resampling: sweeps over the axes that carry the ramps' coefficients along.

With t_d = x and t_{i-1} = A_i t_i the forward map goes through the axes i = d .. 1 to y = t_0. Only
the bins on its ramp depend on the stride of an axis: dA_i/ds_i = P_i^T diag(d_i) Q_i, with the
cosine and sine rows P (2r x n) and Q (2r x N) of the r bins on the ramp, and d = w dm/ds gain/N. So
all that a stride needs of t_i are the coefficients q_i = Q_i t_i, taken on the way. Backwards, with
u_0 = g and u_i = A_i^T u_{i-1}, its gradient is the sum of d_i q_i p_i with p_i = P_i u_{i-1}, and
that of x is u_d. Forwards its tangent joins behind the axis, as P_i^T (d_i q_i ds_i). No (n x N)
matrix of cotangents is formed, nor a spectrum beyond the ramp.

The coefficients are in the output as well, times the m of their bin: with E P^T diag(w m gain/N) =
1 they are E_i y, of the axis i resampled along all others, and go with p_i = P_i g. Where no m is
close to zero that is the same sum over fewer samples. Of short axes 2r coefficients are more than n
samples; then y is kept itself, and the gradient is the sum of C_i times g (y - mean)^T, with the
(n x n) matrix C_i = P_i^T diag(d_i) E_i, which makes nothing of a mean. Who has the values of the
masks at hand decides what is kept (`factors.settle`). All coefficients are kept over a power of two
b (`factors.balance`), which comes back in the sum. All of this is as true of an output whose
channels were mixed and shifted since: so strides learn behind a convolution that was resampled
before (`backward_from_output`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

from array_api_compat import array_namespace, device, is_array_api_obj

from spectral_stride import checks
from spectral_stride.arrays import Array, DType, bind, cast, namespace_of, stride_vector
from spectral_stride.factors import Factors, Source, balance, factors, transposed
from spectral_stride.operator import (
    PLAIN,
    Kernels,
    apply_rows,
    apply_to_each,
    coefficients,
    sweep,
)
from spectral_stride.plan import Plan, PlanOptions


def forward(
    x: Array,
    parts: Factors,
    plan: Plan,
    *,
    kernels: Kernels = PLAIN,
) -> tuple[Array, list[Array | None]]:
    """Return y and, of each axis with a ramp, what `backward` needs of it; None for the others.

    That may be y itself, which is then not to be changed. Where a factor has the taps of a
    convolution, y is left to its kernel.
    """
    y, q = sweep(x, parts, plan, kernels=kernels)
    return y, read_back(y, parts, plan, kernels) if are_in_output(parts) else q


def are_in_output(parts: Factors) -> bool:
    """Whether it is the output of which something is kept."""
    return any(part is not None and part.source is not Source.PASSING for part in parts)


def read_back(y: Array, parts: Factors, plan: Plan, kernels: Kernels = PLAIN) -> list[Array | None]:
    """Of each axis with a ramp, what is kept of the output: its coefficients E y, or y itself."""
    found: list[Array | None] = [None] * len(parts)
    for position, factor in enumerate(parts):
        if factor is not None and factor.source is Source.OUTPUT:
            found[position] = kernels.along(factor.reads_output(), y, plan.axes[position])
        elif factor is not None and factor.source is Source.SAMPLES:
            found[position] = y
    return found


def paired(
    p: Sequence[Array | None], q: Sequence[Array | None], plan: Plan, dtype: DType
) -> Array | None:
    """Sum of b_i p_i q_i of each axis, shape (len(axes),); None where there is none."""
    # Each axis' sum over the resampled axes stands in a place of its own, and one sum over the
    # batch serves all: a library that holds the batch in chunks can then drop each when it is done.
    total = None
    for position, (here, there) in enumerate(zip(p, q, strict=True)):
        if here is None or there is None:
            continue
        xp = array_namespace(here)
        terms = cast(here, dtype) * cast(there, dtype)
        part = xp.sum(terms, axis=plan.axes, keepdims=True)[..., None]
        part = part * balance(plan.sizes[position])
        places = xp.arange(len(p), device=device(here))
        part = part * xp.astype(places == position, dtype)
        total = part if total is None else total + part
    return None if total is None else xp.sum(total, axis=tuple(range(total.ndim - 1)))


class _StrideGradient:
    """Sum of b_i p_i q_i over the axes: of each when its p_i is there, or of all when all are."""

    def __init__(
        self, q: Sequence[Array | None], plan: Plan, dtype: DType, kernels: Kernels
    ) -> None:
        self.q, self.plan, self.dtype, self.kernels = q, plan, dtype, kernels
        self._p: list[Array | None] = [None] * len(q)
        self._sum: Array | None = None

    def meet(self, position: int, p: Array) -> None:
        """Take the coefficients of an axis."""
        q = self.q[position]
        if self.kernels.dot is None or q is None:
            self._p[position] = p
        else:
            self.add(position, self.kernels.dot(cast(p, self.dtype), cast(q, self.dtype)))

    def add(self, position: int, value: Array) -> None:
        """Take the sum of p q of an axis, shape ()."""
        xp = array_namespace(value)
        value = cast(value, self.dtype) * balance(self.plan.sizes[position])
        zero = xp.zeros_like(value)
        places = range(len(self.q))
        one = xp.stack([value if place == position else zero for place in places])
        self._sum = _sum([self._sum, one])

    def total(self) -> Array | None:
        """Shape (len(axes),), or None for zeros."""
        return _sum([self._sum, paired(self._p, self.q, self.plan, self.dtype)])


def backward(
    g: Array | None,
    q: Sequence[Array | None],
    parts: Factors,
    plan: Plan,
    dtype: DType,
    *,
    dq: Sequence[Array | None] | None = None,
    into_x: bool = True,
    kernels: Kernels = PLAIN,
) -> tuple[Array | None, Array | None]:
    """Gradients of <g, y> in x and in the strides, from the coefficients that `forward` returned.

    With cotangents ``dq`` of these, of <g, y> + sum of <dq_i, q_i>; None stands for zeros, and that
    of y is in g. The stride gradient has shape (len(axes),) and the given dtype. Without ``into_x``
    that of x is not computed, and None.
    """
    if are_in_output(parts):
        # The strides come first: what they need is gone before dx is there.
        u, dstrides = backward_from_output(g, q, parts, plan, dtype, dq=dq, kernels=kernels)
        u = u if into_x else None
        return sweep(u, parts, plan, adjoint=True, kernels=kernels)[0], dstrides
    also: list[Array | None] = [None] * len(parts)
    for position, (factor, one) in enumerate(zip(parts, dq or also, strict=True)):
        if factor is not None and one is not None:
            also[position] = apply_rows(transposed(factor.reads()), one, plan.axes[position])
    last, within = parts[-1], list(parts)
    if not into_x:
        # The last axis is met and left as it is: all that is wanted of it are its coefficients.
        within[-1] = also[-1] = None
    ds = _StrideGradient(q, plan, dtype, kernels)
    u, _ = sweep(g, tuple(within), plan, also=also, adjoint=True, kernels=kernels, meet=ds.meet)
    if not into_x and u is not None and last is not None and last.ramp is not None:
        ds.meet(len(parts) - 1, coefficients(u, last, plan.axes[-1], True, kernels))
    return u if into_x else None, ds.total()


def backward_from_output(
    g: Array | None,
    q: Sequence[Array | None],
    parts: Factors,
    plan: Plan,
    dtype: DType,
    *,
    dq: Sequence[Array | None] | None = None,
    kernels: Kernels = PLAIN,
) -> tuple[Array | None, Array | None]:
    """Gradients of <g, y> + sum of <dq_i, q_i> in y and in the strides, with q of `read_back`.

    None and dtype as in `backward`.
    """
    # A cotangent of what was read goes back to there.
    back: list[Array | None] = [None] * len(parts)
    for position, (factor, one) in enumerate(zip(parts, dq or back, strict=True)):
        if factor is not None and one is not None:
            rows = transposed(factor.reads_output())
            back[position] = apply_rows(rows, one, plan.axes[position])
    ds = _StrideGradient(q, plan, dtype, kernels)
    y = None
    for position, factor in enumerate(parts):
        if factor is None or factor.ramp is None:
            continue
        # Coefficients do not depend on the stride of their own axis.
        met, axis = _sum([g, *back[:position], *back[position + 1 :]]), plan.axes[position]
        if met is None:
            continue
        if factor.source is Source.SAMPLES:
            y = _without_mean(q[position], plan) if y is None else y
            # C y meets g.
            products = cast(kernels.gram(met, y, axis), dtype)
            ds.add(position, array_namespace(met).sum(factor.turns() * products))
        else:
            ds.meet(position, kernels.along(factor.writes(), met, axis))
    return _sum([g, *back]), ds.total()


def seen_from(parts: Factors, still: Factors, u: Array, plan: Plan) -> Array:
    """Cotangent u of what ``still`` made, as strides see it that move on from there.

    While they have not, it is u itself; what depends on them are its derivatives.
    """
    for factor, one, axis in zip(parts, still, plan.axes, strict=True):
        if factor is not None and one is not None and factor.ramp is not None:
            u = apply_rows(transposed(factor.moves(one)), u, axis)
    return u


def _without_mean(y: Array, plan: Plan) -> Array:
    """Take away what C makes nothing of, and whose products drown all others in their rounding."""
    return y - array_namespace(y).mean(y, axis=plan.axes, keepdims=True)


def _sum(terms: Sequence[Array | None]) -> Array | None:
    """Sum of arrays, where None stands for zeros."""
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def push(
    dx: Array | None,
    dstrides: Array | None,
    q: Sequence[Array | None],
    parts: Factors,
    plan: Plan,
) -> tuple[Array | None, list[Array | None]]:
    """Tangents of what `forward` returns along (dx, dstrides); None stands for zeros.

    Of factors whose coefficients are taken on the way.
    """
    assert all(factor is None or factor.source is Source.PASSING for factor in parts)
    also: list[Array | None] = [None] * len(parts)
    for position, (factor, values) in enumerate(zip(parts, q, strict=True)):
        if dstrides is None or factor is None or factor.ramp is None or values is None:
            continue
        # The tangent goes with q and not with the rows: transposed, that is the sum of p q in
        # working precision, and no product over the whole batch.
        moved = cast(cast(values, dstrides.dtype) * dstrides[position], values.dtype)
        rows = transposed(factor.writes()) * balance(factor.size)
        also[position] = apply_to_each(rows, moved, plan.axes[position], factor)
    return sweep(dx, parts, plan, also=also)


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
    parts = factors(s, plan)
    y, q = forward(x, parts, plan)
    kind, dtype = x.dtype, s.dtype  # x itself is not kept
    if is_array_api_obj(strides) and xp.isdtype(strides.dtype, "real floating"):
        dtype = strides.dtype

    def pullback(g: Array) -> tuple[Array, Array]:
        checks.same_library("g", g, namespace_of("g", g) is xp)
        checks.same_shape("g", tuple(g.shape), tuple(y.shape))
        checks.one_chunk("g", g, plan.axes)
        dx, ds = backward(cast(g, kind), q, parts, plan, s.dtype)
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
    parts = factors(s, plan)
    y, q = forward(x, parts, plan)
    if dx is not None:
        checks.same_library("dx", dx, namespace_of("dx", dx) is xp)
        checks.same_shape("dx", tuple(dx.shape), tuple(x.shape))
        checks.one_chunk("dx", dx, plan.axes)
        dx = cast(dx, x.dtype)
    if dstrides is not None:
        dstrides = stride_vector(xp, x, "dstrides", dstrides, plan)
    dy, _ = push(dx, dstrides, q, parts, plan)
    return y, xp.zeros_like(y) if dy is None else dy
