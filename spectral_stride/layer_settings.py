"""The host side of a layer, in whatever framework: numbers alone."""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from spectral_stride import checks
from spectral_stride.plan import host_numbers


def strides_per_axis(value: Any, ndim: int | None) -> tuple[float, ...]:
    """Return one stride per axis; a scalar stands for ``ndim`` equal ones, 2 by default."""
    if isinstance(value, Real) and not isinstance(value, bool):
        count = checks.positive_integer("ndim", 2 if ndim is None else ndim)
        value = (value,) * count
    values = host_numbers("strides", value)
    checks.layer_ndim("strides", len(values), ndim)
    return values


def equal_strides(values: Sequence[float]) -> None:
    """Refuse different strides where all axes share one."""
    if len(set(values)) > 1:
        remedy = f"write strides={values[0]}, or shared=False"
        got = f"{tuple(values)} with shared=True"
        checks.refuse(ValueError, "strides", got, "equal strides", remedy)


def strides_or_sizes(strides: object, out_sizes: object) -> None:
    """Refuse both and neither of what can set a pooling layer's sizes."""
    if (strides is None) == (out_sizes is None):
        got = "neither" if strides is None else "both"
        allowed = "exactly one of strides and out_sizes"
        checks.refuse(ValueError, "strides", got, allowed, "write SpectralPool(strides=2.0)")


def roundest_stride(stride: float, most: float, fits: Callable[[float], bool]) -> float:
    """Return the number with the fewest binary digits in the interval around ``stride`` that fits.

    It names the interval: every stride in it leads to the same number, because of two neighbouring
    multiples of a step one is a multiple of twice the step. No stride may be above ``most``.
    """
    step = 2.0 ** math.ceil(math.log2(most))
    while True:
        for count in (math.floor(stride / step), math.ceil(stride / step)):
            if count > 0 and fits(count * step):
                return count * step
        step /= 2
