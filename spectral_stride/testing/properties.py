"""What the operator is, whatever is drawn: one function a property, and the list of all.

A property takes a `Call`, runs the implementation, and yields its claims: what must be equal to
what, and to within how much. It does not compare; whoever runs it does, and keeps the largest
error. The expected values come from `oracles` or from the implementation itself.

A corner is where the mask begins or ends its ramp. Where it lies on a bin, the mask of that bin has
a slope to either side, and no other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from spectral_stride.testing import oracles
from spectral_stride.testing.cases import (
    Case,
    cases,
    corners_and_bounds_on,
    generic_strides_on,
    no_canvas,
)
from spectral_stride.testing.implementation import Array, Call, Values, to_numpy

# Truncation of a difference over this step, relative to terms of order 1, is below its square.
STEP = 2.0**-16


@dataclass(frozen=True)
class Claim:
    """``found`` equals ``expected`` to within ``atol``, entry by entry.

    The first word of ``what`` is the result that it speaks of: y, dx, dstrides, dy, or input.
    Where ``like`` is given, ``found`` is also an array of its library, dtype and device.
    """

    what: str
    found: Any
    expected: Any
    atol: float | Values = 0.0
    like: Array | None = None


Claims = Iterator[Claim]


@dataclass(frozen=True)
class Property:
    """A property that every implementation has.

    Attributes
    ----------
    name, statement : str
        What it is called, and what it says.
    needs : tuple of str
        The functions that it calls beside ``forward``: "vjp", "jvp", "resize".
    varies : tuple of str
        Options that it sets itself.
    share : float
        How many of the asked examples it runs.
    """

    name: str
    statement: str
    needs: tuple[str, ...]
    varies: tuple[str, ...]
    share: float
    draw: Callable[..., st.SearchStrategy[Case]]
    claims: Callable[[Call], Claims]

    def __str__(self) -> str:
        return self.name


PROPERTIES: list[Property] = []


def holds(
    *needs: str,
    share: float = 1.0,
    varies: tuple[str, ...] = (),
    draw: Callable[..., st.SearchStrategy[Case]] = cases,
    **options: Any,
) -> Callable[[Callable[[Call], Claims]], Callable[[Call], Claims]]:
    """Enter a function among the properties; ``options`` are those of `cases`."""

    def enter(claims: Callable[[Call], Claims]) -> Callable[[Call], Claims]:
        strategy = partial(draw, **options)
        varied = (*varies, *(name for name in options if name not in ("max_axes", "strides")))
        statement = (claims.__doc__ or "").partition("\n")[0]
        name = claims.__name__
        PROPERTIES.append(Property(name, statement, needs, varied, share, strategy, claims))
        return claims

    return enter


@holds()
def output_is_the_dense_matrix_times_the_input(call: Call) -> Claims:
    """The output is y = A x along every axis, with the library, dtype, shape and device of x."""
    case = call.case
    x = case.values(case.shape)
    expected = oracles.apply(case.matrices()[0], x, case.axes)
    assert expected.shape == case.out_shape
    yield Claim("y", call.forward(x), expected, case.atol(), like=call.array(x))


@holds("vjp")
def pullback_is_the_adjoint(call: Call) -> Claims:
    """The pullback gives dx = A^T g, the transpose of the dense matrix: <A x, g> = <x, A^T g>."""
    case = call.case
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    y, dx, _ = call.vjp(x, g)
    like = call.array(x)
    A = case.matrices()[0]
    yield Claim("y", y, oracles.apply(A, x, case.axes), case.atol(), like=like)
    transposed = oracles.apply([matrix.T for matrix in A], g, case.axes)
    yield Claim("dx", dx, transposed, case.atol(), like=like)
    inner = np.sum(x * to_numpy(dx)), np.sum(to_numpy(y) * g)
    yield Claim("dx, paired with x,", *inner, atol=case.atol() * (1 + np.abs(x).sum()))


@holds(share=0.5)
def output_is_linear_in_the_input(call: Call) -> Claims:
    """A (2000 x - 3 z) = 2000 A x - 3 A z: large numbers are nothing special."""
    case = call.case
    x, z = case.values(case.shape), case.values(case.shape, 1)
    combined = 2000 * to_numpy(call.forward(x)) - 3 * to_numpy(call.forward(z))
    found = call.forward(2000 * x - 3 * z)
    yield Claim("y of 2000 x - 3 z", found, combined, 6000 * case.atol())


@holds()
def constants_are_multiplied_by_the_gain_of_the_norm(call: Call) -> Claims:
    """A constant keeps its value, or grows by N/n or by its square root, on every axis."""
    case = call.case
    shrinkage = np.prod(np.divide(case.sizes, case.out_sizes))
    gain = {"forward": 1.0, "ortho": np.sqrt(shrinkage), "backward": shrinkage}[case.norm]
    y = call.forward(np.full(case.shape, 1.5))
    yield Claim("y of a constant", y, np.full(case.out_shape, 1.5 * gain), 2 * case.atol())


@holds(share=0.5, varies=("axes",))
def permuting_the_axes_of_the_array_permutes_those_of_the_output(call: Call) -> Claims:
    """An axis is known by its number alone; batch axes are just left where they are."""
    case = call.case
    order = np.random.default_rng(case.seed).permutation(len(case.shape)).tolist()
    x = case.values(case.shape)
    moved = tuple(order.index(axis) for axis in case.axes)
    y = call.forward(x.transpose(order), axes=moved)
    yield Claim("y", y, to_numpy(call.forward(x)).transpose(order), case.atol())


@holds(share=0.5, varies=("axes",))
def listing_the_axes_in_another_order_changes_nothing(call: Call) -> Claims:
    """Axes and strides belong together, and negative axes count from the end; gradients too."""
    case = call.case
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    dx, ds = case.values(case.shape, 2), case.values((len(case.axes),), 3)
    changes: dict[str, Any] = {
        "axes": tuple(axis - len(case.shape) for axis in reversed(case.axes))
    }
    if "out_sizes" in case.canvas:
        changes["out_sizes"] = case.out_sizes[::-1]
    backwards = case.strides[::-1]
    y = call.forward(x, backwards, **changes)
    yield Claim("y", y, to_numpy(call.forward(x)), case.atol())
    if call.implementation.vjp:
        _, *one = call.vjp(x, g, backwards, **changes)
        _, *other = map(to_numpy, call.vjp(x, g))
        yield Claim("dx", one[0], other[0], case.atol())
        yield Claim("dstrides", to_numpy(one[1])[::-1], other[1], 2 * case.stride_atol(x, g))
    if call.implementation.jvp:
        _, dy = call.jvp(x, dx, ds[::-1], backwards, **changes)
        yield Claim("dy", dy, to_numpy(call.jvp(x, dx, ds)[1]), 2 * case.tangent_atol())


@holds(share=0.5, varies=("axes",))
def the_axes_are_the_last_ones_by_default(call: Call) -> Claims:
    """Without axes= the strides are those of the last axes."""
    case = call.case
    rest = [axis for axis in range(len(case.shape)) if axis not in case.axes]
    x = case.values(case.shape).transpose([*rest, *case.axes])
    named = tuple(range(len(rest), x.ndim))
    y = to_numpy(call.forward(x, axes=named))
    yield Claim("y", call.forward(x, axes=None), y)


@holds(share=0.5, varies=("axes",))
def batch_entries_do_not_see_each_other(call: Call) -> Claims:
    """Permuting a batch permutes its outputs: stacked inputs are resampled one by one."""
    case = call.case
    x = np.stack([case.values(case.shape, salt) for salt in range(3)])
    axes = tuple(axis + 1 for axis in case.axes)
    y = to_numpy(call.forward(x, axes=axes))
    yield Claim(
        "y of the permuted batch", call.forward(x[[2, 0, 1]], axes=axes), y[[2, 0, 1]], case.atol()
    )
    yield Claim("y of one of three", call.forward(x[1]), y[1], case.atol())


def circular_flip(values: Values, axes: tuple[int, ...]) -> Values:
    """x[-i mod N] along each axis: sample 0 stays where it is."""
    return np.roll(np.flip(values, axes), 1, axes)


@holds("vjp", share=0.5)
def a_circular_flip_of_the_input_flips_output_and_input_gradient(call: Call) -> Claims:
    """A F_N = F_n A with (F x)[i] = x[-i mod N]; stride gradients do not change.

    It holds to the last bin: A[j, i] is even under (j, i) -> (-j, -i), also where the imaginary
    part of bin n/2 is dropped.
    """
    case = call.case
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    straight = [to_numpy(array) for array in call.vjp(x, g)]
    flipped = call.vjp(circular_flip(x, case.axes), circular_flip(g, case.axes))
    for what, one, other in zip(("y", "dx"), flipped, straight, strict=False):
        yield Claim(what, one, circular_flip(other, case.axes), case.atol())
    yield Claim("dstrides", flipped[2], straight[2], 2 * case.stride_atol(x, g))


@holds(share=0.5, varies=("axes",))
def several_axes_are_one_axis_after_another(call: Call) -> Claims:
    """The operator is separable: the axes may be taken one by one, the last one first."""
    case = call.case
    x = case.values(case.shape)
    y = x
    for axis, stride, n in reversed(
        list(zip(case.axes, case.strides, case.out_sizes, strict=True))
    ):
        canvas = case.canvas if "crop" in case.canvas else {"out_sizes": (n,)}
        step = replace(case, axes=(axis,), strides=(stride,), canvas=canvas)
        y = to_numpy(Call(call.implementation, step).forward(y))
    yield Claim("y", y, to_numpy(call.forward(x)), case.atol())


@holds("vjp", varies=("method",))
def both_methods_agree_and_auto_is_one_of_them(call: Call) -> Claims:
    """FFT and matmul agree to rounding, gradients too; on one axis auto is one of the two.

    Where a library has no FFT, auto is the matmul, and the FFT is refused.
    """
    case = call.case
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    matmul, auto = (call.vjp(x, g, method=method) for method in ("matmul", "auto"))
    if "fft" not in call.implementation.methods:
        yield _refused_fft(lambda: call.vjp(x, g, method="fft"))
        for what, one, other in zip(("y", "dx", "dstrides"), auto, matmul, strict=True):
            yield Claim(f"{what} by auto", one, to_numpy(other))
        return
    fft = call.vjp(x, g, method="fft")
    limits = case.atol(), case.atol(), case.stride_atol(x, g)
    for what, one, other, either, atol in zip(
        ("y", "dx", "dstrides"), matmul, fft, auto, limits, strict=True
    ):
        by_matmul, by_fft = to_numpy(one), to_numpy(other)
        yield Claim(f"{what} by FFT", other, by_matmul, 2 * atol)
        closer = min((by_matmul, by_fft), key=lambda known: _distance(to_numpy(either), known))
        yield Claim(f"{what} by auto", either, closer, 0 if len(case.axes) == 1 else 2 * atol)


def _refused_fft(asked: Callable[[], Any]) -> Claim:
    """Claim that an FFT that a library lacks is refused with the word to write instead."""
    said = "nothing was refused"
    try:
        asked()
    except TypeError as error:
        said = str(error)
    is_told = said.startswith("method: got 'fft'") and "write method='auto'" in said
    return Claim(f"refusal of method='fft' ({said})", float(is_told), 1.0)


def _distance(one: Values, other: Values) -> float:
    return float(np.max(np.abs(one - other), initial=0.0))


@st.composite
def _wider_cases(draw: st.DrawFn, /, **options: Any) -> Case:
    """One axis, on a canvas with a bin to spare."""
    case = draw(cases(max_axes=1, canvas=no_canvas, **options))
    (size,), (stride,) = case.sizes, case.strides
    kept = oracles.last_bin(size, stride, case.smoothness, case.ramp)
    assume(2 * kept + 1 <= size)
    n = draw(st.integers(2 * kept + 1, size))
    return replace(case, canvas={"out_sizes": (n,)})


@holds(draw=_wider_cases, hard=False)
def a_wider_canvas_samples_the_same_signal_more_finely(call: Call) -> Claims:
    """For every n' > 2 K the output is the trigonometric polynomial with spectrum m X at j/n'."""
    case = call.case
    (size,), (stride,), (n,) = case.sizes, case.strides, case.out_sizes
    x = case.values(case.shape)
    levels = oracles.mask(size, stride, case.smoothness, case.ramp)
    (axis,) = case.axes
    samples = np.moveaxis(oracles.polynomial(np.moveaxis(x, axis, -1), levels, n), -1, axis)
    expected = samples * oracles.gain(size, n, case.norm)
    yield Claim("y", call.forward(x), expected, case.atol())


@st.composite
def _held_cases(draw: st.DrawFn, /, **options: Any) -> Case:
    """A plan for one set of strides, called with another, which may outgrow the plan's canvas."""
    case = draw(cases(max_axes=2, **options))
    moved = tuple(
        draw(st.sampled_from([1.5, 0.5, 1.0, 1.25, 2.0, 3.0, 4.0, 5.5])) for _ in case.strides
    )
    return replace(case, strides=moved, planned=case.strides)


@holds(draw=_held_cases)
def strides_move_inside_a_held_plan(call: Call) -> Claims:
    """The mask is found on the plan's bins; what outgrows the canvas is cut at its Nyquist bin."""
    case = call.case
    x = case.values(case.shape)
    expected = oracles.apply(case.matrices()[0], x, case.axes)
    yield Claim("y", call.forward(x), expected, case.atol(), like=call.array(x))
    if call.implementation.vjp:
        yield from pullback_is_the_adjoint(call)
        yield from stride_gradient_is_the_right_derivative(call)
    if call.implementation.jvp:
        yield from tangent_is_the_sum_of_both_parts(call)


@holds("vjp", share=0.5)
def a_pullback_can_be_called_again(call: Call) -> Claims:
    """The second call gives what the first one gave, and twice the cotangent twice as much."""
    case = call.case
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    pullback = call.pullback(x)
    first = [to_numpy(array) for array in pullback(call.array(g))]
    for what, found, expected in zip(
        ("dx", "dstrides"), pullback(call.array(2 * g)), first, strict=True
    ):
        atol = case.atol() if what == "dx" else case.stride_atol(x, g)
        yield Claim(what, found, 2 * expected, 2 * atol)


@holds("vjp", share=0.5, smoothness=0.0, canvas=no_canvas)
def without_smoothness_the_crop_is_hard(call: Call) -> Claims:
    """R = 0 keeps the bins below the edge whole and drops the others; stride gradients are 0."""
    case = call.case
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    y, _, ds = call.vjp(x, g)
    like = call.array(x)
    everything = [[1] * (size // 2 + 1) for size in case.sizes]
    A = [
        oracles.spectral_matrix(size, n, levels, case.norm)
        for size, n, levels in zip(case.sizes, case.out_sizes, everything, strict=True)
    ]
    yield Claim("y", y, oracles.apply(A, x, case.axes), 2 * case.atol(), like=like)
    yield Claim("dstrides", ds, np.zeros(len(case.axes)), 0, like=like)


def _whole(*_: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.just({"crop": False})


@holds(share=0.5, canvas=_whole, hard=False)
def without_crop_the_sizes_stay_and_the_mask_is_applied(call: Call) -> Claims:
    """crop=False multiplies the spectrum by the mask and nothing else."""
    case = call.case
    x = case.values(case.shape)
    spectrum = x
    for axis, size, stride in zip(case.axes, case.sizes, case.strides, strict=True):
        levels = np.array(oracles.mask(size, stride, case.smoothness, case.ramp), dtype=float)
        weights = levels[np.minimum(np.arange(size), size - np.arange(size))]
        shape = [1] * x.ndim
        shape[axis] = size
        spectrum = np.fft.ifft(np.fft.fft(spectrum, axis=axis) * weights.reshape(shape), axis=axis)
    yield Claim("y", call.forward(x), spectrum.real, case.atol())


@holds(share=0.5)
def inputs_are_never_written_to(call: Call) -> Claims:
    """Forward, gradients and tangents leave every array that they are given as it was."""
    case, implementation = call.case, call.implementation
    s = np.asarray(case.strides)
    names = "x", "strides", "g", "dstrides"
    kept = [case.values(case.shape), s, case.values(case.out_shape, 1), s]
    arrays = [call.array(values.copy()) for values in kept]
    implementation.forward(*arrays[:2], **case.options)
    if implementation.vjp:
        implementation.vjp(*arrays[:2], **case.options)[1](arrays[2])
    if implementation.jvp:
        implementation.jvp(*arrays[:2], arrays[0], arrays[3], **case.options)
    for name, array, values in zip(names, arrays, kept, strict=True):
        # What the array held to begin with: the dtype may have rounded it.
        yield Claim(f"input {name}, afterwards,", array, to_numpy(call.array(values.copy())))


@holds("vjp")
def stride_gradient_is_the_right_derivative(call: Call) -> Claims:
    """Per axis <g, dA/ds x>: right-hand on corners, straight through outside the bounds.

    Of a hard crop dA/ds is that of the soft one, along that axis alone: no derivative of y.
    """
    case = call.case
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    _, _, ds = call.vjp(x, g)
    expected = oracles.stride_gradient(*case.matrices(), x, g, case.axes)
    yield Claim("dstrides", ds, expected, case.stride_atol(x, g), like=call.array(x))


@st.composite
def _corner_cases(draw: st.DrawFn, /, **options: Any) -> Case:
    """Strides on corners and bounds, whatever else is fixed."""
    return draw(cases(**options | {"strides": corners_and_bounds_on}))


@holds("vjp", draw=_corner_cases)
def stride_gradient_on_corners_and_bounds_is_that_to_the_right(call: Call) -> Claims:
    """On a corner of the mask the gradient is that towards larger strides; at a bound it lives."""
    yield from stride_gradient_is_the_right_derivative(call)


@holds("jvp")
def tangent_is_the_sum_of_both_parts(call: Call) -> Claims:
    """The tangent is dy = A dx + sum over axes of ds dA/ds x."""
    case = call.case
    x, dx = case.values(case.shape), case.values(case.shape, 1)
    ds = case.values((len(case.axes),), 2)
    y, dy = call.jvp(x, dx, ds)
    like = call.array(x)
    A, slopes = case.matrices()
    yield Claim("y", y, oracles.apply(A, x, case.axes), case.atol(), like=like)
    expected = oracles.apply(A, dx, case.axes)
    expected = expected + oracles.stride_tangent(A, slopes, x, ds, case.axes)
    yield Claim("dy", dy, expected, case.tangent_atol(), like=like)


@holds("vjp", "jvp")
def jvp_and_vjp_are_transposes(call: Call) -> Claims:
    """<g, jvp(dx, ds)> = <vjp(g), (dx, ds)>."""
    case = call.case
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    tangents = case.values(case.shape, 2), case.values((len(case.axes),), 3)
    _, dy = call.jvp(x, *tangents)
    _, *pulled = call.vjp(x, g)
    forward = np.sum(g * to_numpy(dy))
    parts = [np.sum(to_numpy(one) * other) for one, other in zip(pulled, tangents, strict=True)]
    size = np.abs(tangents[0]).sum() + len(case.axes)
    atol = size * (case.atol() + case.stride_atol(x, g))
    yield Claim("dy, paired with g,", forward, sum(parts), atol)


def _loss(case: Case, x: Values, g: Values, strides: tuple[Any, ...]) -> float:
    """<g, A(s) x> in float64, by dense matrices."""
    A, _ = case.matrices(strides)
    return float(np.sum(g * oracles.apply(A, x, case.axes)))


def _slopes(
    case: Case, x: Values, g: Values, starts: tuple[Any, ...], left: float, right: float
) -> Values:
    """Differences of <g, A(s) x> between s - left and s + right, over their distance, per axis."""
    return np.array(
        [
            _loss(case, x, g, oracles.moved(starts, position, right))
            - _loss(case, x, g, oracles.moved(starts, position, -left))
            for position in range(len(case.axes))
        ]
    ) / (left + right)


@holds("vjp", strides=generic_strides_on, dtypes=("float64",), hard=False)
def stride_gradient_is_a_central_difference_away_from_corners(call: Call) -> Claims:
    """Where no bin is near a corner it is the slope of <g, A(s) x> between s - h and s + h."""
    case = call.case
    pairs = zip(case.sizes, case.strides, strict=True)
    assume(all(oracles.is_smooth(*pair, case.smoothness, case.ramp, 2 * STEP) for pair in pairs))
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    _, _, ds = call.vjp(x, g)
    slopes = _slopes(case, x, g, case.strides, STEP, STEP)
    yield Claim("dstrides", ds, slopes, 1e-6 + 1e-4 * np.abs(slopes))


@holds("vjp", dtypes=("float64",), hard=False)
def stride_gradient_is_a_one_sided_difference_below_the_upper_bound(call: Call) -> Claims:
    """The slope of <g, A(s) x> from s to s + h, also where s is on a corner: from the right.

    A stride below its lower bound is clipped first: there the gradient is that at the bound.
    """
    case = call.case
    clipped = tuple(
        oracles.effective_stride(size, stride, case.smoothness, case.ramp) if size > 1 else stride
        for size, stride in zip(case.sizes, case.strides, strict=True)
    )
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    found = to_numpy(call.vjp(x, g)[2])
    slopes = _slopes(case, x, g, clipped, 0.0, STEP / 2**10)
    below = 2 * np.asarray(clipped, dtype=float) < np.asarray(case.sizes)
    slopes = np.where(below, slopes, found)  # at the upper bound there is nothing to the right
    yield Claim("dstrides", found, slopes, 1e-6 + 1e-4 * np.abs(slopes))


def _any_size(size: int) -> list[int]:
    return [2 * size, size + 1, (size + 1) // 2, 3 * size - 1, size, max(1, size - 1), 1]


def _more(size: int) -> list[int]:
    return [2 * size, size + 1, 3 * size - 1, size]


def _multiples(size: int) -> list[int]:
    return [2 * size, 3 * size, size]


@st.composite
def _resized_cases(
    draw: st.DrawFn, /, *, to: Callable[[int], list[int]] = _any_size, **options: Any
) -> Case:
    """Sizes onto which each axis is resampled, in place of strides and a mask."""
    case = draw(cases(**{"max_axes": 2, **options, "canvas": no_canvas}))
    sizes = tuple(draw(st.sampled_from(to(size))) for size in case.sizes)
    return replace(case, strides=(1.0,) * len(sizes), canvas={"out_sizes": sizes})


def _resized(case: Case, x: Values) -> Values:
    """What resizing gives, by dense matrices."""
    pairs = zip(case.sizes, case.out_sizes, strict=True)
    matrices = [oracles.resize_matrix(*pair, case.norm) for pair in pairs]
    return oracles.apply(matrices, x, case.axes)


@holds("resize", share=0.5, draw=_resized_cases)
def resizing_is_the_dense_matrix_of_the_bins_that_both_sizes_have(call: Call) -> Claims:
    """Fewer samples or more: with the library, dtype and device of x, and exactly these sizes."""
    case = call.case
    x = case.values(case.shape)
    expected = _resized(case, x)
    assert expected.shape == case.out_shape
    yield Claim("y", call.resize(x), expected, 2 * case.atol(), like=call.array(x))


@holds("resize", share=0.5, draw=_resized_cases)
def waves_below_half_of_both_sizes_stay_what_they_are(call: Call) -> Claims:
    """A wave of k periods, a constant too, comes out as k periods times the gain of the norm."""
    case = call.case
    rng = np.random.default_rng(case.seed)
    x, y = np.ones(case.shape), np.ones(case.out_shape)
    for axis, size, n in zip(case.axes, case.sizes, case.out_sizes, strict=True):
        k, phase = rng.integers((min(size, n) + 1) // 2), rng.uniform(0, 2 * np.pi)
        shape = [1] * x.ndim
        shape[axis] = -1
        x, y = (
            # A whole turn is left out: the larger the angle, the larger its rounding.
            values * np.cos(2 * np.pi * (k * np.arange(m) % m) / m + phase).reshape(shape)
            for values, m in ((x, size), (y, n))
        )
        y = y * oracles.gain(size, n, case.norm)
    yield Claim("y of waves", call.resize(x), y, 4 * case.atol())


@holds("resize", share=0.5, draw=_resized_cases, to=_multiples)
def onto_a_multiple_every_sample_stays_and_others_come_between(call: Call) -> Claims:
    """Enlarging interpolates: of n = q N samples every q-th is one of x times the norm's gain."""
    case = call.case
    x = case.values(case.shape)
    y, gain = to_numpy(call.resize(x)), 1.0
    for axis, size, n in zip(case.axes, case.sizes, case.out_sizes, strict=True):
        y = np.take(y, np.arange(size) * (n // size), axis=axis)
        gain *= oracles.gain(size, n, case.norm)
    yield Claim("y, at the samples of x,", y, gain * x, 2 * case.atol())


@holds("resize", share=0.5, draw=_resized_cases, to=_more)
def there_and_back_is_the_identity_but_for_the_last_bin_of_an_even_size(call: Call) -> Claims:
    """Enlarged and pooled, x is itself, with bin N/2 of an even N at half its height."""
    case = call.case
    x = case.values(case.shape)
    back = call.resize(to_numpy(call.resize(x)), case.sizes)
    expected = x
    for axis, size, n in zip(case.axes, case.sizes, case.out_sizes, strict=True):
        if n > size:
            expected = expected - oracles.last_bin_of(expected, axis) / 2
    # On the way numbers are as large as the gain makes them, or as small.
    atol = 4 * case.atol() * max(1.0, float(np.prod(np.divide(case.out_sizes, case.sizes))))
    yield Claim("y, back on the samples of x,", back, expected, atol)


@holds("resize", share=0.5, draw=_resized_cases)
def the_adjoint_of_enlarging_is_pooling(call: Call) -> Claims:
    """The adjoint is the way back, <R x, g> = c <x, R' g>: c = n/N, 1 or N/n by the norm."""
    case = call.case
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    growth = float(np.prod(np.divide(case.out_sizes, case.sizes)))
    c = {"forward": growth, "ortho": 1.0, "backward": 1 / growth}[case.norm]
    y, back = to_numpy(call.resize(x)), to_numpy(call.resize(g, case.sizes))
    atol = 2 * case.atol() * (1 + np.abs(x).sum() + np.abs(g).sum())
    yield Claim("y, paired with g,", np.sum(y * g), c * np.sum(x * back), atol)


@holds("resize", share=0.5, draw=_resized_cases, method="matmul")
def both_methods_resize_alike(call: Call) -> Claims:
    """FFT and matmul agree to rounding, in either direction; without an FFT it is refused."""
    case = call.case
    x = case.values(case.shape)
    if "fft" not in call.implementation.methods:
        yield _refused_fft(lambda: call.resize(x, method="fft"))
        by_auto = call.resize(x, method="auto")
        yield Claim("y by auto", by_auto, to_numpy(call.resize(x)))
        return
    by_fft = call.resize(x, method="fft")
    yield Claim("y by FFT", by_fft, to_numpy(call.resize(x)), 4 * case.atol())
