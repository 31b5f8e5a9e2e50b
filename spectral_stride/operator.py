"""The map applied to signals: along each axis by a small matrix or by FFT, and its adjoint."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from array_api_compat import array_namespace, device

from spectral_stride import checks
from spectral_stride.arrays import Array, cast, is_chunked, is_half, whole
from spectral_stride.factors import (
    Factor,
    Factors,
    Ramp,
    Source,
    balance,
    bin_weights,
    gain,
    transposed,
)
from spectral_stride.plan import Plan
from spectral_stride.taps import joined, split


def apply_rows(rows: Array, x: Array, axis: int) -> Array:
    """Multiply ``x`` along ``axis`` by a matrix of shape (m, N): that axis then has m entries."""
    xp = array_namespace(x)
    rows = whole(cast(rows, x.dtype))
    if axis == x.ndim - 1:
        return xp.matmul(x, transposed(rows))
    if axis == x.ndim - 2:
        return xp.matmul(rows, x)
    if is_chunked(x):
        # A reshape would have to merge chunks.
        return xp.moveaxis(apply_rows(rows, xp.moveaxis(x, axis, -1), x.ndim - 1), -1, axis)
    # All axes behind this one count as columns: for a contiguous array that is a view.
    before, after = tuple(x.shape[:axis]), tuple(x.shape[axis + 1 :])
    columns = xp.reshape(x, (*before, x.shape[axis], math.prod(after)))
    return xp.reshape(xp.matmul(rows, columns), (*before, rows.shape[0], *after))


def along(vector: Array, axis: int, ndim: int) -> Array:
    """Reshape a vector so that it broadcasts along one axis of an ``ndim``-dimensional array."""
    xp = array_namespace(vector)
    shape = [1] * ndim
    shape[axis] = -1
    return xp.reshape(whole(vector), tuple(shape))


def _rfft(x: Array, axis: int, norm: str) -> Array:
    xp = array_namespace(x)
    try:
        return xp.fft.rfft(x, axis=axis, norm=norm)
    except Exception as error:  # each library refuses a dtype in its own way
        if is_half(xp, x.dtype):
            checks.half_fft(x.dtype, error)
        raise


def gram(g: Array, y: Array, axis: int) -> Array:
    """Sum of g y^T over all other axes: of (m, ...) and (n, ...) along ``axis`` it is (m, n)."""
    xp = array_namespace(g)
    if axis == g.ndim - 2 and g.shape[axis] <= g.shape[-1]:
        # No other order in memory is needed, and the products are no more than g.
        products = xp.matmul(g, xp.matrix_transpose(y))
        return xp.sum(products, axis=tuple(range(g.ndim - 2)))
    others = [other for other in range(g.ndim) if other != axis]
    return xp.tensordot(g, y, axes=(others, others))


class Kernels(NamedTuple):
    """What multiplies: the core's own products, or what a library has that is faster.

    ``along(rows, x, axis)`` is `apply_rows`, ``gram(g, y, axis)`` is `gram`. ``whole(matrices, x,
    axes)`` applies one matrix to each axis at once, or is None where axis by axis is faster.
    ``dot(p, q)`` sums all products of two arrays at once.
    """

    along: Callable[[Array, Array, int], Array] = apply_rows
    gram: Callable[[Array, Array, int], Array] = gram
    whole: Callable[[Sequence[Array | None], Array, Sequence[int]], Array | None] | None = None
    dot: Callable[[Array, Array], Array] | None = None


PLAIN = Kernels()


def apply_to_each(
    rows: Array, x: Array, axis: int, factor: Factor, kernels: Kernels = PLAIN
) -> Array:
    """Apply rows to the samples of each tap by itself."""
    if factor.taps is None:
        return kernels.along(rows, x, axis)
    return joined(kernels.along(rows, split(x, axis, factor.taps), axis + 1), axis)


def _coefficients_in(spectrum: Array, ramp: Ramp, axis: int, *, weighted: bool) -> Array:
    """`waves` times the signal with the given spectrum."""
    xp = array_namespace(spectrum)
    found = xp.take(spectrum, ramp.bins, axis=axis)
    if weighted:
        found = found * along(ramp.slope, axis, found.ndim)
    shape = list(found.shape)
    shape[axis] *= 2
    # Not concat, for which not every kind of vmap has a rule.
    return xp.reshape(xp.stack([xp.real(found), -xp.imag(found)], axis=axis), tuple(shape))


def _fft_axis(
    x: Array, factor: Factor, axis: int, ramp: Ramp | None, adjoint: bool
) -> tuple[Array, Array | None]:
    """A x by FFT: transform, crop, mask, transform back; A^T x by the same steps mirrored.

    The ramp's coefficients are read off the spectrum on the way.
    """
    xp = array_namespace(x)
    mask, norm, size = factor.mask, factor.norm, x.shape[axis]
    out_size = factor.size if adjoint else factor.out_size
    # Each direction scales where its numbers stay small: half precision ends at 65504.
    scale = "backward" if adjoint else "forward"
    spectrum = _rfft(x, axis, scale)
    found = None
    if ramp is not None:
        found = _coefficients_in(spectrum, ramp, axis, weighted=adjoint)
        found = found if adjoint else found * (size / balance(size))
    if adjoint:
        kept = xp.arange(size // 2 + 1, device=device(mask))
        # The transform onto N samples applies the weights of N; those of n are wanted.
        ratio = bin_weights(kept, size, mask.dtype) / bin_weights(kept, out_size, mask.dtype)
        level = gain(norm, out_size, size) * mask * ratio
    else:
        level = gain(norm, size, out_size) * mask
        crop = [slice(None)] * x.ndim
        crop[axis] = slice(0, out_size // 2 + 1)
        spectrum = spectrum[tuple(crop)]
    spectrum = spectrum * along(level, axis, x.ndim)
    return xp.fft.irfft(spectrum, n=out_size, axis=axis, norm=scale), found


def sweep(
    x: Array | None,
    parts: Factors,
    plan: Plan,
    *,
    also: Sequence[Array | None] | None = None,
    adjoint: bool = False,
    kernels: Kernels = PLAIN,
    meet: Callable[[int, Array], None] | None = None,
) -> tuple[Array | None, list[Array | None]]:
    """Apply A axis by axis, from the last to the first, or A^T from the first to the last.

    Parameters
    ----------
    x : array or None
        None stands for zeros, and is not computed with.
    parts : tuple
        Of each axis; one whose factor is None is left alone.
    also : sequence, optional
        What is added behind each axis, or None.
    adjoint : bool
        A^T in place of A.
    kernels : Kernels
        What applies the matrices.
    meet : callable, optional
        ``meet(position, one)`` is given what is found of an axis, which is then not returned.

    Returns
    -------
    y : array or None
        Of x's dtype; None for zeros.
    found : list
        Of each axis that `meets`, Q/b times what comes to it; with ``adjoint`` diag(d) P times
        that.
    """
    found: list[Array | None] = [None] * len(parts)
    nothing_joins = all(one is None for one in also or ())
    if x is not None and kernels.whole is not None and nothing_joins:
        y = _whole(x, parts, plan, adjoint, kernels)
        if y is not None:
            return y, found
    # Forward from the last axis to the first: rows of the last axis are contiguous and A @ (x @
    # B^T) is the order that compilers lower well.
    positions = range(len(parts))
    for position in positions if adjoint else reversed(positions):
        factor = parts[position]
        if x is not None and factor is not None:
            x = _axis(x, factor, plan, position, adjoint, kernels, meet or found.__setitem__)
        extra = None if also is None else also[position]
        if extra is not None:
            x = extra if x is None else x + extra
    return x, found


def meets(factor: Factor | None) -> bool:
    """Whether an axis has a ramp whose coefficients are taken on the way."""
    return factor is not None and factor.ramp is not None and factor.source is Source.PASSING


def _whole(x: Array, parts: Factors, plan: Plan, adjoint: bool, kernels: Kernels) -> Array | None:
    """Apply all axes at once, where nothing is wanted on the way."""
    assert kernels.whole is not None
    if any(meets(part) for part in parts) or "fft" in plan.methods:
        return None
    matrices = [part and part.matrix() for part in parts]
    if adjoint:
        matrices = [matrix if matrix is None else transposed(matrix) for matrix in matrices]
    return kernels.whole(matrices, x, plan.axes)


def coefficients(
    x: Array, factor: Factor, axis: int, adjoint: bool, kernels: Kernels = PLAIN
) -> Array:
    """Q x/b of one axis with a ramp; with ``adjoint`` diag(d) P x."""
    if adjoint:
        return apply_to_each(factor.writes(), x, axis, factor, kernels)
    return kernels.along(factor.reads(), x, axis)


def _axis(
    x: Array,
    factor: Factor,
    plan: Plan,
    position: int,
    adjoint: bool,
    kernels: Kernels,
    meet: Callable[[int, Array], None],
) -> Array:
    """One axis of a sweep, in the form that the plan has for it."""
    axis = plan.axes[position]
    xp, dtype = array_namespace(x), x.dtype
    # Some libraries' FFT fails on an empty batch.
    by_fft = plan.methods[position] == "fft" and factor.taps is None and 0 not in x.shape
    ramp = factor.ramp if meets(factor) else None
    if ramp is not None and (not by_fft or is_chunked(x)):  # chunks are not indexed by an array
        meet(position, coefficients(x, factor, axis, adjoint, kernels))
        ramp = None
    if not by_fft:
        matrix = factor.matrix()
        return kernels.along(transposed(matrix) if adjoint else matrix, x, axis)
    if plan.method == "auto" and is_half(xp, dtype):
        # Half-precision FFTs exist on few devices and sizes; nobody asked for one here.
        x = xp.astype(x, xp.float32)
    y, read = _fft_axis(x, factor, axis, ramp, adjoint)
    if read is not None:
        meet(position, cast(read, dtype))
    return cast(y, dtype)


def resample(
    x: Array,
    parts: Factors,
    plan: Plan,
    kernels: Kernels = PLAIN,
) -> Array:
    """Apply A along every planned axis."""
    return sweep(x, parts, plan, kernels=kernels)[0]


def resample_adjoint(
    y: Array,
    parts: Factors,
    plan: Plan,
    kernels: Kernels = PLAIN,
) -> Array:
    """Apply A^T along every planned axis."""
    return sweep(y, parts, plan, adjoint=True, kernels=kernels)[0]
