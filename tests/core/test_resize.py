"""Resizing: fewer samples or more, and the adjoint relation between the two.

What holds whatever is drawn is in `spectral_stride.testing`.
"""

import numpy as np
import pytest
import scipy.signal

import spectral_stride as ss
from spectral_stride.testing import oracles
from tests.libraries import Backend, assert_array, dtype_name, load, to_numpy

FORMS = pytest.mark.parametrize("method", ["matmul", "fft"])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@FORMS
@pytest.mark.parametrize(("size", "n"), [(8, 16), (8, 11), (7, 14), (7, 8), (1, 5), (2, 3), (8, 8)])
def test_more_samples_are_those_of_the_polynomial_through_them(xp, size, n, method):
    """Of an even size too: the polynomial has half of its last bin at +N/2 and half at -N/2."""
    values = draw(3, size)
    x = xp.asarray(values)
    y = ss.spectral_resize(x, (n,), method=method)
    expected = oracles.polynomial(values, [1] * (size // 2 + 1), n)
    assert_array(y, expected, like=x, atol=1e-14)
    np.testing.assert_allclose(scipy.signal.resample(values, n, axis=1), expected, atol=1e-14)


@FORMS
def test_fewer_samples_are_those_of_pooling(method):
    """To the last bit; and each axis goes its own way."""
    x = draw(3, 12, 9)
    options = {"method": method, "norm": "backward"}
    pooled = ss.spectral_pool(x, (8, 5), **options)
    np.testing.assert_array_equal(ss.spectral_resize(x, (8, 5), **options), pooled)
    both = ss.spectral_resize(x, (8, 20), axes=(1, -1), **options)
    one = ss.spectral_resize(x, (20,), **options)
    np.testing.assert_allclose(both, ss.spectral_pool(one, (8,), axes=(1,), **options), atol=1e-14)
    assert ss.spectral_resize(x, (12, 9), **options) is x


@pytest.mark.parametrize("norm", ["forward", "ortho", "backward"])
@pytest.mark.parametrize(("size", "n"), [(8, 13), (7, 12), (8, 16), (6, 7), (1, 4)])
def test_the_transpose_of_enlarging_is_pooling(size, n, norm):
    """As matrices and at every bin, the last one of an even size too: no factor 2 is left over."""
    up = ss.spectral_resize(np.eye(size), (n,), norm=norm, axes=(0,))
    down = ss.spectral_pool(np.eye(n), (size,), norm=norm, axes=(0,))
    c = {"forward": n / size, "ortho": 1, "backward": size / n}[norm]
    np.testing.assert_allclose(up.T, c * down, atol=1e-14)


@FORMS
@pytest.mark.parametrize(("size", "n"), [(8, 13), (8, 16), (7, 10), (7, 14)])
def test_there_and_back(size, n, method):
    """All of an odd size; of an even one all but its last bin, which is at half its height."""
    x = draw(2, size)
    back = ss.spectral_pool(ss.spectral_resize(x, (n,), method=method), (size,), method=method)
    signs = (-1.0) ** np.arange(size)
    last = signs * np.mean(signs * x, axis=1, keepdims=True) if size % 2 == 0 else 0
    np.testing.assert_allclose(back, x - last / 2, atol=1e-14)
    # And what fits the smaller size comes back from there, from odd and even sizes.
    fits = ss.spectral_resize(x - last, (n,), method=method)
    again = ss.spectral_resize(ss.spectral_pool(fits, (size,)), (n,), method=method)
    np.testing.assert_allclose(again, fits, atol=1e-14)


def test_auto_goes_by_the_longer_side():
    """No matrix of 100 x 1 000 000 entries is built for an axis that becomes long."""
    y = ss.spectral_resize(np.ones((1, 100)), (1_000_000,))
    np.testing.assert_allclose(y[0, ::100_000], 1.0)
    x = draw(2, 100)
    by_fft = ss.spectral_resize(x, (300,), method="fft")
    np.testing.assert_array_equal(ss.spectral_resize(x, (300,)), by_fft)


@FORMS
def test_a_batch_without_entries(xp, method):
    x = xp.asarray(np.ones((0, 5, 4)))
    y = ss.spectral_resize(x, (9, 8), method=method)
    assert_array(y, np.ones((0, 9, 8)), like=x, atol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    """Through the matmul form, in the dtype of the input."""
    x = Backend.TORCH.asarray(np.cos(2 * np.pi * np.arange(8) / 8), dtype)
    y = ss.spectral_resize(x, (16,))
    expected = np.cos(2 * np.pi * np.arange(16) / 16)
    assert_array(y, expected, like=x, atol=4 * float(load("torch").finfo(x.dtype).eps))
    assert dtype_name(y) == dtype


def test_dask_arrays_stay_lazy():
    da = load("dask.array")
    values = draw(4, 6, 5)
    x = da.from_array(values, chunks=(2, -1, -1))
    y = ss.spectral_resize(x, (9, 7))
    assert y.chunks[0] == (2, 2)
    np.testing.assert_allclose(to_numpy(y.compute()), ss.spectral_resize(values, (9, 7)))
    with pytest.raises(ValueError, match="x: got "):
        ss.spectral_resize(x.rechunk((4, 3, 5)), (9, 7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": (0,)}, "sizes: got 0; allowed: an integer of at least 1"),
        ({"sizes": 16}, "sizes: got 16; allowed: a sequence of integers"),
        ({"sizes": (16.5,)}, r"sizes: got 16\.5; allowed: an integer"),
        ({"sizes": (8, 8, 8)}, "sizes: got 3 sizes for an array with 2 dimensions"),
        ({"sizes": (8, 8), "axes": (0,)}, r"sizes: got 2 for 1 axes \(0,\)"),
        ({"sizes": (8,), "norm": "l2"}, "norm: got 'l2'"),
        ({"sizes": (8,), "method": "dct"}, "method: got 'dct'"),
        ({"sizes": (8,), "x": np.ones((4, 0))}, r"x: got shape \(4, 0\) with an empty axis 1"),
        ({"sizes": (8,), "x": np.ones(4, dtype=complex)}, "x: got dtype complex128"),
        ({"sizes": (8,), "x": np.ma.ones(4)}, "x: got a masked array"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        ss.spectral_resize(**{"x": np.ones((4, 8))} | arguments)


def test_pooling_to_more_points_here():
    with pytest.raises(ValueError, match=r"never enlarges.*or call spectral_resize, which does"):
        ss.spectral_pool(np.ones(8), (9,))
