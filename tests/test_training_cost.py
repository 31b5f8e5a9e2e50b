"""Multiply-accumulates and map sizes, against numbers worked out by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spectral_stride.torch import DiffStride, resnet18
from spectral_stride.torch.training.cost import multiply_accumulates, survey


def test_a_convolution_and_a_linear_layer():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(128, 5))
    assert multiply_accumulates(net, (3, 8, 8)) == 4 * 4 * 8 * 3 * 9 + 128 * 5


def test_resampling_by_matmul_costs_its_products_and_not_its_matrices():
    """First 16 of 32 columns of each row, then 16 of 32 rows: (32 + 16) * 16 * 32 products."""
    net = nn.Sequential(DiffStride(2.0, ramp="inside"))
    assert multiply_accumulates(net, (4, 32, 32)) == 4 * (32 * 32 * 16 + 16 * 32 * 16)


def test_an_fft_is_not_free():
    layer = DiffStride((2.0,), ramp="inside", method="fft")
    count = multiply_accumulates(layer, (3, 1024))
    # Half of 2.5 N log2 N, to 1024 bins and back to 512 samples.
    assert count == 3 * (1.25 * 1024 * 10 + 1.25 * 512 * 9)


def test_the_count_is_per_image_whatever_the_batch():
    net = resnet18(in_channels=1, width=2, strides=(1, 1, 3, 2, 3), ramp="inside").eval()

    def flops(count):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(torch.zeros(count, 1, 32, 32))
        return counter.get_total_flops()

    assert (flops(7) - flops(3)) / 8 == multiply_accumulates(net, (1, 32, 32))


@pytest.mark.parametrize("downsampling", ["diffstride", "spectral", "strided"])
def test_sizes_and_strides_of_each_layer(downsampling):
    net = resnet18(
        in_channels=1,
        width=2,
        strides=(1, 1, (3, 2), 2, 3),
        downsampling=downsampling,
        **({"ramp": "inside"} if downsampling == "diffstride" else {}),
    ).train()
    layers = survey(net, (1, 32, 32)).layers
    assert [layer.name for layer in layers] == ["stem", "stage2", "stage3", "stage4"]
    assert [layer.stride for layer in layers] == [(1, 1), (3, 2), (2, 2), (3, 3)]
    assert [layer.size_out for layer in layers] == [(32, 32), (11, 16), (6, 8), (2, 3)]
    assert [layer.size_in for layer in layers] == [(32, 32), (32, 32), (11, 16), (6, 8)]
    assert net.training


def test_a_survey_changes_nothing():
    net = resnet18(in_channels=1, width=2, ramp="inside")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    survey(net, (1, 32, 32))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
