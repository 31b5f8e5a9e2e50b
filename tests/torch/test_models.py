"""Every network: sizes, parameters, heads, gradients, precision; blocks against their formulas."""

import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from spectral_stride.torch import (
    DiffStride,
    SpectralPool,
    audio_net,
    efficientnet_b0,
    hold_sizes,
    resnet18,
    resnet18_imagenet,
    resnet50,
    resnet56,
)
from spectral_stride.torch.models.downsampling import Downsampling, Shrink
from spectral_stride.torch.models.efficientnet import (
    STAGES,
    _InvertedBottleneck,
    _SqueezeExcitation,
    _Stage,
    _StochasticDepth,
)
from spectral_stride.torch.models.resnet import BLOCKS

KINDS = ("diffstride", "spectral", "strided")
# Without the parts that chance decides.
plain_efficientnet = partial(efficientnet_b0, dropout=0.0, stochastic_depth=0.0)
# Small networks, the shape of a sample, and how many places they have.
NETWORKS = {
    "resnet18": (partial(resnet18, width=2), (3, 32, 32), 5),
    "resnet56": (partial(resnet56, width=2), (3, 32, 32), 4),
    "resnet18_imagenet": (partial(resnet18_imagenet, width=2), (3, 64, 64), 6),
    "resnet50": (partial(resnet50, width=2), (3, 64, 64), 6),
    "efficientnet_b0": (partial(plain_efficientnet, width=4), (3, 64, 64), 5),
    "audio": (partial(audio_net, width=2), (8000,), 6),
}
every_network = pytest.mark.parametrize(
    ("build", "shape", "places"), NETWORKS.values(), ids=NETWORKS.keys()
)


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def seeded(build, *arguments, **options):
    torch.manual_seed(0)
    return build(*arguments, **options)


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def sizes(net, x):
    """Size of the map behind every downsampling, in the order of the calls."""
    seen = []
    handles = [
        down.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[-2:])))
        for down in net.downsamplings().values()
    ]
    with torch.no_grad():
        net.eval()(x)
    for handle in handles:
        handle.remove()
    return seen


# --- Parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "parameters", "places"),
    [
        # With 1000 classes, as everywhere where these networks are described.
        (resnet18_imagenet, 11_689_512, 5),
        (resnet50, 25_557_032, 6),
        (efficientnet_b0, 5_288_548, 5),
    ],
)
def test_networks_have_the_parameters_that_they_are_known_for(build, parameters, places):
    with torch.device("meta"):
        assert count(build(downsampling="strided")) == parameters
        assert count(build(downsampling="spectral")) == parameters
        assert count(build()) == parameters + 2 * places


def test_parameters_of_the_audio_network():
    """Three weights a pair of channels for each convolution, a batch norm behind it; the heads."""
    channels = [1, 64, 128, 256, 256, 512, 512]
    wanted = sum(3 * a * b + 3 * b * b + 4 * b for a, b in itertools.pairwise(channels))
    with torch.device("meta"):
        net = audio_net((10, 6), downsampling="strided")
        assert count(net) == wanted + 512 * 10 + 10 + 512 * 6 + 6
        assert count(audio_net((10, 6))) == count(net) + 12


@every_network
def test_width_scales_every_network(build, shape, places):
    with torch.device("meta"):
        ratio = count(build(width=32)) / count(build(width=16))
    assert 3.0 < ratio < 4.0


def test_efficientnet_is_proportional_to_its_stem():
    with torch.device("meta"):
        net = efficientnet_b0(width=8)
    widths = [stage[-1].layers[-1].num_features for stage in net.stages]
    assert widths == [4, 6, 10, 20, 28, 48, 80]
    assert net.classifier.tasks[0].in_features == 320


# --- Sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "x", "wanted"),
    [
        ("resnet18_imagenet", (3, 64, 48), [(32, 24), (16, 12), *[(8, 6)] * 2, *[(4, 3)] * 2]),
        ("resnet50", (3, 64, 48), [(32, 24), (16, 12), *[(16, 12)] * 2, *[(8, 6)] * 2]),
        ("efficientnet_b0", (3, 64, 48), [(32, 24), (16, 12), (8, 6), (4, 3), (2, 2)]),
        ("audio", (8000,), [(51, 32), (26, 16), (26, 16), (13, 8), (13, 8), (7, 4)]),
    ],
)
def test_inside_maps_have_the_sizes_of_the_strided_network(name, x, wanted, kind):
    """A branch and its shortcut each call the downsampling that they share."""
    net = NETWORKS[name][0](downsampling=kind, **({"ramp": "inside"} if kind == KINDS[0] else {}))
    assert sizes(net, torch.zeros(1, *x))[: len(wanted)] == wanted


def test_outside_maps_are_larger():
    """As published, 32 -> 24 with stride 2: the cutoff, and twice the ramp on top."""
    net = resnet18_imagenet(width=2, ramp="outside")
    assert sizes(net, torch.zeros(1, 3, 64, 64))[:3] == [(40, 40), (28, 28), (22, 22)]


@every_network
@pytest.mark.parametrize("ramp", ["outside", "inside"])
def test_a_pair_of_strides_is_that_of_height_and_width(build, shape, places, ramp):
    """Of time and frequency for sounds: along the second axis nothing gets smaller."""
    strides = [(2.5, 1.0) if place == places - 2 else 1.0 for place in range(places)]
    net = build(strides=strides, ramp=ramp)
    smaller, whole = sizes(net, torch.zeros(1, *shape))[-1], sizes(net, torch.zeros(1, *shape))[0]
    assert smaller[0] < whole[0]
    assert smaller[1] == whole[1]


@every_network
@pytest.mark.parametrize("kind", KINDS)
def test_places_are_in_forward_order_and_of_one_kind(build, shape, places, kind):
    layers = {"diffstride": DiffStride, "spectral": SpectralPool, "strided": nn.Identity}
    calls = []
    net = build(downsampling=kind).eval()
    downs = net.downsamplings()
    assert places - 1 <= len(downs) <= places  # an identity shortcut has none
    for name, down in downs.items():
        nothing_to_do = kind == "spectral" and down.initial == (1.0, 1.0)
        assert type(down.layer) is (nn.Identity if nothing_to_do else layers[kind])
        down.register_forward_hook(lambda *_, name=name: calls.append(name))
    with torch.no_grad():
        net(torch.zeros(1, *shape))
    assert list(dict.fromkeys(calls)) == list(downs)


@every_network
def test_complexity_is_the_papers_penalty(build, shape, places):
    strides = [(1.5 + 0.25 * place, 2.0) for place in range(places)]
    products = itertools.accumulate((math.prod(pair) for pair in strides), float.__mul__)
    net = build(strides=strides)
    assert net.complexity().item() == pytest.approx(sum(1 / product for product in products))


# --- Blocks -----------------------------------------------------------------------------------


def randomized(module):
    """Batch norms that do something, in eval mode, so that no formula can leave one out."""
    generator = torch.Generator().manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values in (norm.weight.data, norm.running_var):
                values.uniform_(0.5, 1.5, generator=generator)
            for values in (norm.bias.data, norm.running_mean):
                values.uniform_(-0.5, 0.5, generator=generator)
    return module.double().eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bottleneck", [False, True])
def test_blocks_that_activate_last(kind, bottleneck):
    down = Downsampling(kind, 2)
    block = randomized(BLOCKS["bottleneck" if bottleneck else "basic"](4, 8, down))
    x = draw(2, 4, 12, 12).double()
    y = x
    if bottleneck:
        y = functional.relu(block.narrow[1](functional.conv2d(y, block.narrow[0].weight)))
        assert block.conv.weight.shape == (2, 2, 3, 3)
    stride = down.conv_stride
    y = down.layer(functional.conv2d(y, block.conv.weight, stride=stride, padding=1))
    first_norm, _, last, last_norm = block.rest
    y = functional.relu(first_norm(y))
    y = last_norm(functional.conv2d(y, last.weight, padding=0 if bottleneck else 1))
    shortcut = down.layer(functional.conv2d(x, block.shortcut.weight, stride=stride))
    wanted = functional.relu(block.shortcut_norm(shortcut) + y)
    torch.testing.assert_close(block(x), wanted)


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_blocks_that_activate_first(kind):
    down = Downsampling(kind, 2) if kind else None
    block = randomized(BLOCKS["preactivation"](4, 8 if down else 4, down))
    x = draw(2, 4, 12, 12).double()
    stride, resample = (down.conv_stride, down.layer) if down else (1, nn.Identity())
    active = functional.relu(block.norm1(x))
    y = resample(functional.conv2d(active, block.conv1.weight, stride=stride, padding=1))
    y = functional.conv2d(functional.relu(block.norm2(y)), block.conv2.weight, padding=1)
    if down:
        x_small = resample(functional.conv2d(active, block.shortcut.weight, stride=stride))
    torch.testing.assert_close(block(x), y + (x_small if down else x))


@pytest.mark.parametrize("name", ["basic", "bottleneck"])
def test_blocks_without_a_stride_add_their_input(name):
    block = randomized(BLOCKS[name](8, 8, None))
    block.rest[-1].weight.data.zero_()
    block.rest[-1].bias.data.fill_(-0.25)
    x = draw(2, 8, 6, 6).double()
    torch.testing.assert_close(block(x), functional.relu(x - 0.25))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("expansion", [1, 6])
def test_the_inverted_bottleneck(kind, expansion):
    down = Downsampling(kind, 2)
    block = _InvertedBottleneck(8, 4, _Stage(expansion, 5, 4, 1, True), down, 0.0)
    layers = list(randomized(block).layers)
    x = draw(2, 8, 12, 12).double()
    y = x
    if expansion > 1:
        widen, norm, _, *layers = layers
        y = functional.silu(norm(functional.conv2d(y, widen.weight)))
    shrink, norm, _, weigh, narrow, last = layers
    y = functional.conv2d(
        y, shrink.operation.weight, stride=down.conv_stride, padding=2, groups=8 * expansion
    )
    y = functional.silu(norm(down.layer(y)))
    assert weigh.squeeze.out_channels == 2  # a quarter of what enters the block
    y = last(functional.conv2d(weigh(y), narrow.weight))
    torch.testing.assert_close(block(x), y)


def test_squeeze_and_excitation():
    layer, x = _SqueezeExcitation(6, 2), draw(3, 6, 5, 4)
    means = x.mean(dim=(2, 3))
    squeezed = functional.silu(means @ layer.squeeze.weight[..., 0, 0].T + layer.squeeze.bias)
    weights = torch.sigmoid(squeezed @ layer.excite.weight[..., 0, 0].T + layer.excite.bias)
    torch.testing.assert_close(layer(x), x * weights[..., None, None])


def test_blocks_add_their_input_where_the_shape_stays():
    net = efficientnet_b0(width=32)
    adds = [[block.adds for block in stage] for stage in net.stages]
    assert adds == [[False, *[True] * (stage.blocks - 1)] for stage in STAGES]
    # Also where rounding makes a strided block as wide as its input.
    narrow = efficientnet_b0(width=1, strides=(1, 1, 1, 1, 1))
    assert not narrow.stages[1][0].adds


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, x = _StochasticDepth(0.25), torch.ones(4000, 2, 1, 3)
    y = layer(x)
    values = y[:, 0, 0, 0]
    assert torch.equal(y, values[:, None, None, None].expand_as(y))
    assert set(values.mul(0.75).tolist()) == {0.0, 1.0}
    assert values.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(layer.eval()(x), x)


def test_deeper_blocks_are_dropped_more_often():
    with torch.device("meta"):
        net = efficientnet_b0(stochastic_depth=0.4)
    shares = [block.drop.share for stage in net.stages for block in stage]
    assert shares == pytest.approx([0.4 * position / 16 for position in range(16)])


@pytest.mark.parametrize("kind", KINDS)
def test_the_pooling_takes_the_maximum_and_then_the_stride(kind):
    down = Downsampling(kind, 2)
    shrink = Shrink(nn.MaxPool2d(3, down.conv_stride, padding=1), down)
    x = draw(2, 3, 12, 12)
    whole = functional.max_pool2d(x, 3, stride=1, padding=1)
    wanted = whole[..., ::2, ::2] if kind == "strided" else down.layer(whole)
    torch.testing.assert_close(shrink(x), wanted)


def test_the_audio_block_is_time_then_frequency():
    net = audio_net(width=2, ramp="inside")
    kernels = [(m.kernel_size, m.padding) for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [((3, 1), (1, 0)), ((1, 3), (0, 1))] * 6
    strided = audio_net(width=2, downsampling="strided", strides=[(2, 1)] * 6)
    strides = [m.stride for m in strided.modules() if isinstance(m, nn.Conv2d)]
    assert strides == [(1, 1), (2, 1)] * 6


# --- Whole networks -----------------------------------------------------------------------------


def pooled(maps, classifier):
    (head,) = classifier.tasks
    return maps.mean(dim=(2, 3)) @ head.weight.T + head.bias


def test_a_residual_network_that_activates_last():
    net = randomized(resnet18_imagenet(5, width=2, downsampling="strided"))
    x = draw(2, 3, 40, 40).double()
    shrink, norm, _ = net.stem
    norm.bias.data.sub_(2.0)  # so that some maxima are below zero
    y = functional.conv2d(x, shrink.operation.weight, stride=2, padding=3)
    y = functional.max_pool2d(functional.relu(norm(y)), 3, stride=2, padding=1)
    torch.testing.assert_close(net(x), pooled(net.stages(y), net.classifier))


def test_a_residual_network_that_activates_first():
    net = randomized(resnet18(5, width=2, downsampling="strided"))
    x = draw(2, 3, 16, 16).double()
    y = net.stages(functional.conv2d(x, net.stem[0].operation.weight, padding=1))
    torch.testing.assert_close(net(x), pooled(functional.relu(net.last[0](y)), net.classifier))


def test_efficientnet_from_stem_to_head():
    net = randomized(efficientnet_b0(5, width=4, downsampling="strided"))
    x = draw(2, 3, 40, 40).double()
    shrink, norm, _ = net.stem
    y = functional.conv2d(x, shrink.operation.weight, stride=2, padding=1)
    y = net.stages(functional.silu(norm(y)))
    y = functional.silu(net.last[1](functional.conv2d(y, net.last[0].weight)))
    torch.testing.assert_close(net(x), pooled(y, net.classifier))


def test_dropout_hides_features_from_the_head():
    net = efficientnet_b0(5, width=2, dropout=1.0)
    bias = net.classifier.tasks[0].bias
    torch.testing.assert_close(net(draw(2, 3, 32, 32)), bias.expand(2, 5))


def test_a_block_that_is_left_out_is_the_identity():
    block, x = _InvertedBottleneck(4, 4, _Stage(6, 3, 4, 1, False), None, 1.0), draw(2, 4, 6, 6)
    assert torch.equal(block(x), x)
    assert not torch.equal(block.eval()(x), x)


@pytest.mark.parametrize("classes", [5, (5, 2)], ids=["one task", "two"])
def test_an_audio_network_judges_a_long_wave_by_the_mean_of_its_parts(classes):
    net, whole = (seeded(audio_net, classes, width=2, part=part).eval() for part in (0.25, None))
    x = draw(3, 4500)
    for size, starts in ((4000, (0, 2000)), (4500, (0, 2000, 2500)), (2001, (0, 1))):
        each = [as_tuple(whole(x[:, start : start + 2000])) for start in starts]
        expected = [torch.stack(parts).mean(0) for parts in zip(*each, strict=True)]
        for found, mean in zip(as_tuple(net(x[:, :size])), expected, strict=True):
            torch.testing.assert_close(found, mean)
    for short in (x[:, :2000], x[:, :700]):
        for found, same in zip(as_tuple(net(short)), as_tuple(whole(short)), strict=True):
            assert torch.equal(found, same)
    assert as_tuple(net(x[:0]))[0].shape == (0, 5)


def as_tuple(logits):
    return (logits,) if isinstance(logits, torch.Tensor) else tuple(logits)


def test_an_audio_network_trains_on_a_random_part_of_each_wave():
    net, seen = audio_net(3, width=2, part=0.05, downsampling="strided").train(), []
    net.frontend.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    x = torch.arange(404.0).repeat(4, 1) + 1000 * torch.arange(4)[:, None]
    torch.manual_seed(0)
    for _ in range(40):
        net(x)
    starts = torch.stack([part[:, 0] for part in seen])
    for part, start in zip(seen, starts, strict=True):
        assert torch.equal(part, start[:, None] + torch.arange(400))
    starts -= 1000 * torch.arange(4)
    assert all(set(of_one.tolist()) == set(range(5)) for of_one in starts.T)
    assert any(len(set(of_all.tolist())) > 1 for of_all in starts)


def test_the_audio_network_from_spectrogram_to_head():
    """The convolution along the second axis has the stride, and the heads see each maximum."""
    net = randomized(audio_net(5, width=2, downsampling="strided"))
    x = draw(2, 2000).double()
    y = net.frontend(x)[:, None]
    for block, stride in zip(net.stages, (2, 2, 1, 2, 1, 2), strict=True):
        along_time, time_norm, _, shrink, norm, _ = block
        y = functional.conv2d(y, along_time.weight, padding=(1, 0))
        y = functional.relu(time_norm(y))
        y = functional.conv2d(y, shrink.operation.weight, stride=stride, padding=(0, 1))
        y = functional.relu(norm(y))
    torch.testing.assert_close(net(x), net.classifier(y.flatten(2).max(dim=2).values))


# --- Heads ------------------------------------------------------------------------------------


@every_network
def test_one_head_or_one_a_task_on_a_shared_body(build, shape, places):
    x = draw(2, *shape)
    one, two = build(7).eval(), build((7, 3)).eval()
    missing, unexpected = two.load_state_dict(one.state_dict(), strict=False)
    assert missing == ["classifier.tasks.1.weight", "classifier.tasks.1.bias"]
    assert unexpected == []
    assert one(x).shape == (2, 7)
    logits = two(x)
    assert isinstance(logits, tuple)
    assert [tuple(task.shape) for task in logits] == [(2, 7), (2, 3)]
    torch.testing.assert_close(logits[0], one(x))
    logits[0].sum().backward()
    assert all(p.grad is None for p in two.classifier.tasks[1].parameters())
    assert all(p.grad is not None for p in two.classifier.tasks[0].parameters())


def test_a_sequence_of_one_stays_a_sequence():
    assert isinstance(resnet18((7,), width=2)(draw(1, 3, 16, 16)), tuple)


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (
            efficientnet_b0,
            {"strides": (2, 2)},
            r"5: one for each of stem, stage2, stage3, stage4, s",
        ),
        (efficientnet_b0, {"dropout": 1.5}, r"dropout: got 1\.5; allowed: a share, from 0 to 1; "),
        (efficientnet_b0, {"stochastic_depth": -0.1}, r"stochastic_depth: got -0\.1; "),
        (
            efficientnet_b0,
            {"dropout": "0.2"},
            r"dropout: got '0\.2'; allowed: a share, from 0 to 1",
        ),
        (
            efficientnet_b0,
            {"stochastic_depth": [0.2]},
            r"stochastic_depth: got \[0\.2\]; ",
        ),
        (efficientnet_b0, {"dropout": True}, r"dropout: got True; allowed: a share, from 0"),
        (
            efficientnet_b0,
            {"in_channels": 3.0},
            r"in_channels: got 3\.0; allowed: an integer of",
        ),
        (
            efficientnet_b0,
            {"strides": b"22222"},
            r"strides: got b'22222'; allowed: 5: one for",
        ),
        (audio_net, {"strides": b"222222"}, r"strides: got b'222222'; allowed: 6: one for each"),
        (efficientnet_b0, {"width": 0}, r"width: got 0; allowed: an integer of at least 1"),
        (efficientnet_b0, {"num_classes": 0}, r"num_classes: got 0; "),
        (audio_net, {"strides": (2, 2)}, r"6: one for each of stage1, .*\(2, 2, 1, 2, 1, 2\)"),
        (audio_net, {"width": 0}, r"width: got 0; "),
        (audio_net, {"sample_rate": 0}, r"sample_rate: got 0; .* write sample_rate=16000"),
        (audio_net, {"bands": 0}, r"bands: got 0; "),
        (
            audio_net,
            {"part": 0.02},
            r"part: got 0.02 s at 8000 Hz; allowed: at least 200 sam",
        ),
        (audio_net, {"part": "1"}, r"part: got '1' s at 8000 Hz; .* write part=0.1"),
        (audio_net, {"num_classes": []}, r"num_classes: got no task; "),
        (resnet50, {"strides": 6 * (1.5,), "downsampling": "strided"}, r"allowed: whole numbers"),
        (resnet50, {"downsampling": "stride"}, r"downsampling: got 'stride'; .*'strided'"),
        (resnet18_imagenet, {"strides": (2, 2, 0.5, 2, 2, 2)}, r"strides: got 0\.5"),
    ],
)
def test_errors(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


# --- Learning ---------------------------------------------------------------------------------


@every_network
def test_every_parameter_learns_and_strides_learn_apart(build, shape, places):
    """On both axes of every place there is a gradient, and not the same one."""
    strides = [(1.0, 1.0)] + [(1.2, 1.3)] * (places - 1)
    net = seeded(build, (4, 2), strides=strides, ramp="inside")
    first, second = net(draw(4, *shape))
    loss = functional.cross_entropy(first, torch.arange(4))
    loss = loss + functional.cross_entropy(second, torch.arange(4) % 2)
    loss.backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in net.parameters())
    for down in net.downsamplings().values():
        one, other = down.layer.strides.grad.tolist()
        assert one != 0
        assert other != 0
        assert one != other


@every_network
def test_a_step_moves_each_axis_by_its_own_gradient(build, shape, places):
    net = seeded(build, strides=[1.5] * places, ramp="inside")
    downs = list(net.downsamplings().values())
    weights = draw(len(downs), 2)
    (weights * torch.stack([down.strides() for down in downs])).sum().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    for weight, down in zip(weights, downs, strict=True):
        torch.testing.assert_close(down.layer.strides.detach(), 1.5 - 0.1 * weight)


# --- Precision, memory, held sizes ------------------------------------------------------------


@every_network
def test_autocast_to_bfloat16_is_near(build, shape, places):
    """In value, in eval mode; gradients stay finite and in the parameters' own precision.

    In training the norms of so few numbers would enlarge what rounding does.
    """
    net, x = seeded(build, ramp="inside").eval(), draw(4, *shape)
    with torch.no_grad():
        wanted = net(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = net(x)
    assert y.dtype == torch.bfloat16
    assert (y.float() - wanted).norm() / wanted.norm() < 0.05
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net.train()(x)
    y.float().square().sum().backward()
    assert all(p.grad.dtype == p.dtype and p.grad.isfinite().all() for p in net.parameters())


@every_network
def test_channels_last_gives_the_same(build, shape, places):
    net, x = seeded(build, ramp="inside").eval(), draw(2, *shape)
    with torch.no_grad():
        wanted = net(x)
        net.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
        torch.testing.assert_close(net(x), wanted, rtol=1e-3, atol=1e-4)


def test_channels_last_stays_through_the_pooling():
    net = resnet18_imagenet(width=4, ramp="inside").to(memory_format=torch.channels_last).eval()
    x = draw(2, 3, 32, 32).to(memory_format=torch.channels_last)
    assert net.pool(net.stem(x)).is_contiguous(memory_format=torch.channels_last)


@every_network
def test_held_sizes_stay_while_strides_move(build, shape, places):
    net, x = build(ramp="inside", strides=[1.5] * places), torch.zeros(1, *shape)
    before = sizes(net, x)
    hold_sizes(net)
    with torch.no_grad():
        for down in net.downsamplings().values():
            down.layer.strides.add_(0.4)
    assert sizes(net, x) == before
    hold_sizes(net)
    assert sizes(net, x) != before
