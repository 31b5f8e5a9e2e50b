"""Derivatives in the strides, and how they fit together with those in the input."""

import numpy as np
import pytest
from hypothesis import strategies as st

import spectral_stride as ss
from spectral_stride import gradients
from spectral_stride.axis import resampling
from spectral_stride.testing import oracles
from spectral_stride.testing.cases import cases
from tests.drawn import for_all
from tests.libraries import Backend, assert_array, dtype_name, load, to_numpy

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
        _, pullback = ss.vjp(wave, (2.0,), smoothness=2.0, ramp="outside", crop=False)
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
    options = {"ramp": "outside", "crop": False}
    for axes, where in [((0, 1), 1), ((1, 0), 0), (None, 1)]:
        y = xp.diffstride(x, (2.0, 4.0), axes=axes, **options)
        _, _, ds = xp.vjp(x, (2.0, 4.0), x, axes=axes, **options)
        found = to_numpy(ds)
        assert y.shape == x.shape
        assert found[where] < -0.1
        assert abs(found[1 - where]) < 1e-12


@st.composite
def cases_with_dtypes(draw, **options):
    """A call, and the dtype that its strides arrive in."""
    return draw(cases(max_axes=2, **options)), draw(st.sampled_from([None, "float32", "float64"]))


def test_each_stride_has_the_tangent_of_its_own_axis(xp):
    """<g, dy> along one stride is that stride's gradient."""
    x = xp.asarray(np.random.default_rng(1).normal(size=(2, 14, 17)))
    strides = xp.asarray([1.8, 2.6])
    g = xp.asarray(np.random.default_rng(2).normal(size=(2, 8, 7)))
    options = {"ramp": "inside"}
    _, _, ds = xp.vjp(x, strides, g, **options)
    still = xp.asarray(np.zeros((2, 14, 17)))
    for position in range(2):
        along = xp.asarray([float(position == one) for one in range(2)])
        _, dy = xp.jvp(x, strides, still, along, **options)
        found = float(np.sum(to_numpy(dy) * to_numpy(g)))
        assert found == pytest.approx(float(ds[position]), rel=1e-9)


@for_all(cases_with_dtypes, share=0.2)
def test_stride_gradients_have_the_dtype_of_the_strides(xp, drawn):
    """That of an array of strides; for numbers that of x, at least float32."""
    case, dtype = drawn
    x, g = (xp.asarray(case.values(shape), case.dtype) for shape in (case.shape, case.out_shape))
    strides = xp.asarray(case.strides, dtype) if dtype else case.strides
    y, dx, ds = xp.vjp(x, strides, g, **case.options)
    assert dtype_name(y) == dtype_name(dx) == case.dtype
    assert dtype_name(ds) == (dtype or case.dtype)
    assert ds.shape == (len(case.axes),)
    if dtype is None:  # numbers are the same strides as an array of them
        same = xp.vjp(x, xp.asarray(strides, case.dtype), g, **case.options)
        for one, other in zip((y, dx, ds), same, strict=True):
            np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


@pytest.mark.parametrize("smoothness", [4.0, 0.0])
@pytest.mark.parametrize(("dtype", "other"), [("float32", "float64"), ("float64", "float32")])
def test_cotangents_and_tangents_may_have_another_dtype(xp, dtype, other, smoothness):
    """They are cast: dx, dy and ds have the dtypes of what they belong to."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=size).astype("float32") for size in ((3, 12), (3, 6), (3, 12), 1)]
    x, g, dx, ds = (xp.asarray(one, dtype) for one in values)
    s = xp.asarray([2.25], dtype)
    _, other_g, other_dx, other_ds = (xp.asarray(one, other) for one in values)
    options = {"out_sizes": (6,), "smoothness": smoothness}
    for found, expected in [
        (xp.vjp(x, s, other_g, **options), xp.vjp(x, s, g, **options)),
        (xp.jvp(x, s, other_dx, ds, **options), xp.jvp(x, s, dx, ds, **options)),
        (xp.jvp(x, s, dx, other_ds, **options), xp.jvp(x, s, dx, ds, **options)),
    ]:
        for one, wanted in zip(found, expected, strict=True):
            assert_array(one, to_numpy(wanted), like=x, atol=0)
    _, _, gradient = xp.vjp(x, xp.asarray([2.25], other), g, **options)
    assert dtype_name(gradient) == other


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
    for tangents, full in [
        ((None, ds), (zero_x, ds)),
        ((dx, None), (dx, zero_s)),
        ((None, None), (zero_x, zero_s)),
    ]:
        _, dy = xp.jvp(x, s, *tangents, ramp="inside", method=method)
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


@pytest.mark.parametrize(("size", "amplitude"), [(256, 600), (4096, 40), (65536, 2.5)])
def test_half_precision_holds_what_is_on_the_way(size, amplitude):
    """A coefficient is a sum over the axis: of a wave on the ramp amplitude N/2, beyond 65504."""
    wave = amplitude * np.cos(2 * np.pi * (size // 4 - 2) * np.arange(size) / size)
    x = wave.astype(np.float16)[None, :]
    _, pullback = ss.vjp(x, (2.0,), ramp="inside")
    y, exact = ss.vjp(x.astype(np.float64), (2.0,), ramp="inside")
    g = (y / np.abs(y).max()).astype(np.float16)
    np.testing.assert_allclose(pullback(g)[1], exact(g.astype(np.float64))[1], rtol=1e-2)


def read_coefficients(x, strides, plan):
    """The map of strides, y and the coefficients of each ramp."""
    op = resampling(np.asarray(strides), plan)
    return op, *gradients.forward(op, x)


@pytest.mark.parametrize("method", ["matmul", "fft"])
def test_cotangents_of_coefficients_go_back_to_the_input_and_to_the_strides_before(method):
    """The gradients of <g, y> + sum_i <dq_i, q_i>, against central differences."""
    rng, at = np.random.default_rng(0), (2.2, 1.7)
    x = rng.normal(size=(2, 24, 20))
    plan = ss.make_plan(x.shape, at, ramp="inside", method=method)
    op, y, q = read_coefficients(x, at, plan)
    g, dq = rng.normal(size=y.shape), [rng.normal(size=one.shape) for one in q]

    def total(x, strides):
        _, y, q = read_coefficients(x, strides, plan)
        return (g * y).sum() + sum((one * of).sum() for one, of in zip(q, dq, strict=True))

    dx, ds = gradients.backward(op, g, q, np.dtype("float64"), dq=dq)
    towards = rng.normal(size=x.shape)
    np.testing.assert_allclose((dx * towards).sum(), total(towards, at), rtol=1e-9)
    step = 1e-6 * np.eye(2)
    slopes = [(total(x, at + move) - total(x, at - move)) / 2e-6 for move in step]
    np.testing.assert_allclose(ds, slopes, rtol=1e-5)


def test_the_gradient_of_the_input_may_be_left_out():
    """That of the strides is the same, and of the last axis no more is computed than it needs."""
    x, at = np.random.default_rng(0).normal(size=(2, 24, 20)), (2.2, 1.7)
    op, y, q = read_coefficients(x, at, ss.make_plan(x.shape, at, ramp="inside"))
    wanted = gradients.backward(op, y, q, y.dtype)
    found = gradients.backward(op, y, q, y.dtype, into_x=False)
    assert found[0] is None
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-12)
    assert gradients.backward(op, None, q, y.dtype, into_x=False) == (None, None)
