"""Sizes before arrays: which spectral axes are resampled, and onto how many points.

Everything here is host integers and floats. A plan names sizes and never a stride, so that strides
may move at every step (traced, compiled or learned) while the plan, and with it every shape, stands
still.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, TypedDict

from spectral_stride import checks
from spectral_stride.arrays import check_every_entry, names_arrays

# Largest axis on which "auto" takes the matmul form. Forward and backward with both gradients, in
# float32 on 2 CPU cores under PyTorch, its time over the FFT's was, of 65536 rows, 0.49 at 64
# samples, 0.44 at 128, 0.51 at 256, 0.71 at 512; of 1024 rows, where both take about a millisecond,
# 0.68, 0.81, 1.27, 2.17. The table is in benchmarks/README.md.
LONGEST_MATMUL = 256
# How far from a whole number is still that number: this part of it, and at most so many samples or
# bins. A stride in float32 is off by up to 2^-24 of itself. The second bound is for long axes, on
# which a third of a sample is less than that part.
ROUNDING, LARGEST_ROUNDING = 2.0**-23, 2.0**-6

# Strides between which every bound lies, and which any dtype from float32 on has.
SMALLEST, LARGEST = 2.0**-10, 2.0**40


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
    hard: bool


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
    hard : bool
        As given to `make_plan`.
    sizes : tuple of int
        Samples of the input along each of ``axes``.
    methods : tuple of str
        The form that each axis is computed in: "matmul" or "fft".
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    out_sizes: tuple[int, ...]
    smoothness: float
    ramp: str
    norm: str
    method: str
    hard: bool
    sizes: tuple[int, ...] = field(repr=False, compare=False)
    methods: tuple[str, ...] = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what the plan was made of; loaded, it is the object that the cache has."""
        own = (self.shape, self.axes, self.out_sizes)
        how = (self.smoothness, self.ramp, self.norm, self.method, self.hard)
        return sized_plan, (*own, *how)

    def __setstate__(self, state: Sequence[Any]) -> None:
        """Load a pickle of before, which has no sizes and methods."""
        plan = sized_plan(*state[:7])
        for one in fields(plan):
            object.__setattr__(self, one.name, getattr(plan, one.name))

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output for an input of shape ``shape``."""
        return self.resampled(self.shape)

    def resampled(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output for an input of this one, whose batch sizes may be others."""
        sizes = list(shape)
        for axis, size in zip(self.axes, self.out_sizes, strict=True):
            sizes[axis] = size
        return tuple(sizes)


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


def stride_range(size: int, smoothness: float, ramp: str) -> tuple[float, float]:
    """Smallest and largest effective stride: `spectral_stride.stride_bounds`, unchecked."""
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
    edge = cutoff + smoothness + 1
    last = ceil_unless_rounded(edge, cutoff) - 1  # k < edge
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
def sized_plan(
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    out_sizes: tuple[int, ...],
    smoothness: float,
    ramp: str,
    norm: str,
    method: str,
    hard: bool = False,  # as in pickles of before
) -> Plan:
    """Plan for output sizes that are known, whatever the strides are by now. Nothing is checked."""
    sizes = tuple([shape[axis] for axis in axes])
    methods = (method,) * len(axes)
    if method == "auto":
        longest = map(max, sizes, out_sizes)
        methods = tuple(["matmul" if size <= LONGEST_MATMUL else "fft" for size in longest])
    return Plan(shape, axes, out_sizes, smoothness, ramp, norm, method, hard, sizes, methods)


# The same without the cache, for what a compiler traces: it warns of each cache that it sees.
new_plan = sized_plan.__wrapped__


def planned_sizes(
    shape: Sequence[int],
    axes: Sequence[int],
    strides: Sequence[float],
    *,
    smoothness: float,
    ramp: str,
    crop: bool,
    multiple_of: int,
    asked: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Samples that strides leave along each of ``axes``; of what is given only sizes are checked.

    Sizes that are ``asked`` for are refused where they are too few or too many.
    """
    if not crop:
        return tuple([shape[axis] for axis in axes])
    wanted: Sequence[int | None] = [None] * len(axes) if asked is None else asked
    return tuple(
        [
            _axis_out_size(axis, shape[axis], stride, smoothness, ramp, multiple_of, one)
            for axis, stride, one in zip(axes, strides, wanted, strict=True)
        ]
    )


def replanned(plan: Plan, *, shape: Sequence[int], axes: Sequence[int] | None = None) -> Plan:
    """Return the same plan for an array of another shape, or with its axes in another order."""
    return sized_plan(
        tuple(shape),
        plan.axes if axes is None else tuple(axes),
        plan.out_sizes,
        plan.smoothness,
        plan.ramp,
        plan.norm,
        plan.method,
        plan.hard,
    )


@lru_cache(maxsize=4096)
def for_any_batch(plan: Plan) -> Plan:
    """Return the same plan for one entry on every batch axis: one object for all batches."""
    return replanned(plan, shape=with_batch_of_one(plan.shape, plan.axes))


def with_batch_of_one(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """Set every size to 1 but those of ``axes``: all batch sizes then share one plan.

    A compiler that traces this fixes the sizes of ``axes`` as integers, and leaves the others free.
    """
    return tuple([operator.index(size) if axis in axes else 1 for axis, size in enumerate(shape)])


def strided_size(size: int, stride: float) -> int:
    """Samples that a strided convolution leaves: ceil(N/s), with N/s whole up to rounding."""
    return ceil_unless_rounded(size / stride, size / stride)


def ceil_unless_rounded(value: float, rounded: float) -> int:
    """Round up, but take a number within float32's error of a whole one as that one.

    ``rounded`` is the part of the number that has that error. 14 samples at a stride of 1.4 are 10,
    though 1.4 in float32 is 1.39999998.
    """
    nearest = round(value)
    if abs(value - nearest) <= min(ROUNDING * rounded, LARGEST_ROUNDING):
        return nearest
    return math.ceil(value)


def in_range(strides: Sequence[float]) -> tuple[float, ...]:
    """Bring strides far outside every bound to ones that are still outside and fit any dtype."""
    return tuple(min(max(stride, SMALLEST), LARGEST) for stride in strides)


def host_numbers(name: str, values: Any, options: PlanOptions | None = None) -> tuple[float, ...]:
    """Read strides or their tangent, a sequence or an array of any library, as host floats."""
    if not hasattr(values, "dtype") or names_arrays(values):
        return checks.numbers(name, values)
    check_every_entry(name, values)
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
        checks.unreadable_strides(name, error, options)
