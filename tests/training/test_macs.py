"""Multiply-accumulates and map sizes, against numbers worked out by hand."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spectral_stride.torch import (
    DiffStride,
    audio_net,
    efficientnet_b0,
    map_cache,
    resnet18,
    resnet50,
)
from spectral_stride.torch.models.downsampling import DOWNSAMPLINGS, Downsampling, Shrink
from spectral_stride.torch.models.network import Network
from spectral_stride.torch.training.macs import multiply_accumulates, of_transforms, survey


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


def test_what_of_it_is_that_of_ffts():
    by_fft = DiffStride(2.0, method="fft")
    assert of_transforms(by_fft, (1, 32, 32)) == multiply_accumulates(by_fft, (1, 32, 32)) > 0
    assert of_transforms(DiffStride(2.0, method="matmul"), (1, 32, 32)) == 0
    net = audio_net(4, width=2)
    assert of_transforms(net, (8000,)) == round(101 * 2.5 * 200 * math.log2(200)) // 2  # frames


def test_the_count_is_per_image_whatever_the_batch():
    net = resnet18(in_channels=1, width=2, strides=(1, 1, 3, 2, 3), ramp="inside").eval()

    def flops(count):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(torch.zeros(count, 1, 32, 32))
        return counter.get_total_flops()

    assert (flops(7) - flops(3)) / 8 == multiply_accumulates(net, (1, 32, 32))


@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
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


def test_sizes_are_those_of_the_call_whatever_lies_between():
    """A pooling without a downsampling of its own, and maps that get larger."""

    class Toy(Network):
        def __init__(self):
            super().__init__()
            self.stem = self.place((2, 1))
            self.between = nn.Sequential(nn.AvgPool2d(3), nn.Upsample(scale_factor=(1, 2)))
            self.stages = nn.Sequential(self.place((2, 3)))

        def place(self, stride):
            down = Downsampling("strided", stride)
            return Shrink(nn.Conv2d(1, 1, 1, down.conv_stride), down)

        def forward(self, x):
            return self.stages(self.between(self.stem(x)))

    stem, stage = survey(Toy(), (1, 24, 12)).layers
    assert (stem.name, stem.size_in, stem.size_out) == ("stem", (24, 12), (12, 12))
    assert (stage.name, stage.size_in, stage.size_out) == ("stage1", (4, 8), (2, 3))


def test_the_layers_of_a_network_for_large_images():
    layers = survey(resnet50(width=2, downsampling="strided"), (3, 64, 64)).layers
    names = ["stem", "pool", "stage1", "stage2", "stage3", "stage4"]
    assert [layer.name for layer in layers] == names
    assert [layer.size_in[0] for layer in layers] == [64, 32, 16, 16, 8, 4]
    assert [layer.size_out[0] for layer in layers] == [32, 16, 16, 8, 4, 2]


def test_the_layers_of_efficientnet():
    layers = survey(efficientnet_b0(width=2, ramp="inside"), (3, 64, 64)).layers
    assert [layer.name for layer in layers] == ["stem", "stage2", "stage3", "stage4", "stage6"]
    assert [layer.size_out[0] for layer in layers] == [32, 16, 8, 4, 2]


def test_multiply_accumulates_of_the_audio_network():
    """Half a second at 8 kHz: the spectrogram, each block at its size, and both heads."""
    strides = [(2, 2), (1, 1), (1, 1), (2, 1), (1, 1), (1, 1)]
    net = audio_net((10, 6), width=2, downsampling="strided", strides=strides)
    found = survey(net, (4000,))
    frames, bins = 1 + 4000 // 80, 200 // 2 + 1
    macs = round(frames * 2.5 * 200 * math.log2(200)) // 2 + frames * bins * 64
    size, channels = (51, 64), [1, 2, 4, 8, 8, 16, 16]
    sizes = [size]
    for (before, after), stride in zip(pairwise(channels), strides, strict=True):
        macs += math.prod(size) * 3 * before * after
        size = tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
        macs += math.prod(size) * 3 * after * after
        sizes.append(size)
    assert found.macs == macs + 16 * 10 + 16 * 6
    assert [layer.name for layer in found.layers] == [f"stage{n}" for n in range(1, 7)]
    assert [(layer.size_in, layer.size_out) for layer in found.layers] == [*pairwise(sizes)]


def test_the_usual_figures():
    """For 224 x 224 pixels torchvision documents 4.09 and 0.39 thousand million."""
    for build, wanted in [(resnet50, 4.09e9), (efficientnet_b0, 0.39e9)]:
        with torch.device("meta"):
            net = build(downsampling="strided")
        assert multiply_accumulates(net, (3, 224, 224)) == pytest.approx(wanted, rel=0.02)


def test_a_survey_changes_nothing():
    net = resnet18(in_channels=1, width=2, ramp="inside")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    survey(net, (1, 32, 32))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_matrices_that_are_kept_do_not_change_the_count():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), DiffStride(2.0, ramp="inside"))
    map_cache.constant.clear()
    first = multiply_accumulates(net, (3, 96, 96))
    assert multiply_accumulates(net, (3, 96, 96)) == first
    net(torch.zeros(1, 3, 96, 96))
    assert multiply_accumulates(net, (3, 96, 96)) == first
    assert first == 96 * 96 * 8 * 27 + 8 * (96 * 96 * 48 + 48 * 96 * 48)
