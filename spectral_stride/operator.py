"""The linear map of a plan with known masks: per axis a small matrix or an FFT, and its adjoint.

With X = rfft(x), y = irfft(m X) on n samples is the real matrix A = P^T diag(w m / N) Q, where P
and Q hold the cosine and sine rows of the kept bins on the output and on the input grid, and w is 1
on bins without a conjugate twin (DC, and n/2 for an even n) and 2 elsewhere.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from spectral_stride import checks
from spectral_stride.arrays import Array, cast, is_chunked, is_half, whole
from spectral_stride.plan import Plan
from spectral_stride.taps import Taps, joined, shifted, split

# Some libraries count in 32 bits: no phase on its way to a residue modulo N may reach 2^31.
_PHASE_BITS = 30


def gain(norm: str, size: int, out_size: int) -> float:
    """What a constant signal is multiplied by."""
    return {"forward": 1.0, "ortho": math.sqrt(size / out_size), "backward": size / out_size}[norm]


def bin_weights(bins: Array, out_size: int, dtype: object) -> Array:
    """Weight w_k of a bin in a real inverse transform onto ``out_size`` samples."""
    xp = array_namespace(bins)
    alone = (bins == 0) | (2 * bins == out_size)
    return 2 - xp.astype(alone, dtype)


def trig_rows(bins: Array, size: int, dtype: object) -> tuple[Array, Array]:
    """Rows cos(2 pi k i/N) and sin(2 pi k i/N) of integer bins k; each of shape (bins, size)."""
    xp = array_namespace(bins)
    k = xp.expand_dims(bins, axis=1)
    i = xp.expand_dims(xp.arange(size, dtype=bins.dtype, device=device(bins)), axis=0)
    # Horner's rule over the digits of k, each so short that its product with i fits; one digit is
    # the whole of k up to N = 2^14.
    bits = _PHASE_BITS - size.bit_length()
    digits = math.ceil(size.bit_length() / bits)
    residue = 0
    for digit in reversed(range(digits)):
        short = k // 2 ** (bits * digit) % 2**bits
        residue = (residue * 2**bits + short * i) % size
    # Around zero: the smaller the angle, the smaller its rounding. (Shifting the phase by half a
    # turn inside the remainder would say the same, but torch's compiler gets that wrong.)
    residue = xp.where(2 * residue > size, residue - size, residue)
    angle = xp.astype(residue, dtype) * (2 * math.pi / size)
    return xp.cos(angle), xp.sin(angle)


def axis_matrix(mask: Array, size: int, out_size: int, norm: str) -> Array:
    """Matrix A of one axis, shape (out_size, size), in the mask's dtype."""
    xp = array_namespace(mask)
    bins = xp.arange(out_size // 2 + 1, device=device(mask))
    level = mask * bin_weights(bins, out_size, mask.dtype) * (gain(norm, size, out_size) / size)
    out_cos, out_sin = trig_rows(bins, out_size, mask.dtype)
    in_cos, in_sin = trig_rows(bins, size, mask.dtype)
    out_rows = xp.concat([out_cos, out_sin], axis=0)
    in_rows = xp.concat([in_cos, in_sin], axis=0)
    levels = xp.expand_dims(xp.concat([level, level], axis=0), axis=1)
    return xp.matmul(transposed(out_rows), levels * in_rows)


def transposed(rows: Array) -> Array:
    """Transpose a matrix by a plain permutation, for which every kind of vmap has a rule."""
    return array_namespace(rows).permute_dims(rows, (1, 0))


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


class Ramp(NamedTuple):
    """The r bins of one axis that depend on its stride, and the slope d of their share in A."""

    bins: Array
    slope: Array


def waves(ramp: Ramp, size: int) -> Array:
    """Cosine and sine rows of the ramp's bins, shape (2r, size)."""
    xp = array_namespace(ramp.bins)
    return xp.concat(list(trig_rows(ramp.bins, size, ramp.slope.dtype)), axis=0)


def in_rows(ramp: Ramp, plan: Plan, position: int, taps: Taps | None) -> Array:
    """Rows Q: what the ramp reads off the input of an axis."""
    rows = waves(ramp, plan.sizes[position])
    return rows if taps is None else shifted(rows, taps)


def out_rows(ramp: Ramp, plan: Plan, position: int) -> Array:
    """Rows diag(d) P: what it puts on the output."""
    xp = array_namespace(ramp.bins)
    slope = xp.expand_dims(xp.concat([ramp.slope, ramp.slope], axis=0), axis=1)
    return slope * waves(ramp, plan.out_sizes[position])


# How rows are applied: `apply_rows`, or what a library has that is faster.
Product = Callable[[Array, Array, int], Array]


def apply_to_each(
    rows: Array, x: Array, axis: int, taps: Taps | None, product: Product = apply_rows
) -> Array:
    """Apply rows to the samples of each tap by itself."""
    if taps is None:
        return product(rows, x, axis)
    return joined(product(rows, split(x, axis, taps), axis + 1), axis)


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
    x: Array, mask: Array, axis: int, out_size: int, norm: str, ramp: Ramp | None, adjoint: bool
) -> tuple[Array, Array | None]:
    """A x by FFT: transform, crop, mask, transform back; A^T x by the same steps mirrored.

    The ramp's coefficients are read off the spectrum on the way.
    """
    xp = array_namespace(x)
    size = x.shape[axis]
    # Each direction scales where its numbers stay small: half precision ends at 65504.
    scale = "backward" if adjoint else "forward"
    spectrum = _rfft(x, axis, scale)
    found = None
    if ramp is not None:
        found = _coefficients_in(spectrum, ramp, axis, weighted=adjoint)
        found = found if adjoint else found * size
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
    masks: Sequence[Array | None],
    plan: Plan,
    *,
    ramps: Sequence[Ramp | None],
    also: Sequence[Array | None],
    taps: Sequence[Taps | None],
    adjoint: bool,
    product: Product = apply_rows,
) -> tuple[Array | None, list[Array | None]]:
    """Apply A axis by axis, from the last to the first, or A^T from the first to the last.

    Parameters
    ----------
    x : array or None
        None stands for zeros, and is not computed with.
    masks : sequence
        Of each axis on bins 0 .. n//2; an axis whose mask is None is left alone.
    ramps : sequence
        Of each axis, where the coefficients of what it meets are wanted, or None.
    also : sequence
        What is added behind each axis, or None.
    taps : sequence
        Of each axis, the kernel of a convolution that is taken into A, or None.
    adjoint : bool
        A^T in place of A.
    product : callable
        What applies a matrix along an axis.

    Returns
    -------
    y : array or None
        Of x's dtype; None for zeros.
    found : list
        Of each axis, Q times what it meets; with ``adjoint`` diag(d) P times that.
    """
    found: list[Array | None] = [None] * len(masks)
    # Forward from the last axis to the first: rows of the last axis are contiguous and A @ (x @
    # B^T) is the order that compilers lower well.
    positions = range(len(masks))
    for position in positions if adjoint else reversed(positions):
        mask = masks[position]
        if x is not None and mask is not None:
            x, found[position] = _axis(
                x, mask, plan, position, ramps[position], taps[position], adjoint, product
            )
        extra = also[position]
        if extra is not None:
            x = extra if x is None else x + extra
    return x, found


def _axis(
    x: Array,
    mask: Array,
    plan: Plan,
    position: int,
    ramp: Ramp | None,
    taps: Taps | None,
    adjoint: bool,
    product: Product,
) -> tuple[Array, Array | None]:
    """One axis of a sweep, in the form that the plan has for it."""
    axis, size, out_size = plan.axes[position], plan.sizes[position], plan.out_sizes[position]
    xp, dtype = array_namespace(x), x.dtype
    # Some libraries' FFT fails on an empty batch.
    by_fft = plan.methods[position] == "fft" and taps is None and 0 not in x.shape
    found = None
    if ramp is not None and (not by_fft or is_chunked(x)):  # chunks are not indexed by an array
        if adjoint:
            found = apply_to_each(out_rows(ramp, plan, position), x, axis, taps, product)
        else:
            found = product(in_rows(ramp, plan, position, taps), x, axis)
        ramp = None
    if not by_fft:
        matrix = axis_matrix(mask, size, out_size, plan.norm)
        if taps is not None:
            matrix = shifted(matrix, taps)
        return product(transposed(matrix) if adjoint else matrix, x, axis), found
    if plan.method == "auto" and is_half(xp, dtype):
        # Half-precision FFTs exist on few devices and sizes; nobody asked for one here.
        x = xp.astype(x, xp.float32)
    y, read = _fft_axis(x, mask, axis, size if adjoint else out_size, plan.norm, ramp, adjoint)
    return cast(y, dtype), found if read is None else cast(read, dtype)


def resample(
    x: Array,
    masks: Sequence[Array | None],
    plan: Plan,
    taps: Sequence[Taps | None] | None = None,
    product: Product = apply_rows,
) -> Array:
    """Apply A along every planned axis, each with its mask on bins 0 .. n//2."""
    nothing: list[Any] = [None] * len(masks)
    return sweep(
        x,
        masks,
        plan,
        ramps=nothing,
        also=nothing,
        taps=taps or nothing,
        adjoint=False,
        product=product,
    )[0]
