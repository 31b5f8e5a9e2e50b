"""DiffStrideConv2d equals DiffStride(Conv2d(stride 1)): value and every gradient, in float64."""

import copy
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from spectral_stride import make_plan
from spectral_stride.torch import (
    DiffStride,
    DiffStrideConv2d,
    autograd,
    dispatch,
    hold_sizes,
    param_groups,
)
from spectral_stride.torch.layers import conv_order

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def pair(seed=0, **arguments):
    """The layer in float64, and the two layers that define it, with the same parameters."""
    torch.manual_seed(seed)
    layer = DiffStrideConv2d(dtype=torch.float64, **arguments)
    conv_names = ("padding", "dilation", "groups", "bias", "padding_mode")
    conv = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        dtype=torch.float64,
        **{name: arguments[name] for name in conv_names if name in arguments},
    )
    rest = ("smoothness", "ramp", "norm", "shared", "multiple_of", "crop", "hard")
    down = DiffStride(
        arguments.get("strides", 2.0),
        dtype=torch.float64,
        **{name: arguments[name] for name in rest if name in arguments},
    )
    conv.load_state_dict(
        {"weight": layer.weight, "bias": layer.bias}
        if layer.bias is not None
        else {"weight": layer.weight}
    )
    return layer, nn.Sequential(conv, down)


def gradients(module, x):
    """Output, and gradients of a fixed linear functional in input and parameters, by size."""
    x = x.clone().requires_grad_()
    y = module(x)
    g = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape).cos()
    names = [name.rpartition(".")[2] for name, _ in module.named_parameters()]
    found = torch.autograd.grad(y, (x, *module.parameters()), g)
    return {"y": y, "x": found[0], **dict(zip(names, found[1:], strict=True))}


def assert_same(layer, both, x):
    one, other = gradients(layer, x), gradients(both, x)
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-9, msg=name)


def set_inside(layer, strides):
    """Strides away from every corner of the mask, where derivatives are two-sided."""
    with torch.no_grad():
        layer.strides.copy_(torch.tensor(strides, dtype=layer.strides.dtype))


@pytest.fixture(params=[True, False], ids=["resampled first", "convolved first"])
def order(request, monkeypatch):
    """Both orders, whatever the counts say."""
    monkeypatch.setattr(conv_order, "resamples_first", lambda *_: request.param)
    return request.param


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("ramp", ["outside", "inside"])
@pytest.mark.parametrize("padding", [0, "same", 2, (1, 0)])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7, (2, 3)])
def test_equals_a_convolution_and_a_resampling(kernel_size, padding, ramp):
    layer, both = pair(
        in_channels=2,
        out_channels=3,
        kernel_size=kernel_size,
        strides=(1.7, 2.0),
        padding=padding,
        ramp=ramp,
        smoothness=2.0,
    )
    assert_same(layer, both, torch.randn(2, 2, 13, 16, dtype=torch.float64))


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("norm", ["forward", "ortho", "backward"])
def test_the_bias_passes_as_the_norm_has_it(norm):
    """A constant is multiplied by the gain of both axes."""
    layer, both = pair(in_channels=2, out_channels=4, kernel_size=3, norm=norm, ramp="inside")
    assert layer.bias.abs().min() > 1e-4
    assert_same(layer, both, torch.randn(2, 2, 14, 12, dtype=torch.float64))


@st.composite
def convolutions(draw):
    """Arguments and an input's shape: groups, depthwise, dilation, paddings, norms, strides."""
    groups = draw(st.sampled_from([1, 2, 4]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    mode = draw(st.sampled_from(["zeros", "zeros", "circular", "reflect", "replicate"]))
    padding = draw(
        st.sampled_from(["same", "valid", 0, 1, (2, 1)])
        if mode == "zeros"
        else st.sampled_from(["same", 1, (1, 2)])
    )
    arguments = {
        "in_channels": 4,
        "out_channels": draw(st.sampled_from([4, 8])),
        "kernel_size": kernel,
        "strides": draw(st.tuples(*[st.floats(1, 6).map(lambda s: round(8 * s) / 8)] * 2)),
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": mode,
        "ramp": draw(st.sampled_from(["outside", "inside"])),
        "norm": draw(st.sampled_from(["forward", "ortho", "backward"])),
        "smoothness": draw(st.sampled_from([0.0, 1.0, 4.0])),
        "multiple_of": draw(st.sampled_from([1, 4])),
        "hard": draw(st.booleans()),
    }
    sizes = draw(st.tuples(st.integers(11, 20), st.integers(11, 20)))
    return arguments, (draw(st.sampled_from([1, 3])), 4, *sizes)


@pytest.mark.parametrize("first", [True, False], ids=["resampled first", "convolved first"])
def test_equals_them_whatever_is_drawn(first, monkeypatch):
    monkeypatch.setattr(conv_order, "resamples_first", lambda *_: first)

    @settings(max_examples=max(10, settings().max_examples // 2))
    @given(convolutions())
    def check(drawn):
        arguments, shape = drawn
        layer, both = pair(**arguments)
        assert_same(layer, both, torch.randn(shape, dtype=torch.float64))

    check()


def test_the_cheaper_order_is_taken():
    """Few channels in and many out: resample what comes in; the other way round: what comes out."""
    for channels, expected in [((8, 64), True), ((64, 4), False), ((3, 64), True)]:
        conv = nn.Conv2d(*channels, 3, padding=1)
        x = torch.ones(1, channels[0], 32, 32)
        plan = make_plan(conv_order.convolved_shape(conv, x), (2.0, 2.0), ramp="inside")
        assert conv_order.resamples_first(conv, x, plan) is expected


@pytest.mark.parametrize(
    ("channels", "size", "stride", "expected"),
    [
        # Each of these orders took half to two thirds of the other's time.
        ((64, 128), 32, 1.5, False),
        ((64, 128), 32, 2.6, True),
        ((64, 32), 32, 2.0, False),
        ((128, 256), 16, 1.2, False),
        ((128, 256), 16, 2.0, True),
        ((3, 64), 112, 1.2, True),
        ((64, 64, 1), 32, 1.5, True),
        ((128, 128, 1), 16, 1.5, True),
        ((256, 64, 1), 32, 2.0, True),
        ((256, 64, 1), 32, 1.2, False),
    ],
)
def test_the_order_that_was_measured_to_be_faster_is_taken(channels, size, stride, expected):
    *channels, kernel = (*channels, 3)[:3]
    conv = nn.Conv2d(*channels, kernel, padding=kernel // 2, device="meta")
    x = torch.ones(1, channels[0], size, size, device="meta")
    plan = make_plan(conv_order.convolved_shape(conv, x), (stride, stride), ramp="inside")
    assert conv_order.resamples_first(conv, x, plan) is expected


def test_what_each_order_is_counted_to_take():
    """Products by the sizes before and after them, last axis first, and the mixing of channels."""
    conv = nn.Conv2d(4, 6, (2, 3), groups=2)
    width_first = 4 * (8 * 10) * (3 * 8)  # each of 8 x 10 samples goes to 3 taps of 8
    then_height = 4 * (8 * 3 * 8) * (2 * 4)
    weights = 6 * 2 * 2 * 3
    for hard, behind in ((False, (7 * 8) * 8 + (7 * 8) * 4), (True, (7 * 8) * 4)):
        counts = conv_order.order_counts(conv, (8, 10), (7, 8), (4, 8), hard)
        assert counts == (
            width_first + then_height,
            weights * 4 * 8,
            6 * behind,
            weights * 7 * 8,
        )
        assert all(isinstance(one, int) for one in counts)
    # A hard crop leaves the height, too, as it is.
    counts = conv_order.order_counts(conv, (8, 10), (7, 8), (7, 4), True)
    assert counts[2] == 6 * (7 * 8) * 4


@pytest.mark.parametrize(
    ("kernel_size", "counts", "expected"),
    [
        (1, (100, 0, 99, 2), True),
        (1, (0, 100, 99, 2), True),
        (1, (100, 0, 100, 0), False),  # as much: what is simpler
        ((1, 2), (100, 0, 0, 276), True),
        ((1, 2), (100, 0, 0, 274), False),
        ((1, 2), (0, 100, 0, 246), True),
        ((1, 2), (0, 100, 0, 244), False),
        ((1, 2), (0, 100, 90, 0), True),
        ((1, 2), (0, 100, 88, 0), False),
    ],
)
def test_counts_are_weighted_where_a_kernel_has_taps(kernel_size, counts, expected):
    """A product takes 2.75 times as long as the convolution, and one with taps apart 2.45 times."""
    conv = nn.Conv2d(1, 1, kernel_size)
    assert conv_order.is_faster_first(conv, *counts) is expected


@pytest.mark.parametrize(
    ("size", "options", "axes"),
    [((32, 32), {"method": "fft"}, (-2, -1)), ((1, 32), {}, (-2, -1)), ((32, 32), {}, (-1, -2))],
    ids=["by FFT", "an axis of one sample", "other axes"],
)
def test_some_maps_are_resampled_last_whatever_it_takes(size, options, axes):
    conv = nn.Conv2d(3, 64, 1)
    x = torch.ones(1, 3, *size)
    plan = make_plan((1, 64, *size), (2.0, 2.0), ramp="inside", axes=axes, **options)
    assert conv_order.resamples_first(conv, x, plan) is False
    plan = make_plan((1, 64, 32, 32), (2.0, 2.0), ramp="inside")
    assert conv_order.resamples_first(conv, torch.ones(1, 3, 32, 32), plan) is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"stride": (2, 2)},
            "conv: got stride (2, 2); allowed: stride 1; instead: write stride=1: the layer has "
            "the stride",
        ),
        (
            {"kernel_size": (0, 3)},
            "kernel_size: got (0, 3); allowed: one or two integers of at least 1; instead: write "
            "kernel_size=3",
        ),
        (
            {"kernel_size": (3, 3, 3)},
            "kernel_size: got (3, 3, 3); allowed: one or two integers of at least 1; instead: "
            "write kernel_size=3",
        ),
        (
            {"padding": -1},
            "padding: got -1; allowed: one or two integers of at least 0, or 'same', or 'valid'; "
            "instead: write padding=1",
        ),
        (
            {"dilation": 0},
            "dilation: got 0; allowed: one or two integers of at least 1; instead: write "
            "dilation=1",
        ),
    ],
)
def test_a_convolution_that_somebody_broke_is_refused(change, message):
    conv = nn.Conv2d(1, 1, 3)
    vars(conv).update(change)
    with pytest.raises(ValueError, match=f"^DiffStride: {re.escape(message)}$"):
        DiffStride(2.0)(torch.ones(1, 1, 8, 8), conv)


def test_only_a_convolution_of_images_is_taken():
    with pytest.raises(TypeError) as caught:
        DiffStride(2.0)(torch.ones(1, 1, 8, 8), nn.Conv1d(1, 1, 3))
    message = "DiffStride: conv: got Conv1d; allowed: a torch.nn.Conv2d; instead: leave it out"
    assert str(caught.value) == message


class Centred(nn.Conv2d):
    """A convolution with a forward pass of its own, one step inside of the usual one."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean(), bias)


def test_a_convolution_is_asked_for_all_that_it_does():
    """By its attributes of now, in its own way, with whatever was hung on to it."""
    x = torch.linspace(0, 9, 512, dtype=torch.float64).sin().reshape(2, 1, 16, 16)
    down = DiffStride(2.0, ramp="inside", dtype=torch.float64)

    def check(conv):
        torch.testing.assert_close(down(x, conv), down(conv(x)))

    conv = nn.Conv2d(1, 64, 3, padding=1, dtype=torch.float64)
    conv.padding = (0, 0)
    check(conv)
    conv.dilation, conv.padding = (2, 2), (2, 2)
    check(conv)
    conv.padding = "same"
    check(conv)
    check(Centred(1, 64, 3, dtype=torch.float64))
    usual = conv.forward
    conv.forward = lambda x: 2 * usual(x)
    check(conv)
    del conv.forward
    inside = conv._conv_forward
    conv._conv_forward = lambda *of: 3 * inside(*of)
    check(conv)
    del conv._conv_forward
    hook = conv.register_forward_hook(lambda *of: 2 * of[-1])
    check(conv)
    hook.remove()


def test_a_convolution_costs_the_same_under_a_tracker_of_modules():
    """PyTorch's counter of operations hangs a hook on all modules at once."""
    layer = DiffStrideConv2d(3, 64, 3, padding=1, ramp="inside")
    conv, down = nn.Conv2d(3, 64, 3, padding=1), DiffStride(2.0, ramp="inside")
    x = torch.ones(1, 3, 32, 32)
    counts = []
    for call in (layer, lambda x: down(x, conv)):
        call(x)  # which builds what is kept, and counts by itself
        with FlopCounterMode(display=False) as counter:
            call(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


@pytest.mark.parametrize("stride", [1.0, 1.1, 30.0])
def test_second_derivatives_beyond_the_bounds_do_not_see_the_order(stride):
    """They are those at the bound, of the layer and of what defines it: a symmetric matrix."""
    layer, (conv, down) = pair(in_channels=3, out_channels=32, kernel_size=3, padding=1)
    x = torch.linspace(0, 9, 768, dtype=torch.float64).sin().reshape(1, 3, 16, 16)

    def curvature(call, weight, strides):
        with torch.no_grad():
            strides.copy_(torch.tensor([stride, 1.7]))
        first = torch.autograd.grad(
            call(x).tanh().square().sum(), (weight, strides), create_graph=True
        )
        # With a graph: a gradient without one is projected, as an optimizer wants it.
        rows = [torch.autograd.grad(one, (strides, weight), create_graph=True) for one in first[1]]
        return [torch.stack(one) for one in zip(*rows, strict=True)]

    found = curvature(layer, layer.weight, layer.strides)
    wanted = curvature(lambda x: down(conv(x)), conv.weight, down.strides)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found[0], found[0].T)


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("hard", [False, True])
def test_a_tangent_in_all_inputs_is_a_difference_quotient(hard):
    """Of a hard crop, whose value does not follow the strides, in all but these."""
    layer, _ = pair(in_channels=2, out_channels=3, kernel_size=3, padding=1, hard=hard)
    set_inside(layer, (1.8, 2.4))
    hold_sizes(layer)
    torch.manual_seed(1)
    inputs = {name: one.detach().clone() for name, one in layer.named_parameters()}
    inputs["x"] = torch.randn(2, 2, 14, 13, dtype=torch.float64)
    along = {name: torch.randn_like(one) for name, one in inputs.items()}
    if hard:
        along["strides"] = torch.zeros_like(inputs["strides"])

    def call(inputs):
        others = {name: one for name, one in inputs.items() if name != "x"}
        return torch.func.functional_call(layer, others, inputs["x"])

    _, tangent = torch.func.jvp(call, (inputs,), (along,))
    ahead, back = (
        call({name: one + step * along[name] for name, one in inputs.items()})
        for step in (1e-6, -1e-6)
    )
    torch.testing.assert_close(tangent, (ahead - back) / 2e-6, rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("smoothness", [4.0, 0.0], ids=["a ramp", "none"])
def test_the_form_for_compilers_is_the_same_map(smoothness, monkeypatch):
    """Plain tensor code, so that it can be asked without one: values and first derivatives."""
    layer, _ = pair(in_channels=2, out_channels=3, kernel_size=3, padding=1, smoothness=smoothness)
    set_inside(layer, (1.8, 2.4))
    hold_sizes(layer)
    x = torch.linspace(0, 9, 364, dtype=torch.float64).sin().reshape(1, 2, 14, 13)
    # Without a ramp nothing depends on the strides, and the plain code does not ask for them.
    outcome = gradients if smoothness else lambda layer, x: {"y": layer(x)}
    wanted = outcome(layer, x)
    for name in ("is_compiling", "is_exporting"):  # as it is where there is no code of ours later
        monkeypatch.setattr(torch.compiler, name, lambda: True)
    asked, form = [], dispatch._linearised
    monkeypatch.setattr(dispatch, "_linearised", lambda *of: [asked.append(of), form(*of)][1])
    found = outcome(layer, x)
    assert len(asked) == 1
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_layer_takes_any_convolution_in_front_of_it(kernel_size):
    layer, both = pair(in_channels=3, out_channels=4, kernel_size=kernel_size, strides=(1.8, 2.4))
    conv, down = both
    x = torch.randn(2, 3, 14, 13, dtype=torch.float64)
    torch.testing.assert_close(down(x, conv), down(conv(x)))
    torch.testing.assert_close(down(x, conv), layer(x))


@pytest.mark.parametrize(
    ("conv", "error", "message"),
    [
        (
            nn.Conv2d(3, 4, 3, stride=2),
            ValueError,
            r"DiffStride: conv: got stride \(2, 2\)",
        ),
        (
            nn.Conv1d(3, 4, 3),
            TypeError,
            r"DiffStride: conv: got Conv1d; allowed",
        ),
    ],
)
def test_convolutions_that_it_does_not_take(conv, error, message):
    with pytest.raises(error, match=message):
        DiffStride()(torch.ones(1, 3, 8, 8), conv)


class Standardized(nn.Conv2d):
    """A convolution whose forward pass is its own."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


def hooked():
    conv = nn.Conv2d(3, 32, 3, padding=1)
    conv.register_forward_hook(lambda module, args, y: 2 * y)
    return conv


@pytest.mark.parametrize(
    "conv",
    [
        Standardized(3, 32, 3, padding=1),
        hooked(),
        prune.random_unstructured(nn.Conv2d(3, 32, 3, padding=1), "weight", 0.5),
        torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 32, 3, padding=1)).eval(),
        nn.LazyConv2d(32, 3, padding=1),
    ],
    ids=["forward", "hook", "pruned", "parametrized", "lazy"],
)
def test_what_calling_a_convolution_does_is_done(conv):
    down, x = DiffStride(2.0, ramp="inside"), torch.randn(2, 3, 16, 16)
    for _ in range(2):
        down(x, conv).square().sum().backward()
    torch.testing.assert_close(down(x, conv), down(conv(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [DiffStride((2.0,)), DiffStride(2.0, axes=(1, 2))])
def test_other_axes_than_those_of_the_kernel(layer):
    conv, x = nn.Conv2d(3, 32, 3, padding=1), torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(layer(x, conv), layer(conv(x)))


def test_half_precision_parameters_resample_in_full():
    """Strides in bfloat16 are used in float32, where 2.0078125 is not 2."""
    layer = DiffStrideConv2d(3, 32, 3, strides=2.0078125, padding=1, dtype=torch.bfloat16)
    x = torch.randn(2, 3, 32, 32).bfloat16()
    y = layer(x)
    exact = pair(in_channels=3, out_channels=32, kernel_size=3, padding=1, strides=2.0078125)[0]
    exact.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact(x.double()), rtol=0.1, atol=0.1)


BEHIND = [
    # Of 16 x 16 samples the coefficients of both axes are no more numbers, of 8 x 8 they are.
    pytest.param(32, False, id="coefficients of the output"),
    pytest.param(16, True, id="the output itself"),
]


def learning(
    monkeypatch, size, *, behind=True, act=lambda y: y, memory_format=torch.contiguous_format
):
    """A layer that resamples first, its input, and gradients of two orders."""
    monkeypatch.setattr(conv_order, "resamples_first", lambda *_: True)
    monkeypatch.setattr(conv_order, "learns_behind", lambda *_: behind)
    layer, _ = pair(in_channels=2, out_channels=3, kernel_size=3, padding=1, ramp="inside")
    x = torch.linspace(0, 9, 2 * size**2, dtype=torch.float64).sin().reshape(1, 2, size, size)
    x = x.to(memory_format=memory_format)
    inputs = x.requires_grad_(), layer.weight, layer.bias, layer.strides
    y = act(layer(x))
    first = torch.autograd.grad((y.tanh() ** 2).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum((one**2).sum() for one in first), inputs)
    return y, first, second


@pytest.mark.parametrize(("size", "keeps_samples"), BEHIND)
def test_strides_learn_behind_the_convolution(size, keeps_samples, monkeypatch):
    """Of both orders, what is found in the output is what is found on the way to it."""
    built = []
    learn = autograd.LearnFromOutput.apply
    monkeypatch.setattr(
        autograd.LearnFromOutput, "apply", lambda *args: [built.append(args[3]), learn(*args)][1]
    )
    found = learning(monkeypatch, size)
    assert built.pop().keeps_samples == keeps_samples
    torch.testing.assert_close(found, learning(monkeypatch, size, behind=False))
    assert not built
    last = learning(monkeypatch, size, memory_format=torch.channels_last)
    assert last[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, found)
    # Whoever gets the output may write to it.
    squared = learning(monkeypatch, size, act=lambda y: y**2)
    torch.testing.assert_close(learning(monkeypatch, size, act=lambda y: y.square_()), squared)


@pytest.mark.parametrize("size", [16, 32])
def test_a_large_bias_does_not_blur_the_stride_gradient(size, monkeypatch):
    monkeypatch.setattr(conv_order, "resamples_first", lambda *_: True)
    monkeypatch.setattr(conv_order, "learns_behind", lambda *_: True)
    found = {}
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        layer = DiffStrideConv2d(8, 8, 3, strides=2.1, padding=1, ramp="inside").to(dtype)
        x = torch.randn(4, 8, size, size).to(dtype)
        torch.nn.init.constant_(layer.bias, 1e4)
        y = layer(x)
        g = torch.linspace(0, 9, y.numel()).sin().reshape(y.shape).to(dtype)
        (found[dtype],) = torch.autograd.grad(y, layer.strides, g)
    torch.testing.assert_close(
        found[torch.float32].double(), found[torch.float64], rtol=1e-4, atol=1e-3
    )


def test_strides_learn_where_it_takes_fewer_products():
    for channels, expected in [((64, 128), True), ((3, 64), False)]:
        conv, x = nn.Conv2d(*channels, 3, padding=1), torch.ones(1, channels[0], 32, 32)
        plan = make_plan(conv_order.convolved_shape(conv, x), (2.0, 2.0), ramp="inside")
        assert conv_order.learns_behind(conv, x, plan) is expected


def test_no_full_convolution_is_computed():
    """Resampled first, no tensor on the way has the size of the convolution at stride 1."""
    from tests.torch.test_functional import Sizes

    layer = DiffStrideConv2d(8, 64, 3, padding=1, ramp="inside")
    with Sizes() as sizes:
        layer(torch.randn(2, 8, 32, 32)).sum().backward()
    assert (2, 64, 16, 16) in sizes.seen
    assert (2, 64, 32, 32) not in sizes.seen


def test_it_is_a_layer_like_any_other():
    """state_dict, copies, half precision, channels last, single images, held sizes, groups."""
    layer = DiffStrideConv2d(4, 32, 3, strides=(2.0, 2.5), padding="same", ramp="inside")
    assert set(layer.state_dict()) == {"weight", "bias", "strides"}
    x = torch.randn(2, 4, 20, 20)
    y = layer(x)
    assert y.shape == (2, 32, 10, 8)
    torch.testing.assert_close(copy.deepcopy(layer)(x), y)
    torch.testing.assert_close(layer(x[0]), y[0])
    last = layer(x.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    groups = param_groups(layer, lr=0.1, weight_decay=0.1, stride_lr=0.01)
    assert [len(group["params"]) for group in groups] == [2, 1]
    assert hold_sizes(layer) is False
    with torch.no_grad():
        layer.strides.fill_(3.0)
    assert layer(x).shape == y.shape
    assert "4, 32, kernel_size=(3, 3), padding='same'" in repr(layer)


def test_held_it_compiles_as_one_graph():
    layer = DiffStrideConv2d(4, 32, 3, padding=1, ramp="inside")
    hold_sizes(layer)
    x = torch.randn(2, 4, 16, 16)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    compiled(x).square().sum().backward()
    found = layer.strides.grad.clone(), layer.weight.grad.clone()
    layer.zero_grad()
    layer(x).square().sum().backward()
    torch.testing.assert_close(found, (layer.strides.grad, layer.weight.grad), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (2, 3, 16, 16),
            r"DiffStrideConv2d: x: got shape \(2, 3, 16, 16\); allowed: \(N, 4, H, W\)",
        ),
        ((2, 4, 16), r"allowed: \(N, 4, H, W\) or \(4, H, W\)"),
        ((8, 100), r"x: got shape \(8, 100\); allowed: \(N, 4, H, W\) or \(4, H, W\)"),
        ((2, 4, 2, 16), r"x: got \(2, 16\) samples for a kernel of \(3, 3\)"),
    ],
)
def test_bad_inputs(shape, message):
    with pytest.raises(ValueError, match=message):
        DiffStrideConv2d(4, 8, 3)(torch.ones(shape))


def test_derivatives_of_every_kind():
    """Forward and reverse mode, first and second order, in input, kernel and strides.

    Of the second derivatives a random projection is compared, which has all entries in it.
    """
    layer = DiffStrideConv2d(
        2, 3, 3, strides=(1.7, 2.3), padding=1, ramp="inside", dtype=torch.float64
    )
    hold_sizes(layer)
    bias = layer.bias.detach()

    def function(x, weight, strides):
        parameters = {"weight": weight, "strides": strides, "bias": bias}
        return torch.func.functional_call(layer, parameters, (x,))

    x = torch.randn(1, 2, 9, 8, dtype=torch.float64, requires_grad=True)
    inputs = x, layer.weight, layer.strides
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def test_exported_in_eval_mode_the_batch_stays_free():
    layer = DiffStrideConv2d(3, 32, 3, padding=1, ramp="inside").eval()
    dynamic = {"x": {0: torch.export.Dim("batch")}}
    with torch.no_grad():
        program = torch.export.export(layer, (torch.randn(4, 3, 32, 32),), dynamic_shapes=dynamic)
        x = torch.randn(7, 3, 32, 32)
        torch.testing.assert_close(program.module()(x), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 2}, r"stride: got 2; allowed: strides.*strides=2\.0"),
        ({"axes": (1, 2)}, r"axes: got \(1, 2\); allowed: .*last two; instead: leave axes out"),
        ({"ndim": 2}, r"ndim: got 2; .*leave ndim out"),
        ({"dtype": torch.complex64}, r"dtype: got torch\.complex64; allowed: a real floating"),
        ({"dtype": torch.int64}, r"dtype: got torch\.int64"),
        ({"kernel_size": 0}, r"kernel_size: got 0; allowed: .*at least 1"),
        ({"strides": 0.5}, r"strides: got"),
    ],
)
def test_what_the_constructor_refuses(options, message):
    arguments = {"kernel_size": 3, **options}
    with pytest.raises((TypeError, ValueError), match="^DiffStrideConv2d: " + message):
        DiffStrideConv2d(3, 8, **arguments)


def test_other_axes_are_refused_later_too():
    layer = DiffStrideConv2d(3, 4, 3, padding=1, ramp="inside")
    with pytest.raises(TypeError, match=r"^DiffStrideConv2d: axes: got \(1, 2\); allowed: .*last"):
        layer.axes = (1, 2)
    assert layer.axes == (-2, -1)
    assert layer(torch.ones(1, 3, 18, 18)).shape == (1, 4, 9, 9)
    layer.multiple_of = 4
    assert layer(torch.ones(1, 3, 18, 18)).shape == (1, 4, 12, 12)


def test_one_number_in_a_tuple_is_for_both_axes():
    x = torch.randn(2, 3, 12, 14)
    pair = DiffStrideConv2d(3, 8, 3, padding=(2, 2), dilation=(2, 2))
    single = DiffStrideConv2d(3, 8, 3, padding=(2,), dilation=(2,))
    single.load_state_dict(pair.state_dict())
    torch.testing.assert_close(single(x), pair(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": 1.5}, r"padding: got 1\.5; allowed: one or two integers"),
        ({"padding": -1}, r"padding: got -1; allowed: .* of at least 0"),
        ({"padding": "full"}, r"padding: got 'full'; allowed: .*, or 'same', or 'valid'; "),
        ({"padding": (1, 1, 1)}, r"padding: got \(1, 1, 1\); allowed: one or two integers"),
        ({"padding": 10**400}, r"padding: got 1000\d*\.\.\. \(int\); allowed: one or two"),
        ({"dilation": 0}, r"dilation: got 0; allowed: .* of at least 1"),
        ({"dilation": 2.0}, r"dilation: got 2\.0; allowed: one or two integers"),
        ({"kernel_size": 3.0}, r"kernel_size: got 3\.0; allowed: one .*; instead: .*kernel_size=3"),
        ({"kernel_size": 10**400}, r"kernel_size: got 1000\d*\.\.\. \(int\); allowed: one or two"),
        ({"kernel_size": b"\3\3"}, r"kernel_size: got b'.*'; allowed: one or two integers"),
        ({"in_channels": "3"}, "in_channels: got '3'; allowed: an integer of at least 1"),
        ({"out_channels": -4}, "out_channels: got -4; allowed: an integer of at least 1"),
        ({"groups": 2}, "groups: got 2; allowed: a divisor of 3 and of 4 channels"),
        ({"groups": "1"}, "groups: got '1'; allowed: an integer of at least 1"),
        ({"bias": "False"}, r"bias: got 'False' \(str\); allowed: True or False"),
        ({"padding_mode": np.ones(2)}, r"padding_mode: got array\(.*; allowed: 'zeros', 'reflect'"),
        ({"stride": 2}, "stride: got 2; allowed: strides"),
        ({"smooth": 2}, "smooth: got 2; .*; instead: write smoothness="),
        ({"pading": 2}, "pading: got 2; .*; instead: write padding="),
    ],
)
def test_constructor_errors(options, message):
    with pytest.raises((TypeError, ValueError), match=f"^DiffStrideConv2d: {message}"):
        DiffStrideConv2d(**{"in_channels": 3, "out_channels": 4, "kernel_size": 3, **options})


def test_the_options_that_are_listed_are_those_of_this_layer():
    with pytest.raises(TypeError) as caught:
        DiffStrideConv2d(3, 4, 3, wrong=1)
    _, _, rest = str(caught.value).partition("allowed: ")
    listed = rest.partition(";")[0].split(", ")
    assert {"strides", "padding", "groups", "smoothness", "dtype"} <= {*listed}
    assert not {"ndim", "axes", "options", "self"} & {*listed}


@pytest.mark.parametrize(("mode", "most"), [("reflect", 7), ("circular", 8)])
def test_padding_beyond_the_input(mode, most):
    """These modes repeat samples of the input, which has them once."""
    x = torch.ones(1, 3, 8, 12)
    assert DiffStrideConv2d(3, 4, 3, padding=most, padding_mode=mode)(x).shape[:2] == (1, 4)
    conv = DiffStrideConv2d(3, 4, 3, padding=most + 1, padding_mode=mode)
    message = rf"^DiffStrideConv2d: padding: got {most + 1} of 8 .* at most {most}; .*'zeros'"
    with pytest.raises(ValueError, match=message):
        conv(x)


def test_padding_by_small_integers_of_numpy():
    """Their sums wrap around, where they are taken as they are."""
    padding = np.asarray(100, dtype="uint8")[()]
    x = torch.ones(1, 3, 200, 8)
    conv, same = (DiffStrideConv2d(3, 4, 3, padding=(one, 0)) for one in (padding, 100))
    assert conv(x).shape == same(x).shape
