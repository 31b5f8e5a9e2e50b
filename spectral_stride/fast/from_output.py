"""The stride gradient read off the output: the same sum over fewer samples.

The ramp's coefficients are in the output as well, times the m of their bin: with
E = diag(N/(gain n m)) P is E P^T diag(w m gain/N) = 1, so that E_i y are the q_i of `gradients`, of
the axis i resampled along all others, and go with p_i = diag(d_i) P_i g. Of short axes 2r
coefficients are more than n samples. Then y is kept itself, and the gradient is the sum of C_i
times g (y - mean)^T, with the (n x n) matrix C_i = P_i^T diag(d_i) E_i, which makes nothing of a
mean. All of this is as true of an output whose channels were mixed and shifted since: so strides
learn behind a convolution that was resampled before.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from spectral_stride.arrays import Array, DType, array_namespace, cast, device
from spectral_stride.axis import Along, AxisMap, Resampling
from spectral_stride.dft import bin_weights, gain, on_both, transposed
from spectral_stride.gradients import PerAxis, add, at_place, sum_over_batch
from spectral_stride.operator import PLAIN, Products

# Smallest share m of a bin in the output from which it is read back: the rounding of the output,
# its mean included, grows by 1/m. The ramps of two axes, 4 bins wide, both end above it for three
# of four pairs of strides drawn at random.
LEAST_SHARE = 1 / 32
# Part of what is kept of the inputs that is clearly less. In PyTorch on a CPU the layer takes 0.3
# of the time at 0.5 (8 samples onto 8) and 0.87 at 2/3 (56 onto 28), but 1.05 at 0.86 (32 onto 24)
# and 1.3 at 1 (16 onto 16).
CLEARLY_LESS = 3 / 4


class FromOutput(NamedTuple):
    """How strides learn from the output: from its coefficients, or from all of its samples.

    ``recovery`` holds E/b of each axis with a ramp, shape (2r, n), and None for the others.
    """

    recovery: tuple[Array | None, ...]
    keeps_samples: bool

    def keep(self, op: Resampling, y: Array, products: Products = PLAIN) -> list[Array | None]:
        """Of each axis with a ramp, what `backward` needs of the output: E y/b, or y itself."""
        return [
            None if rows is None else y if self.keeps_samples else products.along(rows, y, axis)
            for rows, axis in zip(self.recovery, op.plan.axes, strict=True)
        ]

    def backward(
        self,
        op: Resampling,
        g: Array | None,
        kept: PerAxis,
        dtype: DType,
        *,
        dq: PerAxis | None = None,
        products: Products = PLAIN,
    ) -> tuple[Array | None, Array | None]:
        """Gradients of <g, y> + sum of <dq_i, E_i y/b> in y and in the strides.

        None stands for zeros; dtype and shape are those of `gradients.backward`.
        """
        # A cotangent of what was read goes back to there.
        back: list[Array | None] = [
            None if rows is None or one is None else products.along(transposed(rows), one, axis)
            for rows, one, axis in zip(
                self.recovery, dq or [None] * len(kept), op.plan.axes, strict=True
            )
        ]
        total: Array | None = None
        centred: Array | None = None
        for position, (axis_map, rows) in enumerate(zip(op.maps, self.recovery, strict=True)):
            # Coefficients do not depend on the stride of their own axis.
            u, axis = g, op.plan.axes[position]
            for other, one in enumerate(back):
                u = add(u, one if other != position else None)
            if axis_map is None or rows is None or u is None or kept[position] is None:
                continue
            if self.keeps_samples:
                # Without the mean, which C makes nothing of, and whose products would drown all
                # others in their rounding.
                centred = _without_mean(kept[position], op) if centred is None else centred
                turn = array_namespace(rows).matmul(transposed(axis_map.synthesis), rows)
                outer = cast(products.gram(u, centred, axis), dtype)
                one = array_namespace(u).sum(turn * outer)
            else:
                p = products.along(axis_map.synthesis, u, axis)
                one = products.pair(cast(p, dtype), cast(kept[position], dtype), op.plan.axes)
            total = add(total, at_place(one * axis_map.scale, position, len(op.maps)))
        for one in back:
            g = add(g, one)
        return g, None if total is None else sum_over_batch(total)

    def found_in(self, op: Resampling) -> "FromOutput":
        """Build the rows that recover coefficients, for one build of the map."""
        rows = tuple(
            [None if one is None or one.ramp is None else recovery(one) for one in op.maps]
        )
        return FromOutput(rows, self.keeps_samples)

    def converted(self, convert: Callable[[Array], Array]) -> "FromOutput":
        """Bring the rows to another array library."""
        rows = tuple([None if one is None else convert(one) for one in self.recovery])
        return FromOutput(rows, self.keeps_samples)


def _without_mean(y: Array, op: Resampling) -> Array:
    """Subtract from y its mean over the resampled axes."""
    return y - array_namespace(y).mean(y, axis=op.plan.axes, keepdims=True)


def shares(axis_map: AxisMap) -> Array:
    """Shares m of the ramp's bins, 1 where they do not depend on the stride."""
    assert axis_map.ramp is not None
    xp = array_namespace(axis_map.mask)
    share = xp.take(axis_map.mask, axis_map.ramp.bins, axis=0)
    return xp.where(axis_map.ramp.slope != 0, share, xp.ones_like(share))


def recovery(axis_map: AxisMap) -> Array:
    """E/b = diag(N/(b gain n m)) P, shape (2r, n): it finds Q x/b in A x.

    Not the sine of bin n/2, which is not in there, and with which P would do nothing.
    """
    norm, size, out_size = axis_map.norm, axis_map.size, axis_map.out_size
    height = gain(norm, size, out_size) * out_size / size
    level = 1 / (height * axis_map.scale * shares(axis_map))
    return on_both(level) * axis_map.ramp_rows


def choose(op: Resampling, *, always: bool = False) -> FromOutput | None:
    """Decide whether strides learn from the output: where that is clearly less to keep.

    Every bin on every ramp must have its share in the output; this reads values on the host, so it
    is for NumPy arrays. ``always`` is for where the caller knows what is less. Where no axis has a
    ramp there is nothing to keep, of the output neither.
    """
    learning = [one for one in op.maps if one is not None and one.ramp is not None]
    if not learning:
        return FromOutput((None,) * len(op.maps), keeps_samples=False)
    # Where both are the same number of numbers, it is a copy of the output that tells.
    samples = sum(_coefficients(one) / one.out_size for one in learning) > 1
    out_sizes, sizes = [one.out_size for one in learning], [one.size for one in learning]
    if not always:
        kept = math.prod(out_sizes) if samples else _kept_coefficients(learning, out_sizes)
        if kept > CLEARLY_LESS * _kept_coefficients(learning, sizes):
            return None
    if any(float(array_namespace(one.mask).min(shares(one))) < LEAST_SHARE for one in learning):
        return None
    return FromOutput((), samples).found_in(op)


def _coefficients(axis_map: AxisMap) -> int:
    """Count the rows of an axis' ramp."""
    assert axis_map.ramp is not None
    bins: int = axis_map.ramp.bins.shape[0]
    return 2 * bins


def _kept_coefficients(learning: Sequence[AxisMap], before: Sequence[int]) -> int:
    """Coefficients that are kept of one entry of the batch; axes not met yet have ``before``."""
    behind = [one.out_size for one in learning]
    return sum(
        _coefficients(one) * math.prod(before[:place]) * math.prod(behind[place + 1 :])
        for place, one in enumerate(learning)
    )


def since(axis_map: AxisMap, still: AxisMap) -> Array:
    """T = I + P^T diag(w (m/m0 - 1)/n) P, shape (n, n): with the m0 of ``still``, A is T A0."""
    assert axis_map.ramp is not None
    xp, n = array_namespace(axis_map.mask), axis_map.out_size
    weights = bin_weights(axis_map.ramp.bins, n, axis_map.mask.dtype)
    level = on_both(weights * (shares(axis_map) / shares(still) - 1) / n)
    rows = axis_map.ramp_rows
    one = xp.eye(n, dtype=rows.dtype, device=device(rows))
    return one + xp.matmul(transposed(rows), level * rows)


def seen_from(op: Resampling, still: Resampling, u: Array, along: Along) -> Array:
    """Cotangent u of what ``still`` made, as strides see it that move on from there.

    While they have not, it is u itself; what depends on them are its derivatives.
    """
    for axis_map, one, axis in zip(op.maps, still.maps, op.plan.axes, strict=True):
        if axis_map is not None and one is not None and axis_map.ramp is not None:
            u = along(transposed(since(axis_map, one)), u, axis)
    return u
