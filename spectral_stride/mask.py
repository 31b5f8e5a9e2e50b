"""The soft crop mask of an axis: where its ramp lies, its value and its slope on a bin."""

import math
from collections.abc import Callable

from spectral_stride.arrays import Array, array_namespace, device
from spectral_stride.plan import cutoff_bounds


def cutoff(
    stride: Array,
    size: int,
    smoothness: float,
    ramp: str,
    stop: Callable[[Array], Array] | None = None,
) -> Array:
    """Cutoff bin c = N/(2 s), clamped; shape ().

    With ``stop``, by which a library takes an array for a constant, the clamp has slope one in the
    stride to every order: a library that differentiates derivatives then finds those at the bound.
    """
    xp = array_namespace(stride)
    least, most = cutoff_bounds(size, smoothness, ramp)
    free = size / (2 * stride)
    # Not xp.clip: its slope at the bounds differs between libraries, and has to be 1.
    low, high = xp.full_like(free, least), xp.full_like(free, most)
    c = xp.where(free < low, low, xp.where(free > high, high, free))
    if stop is None:
        return c
    c = stop(c)
    moving = size / (2 * (size / (2 * c) + (stride - stop(stride))))
    return c + (moving - stop(moving))  # the value of c to the last bit: corners depend on it


def ramp_span(c: Array, smoothness: float, ramp: str) -> tuple[Array, Array, Array]:
    """Return the ramp's foot, where the mask is still 1, its edge, where it is 0, and its width."""
    xp = array_namespace(c)
    width = xp.full_like(c, smoothness)
    if ramp == "outside":
        return c + 1, c + (smoothness + 1), width
    half = xp.where(c > 2, c / 2, xp.ones_like(c))
    width = xp.where(half <= width, half, width)
    return c + 0.5 - width, c + 0.5, width


def mask_on(bins: Array, c: Array, smoothness: float, ramp: str) -> Array:
    """Mask m_k on the given bins.

    The published u_k = (edge - k)/width is taken as 1 + (foot - k)/width: the same number, but
    exactly 1 on a bin that lies on the foot. Integer strides put bins exactly on either corner, so
    both are decided by comparison and not by the rounding of u.
    """
    xp = array_namespace(c)
    foot, edge, width = ramp_span(c, smoothness, ramp)
    one, zero = xp.ones_like(bins), xp.zeros_like(bins)
    if smoothness == 0:
        return xp.where(bins < edge, one, zero)
    u = 1 + (foot - bins) / width
    # In this order a NaN stride, which no comparison finds, gives a NaN mask and no empty one.
    return xp.where(bins < foot, one, xp.where((bins >= edge) | (u <= 0), zero, u))


def slope_on(bins: Array, c: Array, size: int, smoothness: float, ramp: str) -> Array:
    """Slope dm_k/ds on the given bins: the right derivative in s, at the clamped stride.

    On the ramp, 0 < u_k <= 1, it is dm/dc dc/ds with dc/ds = -N/(2 s^2) = -2 c^2/N and
    dm/dc = (1 - u dwidth/dc)/width; elsewhere it is 0.
    """
    xp = array_namespace(c)
    foot, edge, width = ramp_span(c, smoothness, ramp)
    u = 1 + (foot - bins) / width
    fall = xp.ones_like(u)
    if ramp == "inside":
        # The width follows c/2 only while that lies between 1 and R; seen from larger strides, so
        # closed at R.
        follows = (c > 2) & (c / 2 <= smoothness)
        fall = xp.where(follows, 1 - u / 2, fall)
    on_ramp = (bins >= foot) & (bins < edge)
    return xp.where(on_ramp, fall / width * (-2 / size * c * c), xp.zeros_like(u))


def count_ramp_bins(size: int, last_bin: int, smoothness: float, ramp: str) -> int:
    """Count the bins among 0 .. last_bin that are enough for the ramp of any stride.

    A half-open interval of ``width`` bins holds at most ceil(width) integers, and never DC.
    """
    widest = smoothness if ramp == "outside" else min(smoothness, max(size / 4, 1.0))
    return min(math.ceil(widest), last_bin)


def ramp_bins(c: Array, size: int, last_bin: int, smoothness: float, ramp: str) -> Array:
    """Return the integer bins among 0 .. last_bin that hold the whole ramp.

    Their number is static, so that shapes are; their start follows the cutoff.
    """
    xp = array_namespace(c)
    foot, _, _ = ramp_span(c, smoothness, ramp)
    count = count_ramp_bins(size, last_bin, smoothness, ramp)
    offsets = xp.arange(count, device=device(c))
    # Not xp.clip, which in CuPy waits for the device.
    start, last = xp.ceil(foot), xp.full_like(foot, last_bin + 1 - count)
    start = xp.where(start < last, start, last)
    return offsets + xp.astype(start, offsets.dtype)
