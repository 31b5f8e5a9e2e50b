"""Maps built by one array library for another."""

import array_api_strict as xp
import numpy as np
import pytest
from array_api_compat import array_namespace

import spectral_stride as ss
from spectral_stride.axis import AxisMap, resampling
from spectral_stride.fast.handed_over import handed_over, sent
from spectral_stride.fast.taps import Taps, with_taps

every_kind = [
    pytest.mark.parametrize(
        "taps", [None, [Taps(3, 1, 1, 33), Taps(2, 2, 1, 20)]], ids=["", "taps"]
    ),
    pytest.mark.parametrize("ramp", ["inside", "outside"]),
    pytest.mark.parametrize("smoothness", [4.0, 0.0]),
]


def built_twice(smoothness, ramp, taps):
    """The same map two times, of which one may be changed."""
    plan = ss.make_plan((2, 33, 20), (2.3, 1.7), smoothness=smoothness, ramp=ramp, method="matmul")
    maps = [resampling(np.asarray([2.3, 1.7]), plan) for _ in range(2)]
    return [one if taps is None else with_taps(one, taps) for one in maps]


def for_each_kind(test):
    for mark in every_kind:
        test = mark(test)
    return test


@for_each_kind
def test_what_is_sent_is_what_products_need(smoothness, ramp, taps):
    """Once for all axes: the rest of a map stays where it is."""
    built, here = built_twice(smoothness, ramp, taps)
    calls = []

    def send(arrays):
        calls.append(len(arrays))
        return [xp.asarray(array) for array in arrays]

    there = sent(here, send)
    assert calls == [6 if smoothness else 2]
    for one, other in zip(built.maps, there.maps, strict=True):
        assert type(one) is type(other)
        for name in ["matrix", *["analysis", "synthesis"] * (smoothness > 0)]:
            array = getattr(other, name)
            assert array_namespace(array) is xp
            np.testing.assert_array_equal(np.asarray(array), getattr(one, name))


def test_nothing_is_sent_of_axes_that_are_left():
    plan = ss.make_plan((4, 1), (2.0,), axes=(1,))
    op = sent(resampling(np.asarray([2.0]), plan), lambda arrays: pytest.fail("nothing to send"))
    assert op.maps == (None,)


@for_each_kind
def test_rows_that_are_found_are_those_that_would_be_built(smoothness, ramp, taps):
    """Every array to the last bit, and in the other library's hands."""
    built, there = built_twice(smoothness, ramp, taps)
    for one, other in zip(built.maps, handed_over(there, xp.asarray).maps, strict=True):
        assert type(one) is type(other)
        assert isinstance(other, AxisMap)
        names = ["mask", "matrix"]
        if smoothness:
            names += ["analysis", "synthesis", "ramp_rows"]
        else:
            assert other.ramp is None
        for name in names:
            array = getattr(other, name)
            assert array_namespace(array) is xp
            np.testing.assert_array_equal(np.asarray(array), getattr(one, name))


def test_an_axis_that_is_left_stays_so():
    plan = ss.make_plan((4, 1), (2.0, 2.0))
    op = handed_over(resampling(np.asarray([2.0, 2.0]), plan), np.asarray)
    assert op.maps[1] is None
    assert op.plan is plan
