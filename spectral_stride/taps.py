"""A convolution that comes before the resampling, taken into its matrices tap by tap.

Resampling mixes samples and a convolution mixes channels, so that the two commute: with c_i = sum
over t of w_t x_{i + t d - b} along an axis,

    (A c)_j = sum over t of w_t (A_t x)_j,    A_t[j, m] = A[j, m - t d + b], and 0 beyond A.

The n k rows of all A_t, those of one j together, are one matrix: what it makes of x is left to a
convolution with kernel k and stride k. No sample of c is ever computed.
"""

from typing import NamedTuple

from array_api_compat import array_namespace, device

from spectral_stride.arrays import Array


class Taps(NamedTuple):
    """The kernel of one axis: k taps, d samples apart, the first b samples before the output's."""

    kernel: int
    dilation: int
    before: int
    size: int  # samples N of the input; the convolution's output has M


def shifted(rows: Array, taps: Taps) -> Array:
    """Rows (m, M) moved by each tap: (m k, N), where row j k + t is row j from t d - b on."""
    xp = array_namespace(rows)
    count, length = rows.shape
    moved = []
    for tap in range(taps.kernel):
        start = tap * taps.dilation - taps.before
        low, high = max(start, 0), min(start + length, taps.size)
        parts = [
            xp.zeros((count, size), dtype=rows.dtype, device=device(rows))
            for size in (min(low, taps.size), max(taps.size - max(high, low), 0))
        ]
        inside = rows[:, low - start : max(high - start, low - start)]
        moved.append(xp.concat([parts[0], inside, parts[1]], axis=1))
    return xp.reshape(xp.stack(moved, axis=1), (count * taps.kernel, taps.size))


def repeated(rows: Array, taps: Taps) -> Array:
    """Rows (m, n) for each tap by itself: (m k, n k), the Kronecker product with the identity."""
    xp = array_namespace(rows)
    count, length = rows.shape
    unit = xp.eye(taps.kernel, dtype=rows.dtype, device=device(rows))
    product = xp.reshape(rows, (count, 1, length, 1)) * xp.reshape(
        unit, (1, taps.kernel, 1, taps.kernel)
    )
    return xp.reshape(product, (count * taps.kernel, length * taps.kernel))
