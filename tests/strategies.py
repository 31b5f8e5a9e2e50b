"""What the properties are drawn over: shapes, axes, strides on and off the corners, all options."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import oracles

SIZES = {
    1: [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 23, 31, 32, 33, 48, 64],
    2: [1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17],
    3: [1, 2, 3, 4, 5, 8],
}
# A compiler starts anew on every size, so that it sees few.
COMPILED_SIZES = [1, 2, 5, 8]
SMOOTHNESSES = [4.0, 0.0, 1.0, 2.0, 0.5, 1.25, 2.75, 6.0, 30.0]


@dataclass(frozen=True)
class Case:
    """One call, as plain numbers."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    strides: tuple[float, ...]
    canvas: dict
    smoothness: float = 4.0
    ramp: str = "outside"
    norm: str = "forward"
    method: str = "auto"
    dtype: str = "float64"
    seed: int = 0

    @property
    def options(self):
        """Keyword arguments of `spectral_stride.make_plan`."""
        return {
            "axes": self.axes,
            "smoothness": self.smoothness,
            "ramp": self.ramp,
            "norm": self.norm,
            "method": self.method,
            **self.canvas,
        }

    @property
    def sizes(self):
        """Input samples along each spectral axis."""
        return tuple(self.shape[axis] for axis in self.axes)

    @property
    def out_sizes(self):
        """Output samples along each spectral axis, from the oracle."""
        canvas = dict(self.canvas)
        return canvas.pop("out_sizes", None) or tuple(
            oracles.out_size(size, stride, self.smoothness, self.ramp, **canvas)
            for size, stride in zip(self.sizes, self.strides, strict=True)
        )

    @property
    def out_shape(self):
        """Shape of the output, from the oracle."""
        shape = list(self.shape)
        for axis, n in zip(self.axes, self.out_sizes, strict=True):
            shape[axis] = n
        return tuple(shape)

    def values(self, shape, salt=0):
        """Random numbers that the case's dtype holds exactly, in float64."""
        rng = np.random.default_rng([self.seed, salt])
        values = 0.25 + rng.uniform(-1, 1, size=shape)
        return values.astype("float32").astype("float64") if self.dtype == "float32" else values

    def array(self, xp, values):
        """Values as an array of the case's dtype."""
        return xp.asarray(values, self.dtype)

    def strides_for(self, xp):
        """The strides, in some cases as a tuple and in others as an array."""
        return self.array(xp, self.strides) if self.seed % 2 else self.strides

    def matrices(self, strides=None):
        """Per axis the matrix A, and per axis its right derivative in the stride."""
        rule = self.smoothness, self.ramp, self.norm
        pairs = [
            oracles.axis_matrices(size, n, stride, *rule)
            for size, n, stride in zip(
                self.sizes, self.out_sizes, strides or self.strides, strict=True
            )
        ]
        return tuple(zip(*pairs, strict=True))

    def atol(self):
        """Rounding of sums of N random terms of order 1. A wrong bin weighs about 2/sqrt(N)."""
        pairs = zip(self.sizes, self.out_sizes, strict=True)
        amplitude = np.prod([oracles.gain(size, n, self.norm) for size, n in pairs])
        return 8 * np.finfo(self.dtype).eps * np.sqrt(np.prod(self.sizes)) * amplitude

    def stride_atol(self, x, g, strides=None):
        """Rounding of the stride gradients: that of the sums of their terms' magnitudes."""
        A, slopes = ([np.abs(matrix) for matrix in found] for found in self.matrices(strides))
        terms = oracles.stride_gradient(A, slopes, np.abs(x), np.abs(g), self.axes)
        return 16 * np.finfo(self.dtype).eps * (terms.max() + np.finfo(self.dtype).tiny)


def on_grid(numerator, denominator):
    """The quotient, if float32 holds it exactly: only then a corner is met exactly."""
    quotient = Fraction(numerator) / Fraction(denominator)
    return [float(quotient)] if Fraction(float(np.float32(quotient))) == quotient else []


def corner_strides(size, smoothness, ramp):
    """Strides that put a corner of the mask on a bin, and the kinks of the inside ramp's width."""
    cutoffs = [Fraction(twice, 2) for twice in range(2, size + 1)]
    cutoffs += [k - Fraction(smoothness) - 1 for k in range(1, size // 2 + 2)]
    cutoffs += [2 * Fraction(smoothness), Fraction(2)] if ramp == "inside" else []
    legal = {c for c in cutoffs if 1 <= c <= Fraction(size, 2)}
    return [stride for c in sorted(legal, reverse=True) for stride in on_grid(size, 2 * c)]


def strides_on(size, smoothness, ramp):
    """Strides on one axis: integers, fractions, corners, both bounds, and what lies outside them.

    All are short binary fractions (the lower bound is one in float32), so that the oracle's exact
    arithmetic and the library's rounded one agree on which side of a corner a bin lies.
    """
    kinds = [
        st.integers(1, size).map(float),
        st.integers(4, 16 * size + 16).map(lambda sixteenths: sixteenths / 16),
    ]
    if size > 1:
        low, high = oracles.bounds(size, smoothness, ramp)
        kinds += [
            st.sampled_from([float(np.float32(low)), float(high)]),
            st.sampled_from([0.0625, 0.75, float(high) + 0.125, 8.0 * size]),
            st.sampled_from(corner_strides(size, smoothness, ramp)),
        ]
    return st.one_of(kinds)


def generic_strides_on(size, smoothness, ramp):
    """Strides within their bounds, and hardly ever near a corner."""
    if size == 1:
        return st.just(1.3)
    low, high = (float(bound) for bound in oracles.bounds(size, smoothness, ramp))
    assume(high - low > 0.01)
    return st.floats(low, high, width=64).map(lambda stride: float(np.float32(stride)))


@st.composite
def shapes(draw, xp, max_axes=3):
    """A shape, and the positions of 1 to ``max_axes`` spectral axes anywhere in it."""
    if xp.is_compiling:
        sizes = draw(st.lists(st.sampled_from(COMPILED_SIZES), min_size=1, max_size=2))[:max_axes]
        batch = draw(st.sampled_from([(2,), (), (3, 0)]))
    else:
        count = draw(st.integers(1, max_axes))
        sizes = [draw(st.sampled_from(SIZES[count])) for _ in range(count)]
        batch = draw(st.lists(st.sampled_from([2, 1, 3, 2, 1, 3, 0]), max_size=2))
    positions = draw(st.permutations(range(len(sizes) + len(batch))))
    shape = [0] * len(positions)
    for position, size in zip(positions, [*sizes, *batch], strict=True):
        shape[position] = size
    return tuple(shape), tuple(positions[: len(sizes)])


@st.composite
def canvases(draw, sizes, strides, smoothness, ramp):
    """Arguments that decide the output sizes: none, crop, multiple_of or out_sizes."""
    kind = draw(st.sampled_from(["tight", "whole", "multiple", "sizes"]))
    if kind == "whole":
        return {"crop": False}
    if kind == "multiple":
        return {"multiple_of": draw(st.integers(2, 7))}
    if kind == "sizes":
        least = [
            max(1, min(size, 2 * oracles.last_bin(size, stride, smoothness, ramp)))
            for size, stride in zip(sizes, strides, strict=True)
        ]
        pairs = zip(least, sizes, strict=True)
        return {"out_sizes": tuple(draw(st.integers(low, high)) for low, high in pairs)}
    return {}


@st.composite
def cases(draw, xp, *, max_axes=3, strides=strides_on, canvas=canvases, **fixed):
    """A call with everything drawn that is not ``fixed``."""
    shape, axes = draw(shapes(xp, max_axes))
    smoothness = fixed.pop("smoothness", None)
    if smoothness is None:
        smoothness = draw(st.sampled_from(SMOOTHNESSES))
    ramp = draw(st.sampled_from(["outside", "inside"]))
    sizes = [shape[axis] for axis in axes]
    chosen = tuple(draw(strides(size, smoothness, ramp)) for size in sizes)
    options = {
        "norm": draw(st.sampled_from(["forward", "ortho", "backward"])),
        "method": draw(st.sampled_from(["matmul", "fft", "auto"])),
        "dtype": draw(st.sampled_from(["float64", "float32"])),
        "seed": draw(st.integers(0, 2**16)),
    }
    return Case(
        shape=shape,
        axes=axes,
        strides=chosen,
        canvas=draw(canvas(sizes, chosen, smoothness, ramp)),
        smoothness=smoothness,
        ramp=ramp,
        **(options | fixed),
    )


def for_all(strategy=cases, *, share=1.0, **arguments):
    """Run a test ``test(xp, case)`` on every backend, on drawn cases.

    NumPy sees as many examples as the profile says (times ``share``), slower libraries see fewer.
    """

    def decorate(test):
        def run(xp):
            def check(case):
                test(xp, case)

            check.__name__ = f"{test.__name__}_{xp.name.lower()}"
            part = {"NUMPY": 1, "TORCH": 0.5, "STRICT": 0.4}.get(xp.name, 0.1)
            count = max(2, round(settings().max_examples * share * part))
            settings(max_examples=count)(given(strategy(xp, **arguments))(check))()

        run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
        return run

    return decorate
