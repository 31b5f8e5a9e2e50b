"""torch.compile and torch.export of layers and networks: graphs, recompilations, host reads."""

import copy
import shutil
import sys
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

import spectral_stride as core
from spectral_stride.torch import (
    DiffStride,
    ResNet,
    SpectralPool,
    diffstride,
    hold_sizes,
    layers,
    release_sizes,
    spectral_pool,
)
from spectral_stride.torch.layers.seen_sizes import SeenSizes
from tests.changed_settings import CHANGES, START, STRIDES

# The compiler asks every tensor that enters a graph for its gradient.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


class Net(nn.Module):
    """A layer between two convolutions, outside of any loop."""

    def __init__(self, **options):
        super().__init__()
        self.before = nn.Conv2d(3, 4, 3, padding=1)
        self.down = DiffStride((2.2, 1.7), ramp="inside", **options)
        self.behind = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x):
        return self.behind(self.down(self.before(x)))


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def small():
    """A residual network whose second layer serves two branches."""
    return ResNet((2, 4), blocks=1, strides=(1, 2), ramp="inside")


def counted(model, *, fullgraph=True, backend="aot_eager"):
    """The compiled model, and the counter of its graphs."""
    graphs = CompileCounterWithBackend(backend)
    return torch.compile(model, fullgraph=fullgraph, backend=graphs), graphs


def step(model, net, x, by=None):
    """One step: the output, and the gradients of the net's parameters; strides move ``by``."""
    net.zero_grad()
    y = model(x)
    y.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in net.parameters()]
    if by is not None:
        move(net, by)
    return y.detach(), gradients


def move(net, by):
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, DiffStride):
                layer.strides.add_(by)


def assert_same_steps(compiled, net, x, steps, by=0.01):
    """Compiled and eager steps agree while strides move."""
    for _ in range(steps):
        y, gradients = step(compiled, net, x)
        expected = step(net, net, x, by)
        torch.testing.assert_close(y, expected[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gradients, expected[1], rtol=1e-3, atol=1e-3)


def test_held_sizes_compile_once_while_strides_move():
    """One graph without a break, for every later step; another batch size costs one more."""
    net = Net()
    hold_sizes(net)
    compiled, graphs = counted(net)
    assert_same_steps(compiled, net, draw(2, 3, 16, 18), 1)
    with torch._dynamo.config.patch(error_on_recompile=True):
        # Also out of the layer's bounds, and so far that the plan would be another.
        for by in (0.01, 0.9, -30.0, 100.0):
            assert_same_steps(compiled, net, draw(2, 3, 16, 18), 2, by)
    assert graphs.frame_count == 1
    for batch in (3, 5, 7):
        assert compiled(draw(batch, 3, 16, 18)).shape == (batch, 2, 8, 11)
    assert graphs.frame_count == 2


# Not "numpy", which never waits: on the CPU it is a view, and elsewhere an error.
READS = ("tolist", "item", "cpu", "__bool__", "__float__", "__int__", "__index__")


@pytest.fixture
def host_reads(monkeypatch):
    """The names of the methods by which a tensor was read on the host."""
    seen = []

    def spy(name):
        original = getattr(torch.Tensor, name)

        def method(*args, **kwargs):
            seen.append(name)
            return original(*args, **kwargs)

        return method

    for name in READS:
        monkeypatch.setattr(torch.Tensor, name, spy(name))
    return seen


@pytest.mark.parametrize(
    ("compiles", "size"), [(False, 16), (False, 96), (True, 16)], ids=["eager", "long", "compiled"]
)
def test_held_sizes_read_nothing_on_the_host(host_reads, compiles, size):
    """Not in the forward pass, nor in the backward pass, nor for the penalty on complexity."""
    net = small()
    x = draw(2, 3, size, size)

    def loss(x):
        return net(x).square().sum() + net.complexity()

    host_reads.clear()
    hold_sizes(net)
    assert host_reads == ["tolist"] * 2  # once per layer
    function = torch.compile(loss, fullgraph=True, backend="aot_eager") if compiles else loss
    function(x).backward()  # compiles
    host_reads.clear()
    for _ in range(2):
        function(x).backward()
        move(net, 0.1)
    assert host_reads == []
    if not compiles:
        release_sizes(net)
        loss(x)
        assert "tolist" in host_reads


def test_planning_anew_recompiles_only_where_a_size_changes():
    """Through the compiled module or the original; and nothing is asked twice."""
    net = Net()
    hold_sizes(net)
    compiled, graphs = counted(net)
    x = draw(2, 3, 16, 18)
    assert compiled(x).shape == (2, 2, 8, 11)
    move(net, 0.02)  # 16/2.22 and 18/1.72 still round up to 8 and 11
    assert not hold_sizes(compiled)
    assert_same_steps(compiled, net, x, 1, by=0.6)
    assert graphs.frame_count == 1
    assert hold_sizes(compiled)
    assert compiled(x).shape == (2, 2, 6, 8)
    assert_same_steps(compiled, net, x, 1, by=0.0)
    assert not hold_sizes(net)
    compiled(x)
    assert graphs.frame_count == 2


def test_a_held_network_compiles_without_a_warning():
    """PyTorch warns of every cached function that it traces."""
    net = small()
    hold_sizes(net)
    compiled, _ = counted(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled(draw(2, 3, 16, 16))


@pytest.mark.parametrize(
    "pool", [SpectralPool(2.0), partial(spectral_pool, out_sizes=(8, 8))], ids=["layer", "function"]
)
def test_spectral_pooling_compiles_without_a_warning(pool):
    x = torch.ones(2, 3, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = torch.compile(pool, fullgraph=True, backend="eager")(x)
    assert torch.equal(y, pool(x))


def test_it_compiles_where_no_other_layer_has_been_compiled(monkeypatch):
    """What a compiler is told of layers is loaded by the first one that is traced."""
    monkeypatch.delattr(SeenSizes.note_in_graph, "_dynamo_marked_constant")
    monkeypatch.delitem(sys.modules, "spectral_stride.torch.layers.compiler")
    monkeypatch.delattr(layers, "compiler")
    pool, x = SpectralPool(1.7), torch.ones(2, 3, 18, 18)
    y = torch.compile(pool, fullgraph=True, backend="eager")(x)
    assert torch.equal(y, pool(x))


def test_more_plans_than_the_usual_recompile_limit():
    """Each new size is one compilation; torch.compile takes a limit that allows for them."""
    layer = DiffStride((1.2,), ramp="inside")
    hold_sizes(layer)
    graphs = CompileCounterWithBackend("eager")
    x = draw(1, 48)
    with torch._dynamo.config.patch(recompile_limit=1):
        compiled = torch.compile(layer, fullgraph=True, backend=graphs, recompile_limit=4)
        for plans in range(1, 4):
            torch.testing.assert_close(compiled(x), layer(x))
            assert graphs.frame_count == plans
            move(layer, 0.2)
            assert hold_sizes(layer)


def test_sizes_that_follow_break_the_graph_once():
    """Two graphs, one before the layer and one behind, that moving strides leave alone."""
    net = Net()
    compiled, graphs = counted(net, fullgraph=False)
    x = draw(2, 3, 16, 18)
    assert_same_steps(compiled, net, x, 1)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert_same_steps(compiled, net, x, 3)
    assert graphs.frame_count == 2
    reasons = torch._dynamo.utils.counters["graph_break"]
    assert all("hold_sizes(net)" in reason for reason in reasons)
    assert reasons
    move(net, 1.0)  # the convolution behind sees another size
    assert_same_steps(compiled, net, x, 1)


def test_fullgraph_without_held_sizes_says_what_to_do():
    compiled, _ = counted(Net())
    with pytest.raises(RuntimeError, match=r"call spectral_stride\.torch\.hold_sizes\(net\) first"):
        compiled(draw(2, 3, 16, 18))


def test_released_sizes_follow_again():
    net = Net()
    compiled, _ = counted(net, fullgraph=False)
    x = draw(2, 3, 16, 18)
    hold_sizes(compiled)
    assert compiled(x).shape == (2, 2, 8, 11)
    move(net, 0.6)
    assert compiled(x).shape == (2, 2, 8, 11)
    release_sizes(compiled)
    assert compiled(x).shape == (2, 2, 6, 8)


def test_eval_mode_compiles_with_the_sizes_of_its_moment():
    """Without ceremony; eval() after more training brings the graph up to date."""
    net = Net().eval()
    compiled, graphs = counted(net, backend="eager")
    x = draw(2, 3, 16, 18)
    torch.testing.assert_close(compiled(x), net(x))
    net.train()
    move(net, 0.02)
    net.eval()
    torch.testing.assert_close(compiled(x), net(x))
    assert graphs.frame_count == 1
    for renew in (
        lambda: (net.train() and move(net, 0.6)) or net.eval(),
        lambda: net.load_state_dict(Net().state_dict()),
        lambda: move(net, 0.9) or net(x),  # an eager call
    ):
        renew()
        torch.testing.assert_close(compiled(x), net(x))
    assert graphs.frame_count == 4


def at_strides(held, **options):
    """A layer that can be compiled, and came to its strides after it was made."""
    layer = DiffStride(2.0, **options)
    with torch.no_grad():
        layer.strides.copy_(torch.tensor(STRIDES))
    if held:
        hold_sizes(layer)
    return layer.train(held)


CHANGED = [*CHANGES.items(), ("axes", (0, 2))]
HELD = pytest.mark.parametrize("held", [False, True], ids=["eval", "held"])


@HELD
@torch.no_grad()
def test_a_graph_sees_a_changed_setting(held):
    """One compilation for each setting that is changed in turn, and none where nothing is."""
    layer, changed, x = at_strides(held, **START), dict(START), draw(5, 17, 15)
    compiled, graphs = counted(layer, backend="eager")
    with torch._dynamo.config.patch(recompile_limit=20):
        compiled(x)
        for count, (name, value) in enumerate(CHANGED, 2):
            changed[name] = value
            for _ in range(2):
                setattr(layer, name, value)
                y = compiled(x)
            torch.testing.assert_close(y, at_strides(held, **changed)(x), msg=name)
            assert graphs.frame_count == count, name


@pytest.mark.long
@HELD
@torch.no_grad()
def test_a_program_has_the_settings_of_its_moment(held):
    layer, changed, x = at_strides(held, **START), dict(START), draw(5, 17, 15)
    for name, value in CHANGED:
        changed[name] = value
        setattr(layer, name, value)
        program = torch.export.export(layer, (x,)).module()
        torch.testing.assert_close(program(x), at_strides(held, **changed)(x), msg=name)


def test_a_graph_sees_changed_settings_of_pooling():
    layer, x = SpectralPool(2.0), draw(3, 16, 12)
    compiled, graphs = counted(layer)
    compiled(x)
    for count, (name, value) in enumerate(
        [("strides", 3.0), ("norm", "ortho"), ("axes", (0, 1)), ("method", "fft")], 2
    ):
        setattr(layer, name, value)
        torch.testing.assert_close(compiled(x), layer(x), msg=name)
        assert graphs.frame_count == count, name


def test_a_copy_has_sizes_of_its_own():
    """Holding, or planning anew, in one of two networks leaves the other alone."""
    net = Net()
    hold_sizes(net)
    compiled, graphs = counted(net)
    x = draw(2, 3, 16, 18)
    compiled(x)
    other = copy.deepcopy(net)
    move(other, 1.0)
    assert other(x).shape == (2, 2, 8, 11)
    assert hold_sizes(other)
    assert other(x).shape == (2, 2, 5, 7)
    assert compiled(x).shape == (2, 2, 8, 11)
    assert graphs.frame_count == 1


@pytest.mark.parametrize(
    ("make", "channels_last", "strict"),
    [
        (lambda: DiffStride((2.2, 1.7)), False, True),
        (lambda: DiffStride(2.2, shared=True, method="fft"), True, False),
        (lambda: SpectralPool(2.5), False, False),
    ],
    ids=["DiffStride-strict", "fft-channels-last", "SpectralPool"],
)
def test_exported_in_eval_mode_with_a_free_batch(make, channels_last, strict):
    """The program has the eager values at other batch sizes, and keeps the memory format."""
    layer = make().eval()
    form = torch.channels_last if channels_last else torch.contiguous_format
    few, many = (draw(batch, 3, 16, 18).to(memory_format=form) for batch in (2, 5))
    free = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(layer, (few,), dynamic_shapes=free, strict=strict)
    y = program.module()(many)
    torch.testing.assert_close(y, layer(many))
    assert y.is_contiguous(memory_format=form)


@pytest.mark.long
def test_exported_network_with_a_free_batch():
    net = small().eval()
    free = ({0: torch.export.Dim("batch")},)
    with torch.no_grad():
        program = torch.export.export(net, (draw(2, 3, 16, 16),), dynamic_shapes=free)
    x = draw(5, 3, 16, 16)
    torch.testing.assert_close(program.module()(x), net(x))


def test_export_in_training_mode_needs_held_sizes():
    layer, x = DiffStride(2.2), draw(2, 3, 16, 18)
    with pytest.raises(TypeError, match=r"DiffStride: strides: got .*exported.*hold_sizes\(net\)"):
        torch.export.export(layer, (x,))
    hold_sizes(layer)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


def test_channels_last_compiles_and_stays():
    net = Net().to(memory_format=torch.channels_last)
    hold_sizes(net)
    compiled, graphs = counted(net)
    x = draw(2, 3, 16, 18).to(memory_format=torch.channels_last)
    assert compiled(x).is_contiguous(memory_format=torch.channels_last)
    assert_same_steps(compiled, net, x, 2)
    assert graphs.frame_count == 1


def test_a_mapped_layer_compiles():
    """torch.func inside of a compiled function: vmap of the layer itself."""
    layer = DiffStride((2.2,), ramp="inside")
    hold_sizes(layer)
    compiled = torch.compile(lambda x: torch.func.vmap(layer)(x), fullgraph=True, backend="eager")
    x = draw(2, 3, 16)
    torch.testing.assert_close(compiled(x), layer(x))


def test_autocast_and_checkpointing_compile():
    """Both around one held layer: the value, and the gradient of the strides, of eager mode."""
    layer = DiffStride((2.2,), ramp="inside")
    hold_sizes(layer)

    def function(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return checkpoint(layer, x, use_reentrant=False)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    x = draw(2, 3, 16)
    gradients = []
    for call in (compiled, function):
        layer.zero_grad()
        y = call(x)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()
        gradients.append(layer.strides.grad.clone())
    torch.testing.assert_close(*gradients, rtol=0.02, atol=1e-3)


@pytest.mark.long
def test_residual_network_trains_and_infers_in_one_graph_each():
    """Batch norm, and branches that share a layer; inference has no derivatives.

    Each call of a layer is one node: that of the first layer, and two of the other.
    """
    net = small()
    hold_sizes(net)
    compiled, graphs = counted(net)
    x = draw(3, 3, 16, 16)
    assert_same_steps(compiled, net, x, 2, by=0.05)
    assert graphs.frame_count == 1
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-4)
    assert graphs.frame_count == 2
    for graph, learns in zip(graphs.graphs, (True, False), strict=True):
        nodes = [
            node for node in graph.graph.nodes if "spectral_stride.resample" in str(node.target)
        ]
        assert [node.args[2] for node in nodes] == [learns] * 3


# None stands for the vectors that there are. Which these are inductor finds out by compiling for
# each kind, which takes longer than all of the rest.
@pytest.mark.parametrize("vectors", [False, pytest.param(None, marks=pytest.mark.long)])
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs g++")
def test_the_default_compiler(vectors):
    """Inductor: values and gradients in training, values in inference."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        DiffStride((2.2, 1.7), ramp="inside"),
        nn.Tanh(),
    )
    hold_sizes(net)
    x = draw(2, 3, 16, 18)
    # What an earlier source was compiled to would hide what this one is.
    fresh = {"cpp.vec_isa_ok": vectors, "fx_graph_cache": False}
    with torch._inductor.config.patch(fresh):
        compiled = torch.compile(net, fullgraph=True)
        assert_same_steps(compiled, net, x, 2)
        net.eval()
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("what", "stride", "transform"),
    [
        pytest.param("function", 2.2, "grad", marks=pytest.mark.long),
        ("function", 2.2, "jacfwd"),
        ("function", 40.0, "vjp"),
        pytest.param("held layer", 2.2, "jacrev", marks=pytest.mark.long),
        pytest.param("held layer", 40.0, "grad", marks=pytest.mark.long),
        ("held layer", 40.0, "jvp"),
    ],
)
def test_transforms_under_a_compiler(stride, what, transform):
    """A derivative in the strides that a transform asks for inside of a graph is the eager one.

    Also for a stride beyond its bound, where PyTorch's own derivative of the mask would be zero.
    """
    x, strides = torch.randn(2, 3, 32), torch.tensor([stride])
    plan = core.make_plan(x.shape, (2.3,), ramp="inside")
    layer = DiffStride((2.3,), ramp="inside")
    hold_sizes(layer)

    def resample(s):
        if what == "function":
            return diffstride(x, s, plan=plan)
        return torch.func.functional_call(layer, {"strides": s}, (x,))

    def energy(s):
        return resample(s).square().sum()

    def derivative(s):
        if transform == "jvp":
            return torch.func.jvp(resample, (s,), (torch.ones_like(s),))[1]
        if transform == "vjp":
            y, pullback = torch.func.vjp(resample, s)
            return pullback(y)[0]
        return getattr(torch.func, transform)(energy)(s)

    wanted = derivative(strides)
    assert wanted.abs().max() > 1e-3
    found = torch.compile(derivative, backend="aot_eager", fullgraph=True)(strides)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_broken_stride_leaves_the_network_as_it_was():
    """All layers are read before one of them is held."""
    net = nn.Sequential(DiffStride(2.0, ramp="inside"), DiffStride(2.0, ramp="inside"))
    with torch.no_grad():
        net[0].strides.fill_(3.0)
        net[1].strides.fill_(torch.nan)
    with pytest.raises(ValueError, match="DiffStride: strides: got the parameter"):
        hold_sizes(net)
    with torch.no_grad():
        net[0].strides.fill_(2.0)
    assert net[0](torch.randn(1, 1, 12, 12)).shape[-1] == 6  # follows, and is not held


def test_a_compiled_gradient_is_projected():
    """None that pushes a stride further out, and the whole one that brings it back."""
    layer, x = DiffStride(2.0, ramp="inside"), draw(2, 16, 12)
    hold_sizes(layer)
    compiled, graphs = counted(layer)
    for stride in (0.5, 40.0):
        for sign in (1.0, -1.0):
            with torch.no_grad():
                layer.strides.fill_(stride)
            found = []
            for function in (compiled, layer):
                layer.zero_grad()
                (sign * function(x).square().sum()).backward()
                found.append(layer.strides.grad.clone())
            torch.testing.assert_close(*found)
            if stride > 1:
                assert bool(found[0].any()) == (sign < 0)
    assert graphs.frame_count == 1
