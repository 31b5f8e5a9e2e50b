"""What a result loses to rounding, by dtype and method, as an axis grows.

    python -m benchmarks.rounding

The truth is the operator's definition bin by bin, with exact masks and in extended precision.
Inputs are random and stand for themselves: that they were rounded before is not counted. The
stride is 2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import spectral_stride as ss
import spectral_stride.torch as ss_torch
from spectral_stride.testing import oracles

Array = NDArray[Any]

SIZES = (8, 32, 128, 512, 2048, 4096)
ROWS, STRIDE, SMOOTHNESS = 16, 2.0, 4.0
FULL, HALF = ("float64", "float32"), ("float16", "bfloat16")
NUMPY, TORCH = "NumPy", "PyTorch"
EXTENDED = np.longdouble
PI = EXTENDED("3.14159265358979323846264338327950288")


@dataclass(frozen=True)
class Errors:
    """What rounding took, in units of the dtype's eps.

    Attributes
    ----------
    output, input_gradient : float
        Root mean square of the error over that of the exact values.
    stride_gradient : float
        The error over the root of the sum of the squares of the terms that make the gradient, one
        for each row and bin.
    """

    output: float
    input_gradient: float
    stride_gradient: float


def has_extended() -> bool:
    """Whether this machine has floats that are wider than float64: without them none is judged."""
    return bool(np.finfo(EXTENDED).eps < np.finfo(np.float64).eps / 1000)


def _waves(size: int, bins: int) -> Array:
    """Return exp(2 pi i k j/N) for each bin and sample, each angle from a whole number of steps."""
    circle = np.exp(2j * PI * np.arange(size, dtype=EXTENDED) / size)
    return circle[np.outer(np.arange(bins), np.arange(size)) % size]


def exact(x: Array, g: Array) -> tuple[Array, Array, Array]:
    """Return the output, the gradient of the input, and the terms of that of the stride.

    With X and G the spectra of the input and of the output's gradient, and w_k the weight of a
    bin, the output has the spectrum w_k m_k X_k, the input's gradient w_k m_k G_k, and the terms
    are w_k m'_k Re(X_k conj(G_k))/N.
    """
    size, out_size = x.shape[-1], g.shape[-1]
    bins = min(size, out_size) // 2 + 1
    levels, slopes = (
        np.array([EXTENDED(k.numerator) / EXTENDED(k.denominator) for k in of_bins[:bins]])
        for of_bins in (
            oracles.mask(size, STRIDE, SMOOTHNESS, "inside"),
            oracles.mask_slope(size, STRIDE, SMOOTHNESS, "inside"),
        )
    )
    weights = np.full(bins, EXTENDED(2))
    weights[0] = 1
    if 2 * (bins - 1) == min(size, out_size):
        weights[-1] = 1
    of_x, of_y = _waves(size, bins), _waves(out_size, bins)
    X, G = x.astype(EXTENDED) @ of_x.conj().T, g.astype(EXTENDED) @ of_y.conj().T
    y = ((weights * levels * X) @ of_y).real / size
    dx = ((weights * levels * G) @ of_x).real / size
    return y, dx, weights * slopes * (X * G.conj()).real / size


def measure(library: str, dtype: str, method: str, size: int) -> Errors:
    """Compare one call and its gradients with the exact values."""
    random = np.random.default_rng(size)
    out_size = ss.make_plan((ROWS, size), (STRIDE,)).out_shape[-1]
    kind = getattr(torch, dtype)
    x, g = (torch.from_numpy(random.normal(size=(ROWS, n))).to(kind) for n in (size, out_size))
    wide = torch.float64 if dtype == "float64" else torch.float32
    strides = torch.tensor([STRIDE], dtype=wide)
    if library == NUMPY:
        y, pullback = ss.vjp(x.numpy(), strides.numpy(), method=method)
        dx, ds = pullback(g.numpy())
        got = [np.asarray(one, EXTENDED) for one in (y, dx, ds)]
    else:
        output = ss_torch.diffstride(x.requires_grad_(), strides.requires_grad_(), method=method)
        output.backward(g)
        found = output.detach(), x.grad, strides.grad
        got = [one.double().numpy().astype(EXTENDED) for one in found if one is not None]
    y, dx, terms = exact(*(one.detach().double().numpy() for one in (x, g)))
    off = got[2][0] - terms.sum()
    lost = (
        _norm(got[0] - y) / _norm(y),
        _norm(got[1] - dx) / _norm(dx),
        abs(float(off)) / _norm(terms),
    )
    return Errors(*(one / torch.finfo(kind).eps for one in lost))


def _norm(values: Array) -> float:
    """Return the root of the sum of squares."""
    return float(np.sqrt(np.sum(values**2)))


def cases() -> list[tuple[str, str, str]]:
    """Return every library, dtype and method that goes together."""
    full = [(library, dtype) for library in (NUMPY, TORCH) for dtype in FULL]
    # No library has an FFT of 16 bits on a CPU.
    half = [(TORCH, dtype, "matmul") for dtype in HALF]
    return half + [(*case, method) for method in ("matmul", "fft") for case in full]


def lines(sizes: Sequence[int] = SIZES) -> Iterator[str]:
    """Make the lines of the table, in Markdown."""
    yield f"| library | dtype | method | what | {' | '.join(map(str, sizes))} |"
    yield "|---" * (4 + len(sizes)) + "|"
    for case in cases():
        found = [measure(*case, size) for size in sizes]
        for what in ("output", "input_gradient", "stride_gradient"):
            values = " | ".join(f"{getattr(one, what):.2f}" for one in found)
            yield f"| {' | '.join(case)} | {what.replace('_', ' ')} | {values} |"


if __name__ == "__main__":
    if not has_extended():
        raise SystemExit("got no floats wider than float64; allowed: a machine that has them, x86")
    for line in lines():
        print(line, flush=True)
