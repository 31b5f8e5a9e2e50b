"""A budget: the cost of real sizes, the way to a target, and whole sizes that cost as much."""

import copy
import math
import re
import warnings
from functools import cache
from itertools import pairwise, product

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spectral_stride.torch import (
    DiffStride,
    DiffStrideConv2d,
    MacBudget,
    SpectralPool,
    SpectralUp,
    convert,
    freeze,
    hold_sizes,
    release_sizes,
    resnet18,
)
from spectral_stride.torch.budget import settling
from spectral_stride.torch.budget.all_strides import AllStrides
from spectral_stride.torch.budget.counted import counted
from spectral_stride.torch.budget.equal_cost import EqualCost
from spectral_stride.torch.budget.network_cost import NetworkCost
from spectral_stride.torch.budget.probe import layers_of


class Attends(nn.Module):
    """Patches, attention over all of them, and a convolution without padding."""

    def __init__(self):
        super().__init__()
        self.embed = DiffStrideConv2d(3, 8, 4, strides=(2.0, 3.0), padding=1)
        self.query = nn.Linear(8, 8)
        self.narrow = nn.Conv2d(8, 8, 3)
        self.down = DiffStride(1.5)

    def forward(self, x):
        x = self.embed(x)
        tokens = self.query(x.flatten(2).mT)
        weights = (tokens @ tokens.mT).softmax(-1)
        x = (weights @ tokens).mT.reshape(x.shape)
        return self.down(self.narrow(x)).mean((-2, -1))


class Decodes(nn.Module):
    """Down and up again, with a skip."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.down = DiffStrideConv2d(8, 32, 3, strides=2.0, padding=1)
        self.inner = nn.Conv2d(32, 64, 3, padding=1)
        self.up = SpectralUp()
        self.last = nn.Conv2d(72, 4, 3, padding=1)

    def forward(self, x):
        x = self.first(x)
        return self.last(torch.cat([x, self.up(self.inner(self.down(x)), like=self.down)], 1))


class Sounds(nn.Module):
    """One axis, with a stride that two layers see, and a strided layer that nothing learns."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv1d(1, 4, 9, padding=4)
        self.down = DiffStride((4.0,))
        self.fixed = nn.Conv1d(4, 6, 3, stride=2, padding=1)
        self.again = nn.Conv1d(6, 4, 3)

    def forward(self, x):
        x = self.fixed(self.down(self.wide(x)))
        return self.down(self.again(x)).mean(-1)


class Hears(nn.Module):
    """One axis, long enough for an FFT, that shrinks by a fixed size too, and goes back up."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(1, 4, 9, padding=4)
        self.down = DiffStride((2.0,))
        self.inner = nn.Conv1d(4, 8, 3, padding=1)
        self.pool = SpectralPool(out_sizes=(64,))
        self.up = SpectralUp()
        self.last = nn.Conv1d(8, 4, 3, padding=1)

    def forward(self, x):
        x = self.up(self.pool(self.inner(self.down(self.first(x)))), like=self.pool)
        return self.last(self.up(x, like=self.down))


class Wide(nn.Module):
    """So many signals that one product for both axes is the faster one on small maps."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 2048, 1)
        self.down = DiffStride(2.0)
        self.inner = DiffStrideConv2d(64, 70, 1, strides=1.5)

    def forward(self, x):
        x = self.down(self.first(x))
        return self.inner(x.reshape(32, 64, *x.shape[-2:]))


def strided():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.Conv2d(64, 64, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 4),
    )
    return convert(net, torch.zeros(1, 3, 64, 64))


NETS = {
    "resnet": (lambda: resnet18(width=4, strides=(1, 1, 3, 2, 3)), (3, 32, 32)),
    "attention": (Attends, (3, 24, 26)),
    "decoder": (Decodes, (3, 24, 24)),
    "audio": (Sounds, (1, 128)),
    "converted": (strided, (3, 64, 64)),
    "long": (Hears, (1, 400)),
    "wide": (Wide, (3, 16, 16)),
}
SEEDS = range(4)


@cache
def built(name):
    torch.manual_seed(0)
    build, shape = NETS[name]
    return build(), torch.randn(1, *shape)


def made(name):
    """A network and a sample of one's own: to convert one takes longer than to copy it."""
    return copy.deepcopy(built(name))


def settled_at(network, sizes, net):
    """The strides that leave whole sizes, written into a network that crops hard."""
    before = network.probe.again(sizes).before
    strides = [1.0] * sum(layer.strides.numel() for layer in layers_of(net).values())
    for axis, seen, size in zip(network.axes, before, sizes, strict=True):
        strides[axis.entry] = seen / size
    AllStrides(net).write(strides)
    AllStrides(net).freeze()


# How far the cost at whole sizes may be off: where a strided operation had to end at an edge, odd
# sizes are padded.
ERRORS = dict.fromkeys(NETS, 1e-12) | {"converted": 0.05}
del ERRORS["audio"]  # it has one stride for two sizes


@pytest.mark.parametrize("name", ERRORS)
def test_the_cost_is_that_of_whole_sizes(name):
    net, x = made(name)
    network = NetworkCost(net, x, "macs")
    assert all(axis.before > 1 for axis in network.axes)
    for seed in SEEDS:
        whole, sizes = torch.Generator().manual_seed(seed), []
        for number in range(len(network.axes)):
            known = torch.tensor([*sizes, *network._now[number:]], dtype=torch.float64)
            most = round(float(network.before(known)[number]))
            sizes.append(int(torch.randint(max(2, most // 4), most + 1, (), generator=whole)))
        net, x = made(name)
        settled_at(network, sizes, net)
        cost = float(network(torch.tensor(sizes, dtype=torch.float64)))
        assert cost == pytest.approx(flops(net, x), rel=ERRORS[name]), seed


def test_one_stride_that_two_calls_see_is_one_number():
    net, x = made("audio")
    network = NetworkCost(net, x, "macs")
    assert [(axis.before, axis.after, axis.entry) for axis in network.axes] == [
        (128, 32, 0),
        (14, 4, 0),
    ]
    strides = torch.tensor([2.0], dtype=torch.float64)
    # 128 / 2 = 64, of which a stride of 2 and a kernel of 3 leave 30.
    assert network.sizes(strides).tolist() == [64.0, 15.0]


@pytest.mark.parametrize("name", NETS)
def test_the_slope_of_the_cost_is_that_of_its_differences(name):
    net, x = made(name)
    network = NetworkCost(net, x, "macs")
    theta = AllStrides(net).read().log() + 0.11  # off the corners

    def log_cost(theta):
        return network(network.sizes(theta.exp())).log()

    assert torch.autograd.gradcheck(log_cost, theta.requires_grad_(), atol=1e-6)


def trained(net, budget, steps, seed=0):
    """Steps with gradients at random; the costs on the way."""
    generator = torch.Generator().manual_seed(seed)
    costs = []
    for _ in range(steps):
        for layer in layers_of(net).values():
            if layer.strides.requires_grad:
                layer.strides.grad = torch.randn(layer.strides.shape, generator=generator)
        budget.step()
        costs.append(budget.cost())
    return costs


def flops(net, x):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(x)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("name", "target"),
    [*product(["resnet", "converted"], [0.3, 0.5, 0.8]), ("decoder", 0.8)],
)
def test_training_ends_at_the_target(name, target):
    net, x = made(name)
    start = flops(net, x)
    budget = MacBudget(net, x, target, steps=20)
    assert budget.target == pytest.approx(target * start)
    costs = trained(net, budget, 20)
    # The target is reached after a fifth of the steps, and kept.
    assert costs[4:11] == pytest.approx([budget.target] * 7, rel=2e-4)
    assert budget.settled
    assert 0.98 <= flops(net, x) / budget.target <= 1.005
    assert flops(net, x) == budget.cost()
    for name, layer in layers_of(net).items():
        assert layer.hard
        assert not layer.strides.requires_grad
        seen = []
        handle = layer.register_forward_hook(lambda _, __, y, seen=seen: seen.append(y.shape))
        net(x)
        handle.remove()
        for shape in seen[:1]:  # a convolution that takes the layer along calls no hook of it
            assert tuple(shape[-2:]) == budget.sizes()[name]
        assert all(size == int(size) for size in budget.sizes()[name])


def test_balanced_sizes_are_the_usual_ones():
    """Half the sizes, twice the channels, a little smaller for what resampling takes."""
    net = resnet18(width=4, strides=(2.5, 1, 1.1, 3, 1.4))
    budget = MacBudget(net, torch.zeros(1, 3, 32, 32), 2e6, steps=20, begin="balanced")
    stem, *stages = [size for size, _ in budget.sizes().values()]
    assert 20 < stem < 32
    assert [stem / stages[0], *(one / two for one, two in pairwise(stages))] == pytest.approx(
        [2.0] * 3, rel=0.1
    )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", ["resnet", "converted", "decoder", "audio", "long"])
def test_balanced_sizes_have_nothing_of_what_strides_were(name, shared):
    """Height and width have the same stride then, too."""
    begun = []
    target = 0.7 * MacBudget(made(name)[0], made(name)[1], 1.0).target
    for spread in (1.0, 1.4):
        net, x = made(name)
        for number, layer in enumerate(layers_of(net).values()):
            apart = spread ** torch.tensor([1.0, -number])
            layer.strides.data.mul_(apart[: layer.strides.numel()]).clamp_(1.0, 3.9)
        before = [layer.strides.detach().clone() for layer in layers_of(net).values()]
        budget = MacBudget(net, x, target, steps=20, begin="balanced", shared=shared)
        strides = torch.cat([layer.strides.detach() for layer in layers_of(net).values()])
        assert not torch.allclose(strides, torch.cat(before), rtol=0.02)
        assert budget.cost() == pytest.approx(budget.target, rel=2e-3)
        begun.append(strides)
    torch.testing.assert_close(*begun, rtol=0.02, atol=0)


def test_from_a_balanced_start_training_stays_at_the_target():
    net, x = made("converted")
    budget = MacBudget(net, x, 0.5, steps=20, begin="balanced")
    assert trained(net, budget, 10) == pytest.approx([budget.target] * 10, rel=2e-3)
    trained(net, budget, 10)
    assert 0.98 <= flops(net, x) / budget.target <= 1.005


def test_what_is_balanced_are_multiply_accumulates_whatever_the_cost_is():
    """So sizes fall by halves, with a target in bytes or in seconds, too."""
    names = layers_of(made("resnet")[0])
    steep = {name: {4: 0.1, 8: 1.0, 16: 10.0, 32: 100.0} for name in names}
    for cost in ("memory", steep):
        net, x = made("resnet")
        budget = MacBudget(net, x, 0.5, cost=cost, begin="balanced")
        assert budget.cost() == pytest.approx(budget.target, rel=2e-3)
        stem, *stages = [size for size, _ in budget.sizes().values()]
        assert [one / two for one, two in pairwise([stem, *stages])] == pytest.approx(
            [2.0] * 3, rel=0.1
        )


def test_where_no_operation_depends_on_sizes_nothing_is_balanced():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), DiffStride(2.0), DiffStride(2.0))
    x = torch.zeros(1, 3, 64, 64)
    budget = MacBudget(net, x, 0.95, begin="balanced")
    assert budget.cost() == pytest.approx(budget.target, rel=2e-3)
    assert all(map(math.isfinite, budget.state_dict()["log_strides"]))


def test_sizes_that_are_held_are_balanced():
    net, x = made("resnet")
    net(x)
    hold_sizes(net)
    before = flops(net, x)
    MacBudget(net, x, 0.6, begin="balanced")
    held = flops(net, x)
    release_sizes(net)
    assert flops(net, x) == held != before


def test_balanced_operations_cost_as_much_as_one_another():
    """Where each has a size of its own they cost the same."""
    net = nn.Sequential(
        DiffStrideConv2d(3, 32, 3, strides=1.2, padding=1),
        DiffStrideConv2d(32, 64, 3, strides=1.3, padding=1),
        DiffStrideConv2d(64, 128, 3, strides=2, padding=1),
    )
    budget = MacBudget(net, torch.zeros(1, 3, 90, 90), 0.1, begin="balanced")
    sizes = [size for size, _ in budget.sizes().values()]
    costs = [conv.weight.numel() * size**2 for conv, size in zip(net, sizes, strict=True)]
    assert sizes[0] < 89
    assert costs == pytest.approx([costs[0]] * 3, rel=0.05)


def test_a_balanced_start_keeps_bounds_and_what_stands_still():
    net, x = made("resnet")
    _, second, third, _ = layers_of(net).values()
    third.strides.requires_grad_(False)
    second.upper = 1.2
    still = third.strides.tolist()
    budget = MacBudget(net, x, 0.6, steps=20, begin="balanced")
    assert third.strides.tolist() == still
    assert max(second.strides.tolist()) <= 1.2 + 1e-6
    assert budget.cost() == pytest.approx(budget.target, rel=2e-3)


@pytest.mark.parametrize(("samples", "target"), [(260, 0.5), (1024, 0.8), (200, 0.8)])
def test_what_enlarges_multiplies_or_not_by_its_size(samples, target):
    """A map of 260 samples takes an FFT, which counts nothing; one of 130 is multiplied.

    With 200 all are multiplied, and the whole map without strides costs less than half of that.
    """
    net = nn.Sequential(
        *[nn.Conv1d(one, 8, 4, stride=2, padding=1) for one in (1, 8)],
        *[nn.ConvTranspose1d(8, one, 4, stride=2, padding=1) for one in (8, 1)],
    )
    x = torch.randn(1, 1, samples)
    net = convert(net, x)
    start = flops(net, x)
    budget = MacBudget(net, x, target, steps=10)
    trained(net, budget, 10)
    assert 0.98 <= flops(net, x) / (target * start) <= 1.005


def test_a_goal_within_a_leap_of_the_cost_is_reached_by_other_strides():
    def log_cost(theta):
        return ((-theta).exp().sum(-1) + 8 * (theta[..., 0] < 1)).log()

    bounds = torch.full((2,), -3.0, dtype=torch.float64), torch.full((2,), 3.0, dtype=torch.float64)
    alike, moving = torch.arange(2), torch.ones(2, dtype=torch.bool)
    surface = EqualCost(log_cost, lambda theta: bounds, alike, moving)
    theta = torch.zeros(2, dtype=torch.float64)
    for _ in range(3):
        theta = surface.onto(theta, math.log(5))
    assert float(log_cost(theta)) == pytest.approx(math.log(5), abs=2e-4)


def test_a_part_of_a_batch_costs_what_it_is():
    net, x = made("resnet")
    part = torch.randn(64, 3, 32, 32)[:1]
    costs = [MacBudget(net, one, 0.5, cost="memory").target for one in (x, part)]
    assert costs[0] == costs[1]


def test_memory_ends_at_the_target():
    """Bytes that autograd keeps, counted in the network that has settled."""
    net, x = made("resnet")
    start = sum(counted(net, x, "memory"))
    budget = MacBudget(net, x, 0.5, steps=10, cost="memory")
    trained(net, budget, 10)
    assert 0.98 * 0.5 * start <= sum(counted(net, x, "memory")) <= 1.005 * 0.5 * start


def test_a_table_of_times_is_a_cost():
    net, x = made("converted")
    table = {"0.resampling": {8: 1.0, 16: 3.0, (32, 32): 20.0}, "3.resampling": {2: 0.1, 32: 4.0}}
    budget = MacBudget(net, x, 0.6, cost=table, steps=10)
    assert budget.cost() == pytest.approx(20.0 + 0.1 + (16 * 16 - 4) / (32 * 32 - 4) * 3.9)
    trained(net, budget, 10)
    (height, width), (tall, wide) = (budget.sizes()[name] for name in table)
    assert 16 * 16 <= height * width <= 32 * 32
    wanted = 3 + (height * width - 256) / 768 * 17 + 0.1 + (tall * wide - 4) / 1020 * 3.9
    assert budget.cost() == pytest.approx(wanted)
    assert 0.98 <= budget.cost() / budget.target <= 1.005


def test_gradients_move_strides_along_the_surface():
    """The one whose growth the loss wants grows, and the other pays for it."""
    net, x = made("converted")
    budget = MacBudget(net, x, MacBudget(net, x, 1.0).cost(), steps=200)
    first, _, last = layers_of(net).values()
    before = [layer.strides.clone() for layer in (first, last)]
    for _ in range(30):
        for layer in layers_of(net).values():
            layer.strides.grad = torch.zeros_like(layer.strides)
        first.strides.grad += 1.0  # the loss falls as this stride does
        budget.step()
        assert budget.cost() == pytest.approx(budget.target, rel=1e-3)
    assert bool((first.strides < before[0] - 0.01).all())
    assert bool((last.strides > before[1] + 0.01).all())


@pytest.mark.parametrize("shared", [True, False])
def test_height_and_width_move_alike_unless_they_are_told_apart(shared):
    net, x = made("converted")
    budget = MacBudget(net, x, 0.5, steps=200, shared=shared)
    trained(net, budget, 30)
    equal = [bool(torch.isclose(*layer.strides, rtol=1e-5)) for layer in layers_of(net).values()]
    assert all(equal) if shared else not any(equal)


def test_the_optimizer_may_have_the_strides_or_not():
    """Where it has none, it clears no gradients of theirs either."""
    ends = []
    for kind in (None, torch.optim.SGD, torch.optim.AdamW):
        net, x = made("converted")
        budget = MacBudget(net, x, 0.5, steps=10)
        optimizer = kind(net.parameters(), lr=0.1, weight_decay=0.5) if kind else None
        for step in range(10):
            for layer in layers_of(net).values():
                if not budget.settled:
                    ((step % 3 - 1) * layer.strides).sum().backward()
            if optimizer:
                optimizer.step()
            budget.step()
            if optimizer:
                optimizer.zero_grad()
        ends.append(torch.cat([layer.strides for layer in layers_of(net).values()]).tolist())
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.parametrize(("stop", "begin"), [(4, "present"), (8, "present"), (4, "balanced")])
def test_a_training_that_goes_on_ends_as_one_that_was_never_broken(stop, begin):
    """Before sizes settle, and behind that."""
    whole, x = made("converted")
    budget = MacBudget(whole, x, 0.4, steps=10, begin=begin)
    for step in range(10):
        if step == stop:
            state, weights = copy.deepcopy(budget.state_dict()), copy.deepcopy(whole.state_dict())
        trained(whole, budget, 1, seed=step)
    broken, x = made("converted")
    broken.load_state_dict(weights)
    again = MacBudget(broken, x, 0.4, steps=10, begin=begin)
    again.load_state_dict(state)
    for step in range(stop, 10):
        trained(broken, again, 1, seed=step)
    assert str(again) == str(budget)
    assert again.sizes() == budget.sizes()
    assert again.state_dict() == budget.state_dict()
    for (name, one), (_, other) in zip(
        whole.named_parameters(), broken.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name
        assert one.requires_grad == other.requires_grad
    assert [one.hard for one in layers_of(whole).values()] == [
        one.hard for one in layers_of(broken).values()
    ]


def test_gradients_that_are_not_finite_move_nothing():
    """As a scaler of gradients leaves them, who then makes no step."""
    net, x = made("converted")
    budget = MacBudget(net, x, 1.0, steps=200)
    trained(net, budget, 30)
    before = copy.deepcopy(budget.state_dict())
    for layer in layers_of(net).values():
        layer.strides.grad = torch.full_like(layer.strides, math.inf)
    budget.step()
    after = budget.state_dict()
    assert after["average"] == before["average"]
    assert after["square"] == before["square"]
    assert all(map(math.isfinite, after["log_strides"]))


def test_without_a_number_of_steps_it_settles_when_it_is_told():
    net, x = made("converted")
    budget = MacBudget(net, x, 0.5)
    # The target is reached after 200 steps, most of which are left out here.
    budget.load_state_dict(budget.state_dict() | {"steps_done": 180})
    trained(net, budget, 10)
    assert budget.cost() > 1.01 * budget.target
    trained(net, budget, 15)
    assert not budget.settled
    assert budget.cost() == pytest.approx(budget.target, rel=2e-4)
    budget.settle()
    budget.settle()  # a second time is none
    assert budget.settled
    assert 0.98 <= flops(net, x) / budget.target <= 1.005
    strides = [layer.strides.tolist() for layer in layers_of(net).values()]
    trained(net, budget, 2)
    assert [layer.strides.tolist() for layer in layers_of(net).values()] == strides


def test_sizes_that_are_held_are_held_anew():
    net, x = made("converted")
    hold_sizes(net)
    budget = MacBudget(net, x, 0.5, steps=10)
    trained(net, budget, 10)
    assert flops(net, x) == budget.cost()


def test_a_network_that_is_compiled_or_parallel_is_taken_out():
    net, x = made("converted")
    parallel = nn.DataParallel(torch.compile(net))
    budget = MacBudget(parallel, x, 0.5, steps=10)
    trained(net, budget, 10)
    assert 0.98 <= flops(net, x) / budget.target <= 1.005


def test_multiples_are_kept():
    torch.manual_seed(0)
    down = DiffStrideConv2d(3, 8, 3, strides=2.0, padding=1, multiple_of=4)
    net, x = nn.Sequential(down, nn.Conv2d(8, 8, 3, padding=1)), torch.zeros(1, 3, 40, 40)
    budget = MacBudget(net, x, 0.5, steps=10)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained(net, budget, 10)
    assert net(x).shape[-2:] == budget.sizes()["0"]
    assert {size % 4 for size in budget.sizes()["0"]} == {0}
    share = budget.cost() / budget.target
    told = [str(one.message) for one in caught]
    if 0.98 <= share <= 1.005:
        assert told == []
    else:
        (line,) = told
        assert f"it settled at {budget.cost():,.6g}, {share:.1%} of it" in line


@pytest.mark.parametrize(("channels", "target"), [(32, 0.5), (64, 0.5), (64, 0.7)])
def test_where_the_cost_leaps_the_best_sizes_below_are_found(channels, target):
    """Most of the cost is one convolution, and twice as much where it comes first.

    Within the budget where any sizes are, though none near the real ones; else as near below as
    any with height and width a sample apart at most.
    """
    net = nn.Sequential(
        DiffStrideConv2d(3, 16, 7, strides=2.0, padding=3),
        DiffStride(2.0),
        nn.Conv2d(16, channels, 3, padding=1),
    )
    x = torch.zeros(1, 3, 32, 32)
    budget = MacBudget(net, x, target)
    network = NetworkCost(net, x, "macs")
    either = torch.cartesian_prod(*[torch.arange(2, 33, dtype=torch.float64)] * 2)
    either = either[(either[:, 0] - either[:, 1]).abs() <= 1]
    places = torch.cartesian_prod(*[torch.arange(len(either))] * 2)
    every = torch.cat([*either[places].unbind(1)], 1)
    every = every[(every <= network.before(every)).all(1)]
    shares = network(every) / budget.target
    best = float(shares[shares <= 1.005].amax())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        budget.settle()
    share = flops(net, x) / budget.target
    if best >= 0.98 or share >= 0.98:
        assert 0.98 <= share <= 1.005
        assert not caught
    else:
        assert best <= share
        (line,) = [str(one.message) for one in caught]
        assert line.startswith(
            "MacBudget: no whole sizes were found that cost 98.0% to 100.5% of the target, where "
            f"the cost leaps: it settled at {budget.cost():,.6g}, {share:.1%} of it; the next ones "
            "cost about 10"
        )


def test_sizes_stay_as_large_as_the_network_needs():
    """A convolution without padding fails where its kernel is longer than what is left."""
    net = nn.Sequential(
        nn.Conv1d(1, 4, 3),
        DiffStride((5.0,)),
        nn.Conv1d(4, 4, 5),
        DiffStride((2.0,)),
        nn.Conv1d(4, 16, 3),
    )
    x = torch.randn(1, 1, 300)
    start = flops(net, x)
    budget = MacBudget(net, x, 0.3, steps=10)
    for step in range(10):
        net(x)
        trained(net, budget, 1, seed=step)
    assert 0.98 <= flops(net, x) / (0.3 * start) <= 1.005


def test_settling_says_why_no_sizes_were_found(monkeypatch):
    def fails(*_):
        raise MemoryError("no room is left")

    net, x = made("resnet")
    budget = MacBudget(net, x, 0.5)
    monkeypatch.setattr(settling, "counted", fails)
    with pytest.raises(
        ValueError, match=r"no whole sizes at which it runs \('no room is left'\)"
    ) as told:
        budget.settle()
    assert isinstance(told.value.__cause__, MemoryError)


class Pads(nn.Module):
    """To a multiple of eight samples."""

    def __init__(self):
        super().__init__()
        self.down, self.conv = DiffStride((2.0,)), nn.Conv1d(4, 64, 3, padding=1)

    def forward(self, x):
        x = self.down(x)
        return self.conv(nn.functional.pad(x, (0, -x.shape[-1] % 8)))


def test_a_target_below_what_is_counted_at_the_least_sizes_is_refused():
    """Real sizes know of no padding: by those, two samples take a quarter of what eight take."""
    x = torch.zeros(1, 4, 64)
    least = 4 * 64 * 2 + 3 * 4 * 64 * 8
    assert f"a cost from {least:,} to " in refused(Pads(), x, 0.9 * least)
    assert MacBudget(Pads(), x, least).target == least


def refused(net, *arguments, **options):
    state = copy.deepcopy(net.state_dict())
    with pytest.raises((ValueError, TypeError)) as caught:
        MacBudget(net, *arguments, **options)
    after = net.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[name], state[name]) for name in state)
    return str(caught.value)


def test_what_is_wrong_is_said_and_nothing_has_changed():
    net, x = made("converted")
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Flatten())
    assert "model: got one without learnable strides" in refused(plain, x, 0.5)
    assert "make its strides learnable first: convert(model, sample)" in refused(plain, x, 0.5)
    assert "model: got list" in refused_type([net], x, 0.5)
    for target in (1.5, 0.0, -1, 1e12, 0.001, math.nan):
        message = refused(net, x, target)
        assert f"target: got {target}" in message or "target: got nan" in message
        (found,) = re.findall(r"a share from ([\d.]+) to 1 of the present cost, (\S+); ", message)
        low, cost = float(found[0]), int(found[1].replace(",", ""))
        assert MacBudget(net, x, low).target == pytest.approx(low * cost)
    assert "sample: got one on which the network fails" in refused(net, torch.zeros(3), 0.5)
    assert "sample: got one on which the network fails" in refused(net, None, 0.5)
    assert "sample: got one of shape (0, 3, " in refused(net, x[:0], 0.5)
    grown = x * torch.ones(1, requires_grad=True)
    assert "sample: got one that cannot be copied ('Only Tensors" in refused(net, grown, 0.5)
    outside = nn.Sequential(DiffStride(2.0, ramp="outside"), nn.Conv2d(3, 4, 1))
    assert "ramp='outside'" in refused(outside, x, 0.5)
    assert "steps: got 0" in refused(net, x, 0.5, steps=0)
    assert "settle_at: got 0.1" in refused(net, x, 0.5, settle_at=0.1)
    assert "rate: got 0" in refused(net, x, 0.5, rate=0)
    assert "begin: got 'equal'" in refused(net, x, 0.5, begin="equal")
    assert "cost: got 'flops'" in refused(net, x, 0.5, cost="flops")
    assert "cost: got a table for 'there'" in refused(net, x, 0.5, cost={"there": {1: 2, 2: 3}})
    one = {"0.resampling": {4: 1.0}}
    assert "cost: got 1 sizes for '0.resampling'" in refused(net, x, 0.5, cost=one)
    assert "MacBudget: setle_at: got 0.5" in refused(net, x, 0.5, setle_at=0.5)
    for table in ({}, [1], {"0.resampling": 3}, {"0.resampling": {4: -1.0, 8: 2.0}}):
        assert "cost: got " in refused(net, x, 0.5, cost=table)
    assert "model: got one that is frozen" in refused(freeze(net, x), x, 0.5)
    point = nn.Sequential(DiffStride(2.0), nn.Conv2d(3, 4, 1))
    assert "sample: got one that no learned stride acts on" in refused(point, x[..., :1, :1], 0.5)
    still = nn.Sequential(DiffStride(2.0, trainable=False), nn.Conv2d(3, 4, 1))
    assert "model: got one whose strides stand still" in refused(still, x, 0.5)
    flat = nn.Sequential(DiffStride(2.0), nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    message = refused(flat, x, 0.5)
    assert "model: got one that cannot have other sizes behind '0'" in message
    budget = MacBudget(net, x, 0.5)
    with pytest.raises(ValueError, match=r"call budget.step\(\) once after each loss.backward\(\)"):
        budget.step()
    for state in ({}, None):
        with pytest.raises(ValueError, match=r"state: got .*pass the state of a budget"):
            budget.load_state_dict(state)
    other, x = made("resnet")
    with pytest.raises(ValueError, match="state: got one with"):
        budget.load_state_dict(MacBudget(other, x, 0.5).state_dict())


def refused_type(model, *arguments):
    with pytest.raises(TypeError) as caught:
        MacBudget(model, *arguments)
    return str(caught.value)
