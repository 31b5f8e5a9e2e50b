"""Batch norms of a frozen network: which of them become part of a convolution."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from spectral_stride.torch import (
    DiffStride,
    DiffStrideConv2d,
    SpectralPool,
    convert,
    freeze,
    resnet18_imagenet,
)

NORMS = nn.BatchNorm1d, nn.BatchNorm2d


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def settled(net):
    """A network in eval mode and double precision, whose batch norms do something."""
    torch.manual_seed(1)
    net = net.double().eval()
    for module in net.modules():
        if isinstance(module, NORMS):
            for name, one in module.state_dict().items():
                if one.is_floating_point():
                    low = 0.5 if name in ("weight", "running_var") else -1.0
                    one.uniform_(low, 2.0)
    return net


def left(net, x):
    """Freeze, hold the outputs against the network's, and count the batch norms that are left."""
    before = [type(module) for module in net.modules()]
    frozen = freeze(net, x)
    assert [type(module) for module in net.modules()] == before
    with torch.no_grad():
        for batch in (x, draw(3, *x.shape[1:])):
            torch.testing.assert_close(frozen(batch), net(batch), rtol=1e-10, atol=1e-10)
    return sum(isinstance(module, NORMS) for module in frozen.modules())


class Layered(nn.Module):
    """A layer that resamples what a convolution makes, as the library's networks have it."""

    def __init__(self, **options):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.down = DiffStride(1.7, **options)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.down(x, self.conv))


def net(conv, norm=None):
    return nn.Sequential(conv, norm or nn.BatchNorm2d(4), nn.ReLU())


@pytest.mark.parametrize(
    "made",
    [
        net(nn.Conv2d(3, 4, 3)),
        net(nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)),
        net(nn.Conv2d(3, 4, 7, stride=2, padding=3)),
        net(nn.Conv2d(3, 4, 1, stride=2), nn.BatchNorm2d(4, affine=False)),
        net(DiffStrideConv2d(3, 4, 3, 1.6, padding=1)),
        nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, groups=3), nn.BatchNorm2d(6), nn.ReLU6()),
        Layered(),
        Layered(hard=True),
        resnet18_imagenet(3, width=4, strides=(2, 2, 1, 2, 2, 2)),
    ],
    ids=["conv", "place", "stem", "no affine", "own", "groups", "layer", "hard", "network"],
)
def test_a_batch_norm_behind_a_convolution_becomes_part_of_it(made):
    x = draw(2, 3, 32, 32)
    plain = settled(copy.deepcopy(made))
    assert left(plain, x) == 0
    if any(
        max(getattr(one, "stride", ())) > 1 for one in plain.modules() if type(one) is nn.Conv2d
    ):
        for hard in (False, True):
            assert left(convert(plain, x, hard=hard).eval(), x) == 0


def test_sounds_too():
    x = draw(2, 3, 40)
    plain = settled(net(nn.Conv1d(3, 4, 5, stride=2), nn.BatchNorm1d(4)))
    assert left(plain, x) == left(convert(plain, x).eval(), x) == 0


class Two(nn.Module):
    """A convolution and a batch norm, and something that a subclass does with them."""

    def __init__(self):
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)


class Skipped(Two):
    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


class Listed(Two):
    def forward(self, x):
        y = self.conv(x)
        return {"before": [y], "after": self.norm(y)}


class ChangedAfterwards(Two):
    def forward(self, x):
        y = self.conv(x)
        z = self.norm(y)
        return torch.cat([z, y.relu_()], 1)


class Again(Two):
    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


class NormedTwice(Two):
    def forward(self, x):
        return self.norm(self.conv(x)) + self.norm(self.other(x))


class Between(Two):
    def forward(self, x):
        return self.norm(self.conv(x).abs())


class Standardized(nn.Conv2d):
    """Its weights are not those that convolve."""

    def forward(self, x):
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return functional.conv2d(x, weight, self.bias, padding=self.padding)


def hooked(at, pre=False):
    made = net(nn.Conv2d(3, 4, 3))
    if pre:
        made[at].register_forward_pre_hook(lambda module, arguments: (2 * arguments[0],))
    else:
        made[at].register_forward_hook(lambda module, arguments, output: output.abs())
    return made


def patched(name):
    made = net(nn.Conv2d(3, 4, 3))
    conv = made[0]
    if name == "forward":
        conv.forward = lambda x: nn.Conv2d.forward(conv, x).abs()
    else:
        conv._conv_forward = lambda x, w, b: nn.Conv2d._conv_forward(conv, x, w.abs(), b)
    return made


@pytest.mark.parametrize(
    "made",
    [
        Skipped(),
        Listed(),
        ChangedAfterwards(),
        Again(),
        NormedTwice(),
        Between(),
        Layered(norm="backward"),
        net(Standardized(3, 4, 3)),
        net(parametrizations.weight_norm(nn.Conv2d(3, 4, 3))),
        net(nn.ConvTranspose2d(3, 4, 3)),
        net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(SpectralPool(1.5), nn.BatchNorm2d(3)),
        nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3)),
        *(hooked(at, pre) for at in (0, 1) for pre in (False, True)),
    ],
    ids=lambda made: type(made).__name__,
)
def test_one_that_is_not_alone_stays(made):
    assert left(settled(made), draw(2, 3, 16, 16)) == 1


@pytest.mark.parametrize("name", ["forward", "_conv_forward"])
def test_a_method_of_one_module_alone_keeps_its_batch_norm(name):
    made = settled(patched(name))
    x = draw(2, 3, 16, 16)
    expected = made(x)
    frozen = freeze(made, x)
    assert type(frozen[1]) is nn.BatchNorm2d
    torch.testing.assert_close(frozen(x), expected)


def test_weights_that_two_convolutions_share_fold_for_one():
    made = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))
    made[2].weight = made[0].weight
    assert left(settled(made), draw(2, 3, 8, 8)) == 0


def test_what_is_left_of_one_is_an_identity_without_numbers():
    x = draw(1, 3, 16, 16)
    frozen = freeze(settled(net(nn.Conv2d(3, 4, 3))), x)
    assert type(frozen[1]) is nn.Identity
    assert list(frozen.state_dict()) == ["0.weight", "0.bias"]
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert repr(frozen[1]) == "Identity()"
    for copied in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        torch.testing.assert_close(copied(x), frozen(x))
