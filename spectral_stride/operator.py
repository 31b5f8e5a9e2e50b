"""The map applied to signals: along each axis by a small matrix or by FFT, and its adjoint."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from spectral_stride import checks
from spectral_stride.arrays import (
    Array,
    array_namespace,
    as_complex,
    cast,
    device,
    in_one_chunk,
    is_chunked,
    is_half,
)
from spectral_stride.axis import AxisMap, Ramp, Resampling
from spectral_stride.dft import bin_weights, gain, transposed


def along(rows: Array, x: Array, axis: int) -> Array:
    """Multiply ``x`` along ``axis`` by a matrix of shape (m, N): that axis then has m entries."""
    xp = array_namespace(x)
    rows = in_one_chunk(cast(rows, x.dtype))
    if axis == x.ndim - 1:
        return xp.matmul(x, transposed(rows))
    if axis == x.ndim - 2:
        return xp.matmul(rows, x)
    if is_chunked(x) or None in x.shape:
        # A reshape would have to merge chunks, or to know sizes that come with the values.
        return xp.moveaxis(along(rows, xp.moveaxis(x, axis, -1), x.ndim - 1), -1, axis)
    # All axes behind this one count as columns: for a contiguous array that is a view.
    before, after = tuple(x.shape[:axis]), tuple(x.shape[axis + 1 :])
    columns = xp.reshape(x, (*before, x.shape[axis], math.prod(after)))
    return xp.reshape(xp.matmul(rows, columns), (*before, rows.shape[0], *after))


def pair(p: Array, q: Array, axes: Sequence[int]) -> Array:
    """Sum of p q over the resampled axes: one number for each entry of the batch."""
    return array_namespace(p).sum(p * q, axis=tuple(axes), keepdims=True)


def gram(g: Array, y: Array, axis: int) -> Array:
    """Sum of g y^T over all other axes: of (m, ...) and (n, ...) along ``axis`` it is (m, n)."""
    xp = array_namespace(g)
    if axis == g.ndim - 2 and g.shape[axis] <= g.shape[-1]:
        # No other order in memory is needed, and the products are no more than g.
        products = xp.matmul(g, xp.matrix_transpose(y))
        return xp.sum(products, axis=tuple(range(g.ndim - 2)))
    others = [other for other in range(g.ndim) if other != axis]
    return xp.tensordot(g, y, axes=(others, others))


class Products(NamedTuple):
    """What multiplies: plain array code, or what a library has that is faster.

    ``along(rows, x, axis)``, ``pair(p, q, axes)`` and ``gram(g, y, axis)`` are the functions of
    these names; ``pair`` may sum over the batch at once. ``at_once(op, x, adjoint)`` is `apply` by
    one product for all axes, or None where axis by axis is faster.
    """

    along: Callable[[Array, Array, int], Array] = along
    pair: Callable[[Array, Array, Sequence[int]], Array] = pair
    gram: Callable[[Array, Array, int], Array] = gram
    at_once: Callable[[Resampling, Array, bool], Array | None] | None = None


PLAIN = Products()


def apply(op: Resampling, x: Array, *, adjoint: bool = False, products: Products = PLAIN) -> Array:
    """A x, axis by axis from the last one to the first; A^T x from the first to the last."""
    if products.at_once is not None:
        y = products.at_once(op, x, adjoint)
        if y is not None:
            return y
    positions = range(len(op.maps))
    # Forward from the last axis on: its rows are contiguous, and A @ (x @ B^T) is the order that
    # compilers lower well.
    for position in positions if adjoint else reversed(positions):
        x, _ = apply_axis(op, x, position, adjoint=adjoint, products=products, on_ramp=False)
    return x


def apply_axis(
    op: Resampling,
    x: Array,
    position: int,
    *,
    adjoint: bool = False,
    products: Products = PLAIN,
    on_ramp: bool = True,
) -> tuple[Array, Array | None]:
    """A x of one planned axis, or A^T x, in the form that the plan has for it.

    With ``on_ramp``, and where the axis has a ramp, also its coefficients of x: Q x/b, or with
    ``adjoint`` diag(d) P x.
    """
    axis_map, plan = op.maps[position], op.plan
    if axis_map is None:
        return x, None
    axis, dtype, xp = plan.axes[position], x.dtype, array_namespace(x)
    ramp, found = axis_map.ramp if on_ramp else None, None
    if axis_map.is_identity and ramp is None:
        return x, None
    if 0 in x.shape and axis_map.has_fft:
        # Nothing is computed, but shapes and the way back are there. Some FFTs would fail.
        y = _emptied(x, axis, axis_map.size if adjoint else axis_map.out_size)
        return y, None if ramp is None else _emptied(x, axis, 2 * ramp.bins.shape[0])
    # Of an identity the ramp's coefficients are all there is to compute, by a skinny product.
    by_fft = plan.methods[position] == "fft" and axis_map.has_fft and not axis_map.is_identity
    if ramp is not None and (not by_fft or is_chunked(x)):  # chunks are not indexed by an array
        take = axis_map.project if adjoint else axis_map.read
        found, ramp = take(x, axis, products.along), None
    if axis_map.is_identity:
        return x, found
    if not by_fft:
        matrix = axis_map.matrix
        return products.along(transposed(matrix) if adjoint else matrix, x, axis), found
    if plan.method == "auto" and is_half(xp, dtype):
        # Half-precision FFTs exist on few devices and sizes; nobody asked for one here.
        x = xp.astype(x, xp.float32)
    y, read = _by_fft(axis_map, x, axis, ramp, adjoint)
    return cast(y, dtype), found if read is None else cast(read, dtype)


def _emptied(x: Array, axis: int, size: int) -> Array:
    """Give an array without entries another size along one axis."""
    shape = list(x.shape)
    shape[axis] = size
    return array_namespace(x).reshape(x, tuple(shape))


def _by_fft(
    axis_map: AxisMap, x: Array, axis: int, ramp: Ramp | None, adjoint: bool
) -> tuple[Array, Array | None]:
    """A x by FFT: transform, crop, mask, transform back; A^T x by the same steps mirrored.

    Onto more samples the transform back puts zeros behind the spectrum. The ramp's coefficients are
    read off the spectrum on the way.
    """
    xp = array_namespace(x)
    mask, norm = axis_map.mask, axis_map.norm
    size, out_size = axis_map.size, axis_map.out_size
    if adjoint:
        size, out_size = out_size, size
    # Each direction scales where its numbers stay small: half precision ends at 65504.
    fft_norm = "backward" if adjoint else "forward"
    spectrum = _rfft(x, axis, fft_norm)
    found = None
    if ramp is not None:
        found = _coefficients_in(spectrum, ramp, axis, weighted=adjoint)
        found = found if adjoint else found * (size / axis_map.scale)
    level = gain(norm, axis_map.size, axis_map.out_size) * mask
    if out_size > size:
        bins = xp.arange(size // 2 + 1, device=device(mask))
        # The transform back applies the weights of its own samples; those of the fewer are wanted.
        ratio = bin_weights(bins, size, mask.dtype) / bin_weights(bins, out_size, mask.dtype)
        level = level * ratio
    elif size // 2 > out_size // 2:
        # Not where all bins are kept: of such a slice not every kind of vmap has a rule.
        crop = [slice(None)] * x.ndim
        crop[axis] = slice(0, out_size // 2 + 1)
        spectrum = spectrum[tuple(crop)]
    spectrum = spectrum * _on_axis(as_complex(level), axis, x.ndim)
    return xp.fft.irfft(spectrum, n=out_size, axis=axis, norm=fft_norm), found


def _rfft(x: Array, axis: int, norm: str) -> Array:
    """Transform one axis, refusing a dtype whose FFT the library lacks."""
    xp = array_namespace(x)
    try:
        return xp.fft.rfft(x, axis=axis, norm=norm)
    except Exception as error:  # each library refuses a dtype in its own way
        if is_half(xp, x.dtype):
            checks.half_fft(x.dtype, error)
        raise


def _coefficients_in(spectrum: Array, ramp: Ramp, axis: int, *, weighted: bool) -> Array:
    """Take the ramp's coefficients, as `waves` finds them, out of a spectrum."""
    xp = array_namespace(spectrum)
    found = xp.take(spectrum, ramp.bins, axis=axis)
    if weighted:
        found = found * _on_axis(as_complex(ramp.slope), axis, found.ndim)
    shape = list(found.shape)
    shape[axis] *= 2
    # Not concat, for which not every kind of vmap has a rule.
    return xp.reshape(xp.stack([xp.real(found), -xp.imag(found)], axis=axis), tuple(shape))


def _on_axis(vector: Array, axis: int, ndim: int) -> Array:
    """Reshape a vector so that it broadcasts along one axis of an ``ndim``-dimensional array."""
    shape = [1] * ndim
    shape[axis] = -1
    return array_namespace(vector).reshape(in_one_chunk(vector), tuple(shape))
