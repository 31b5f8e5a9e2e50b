"""Derivatives in the strides, and how they fit together with those in the input."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

import spectral_stride as ss
from tests import oracles
from tests.libraries import Backend, assert_array, dtype_name, load, to_numpy
from tests.strategies import cases, for_all, generic_strides_on

# Truncation of a difference over this step, relative to terms of order 1, is below its square.
STEP = 2.0**-16


def loss(case, x, g, strides):
    """<g, A(s) x> in float64, by dense matrices."""
    A, _ = case.matrices(strides)
    return np.sum(g * oracles.apply(A, x, case.axes))


@for_all()
def test_stride_gradient_is_the_right_derivative(xp, case):
    """Per axis <g, dA/ds x>: right-hand on corners, straight through outside the bounds."""
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    array = case.array(xp, x)
    _, _, ds = xp.vjp(array, case.strides_for(xp), case.array(xp, g), **case.options)
    expected = oracles.stride_gradient(*case.matrices(), x, g, case.axes)
    assert_array(ds, expected, like=array, atol=case.stride_atol(x, g))


@for_all()
def test_tangent_is_the_sum_of_both_parts(xp, case):
    """dy = A dx + sum over axes of ds dA/ds x."""
    x, dx = case.values(case.shape), case.values(case.shape, 1)
    ds = case.values((len(case.axes),), 2)
    arrays = [case.array(xp, values) for values in (x, dx, ds)]
    y, dy = xp.jvp(arrays[0], case.strides_for(xp), *arrays[1:], **case.options)
    A, slopes = case.matrices()
    assert_array(y, oracles.apply(A, x, case.axes), like=arrays[0], atol=case.atol())
    expected = oracles.apply(A, dx, case.axes)
    expected = expected + oracles.stride_tangent(A, slopes, x, ds, case.axes)
    steepest = max(np.abs(slope).sum(axis=1).max() for slope in slopes)
    assert_array(dy, expected, like=arrays[0], atol=(2 + 4 * steepest) * case.atol())


@for_all()
def test_jvp_and_vjp_are_transposes(xp, case):
    """<g, jvp(dx, ds)> = <vjp(g), (dx, ds)>."""
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    tangents = case.values(case.shape, 2), case.values((len(case.axes),), 3)
    pushed = [case.array(xp, values) for values in (x, *tangents)]
    _, dy = xp.jvp(pushed[0], case.strides_for(xp), *pushed[1:], **case.options)
    _, *pulled = xp.vjp(pushed[0], case.strides_for(xp), case.array(xp, g), **case.options)
    forward = np.sum(g * to_numpy(dy))
    parts = [np.sum(to_numpy(one) * other) for one, other in zip(pulled, tangents, strict=True)]
    size = np.abs(tangents[0]).sum() + len(case.axes)
    assert forward == pytest.approx(sum(parts), abs=size * (case.atol() + case.stride_atol(x, g)))


@for_all(strides=generic_strides_on, dtype="float64")
def test_stride_gradient_is_a_central_difference_away_from_corners(xp, case):
    """The slope of <g, A(s) x> between s - h and s + h, where the mask does not bend there."""
    rules = zip(case.sizes, case.strides, strict=True)
    assume(all(oracles.is_smooth(*rule, case.smoothness, case.ramp, 2 * STEP) for rule in rules))
    x, g, ds = stride_gradient(xp, case)
    for position, found in enumerate(ds):
        moved = partial(oracles.moved, case.strides, position)
        slope = (loss(case, x, g, moved(STEP)) - loss(case, x, g, moved(-STEP))) / (2 * STEP)
        assert found == pytest.approx(slope, rel=1e-4, abs=1e-6)


@for_all(dtype="float64")
def test_stride_gradient_is_a_one_sided_difference_below_the_upper_bound(xp, case):
    """The slope of <g, A(s) x> from s to s + h, also where s is on a corner: from the right.

    A stride below its lower bound is clipped first: there the gradient is that at the bound.
    """
    clipped = [
        oracles.effective_stride(size, stride, case.smoothness, case.ramp) if size > 1 else stride
        for size, stride in zip(case.sizes, case.strides, strict=True)
    ]
    x, g, ds = stride_gradient(xp, case)
    for position, found in enumerate(ds):
        if 2 * clipped[position] < case.sizes[position]:
            right = oracles.moved(clipped, position, STEP / 2**10)
            slope = (loss(case, x, g, right) - loss(case, x, g, clipped)) / (STEP / 2**10)
            assert found == pytest.approx(slope, rel=1e-4, abs=1e-6)


def stride_gradient(xp, case):
    """Input, cotangent and stride gradients, as NumPy arrays."""
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    _, _, ds = xp.vjp(case.array(xp, x), case.strides_for(xp), case.array(xp, g), **case.options)
    return x, g, to_numpy(ds)


# All on 24 samples, where stride s has its cutoff on bin 12/s.
CORNERS = [
    pytest.param(2.0, 2.0, "outside", 7, id="outside, on the foot"),
    pytest.param(2.0, 3.3, "outside", 7, id="outside, on the foot, of a width that rounds"),
    pytest.param(2.0, 2.0, "outside", 8, id="outside, between foot and edge"),
    pytest.param(2.0, 2.0, "outside", 9, id="outside, on the edge"),
    pytest.param(2.0, 1.5, "inside", 5, id="inside, on the foot"),
    pytest.param(8.0, 2.0, "inside", 2, id="inside, on the edge"),
    pytest.param(8.0, 2.0, "inside", 1, id="inside, on the foot, one bin wide"),
    pytest.param(6.0, 2.0, "inside", 2, id="inside, just one bin wide"),
    pytest.param(2.0, 3.0, "inside", 5, id="inside, just as wide as asked"),
    pytest.param(2.0, 4.0, "inside", 5, id="inside, half as wide as the cutoff"),
]


@pytest.mark.parametrize(("stride", "smoothness", "ramp", "k"), CORNERS)
def test_gradient_of_one_bin_on_corners(xp, stride, smoothness, ramp, k):
    """A wave in bin k comes out times m_k: the slope of m_k is its share of the gradient."""
    options = {"smoothness": smoothness, "ramp": ramp, "crop": False}
    wave = np.cos(2 * np.pi * k * np.arange(24) / 24)
    x = xp.asarray(wave)
    y, _, ds = xp.vjp(x, (stride,), x, **options)
    level = float(oracles.mask(24, stride, smoothness, ramp)[k])
    slope = float(oracles.mask_slope(24, stride, smoothness, ramp)[k])
    assert_array(y, level * wave, like=x, atol=1e-13)
    assert_array(ds, [12 * slope], like=x, atol=1e-12)


def test_a_bin_on_the_foot_counts_and_a_bin_on_the_edge_does_not():
    """The published rule, by hand: N = 16, s = 2, R = 2 has its foot on bin 5, its edge on 7."""
    slopes = []
    for k in (4, 5, 6, 7):
        wave = np.cos(2 * np.pi * k * np.arange(16) / 16)
        _, pullback = ss.vjp(wave, (2.0,), smoothness=2.0, crop=False)
        slopes.append(pullback(wave)[1][0] / 8)
    # dm/ds = 1/R dc/ds = -N/(2 R s^2) = -1 on the ramp.
    np.testing.assert_allclose(slopes, [0.0, -1.0, -1.0, 0.0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("ramp", ["outside", "inside"])
def test_strides_outside_their_bounds_have_the_gradient_at_the_bound(xp, ramp, method):
    """Straight through: a clamped stride can come back, from below and from above."""
    options = {"ramp": ramp, "method": method, "crop": False}
    x, g = (np.random.default_rng(seed).normal(size=(2, 24)) for seed in (0, 1))
    low, high = ss.stride_bounds(24, ramp=ramp)
    for bound, outside in [(low, 0.9 * low), (low, 0.05), (high, 1.1 * high), (high, 1e6)]:
        at, beyond = (
            xp.vjp(xp.asarray(x), (stride,), xp.asarray(g), **options)
            for stride in (bound, outside)
        )
        assert abs(to_numpy(at[2])[0]) > 1e-4
        for one, other in zip(at, beyond, strict=True):
            np.testing.assert_allclose(to_numpy(other), to_numpy(one), rtol=1e-12, atol=1e-14)


def test_each_stride_has_the_gradient_of_its_own_axis(xp):
    """Where only one axis carries a wave on its ramp, only its stride has a gradient."""
    wave = np.cos(2 * np.pi * 6 * np.arange(16) / 16)
    x = xp.asarray(np.ones((16, 1)) * wave)
    for axes, where in [((0, 1), 1), ((1, 0), 0), (None, 1)]:
        y = xp.diffstride(x, (2.0, 4.0), axes=axes, crop=False)
        _, _, ds = xp.vjp(x, (2.0, 4.0), x, axes=axes, crop=False)
        found = to_numpy(ds)
        assert y.shape == x.shape
        assert found[where] < -0.1
        assert abs(found[1 - where]) < 1e-12


@st.composite
def cases_with_dtypes(draw, xp):
    """A call, and the dtype that its strides arrive in."""
    return draw(cases(xp, max_axes=2)), draw(st.sampled_from([None, "float32", "float64"]))


@for_all(cases_with_dtypes, share=0.2)
def test_stride_gradients_have_the_dtype_of_the_strides(xp, drawn):
    """That of an array of strides; for numbers that of x, at least float32."""
    case, dtype = drawn
    x = case.array(xp, case.values(case.shape))
    g = case.array(xp, case.values(case.out_shape, 1))
    strides = xp.asarray(case.strides, dtype) if dtype else case.strides
    y, dx, ds = xp.vjp(x, strides, g, **case.options)
    assert dtype_name(y) == dtype_name(dx) == case.dtype
    assert dtype_name(ds) == (dtype or case.dtype)
    assert ds.shape == (len(case.axes),)


def test_strides_may_be_integers(xp):
    """An integer array of strides is read like its floats; its gradient has the dtype of x."""
    x = xp.asarray(np.random.default_rng(0).normal(size=(4, 8)), "float32")
    y, _, ds = xp.vjp(x, xp.asarray([2], "int64"), x[:, :4], ramp="inside")
    expected, _, gradient = xp.vjp(x, (2.0,), x[:, :4], ramp="inside")
    assert_array(y, to_numpy(expected), like=x, atol=0)
    assert_array(ds, to_numpy(gradient), like=x, atol=0)


@pytest.mark.parametrize("method", ["matmul", "fft"])
def test_tangents_that_are_left_out_are_zero(xp, method):
    """None stands for zeros, in either place and in both."""
    rng = np.random.default_rng(0)
    x, dx = (xp.asarray(rng.normal(size=(5, 8))) for _ in range(2))
    s, ds = xp.asarray([1.5, 2.0]), xp.asarray([0.25, -1.0])
    zero_x, zero_s = xp.asarray(np.zeros((5, 8))), xp.asarray([0.0, 0.0])
    for given, full in [
        ((None, ds), (zero_x, ds)),
        ((dx, None), (dx, zero_s)),
        ((None, None), (zero_x, zero_s)),
    ]:
        _, dy = xp.jvp(x, s, *given, ramp="inside", method=method)
        _, expected = xp.jvp(x, s, *full, ramp="inside", method=method)
        assert_array(dy, to_numpy(expected), like=x, atol=1e-15)


def test_tangents_where_no_stride_counts(xp):
    """Axes of one sample and hard crops: the tangent is zero, of the output's shape."""
    x = xp.asarray(np.ones((1, 8)))
    _, dy = xp.jvp(x, (3.0, 2.0), None, (1.0, 1.0), smoothness=0, ramp="inside")
    assert_array(dy, np.zeros((1, 4)), like=x, atol=0)


def by_torch(function, *values):
    """Gradients of a scalar function by torch itself."""
    torch = load("torch")
    leaves = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]
    return [to_numpy(gradient) for gradient in torch.autograd.grad(function(*leaves), leaves)]


def by_jax(function, *values):
    """Gradients of a scalar function by JAX itself."""
    jax = load("jax")
    leaves = [Backend.JAX.asarray(value) for value in values]
    gradients = jax.jit(jax.grad(function, argnums=tuple(range(len(values)))))(*leaves)
    return [to_numpy(gradient) for gradient in gradients]


@pytest.mark.parametrize("differentiate", [by_torch, by_jax])
@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("ramp", ["outside", "inside"])
@pytest.mark.parametrize("strides", [(2.0, 4.0), (1.7, 2.3), (1.25, 6.0)])
def test_a_library_that_differentiates_the_core_finds_the_same(
    strides, ramp, method, differentiate
):
    """Corners and bounds obey the rule whoever differentiates: the mask uses no library's clip."""
    options = {"ramp": ramp, "method": method, "smoothness": 2.0}
    x = np.random.default_rng(0).normal(size=(10, 12))
    plan = ss.make_plan(x.shape, strides, **options)
    g = np.random.default_rng(1).normal(size=plan.out_shape)

    def scalar(x, s):
        y = ss.diffstride(x, s, plan=plan)
        backend = Backend.JAX if differentiate is by_jax else Backend.TORCH
        return (y * backend.asarray(g)).sum()

    expected = ss.vjp(x, strides, plan=plan)[1](g)
    for found, wanted in zip(differentiate(scalar, x, strides), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_strides_without_gradient_in_numpy_may_be_numbers_of_any_kind():
    """Integers, NumPy scalars, lists and tuples of them are the same strides."""
    x = np.random.default_rng(0).normal(size=(16, 16))
    wanted = ss.diffstride(x, (2.0, 3.0))
    for strides in ([2, 3], (np.float32(2), np.int64(3)), np.array([2, 3])):
        np.testing.assert_array_equal(ss.diffstride(x, strides), wanted)
