"""The operator at chosen places: long axes, held plans, single samples, memory layouts, sizes.

What holds whatever is drawn is in `spectral_stride.testing`, and test_suite.py runs it.
"""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectral_stride as ss
from spectral_stride.testing import oracles
from spectral_stride.testing.cases import Case
from tests.libraries import Backend, assert_array, to_numpy


@pytest.mark.parametrize(
    ("size", "stride", "ramp", "method"),
    [
        (2048, 64.0, "outside", "fft"),
        (3001, 125.5, "inside", "matmul"),
        (1021, 8.0, "inside", "fft"),
        (1021, 8.0, "outside", "matmul"),
    ],
)
def test_long_axes(xp, size, stride, ramp, method):
    """Axes of a thousand samples and more, even, odd and prime."""
    case = Case((2, size), (1,), (stride,), {}, ramp=ramp, method=method, dtype="float32")
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    array = xp.asarray(x, case.dtype)
    y, dx, ds = xp.vjp(array, case.strides, xp.asarray(g, case.dtype), **case.options)
    A, slopes = case.matrices()
    assert_array(y, x @ A[0].T, like=array, atol=case.atol())
    assert_array(dx, g @ A[0], like=array, atol=case.atol())
    expected = oracles.stride_gradient(A, slopes, x, g, case.axes)
    assert_array(ds, expected, like=array, atol=case.stride_atol(x, g))


@cache
def exact_mask(*axis):
    """The mask of a long axis and its slope, once for all libraries."""
    return [np.array(found(*axis), dtype=float) for found in (oracles.mask, oracles.mask_slope)]


def test_axes_whose_phases_do_not_fit_a_short_integer(xp):
    """With 40000 samples and a ramp on bins near N/2, products of bin and sample exceed 2^29."""
    size, stride = 40_000, 1.0
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(2, size))
    array = xp.asarray(x)
    y, _, ds = xp.vjp(array, (stride,), xp.asarray(g), ramp="inside", method="fft")
    X, G = np.fft.rfft(x), np.fft.rfft(g)
    level, slope = exact_mask(size, stride, 4, "inside")
    assert_array(y, np.fft.irfft(level * X, size), like=array, atol=1e-13)
    # <g, y> = 1/N sum_k w_k m_k Re(X_k conj(G_k)), and w is 1 on the last bin.
    terms = slope * np.where(np.arange(size // 2 + 1) == size // 2, 1, 2) * (X * G.conj()).real
    assert_array(ds, [terms.sum() / size], like=array, atol=1e-12 * np.abs(terms).sum() / size)


def test_a_held_plan_cuts_the_bins_that_it_has_no_room_for(xp):
    """Planned for stride 8 and called with stride 1: bins up to n/2 pass, the others are gone."""
    plan = ss.make_plan((64,), (8.0,), smoothness=1, ramp="inside")
    i = np.arange(64)
    inside, outside = (xp.asarray(np.cos(2 * np.pi * k * i / 64)) for k in (3, 5))
    assert np.abs(to_numpy(xp.diffstride(inside, (1.0,), plan=plan))).max() == pytest.approx(1)
    assert np.abs(to_numpy(xp.diffstride(outside, (1.0,), plan=plan))).max() < 1e-14


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("ramp", ["outside", "inside"])
def test_an_axis_of_one_sample_is_left_alone(xp, ramp, method):
    """N = 1 is the identity under every stride, and its stride gradient is 0."""
    values = np.array([[0.5], [-2.0]])
    x = xp.asarray(values)
    y, dx, ds = xp.vjp(x, (7.5,), x, ramp=ramp, method=method, norm="backward")
    assert_array(y, values, like=x, atol=0)
    assert_array(dx, values, like=x, atol=0)
    assert_array(ds, [0.0], like=x, atol=0)


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("stride", [0.25, 1.0, 7.5])
def test_an_axis_of_two_samples_has_one_stride(xp, stride, method):
    """With c = 1 the ramp "inside" ends at 3/2 and is one bin wide: m_1 = 1/2, dm_1/ds = -1."""
    wave = np.array([1.0, -1.0])
    x, g = xp.asarray(2 + wave), xp.asarray(wave)
    y, dx, ds = xp.vjp(x, (stride,), g, method=method)
    assert_array(y, 2 + wave / 2, like=x, atol=1e-15)
    assert_array(dx, wave / 2, like=x, atol=1e-15)
    assert_array(ds, [-2.0], like=x, atol=1e-15)
    y, dx, ds = xp.vjp(x, (stride,), g, method=method, ramp="outside")
    assert_array(y, 2 + wave, like=x, atol=1e-15)
    assert_array(dx, wave, like=x, atol=1e-15)
    assert_array(ds, [0.0], like=x, atol=1e-15)


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "every second sample": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "negative steps": lambda x: np.ascontiguousarray(x[:, ::-1, ::-1])[:, ::-1, ::-1],
    "zero steps": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_does_not_matter(layout, method):
    """Any strides in memory, and read-only arrays: the values decide."""
    x = LAYOUTS[layout](np.random.default_rng(0).normal(size=(3, 8, 9)))
    g = LAYOUTS[layout](np.random.default_rng(1).normal(size=(3, 4, 5)))
    assert not any(array.flags.c_contiguous for array in (x, g))
    x.setflags(write=False)
    options = {"ramp": "inside", "method": method}
    y, pullback = ss.vjp(x, (2.0, 2.0), **options)
    plain, plain_pullback = ss.vjp(np.ascontiguousarray(x), (2.0, 2.0), **options)
    np.testing.assert_allclose(y, plain, rtol=0, atol=1e-14)
    for one, other in zip(pullback(g), plain_pullback(np.ascontiguousarray(g)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", ["matmul", "fft"])
def test_memory_layout_does_not_matter_in_torch(method):
    """Transposed and sliced tensors, which torch keeps as views."""
    values = np.random.default_rng(0).normal(size=(3, 8, 9))
    x = Backend.TORCH.asarray(np.ascontiguousarray(values.T)).permute(2, 1, 0)
    sliced = Backend.TORCH.asarray(np.repeat(values, 2, axis=-1))[..., ::2]
    expected = ss.diffstride(values, (2.0, 2.0), ramp="inside", method=method)
    for view in (x, sliced):
        assert not view.is_contiguous()
        y = ss.diffstride(view, (2.0, 2.0), ramp="inside", method=method)
        assert_array(y, expected, like=view, atol=1e-14)


@st.composite
def axis_rules(draw):
    """One axis and everything that decides its output size."""
    size = draw(st.one_of(st.integers(1, 70), st.sampled_from([1000, 2047, 4096])))
    smoothness = draw(st.one_of(st.sampled_from([0.0, 1.0, 4.0, 6.0]), grid(0, 40, 8)))
    ramp = draw(st.sampled_from(["outside", "inside"]))
    low, high = oracles.bounds(max(size, 2), smoothness, ramp)
    stride = draw(
        st.one_of(
            grid(1, 12, 16), st.integers(1, size + 1), st.sampled_from([float(low), float(high)])
        )
    )
    return size, float(stride), smoothness, ramp


def grid(low, high, parts):
    """Multiples of 1/parts: exact in floating point."""
    return st.integers(low * parts, high * parts).map(lambda number: number / parts)


@given(axis_rules(), st.integers(1, 9))
def test_sizes_follow_the_law_in_exact_arithmetic(rule, multiple_of):
    """n = min(2 K, N) outside and ceil(N/s) inside, rounded up to a multiple and at most N."""
    size, stride, smoothness, ramp = rule
    planned = ss.make_plan(
        (size,), (stride,), smoothness=smoothness, ramp=ramp, multiple_of=multiple_of
    )
    expected = oracles.out_size(size, stride, smoothness, ramp, multiple_of=multiple_of)
    assert planned.out_shape == (expected,)


@given(st.integers(2, 300), st.floats(0.5, 200), st.sampled_from([0, 1.3, 4.0]))
def test_sizes_of_any_float_stride_follow_the_law_to_rounding(size, stride, smoothness):
    """Where rounding puts a bin on the edge, the size is that of one side or the other."""
    for ramp in ("outside", "inside"):
        planned = ss.make_plan((size,), (stride,), smoothness=smoothness, ramp=ramp).out_sizes[0]
        near = [stride * (1 + sign * 4 * np.finfo(float).eps) for sign in (-1, 0, 1)]
        assert planned in {oracles.out_size(size, s, smoothness, ramp) for s in near}


@given(st.integers(2, 200), st.integers(1, 60))
def test_inside_has_the_size_of_a_strided_convolution(size, stride):
    """n = ceil(N/s) for every whole stride up to N/2."""
    n = ss.make_plan((size,), (stride,), ramp="inside").out_sizes[0]
    assert n == (len(range(0, size, stride)) if 2 * stride <= size else 2)


def test_the_sizes_that_the_published_ramp_is_known_for():
    """With R = 4, stride 2 maps 32 to 24, 16 to 16 and 8 to 8."""
    sizes = [ss.make_plan((n,), (2.0,), ramp="outside").out_sizes[0] for n in (32, 16, 8)]
    assert sizes == [24, 16, 8]
