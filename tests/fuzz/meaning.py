"""What the arguments of a call mean, by a second reading of the pages: a case, or that it is wrong.

Nothing here is shared with the library's own checks. What is read comes out as plain numbers and
words of Python, from which `spectral_stride.testing` computes what is right.
"""

import copy
import math
import operator
from collections.abc import Mapping, Sequence, Set
from fractions import Fraction
from numbers import Real

import numpy as np

from spectral_stride.plan import Plan
from spectral_stride.testing import oracles
from spectral_stride.testing.cases import Case

LARGEST_SIZE = 2**53
TEXT = (str, bytes, bytearray, memoryview)
CHOICES = {
    "ramp": ("inside", "outside"),
    "norm": ("forward", "ortho", "backward"),
    "method": ("auto", "matmul", "fft"),
}
DEFAULTS = {
    "axes": None,
    "smoothness": 4.0,
    "ramp": "inside",
    "norm": "forward",
    "crop": True,
    "multiple_of": 1,
    "out_sizes": None,
    "method": "auto",
    "hard": False,
}


class WrongError(Exception):
    """What a call has to refuse."""


def need(holds):
    """Go on where something holds; what is called is wrong where it does not."""
    if not holds:
        raise WrongError


def dtype_of(array):
    """The name of an array's dtype, without its library's."""
    return str(array.dtype).rpartition(".")[2]


def is_array(value):
    """Whether any array library made it. A table of pandas is no array, but can be read as one."""
    return hasattr(value, "dtype") and isinstance(value.shape, tuple)


def real(value):
    """A number of Python's or NumPy's own."""
    need(isinstance(value, Real) and not isinstance(value, bool | np.bool_))
    try:
        return float(value)
    except OverflowError:
        raise WrongError from None


def stride(value):
    number = real(value)
    need(math.isfinite(number) and number > 0)
    return number


def whole(value, least, most=LARGEST_SIZE):
    """An integer of any library's, and no truth value."""
    need(not isinstance(value, bool | np.bool_))
    need(not is_array(value) or "int" in dtype_of(value))
    try:
        number = operator.index(value)
    except Exception:
        raise WrongError from None
    need(least <= number <= most)
    return number


def entries(value):
    """What has entries in an order of their own. An iterator is left as it was."""
    need(not isinstance(value, (*TEXT, Set, Mapping)))
    try:
        return list(copy.copy(value))
    except Exception:
        raise WrongError from None


def word(name, value):
    need(isinstance(value, str) and any(str.__eq__(value, one) for one in CHOICES[name]))
    return next(one for one in CHOICES[name] if str.__eq__(value, one))


def truth(value):
    need(isinstance(value, bool | np.bool_))
    return bool(value)


def smoothness(value):
    number = real(value)
    need(number == 0 or 1e-6 <= number <= 1e9)
    return number


def numbers(value):
    """A sequence of numbers, or an array of one dimension that can be read on the host."""
    if not is_array(value):
        need(isinstance(value, Sequence) and not isinstance(value, TEXT))
        return tuple(map(real, value))
    need((is_whole(value) and "float" in dtype_of(value)) or "int" in dtype_of(value))
    need(len(value.shape) == 1 and str(getattr(value, "device", "")) != "meta")
    found = value.compute() if hasattr(value, "compute") else value
    found = found.detach() if hasattr(found, "detach") else found
    return tuple(float(found[place]) for place in range(found.shape[0]))


def is_whole(array):
    """Whether every entry of an array is there, in its place."""
    is_masked = isinstance(getattr(array, "_meta", array), np.ma.MaskedArray)
    return not is_masked and str(getattr(array, "layout", "torch.strided")) == "torch.strided"


def positive(values):
    need(all(math.isfinite(one) and one > 0 for one in values))
    return values


def finite(values):
    need(all(map(math.isfinite, values)))
    return values


def shape(value):
    return tuple(whole(one, 0) for one in entries(value))


def axes(value, count, ndim):
    need(1 <= count <= ndim)
    if value is None:
        return tuple(range(ndim - count, ndim))
    found = tuple(whole(one, -ndim, ndim - 1) % ndim for one in entries(value))
    need(len(found) == count == len(set(found)))
    return found


def array(value, types):
    """The shape and dtype of an input array of one of some types."""
    need(isinstance(value, types) and is_array(value) and is_whole(value))
    need(dtype_of(value) in ("float16", "bfloat16", "float32", "float64"))
    return tuple(value.shape), dtype_of(value)


def planned(sizes, strides, options):
    """The case of a call without a plan."""
    known = DEFAULTS | options
    need(known.keys() == DEFAULTS.keys())
    strides = positive(strides)
    where = axes(known["axes"], len(strides), len(sizes))
    need(all(sizes[axis] > 0 for axis in where))
    crop, hard = truth(known["crop"]), truth(known["hard"])
    need(crop or not hard)
    multiple = whole(known["multiple_of"], 1)
    # Of more than all samples each multiple is the same; the oracle counts up to it.
    canvas = {"crop": crop, "multiple_of": min(multiple, max(sizes))}
    words = {name: word(name, known[name]) for name in CHOICES}
    width = smoothness(known["smoothness"])
    if known["out_sizes"] is not None:
        asked = tuple(whole(one, 1) for one in entries(known["out_sizes"]))
        need(crop and multiple == 1 and len(asked) == len(strides))
        for axis, one, n in zip(where, strides, asked, strict=True):
            need(least_size(sizes[axis], one, width, words["ramp"]) <= n <= sizes[axis])
        canvas = {"out_sizes": asked}
    return Case(sizes, where, strides, canvas, smoothness=width, hard=hard, **words)


def least_size(size, one, width, ramp):
    """The fewest samples that alias nothing; outside, the published layer's of an odd axis too."""
    fewest = oracles.out_size(size, one, width, ramp)
    if ramp == "outside" and size > 1:
        fewest = min(fewest, 2 * oracles.last_bin(size, one, width, ramp))
    return max(1, fewest)


def of_plan(plan, sizes, strides):
    """The case of a call with a plan, whose sizes stay where they are."""
    need(isinstance(plan, Plan) and len(plan.shape) == len(sizes))
    need(all(plan.shape[axis] == sizes[axis] for axis in plan.axes))
    need(len(strides) == len(plan.axes))
    canvas = {"out_sizes": plan.out_sizes}
    words = {"ramp": plan.ramp, "norm": plan.norm, "method": plan.method}
    return Case(
        sizes, plan.axes, positive(strides), canvas, plan.smoothness, hard=plan.hard, **words
    )


def resized(sizes, wanted, options, least=None):
    """The case of a call that names its sizes; with ``least`` none may be larger than there are."""
    known = {"axes": None, "norm": "forward", "method": "auto"} | options
    need(len(known) == 3)
    asked = tuple(whole(one, 1) for one in entries(wanted))
    where = axes(known["axes"], len(asked), len(sizes))
    need(all(sizes[axis] > 0 for axis in where))
    need(least is None or all(n <= sizes[axis] for axis, n in zip(where, asked, strict=True)))
    words = {name: word(name, known[name]) for name in ("norm", "method")}
    return Case(sizes, where, (1.0,) * len(asked), {"out_sizes": asked}, **words)


def is_exact(case):
    """Whether rounding cannot move a bin over a corner of the mask, where the slope jumps.

    A short binary fraction is met exactly by every library; elsewhere the mask has to be smooth
    around the stride, as far as float32 may round it.
    """
    return all(
        is_short(one)
        or oracles.is_smooth(size, one, case.smoothness, case.ramp, Fraction(one) / 2**18)
        for size, one in zip(case.sizes, case.strides, strict=True)
    )


def is_short(number):
    """Whether a number is a binary fraction of few digits."""
    fraction = Fraction(number)
    return fraction.denominator <= 2**12 and abs(fraction.numerator) < 2**20
