"""Residual networks whose downsampling is learned, spectral or strided."""

import math

import numpy as np
import pytest
import torch

from spectral_stride.torch import DiffStride, ResNet, SpectralPool, resnet18, resnet56
from spectral_stride.torch.models.downsampling import DOWNSAMPLINGS


def sizes_after_downsampling(net, x):
    """Height and width behind the stem and every stage."""
    seen = []
    handles = [
        module.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[-2:])))
        for module in [net.stem, *net.stages]
    ]
    net.eval()(x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize(
    ("downsampling", "options"),
    [
        ("strided", {}),
        ("spectral", {}),
        ("diffstride", {"ramp": "inside"}),
    ],
)
def test_inside_maps_have_the_sizes_of_the_strided_network(downsampling, options):
    x = torch.ones(1, 3, 32, 32)
    net = resnet18(width=4, downsampling=downsampling, strides=(1, 1, 3, 2, 2), **options)
    assert sizes_after_downsampling(net, x) == [(32, 32), (32, 32), (11, 11), (6, 6), (3, 3)]


def test_outside_maps_are_larger():
    """As published: stride 2 maps 32 to 24, 24 to 20 and 20 to 18."""
    net = resnet18(width=4, ramp="outside")
    x = torch.ones(1, 3, 32, 32)
    assert sizes_after_downsampling(net, x)[1:] == [(32, 32), (24, 24), (20, 20), (18, 18)]


@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
def test_depth_width_and_logits(downsampling):
    for make, convolutions, shortcuts, width in [(resnet18, 17, 3, 8), (resnet56, 55, 3, 4)]:
        net = make(7, in_channels=1, width=width, downsampling=downsampling)
        kernels = [m.kernel_size for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
        assert (kernels.count((3, 3)), kernels.count((1, 1))) == (convolutions, shortcuts)
        assert net(torch.ones(2, 1, 16, 16)).shape == (2, 7)


def test_both_branches_share_one_stride_parameter():
    net = resnet18(width=4)
    layers = [m for m in net.modules() if isinstance(m, DiffStride)]
    assert len(layers) == 4  # the stem and the three stages that project
    assert [name for name, _ in net.named_parameters() if name.endswith("strides")] == [
        f"{name}.layer.strides" for name in net.downsamplings()
    ]
    block = net.stages[1][0]
    uses = []
    handle = block.down.register_forward_hook(lambda *_: uses.append(1))
    net(torch.ones(1, 3, 16, 16))
    handle.remove()
    assert len(uses) == 2


def test_a_first_stage_with_a_stride_projects():
    net = resnet18(width=4, strides=(1, 2, 1, 1, 1))
    assert len(net.downsamplings()) == 5
    assert net.stages[0][0].shortcut is not None


def test_kinds_of_downsampling():
    kinds = {"diffstride": DiffStride, "spectral": SpectralPool, "strided": torch.nn.Identity}
    for downsampling, kind in kinds.items():
        downs = resnet18(width=4, downsampling=downsampling, strides=(2,) * 5).downsamplings()
        assert all(type(down.layer) is kind for down in downs.values())


def test_resampling_is_behind_the_convolutions():
    """Whatever the order in which it is computed, in both branches of a block."""
    net = resnet18(width=4).double()
    block = net.stages[1][0]
    x = torch.randn(2, 4, 16, 16, dtype=torch.float64)
    for conv in (block.conv1, block.shortcut):
        torch.testing.assert_close(block.down(x, conv), block.down.layer(conv(x)))


def test_complexity_is_the_papers_penalty():
    """sum_l prod_{i<=l} 1/(S_h S_w), per axis, with the derivative of that formula."""
    strides = [(1.0, 1.0), (3.0, 2.0), (2.0, 1.5), (2.5, 2.0)]
    net = resnet18(width=4, strides=(strides[0], 1, *strides[1:]))
    products = [math.prod(h * w for h, w in strides[: layer + 1]) for layer in range(4)]
    cost = net.complexity()
    assert cost.item() == pytest.approx(sum(1 / product for product in products))
    cost.backward()
    gradients = [down.layer.strides.grad for down in net.downsamplings().values()]
    for layer, (pair, gradient) in enumerate(zip(strides, gradients, strict=True)):
        behind = sum(1 / product for product in products[layer:])
        assert gradient.tolist() == pytest.approx([-behind / stride for stride in pair])
    assert resnet18(downsampling="strided", width=4).complexity() == pytest.approx(
        1 + 1 / 4 + 1 / 16 + 1 / 64
    )


def test_every_parameter_learns():
    net = resnet18(width=4, strides=(1, 1, 3, 2, 3), ramp="inside")
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(net(x), torch.arange(4)).backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in net.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"downsampling": "max"}, r"downsampling: got 'max'; allowed: 'diffstride', 'spectral'"),
        (
            {"strides": (1, 2)},
            r"strides: got 2 strides \(1, 2\); allowed: 5: one for each of stem, stage1",
        ),
        ({"strides": (1, 1, 2.5, 2, 2), "downsampling": "strided"}, r"allowed: whole numbers"),
        ({"strides": (1, 1, 0.5, 2, 2)}, r"strides: got 0\.5 at position 0; .*at least 1"),
        ({"strides": (1, 1, (2, 2, 2), 2, 2)}, r"allowed: one number, or two for height and width"),
        ({"ramp": "beside"}, r"ramp: got 'beside'"),
        ({"width": 0}, r"width: got 0; allowed: an integer of at least 1"),
        ({"width": "64"}, r"width: got '64'; allowed: an integer of at least 1"),
        ({"in_channels": "3"}, r"in_channels: got '3'; allowed: an integer of at least 1"),
        ({"strides": b"\1\1\2\2\2"}, r"strides: got b'.*'; allowed: 5: one for each of stem"),
        ({"strides": 2}, r"strides: got 2; allowed: 5: one for each of stem"),
        ({"strides": (1, 1, b"22", 2, 2)}, r"strides: got b'22' for one place; allowed: one num"),
        ({"strides": (1, 1, True, 2, 2)}, r"strides: got True for one place; allowed: one number"),
        ({"strides": (1, 1, 10**400, 2, 2)}, r"strides: got 1000\d*\.\.\. \(int\) for one place"),
        ({"num_classes": b"12"}, r"num_classes: got b'12'; allowed: an integer of at least 1"),
        ({"num_classes": {3, 4}}, r"num_classes: got \{3, 4\}; allowed: an integer of at least 1"),
        ({"num_classes": 0}, r"num_classes: got 0; allowed: an integer of at least 1"),
        ({"num_classes": ()}, r"num_classes: got no task; allowed: a number of classes, or one"),
        ({"num_classes": (10, -1)}, r"num_classes: got -1; "),
        ({"block": "wide"}, r"block: got 'wide'; allowed: 'preactivation', 'basic', 'bottleneck'"),
        ({"stem": "larg"}, r"stem: got 'larg'; allowed: 'small', 'large'; .*stem='large'"),
        (
            {"stem": "large"},
            r"allowed: 6: one for each of stem, pool, stage1, .*\(1, 2, 2, 2, 2, 2\)",
        ),
        (
            {"block": "bottleneck", "width": 6},
            r"channels: got 6; allowed: multiples of 4 .*write 8",
        ),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        resnet18(**{"width": 4, **arguments})


def test_numbers_of_numpy_are_numbers():
    net = resnet18(np.int64(3), width=np.int64(2), strides=np.asarray([1, 1, 2, 2, 2.5]))
    assert net.downsamplings()["stages.3.0.down"].initial == (2.5, 2.5)
    assert net(torch.ones(1, 3, 16, 16)).shape == (1, 3)


def test_axes_are_those_of_the_convolutions():
    """Other ones would resample channels."""
    with pytest.raises(TypeError, match="multiple values for keyword argument 'axes'"):
        resnet18(width=2, axes=(1, 2))


def test_a_misspelt_option_is_refused_by_every_kind():
    for downsampling in ("diffstride", "spectral", "strided"):
        with pytest.raises(TypeError, match="smoothnes"):
            resnet18(width=4, downsampling=downsampling, smoothnes=2.0)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (0, r"blocks: got 0; "),
        ((1, 0), r"blocks: got 0; "),
        ((1, 2, 3), r"blocks: got 3 numbers; allowed: 2: one number for each stage"),
        (b"\1\2", r"blocks: got b'.*'; allowed: an integer of at least 1"),
    ],
)
def test_wrong_numbers_of_blocks(blocks, message):
    with pytest.raises(ValueError, match=message):
        ResNet((2, 4, 8), blocks, (1, 2, 2))


def test_what_a_network_cannot_be_built_of():
    for arguments, message in (
        ((b"\2\4", 1, (1, 2)), r"channels: got b'.*'; allowed: a sequence of integers"),
        ((8, 1, (1, 2)), "channels: got 8; allowed: a sequence of integers"),
    ):
        with pytest.raises(ValueError, match=message):
            ResNet(*arguments)
    with pytest.raises(TypeError, match=r"identity_first: got 'False' \(str\); allowed: True or"):
        ResNet((2, 4), 1, (1, 2), identity_first="False")


def test_each_stage_has_its_number_of_blocks():
    net = ResNet((2, 4, 8), (1, 3), (1, 2, 2))
    assert [len(stage) for stage in net.stages] == [1, 3]


def test_generic_network():
    net = ResNet((8, 16, 16), blocks=1, strides=(1, 2, (1, 3)), in_channels=2, ramp="inside")
    assert sizes_after_downsampling(net, torch.ones(1, 2, 12, 12)) == [(12, 12), (6, 6), (6, 2)]
