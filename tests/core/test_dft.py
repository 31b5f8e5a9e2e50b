"""Cosines and sines of bins: to the last digits of their dtype."""

import numpy as np
import pytest

from spectral_stride.dft import waves


@pytest.mark.parametrize("size", [31, 64, 301, 1000])
def test_waves_are_rounded_once(size):
    """Phases around zero: those up to a whole turn would be rounded twice as coarsely."""
    bins = np.arange(size // 2 + 1)
    turns = bins[:, None] * np.arange(size) % size / size
    exact = np.concatenate([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)])
    assert np.abs(waves(bins, size, np.float32) - exact).max() < 2e-7
    assert np.abs(waves(bins, size, np.float64) - exact).max() < 2e-15


@pytest.mark.parametrize("size", [2**14 - 1, 2**14, 2**15 - 1, 2**15, 40_000, 2**17 - 1, 2**20 + 1])
def test_phases_of_very_long_axes_are_exact(size):
    """No product of a bin and a sample outgrows 32 bits, which some libraries count in."""
    bins = np.asarray([1, size // 3, size // 2], dtype=np.int32)
    exact = (bins.astype(np.int64)[:, None] * np.arange(size)) % size * (2 * np.pi / size)
    found = waves(bins, size, np.float64)
    assert np.abs(found[:3] - np.cos(exact)).max() < 1e-9
    assert np.abs(found[3:] - np.sin(exact)).max() < 1e-9
