"""The truth, slowly: the operator's definition in exact fractions and dense float64 matrices.

Nothing here is shared with the library. Strides, masks and sizes are rational numbers, so that a
bin on a corner of the mask lies on it exactly. Matrices are sums over bins, one bin after another.
"""

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What a stride or a level of the mask may be written as, and float64 arrays of any rank.
Number = float | Fraction
Matrix = NDArray[Any]

# Step of the one-sided difference of the mask. Fractions do not round: it may be this small.
STEP = Fraction(1, 2**80)


def bounds(size: int, smoothness: Number, ramp: str) -> tuple[Fraction, Fraction]:
    """Smallest and largest effective stride on an axis of two samples or more, exactly."""
    high = Fraction(size, 2)
    if ramp == "inside":
        return Fraction(1), high
    rest = size - Fraction(smoothness)
    return (size / rest if rest >= 2 else high), high


def effective_stride(size: int, stride: Number, smoothness: Number, ramp: str) -> Fraction:
    """The stride, clipped to its bounds."""
    low, high = bounds(size, smoothness, ramp)
    return min(max(Fraction(stride), low), high)


def mask_bin(k: int, size: int, effective: Fraction, smoothness: Number, ramp: str) -> Fraction:
    """m_k = clip((edge - k)/width, 0, 1), or 1 below the edge where the width is 0."""
    return mask_piece(k, size, effective, smoothness, ramp)[0]


def mask_piece(
    k: int, size: int, effective: Fraction, smoothness: Number, ramp: str
) -> tuple[Fraction, str]:
    """The mask on one bin, and the name of the smooth piece of its formula that gives it."""
    cutoff = size / (2 * effective)
    asked = Fraction(smoothness)
    edge, width, shape = cutoff + asked + 1, asked, "as wide as asked"
    if ramp == "inside":
        half = max(cutoff / 2, Fraction(1))
        edge, width = cutoff + Fraction(1, 2), min(asked, half)
        if half < asked:
            shape = "half the cutoff" if half > 1 else "one bin"
    if width == 0:
        return Fraction(int(k < edge)), "hard"
    u = (edge - k) / width
    if not 0 < u < 1:
        return Fraction(int(u >= 1)), "corner" if u in (0, 1) else "flat"
    return u, shape


def mask(size: int, stride: Number, smoothness: Number, ramp: str) -> list[Fraction]:
    """The mask on bins 0 .. N//2, as a list of fractions."""
    if size == 1:
        return [Fraction(1)]
    effective = effective_stride(size, stride, smoothness, ramp)
    return [mask_bin(k, size, effective, smoothness, ramp) for k in range(size // 2 + 1)]


def mask_slope(size: int, stride: Number, smoothness: Number, ramp: str) -> list[Fraction]:
    """The right derivative of the mask in the stride, at the clipped stride: straight through."""
    if size == 1 or smoothness == 0:
        return [Fraction(0)] * (size // 2 + 1)
    here = effective_stride(size, stride, smoothness, ramp)
    return [
        (
            mask_bin(k, size, here + STEP, smoothness, ramp)
            - mask_bin(k, size, here, smoothness, ramp)
        )
        / STEP
        for k in range(size // 2 + 1)
    ]


def is_smooth(size: int, stride: Number, smoothness: Number, ramp: str, reach: Number) -> bool:
    """Whether the mask neither bends nor stops to follow the stride within ``reach`` of it."""
    if size == 1:
        return True
    stride, reach = Fraction(stride), Fraction(reach)
    low, high = bounds(size, smoothness, ramp)
    if not low <= stride - reach < stride + reach <= high:
        return False
    left, right = (
        [mask_piece(k, size, at, smoothness, ramp) for k in range(size // 2 + 1)]
        for at in (stride - reach, stride + reach)
    )
    return all(
        before[1] == after[1] and (before[1] not in ("flat", "hard") or before == after)
        for before, after in zip(left, right, strict=True)
    )


def last_bin(size: int, stride: Number, smoothness: Number, ramp: str) -> int:
    """K, the largest bin that the mask does not stop."""
    if size == 1:
        return 0
    effective = effective_stride(size, stride, smoothness, ramp)
    # The mask never rises, so that bisection serves axes of any length.
    return (
        bisect_left(
            range(size // 2 + 1),
            1,
            key=lambda k: int(mask_bin(k, size, effective, smoothness, ramp) <= 0),
        )
        - 1
    )


def round_up(exact: Fraction, scale: Fraction) -> int:
    """The next whole number, or that one which is nearer than what float32 resolves at ``scale``.

    That is 2^-23 of it, and never more than 1/64.
    """
    below = exact.numerator // exact.denominator
    off = min(scale / 2**23, Fraction(1, 64))
    return below + (exact - below > off)


def out_size(
    size: int,
    stride: Number,
    smoothness: Number,
    ramp: str,
    *,
    crop: bool = True,
    multiple_of: int = 1,
) -> int:
    """Output samples n along one axis."""
    if size == 1 or not crop:
        return size
    quotient = size / effective_stride(size, stride, smoothness, ramp)
    if ramp == "inside":
        samples = round_up(quotient, quotient)
    else:
        # The bins below the edge of the mask.
        kept = round_up(quotient / 2 + Fraction(smoothness) + 1, quotient / 2) - 1
        samples = size if kept >= size // 2 else 2 * kept
    while samples % multiple_of:
        samples += 1
    return min(samples, size)


def gain(size: int, n: int, norm: str) -> float:
    """What a constant is multiplied by."""
    gains: dict[str, float] = {
        "forward": 1.0,
        "ortho": (size / n) ** 0.5,
        "backward": size / n,
    }
    return gains[norm]


def spectral_matrix(size: int, n: int, levels: Sequence[Number], norm: str) -> Matrix:
    """A[j, i] = gain/N sum_k w_k m_k cos(2 pi k (j/n - i/N)), over bins 0 .. min(N, n)//2."""
    A = np.zeros((n, size))
    j, i = np.arange(n)[:, None], np.arange(size)[None, :]
    for k in range(min(size, n) // 2 + 1):
        weight = 1 if k == 0 or 2 * k == min(size, n) else 2
        turns = k * (j * size - i * n) % (n * size)
        A += weight * float(levels[k]) * np.cos(2 * np.pi * turns / (n * size))
    return A * (gain(size, n, norm) / size)


@lru_cache(maxsize=1024)
def axis_matrices(
    size: int, n: int, stride: Number, smoothness: Number, ramp: str, norm: str, hard: bool = False
) -> tuple[Matrix, Matrix]:
    """A of one axis, and its right derivative in the stride; both of shape (n, N), read-only.

    Of a hard crop, A with the level 1 on every bin, and the derivative of the soft one.
    """
    if size == 1:
        A, slope = np.ones((1, 1)), np.zeros((1, 1))
    else:
        A, slope = (
            spectral_matrix(size, n, levels(size, stride, smoothness, ramp), norm)
            for levels in (mask, mask_slope)
        )
        if hard:
            A = spectral_matrix(size, n, [1] * (n // 2 + 1), norm)
    A.setflags(write=False)
    slope.setflags(write=False)
    return A, slope


@lru_cache(maxsize=1024)
def resize_matrix(size: int, n: int, norm: str) -> Matrix:
    """A of one axis without a mask, onto fewer samples or more; of shape (n, N), read-only."""
    A = spectral_matrix(size, n, [1] * (min(size, n) // 2 + 1), norm)
    A.setflags(write=False)
    return A


def last_bin_of(x: Matrix, axis: int) -> Matrix:
    """What bin N/2 adds to the samples of an axis; nothing for an odd N."""
    size = x.shape[axis]
    if size % 2:
        return np.zeros_like(x)
    shape = [1] * x.ndim
    shape[axis] = size
    signs = (-1.0) ** np.arange(size).reshape(shape)
    return np.asarray(signs * np.mean(signs * x, axis=axis, keepdims=True))


def apply(matrices: Sequence[Matrix], x: Matrix, axes: Sequence[int]) -> Matrix:
    """Multiply ``x`` by one matrix along each of the axes."""
    for A, axis in zip(matrices, axes, strict=True):
        x = np.moveaxis(np.tensordot(A, x, axes=(1, axis)), 0, axis)
    return x


def apply_slope(
    matrices: Sequence[Matrix],
    slopes: Sequence[Matrix],
    position: int,
    x: Matrix,
    axes: Sequence[int],
) -> Matrix:
    """The derivative of `apply` in the stride of one axis."""
    mixed = [*matrices[:position], slopes[position], *matrices[position + 1 :]]
    return apply(mixed, x, axes)


def stride_gradient(
    matrices: Sequence[Matrix],
    slopes: Sequence[Matrix],
    x: Matrix,
    g: Matrix,
    axes: Sequence[int],
) -> Matrix:
    """The gradient of <g, A(s) x> in the strides, one number per axis."""
    return np.array(
        [
            np.sum(g * apply_slope(matrices, slopes, position, x, axes))
            for position in range(len(axes))
        ]
    )


def stride_tangent(
    matrices: Sequence[Matrix],
    slopes: Sequence[Matrix],
    x: Matrix,
    ds: Matrix,
    axes: Sequence[int],
) -> Matrix:
    """The derivative of A(s) x along ``ds``."""
    parts = [
        ds[position] * apply_slope(matrices, slopes, position, x, axes)
        for position in range(len(axes))
    ]
    return np.asarray(np.sum(parts, axis=0))


def polynomial(x: Matrix, levels: Sequence[Number], n: int) -> Matrix:
    """The trigonometric polynomial with spectrum m X at n equal steps along the last axis."""
    size = x.shape[-1]
    values = np.zeros((*x.shape[:-1], n))
    for k in range(size // 2 + 1):
        bin_k = np.sum(x * np.exp(-2j * np.pi * (k * np.arange(size) % size) / size), axis=-1)
        weight = 1 if k == 0 or 2 * k == size else 2
        waves = bin_k[..., None] * np.exp(2j * np.pi * (k * np.arange(n) % n) / n)
        values += weight * float(levels[k]) * waves.real / size
    return values


def moved(strides: Sequence[Number], position: int, step: float) -> tuple[float, ...]:
    """The strides with one of them moved by ``step``."""
    return tuple(s + step * (place == position) for place, s in enumerate(strides))
