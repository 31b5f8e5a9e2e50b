"""cubed resamples arrays larger than the memory that it is allowed, chunk by chunk."""

import numpy as np
import pytest

import spectral_stride as ss
from spectral_stride.testing.known import namespace
from tests.core.test_errors import check, refusal
from tests.libraries import load

cubed = load("cubed")


@pytest.fixture
def allowed(tmp_path):
    """An executor in this thread, with 600 kB for each task."""
    settings = {
        "spec.work_dir": str(tmp_path),
        "spec.allowed_mem": "600kB",
        "spec.reserved_mem": "0kB",
        "spec.executor_name": "single-threaded",
    }
    with cubed.config.set(settings):
        yield 600_000


def draw(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def test_larger_than_what_is_allowed(allowed):
    """0.7 MB in chunks of 123 kB, where a task may take 0.6 MB: y, dx and what a stride learns."""
    values = draw(24, 60, 64)
    assert values.nbytes > allowed
    x = cubed.from_array(values, chunks=(4, -1, -1))
    y, pullback = ss.vjp(x, (3.1,))
    assert y.chunks == ((4,) * 6, (60,), (21,))
    dx, dstrides = pullback(y)
    wanted, wanted_pullback = ss.vjp(values, (3.1,))
    expected = wanted, *wanted_pullback(wanted)
    for one, other in zip(cubed.compute(y, dx, dstrides), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_one_chunk_of_all_is_more_than_is_allowed(allowed):
    """The limit is real: cubed refuses the same array in one chunk, before it computes."""
    x = cubed.from_array(draw(40, 60, 64), chunks=-1)
    with pytest.raises(ValueError, match="exceeds allowed_mem"):
        ss.diffstride(x, (2.5, 3.1)).compute()


def test_a_split_axis_is_refused_with_the_call_that_mends_it(allowed):
    x = cubed.from_array(draw(4, 60), chunks=(2, 30))
    refused = refusal(ValueError, ss.diffstride, x, (2.0,))
    check(refused, "x", "2 chunks along axis 1", "one chunk", "write x = x.rechunk({1: -1})")
    assert ss.diffstride(x.rechunk({1: -1}), (2.0,)).chunks == ((2, 2), (30,))


def test_strides_are_read_for_the_sizes(allowed):
    x, strides = cubed.from_array(draw(4, 60), chunks=(2, -1)), cubed.asarray([2.5])
    assert ss.diffstride(x, strides).shape == (4, 24)


def test_a_spec_of_its_own_is_refused(allowed):
    """Masks and matrices would have another one, and cubed takes no two in a computation."""
    assert namespace("cubed") is cubed
    own = cubed.Spec(allowed_mem="1MB")
    x = cubed.from_array(draw(4, 60), chunks=(2, -1), spec=own)
    for call in (
        lambda: ss.diffstride(x, (2.0,)),
        lambda: ss.vjp(x, (2.0,)),
        lambda: ss.spectral_pool(x, (30,)),
    ):
        refused = refusal(ValueError, call)
        check(refused, "x", "a Spec of its own (cubed)", "is configured for", "without spec=")
