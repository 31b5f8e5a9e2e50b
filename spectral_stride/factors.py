"""What the strides make of each axis: the matrix A, and the rows that tie its ramp to the strides.

With X = rfft(x), y = irfft(m X) on n samples is the real matrix A = P^T diag(w m / N) Q, where P
and Q hold the cosine and sine rows of the kept bins on the output and on the input grid, and w is 1
on bins without a conjugate twin (DC, and n/2 for an even n) and 2 elsewhere. Of them only the bins
on the ramp depend on the stride: dA/ds = P^T diag(d) Q over those alone, with d = w dm/ds gain/N.
Where their m is not close to zero the same is in the output: E = diag(N/(gain n m)) P finds Q x in
A x, and dA/ds = C A with C = P^T diag(d) E.
"""

import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from array_api_compat import array_namespace, device

from spectral_stride.arrays import Array, working_dtype
from spectral_stride.mask import cutoff, mask_on, ramp_bins, slope_on
from spectral_stride.plan import Plan
from spectral_stride.taps import Taps, shifted

# Smallest share m of a bin in the output from which it is read back: the rounding of the output,
# its mean included, grows by 1/m. The ramps of two axes, 4 bins wide, both end above it for three
# of four pairs of strides drawn at random.
LEAST_SHARE = 1 / 32
# Part of what is kept of the inputs that is clearly less. In PyTorch on a CPU the layer takes 0.3
# of the time at 0.5 (8 samples onto 8) and 0.87 at 2/3 (56 onto 28), but 1.05 at 0.86 (32 onto 24)
# and 1.3 at 1 (16 onto 16).
CLEARLY_LESS = 3 / 4

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
    k = bins[:, None]
    i = xp.arange(size, dtype=bins.dtype, device=device(bins))[None, :]
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


def transposed(rows: Array) -> Array:
    """Transpose a matrix by a plain permutation, for which every kind of vmap has a rule."""
    return array_namespace(rows).permute_dims(rows, (1, 0))


def balance(size: int) -> int:
    """Power of two b up to N that coefficients Q x are divided by, until their products are summed.

    They are sums over the axis, and half precision ends at 65504.
    """
    return 1 << (size.bit_length() - 1)


class Ramp(NamedTuple):
    """The r bins of one axis that depend on its stride, and the slope d of their share in A."""

    bins: Array
    slope: Array


class Source(Enum):
    """What is kept of an axis with a ramp, for the derivatives in its stride."""

    PASSING = "the ramp's coefficients Q t of what comes to the axis"
    OUTPUT = "the same of the output, found in it: E y"
    SAMPLES = "the output itself"


class Factor:
    """One axis of the map: each of its arrays is built when it is first asked for, and once.

    Parameters
    ----------
    mask : array
        On bins 0 .. n//2.
    ramp : Ramp or None
        None where nothing is asked of the stride, or it changes nothing.
    size, out_size : int
        Samples N and n.
    norm : str
        As of the plan.
    taps : Taps, optional
        The kernel of a convolution that is taken into A and Q.

    Attributes
    ----------
    source : Source
        What is kept for the derivatives in the stride; see `settle`.
    """

    def __init__(
        self,
        mask: Array,
        ramp: Ramp | None,
        size: int,
        out_size: int,
        norm: str,
        taps: Taps | None = None,
    ) -> None:
        self.mask, self.ramp = mask, ramp
        self.size, self.out_size, self.norm, self.taps = size, out_size, norm, taps
        self.source = Source.PASSING
        self._matrix: Array | None = None
        self._halves: tuple[Array, Array] | None = None
        self._in_waves: Array | None = None
        self._out_waves: Array | None = None
        self._reads: Array | None = None
        self._writes: Array | None = None
        self._reads_output: Array | None = None

    def matrix(self) -> Array:
        """A, shape (n, N); with taps (k n, N)."""
        if self._matrix is None:
            out_rows, in_rows = self._halves or self._both_halves()
            self._halves = None
            found = array_namespace(self.mask).matmul(transposed(out_rows), in_rows)
            self._matrix = found if self.taps is None else shifted(found, self.taps)
        return self._matrix

    def _both_halves(self) -> tuple[Array, Array]:
        """Rows P and diag(w m gain/N) Q of all kept bins, whose product is A without its taps."""
        xp, kept = array_namespace(self.mask), self.mask.shape[0]
        bins = xp.arange(kept, device=device(self.mask))
        out_rows = waves(bins, self.out_size, self.mask.dtype)
        in_rows = waves(bins, self.size, self.mask.dtype)
        if self.ramp is not None:
            # Some of the same rows, which take longer to build than to find.
            where = xp.concat([self.ramp.bins, self.ramp.bins + kept], axis=0)
            self._out_waves = xp.take(out_rows, where, axis=0)
            self._in_waves = xp.take(in_rows, where, axis=0)
        share = gain(self.norm, self.size, self.out_size) / self.size
        level = self.mask * bin_weights(bins, self.out_size, self.mask.dtype) * share
        return out_rows, _doubled(level) * in_rows

    def reads(self) -> Array:
        """Rows Q/b, shape (2r, N); with taps (2r k, N): what the ramp reads off the input."""
        if self._reads is None:
            rows = self.waves_in() / balance(self.size)
            self._reads = rows if self.taps is None else shifted(rows, self.taps)
        return self._reads

    def reads_output(self) -> Array:
        """Rows E/b = diag(N/(b gain n m)) P, shape (2r, n): they find Q x/b in A x.

        Not the sine of bin n/2, which is not in there, and with which P would do nothing.
        """
        if self._reads_output is None:
            height = gain(self.norm, self.size, self.out_size) * self.out_size / self.size
            level = 1 / (height * balance(self.size) * self.shares())
            self._reads_output = _doubled(level) * self.waves_out()
        return self._reads_output

    def writes(self) -> Array:
        """Rows diag(d) P, shape (2r, n): what it puts on the output."""
        if self._writes is None:
            assert self.ramp is not None
            self._writes = _doubled(self.ramp.slope) * self.waves_out()
        return self._writes

    def waves_in(self) -> Array:
        """Rows Q without the taps, shape (2r, N)."""
        if self._in_waves is None:
            self._in_waves = self._ramp_waves(self.size)
        return self._in_waves

    def waves_out(self) -> Array:
        """Rows P, shape (2r, n)."""
        if self._out_waves is None:
            self._out_waves = self._ramp_waves(self.out_size)
        return self._out_waves

    def _ramp_waves(self, size: int) -> Array:
        assert self.ramp is not None
        return waves(self.ramp.bins, size, self.ramp.slope.dtype)

    def turns(self) -> Array:
        """C/b = P^T diag(d) E/b, shape (n, n): C is what makes dA/ds of A."""
        return array_namespace(self.mask).matmul(transposed(self.writes()), self.reads_output())

    def moves(self, still: "Factor") -> Array:
        """T = I + P^T diag(w (m/m0 - 1)/n) P, shape (n, n): with the m0 of ``still``, A is T A0."""
        assert self.ramp is not None
        xp = array_namespace(self.mask)
        weights = bin_weights(self.ramp.bins, self.out_size, self.mask.dtype)
        level = _doubled(weights * (self.shares() / still.shares() - 1) / self.out_size)
        rows = self.waves_out()
        whole = xp.eye(self.out_size, dtype=rows.dtype, device=device(rows))
        return whole + xp.matmul(transposed(rows), level * rows)

    def shares(self) -> Array:
        """Shares m of the ramp's bins, 1 where they do not depend on the stride."""
        assert self.ramp is not None
        xp = array_namespace(self.mask)
        share = xp.take(self.mask, self.ramp.bins, axis=0)
        return xp.where(self.ramp.slope != 0, share, xp.ones_like(share))

    def placed(self, convert: Callable[[Array], Array]) -> "Factor":
        """Return the same factor in another library, which has only the products to make of A."""
        ramp = self.ramp and Ramp(*(convert(one) for one in self.ramp))
        same = Factor(convert(self.mask), ramp, self.size, self.out_size, self.norm, self.taps)
        same.source = self.source
        out_rows, in_rows = self._both_halves()
        same._halves = convert(out_rows), convert(in_rows)
        if ramp is not None:
            same._writes = convert(self.writes())
            if self.source is Source.PASSING:
                same._reads = convert(self.reads())
            else:
                same._reads_output = convert(self.reads_output())
        return same


# Of each planned axis; None for one that is left as it is.
Factors = tuple[Factor | None, ...]


def settle(parts: Factors) -> None:
    """Keep what is in the output where that is clearly less, and where it can be found in there.

    Every bin on every ramp must have its share in the output; this reads values on the host, so it
    is for NumPy arrays. Where a convolution reads the output, it is the output of the convolution
    that tells, and the caller knows what is less.
    """
    learning = [part for part in parts if part is not None and part.ramp is not None]
    if not learning:
        return
    # Where both are the same number of numbers, it is a copy of the output that tells.
    amount = sum(_coefficients(part) / part.out_size for part in learning)
    source = Source.SAMPLES if amount > 1 else Source.OUTPUT
    read = any(part.taps is not None for part in learning)
    if not read and _kept(learning, source) > CLEARLY_LESS * _kept(learning, Source.PASSING):
        return
    if all(
        float(array_namespace(part.mask).min(part.shares())) >= LEAST_SHARE for part in learning
    ):
        for part in learning:
            part.source = source


def with_sources(parts: Factors, like: Factors) -> Factors:
    """Let the same be kept of each axis as of another build of the same map."""
    for part, other in zip(parts, like, strict=True):
        if part is not None and other is not None:
            part.source = other.source
    return parts


def _coefficients(part: Factor) -> int:
    assert part.ramp is not None
    bins: int = part.ramp.bins.shape[0]
    return 2 * bins


def _kept(learning: Sequence[Factor], source: Source) -> int:
    """Numbers that are kept for the gradients of these axes, of one element of the batch."""
    behind = [part.out_size for part in learning]
    if source is Source.SAMPLES:
        return math.prod(behind)
    before = behind if source is Source.OUTPUT else [part.size for part in learning]
    return sum(
        _coefficients(part) * math.prod(before[:position]) * math.prod(behind[position + 1 :])
        for position, part in enumerate(learning)
    )


def _doubled(level: Array) -> Array:
    """Values of bins as a column, for their cosines and once more for their sines."""
    xp = array_namespace(level)
    return xp.concat([level, level], axis=0)[:, None]


def waves(bins: Array, size: int, dtype: object) -> Array:
    """Cosine rows of the bins, and their sine rows: shape (2 bins, size)."""
    return array_namespace(bins).concat(list(trig_rows(bins, size, dtype)), axis=0)


def learning_axes(plan: Plan) -> tuple[int, ...]:
    """Positions of the planned axes whose stride changes anything."""
    if plan.smoothness == 0:
        return ()
    return tuple(position for position, size in enumerate(plan.sizes) if size > 1)


def factors(
    strides: Array,
    plan: Plan,
    taps: Sequence[Taps | None] | None = None,
    *,
    learn: bool = True,
    stop: Callable[[Array], Array] | None = None,
) -> Factors:
    """Of each planned axis, its part of the map; None for one of a single sample, left as it is.

    With ``taps`` the plan is that of a convolution's output, whose input has their sizes. Without
    ``learn`` nothing is prepared for derivatives in the strides; ``stop`` is that of `cutoff`.
    """
    xp = array_namespace(strides)
    learning = learning_axes(plan) if learn else ()
    found: list[Factor | None] = []
    for position, (size, out_size) in enumerate(zip(plan.sizes, plan.out_sizes, strict=True)):
        if size == 1:
            found.append(None)
            continue
        c = cutoff(strides[position], size, plan.smoothness, plan.ramp, stop)
        bins = xp.arange(out_size // 2 + 1, dtype=strides.dtype, device=device(strides))
        mask = mask_on(bins, c, plan.smoothness, plan.ramp)
        ramp = _ramp(c, size, out_size, plan) if position in learning else None
        one = None if taps is None else taps[position]
        found.append(Factor(mask, ramp, size, out_size, plan.norm, one))
    return tuple(found)


def _ramp(c: Array, size: int, out_size: int, plan: Plan) -> Ramp:
    xp = array_namespace(c)
    bins = ramp_bins(c, size, out_size // 2, plan.smoothness, plan.ramp)
    slope = slope_on(xp.astype(bins, c.dtype), c, size, plan.smoothness, plan.ramp)
    share = gain(plan.norm, size, out_size) / size
    return Ramp(bins, bin_weights(bins, out_size, c.dtype) * slope * share)


def all_pass(x: Array, plan: Plan) -> Factors:
    """Of each planned axis of ``x``, the factor of a hard crop; None where nothing is cropped."""
    xp = array_namespace(x)
    dtype = working_dtype(xp, x.dtype)
    found: list[Factor | None] = []
    for size, out_size in zip(plan.sizes, plan.out_sizes, strict=True):
        mask = xp.ones(out_size // 2 + 1, dtype=dtype, device=device(x))
        whole = size == out_size
        found.append(None if whole else Factor(mask, None, size, out_size, plan.norm))
    return tuple(found)
