"""The map of one axis: A = P^T diag(w m gain/N) Q, and the part of it that its stride moves.

With X = rfft(x), y = irfft(m X) on n samples is the real matrix A, where P and Q hold the cosine
and sine rows of the kept bins on the output and on the input grid. Only the bins on the ramp depend
on the stride: dA/ds = P^T diag(d) Q over those alone, with d = w dm/ds gain/N. A hard plan has
m = 1 in A, and the d of the soft mask.

Kept are the bins that both grids have, with the weights w of the smaller one. So the map from n to
N samples is the transpose of the map from N to n, but for its gain.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from spectral_stride.arrays import Array, array_namespace, device, working_dtype
from spectral_stride.dft import bin_weights, gain, on_both, transposed, waves
from spectral_stride.mask import cutoff, mask_on, ramp_bins, slope_on
from spectral_stride.plan import Plan

# Multiplies an array along an axis by a matrix: ``along(rows, x, axis)``.
Along = Callable[[Array, Array, int], Array]


class Ramp(NamedTuple):
    """The r bins of one axis that depend on its stride, and the slope d of their share in A."""

    bins: Array
    slope: Array


# Its matrices are built when they are first asked for, and kept. Not by functools.cached_property:
# torch.compile cannot trace the lock that it has in Python 3.11.
@dataclass(eq=False)
class AxisMap:
    """One axis at one stride.

    Attributes
    ----------
    mask : array
        m on bins 0 .. min(N, n)//2.
    ramp : Ramp or None
        None where nothing is asked of the stride, or it changes nothing.
    size, out_size : int
        Samples N and n.
    norm : str
        As of the plan.
    is_identity : bool
        Whether A is the identity, by which nothing is multiplied.
    """

    mask: Array
    ramp: Ramp | None
    size: int
    out_size: int
    norm: str
    is_identity: bool = False
    has_fft: ClassVar[bool] = True
    _matrix: Array | None = field(default=None, init=False, repr=False)
    _ramp_rows: Array | None = field(default=None, init=False, repr=False)
    _analysis: Array | None = field(default=None, init=False, repr=False)
    _synthesis: Array | None = field(default=None, init=False, repr=False)

    @property
    def matrix(self) -> Array:
        """A, shape (n, N)."""
        if self._matrix is None:
            out_rows, in_rows = self.kept_rows()
            self._matrix = self.build_matrix(out_rows, self.levels() * in_rows)
        return self._matrix

    def build_matrix(self, out_rows: Array, in_rows: Array) -> Array:
        """Multiply P^T and diag(w m gain/N) Q, of all kept bins."""
        return array_namespace(out_rows).matmul(transposed(out_rows), in_rows)

    def kept_rows(self) -> tuple[Array, Array]:
        """P and Q of all kept bins."""
        bins, dtype = self._kept_bins(), self.mask.dtype
        return waves(bins, self.out_size, dtype), waves(bins, self.size, dtype)

    def levels(self) -> Array:
        """Weights w m gain/N of all kept bins, as a column for their cosines and their sines."""
        height = gain(self.norm, self.size, self.out_size) / self.size
        weights = bin_weights(self._kept_bins(), min(self.size, self.out_size), self.mask.dtype)
        return on_both(self.mask * weights * height)

    def _kept_bins(self) -> Array:
        return array_namespace(self.mask).arange(self.mask.shape[0], device=device(self.mask))

    @property
    def scale(self) -> int:
        """Power of two b up to N that coefficients Q x are kept over until they are summed.

        They are sums over the axis, and half precision ends at 65504.
        """
        return 1 << (self.size.bit_length() - 1)

    @property
    def analysis(self) -> Array:
        """Q/b of the ramp, shape (2r, N): what it reads off the input."""
        if self._analysis is None:
            assert self.ramp is not None
            self._analysis = self.build_analysis(waves(self.ramp.bins, self.size, self.mask.dtype))
        return self._analysis

    def build_analysis(self, in_rows: Array) -> Array:
        """Divide the ramp's rows Q by b."""
        return in_rows / self.scale

    @property
    def ramp_rows(self) -> Array:
        """P of the ramp, shape (2r, n)."""
        if self._ramp_rows is None:
            assert self.ramp is not None
            self._ramp_rows = waves(self.ramp.bins, self.out_size, self.mask.dtype)
        return self._ramp_rows

    @property
    def synthesis(self) -> Array:
        """diag(d) P of the ramp, shape (2r, n): what it puts on the output."""
        if self._synthesis is None:
            assert self.ramp is not None
            self._synthesis = on_both(self.ramp.slope) * self.ramp_rows
        return self._synthesis

    def read(self, x: Array, axis: int, along: Along) -> Array:
        """Q x/b: the ramp's coefficients of what comes to the axis."""
        return along(self.analysis, x, axis)

    def read_adjoint(self, q: Array, axis: int, along: Along) -> Array:
        """Q^T q/b."""
        return along(transposed(self.analysis), q, axis)

    def project(self, u: Array, axis: int, along: Along) -> Array:
        """diag(d) P u: the ramp's coefficients of what comes back from the output."""
        return along(self.synthesis, u, axis)

    def spread(self, q: Array, axis: int, along: Along) -> Array:
        """P^T diag(d) b q: what coefficients, kept over b, put on the output."""
        return along(transposed(self.synthesis) * self.scale, q, axis)


@dataclass(frozen=True, eq=False)
class Resampling:
    """A plan, and of each planned axis its map; None for one that is left as it is."""

    plan: Plan
    maps: tuple[AxisMap | None, ...]


def resampling(
    strides: Array,
    plan: Plan,
    *,
    learn: bool = True,
    stop: Callable[[Array], Array] | None = None,
) -> Resampling:
    """What strides, of shape (len(axes),), make of each planned axis.

    Without ``learn`` nothing is prepared for derivatives in them; ``stop`` is that of `cutoff`.
    With it a hard mask is 1 and has the soft one's derivatives of every order, and so an axis that
    keeps its size has a matrix too.
    """
    xp = array_namespace(strides)
    maps: list[AxisMap | None] = []
    for position, (size, out_size) in enumerate(zip(plan.sizes, plan.out_sizes, strict=True)):
        if size == 1:
            maps.append(None)
            continue
        c = cutoff(strides[position], size, plan.smoothness, plan.ramp, stop)
        bins = xp.arange(out_size // 2 + 1, dtype=strides.dtype, device=device(strides))
        mask = xp.ones_like(bins)
        if not plan.hard:
            mask = mask_on(bins, c, plan.smoothness, plan.ramp)
        elif stop is not None:
            soft = mask_on(bins, c, plan.smoothness, plan.ramp)
            mask = mask + (soft - stop(soft))
        on_ramp = _on_ramp(c, size, out_size, plan) if learn and plan.smoothness > 0 else None
        is_identity = plan.hard and size == out_size and stop is None
        maps.append(AxisMap(mask, on_ramp, size, out_size, plan.norm, is_identity))
    return Resampling(plan, tuple(maps))


def _on_ramp(c: Array, size: int, out_size: int, plan: Plan) -> Ramp:
    """Find the bins on the ramp of a cutoff, and their slope d = w dm/ds gain/N."""
    bins = ramp_bins(c, size, out_size // 2, plan.smoothness, plan.ramp)
    slope = slope_on(array_namespace(c).astype(bins, c.dtype), c, size, plan.smoothness, plan.ramp)
    height = gain(plan.norm, size, out_size) / size
    return Ramp(bins, bin_weights(bins, out_size, c.dtype) * slope * height)


def hard_crop(x: Array, plan: Plan) -> Resampling:
    """The map of a hard crop, whose mask is 1 on every kept bin.

    Onto more samples there is nothing to crop, and beyond the old spectrum there is nothing.
    """
    xp, dtype = array_namespace(x), working_dtype(array_namespace(x), x.dtype)
    maps = []
    for size, out_size in zip(plan.sizes, plan.out_sizes, strict=True):
        mask = xp.ones(min(size, out_size) // 2 + 1, dtype=dtype, device=device(x))
        maps.append(AxisMap(mask, None, size, out_size, plan.norm, size == out_size))
    return Resampling(plan, tuple(maps))
