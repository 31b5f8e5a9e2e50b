"""Layers and networks on a CUDA device: values, trainings, compilers, and that nothing waits."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from spectral_stride.torch import (
    DiffStride,
    DiffStrideConv2d,
    LogMel,
    SpectralPool,
    audio_net,
    efficientnet_b0,
    hold_sizes,
    map_cache,
    project_strides,
    resnet18,
)
from tests.libraries import unavailable

# The compiler asks every tensor that enters a graph for its gradient, and would have TF32. PyTorch
# says that what finds waits is a prototype, and that gradients are summed on another stream than
# that which a graph was recorded on.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*AccumulateGrad node's stream:UserWarning"),
]
IMAGES = (4, 6, 33, 28)
LAYERS = {
    "outside": lambda: DiffStride((2.25, 1.75), ramp="outside"),
    "inside": lambda: DiffStride((2.25, 1.75), ramp="inside"),
    "fft": lambda: DiffStride((2.25, 1.75), ramp="inside", method="fft"),
    "low stride": lambda: DiffStride(1.25, ramp="inside"),
    "long": lambda: DiffStride((40.0, 1.25), ramp="inside"),
    "channels too": lambda: DiffStride((1.5, 2.25, 1.75), ramp="inside"),
    "pool": lambda: SpectralPool((2, 1.5)),
    "convolution": lambda: DiffStrideConv2d(6, 5, 3, padding=1, ramp="inside"),
    "convolution outside": lambda: DiffStrideConv2d(6, 5, 3, padding=1, ramp="outside"),
}
NETWORKS = {
    "resnet18": (partial(resnet18, width=8, ramp="inside"), (4, 3, 32, 32)),
    "efficientnet_b0": (
        partial(efficientnet_b0, width=8, ramp="inside", dropout=0.0, stochastic_depth=0.0),
        (4, 3, 64, 64),
    ),
    "audio_net": (partial(audio_net, width=4, ramp="inside"), (2, 8000)),
}


@pytest.fixture(autouse=True)
def _exact_and_fresh():
    """Convolutions in full float32, as on the CPU, and a compiler without a memory."""
    if not torch.cuda.is_available():
        unavailable("PyTorch finds no CUDA device")
    torch._dynamo.reset()
    map_cache.learned.clear()
    map_cache.constant.clear()
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def draw(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=dtype)


def seeded(build):
    torch.manual_seed(0)
    return build()


def passes(net, x):
    """The output, and the gradients of the input and of all parameters, brought to the CPU."""
    net.zero_grad()
    x = x.clone().requires_grad_()
    y = net(x)
    y.square().mean().backward()
    gradients = [x.grad, *(one.grad for one in net.parameters())]
    return [found.detach().cpu() for found in (y, *gradients)]


def assert_near(got, wanted, tolerance):
    """Each to within a share of its largest entry."""
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
        atol = tolerance * max(float(other.abs().max()), 1e-12)
        torch.testing.assert_close(one.to(other.dtype), other, rtol=0, atol=atol)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
def test_a_layer_gives_what_it_gives_on_the_cpu(build, dtype, memory_format):
    layer = seeded(build).to(dtype)
    x = draw(*IMAGES, dtype=dtype).contiguous(memory_format=memory_format)
    wanted = passes(layer, x)
    layer.cuda()
    assert_near(passes(layer, x.cuda()), wanted, 2e-5 if dtype == torch.float32 else 1e-12)
    y = layer(x.cuda())
    assert y.device.type == "cuda"
    # In double precision cuDNN does not keep it behind a convolution.
    if memory_format == torch.channels_last and not (
        dtype == torch.float64 and isinstance(layer, DiffStrideConv2d)
    ):
        assert y.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
def test_half_precision_is_near(build, dtype):
    """Under autocast, and as parameters and inputs in half precision, where there is an FFT."""
    layer = seeded(build)
    x = draw(*IMAGES).to(dtype)
    wanted = passes(layer, x.float())
    tolerance = 32 * torch.finfo(dtype).eps
    layer.cuda()
    with torch.autocast("cuda", dtype):
        assert_near(passes(layer, x.float().cuda()), wanted, tolerance)
    layer.to(dtype)
    if getattr(layer, "method", "auto") == "fft":
        with pytest.raises(TypeError, match="allowed: 'fft' for float32 and float64"):
            layer(x.cuda())
    else:
        assert_near(passes(layer, x.cuda()), wanted, tolerance)


@pytest.mark.parametrize(("build", "shape"), NETWORKS.values(), ids=NETWORKS)
def test_a_network_gives_what_it_gives_on_the_cpu(build, shape):
    net = seeded(build).double()
    if isinstance(getattr(net, "mel", None), LogMel):
        net.mel.float()
    x = draw(*shape, dtype=torch.float64)
    wanted = passes(net, x)
    assert_near(passes(net.cuda(), x.cuda()), wanted, 1e-4)


def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        DiffStride((2.25, 1.75), ramp="inside"),
        nn.ReLU(),
        DiffStrideConv2d(8, 4, 3, padding=1, ramp="inside"),
        nn.ReLU(),
        SpectralPool(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def built():
    """The small network on the device, and a batch of images, each as bright as its class."""
    labels = torch.arange(15) % 3
    x = draw(15, 3, 24, 20) + labels[:, None, None, None]
    return seeded(small).cuda(), x.cuda(), labels.cuda()


def train(net, function, x, labels, steps=5, scaler=None):
    """Losses and strides of a short training; the strides take large steps."""
    strides = [one.strides for one in net if isinstance(one, DiffStride)]
    others = [one for one in net.parameters() if all(one is not own for own in strides)]
    groups = [{"params": others}, {"params": strides, "lr": 1.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    scaler = scaler or torch.amp.GradScaler("cuda", enabled=False)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(function(x), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.detach())
    project_strides(net)
    return torch.stack(losses).cpu(), torch.cat([one.detach().cpu() for one in strides])


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("backend", [None, "aot_eager", "inductor"])
def test_trainings_agree_however_they_run(backend, holds):
    """On the CPU and on the device, eager and compiled, with sizes held and not."""
    net, x, labels = built()
    if holds:
        hold_sizes(net)
    before = [one.strides.tolist() for one in net if isinstance(one, DiffStride)]
    at_home = copy.deepcopy(net).cpu()
    wanted = train(at_home, at_home, x.cpu(), labels.cpu())
    function = torch.compile(net, backend=backend, fullgraph=holds) if backend else net
    got = train(net, function, x, labels)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
    assert [one.strides.tolist() for one in net if isinstance(one, DiffStride)] != before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_mixed_precision_trains(dtype):
    """With a scaler of gradients, whose first scales overflow half precision and skip steps."""
    net, x, labels = built()
    scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)

    def function(x):
        with torch.autocast("cuda", dtype):
            return net(x).float()

    losses, strides = train(net, function, x, labels, steps=60, scaler=scaler)
    assert losses[-5:].mean() < losses[:5].mean() / 2
    assert bool(torch.isfinite(strides).all())
    assert bool((strides >= 1).all())


def test_nothing_waits_for_the_device_while_sizes_are_held():
    """Forward, backward and the optimizer's step."""
    net, x, labels = built()
    hold_sizes(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()

    step()  # what is kept is made once
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(bool((one.grad != 0).any()) for one in net.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_maps_are_built_by_the_host_where_it_reads_the_strides_anyway(frozen, monkeypatch):
    """A device would be told of some 300 operations for every layer."""
    seen = []
    plain_map = map_cache.plain_map
    monkeypatch.setattr(
        map_cache, "plain_map", lambda s, *rest, **how: seen.append(s) or plain_map(s, *rest, **how)
    )
    net, x, labels = built()
    for one in net:
        if isinstance(one, DiffStride):
            one.strides.requires_grad_(not frozen)
    for _ in range(2):
        nn.functional.cross_entropy(net(x), labels).backward()
    assert len(seen) == 2  # one of each layer, kept while its strides stand still
    assert not any(isinstance(one, torch.Tensor) for one in seen)
    seen.clear()
    hold_sizes(net)
    net(x)
    assert [one.device.type for one in seen] == ["cuda"] * 2


def test_a_recorded_step_follows_the_strides():
    """A CUDA graph of forward and backward, replayed behind strides and inputs that changed."""
    net, x, labels = built()
    hold_sizes(net)

    def step():
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        return loss

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            net.zero_grad()
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    net.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss = step()
    for by in (0.0, 0.07, -30.0, 60.0):
        with torch.no_grad():
            x.mul_(1.1)
            for one in net:
                if isinstance(one, DiffStride):
                    one.strides.add_(by)
        for one in net.parameters():
            one.grad.zero_()
        graph.replay()
        got = [loss.detach().clone(), *(one.grad.clone() for one in net.parameters())]
        for one in net.parameters():
            one.grad.zero_()
        wanted = [step().detach(), *(one.grad.clone() for one in net.parameters())]
        assert_near(got, wanted, 1e-4)


def test_the_compiler_records_graphs_too():
    """Its mode "reduce-overhead" replays CUDA graphs."""
    net, x, _ = built()
    hold_sizes(net)
    compiled = torch.compile(net, mode="reduce-overhead", fullgraph=True)
    for _ in range(4):
        net.zero_grad()
        torch.compiler.cudagraph_mark_step_begin()
        y = compiled(x)
        y.square().mean().backward()
        got = [y.detach().clone(), *(one.grad.clone() for one in net.parameters())]
        net.zero_grad()
        y = net(x)
        y.square().mean().backward()
        wanted = [y.detach(), *(one.grad for one in net.parameters())]
        assert_near(got, wanted, 1e-4)
        with torch.no_grad():
            net[1].strides.add_(0.02)


def test_a_network_moves_between_devices():
    """And its checkpoint is loaded on the other."""
    net, x, _ = built()
    wanted = net(x).detach().cpu()
    at_home = copy.deepcopy(net).cpu()
    torch.testing.assert_close(at_home(x.cpu()).detach(), wanted, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        net[1].strides.fill_(1.5)
    at_home.load_state_dict(net.state_dict())
    torch.testing.assert_close(
        at_home(x.cpu()).detach(), net(x).detach().cpu(), rtol=1e-4, atol=1e-5
    )
    assert at_home[1].strides.device.type == "cpu"
