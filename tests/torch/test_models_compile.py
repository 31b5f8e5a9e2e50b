"""torch.compile and torch.export of the networks that tests/torch/test_compile.py does not take."""

from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from spectral_stride.torch import ResNet, audio_net, efficientnet_b0, hold_sizes
from spectral_stride.torch.models import efficientnet
from spectral_stride.torch.models.efficientnet import STAGES, _StochasticDepth

# The compiler asks every tensor that enters a graph for its gradient.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")

# Everything that the networks for large images add to those for small ones, once.
large = partial(ResNet, (2, 8), 1, (2, 2, 1.5), block="bottleneck", stem="large")


def shallow_efficientnet(**options):
    """EfficientNet-B0 with one block in each stage; in the second stage two, with a residual."""
    stages = [one._replace(blocks=2 if n == 1 else 1) for n, one in enumerate(STAGES)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientnet, "STAGES", tuple(stages))
        return efficientnet_b0(3, width=2, **options)


NETWORKS = {
    "large": (large, (3, 32, 32)),
    "efficientnet_b0": (shallow_efficientnet, (3, 48, 48)),
    "audio": (partial(audio_net, (3, 2), width=2), (4000,)),
}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def move(net):
    with torch.no_grad():
        for down in net.downsamplings().values():
            down.layer.strides.add_(0.05)


def gradients(model, net, x):
    net.zero_grad()
    model(x).square().sum().backward()
    return [parameter.grad.clone() for parameter in net.parameters()]


def test_training_of_a_held_network_is_one_graph():
    """Through the pooling and a bottleneck, while strides move."""
    torch.manual_seed(0)
    net, x = large(ramp="inside"), draw(2, 3, 32, 32)
    hold_sizes(net)
    graphs = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(net, fullgraph=True, backend=graphs)
    for _ in range(2):
        found, wanted = gradients(compiled, net, x), gradients(net, net, x)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
        move(net)
    assert graphs.frame_count == 1


@pytest.mark.parametrize("name", [pytest.param("efficientnet_b0", marks=pytest.mark.long), "audio"])
def test_a_held_network_is_one_graph(name):
    build, shape = NETWORKS[name]
    net = build(ramp="inside").eval()
    hold_sizes(net)
    graphs = CompileCounterWithBackend("eager")
    compiled, x = torch.compile(net, fullgraph=True, backend=graphs), draw(2, *shape)
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-4)
            move(net)
    assert graphs.frame_count == 1


def test_chance_is_drawn_inside_of_the_graph():
    layer, x = _StochasticDepth(0.5), torch.ones(200, 1, 1, 1)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.manual_seed(0)
    first, second = compiled(x), compiled(x)
    assert set(first.flatten().tolist()) == {0.0, 2.0}
    assert not torch.equal(first, second)


@pytest.mark.long
@pytest.mark.parametrize(("build", "shape"), NETWORKS.values(), ids=NETWORKS.keys())
def test_exported_with_a_free_batch(build, shape):
    net, free = build(ramp="inside"), ({0: torch.export.Dim("batch")},)
    with torch.no_grad():
        program = torch.export.export(net.eval(), (draw(2, *shape),), dynamic_shapes=free)
        x = draw(5, *shape)
        torch.testing.assert_close(program.module()(x), net(x))
