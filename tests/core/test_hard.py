"""A hard crop whose strides learn from the ramp: values, what is not computed, what is refused."""

import pickle

import numpy as np
import pytest

import spectral_stride as ss
from spectral_stride import operator
from spectral_stride.axis import resampling
from spectral_stride.gradients import backward, forward
from spectral_stride.layer_settings import StrideSettings
from spectral_stride.plan import Plan

X = np.random.default_rng(0).normal(size=(3, 33, 20))


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("ramp", ["inside", "outside"])
@pytest.mark.parametrize("canvas", [{}, {"multiple_of": 4}, {"out_sizes": (31, 20)}])
def test_its_values_are_spectral_pooling_to_the_sizes_of_the_soft_crop(canvas, ramp, method):
    options = {"ramp": ramp, "method": method, "norm": "ortho", **canvas}
    soft = ss.make_plan(X.shape, (2.3, 1.7), **options)
    y = ss.diffstride(X, (2.3, 1.7), hard=True, **options)
    assert y.shape == soft.out_shape
    pooled = ss.spectral_pool(X, soft.out_sizes, norm="ortho", method=method)
    np.testing.assert_allclose(y, pooled, rtol=0, atol=1e-13)
    # It differs from the soft crop, unless nothing of it is left out.
    assert np.abs(y - ss.diffstride(X, (2.3, 1.7), **options)).max() > 0.01


def test_the_stride_gradient_is_an_estimate_and_no_derivative_of_the_output():
    """The output moves in steps; the estimate is that of the soft crop on one axis."""
    x = X[0]
    y, pullback = ss.vjp(x, (2.3,), axes=(0,), hard=True)
    near = ss.diffstride(x, (2.3 + 1e-6,), axes=(0,), hard=True)
    np.testing.assert_array_equal(y, near)
    _, soft = ss.vjp(x, (2.3,), axes=(0,))
    assert abs(pullback(y)[1][0]) > 1
    np.testing.assert_allclose(pullback(y)[1], soft(y)[1], rtol=1e-12)


def test_without_a_ramp_no_stride_learns():
    y, pullback = ss.vjp(X, (2.3, 1.7), smoothness=0, hard=True)
    np.testing.assert_array_equal(pullback(y)[1], [0, 0])


@pytest.mark.parametrize("method", ["matmul", "fft"])
def test_an_axis_that_keeps_its_size_costs_the_coefficients_of_its_ramp(method, monkeypatch):
    """And without strides that learn, nothing."""
    seen = []

    def along(rows, x, axis):
        seen.append(rows.shape)
        return operator.along(rows, x, axis)

    def transform(*_):
        raise AssertionError("nothing is to be transformed")

    monkeypatch.setattr(operator, "_rfft", transform)
    products = operator.Products(along=along)
    plan = ss.make_plan(X.shape, (1.0, 1.0), method=method, hard=True)
    op = resampling(np.array([1.0, 1.0]), plan)
    y, q = forward(op, X, products)
    assert y is X
    dx, ds = backward(op, X, q, X.dtype, products=products)
    assert dx is X
    assert np.abs(ds).min() > 0
    assert sorted(seen) == [(8, 20), (8, 20), (8, 33), (8, 33)]
    seen.clear()
    still = resampling(np.array([1.0, 1.0]), plan, learn=False)
    assert operator.apply(still, X, products=products) is X
    assert not seen


def test_it_is_part_of_the_plan():
    plan = ss.make_plan((8, 32), (2.0,), hard=True)
    soft = ss.make_plan((8, 32), (2.0,))
    assert plan != soft
    assert (plan.out_sizes, plan.hard, soft.hard) == (soft.out_sizes, True, False)
    assert pickle.loads(pickle.dumps(plan)) is plan
    # A pickle of before has no such field, and was soft.
    function, words = soft.__reduce__()
    assert function(*words[:7]) == soft
    old = object.__new__(Plan)
    old.__setstate__([*words[:7], (32,), ("matmul",)])
    assert old == soft


def test_settings_that_were_saved_before_are_soft():
    settings = StrideSettings(2)
    del vars(settings)["hard"]
    loaded = pickle.loads(pickle.dumps(settings))
    assert loaded == StrideSettings(2)
    assert hash(loaded) == hash(StrideSettings(2))
    assert loaded.plan((3, 8, 8), (2.0, 2.0)).hard is False


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hard": True, "crop": False}, ValueError, "hard: got both hard=True and crop=False"),
        ({"hard": "yes"}, TypeError, r"hard: got 'yes' \(str\); allowed: True or False"),
    ],
)
def test_what_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        ss.diffstride(X, (2.0, 2.0), **options)
    with pytest.raises(error, match=message):
        StrideSettings(2, **options)
