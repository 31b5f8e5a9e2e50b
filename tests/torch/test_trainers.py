"""Layers inside other people's trainers, which read and write parameters in ways of their own."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spectral_stride.torch import DiffStride, DiffStrideConv2d, project_strides

# Inside, on a bound, and beyond it on either side.
PLACES = [2.3, 1.0, 0.6, 40.0]


class Net(nn.Module):
    """A convolution before a layer, and one that has a stride itself."""

    def __init__(self, stride=2.0):
        super().__init__()
        self.before = nn.Conv2d(3, 4, 3, padding=1)
        self.down = DiffStride(2.0, ramp="inside")
        self.behind = DiffStrideConv2d(4, 2, 3, padding=1, ramp="inside")
        put(self, stride)

    def forward(self, x):
        return self.behind(self.down(self.before(x)).relu())


def layers(net):
    return [one for one in net.modules() if isinstance(one, DiffStride)]


def put(net, stride):
    """What an optimizer's step may leave."""
    with torch.no_grad():
        for layer in layers(net):
            layer.strides.fill_(stride)


def strides(net):
    return [layer.strides.tolist() for layer in layers(net)]


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def step(net, x, optimizer):
    optimizer.zero_grad()
    net(x).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("stride", PLACES)
def test_a_state_dict_is_the_parameters_own_memory(stride):
    """Wherever the strides are, and although a pass came in between."""
    net = Net(stride)
    for _ in range(2):
        state = net.state_dict()
        for name, parameter in net.named_parameters():
            assert state[name].data_ptr() == parameter.data_ptr(), name
            torch.testing.assert_close(state[name], parameter.detach())
        net(image(2, 3, 16, 16)).sum().backward()


@pytest.mark.parametrize("stride", PLACES)
def test_an_average_that_is_kept_in_place_follows(stride):
    net, average = Net(stride), Net(stride)
    with torch.no_grad():
        put(net, 3.0)
        for name, value in average.state_dict().items():
            value.mul_(0.25).add_(net.state_dict()[name], alpha=0.75)
    wanted = 0.25 * stride + 0.75 * 3.0
    assert strides(average) == [[pytest.approx(wanted)] * 2] * 2


@pytest.mark.parametrize("stride", PLACES)
def test_weights_that_are_exchanged_for_a_validation_are_those_of_the_other(stride):
    net, other, x = Net(stride), Net(1.7), image(2, 3, 16, 16)
    expected, before = other(x), strides(net)
    ours, theirs = net.state_dict(), other.state_dict()
    kept = {name: value.clone() for name, value in ours.items()}
    with torch.no_grad():
        for name, value in ours.items():
            value.copy_(theirs[name])
        torch.testing.assert_close(net(x), expected)
        for name, value in ours.items():
            value.copy_(kept[name])
    assert strides(net) == before


@pytest.mark.parametrize("of", [None, get_ema_multi_avg_fn(0.5)], ids=["mean", "moving"])
def test_averaged_models(of):
    net, x = Net(), image(2, 3, 16, 16)
    average = AveragedModel(net, multi_avg_fn=of)
    average.update_parameters(net)
    put(net, 3.0)
    average.update_parameters(net)
    assert strides(average) == [[2.5, 2.5]] * 2
    assert average(x).shape == (2, 2, 3, 3)  # 16 onto 7, and 7 onto 3


@pytest.mark.parametrize("stride", PLACES)
def test_a_perturbation_that_is_undone_leaves_nothing(stride):
    """As SAM does it: up by a part of the gradient, backward there, and down again."""
    net, x = Net(stride), image(2, 3, 16, 16)
    before = strides(net)
    moves = [torch.full_like(layer.strides, -0.25) for layer in layers(net)]
    with torch.no_grad():
        for layer, move in zip(layers(net), moves, strict=True):
            layer.strides.add_(move)
    net(x).square().sum().backward()
    with torch.no_grad():
        for layer, move in zip(layers(net), moves, strict=True):
            layer.strides.sub_(move)
    assert strides(net) == [[pytest.approx(one, abs=1e-5) for one in row] for row in before]


@pytest.mark.parametrize("held", [False, True], ids=["following", "held"])
@pytest.mark.parametrize(("stride", "bound"), [(0.6, 1.0), (40.0, 8.0)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_gradient_outside_of_the_bounds_is_projected(sign, stride, bound, held):
    """None outward, and the whole one of the bound inward."""
    x = image(2, 3, 16, 16)

    def gradient(at):
        layer = DiffStride(2.0, ramp="inside")
        put(layer, at)
        if held:
            layer._holds = True  # without the projection of hold_sizes
            layer._held.renew(layer.settings, (bound, bound))
        (sign * layer(x).square().sum()).backward()
        assert layer.strides.tolist() == [pytest.approx(at)] * 2
        return layer.strides.grad

    found, there = gradient(stride), gradient(bound)
    assert bool((there != 0).all())
    outward = there > 0 if stride < bound else there < 0
    torch.testing.assert_close(found, there.masked_fill(outward, 0))
    # One sign of the loss pushes out, and the other brings back.
    assert bool(outward.all()) or not bool(outward.any())


def test_a_small_input_does_not_push_what_a_large_one_can_use():
    """For 8 samples a stride of 6 is out of range, for 64 it is not: each call projects its own."""
    layer = DiffStride(6.0, ramp="inside")
    small, large = (image(2, 3, size, size) for size in (8, 64))
    gradients = []
    for x in (small, large):
        for sign in (1, -1):
            layer.zero_grad()
            (sign * layer(x).square().sum()).backward()
            gradients.append(bool(layer.strides.grad.any()))
    assert sorted(gradients[:2]) == [False, True]
    assert gradients[2:] == [True, True]


def test_what_momentum_carries_beyond_a_bound_is_clamped_and_comes_back():
    """A loss that wants the smallest stride first, and then a larger one."""
    layer, x = DiffStride(1.3, ramp="inside"), image(4, 3, 32, 32)
    optimizer = torch.optim.SGD(layer.parameters(), lr=2e-4, momentum=0.9)
    seen = []
    for wanted in (-1, 1):
        for _ in range(40):
            optimizer.zero_grad()
            (wanted * layer(x).square().sum()).backward()
            optimizer.step()
            assert bool(layer(x).isfinite().all())
        seen.append(layer.strides.tolist())
    assert max(seen[0]) < 1.0
    assert min(seen[1]) > 1.0


def test_projecting_is_asked_for():
    """Into the own bounds, and to what the inputs so far could use."""
    net = Net()
    net(image(2, 3, 16, 20))
    put(net, 100.0)
    project_strides(net)
    assert strides(net) == [[8.0, 10.0], [4.0, 5.0]]
    put(net, -3.0)
    project_strides(net)
    assert strides(net) == [[1.0, 1.0]] * 2
    with pytest.raises(TypeError, match=r"module: got list; allowed: a torch\.nn\.Module"):
        project_strides([net])


def test_copies_and_calls_with_other_parameters():
    net, x = Net(0.6), image(2, 3, 16, 16)
    twin = copy.deepcopy(net)
    torch.testing.assert_close(twin(x), net(x))
    put(twin, 3.0)
    given = {name: value.detach().requires_grad_() for name, value in twin.named_parameters()}
    y = torch.func.functional_call(net, given, (x,))
    torch.testing.assert_close(y, twin(x))
    y.sum().backward()
    assert given["down.strides"].grad is not None
    assert strides(net) == [[pytest.approx(0.6)] * 2] * 2


def test_scaled_gradients():
    """A scale that overflows skips the step, and leaves strides as they were."""
    net, x = Net(), image(2, 3, 16, 16)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for scale in (2.0**10, float("inf")):
        before = strides(net)
        optimizer.zero_grad()
        scaler.scale(net(x).square().mean()).mul(scale / 2**10).backward()
        scaler.step(optimizer)
        scaler.update()
        assert (strides(net) == before) == (scale == float("inf"))
