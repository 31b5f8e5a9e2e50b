"""The map as a node of a graph: what a compiler is told of it is so, in every layout and form."""

import pytest
import torch

from spectral_stride import make_plan
from spectral_stride.fast.taps import Taps
from spectral_stride.torch import diffstride, spectral_pool
from spectral_stride.torch.graph_node import resample_as_node

SHAPE, STRIDES = (2, 3, 12, 10), (2.2, 1.7)
# What torch.library.opcheck looks at: the node's shapes, memory and derivatives under a compiler.
OPCHECKS = (
    "test_schema",
    "test_autograd_registration",
    "test_faketensor",
    "test_aot_dispatch_static",
)


def draw(*shape, dtype=torch.float64, memory_format=torch.contiguous_format):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.to(dtype).contiguous(memory_format=memory_format).requires_grad_()


def stride_parameter(dtype=torch.float64):
    return torch.tensor(STRIDES, dtype=dtype, requires_grad=True)


def calls_of(monkeypatch, function):
    """The arguments with which a function calls the node."""
    seen = []
    node = torch.ops.spectral_stride.resample.default
    monkeypatch.setattr(
        "spectral_stride.torch.graph_node._resample",
        lambda *arguments: seen.append(arguments) or node(*arguments),
    )
    function()
    (arguments,) = seen
    return arguments


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("learn", [True, False], ids=["learning", "constant"])
@pytest.mark.parametrize(
    "options",
    [
        {"ramp": "inside"},
        {"ramp": "outside", "norm": "ortho", "axes": (3, 2)},
        {"ramp": "inside", "method": "fft"},
        {"ramp": "inside", "axes": (1, 3)},
        {"ramp": "inside", "smoothness": 0},
        {"ramp": "inside", "crop": False},
    ],
    ids=str,
)
def test_a_compiler_is_told_what_is_so(options, learn, memory_format, monkeypatch):
    """And value and gradients are those of eager code."""
    x, s = draw(*SHAPE, memory_format=memory_format), stride_parameter()
    plan = make_plan(x.shape, STRIDES, **options)
    arguments = calls_of(monkeypatch, lambda: resample_as_node(x, s, plan, None, learn=learn))
    torch.library.opcheck(
        torch.ops.spectral_stride.resample.default, arguments, test_utils=OPCHECKS
    )
    y = resample_as_node(x, s, plan, None, learn=learn)
    expected = diffstride(x, s if learn else s.detach(), plan=plan)
    torch.testing.assert_close(y, expected)
    assert y.is_contiguous(memory_format=memory_format)
    g = draw(*y.shape).detach()
    inputs = (x, s) if learn else (x,)
    found = torch.autograd.grad((y * g).sum(), inputs)
    torch.testing.assert_close(found, torch.autograd.grad((expected * g).sum(), inputs))


def test_without_strides_it_crops(monkeypatch):
    x = draw(*SHAPE)
    plan = make_plan(SHAPE, (2.0, 2.5), smoothness=0, ramp="inside")
    arguments = calls_of(monkeypatch, lambda: resample_as_node(x, None, plan, None, learn=False))
    torch.library.opcheck(
        torch.ops.spectral_stride.resample.default, arguments, test_utils=OPCHECKS
    )
    y = resample_as_node(x, None, plan, None, learn=False)
    torch.testing.assert_close(y, spectral_pool(x, plan.out_sizes))


def test_the_taps_of_a_convolution_are_told_too(monkeypatch):
    x, s = draw(*SHAPE), stride_parameter()
    taps = (Taps(3, 1, 1, 12), Taps(2, 2, 0, 10))
    plan = make_plan((1, 1, 12, 8), STRIDES, ramp="inside")
    arguments = calls_of(monkeypatch, lambda: resample_as_node(x, s, plan, taps, learn=True))
    torch.library.opcheck(
        torch.ops.spectral_stride.resample.default, arguments, test_utils=OPCHECKS
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_dtypes_stay(dtype, monkeypatch):
    x, s = draw(*SHAPE, dtype=dtype), stride_parameter(torch.float32)
    plan = make_plan(SHAPE, STRIDES, ramp="inside")
    arguments = calls_of(monkeypatch, lambda: resample_as_node(x, s, plan, None, learn=True))
    rtol, atol = (1e-5, 1e-5) if dtype == torch.float32 else (2e-2, 2e-2)
    torch.library.opcheck(
        torch.ops.spectral_stride.resample.default,
        arguments,
        test_utils=OPCHECKS,
        rtol=rtol,
        atol=atol,
    )
    assert resample_as_node(x, s, plan, None, learn=True).dtype == dtype


def test_what_needs_no_gradient_gets_none():
    """Where x needs none its gradient is not computed; the strides have theirs."""
    x, s = draw(*SHAPE).detach(), stride_parameter()
    plan = make_plan(SHAPE, STRIDES, ramp="inside")
    (found,) = torch.autograd.grad(resample_as_node(x, s, plan, None, learn=True).sum(), s)
    (expected,) = torch.autograd.grad(diffstride(x, s, plan=plan).sum(), s)
    torch.testing.assert_close(found, expected)


def test_an_empty_batch_has_no_gradient_to_give():
    x, s = draw(0, 3, 12, 10), stride_parameter()
    y = resample_as_node(x, s, make_plan((1, 3, 12, 10), STRIDES, ramp="inside"), None, learn=True)
    y.sum().backward()
    assert s.grad.tolist() == [0.0, 0.0]
