"""The soft crop mask by itself, and the bounds of its stride."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectral_stride as ss
from spectral_stride.mask import count_ramp_bins
from spectral_stride.testing import oracles
from spectral_stride.testing.cases import SMOOTHNESSES, corner_strides, strides_on
from tests.libraries import Backend, assert_array, load, to_numpy

SIZES = st.sampled_from([1, 2, 3, 4, 5, 8, 9, 16, 31, 64])


@st.composite
def rules(draw, size=SIZES):
    """Size, stride, smoothness and ramp of one axis."""
    drawn, smoothness = draw(size), draw(st.sampled_from(SMOOTHNESSES))
    ramp = draw(st.sampled_from(["outside", "inside"]))
    return drawn, draw(strides_on(drawn, smoothness, ramp)), smoothness, ramp


@given(rules())
def test_the_mask_is_the_formula(rule):
    """m_k = clip((edge - k)/width, 0, 1) on bins 0 .. N//2; a number gives a NumPy array."""
    size, stride, smoothness, ramp = rule
    found = ss.soft_mask(size, stride, smoothness=smoothness, ramp=ramp)
    expected = [float(m) for m in oracles.mask(*rule)]
    assert_array(found, expected, like=np.zeros(1), atol=4e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ramp", ["outside", "inside"])
def test_the_mask_of_an_array_is_an_array(xp, ramp, dtype):
    """A stride of any library, of shape (), gives a mask of that library, dtype and device."""
    stride = xp.asarray(2.6, dtype)
    found = ss.soft_mask(16, stride, smoothness=3, ramp=ramp)
    rounded = float(to_numpy(stride))
    expected = [float(m) for m in oracles.mask(16, rounded, 3, ramp)]
    assert_array(found, expected, like=stride, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("stride", [4, np.int64(4), np.float32(4), np.asarray(4.0)], ids=repr)
def test_the_stride_of_a_mask_may_be_any_number(stride):
    """Python and NumPy numbers alike."""
    np.testing.assert_array_equal(ss.soft_mask(16, stride), ss.soft_mask(16, 4.0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_mask_of_a_half_precision_stride_is_in_float32(dtype):
    """Masks are built in at least float32."""
    stride = Backend.TORCH.asarray(2.5, dtype)
    expected = [float(m) for m in oracles.mask(16, 2.5, 4, "outside")]
    found = ss.soft_mask(16, stride, ramp="outside")
    assert_array(found, expected, like=stride, dtype="float32", atol=1e-6)


@given(rules(), st.integers(0, 64))
def test_the_mask_never_grows_with_the_stride_nor_with_the_bin(rule, sixteenths):
    """A larger stride passes less of every bin, a higher bin passes less, and DC passes whole."""
    size, stride, *rest = rule
    options = dict(zip(("smoothness", "ramp"), rest, strict=True))
    lower = ss.soft_mask(size, stride, **options)
    higher = ss.soft_mask(size, stride + sixteenths / 16, **options)
    assert np.all(higher <= lower + 4e-15)
    assert np.all(np.diff(lower) <= 0)
    assert lower[0] == higher[0] == 1


@pytest.mark.parametrize("smoothness", [2, 1.7])
def test_the_mask_is_differentiable_by_its_library(smoothness):
    """Right derivatives on corners, in torch and in JAX alike; bin 5 is on the foot."""
    torch, jax = load("torch"), load("jax")
    expected = [float(slope) for slope in oracles.mask_slope(16, 2.0, smoothness, "outside")]

    def mask(s):
        return ss.soft_mask(16, s, smoothness=smoothness, ramp="outside")

    by_torch = torch.func.jacfwd(mask)(torch.tensor(2.0, dtype=torch.float64))
    by_jax = jax.jit(jax.jacfwd(mask))(Backend.JAX.asarray(2.0))
    assert expected[5:8] == pytest.approx([-2 / smoothness, -2 / smoothness, 0.0])
    for found in (by_torch, by_jax):
        np.testing.assert_allclose(to_numpy(found), expected, rtol=0, atol=1e-14)


@given(rules(st.integers(2, 300)))
def test_bounds_are_those_of_the_table(rule):
    """N/(N - R) outside, or N/2 where that leaves no two samples; 1 inside; N/2 above."""
    size, _, smoothness, ramp = rule
    expected = [float(bound) for bound in oracles.bounds(size, smoothness, ramp)]
    found = ss.stride_bounds(size, smoothness=smoothness, ramp=ramp)
    assert found == pytest.approx(expected, rel=1e-15)
    assert 1 <= found[0] <= found[1]


def test_an_axis_of_one_sample_has_no_stride_but_one():
    """Never resampled, so that both bounds are 1 and the mask is its only bin."""
    assert ss.stride_bounds(1) == (1.0, 1.0)
    assert ss.soft_mask(1, 5.0).tolist() == [1.0]


def test_the_mask_does_not_change_outside_the_bounds():
    """A stride outside is used as the bound."""
    low, high = ss.stride_bounds(20)
    for bound, outside in [(low, 0.01), (high, 1e9)]:
        assert np.array_equal(ss.soft_mask(20, bound), ss.soft_mask(20, outside))


@pytest.mark.parametrize("smoothness", [0.1, 0.3, 0.7, 1.1, 1.3, 1.7])
def test_a_bin_on_the_edge_is_not_on_the_ramp(smoothness):
    """u_k = 0 does not count, also where the ramp's width does not round to a short fraction.

    With ramp "inside" the edge c + 1/2 lies on bin 8 here; a wave in that bin is stopped, and no
    larger stride stops it more.
    """
    wave = np.cos(2 * np.pi * 8 * np.arange(75) / 75)
    options = {"smoothness": smoothness, "ramp": "inside"}
    assert ss.soft_mask(75, 5.0, **options)[8] == 0
    _, pullback = ss.vjp(wave, (5.0,), crop=False, **options)
    assert abs(pullback(wave)[1][0]) < 1e-12


@pytest.mark.parametrize(
    ("ramp", "c", "kept"),
    [
        ("outside", 4.8, 6),
        ("outside", 5.0, 6),
        ("outside", 5.05, 7),
        ("inside", 5.3, 6),
        ("inside", 5.5, 6),
        ("inside", 5.55, 7),
    ],
)
def test_a_hard_edge_stops_the_bin_that_it_is_on(ramp, c, kept):
    """It lets the bins below c + 1 pass, or below c + 1/2."""
    stride = 16 / c
    assert 16 / stride == c
    mask = ss.soft_mask(32, stride, smoothness=0, ramp=ramp)
    np.testing.assert_array_equal(mask, [1] * kept + [0] * (17 - kept))


@pytest.mark.parametrize("ramp", ["outside", "inside"])
@pytest.mark.parametrize("smoothness", [0.0, 0.5, 1.0, 1.7, 2.5, 4.0])
@pytest.mark.parametrize("size", [3, 5, 8, 10, 12, 13, 40])
def test_a_ramp_is_looked_for_among_few_bins(size, smoothness, ramp):
    """As many as the fullest ramp of any stride has, or one more."""
    strides = np.unique([*np.arange(16, 8 * size) / 16, *corner_strides(size, smoothness, ramp)])
    slopes = [oracles.mask_slope(size, stride, smoothness, ramp) for stride in strides]
    fullest = max(sum(slope != 0 for slope in found) for found in slopes)
    count = count_ramp_bins(size, size // 2, smoothness, ramp)
    assert fullest <= count <= fullest + 1


@pytest.mark.parametrize("ramp", ["outside", "inside"])
@pytest.mark.parametrize("smoothness", [0.5, 1.7, 2.5, 4.0])
@pytest.mark.parametrize("size", [10, 12, 40])
def test_a_stride_moves_the_bins_on_its_ramp_alone(size, smoothness, ramp):
    """On the whole canvas, where the bins beyond the ramp are too: dm_k/ds of every bin.

    From stride 1 on, where the ramp of a short axis is N/4 wide, to N/2, where it is one bin wide.
    """
    for stride in [1.0, *np.arange(21, 144, 6) / 16, size / 2]:
        slopes = oracles.mask_slope(size, stride, smoothness, ramp)
        for k in range(1, size // 2 + 1):
            wave = np.cos(2 * np.pi * k * np.arange(size) / size)
            options = {"smoothness": smoothness, "ramp": ramp, "crop": False}
            _, pullback = ss.vjp(wave, (stride,), **options)
            found = pullback(wave)[1][0] / np.sum(wave**2)
            assert found == pytest.approx(float(slopes[k]), abs=1e-12)
