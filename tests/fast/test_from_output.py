"""The stride gradient read off the output: the same numbers as on the way to it."""

import numpy as np
import pytest
from hypothesis import assume, given

import spectral_stride as ss
from spectral_stride.axis import resampling
from spectral_stride.fast.from_output import (
    LEAST_SHARE,
    FromOutput,
    choose,
    seen_from,
    shares,
)
from spectral_stride.gradients import backward, forward
from spectral_stride.operator import along, apply
from spectral_stride.testing.cases import cases, generic_strides_on


def drawn_map(case, dtype, mean=0):
    """The map of a case, its input and a cotangent, in a dtype and around a mean."""
    plan = ss.make_plan(case.shape, case.strides, **case.options)
    x, g, s = (
        np.asarray(values, dtype=dtype)
        for values in (
            case.values(case.shape) + mean,
            case.values(case.out_shape, 1) + mean,
            case.strides,
        )
    )
    return resampling(s, plan), x, g, s


def assume_large_shares(op):
    """Where a share is smaller, learning from the output is not asked for."""
    learning = [one for one in op.maps if one is not None and one.ramp is not None]
    assume(all(shares(one).min() >= LEAST_SHARE for one in learning))


@pytest.mark.parametrize(("dtype", "mean", "rtol"), [("float64", 0, 1e-11), ("float32", 10, 1e-3)])
@pytest.mark.parametrize("keeps_samples", [False, True])
@given(case=cases(dtypes=("float64",), strides=generic_strides_on))
def test_the_output_tells_the_same_gradient(dtype, mean, rtol, keeps_samples, case):
    """By its coefficients, or by its samples; the input's coefficients in float64 are the truth."""
    op, x, g, s = drawn_map(case, dtype, mean)
    assume_large_shares(op)
    how = FromOutput((), keeps_samples).found_in(op)
    y = apply(op, x)
    dy, ds = how.backward(op, g, how.keep(op, y), s.dtype)
    np.testing.assert_array_equal(dy, g)
    exact, *_ = drawn_map(case, "float64")
    _, q = forward(exact, x.astype("float64"))
    _, expected = backward(exact, g.astype("float64"), q, np.dtype("float64"))
    assert (ds is None) == (expected is None)
    if ds is not None:
        terms = case.stride_atol(x, g) / (16 * np.finfo("float64").eps)
        np.testing.assert_allclose(ds, expected, rtol=0, atol=rtol * terms)


@given(case=cases(dtypes=("float64",), strides=generic_strides_on, max_axes=2))  # one has to learn
def test_cotangents_of_what_was_read_go_back_to_the_output(case):
    """<dq, E y> has the gradient E^T dq in y, and none in the stride of its own axis."""
    op, x, _, s = drawn_map(case, "float64")
    assume_large_shares(op)
    how = FromOutput((), keeps_samples=False).found_in(op)
    y = apply(op, x)
    kept = how.keep(op, y)
    assume(sum(one is not None for one in kept) == 1)
    dq = [None if one is None else np.ones_like(one) for one in kept]
    dy, ds = how.backward(op, None, kept, s.dtype, dq=dq)
    assert ds is None
    total = sum(one.sum() for one in kept if one is not None)
    np.testing.assert_allclose((dy * y).sum(), total, rtol=1e-9, atol=1e-9 * np.abs(y).sum())


def test_cotangents_of_what_was_read_reach_the_stride_of_the_other_axis():
    """The gradient of sum_i <dq_i, E_i y> in both strides, against central differences."""
    plan = ss.make_plan((40, 30), (2.0, 2.1), ramp="inside")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 30))
    how = FromOutput((), keeps_samples=False)

    def read(strides):
        op = resampling(np.asarray(strides), plan)
        return op, how.found_in(op).keep(op, apply(op, x))

    op, kept = read([2.0, 2.1])
    dq = [rng.normal(size=one.shape) for one in kept]
    _, ds = how.found_in(op).backward(op, None, kept, np.dtype("float64"), dq=dq)

    def total(strides):
        return sum((a * b).sum() for a, b in zip(dq, read(strides)[1], strict=True))

    step = 1e-6
    expected = [
        (total([2.0 + step, 2.1]) - total([2.0 - step, 2.1])) / (2 * step),
        (total([2.0, 2.1 + step]) - total([2.0, 2.1 - step])) / (2 * step),
    ]
    assert np.abs(expected).min() > 1e-2
    np.testing.assert_allclose(ds, expected, rtol=1e-6)


def test_what_is_kept():
    """The input's coefficients where a share is too small, samples where they are fewer."""

    def kept(size, stride, *, ramp="inside", **options):
        plan = ss.make_plan((size, size), (stride, stride), ramp=ramp, **options)
        how = choose(resampling(np.full(2, stride), plan))
        if how is None:
            return "input"
        return "samples" if how.keeps_samples else "output"

    assert kept(40, 2.0) == "output"
    assert kept(32, 2.0) == "output"  # onto 16, so that both are as much
    assert kept(30, 2.0) == "samples"
    # With the cutoff at 10.6 the ramp ends on bin 11, whose share is 0.025; at 10.7 it is 0.05.
    assert kept(40, 20 / 10.6) == "input"
    assert kept(40, 20 / 10.7) == "output"
    assert kept(40, 1.2) == "input"  # on 34 samples, which is not much less
    assert kept(32, 2.0, ramp="outside") == "input"  # on 24


def test_without_a_ramp_nothing_is_kept():
    plan = ss.make_plan((40, 40), (2.0, 2.0), ramp="inside", smoothness=0)
    op = resampling(np.full(2, 2.0), plan)
    how = choose(op)
    assert how.keep(op, np.ones((20, 20))) == [None, None]
    dy, ds = how.backward(op, np.ones((20, 20)), [None, None], np.dtype("float64"))
    assert ds is None
    np.testing.assert_array_equal(dy, np.ones((20, 20)))


def test_a_caller_that_knows_what_is_less_is_asked_for_shares_alone():
    plan = ss.make_plan((40, 40), (1.2, 1.2), ramp="inside")
    op = resampling(np.full(2, 1.2), plan)
    assert choose(op) is None
    assert choose(op, always=True) is not None
    small = resampling(
        np.full(2, 20 / 10.6), ss.make_plan((40, 40), (20 / 10.6,) * 2, ramp="inside")
    )
    assert choose(small, always=True) is None


def test_a_cotangent_is_seen_as_from_strides_that_moved_on():
    """With the map of other strides, A^T u = A0^T T^T u while no bin leaves the ramp."""
    # Of the axis of one sample there is no map.
    plan = ss.make_plan((3, 40, 1), (2.0, 2.0), ramp="inside")
    still, moving = (resampling(np.asarray([s, 2.0]), plan) for s in (2.0, 2.0 + 1e-3))
    u = np.random.default_rng(0).normal(size=(3, 20, 1))
    seen = seen_from(moving, still, u, along)
    found = apply(still, seen, adjoint=True)
    wanted = apply(moving, u, adjoint=True)
    assert np.abs(wanted - apply(still, u, adjoint=True)).max() > 1e-5
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    single = [resampling(np.asarray([s, 2.0], "float32"), plan) for s in (2.0 + 1e-3, 2.0)]
    seen = seen_from(*single, u.astype("float32"), along)
    assert seen.dtype == "float32"
