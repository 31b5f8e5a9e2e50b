"""Plans: sizes in host integers, before any array is touched."""

import base64
import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectral_stride as ss
from spectral_stride.plan import strided_size
from spectral_stride.testing.cases import cases
from tests.libraries import assert_array


@given(cases())
def test_a_plan_is_frozen_hashable_and_cached(case):
    """Equal arguments give the same object, which is a dictionary key and cannot be changed."""
    plan = ss.make_plan(case.shape, case.strides, **case.options)
    assert ss.make_plan(list(case.shape), list(case.strides), **case.options) is plan
    assert {plan: "found"}[dataclasses.replace(plan)] == "found"
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.norm = "ortho"


@given(cases())
def test_a_plan_knows_the_shapes(case):
    """Input sizes, output sizes and the output's shape, in Python integers."""
    plan = ss.make_plan(case.shape, case.strides, **case.options)
    assert (plan.shape, plan.axes, plan.sizes) == (case.shape, case.axes, case.sizes)
    assert plan.out_sizes == case.out_sizes
    assert plan.out_shape == case.out_shape
    assert all(type(size) is int for size in plan.out_shape + plan.axes)


def test_strides_that_lead_to_the_same_sizes_share_a_plan():
    """A plan names no stride, so that strides may move while shapes stand still."""
    plan = ss.make_plan((4, 33), (2.01,), ramp="inside")
    assert ss.make_plan((4, 33), (2.05,), ramp="inside") is plan
    assert ss.make_plan((4, 33), (2.2,), ramp="inside") != plan


def test_a_plan_fits_another_batch_size(xp):
    """Only the number of dimensions and the sizes along the planned axes have to agree."""
    plan = ss.make_plan((2, 8), (2.0,), ramp="inside")
    values = np.random.default_rng(0).normal(size=(5, 8))
    x = xp.asarray(values)
    y = xp.diffstride(x, (2.0,), plan=plan)
    assert_array(y, ss.diffstride(values, (2.0,), ramp="inside"), like=x, atol=1e-15)
    _, dy = xp.jvp(x, (2.0,), None, None, plan=plan)
    assert dy.shape == (5, 4)


@pytest.mark.parametrize(
    "strides",
    [
        [2, 3],
        (np.float32(2), np.int64(3)),
        np.array([2.0, 3.0]),
        np.array([2, 3]),
        range(2, 4),
    ],
    ids=repr,
)
def test_strides_may_be_any_numbers(strides):
    """Sequences of Python or NumPy numbers, and arrays that can be read."""
    assert ss.make_plan((16, 16), strides) is ss.make_plan((16, 16), (2.0, 3.0))


def test_strides_may_be_an_array_of_any_library(xp):
    """They are read on the host, in one piece."""
    plan = ss.make_plan((16, 16), xp.asarray([2.0, 3.0], "float32"))
    assert plan is ss.make_plan((16, 16), (2.0, 3.0))


def test_axes_default_to_the_last_ones():
    """As many as there are strides; negative numbers count from the end."""
    plan = ss.make_plan((3, 16, 16), (2.0, 2.0))
    assert plan is ss.make_plan((3, 16, 16), (2.0, 2.0), axes=(1, 2))
    assert plan is ss.make_plan((3, 16, 16), (2.0, 2.0), axes=[-2, -1])
    assert ss.make_plan((16, 3, 3), (2.0,), axes=(-3,)).axes == (0,)


def test_auto_takes_the_matmul_on_short_axes_and_the_fft_on_long_ones():
    """One decision per axis."""
    assert ss.make_plan((4096, 32), (2.0, 2.0)).methods == ("fft", "matmul")
    for method in ("fft", "matmul"):
        assert ss.make_plan((4096, 32), (2.0, 2.0), method=method).methods == (method, method)


@pytest.mark.parametrize(
    ("multiple_of", "expected"), [(1, 11), (2, 12), (8, 16), (5, 15), (30, 30), (64, 32)]
)
def test_sizes_are_rounded_up_to_a_multiple_and_at_most_to_the_input(multiple_of, expected):
    """ceil(32/3) = 11 samples, rounded up; never more than 32."""
    plan = ss.make_plan((32,), (3.0,), ramp="inside", multiple_of=multiple_of)
    assert plan.out_sizes == (expected,)


def test_out_sizes_may_be_the_smallest_and_the_largest_canvas():
    """From the n of the ramp's rule, or the published layer's n, to N."""
    assert ss.make_plan((5,), (1.0,), ramp="outside", out_sizes=(4,)).out_shape == (4,)
    for n in (24, 25, 31, 32):
        plan = ss.make_plan((32,), (2.0,), ramp="outside", out_sizes=(n,))
        assert plan.out_shape == (n,)
    assert ss.make_plan((9,), (3.0,), out_sizes=(3,)).out_shape == (3,)
    assert ss.make_plan((1,), (3.0,), out_sizes=(1,)).out_shape == (1,)


def test_one_sample_less_would_lose_half_of_the_last_bin():
    """Of an odd n the last bin K = (n - 1)/2 has a sine, for which n - 1 samples have no place."""
    x = np.sin(2 * np.pi * 6 * np.arange(32) / 32)
    assert np.abs(ss.diffstride(x, (2.5,), ramp="inside")).max() > 0.1
    with pytest.raises(ValueError, match=r"out_sizes: got 12 .*allowed: 13 to 32"):
        ss.diffstride(x, (2.5,), ramp="inside", out_sizes=(12,))


def test_extreme_strides_are_clamped():
    """Any finite positive stride is legal."""
    tiny, huge = np.finfo(float).tiny, np.finfo(float).max
    assert ss.make_plan((32, 32), (tiny, huge), ramp="outside").out_sizes == (32, 10)
    assert ss.make_plan((32, 32), (tiny, huge)).out_sizes == (32, 2)


@given(st.integers(1, 64), st.floats(0.1, 100))
def test_a_plan_can_be_made_from_what_it_planned(size, stride):
    """The smallest canvas is legal as out_sizes, and gives the plan itself."""
    plan = ss.make_plan((size,), (stride,))
    assert ss.make_plan((size,), (stride,), out_sizes=plan.out_sizes) is plan


# As pickle wrote the plan of the test below at a6c65a7, when a plan had seven fields.
OLD_PICKLE = base64.b64decode(
    "gASVZAAAAAAAAACMFHNwZWN0cmFsX3N0cmlkZS5wbGFulIwEUGxhbpSTlCmBlF2UKChLCEsDSyBNLAF0lEsCSwOG"
    "lEsQS3iGlEdAEAAAAAAAAIwGaW5zaWRllIwHZm9yd2FyZJSMBGF1dG+UZWIu"
)


def test_a_plan_that_was_saved_is_the_plan():
    """The very object, and one of before the sizes were in it with all that it has now."""
    plan = ss.make_plan((8, 3, 32, 300), (2.0, 2.5), ramp="inside")
    assert pickle.loads(pickle.dumps(plan)) is plan
    assert copy.deepcopy(plan) is plan
    old = pickle.loads(OLD_PICKLE)
    assert old == plan
    assert (old.sizes, old.methods) == ((32, 300), ("matmul", "fft"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_quotient_is_whole_up_to_rounding(dtype):
    """Of every stride N/n there are n samples, and of a decimal one those of the decimal number."""
    for size in range(2, 161):
        for n in range(2, size + 1):
            plan = ss.make_plan((size,), (float(dtype(size / n)),), ramp="inside")
            assert plan.out_sizes == (n,)
    for size in range(2, 200):
        for tenths in range(10, min(5 * size, 80) + 1):
            plan = ss.make_plan((size,), (float(dtype(tenths / 10)),), ramp="inside")
            assert plan.out_sizes == (-(-size * 10 // tenths),)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_edge_is_on_a_bin_up_to_rounding(dtype):
    """With R = 4 and c = N/(2 s), a whole c leaves the bins below c + 5, and so K = c + 4."""
    for size in range(14, 200):
        for c in range(1, size // 2 - 4):
            plan = ss.make_plan((size,), (float(dtype(size / (2 * c))),), ramp="outside")
            assert plan.out_sizes == (2 * (c + 4),)


def test_what_is_not_rounding_is_kept_on_long_axes():
    assert strided_size(44100, 44100 / 16000) == strided_size(44100, np.float32(2.75625)) == 16000
    # A third more than a whole number of samples, on axes where float32 hardly resolves it.
    for size in (100, 2**20, 2**24, 2**26):
        assert strided_size(size, 1.5) == -(-2 * size // 3)
        assert strided_size(size, 63 / 62) == -(-62 * size // 63)
    # What rounds is the quotient: a large stride of many samples makes it no coarser.
    assert strided_size(2000, 2000 / 2.01) == 3
