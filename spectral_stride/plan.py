"""Sizes before arrays: which spectral axes are resampled, and onto how many points.

Everything here is host integers and floats. A plan names sizes and never a stride, so that strides
may move at every step (traced, compiled or learned) while the plan, and with it every shape, stands
still.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypedDict

from spectral_stride import checks

# Largest axis on which "auto" takes the matmul form. Forward and backward with both gradients, in
# float32 on 2 CPU cores under PyTorch, its time over the FFT's was, of 65536 rows, 0.49 at 64
# samples, 0.44 at 128, 0.51 at 256, 0.71 at 512; of 1024 rows, where both take about a millisecond,
# 0.68, 0.81, 1.27, 2.17. The table is in benchmarks/README.md.
LONGEST_MATMUL = 256


class PlanOptions(TypedDict, total=False):
    """Keyword arguments of `make_plan`, which every function that can plan for itself takes too."""

    axes: Sequence[int] | None
    smoothness: float
    ramp: str
    norm: str
    crop: bool
    multiple_of: int
    out_sizes: Sequence[int] | None
    method: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of one resampling: frozen and hashable, so a compiler can take it as a constant.

    Made by `make_plan`; not meant to be filled in by hand.

    Attributes
    ----------
    shape : tuple of int
        Shape of the input that was planned for. Another batch size fits the same plan.
    axes : tuple of int
        The resampled axes, counted from 0.
    out_sizes : tuple of int
        Samples of the output along each of ``axes``.
    smoothness : float
        Width R of the ramp in DFT bins.
    ramp, norm, method : str
        As given to `make_plan`.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    out_sizes: tuple[int, ...]
    smoothness: float
    ramp: str
    norm: str
    method: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples of the input along each of ``axes``."""
        return tuple(self.shape[axis] for axis in self.axes)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output for an input of shape ``shape``."""
        shape = list(self.shape)
        for axis, size in zip(self.axes, self.out_sizes, strict=True):
            shape[axis] = size
        return tuple(shape)

    @property
    def methods(self) -> tuple[str, ...]:
        """The form that each axis is computed in: "matmul" or "fft"."""
        if self.method != "auto":
            return (self.method,) * len(self.axes)
        return tuple("matmul" if size <= LONGEST_MATMUL else "fft" for size in self.sizes)


def cutoff_bounds(size: int, smoothness: float, ramp: str) -> tuple[float, float]:
    """Smallest and largest cutoff c, in bins, on an axis of ``size`` samples.

    The smallest keeps one full period, c = 1. The largest is N/2, less what the "outside" ramp
    needs above it.
    """
    if size == 1:
        return 0.5, 0.5
    if ramp == "inside":
        return 1.0, size / 2
    return 1.0, (size - smoothness) / 2 if size - smoothness >= 2 else 1.0


def stride_bounds(
    size: int, *, smoothness: float = 4.0, ramp: str = "outside"
) -> tuple[float, float]:
    """Smallest and largest effective stride on an axis.

    A stride s outside is used as ``clip(s, lo, hi)``, with the gradient at the bound (straight
    through).

    ==========  =====================================  =====
    ramp        lo                                     hi
    ==========  =====================================  =====
    "outside"   N/(N - R) if N - R >= 2, else N/2      N/2
    "inside"    1                                      N/2
    ==========  =====================================  =====

    Parameters
    ----------
    size : int
        Samples N along the axis.
    smoothness : float, optional
        Width R of the ramp in DFT bins.
    ramp : {"outside", "inside"}, optional
        Where the ramp lies: above or below the strided Nyquist bin.

    Returns
    -------
    lo, hi : float
        Strides in input samples per output sample. An axis of one sample is never resampled: both
        are 1.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> from spectral_stride import stride_bounds
    >>> lo, hi = stride_bounds(32)
    >>> round(lo, 3), hi
    (1.143, 16.0)
    >>> stride_bounds(32, ramp="inside")
    (1.0, 16.0)
    """
    size = checks.positive_integer("size", size)
    smoothness = checks.smoothness(smoothness)
    checks.one_of("ramp", ramp, checks.RAMPS)
    least, most = cutoff_bounds(size, smoothness, ramp)
    return size / (2 * most), size / (2 * least)


def _support(size: int, stride: float, smoothness: float, ramp: str) -> tuple[int, int]:
    """The largest bin K with m_K > 0, and the output size n that the ramp's rule gives."""
    least, most = cutoff_bounds(size, smoothness, ramp)
    if ramp == "inside":
        # ceil of N/s itself, not of twice the cutoff: one rounding less, so that it is a strided
        # conv's size.
        samples = strided_size(size, min(max(stride, 1.0), size / 2))
        return samples // 2, samples
    cutoff = min(max(size / (2 * stride), least), most)
    last = math.ceil(cutoff + smoothness + 1) - 1  # k < edge = c + R + 1
    if last >= size // 2:
        return size // 2, size
    return last, 2 * last


def _axis_out_size(
    axis: int,
    size: int,
    stride: float,
    smoothness: float,
    ramp: str,
    multiple_of: int,
    asked: int | None,
) -> int:
    """Samples of the output along one axis that is cropped."""
    if size == 1:
        kept, samples = 0, 1
    else:
        kept, samples = _support(size, stride, smoothness, ramp)
    if asked is not None:
        # The published layer has N - 1 samples where an odd N is not cropped: its size is legal.
        least = max(min(2 * kept, size), 1) if ramp == "outside" else samples
        why = f"fewer alias the {kept} bins that stride {stride:g} keeps, more add nothing"
        return checks.out_size(axis, asked, least, size, why, ", or leave out_sizes=None")
    return min(-(-samples // multiple_of) * multiple_of, size)


# Plans repeat while strides move: the cache holds one object per set of sizes.
@lru_cache(maxsize=4096)
def _cached_plan(
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    out_sizes: tuple[int, ...],
    smoothness: float,
    ramp: str,
    norm: str,
    method: str,
) -> Plan:
    return Plan(shape, axes, out_sizes, smoothness, ramp, norm, method)


def make_plan(
    shape: Sequence[int],
    strides: Sequence[float],
    *,
    axes: Sequence[int] | None = None,
    smoothness: float = 4.0,
    ramp: str = "outside",
    norm: str = "forward",
    crop: bool = True,
    multiple_of: int = 1,
    out_sizes: Sequence[int] | None = None,
    method: str = "auto",
) -> Plan:
    """Plan the sizes of a resampling from host numbers alone.

    On an axis of N samples with stride s and cutoff c = N/(2 s), the output has

    * ramp "outside": n = 2 K samples, where K is the last bin below c + R + 1, and N if nothing is
      cropped;
    * ramp "inside": n = ceil(N/s) samples, the size of a strided convolution.

    Parameters
    ----------
    shape : sequence of int
        Shape of the input.
    strides : sequence of float
        One stride per axis, in input samples per output sample. A finite positive stride outside
        `stride_bounds` is clamped to them. An array of any library that can be read on the host
        will do too.
    axes : sequence of int, optional
        The axes to resample; the last ``len(strides)`` by default.
    smoothness : float, optional
        Width R of the soft edge in DFT bins; 0 is a hard crop, whose strides have no gradient.
    ramp : {"outside", "inside"}, optional
        Where the soft edge lies: above the strided Nyquist bin, as published, or below it, so that
        the output has the size of a strided convolution.
    norm : {"forward", "ortho", "backward"}, optional
        As in `numpy.fft`: a constant keeps its value, grows by sqrt(N/n), or by N/n (as published).
    crop : bool, optional
        If False the mask is applied and every size stays.
    multiple_of : int, optional
        Round every output size up to a multiple (at most N): the same signal, sampled more finely.
    out_sizes : sequence of int, optional
        Exact output sizes, from 2 K with ramp "outside" and ceil(N/s) with "inside" (fewer would
        alias) to N; not together with ``multiple_of``.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed; "auto" takes the matmul on short axes and the FFT on long ones.

    Returns
    -------
    Plan
        Frozen, hashable and cached: equal arguments give the same object.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range. The message says what was got, what is allowed, and what
        to write.

    Notes
    -----
    A wider canvas (``multiple_of``, ``out_sizes``, or a plan kept while the strides move) has n//2
    + 1 bins. The mask is evaluated on all of them, so a stride may move inside the canvas; what
    outgrows it is cut at its Nyquist bin. An axis of one sample is left as it is.

    Examples
    --------
    >>> from spectral_stride import make_plan
    >>> make_plan((8, 3, 32, 32), (2.0, 2.0)).out_shape
    (8, 3, 24, 24)
    >>> make_plan((8, 3, 32, 32), (2.0, 2.0), ramp="inside").out_shape
    (8, 3, 16, 16)
    >>> make_plan((8, 3, 32, 32), (2.6, 2.6), ramp="inside", multiple_of=4).out_shape
    (8, 3, 16, 16)
    """
    shape = checks.shape(shape)
    values = host_numbers("strides", strides)
    planned = checks.axes(axes, len(values), len(shape))
    checks.strides(values)
    smoothness = checks.smoothness(smoothness)
    checks.one_of("ramp", ramp, checks.RAMPS)
    checks.one_of("norm", norm, checks.NORMS)
    checks.one_of("method", method, checks.METHODS)
    multiple_of = checks.positive_integer("multiple_of", multiple_of)
    checks.spectral_sizes(shape, planned)
    asked: tuple[int | None, ...] = (None,) * len(planned)
    if out_sizes is not None:
        if not crop:
            checks.out_sizes_uncropped()
        if multiple_of != 1:
            checks.out_sizes_multiple()
        asked = checks.sizes("out_sizes", out_sizes, len(planned))
    sizes = [shape[axis] for axis in planned]
    if crop:
        sizes = [
            _axis_out_size(axis, size, stride, smoothness, ramp, multiple_of, wanted)
            for axis, size, stride, wanted in zip(planned, sizes, values, asked, strict=True)
        ]
    return _cached_plan(shape, planned, tuple(sizes), smoothness, ramp, norm, method)


def pool_plan(
    shape: Sequence[int],
    out_sizes: Sequence[int],
    *,
    axes: Sequence[int] | None = None,
    norm: str = "forward",
    method: str = "auto",
) -> Plan:
    """Plan a hard crop to exactly ``out_sizes`` samples, 1 to N along each axis."""
    wanted = checks.sizes("out_sizes", out_sizes)
    planned = checks.axes(axes, len(wanted), len(shape), "out_sizes", 16)
    shape = spectral_shape(shape, planned)
    checks.one_of("norm", norm, checks.NORMS)
    checks.one_of("method", method, checks.METHODS)
    checks.spectral_sizes(shape, planned)
    sizes = tuple(
        checks.out_size(axis, size, 1, shape[axis], "spectral pooling never enlarges")
        for axis, size in zip(planned, wanted, strict=True)
    )
    return _cached_plan(shape, planned, sizes, 0.0, "inside", norm, method)


def spectral_shape(shape: Sequence[int], planned: Sequence[int]) -> tuple[int, ...]:
    """Return ``shape`` with 1 on every batch axis: all that a plan depends on.

    A compiler that traces this fixes the planned sizes as integers, and leaves the others free.
    """
    return tuple(operator.index(size) if axis in planned else 1 for axis, size in enumerate(shape))


def sized_plan(
    shape: Sequence[int],
    out_sizes: Sequence[int],
    *,
    axes: Sequence[int],
    smoothness: float,
    ramp: str,
    norm: str,
    method: str,
) -> Plan:
    """Plan for output sizes that `make_plan` gave once, whatever the strides are by now.

    Without checks: a compiler traces it, and everything comes from an earlier plan.
    """
    return _cached_plan(tuple(shape), tuple(axes), tuple(out_sizes), smoothness, ramp, norm, method)


def permuted_plan(plan: Plan, order: Sequence[int]) -> Plan:
    """Return the same plan for an array whose axis i is the planned array's axis ``order[i]``."""
    shape = tuple(plan.shape[axis] for axis in order)
    return _moved(plan, shape, tuple(order.index(axis) for axis in plan.axes))


def single_plan(plan: Plan) -> Plan:
    """Return the same plan for one entry on every batch axis: one object for all batches."""
    return _moved(plan, spectral_shape(plan.shape, plan.axes), plan.axes)


def _moved(plan: Plan, shape: tuple[int, ...], axes: tuple[int, ...]) -> Plan:
    return _cached_plan(
        shape, axes, plan.out_sizes, plan.smoothness, plan.ramp, plan.norm, plan.method
    )


def strided_size(size: int, stride: float) -> int:
    """Samples that a strided convolution leaves: ceil(N/s)."""
    return math.ceil(size / stride)


def in_range(strides: Sequence[float]) -> tuple[float, ...]:
    """Bring strides far outside every bound to ones that are still outside and fit any dtype."""
    return tuple(min(max(stride, 2.0**-10), 2.0**40) for stride in strides)


def host_numbers(name: str, values: Any, options: PlanOptions | None = None) -> tuple[float, ...]:
    """Read strides or their tangent, a sequence or an array of any library, as host floats."""
    if not hasattr(values, "shape"):
        return checks.numbers(name, values)
    checks.stride_array(name, tuple(values.shape), values.dtype)
    try:
        if hasattr(values, "compute"):
            values = values.compute()  # a lazy array: once, and not once for each entry
        # One transfer for the whole array where the library offers it; the standard itself has only
        # float().
        if hasattr(values, "tolist"):
            return tuple(float(value) for value in values.tolist())
        return tuple(float(values[position]) for position in range(values.shape[0]))
    except Exception as error:  # every tracer has an error of its own
        checks.traced(name, error, options)
