"""Networks that exist: which of their strides become learnable, what moves together, what stays."""

import copy
import functools
import io
import re
import warnings
from collections import UserDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from spectral_stride.torch import (
    DiffStride,
    conversion,
    convert,
    hold_sizes,
    param_groups,
    recalibrate,
    release_sizes,
)
from spectral_stride.torch.adopt.joins import joined
from spectral_stride.torch.adopt.places import places_in


class Residual(nn.Module):
    """A block whose branches, both strided, are added."""

    def __init__(self, channels, wide, stride, shortcut=None):
        super().__init__()
        self.first = nn.Conv2d(channels, wide, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(wide)
        self.second = nn.Conv2d(wide, wide, 3, 1, 1)
        self.shortcut = shortcut or nn.Conv2d(channels, wide, 1, stride)

    def forward(self, x):
        return torch.relu(self.second(self.norm(self.first(x)).relu()) + self.shortcut(x))


class Pooled(nn.Sequential):
    """The shortcut of a later ResNet: its mean of two by two has another size where that is odd."""

    def __init__(self, channels, wide):
        super().__init__(nn.AvgPool2d(2), nn.Conv2d(channels, wide, 1))


class UNet(nn.Module):
    """A decoder that enlarges to the sizes of what it is joined with."""

    def __init__(self):
        super().__init__()
        self.into = nn.Conv2d(3, 8, 3, 1, 1)
        self.down = nn.ModuleList([nn.Conv2d(8, 8, 3, 2, 1), nn.MaxPool2d(2)])
        self.up = nn.ModuleList([nn.Conv2d(16, 8, 3, 1, 1) for _ in range(2)])

    def forward(self, x):
        skips = [x := self.into(x)]
        for down in self.down:
            skips.append(x := down(x))
        skips.pop()
        for up in self.up:
            other = skips.pop()
            x = functional.interpolate(x, other.shape[-2:], mode="bilinear")
            x = up(torch.cat([x, other], 1))
        return x


class Gated(nn.Module):
    """Three branches, joined by a product and by a concatenation."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Conv1d(4, 4, 5, 3, 2)
        self.value = nn.Conv1d(4, 4, 3, 3, 1)
        self.pool = nn.MaxPool1d(3, 3, ceil_mode=True)

    def forward(self, x):
        return torch.cat([self.gate(x).sigmoid() * self.value(x), self.pool(x)], 1)


class Tokens(nn.Module):
    """A patch embedding, with positions for one number of patches only if that is wanted."""

    def __init__(self, positions):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, 64, 8)) if positions else None
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.layer(tokens if self.positions is None else tokens + self.positions)


class Keys(nn.Module):
    """Keys and values of fewer tokens, flattened before they meet."""

    def __init__(self):
        super().__init__()
        self.keys, self.values = nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1)

    def forward(self, x):
        maps = x, self.keys(x), self.values(x)
        queries, keys, values = (one.flatten(2).transpose(1, 2) for one in maps)
        return (queries @ keys.transpose(1, 2)).softmax(-1) @ values


class Towers(nn.Module):
    """Two towers of two branches each, and a number for each map, kept by the map's size."""

    def __init__(self):
        super().__init__()
        self.towers = nn.ModuleList([Residual(3, 4, 2), Residual(3, 4, 2)])

    def forward(self, x):
        maps = [tower(x) for tower in self.towers]
        count = samples if torch.compiler.is_compiling() else kept_samples
        return [one.mean((2, 3)) * count(one.shape[-1]) for one in maps]


def samples(size):
    return size * size


kept_samples = functools.lru_cache(samples)


class Asking(nn.Module):
    """Asks for a value."""

    def forward(self, x):
        return x if x.mean().item() < 9 else x + 1


class PlainNumbers(nn.Module):
    """Pads as TensorFlow does, from sizes that it takes as Python's integers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.other = nn.Conv2d(3, 8, 1, 2)

    def forward(self, x):
        both = [
            max((-int(n) % s) + 3 - s, 0)
            for n, s in zip(x.shape[-2:], self.conv.stride, strict=True)
        ]
        high, wide = both
        padded = functional.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return self.conv(padded) + self.other(x)


def image(size=32, channels=3):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def resnet():
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 8, 7, 2, 3), nn.MaxPool2d(3, 2, 1)
    blocks = Residual(8, 16, 2), Residual(16, 24, 2, Pooled(16, 24))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5))


def names(found):
    return [group.names for group in found.groups]


def layers(net):
    return [layer for layer in net.modules() if isinstance(layer, DiffStride)]


def move(net, seed):
    """Set every stride to one drawn at random."""
    draw = np.random.default_rng(seed).uniform(1, 3, size=(len(layers(net)), 3))
    with torch.no_grad():
        for layer, strides in zip(layers(net), draw, strict=True):
            layer.strides.copy_(torch.from_numpy(strides[: len(layer.strides)]))


NETWORKS = [
    pytest.param(
        resnet, image(64),
        [("0",), ("1",), ("2.first", "2.shortcut"), ("3.first", "3.shortcut.0")],
        id="sums",
    ),
    pytest.param(UNet, image(), [("down.0",), ("down.1",)], id="concatenations, up again"),
    pytest.param(Gated, torch.randn(2, 4, 50), [("gate", "value", "pool")], id="products, audio"),
    pytest.param(lambda: Tokens(False), image(), [("patches",)], id="tokens"),
    pytest.param(Keys, image(8), [("keys", "values")], id="tokens that were flattened"),
    pytest.param(
        Towers, image(),
        [("towers.0.first", "towers.0.shortcut"), ("towers.1.first", "towers.1.shortcut")],
        id="sizes as keys of a cache",
    ),
    pytest.param(PlainNumbers, image(), [("conv", "other")], id="sizes as plain numbers"),
    pytest.param(
        lambda: nn.Sequential(nn.Conv3d(1, 2, 3, (1, 2, 2), 1), nn.AvgPool3d(2)),
        torch.randn(1, 1, 8, 16, 16), [("0",), ("1",)], id="volumes, some axes",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "sample", "groups"), NETWORKS)
def test_what_meets_again_shares_a_stride(make, sample, groups):
    """At the old strides every map has its old size, and at others the network still runs."""
    net = make()
    before = copy.deepcopy(net.state_dict())
    learned = convert(net, sample)
    assert names(conversion(net, sample)) == groups
    assert len(layers(learned)) == len(groups)
    places = [name for group in groups for name in group]
    assert sizes_of(net, places, sample) == sizes_of(learned, places, sample)
    for seed in range(12):
        move(learned, seed)
        found = sizes_of(learned, places, sample)
        for group in groups:
            assert len({found[name] for name in group}) == 1
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(before[name], one) for name, one in net.state_dict().items())


class Windows(nn.Module):
    """Cuts what a place leaves into windows of 3 x 3 samples, and joins them."""

    def __init__(self):
        super().__init__()
        self.down, self.inside = nn.Conv2d(3, 4, 3, 2, 1), nn.Identity()

    def forward(self, x):
        batch, channels, high, wide = (x := self.down(x)).shape
        x = functional.pad(x, (0, (3 - wide % 3) % 3, 0, (3 - high % 3) % 3))
        tall, broad = x.shape[2:]
        x = x.view(batch, channels, tall // 3, 3, broad // 3, 3).permute(0, 2, 4, 3, 5, 1)
        x = self.inside(x.reshape(-1, 9, channels))
        x = x.view(-1, tall // 3, broad // 3, 3, 3, channels).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(batch, channels, tall, broad)[..., :high, :wide]


@pytest.mark.long
def test_sizes_of_windows_do_not_grow_from_call_to_call():
    """They are those that were asked for, not quotients: SymPy takes minutes for these."""
    net, seen = Windows(), []
    net.inside.register_forward_hook(lambda module, arguments, y: seen.append(y.shape))
    reasons, groups, _ = joined(net, image(), places_in(net), [], [False])
    assert (reasons, groups) == ({}, [(("down",), False, False)])
    ((many, samples_in_one, channels),) = seen
    assert isinstance(many, torch.SymInt)
    assert (type(samples_in_one), type(channels)) == (int, int)


def sizes_of(net, places, sample):
    """Sizes behind each place, in evaluation."""
    found, handles = {}, []
    for place in places:

        def note(module, arguments, output, place=place):
            found[place] = tuple(output.shape[2:])

        handles.append(net.get_submodule(place).register_forward_hook(note))
    with torch.no_grad():
        net.eval()(sample)
    for handle in handles:
        handle.remove()
    return found


def test_odd_maps_that_are_added_keep_one_size():
    """A mean of two by two leaves 12 of 25, a convolution 13: in a group they have to agree."""
    learned = convert(Residual(3, 8, 2, Pooled(3, 8)), image())
    for size in range(9, 40):
        assert learned(image(size)).shape[-1] == -(-size // 2)


@pytest.mark.parametrize("size", [31, 32, 33, 34, 35])
@pytest.mark.parametrize(
    "operation",
    [
        *[nn.Conv2d(3, 4, k, s, p, d) for k, s, p, d in
          [(3, 2, 1, 1), (1, 2, 0, 1), (2, 2, 0, 1), (4, 4, 0, 1), (7, 2, 3, 1), (5, 3, 0, 1),
           (3, 2, 2, 2), (8, 4, 2, 1), (2, 3, 0, 1), (3, 2, 0, 1)]],
        nn.Conv2d(3, 4, 3, (2, 1), 1, padding_mode="reflect"),
        nn.Conv2d(3, 4, 4, 2, "valid"),
        nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(2, 3, ceil_mode=True), nn.MaxPool2d(3, 2, dilation=2),
        nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.LPPool2d(2, 2),
    ],
    ids=str,
)  # fmt: skip
def test_every_operation_keeps_its_size(operation, size):
    x = image(size)
    assert convert(operation_in(operation), x)(x).shape == operation(x).shape


def operation_in(operation):
    return nn.Sequential(copy.deepcopy(operation))


def test_a_patch_embedding_reads_the_patches():
    """Its outputs lie exactly a stride apart, nearer to the patches than without the samples."""
    net = nn.Sequential(nn.Conv2d(1, 1, 4, 4, bias=False))
    nn.init.ones_(net[0].weight)
    wave = torch.cos(torch.arange(64) * 2 * torch.pi / 16).expand(1, 1, 64, 64)
    learned, bare = convert(net, wave, smoothness=0), DiffStride(4.0, smoothness=0)
    other = bare(functional.conv2d(wave, net[0].weight))
    inner = slice(2, -2)
    error, plain = [(y - net(wave))[..., inner, inner].abs().max() for y in (learned(wave), other)]
    assert error < plain / 4


def test_values_are_those_of_the_layer_on_the_operation():
    conv = nn.Conv2d(3, 8, 3, 2, 1)
    learned = convert(nn.Sequential(conv), image())
    expected = DiffStride(2.0, hard=True)(functional.conv2d(image(), conv.weight, conv.bias, 1, 1))
    torch.testing.assert_close(learned(image()), expected)
    options = {"smoothness": 2.0, "hard": False}
    pooled = convert(nn.Sequential(nn.MaxPool2d(3, 2, 1)), image(), **options)
    expected = DiffStride(2.0, **options)(functional.max_pool2d(image(), 3, 1, 1))
    torch.testing.assert_close(pooled(image()), expected)


def test_a_strided_checkpoint_loads_and_strides_alone_are_missing():
    net, other = resnet(), resnet()
    learned = convert(net, image(64))
    with torch.no_grad():
        for one in other.parameters():
            one.add_(1)
    missing, unexpected = learned.load_state_dict(other.state_dict(), strict=False)
    assert (unexpected, len(missing)) == ([], 4)
    assert all(name.endswith("resampling.strides") for name in missing)
    assert torch.equal(learned[2].first.weight, other[2].first.weight)
    assert {name for name, _ in learned.named_parameters()} <= learned.state_dict().keys()
    own = learned.state_dict()
    assert learned.load_state_dict(own) == torch.nn.modules.module._IncompatibleKeys([], [])


def test_it_learns_and_copies_are_apart():
    """Deep copies and pickles share strides within, not with what they were made of."""
    learned = convert(resnet(), image(64))
    stored = io.BytesIO()
    torch.save(learned, stored)
    stored.seek(0)
    copies = copy.deepcopy(learned), torch.load(stored, weights_only=False)
    for other in copies:
        torch.testing.assert_close(other.eval()(image(64)), learned.eval()(image(64)))
        move(other, 0)
        assert other[2].first.shared_resampling is other[2].shortcut.shared_resampling
    assert learned[2].first.resampling.strides.tolist() == [2.0, 2.0]
    optimizer = torch.optim.SGD(
        param_groups(learned.train(), lr=0.1, weight_decay=0.0, stride_lr=0.1)
    )
    learned(image(64)).square().sum().backward()
    optimizer.step()
    assert all(layer.strides.tolist() != [2.0, 2.0] for layer in layers(learned)[1:])
    assert learned(image(64)).shape == (2, 5)


def test_what_is_asked_of_the_operation_is_answered():
    learned = convert(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1)), image())
    assert (learned[0].kernel_size, learned[0].stride) == ((3, 3), (1, 1))
    assert learned[0].weight.shape == (8, 3, 3, 3)
    assert "ResampledConv2d(\n    3, 8, kernel_size=(3, 3)" in repr(learned)
    with pytest.raises(AttributeError):
        _ = learned[0].colour
    learned.double().eval()
    assert learned(image().double()).dtype == torch.float64
    assert isinstance(learned[0], nn.Conv2d)
    zero = {"0.weight": learned[0].weight * 0, "0.bias": learned[0].bias * 0}
    assert torch.func.functional_call(learned, zero, image().double()).abs().max() == 0


def test_hooks_and_methods_of_its_own_still_act():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, 2, 1)))
    shapes = []
    net[0].register_forward_hook(lambda module, arguments, output: shapes.append(output.shape))
    learned = convert(net, image())
    shapes.clear()
    learned(image())
    assert shapes == [(2, 4, 16, 16)]
    parameter = "0.parametrizations.weight.original0"
    assert parameter in learned.state_dict()
    learned(image()).sum().backward()
    assert dict(learned.named_parameters())[parameter].grad is not None


def test_compiled_and_exported():
    """One graph, held or in evaluation: the shared layer too."""
    learned = convert(Residual(3, 8, 2), image())
    learned.norm = nn.Identity()
    hold_sizes(learned)
    expected = learned(image())
    compiled = torch.compile(learned, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image()), expected)
    compiled(image()).square().sum().backward()
    assert learned.first.resampling.strides.grad.abs().min() > 0
    release_sizes(learned)
    learned.eval()
    with torch.no_grad():
        program = torch.export.export(learned, (image(),)).module()
        torch.testing.assert_close(program(image()), expected)


def test_places_are_chosen_by_name_and_type():
    net, sample = nn.Sequential(nn.MaxPool2d(2), Residual(3, 8, 2), Residual(8, 8, 2)), image(64)
    assert names(conversion(net, sample, include=nn.MaxPool2d)) == [("0",)]
    assert names(conversion(net, sample, include="1.*")) == [("1.first", "1.shortcut")]
    chosen = conversion(net, sample, exclude=["1.*", nn.MaxPool2d])
    assert names(chosen) == [("2.first", "2.shortcut")]
    assert chosen.left == {}


FLATTENED = (
    r"^with another stride the network fails: a linear layer or a reshape takes {} features of the "
    r"flattened map, so put nn\.AdaptiveAvgPool2d\(1\) before the flattening"
)


class LeNet(nn.Module):
    """Its head writes the features that it takes as a number."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3, 4, 1), nn.MaxPool2d(2)
        self.head = nn.Linear(64, 2)

    def forward(self, x):
        return self.head(self.flat(self.pool(self.conv(x))))

    def flat(self, x):
        return x.view(-1, 64)


class ByKeywords(LeNet):
    def flat(self, x):
        return torch.reshape(input=x, shape=(-1, 64))


class LinearByKeywords(LeNet):
    def flat(self, x):
        return x.flatten(1)

    def forward(self, x):
        x = self.flat(self.pool(self.conv(x)))
        return nn.functional.linear(input=x, weight=self.head.weight, bias=self.head.bias)


@pytest.mark.parametrize(
    ("make", "sample", "name", "why"),
    [
        (lambda: Tokens(True), image(), "patches", "with another stride the network fails"),
        (
            lambda: nn.Sequential(
                nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 2)
            ),
            image(), "0", FLATTENED.format(192),
        ),
        *[
            (lambda kind=kind: nn.Sequential(kind()), image(), "0.pool", FLATTENED.format(64))
            for kind in (LeNet, ByKeywords, LinearByKeywords)
        ],
        (lambda: Residual(3, 8, 2, nn.MaxPool2d(3, 2, 1)), image(channels=8), "first", None),
        (lambda: nn.Sequential(nn.AvgPool2d(32), nn.Flatten()), image(), "0", "a single sample"),
        (
            lambda: nn.Sequential(
                Asking(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 2)
            ),
            image(), "1", "its sizes cannot be followed .*, and with another stride .* fails: ",
        ),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.MaxPool2d(15, return_indices=True)),
         image(), "1", "single sample"),
    ],
    ids=["positions", "flattened", "flattened by a number", "reshape by keywords",
         "linear by keywords", "same channels", "one sample", "values", "maxima's places"],
)  # fmt: skip
def test_what_cannot_move_is_left_and_said(make, sample, name, why):
    net = make()
    if why is None:
        net.first = nn.Conv2d(8, 8, 3, 2, 1)
        assert names(conversion(net, sample)) == [("first", "shortcut")]
        return
    assert re.search(why, conversion(net, sample).left[name])
    assert f"left: {name}: " in str(conversion(net, sample))


def test_a_skip_over_two_strides_stays_as_it_is():
    """Its stride would have to be the product of two that learn: no common one serves."""

    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.main = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1))
            self.skip = nn.AvgPool2d(4)
            self.last = nn.MaxPool2d(2)

        def forward(self, x):
            return self.last(self.main(x) + self.skip(x))

    with pytest.warns(UserWarning, match=r"skip: sizes are joined .* of main\.1 and skip"):
        learned = convert(Skip(), image(64))
    assert len(layers(learned)) == 1
    assert learned(image(64)).shape == (2, 3, 8, 8)


def test_a_network_that_is_one_operation():
    learned = convert(nn.Conv2d(3, 8, 3, 2, 1), image())
    assert learned(image()).shape == (2, 8, 16, 16)
    assert "weight" in dict(learned.named_parameters())


def test_one_module_that_is_called_twice_is_one_place():
    conv = nn.Conv2d(3, 3, 3, 2, 1)
    net = nn.Sequential(conv, nn.ReLU(), conv)
    learned = convert(net, image())
    assert learned[0] is learned[2]
    assert learned(image()).shape == (2, 3, 8, 8)


def test_modes_and_statistics_are_left_alone():
    net = resnet().train()
    net[2].norm.eval()
    before = net[2].norm.running_mean.clone()
    learned = convert(net, image(64))
    modes = learned.training, learned[2].norm.training, learned[2].second.training
    assert modes == (True, False, True)
    assert torch.equal(learned[2].norm.running_mean, before)
    assert not net[2].norm.training


@pytest.mark.parametrize(
    ("net", "sample", "message"),
    [
        (nn.Linear(3, 2), torch.ones(1, 3), "network: got a network with 0 strided operations"),
        (nn.Conv2d(3, 4, 3, 2), image(channels=5), "sample: got one on which the network fails"),
        (nn.Sequential(nn.AvgPool2d(32)), image(), "no place can be converted .* single sample"),
        (nn.AvgPool2d(2), (image()[:0],), r"sample: got one of shape \(0, 3, 32, 32\); .*values"),
        (nn.AvgPool2d(2), (image(), image()[:0]), r"of shape \(0, 3, 32, 32\) at \[1\]; .*values"),
        (
            nn.AvgPool2d(2),
            UserDict(mask=torch.ones(2, 3), x=image()[:0]),
            r"of shape \(0, 3, 32, 32\) at \['x'\]; allowed",
        ),
        (convert(resnet(), image(64)), image(64), "network: got one that convert has made"),
    ],
)
def test_what_cannot_be_converted_is_refused(net, sample, message):
    with pytest.raises(ValueError, match=message):
        convert(net, sample)


def test_a_sample_of_the_wrong_rank_is_refused_by_a_converted_network_too():
    learned = convert(nn.Conv2d(3, 8, 3, 2, 1), image())
    with pytest.raises(ValueError, match=r"x: got shape \(3,\)"):
        learned(torch.ones(3))


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="network: got int"):
        convert(3, image())
    with pytest.raises(TypeError, match="colour"):
        convert(resnet(), image(64), colour="red")
    for wrong in ("nothing", 3, nn.Conv2d(3, 3, 1), ["0", "nothing"]):
        with pytest.raises(ValueError, match=r"include: got .*choose among"):
            convert(resnet(), image(64), include=wrong)
    with pytest.raises(ValueError, match="none of them chosen"):
        convert(resnet(), image(64), include=nn.Conv3d)
    for wrapped in (nn.DataParallel(resnet()), torch.compile(resnet(), backend="eager")):
        with pytest.raises(TypeError, match="convert the network that is in it"):
            convert(wrapped, image(64))
    with pytest.raises(ValueError, match="lazy parameters"):
        convert(nn.Sequential(nn.LazyConv2d(3, 3, 2)), image())


def test_statistics_estimated_anew_are_means_over_batches():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(0.9))
    batches = [image(8), image(8) * 2]
    assert recalibrate(net.train(), batches) == 2
    maps = [net[0](batch) for batch in batches]
    expected = torch.stack([one.mean((0, 2, 3)) for one in maps]).mean(0)
    torch.testing.assert_close(net[1].running_mean, expected)
    expected = torch.stack([one.var((0, 2, 3)) for one in maps]).mean(0)
    torch.testing.assert_close(net[1].running_var, expected)
    assert (net[1].momentum, net.training, net[1].training) == (0.3, True, True)


class Endless:
    """An array without dimensions whose iterator fails at its first step, as that of dask does."""

    ndim = 0

    def __iter__(self):
        raise TypeError("len() of unsized object")
        yield


def test_statistics_survive_a_failure():
    net = nn.Sequential(nn.BatchNorm2d(3))
    recalibrate(net, [image(8)])
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="batches: got none"):
        recalibrate(net, [])
    with pytest.raises(TypeError, match=r"^batches: got int; allowed: an iterable of inputs"):
        recalibrate(net, 3)
    with pytest.raises(TypeError, match=r"^batches: got Tensor; allowed: an iterable of inputs"):
        recalibrate(net, torch.ones(()))
    with pytest.raises(TypeError, match=r"^batches: got Endless; allowed: an iterable of inputs"):
        recalibrate(net, Endless())
    with pytest.raises(ValueError, match=r"; instead: .*\[x\] for one batch x$"):
        recalibrate(net, image(8))
    with pytest.raises(ValueError, match=r"^batches: got one of shape \(0, 3, 8, 8\)"):
        recalibrate(net, [image(8), image(8)[:0]])
    with pytest.raises(ValueError, match=r"^batches: got one, number 1, on which .*; instead: "):
        recalibrate(net, [image(8), image(8, channels=5)])
    with pytest.raises(ValueError, match=r"^batches: got one, number 0, on which .*; instead: "):
        recalibrate(net, [2.0])
    assert all(torch.equal(before[name], one) for name, one in net.state_dict().items())
    assert net[0].momentum == 0.1


class Enlarged(nn.Sequential):
    """Enlarges what it gets by a call, and goes on."""

    def forward(self, x):
        return super().forward(functional.interpolate(x, scale_factor=2))


@pytest.mark.parametrize(
    "net",
    [
        UNet(),
        nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3, 2, 1)),
        Enlarged(nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2)),
    ],
    ids=["all", "unshuffled before", "enlarged before"],
)
def test_nothing_is_said_where_all_is_converted(net):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(net, image())


def test_a_reason_is_told_once_for_all_places_that_have_it():
    with pytest.raises(ValueError, match=r"\(0\.pool, 0\.conv: with another[^:]*: a linear [^:]*;"):
        convert(nn.Sequential(LeNet()), image())


class Call(nn.Module):
    """A strided call that is no module, behind a place or alone."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return functional.max_pool2d(self.conv(x), 2)


def test_the_network_itself_is_named():
    """Where its own forward has a call, and where it is the place."""
    found = conversion(Call(nn.Conv2d(3, 4, 3, 2, 1)), image())
    assert list(found.left) == ["max_pool2d() of the network itself"]
    assert "0.max_pool2d()" in conversion(nn.Sequential(Call(nn.MaxPool2d(2))), image()).left
    with pytest.raises(ValueError, match=r"0 strided operations; .* calls such as F\.max_pool2d"):
        convert(Call(nn.Identity()), image())
    with pytest.raises(ValueError, match=r"\(the network itself: it leaves a single sample\)"):
        convert(nn.AvgPool2d(32), image())
    assert "\nthe network itself  AvgPool2d " in str(conversion(nn.AvgPool2d(2), image()))


class Counting(nn.Module):
    """Changes its buffers and its input, and keeps its places where no module registers them."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1)])
        self.order = [*self.convs]
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        x -= 1
        for conv in self.order:
            x = conv(x) if isinstance(conv, nn.Conv2d) else x
        return functional.dropout(x, training=True)


def test_nothing_that_a_run_leaves_behind_reaches_the_user():
    net, x, state = Counting(), image(), torch.get_rng_state()
    sample = x.clone()
    learned = convert(net, sample)
    assert net.calls == 0
    assert torch.equal(sample, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(layers(learned)) == 2
    assert learned.order[0] is learned.convs[0]
    before = learned(image()).shape
    move(learned, 0)
    assert learned(image()).shape != before


def test_sizes_that_only_some_strides_have_are_found_by_trying():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.PixelUnshuffle(2))
    with pytest.raises(ValueError, match=r"divisible by .* instead: .* write multiple_of=2"):
        convert(net, image())
    with pytest.warns(UserWarning, match=r"1\.pixel_unshuffle\(\): it takes 2 samples .*_of=2"):
        learned = convert(net, image(), multiple_of=2)
    for seed in range(8):
        move(learned, seed)
        learned(image())


def test_old_weight_norm_loads_after_conversion():
    """Hooks that read checkpoints of before are the operation's, and stay."""
    with pytest.warns(FutureWarning):
        old = nn.Sequential(nn.utils.weight_norm(nn.Conv1d(3, 4, 3, 2, 1)))
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 3, 2, 1)))
    learned = convert(net, torch.randn(2, 3, 64))
    missing, unexpected = learned.load_state_dict(old.state_dict(), strict=False)
    assert (missing, unexpected) == (["0.resampling.strides"], [])
    torch.testing.assert_close(learned[0].weight, old[0].weight)


def test_what_prunes_and_normalizes_weights_acts_after_conversion():
    learned = convert(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False)), image())
    prune.random_unstructured(learned[0], "weight", 1.0)
    assert learned(image()).abs().max() == 0


def test_padding_of_another_kind_is_the_operations():
    conv = nn.Conv2d(1, 1, 4, 2, 1, padding_mode="circular", bias=False)
    nn.init.ones_(conv.weight)
    learned = convert(nn.Sequential(conv), torch.ones(1, 1, 32, 32))
    torch.testing.assert_close(learned(torch.ones(1, 1, 32, 32)), torch.full((1, 1, 16, 16), 16.0))


def test_a_list_of_no_boxes_is_an_input():
    class Detects(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)

        def forward(self, x, boxes):
            return self.conv(x).mean() + boxes.sum()

    sample = image(), torch.zeros(0, 4)
    assert convert(Detects(), sample)(*sample).isfinite()
