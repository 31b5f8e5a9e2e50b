"""What the properties are drawn over: shapes, axes, strides on and off the corners, all options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from spectral_stride.functional import make_plan
from spectral_stride.testing import oracles
from spectral_stride.testing.oracles import Matrix, Number

SIZES = {
    1: [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 23, 31, 32, 33, 48, 64, 100, 301],
    2: [1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17],
    3: [1, 2, 3, 4, 5, 8],
}
# A compiler starts anew on every size, so that it sees few.
FEW_SIZES = [1, 2, 5, 8, 24]
METHODS = ("matmul", "fft", "auto")
LAYOUTS = ["contiguous", "transposed", "strided", "broadcast"]
SMOOTHNESSES = [4.0, 0.0, 1.0, 2.0, 0.5, 1.25, 2.75, 6.0, 30.0]


@dataclass(frozen=True)
class Case:
    """One call, as plain numbers.

    Attributes
    ----------
    shape, axes, strides, smoothness, ramp, norm, method
        As `spectral_stride.diffstride` takes them.
    canvas : dict
        What else decides output sizes: crop, multiple_of or out_sizes, or nothing.
    planned : tuple of float or None
        The strides that the plan was made for, where sizes are held while strides have moved on.
    dtype : str
        "float64" or "float32".
    seed : int
        Of the values of all arrays.
    layout : str
        How arrays lie in memory: "contiguous" in the order of their axes, "transposed" in the
        reverse order, "strided" with a gap after each entry, or "broadcast" with one entry for all
        where they are constant along an axis, as they are then along those that are not spectral.
    hard : bool
        As `spectral_stride.diffstride` takes it. Where it is False it is not among the options.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    strides: tuple[float, ...]
    canvas: Mapping[str, Any] = field(default_factory=dict)
    smoothness: float = 4.0
    ramp: str = "inside"
    norm: str = "forward"
    method: str = "auto"
    dtype: str = "float64"
    seed: int = 0
    planned: tuple[float, ...] | None = None
    layout: str = "contiguous"
    hard: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of the call: those of `make_plan`, or a plan where sizes are held."""
        options = {
            "axes": self.axes,
            "smoothness": self.smoothness,
            "ramp": self.ramp,
            "norm": self.norm,
            "method": self.method,
            **({"hard": True} if self.hard else {}),
            **self.canvas,
        }
        if self.planned is None:
            return options
        return {"plan": make_plan(self.shape, self.planned, **options)}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Input samples along each spectral axis."""
        return tuple(self.shape[axis] for axis in self.axes)

    @property
    def out_sizes(self) -> tuple[int, ...]:
        """Output samples along each spectral axis, from the oracle."""
        canvas = dict(self.canvas)
        asked: tuple[int, ...] | None = canvas.pop("out_sizes", None)
        return asked or tuple(
            oracles.out_size(size, stride, self.smoothness, self.ramp, **canvas)
            for size, stride in zip(self.sizes, self.planned or self.strides, strict=True)
        )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output, from the oracle."""
        shape = list(self.shape)
        for axis, n in zip(self.axes, self.out_sizes, strict=True):
            shape[axis] = n
        return tuple(shape)

    def values(self, shape: tuple[int, ...], salt: int = 0) -> Matrix:
        """Random numbers that the case's dtype holds exactly, in float64."""
        rng = np.random.default_rng([self.seed, salt])
        drawn = list(shape)
        if self.layout == "broadcast":
            drawn = [n if axis in self.axes else min(n, 1) for axis, n in enumerate(shape)]
        values = 0.25 + rng.uniform(-1, 1, size=drawn)
        values = values.astype(self.dtype).astype("float64")
        return np.broadcast_to(values, shape).copy()

    def laid_out(self, values: Any) -> Matrix:
        """The values in the case's dtype and layout, as a NumPy array."""
        array = np.array(values, self.dtype, order="C")
        if self.layout == "transposed":
            return np.asfortranarray(array)
        if self.layout == "strided":
            gaps = np.full((*array.shape, 2), np.nan, self.dtype)  # who reads a gap gives it away
            gaps[..., 0] = array
            return gaps[..., 0]
        if self.layout == "broadcast":
            firsts = [array[(slice(None),) * axis + (slice(1),)] for axis in range(array.ndim)]
            pairs = zip(array.strides, firsts, strict=True)
            steps = [0 if np.all(array == first) else step for step, first in pairs]
            # It may be written to, unlike np.broadcast_to: PyTorch warns of what may not.
            return np.ndarray(array.shape, array.dtype, array, strides=steps)
        return array

    def matrices(
        self, strides: tuple[Number, ...] | None = None
    ) -> tuple[tuple[Matrix, ...], tuple[Matrix, ...]]:
        """Per axis the matrix A, and per axis what a stride learns from.

        That is the right derivative of A in the stride; of a hard crop, that of the soft one.
        """
        rule = self.smoothness, self.ramp, self.norm, self.hard
        pairs = [
            oracles.axis_matrices(size, n, stride, *rule)
            for size, n, stride in zip(
                self.sizes, self.out_sizes, strides or self.strides, strict=True
            )
        ]
        return tuple(A for A, _ in pairs), tuple(slope for _, slope in pairs)

    def atol(self) -> float:
        """Rounding of y and dx: 8 eps sqrt(product of N over the axes) times the norm's gain.

        Those are sums of N random terms of order 1 per axis. A wrong bin weighs about 2/sqrt(N).
        """
        pairs = zip(self.sizes, self.out_sizes, strict=True)
        amplitude = np.prod([oracles.gain(size, n, self.norm) for size, n in pairs])
        return float(8 * np.finfo(self.dtype).eps * np.sqrt(np.prod(self.sizes)) * amplitude)

    def stride_atol(self, x: Matrix, g: Matrix) -> float:
        """Rounding of the stride gradients: 16 eps times the sum of their terms' magnitudes."""
        A, slopes = ([np.abs(matrix) for matrix in found] for found in self.matrices())
        terms = oracles.stride_gradient(A, slopes, np.abs(x), np.abs(g), self.axes)
        return float(16 * np.finfo(self.dtype).eps * (terms.max() + np.finfo(self.dtype).tiny))

    def tangent_atol(self) -> float:
        """Rounding of the tangent: that of y for A dx, and as much for each unit of slope."""
        steepest = max(np.abs(slope).sum(axis=1).max() for slope in self.matrices()[1])
        return float((2 + 4 * steepest) * self.atol())


def _on_grid(numerator: Number, denominator: Number) -> list[float]:
    """The quotient, if float32 holds it exactly: only then a corner is met exactly."""
    quotient = Fraction(numerator) / Fraction(denominator)
    return [float(quotient)] if Fraction(float(np.float32(quotient))) == quotient else []


def corner_strides(size: int, smoothness: float, ramp: str) -> list[float]:
    """List the strides where the mask's slope jumps, of those that float32 holds exactly.

    An end of the ramp lies on a bin, or the ramp's width changes its formula.
    """
    width = Fraction(smoothness)
    # Where the ramp "outside" begins, c + 1, or "inside" ends, c + 1/2, is a bin.
    cutoffs = [Fraction(twice, 2) for twice in range(2, size + 1)]
    if ramp == "outside":
        # It ends at a bin: k = c + R + 1.
        cutoffs += [k - width - 1 for k in range(1, size // 2 + 2)]
    else:
        # It begins at a bin: k = c + 1/2 - R. And its width min(R, max(c/2, 1)) has two kinks.
        cutoffs += [k + width - Fraction(1, 2) for k in range(size // 2 + 1)]
        cutoffs += [2 * width, Fraction(2)]
    legal = {c for c in cutoffs if 1 <= c <= Fraction(size, 2)}
    return [stride for c in sorted(legal, reverse=True) for stride in _on_grid(size, 2 * c)]


def strides_on(size: int, smoothness: float, ramp: str) -> st.SearchStrategy[float]:
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


def corners_and_bounds_on(size: int, smoothness: float, ramp: str) -> st.SearchStrategy[float]:
    """Draw one of `corner_strides`, a bound, or a stride outside of the bounds."""
    if size == 1:
        return st.just(1.0)
    low, high = oracles.bounds(size, smoothness, ramp)
    ends = [float(np.float32(low)), float(high), 0.75, 2.0 * size]
    return st.sampled_from([*corner_strides(size, smoothness, ramp), *ends])


def generic_strides_on(size: int, smoothness: float, ramp: str) -> st.SearchStrategy[float]:
    """Strides within their bounds, and hardly ever near a corner."""
    if size == 1:
        return st.just(1.3)
    low, high = (float(bound) for bound in oracles.bounds(size, smoothness, ramp))
    assume(high - low > 0.01)
    return st.floats(low, high, width=64).map(lambda stride: float(np.float32(stride)))


@st.composite
def _shapes(
    draw: st.DrawFn, few_sizes: bool, max_axes: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape, and the positions of 1 to ``max_axes`` spectral axes anywhere in it."""
    if few_sizes:
        sizes = draw(st.lists(st.sampled_from(FEW_SIZES), min_size=1, max_size=2))[:max_axes]
        batch: list[int] = draw(st.sampled_from([[2], [], [3, 0]]))
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
def canvases(
    draw: st.DrawFn, sizes: list[int], strides: tuple[float, ...], smoothness: float, ramp: str
) -> dict[str, Any]:
    """Arguments that decide the output sizes: none, crop, multiple_of or out_sizes."""
    kind = draw(st.sampled_from(["tight", "whole", "multiple", "sizes"]))
    if kind == "whole":
        return {"crop": False}
    if kind == "multiple":
        return {"multiple_of": draw(st.integers(2, 7))}
    if kind == "sizes":
        least = [
            # The published layer's size of an odd axis that it does not crop is legal, too.
            max(1, min(size, 2 * oracles.last_bin(size, stride, smoothness, ramp)))
            if ramp == "outside"
            else oracles.out_size(size, stride, smoothness, ramp)
            for size, stride in zip(sizes, strides, strict=True)
        ]
        pairs = zip(least, sizes, strict=True)
        return {"out_sizes": tuple(draw(st.integers(low, high)) for low, high in pairs)}
    return {}


def typical(*_: Any) -> st.SearchStrategy[float]:
    """A stride that is neither a whole number nor, on hardly any axis, a corner."""
    return st.just(2.3125)


# What is run besides what is drawn, as few examples meet it: long axes, first one for the FFT, then
# one for matrices, and every layout; then a hard crop of two axes. What is not said here takes its
# simplest value.
ALWAYS: tuple[dict[str, Any], ...] = (
    {"shape": (2, 300), "axes": (1,), "layout": "transposed", "ramp": "inside", "method": "auto"},
    {"shape": (70, 5), "axes": (0, 1), "layout": "strided", "norm": "backward"},
    {
        "shape": (3, 70),
        "axes": (1,),
        "layout": "broadcast",
        "ramp": "inside",
        "norm": "ortho",
        "smoothness": 2.75,
    },
    {"shape": (2, 13, 24), "axes": (1, 2), "ramp": "inside", "hard": True},
)


def no_canvas(*_: Any) -> st.SearchStrategy[dict[str, Any]]:
    """The output sizes that the ramp's rule gives."""
    return st.just({})


@st.composite
def cases(
    draw: st.DrawFn,
    /,
    *,
    few_sizes: bool = False,
    max_axes: int = 3,
    strides: Callable[[int, float, str], st.SearchStrategy[float]] = strides_on,
    canvas: Callable[..., st.SearchStrategy[dict[str, Any]]] = canvases,
    dtypes: tuple[str, ...] = ("float64", "float32"),
    methods: tuple[str, ...] = METHODS,
    **fixed: Any,
) -> Case:
    """A call with everything drawn that is not ``fixed``.

    Parameters
    ----------
    few_sizes : bool
        Whether to keep to few sizes, for a compiler that starts anew on each.
    max_axes : int
        Most spectral axes, 1 to 3.
    strides : callable
        ``strides(size, smoothness, ramp)``, the strategy of one axis' stride.
    canvas : callable
        ``canvas(sizes, strides, smoothness, ramp)``, the strategy of what else decides sizes.
    dtypes : tuple of str
        What to draw the dtype from.
    methods : tuple of str
        What to draw the method from.
    **fixed
        Fields of `Case` that are not drawn, such as ``ramp="inside"``; ``shape`` together with
        ``axes``, of which the first ``max_axes`` are taken.

    Examples
    --------
    >>> from hypothesis import given
    >>> from spectral_stride import make_plan
    >>> from spectral_stride.testing import cases
    >>> @given(cases(ramp="inside", canvas=no_canvas))
    ... def check(case):
    ...     plan = make_plan(case.shape, case.strides, **case.options)
    ...     assert plan.out_shape == case.out_shape
    >>> check()
    """
    drawn: dict[str, Any] = {
        "smoothness": st.sampled_from(SMOOTHNESSES),
        "ramp": st.sampled_from(["outside", "inside"]),
        "norm": st.sampled_from(["forward", "ortho", "backward"]),
        "method": st.sampled_from(methods),
        "dtype": st.sampled_from(dtypes),
        "seed": st.integers(0, 2**16),
        "layout": st.sampled_from(LAYOUTS),
        "hard": st.sampled_from([False, False, True]),
    }
    where = (fixed.pop("shape"), fixed.pop("axes")) if "shape" in fixed else None
    shape, axes = where or draw(_shapes(few_sizes, max_axes))
    axes = axes[:max_axes]
    options = {
        name: fixed[name] if name in fixed else draw(values) for name, values in drawn.items()
    }
    rule = options["smoothness"], options["ramp"]
    sizes = [shape[axis] for axis in axes]
    chosen = tuple(draw(strides(size, *rule)) for size in sizes)
    kept = draw(canvas(sizes, chosen, *rule))
    assume(not (options["hard"] and "crop" in kept))  # which is refused
    return Case(shape, axes, chosen, kept, **options)
