"""Spectral pooling: a hard crop to a given size."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import strategies as st

import spectral_stride as ss
from spectral_stride.testing import oracles
from spectral_stride.testing.cases import cases, no_canvas
from tests.drawn import for_all
from tests.libraries import Backend, assert_array, dtype_name, load


@st.composite
def pools(draw, **options):
    """A call with every output size from 1 to N."""
    case = draw(cases(strides=lambda *_: st.just(1.0), canvas=no_canvas, **options))
    return case, tuple(draw(st.integers(1, size)) for size in case.sizes)


@for_all(pools)
def test_pooling_is_the_dense_matrix_without_a_mask(xp, drawn):
    """All bins 0 .. n//2 pass, with the imaginary part of bin n/2 dropped for an even n."""
    case, sizes = drawn
    values = case.values(case.shape)
    x = xp.asarray(values, case.dtype)
    y = ss.spectral_pool(x, sizes, axes=case.axes, norm=case.norm, method=case.method)
    A = [
        oracles.spectral_matrix(size, n, [1] * (size // 2 + 1), case.norm)
        for size, n in zip(case.sizes, sizes, strict=True)
    ]
    atol = case.atol() * np.prod(np.divide(case.sizes, sizes))
    assert_array(y, oracles.apply(A, values, case.axes), like=x, atol=atol)


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_one_sample_is_the_mean_and_all_samples_are_the_input(xp, size, method):
    """The two ends of pooling."""
    values = np.random.default_rng(0).normal(size=(3, size))
    x = xp.asarray(values)
    mean = ss.spectral_pool(x, (1,), method=method)
    assert_array(mean, values.mean(axis=1, keepdims=True), like=x, atol=1e-15)
    assert_array(ss.spectral_pool(x, (size,), method=method), values, like=x, atol=1e-15)


def test_the_last_axes_are_pooled_by_default():
    """As many as there are sizes."""
    assert ss.spectral_pool(np.ones((2, 8, 9)), [3, 4]).shape == (2, 3, 4)
    assert ss.spectral_pool(np.ones((8, 2, 9)), (3,), axes=(0,)).shape == (3, 2, 9)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_pooling_in_half_precision(dtype):
    """Through the matmul form, in the dtype of the input."""
    x = Backend.TORCH.asarray(np.cos(2 * np.pi * np.arange(16) / 16), dtype)
    y = ss.spectral_pool(x, (8,))
    expected = np.cos(2 * np.pi * np.arange(8) / 8)
    assert_array(y, expected, like=x, atol=4 * float(load("torch").finfo(x.dtype).eps))
    assert dtype_name(y) == dtype


def test_the_last_bin_of_an_even_size_is_at_half_its_height():
    """Unlike scipy.signal.resample, which doubles it: docs/how-it-works.md says why."""
    cosine = np.cos(2 * np.pi * 8 * np.arange(32) / 32)
    sine = np.sin(2 * np.pi * 8 * np.arange(32) / 32)
    signs = (-1.0) ** np.arange(16)
    np.testing.assert_allclose(ss.spectral_pool(cosine, (16,)), signs / 2, atol=1e-14)
    np.testing.assert_allclose(scipy.signal.resample(cosine, 16), signs, atol=1e-14)
    np.testing.assert_allclose(ss.spectral_pool(sine, (16,)), 0, atol=1e-14)
    whole = np.cos(2 * np.pi * 8 * np.arange(17) / 17)
    np.testing.assert_allclose(ss.spectral_pool(cosine, (17,)), whole, atol=1e-14)
    # A doubled bin would add energy.
    energy = np.sum(ss.spectral_pool(cosine, (16,), norm="ortho") ** 2)
    assert energy == pytest.approx(np.sum(cosine**2) / 2)
