"""Averages and maxima behind an operation at stride 1."""

import numpy as np
import pytest
import torch

from spectral_stride.torch.models.blur_pool import BlurPool
from spectral_stride.torch.models.downsampling import Downsampling


def averaged(signal, stride):
    """The formula, sample by sample."""
    last = len(signal) - 1
    return [
        sum(
            (stride - abs(j)) / stride**2 * signal[min(max(i + j, 0), last)]
            for j in range(1 - stride, stride)
        )
        for i in range(0, len(signal), stride)
    ]


@pytest.mark.parametrize("shape", [(9, 7), (8, 1), (2, 12)])
@pytest.mark.parametrize("strides", [(2, 3), (1, 2), (4, 1)])
def test_it_is_the_formula_along_both_axes(shape, strides):
    x = np.random.default_rng(0).standard_normal(shape)
    tall = np.apply_along_axis(averaged, 0, x, strides[0])
    wide = np.apply_along_axis(averaged, 1, tall, strides[1])
    given = torch.from_numpy(np.stack([x, 2 * x])[None])
    y = BlurPool(strides)(given)
    assert torch.allclose(y, torch.from_numpy(np.stack([wide, 2 * wide])[None]), atol=1e-7)


def test_a_maximum_is_that_of_windows_side_by_side():
    x = torch.arange(25.0).reshape(1, 1, 5, 5)
    y = Downsampling("maxpool", 2)(x, torch.nn.Identity())
    assert y[0, 0].tolist() == [[6, 8, 9], [16, 18, 19], [21, 23, 24]]


@pytest.mark.parametrize("kind", ["blurpool", "maxpool"])
def test_it_stands_behind_the_operation_at_stride_1(kind):
    down = Downsampling(kind, (2, 1))
    assert down.conv_stride == (1, 1)
    x, conv = torch.randn(1, 2, 6, 6), torch.nn.Conv2d(2, 3, 3, padding=1)
    assert torch.equal(down(x, conv), down.layer(conv(x)))
    assert isinstance(Downsampling(kind, 1).layer, torch.nn.Identity)
    message = rf"got \(1.5, 2.0\) for downsampling='{kind}'; allowed: whole"
    with pytest.raises(ValueError, match=message):
        Downsampling(kind, (1.5, 2))
