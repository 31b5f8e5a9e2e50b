"""A convolution taken into the matrices: what A makes of the convolution, without computing it."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import spectral_stride as ss
from spectral_stride.axis import resampling
from spectral_stride.fast.taps import Taps, joined, split, with_taps
from spectral_stride.gradients import backward, forward, push
from spectral_stride.operator import apply


def convolved(x, kernel, taps):
    """c_i = sum over t of w_t x_{i + t d - b}, by its definition; zeros beyond x."""
    size = taps.size + 2 * taps.before - taps.dilation * (taps.kernel - 1)
    c = np.zeros((*x.shape[:-1], size))
    for i in range(size):
        for t in range(taps.kernel):
            m = i + t * taps.dilation - taps.before
            if 0 <= m < taps.size:
                c[..., i] += kernel[t] * x[..., m]
    return c


def mixed(z, kernel, taps):
    """Sum over taps of w_t times the samples of that tap."""
    return np.einsum("t,btn->bn", kernel, split(z, 1, taps))


@st.composite
def drawn_taps(draw):
    """Kernels of up to 5 taps, on inputs that hold them."""
    kernel, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    reach = dilation * (kernel - 1)
    before = draw(st.integers(0, reach + 3))
    size = draw(st.integers(max(1, reach - 2 * before + 1), 24))
    return Taps(kernel, dilation, before, size)


@pytest.mark.parametrize("ramp", ["inside", "outside"])
@given(taps=drawn_taps(), stride=st.floats(1, 4), seed=st.integers(0, 99))
# The first tap lies wholly in the padding before the input, and the last one in that behind it: at
# its end, and beyond.
@example(taps=Taps(3, 3, 4, 2), stride=1.25, seed=0)
@example(taps=Taps(3, 4, 5, 1), stride=1.25, seed=0)
def test_taps_make_of_the_input_what_the_map_makes_of_the_convolution(ramp, taps, stride, seed):
    """Values, coefficients, both gradients and the tangent."""
    rng = np.random.default_rng(seed)
    x, kernel = rng.normal(size=(2, taps.size)), rng.normal(size=taps.kernel)
    c = convolved(x, kernel, taps)
    plan = ss.make_plan(c.shape, (stride,), ramp=ramp, method="matmul")
    op = resampling(np.asarray([stride]), plan)
    tapped = with_taps(op, [taps])
    if op.maps == (None,):
        assert tapped.maps == (None,)
        return
    z, q = forward(tapped, x)
    assert z.shape == (2, taps.kernel * plan.out_sizes[0])
    y, expected_q = forward(op, c)
    np.testing.assert_allclose(mixed(z, kernel, taps), y, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(apply(tapped, x), z)
    if q[0] is not None:
        found = np.einsum("t,btn->bn", kernel, split(q[0], 1, taps))
        np.testing.assert_allclose(found, expected_q[0], rtol=0, atol=1e-12)
    dz, _ = push(tapped, x, np.ones(1), q)
    dy, _ = push(op, c, np.ones(1), expected_q)
    np.testing.assert_allclose(mixed(dz, kernel, taps), dy, rtol=0, atol=1e-10)
    g = rng.normal(size=y.shape)
    back = (kernel[:, None] * g[:, None, :]).reshape(z.shape)
    dx, ds = backward(tapped, back, q, np.dtype("float64"))
    dc, expected_ds = backward(op, g, expected_q, np.dtype("float64"))
    np.testing.assert_allclose((dx * x).sum(), (dc * c).sum(), rtol=0, atol=1e-10)
    assert (ds is None) == (expected_ds is None)
    if ds is not None:
        np.testing.assert_allclose(ds, expected_ds, rtol=0, atol=1e-10)


def test_taps_apart_and_together():
    taps = Taps(kernel=3, dilation=1, before=1, size=8)
    x = np.arange(24.0).reshape(2, 12)
    assert split(x, 1, taps).shape == (2, 3, 4)
    np.testing.assert_array_equal(split(x, 1, taps)[0, 1], x[0, 4:8])
    np.testing.assert_array_equal(joined(split(x, 1, taps), 1), x)
