"""Maps built by one array library for another."""

import array_api_strict as xp
import numpy as np
import pytest
from array_api_compat import array_namespace

import spectral_stride as ss
from spectral_stride.axis import AxisMap, resampling
from spectral_stride.fast.handed_over import handed_over
from spectral_stride.fast.taps import Taps, with_taps


@pytest.mark.parametrize("taps", [None, [Taps(3, 1, 1, 33), Taps(2, 2, 1, 20)]], ids=["", "taps"])
@pytest.mark.parametrize("ramp", ["inside", "outside"])
@pytest.mark.parametrize("smoothness", [4.0, 0.0])
def test_rows_that_are_found_are_those_that_would_be_built(smoothness, ramp, taps):
    """Every array to the last bit, and in the other library's hands."""
    shape = (2, 33, 20)
    plan = ss.make_plan(shape, (2.3, 1.7), smoothness=smoothness, ramp=ramp, method="matmul")
    built = resampling(np.asarray([2.3, 1.7]), plan)
    there = resampling(np.asarray([2.3, 1.7]), plan)
    if taps is not None:
        built, there = with_taps(built, taps), with_taps(there, taps)
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
