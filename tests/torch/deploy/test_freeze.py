"""freeze: the same numbers from constants, and what runtimes and tools make of them."""

import builtins
import copy
import pickle
import shutil

import pytest
import torch
from torch import nn

from spectral_stride.torch import (
    DiffStride,
    DiffStrideConv2d,
    MacBudget,
    SpectralPool,
    SpectralUp,
    convert,
    freeze,
    recalibrate,
    resnet18,
)
from spectral_stride.torch.deploy import forms
from spectral_stride.torch.deploy.products import Product

# Tracing by jit and compiling ask in old ways.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.trace(_method)?` is deprecated")


def draw(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=dtype)


class Net(nn.Module):
    """Every kind of layer, and a layer that serves two branches and the way back."""

    def __init__(self, **options):
        super().__init__()
        self.main, self.side = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.down = DiffStride((2.0, 1.6), **options)
        self.pool = SpectralPool(1.5)
        self.conv = DiffStrideConv2d(4, 5, 3, 1.7, padding=1, **options)
        self.up = SpectralUp()

    def forward(self, x):
        y = (self.down(x, self.main) + self.down(x, self.side)).relu()
        return self.up(self.pool(self.conv(y)), like=self.conv)


def converted():
    """A network whose places have kernels with borders, share strides, and pool."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3)
    )
    return convert(net, torch.ones(1, 3, 24, 24)).eval()


def move(net, *strides):
    """Set the strides of the layers of a network, one after the other."""
    layers = [module for module in net.modules() if isinstance(module, DiffStride)]
    for layer, stride in zip(layers, strides, strict=True):
        with torch.no_grad():
            layer.strides.fill_(stride)


@pytest.fixture(scope="module")
def frozen():
    """A network, frozen, in float32, what comes to it, and what it makes of that."""
    net = converted()
    move(net, 2.0, 1.7)
    x = draw(2, 3, 24, 24, dtype=torch.float32)
    return freeze(net, x[:1]), x, net(x).detach()


@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
@pytest.mark.parametrize("norm", ["forward", "backward"])
def test_outputs_are_those_of_the_network_for_any_batch(hard, norm):
    torch.manual_seed(0)
    net = Net(hard=hard, norm=norm).double()
    states = [module.training for module in net.modules()]
    found = freeze(net, draw(1, 3, 16, 20))
    assert [module.training for module in net.modules()] == states
    for x in (draw(3, 3, 16, 20), draw(1, 3, 16, 20), draw(3, 16, 20)):
        torch.testing.assert_close(found(x), net.eval()(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("strides", [(2.0, 2.0), (1.4, 1.1), (1.0, 1.0)])
def test_converted_networks(strides):
    net = converted().double()
    move(net, *strides)
    x = draw(2, 3, 24, 24)
    torch.testing.assert_close(freeze(net, x)(x), net(x), rtol=0, atol=1e-9)


def noting(found):
    """The least of all, with a note of each choice between forms."""

    def least(choices, key):
        choices = list(choices)
        found.extend(choices)
        return builtins.min(choices, key=key)

    return least


def every_form(monkeypatch, layer, x, conv):
    """Each form that a layer may take for an input and a convolution."""
    found = []
    monkeypatch.setattr(forms, "min", noting(found), raising=False)
    strides, plan = layer._planned(x, conv)
    forms.form_of(plan, strides, x, conv)
    return [choice.build() for choice in found]


@pytest.mark.parametrize(
    ("strides", "kernel", "options", "kinds"),
    [
        ((2.0, 2.0), 5, {"padding": 2}, {"JoinPhases", "ConvolveRolled"}),
        ((2.0, 4.0), 3, {"padding": (2, 1), "dilation": 2}, {"JoinPhases"}),
        ((2.0, 2.0), 3, {"padding": 0}, {"JoinPhases", "ConvolveRolled"}),
        (
            (2.0, 2.0),
            3,
            {"padding": 1, "padding_mode": "reflect", "groups": 2},
            {"JoinPhases", "ConvolveRolled"},
        ),
        ((2.0, 1.0), (3, 4), {"padding": "same"}, {"JoinPhases"}),
        ((3.0, 4.0), 2, {"padding": "same"}, {"JoinPhases", "ConvolveRolled"}),
        ((1.3, 2.7), 1, {}, set()),
    ],
)
@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
def test_all_forms_of_a_place_agree(monkeypatch, strides, kernel, options, kinds, hard):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, kernel, **options).double()
    layer = DiffStride(strides, hard=hard, norm="ortho").eval()
    x = draw(2, 2, 18, 16 + 2 * (options.get("padding") == 0))
    with torch.no_grad():
        expected = layer(x, conv)
        found = every_form(monkeypatch, layer, x, conv)
        kinds = {"Resample", "ConvolveTaps"} | (kinds if hard else kinds - {"JoinPhases"})
        assert kinds <= {type(form).__name__ for form in found}
        for form in found:
            torch.testing.assert_close(form(x, conv), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("pool", "size", "kind"),
    [
        (nn.MaxPool2d(3, 2, 1), (16, 20), "JoinPhases"),
        (nn.MaxPool2d(2), (16, 20), "JoinPhases"),
        (nn.MaxPool2d((3, 2), (3, 1), (1, 0), (2, 1)), (24, 8), "JoinPhases"),
        (nn.MaxPool2d(3, 2, ceil_mode=True), (15, 16), "JoinPhases"),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (16, 20), "Average"),
        (nn.AvgPool2d((4, 3), (4, 1), 1), (16, 9), "Resample"),  # for any width
        (nn.AvgPool2d(2, ceil_mode=True, divisor_override=3), (15, 16), "Average"),
    ],
    ids=str,
)
def test_all_forms_of_a_pooling_agree(monkeypatch, pool, size, kind):
    x = draw(2, 2, *size)
    net = convert(nn.Sequential(pool), x).eval()
    expected, found = net(x).detach(), []
    monkeypatch.setattr(forms, "min", noting(found), raising=False)
    frozen = freeze(net, x)
    place = frozen[0]
    given = place._operation.extended(x)
    made = [choice.build() for choice in found]
    assert {type(form).__name__ for form in made} == {"Resample", kind}
    for form in made:
        for batch in (given, given[0]):
            y = form(batch, place)
            wanted = expected if batch.ndim == 4 else expected[0]
            torch.testing.assert_close(y, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("operation", "shape", "other"),
    [
        (nn.MaxPool2d((3, 1), (2, 1), (1, 0)), (1, 512, 112, 1), (1, 512, 112, 5)),
        (nn.MaxPool2d(3, (1, 2), 1), (1, 64, 56, 56), (1, 64, 60, 56)),
        (nn.AvgPool2d(3, (2, 1), 1), (1, 8, 16, 16), (1, 8, 16, 24)),
        (nn.Conv2d(64, 64, 3, (2, 1), 1, groups=64), (1, 64, 56, 56), (1, 64, 56, 60)),
    ],
    ids=str,
)
def test_an_axis_without_a_stride_may_have_any_size(operation, shape, other):
    net = convert(nn.Sequential(operation), draw(*shape, dtype=torch.float32)).eval()
    frozen = freeze(net, draw(*shape, dtype=torch.float32))
    x = draw(*other, dtype=torch.float32)
    torch.testing.assert_close(frozen(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "operation",
    [
        nn.Conv2d(3, 64, 7, 2, padding=6),
        nn.AvgPool2d(2, divisor_override=-3),
        nn.AvgPool2d((3,), 2, (1,)),
        nn.MaxPool2d((3,), (2,), (1,), (2,)),
        nn.Conv2d(3, 4, 3, (2,), (1,), (2,)),
    ],
    ids=["all of the padding", "negative divisor", "one mean", "one maximum", "one kernel"],
)
def test_unusual_operations(operation):
    x = draw(1, 3, 112, 112, dtype=torch.float32)
    net = convert(nn.Sequential(operation), x).eval()
    torch.testing.assert_close(freeze(net, x)(x), net(x), rtol=1e-4, atol=1e-4)


def test_an_axis_that_is_neither_averaged_nor_resampled_has_no_matrix():
    x = draw(1, 1, 64, 500, dtype=torch.float32)
    net = convert(nn.Sequential(nn.AvgPool2d((2, 1), 2)), x).eval()
    with torch.no_grad():
        next(net.parameters()).copy_(torch.tensor([2.0, 1.0]))
    net.train().eval()  # sizes are those of its moment
    frozen = freeze(net, x)
    torch.testing.assert_close(frozen(x), net(x), rtol=1e-4, atol=1e-5)
    # Means of 65 samples, one of them beyond the end, and the map onto 32 are one matrix.
    assert [tuple(one.shape) for one in frozen.buffers()] == [(32, 65)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_phases_go_out_like_all_else(monkeypatch, tmp_path):
    torch.manual_seed(0)
    x = draw(2, 4, 16, 16, dtype=torch.float32)
    net = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1, groups=4), nn.MaxPool2d(3, 2, 1))
    net = convert(net, x).eval()

    def phases(choices, key):
        found = [choice for choice in choices if "_by_phases" in choice.build.__qualname__]
        return (found or [builtins.min(choices, key=key)])[0]

    monkeypatch.setattr(forms, "min", phases, raising=False)
    frozen, y = freeze(net, x), net(x).detach()
    assert [type(place.shared_resampling.forms[0]).__name__ for place in frozen] == [
        "JoinPhases",
        "JoinPhases",
    ]
    traced = torch.jit.trace(frozen, x)
    program = torch.export.export(frozen, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    for one in (frozen, traced, program.module()):
        torch.testing.assert_close(one(x[:1]), y[:1], rtol=1e-4, atol=1e-5)
    half = copy.deepcopy(frozen).half()(x.half())
    torch.testing.assert_close(half.float(), y, rtol=0, atol=2e-2)
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export has onnxruntime")
    pytest.importorskip("onnxscript", reason="the extra export has onnxscript")
    path = str(tmp_path / "net.onnx")
    torch.onnx.export(program, dynamo=True, verbose=False).save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x[:1].numpy()})
    torch.testing.assert_close(torch.from_numpy(found), y[:1], rtol=1e-4, atol=1e-5)


def test_a_place_at_stride_1_is_its_operation_alone():
    net = converted()
    move(net, 1.0, 1.7)
    found = freeze(net, draw(1, 3, 24, 24, dtype=torch.float32))
    assert type(found[0]) is nn.Conv2d
    assert [name for name, _ in found[0].named_buffers()] == []
    move(net, 1.02, 1.7)  # the same sizes: nothing is multiplied
    found = freeze(net, draw(1, 3, 24, 24, dtype=torch.float32))
    assert not any(isinstance(module, Product) for module in found[0].modules())


def test_parameters_keep_names_and_values_and_strides_are_none(frozen):
    net = converted()
    assert [name for name, _ in frozen[0].named_parameters()] == [
        name for name, _ in net.named_parameters() if "strides" not in name
    ]
    torch.testing.assert_close(frozen[0][0].weight, net[0].weight.detach())
    assert not any(one.requires_grad for one in frozen[0].parameters())


def test_places_that_share_a_layer_share_what_it_became():
    net = resnet18(width=4).eval()
    x = draw(1, 3, 16, 16, dtype=torch.float32)
    found = freeze(net, x)
    torch.testing.assert_close(found(x), net(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.complexity(), net.complexity().detach())


def test_copies_and_files_are_frozen_too(frozen):
    net, x, y = frozen
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(other(x), y, rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match="frozen"):
            other.train()


def test_hooks_stay():
    net, seen = Net(), []
    net.down.register_forward_hook(lambda *_: seen.append("down"))
    found = freeze(net, draw(1, 3, 16, 16, dtype=torch.float32))
    seen.clear()
    found(draw(1, 3, 16, 16, dtype=torch.float32))
    assert seen == ["down", "down"]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda net, x: net.train(), r"^mode: got train\(True\) of a frozen.*instead: train the"),
        (lambda net, x: convert(net, x), r"^network: got one that is frozen; .*instead: convert"),
        (lambda net, x: freeze(net, x), r"^network: got one that is frozen; .*instead: freeze"),
        (lambda net, x: recalibrate(net, [x]), r"^network: got one that is frozen; .*: recalib"),
        (
            lambda net, x: net(x[..., :22]),
            r"^0 \(Conv2d\): x: got 24x22 samples; allowed: 24x24 samples; instead: resize [^:;]*$",
        ),
    ],
    ids=["train", "convert", "freeze", "recalibrate", "size"],
)
def test_a_frozen_network_refuses(frozen, ask, message):
    net, x, y = frozen
    with pytest.raises(ValueError, match=message):
        ask(net, x)
    assert not any(module.training for module in net.modules())
    torch.testing.assert_close(net(x), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("net", "who", "first", "other"),
    [
        (nn.Sequential(nn.Sequential(nn.MaxPool2d(2))), r"0\.0 \(MaxPool2d\)", "16x12", "20x21"),
        (nn.Sequential(nn.AvgPool2d(2)), r"0 \(AvgPool2d\)", "16x12", "16x13"),
        (nn.Sequential(nn.ReLU(), nn.AvgPool1d(2)), r"1 \(AvgPool1d\)", "12", "20"),
        (nn.MaxPool2d(2), r"the network itself \(MaxPool2d\)", "16x12", "20x12"),
        (nn.Sequential(DiffStride(2.0)), r"0 \(DiffStride\)", "16x12", "20x12"),
        (SpectralPool(2.0), r"the network itself \(SpectralPool\)", "16x12", "20x12"),
    ],
    ids=["pooling", "means", "sounds", "root", "layer", "root layer"],
)
def test_another_size_is_refused_in_the_sizes_that_came_and_by_the_name_of_the_module(
    net, who, first, other
):
    x = torch.ones(1, 3, *map(int, first.split("x")))
    is_ours = any(isinstance(module, DiffStride | SpectralPool) for module in net.modules())
    frozen = freeze(net if is_ours else convert(net, x), x)
    with pytest.raises(ValueError, match=rf"^{who}: x: got {other} samples; allowed: {first} samp"):
        frozen(torch.ones(1, 3, *map(int, other.split("x"))))


class Twice(nn.Module):
    """One layer behind two convolutions, which take other sizes."""

    def __init__(self):
        super().__init__()
        self.down, self.main, self.side = DiffStride(2.0), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 5, 3)

    def forward(self, x):
        return self.down(x, self.main), self.down(x[..., :6], self.side)


def test_a_layer_behind_several_convolutions_tells_the_sizes_of_the_one_that_is_asked():
    net, x = freeze(Twice(), torch.ones(1, 3, 8, 8)), torch.ones(1, 3, 9, 9)
    with pytest.raises(ValueError, match=r"^down \(DiffStride\): x: got 9x9 .*: 8x8 samples; inst"):
        net(x)
    with pytest.raises(ValueError, match=r"got 9x9 .* 2 ch.*: 8x8 .* 4 ch.* or 8x6 .* 5 ch"):
        net.down(x, nn.Conv2d(3, 2, 3))


def test_what_cannot_be_frozen_is_refused_and_stays_as_it_was():
    class Own(DiffStride):
        def forward(self, x):
            return super().forward(x)

    x = draw(1, 3, 16, 16, dtype=torch.float32)
    with pytest.raises(TypeError, match=r"network: got str; allowed: a torch\.nn\.Module"):
        freeze("net", x)
    with pytest.raises(TypeError, match="network: got a Own with a forward of its own"):
        freeze(nn.Sequential(Own()), x)
    net = converted()
    with pytest.raises(ValueError, match="sample: got one on which the network fails"):
        freeze(net, x[:, :1])
    with pytest.raises(ValueError, match=r"sample: got one of shape \(0, 3, 16, 16\)"):
        freeze(net, x[:0])
    assert isinstance(net[0].resampling, DiffStride)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float16, 5e-3), (torch.bfloat16, 5e-2)])
def test_half_precision(frozen, dtype, most):
    net, x, y = frozen
    found = copy.deepcopy(net).to(dtype)(x.to(dtype))
    assert found.dtype == dtype
    assert (found.float() - y).abs().max() < most * y.abs().max()


def test_fx_sees_each_layer_as_one_node():
    net = Net().eval()
    x = draw(2, 3, 16, 16, dtype=torch.float32)
    with torch.no_grad():
        for one in (net, freeze(net, x)):
            graph = torch.fx.symbolic_trace(one)
            called = [node.target for node in graph.graph.nodes if node.op == "call_module"]
            assert called == ["down", "down", "conv", "pool", "up"]
            torch.testing.assert_close(graph(x), net(x), rtol=1e-4, atol=1e-4)
    for one in (converted(), freeze(converted(), draw(1, 3, 24, 24, dtype=torch.float32))):
        called = [node.target for node in torch.fx.symbolic_trace(one).graph.nodes]
        assert called[1:-1] == ["0", "1", "2", "3"]


def test_fx_sees_a_pooling_with_its_convolution():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pool = nn.Conv2d(3, 4, 3, padding=1), SpectralPool(2.0)

        def forward(self, x):
            return self.pool(x, self.conv)

    net, x = Pooled(), draw(2, 3, 16, 16, dtype=torch.float32)
    graph = torch.fx.symbolic_trace(net)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["pool"]
    torch.testing.assert_close(graph(x), net(x))


def test_jit_traces_it(frozen):
    net, x, y = frozen
    traced = torch.jit.trace(net, x)
    torch.testing.assert_close(traced(x), y, rtol=1e-4, atol=1e-5)
    assert traced(x[:1]).shape == (1, *y.shape[1:])


@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
def test_jit_traces_a_pooling_that_rounds_up():
    """Where it goes on over the edge, by sizes that are constants."""
    x = torch.randn(1, 3, 13, 13)
    learned = convert(nn.AvgPool2d(2, ceil_mode=True), x)
    net = freeze(learned, x)
    torch.testing.assert_close(torch.jit.trace(net, x)(x), net(x))
    with (
        pytest.raises(TypeError, match=r"x: got one of torch\.jit\.trace; .* trace freeze"),
        pytest.warns(torch.jit.TracerWarning),  # of sizes, before
    ):
        torch.jit.trace(learned, x)


@pytest.fixture(scope="module")
def program(frozen):
    """The frozen network as an exported program whose batch is free."""
    net, x, _ = frozen
    return torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))


def test_it_is_exported_without_operations_of_ours(frozen, program):
    _, x, y = frozen
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [name for name in names if "fft" in name or "spectral" in name]
    torch.testing.assert_close(program.module()(x), y, rtol=1e-4, atol=1e-5)
    assert program.module()(torch.cat([x, x, x])).shape == (6, *y.shape[1:])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx(frozen, program, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export has onnxruntime")
    pytest.importorskip("onnxscript", reason="the extra export has onnxscript")
    _, x, y = frozen
    made = torch.onnx.export(program, dynamo=True, verbose=False)
    operators = {node.op_type for node in made.model.graph}
    assert not [name for name in operators if "DFT" in name or "FFT" in name]
    assert {node.domain for node in made.model.graph} == {""}
    path = str(tmp_path / "net.onnx")
    made.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    for batch in (1, 2):
        (found,) = session.run(None, {taken.name: x[:batch].numpy()})
        torch.testing.assert_close(torch.from_numpy(found), y[:batch], rtol=0, atol=1e-4)


@pytest.mark.skipif(not shutil.which("g++"), reason="AOTInductor needs g++")
@pytest.mark.long
def test_aotinductor(frozen, program, tmp_path):
    _, x, y = frozen
    package = torch._inductor.aoti_compile_and_package(
        program, package_path=str(tmp_path / "net.pt2")
    )
    found = torch._inductor.aoti_load_package(package)(x)
    torch.testing.assert_close(found, y, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_int8_by_pt2e(frozen, program):
    """Weights and matrices as whole numbers: within a few steps of 1/127 of the output's range."""
    pt2e = pytest.importorskip("torchao.quantization.pt2e", reason="torchao has PT2E")
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    assert pt2e is not None
    _, x, y = frozen
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(program.module(), quantizer)
    prepared(x)
    quantized = convert_pt2e(prepared)
    names = [str(node.target) for node in quantized.graph.nodes]
    assert any("quantize" in name for name in names)
    assert (quantized(x) - y).abs().max() < 8 / 127 * y.abs().max()


@pytest.mark.parametrize(
    ("call", "name"), [(convert, "network"), (freeze, "network"), (MacBudget, "model")]
)
def test_a_network_that_cannot_be_copied_is_named(call, name):
    x = draw(1, 3, 16, 16, dtype=torch.float32)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1))
    net = plain if call is convert else convert(plain, x)
    net.notes = (note for note in "ab")
    arguments = (net, x, 0.8) if call is MacBudget else (net, x)
    with pytest.raises(ValueError, match=f"{name}: got one that cannot be copied .*'generator'"):
        call(*arguments)
    assert next(net.notes) == "a"


@pytest.mark.parametrize("kind", ["diffstride", "spectral"])
def test_networks_of_the_library_resample_before_they_convolve(kind):
    x = draw(1, 3, 32, 32, dtype=torch.float32)
    net = resnet18(width=4, downsampling=kind).eval()
    places = [one for one in net.modules() if isinstance(one, DiffStride | SpectralPool)]
    assert len(places) == (4 if kind == "diffstride" else 3)
    before = [one for one in freeze(net, x).modules() if isinstance(one, forms.ConvolveTaps)]
    assert len(before) >= 4  # two each in stages 2 and 3; on stage 4's small maps it may not pay
