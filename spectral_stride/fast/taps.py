"""A convolution that comes before the resampling, taken into its matrices tap by tap.

Resampling mixes samples and a convolution mixes channels, so that the two commute: with c_i = sum
over t of w_t x_{i + t d - b} along an axis,

    (A c)_j = sum over t of w_t (A_t x)_j,    A_t[j, m] = A[j, m - t d + b], and 0 beyond A.

The k n rows of all A_t, one tap after the other, are one matrix: what it makes of x is left to a
convolution with the same kernel, its taps n samples apart. No sample of c is ever computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

from spectral_stride.arrays import Array, array_namespace, device
from spectral_stride.axis import Along, AxisMap, Resampling


class Taps(NamedTuple):
    """The kernel of one axis: k taps, d samples apart, the first b samples before the output's."""

    kernel: int
    dilation: int
    before: int
    size: int  # samples N of the input; the convolution's output has M


@dataclass(eq=False)
class TapAxisMap(AxisMap):
    """The map of one axis with the taps of a convolution in A and Q: k n rows in place of n."""

    taps: Taps = field(kw_only=True)
    has_fft: ClassVar[bool] = False

    def build_matrix(self, out_rows: Array, in_rows: Array) -> Array:
        """Move the product by each tap."""
        return shifted(super().build_matrix(out_rows, in_rows), self.taps)

    def build_analysis(self, in_rows: Array) -> Array:
        """Move the ramp's rows by each tap."""
        return shifted(super().build_analysis(in_rows), self.taps)

    def project(self, u: Array, axis: int, along: Along) -> Array:
        """diag(d) P u, for the samples of each tap by itself."""
        return joined(super().project(split(u, axis, self.taps), axis + 1, along), axis)

    def spread(self, q: Array, axis: int, along: Along) -> Array:
        """P^T diag(d) b q, for the samples of each tap by itself."""
        return joined(super().spread(split(q, axis, self.taps), axis + 1, along), axis)


def with_taps(op: Resampling, taps: Sequence[Taps]) -> Resampling:
    """Take a convolution into a map whose plan is that of the convolution's output."""
    return replace(
        op,
        maps=tuple(
            [
                one and TapAxisMap(one.mask, one.ramp, one.size, one.out_size, one.norm, taps=tap)
                for one, tap in zip(op.maps, taps, strict=True)
            ]
        ),
    )


def shifted(rows: Array, taps: Taps) -> Array:
    """Rows (m, M) moved by each tap: (k m, N), where row t m + j is row j from t d - b on."""
    xp = array_namespace(rows)
    count, length = rows.shape
    moved = []
    for tap in range(taps.kernel):
        start = tap * taps.dilation - taps.before
        low, high = max(start, 0), min(start + length, taps.size)
        before, after = [
            xp.zeros((count, size), dtype=rows.dtype, device=device(rows))
            for size in (min(low, taps.size), max(taps.size - max(high, low), 0))
        ]
        inside = rows[:, low - start : max(high - start, low - start)]
        moved.append(xp.concat([before, inside, after], axis=1))
    return xp.concat(moved, axis=0)


def split(x: Array, axis: int, taps: Taps) -> Array:
    """Put the taps of ``axis`` on an axis of their own before it: k n samples become k times n."""
    shape = tuple(x.shape)
    apart = (taps.kernel, shape[axis] // taps.kernel)
    return array_namespace(x).reshape(x, (*shape[:axis], *apart, *shape[axis + 1 :]))


def joined(x: Array, axis: int) -> Array:
    """Undo `split`: the axis and the one behind it become one."""
    shape = tuple(x.shape)
    both = shape[axis] * shape[axis + 1]
    return array_namespace(x).reshape(x, (*shape[:axis], both, *shape[axis + 2 :]))
