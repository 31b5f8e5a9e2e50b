"""Hard crops whose strides learn, in PyTorch: every form of the layer gives what the core gives."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import spectral_stride as ss
from spectral_stride.torch import (
    DiffStride,
    DiffStrideConv2d,
    SpectralPool,
    diffstride,
    hold_sizes,
    resnet18,
    spectral_pool,
)
from spectral_stride.torch.layers import conv_order
from spectral_stride.torch.training.macs import multiply_accumulates

# Onto half the samples strides learn from the output, onto nearly all of them from the input; one
# axis keeps its size; of long axes the FFT is taken.
CALLS = [
    ((2, 3, 32, 32), (2.0, 2.0)),
    ((2, 3, 20, 17), (1.1, 1.3)),
    ((2, 3, 16, 12), (1.0, 1.6)),
    ((2, 3, 300, 8), (1.0, 2.0)),
]


def start(shape, strides, dtype):
    """An input, and strides."""
    x = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor(strides, dtype=dtype)


def outcome(forward, shape, strides, dtype=torch.float64):
    """The output, and the gradients of a fixed linear functional in input and strides."""
    x, s = (one.requires_grad_() for one in start(shape, strides, dtype))
    y = forward(x, s)
    g = torch.linspace(-1, 1, y.numel(), dtype=dtype).reshape(y.shape).cos()
    return [one.detach() for one in (y, *torch.autograd.grad((y * g).sum(), [x, s]))]


def by_core(x, s):
    """The core's own pullback."""

    class Core(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, s):
            y, ctx.pullback = ss.vjp(x.detach(), s.detach(), hard=True)
            return y.clone()

        @staticmethod
        def backward(ctx, g):
            return ctx.pullback(g)

    return Core.apply(x, s)


def under_torch_func(forward):
    """The same, by `torch.func.vjp`."""

    def run(x, s):
        y, pullback = torch.func.vjp(forward, x, s)
        g = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape).cos()
        return y, *pullback(g)

    return run


@pytest.mark.parametrize(("shape", "strides"), CALLS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_eager_and_transformed_it_is_the_core(shape, strides, dtype):
    plan = ss.make_plan(shape, strides, hard=True)
    expected = outcome(by_core, shape, strides, dtype)

    def pool(x, s):
        return spectral_pool(x, plan.out_sizes) + 0 * s.sum()

    pooled = outcome(pool, shape, strides, dtype)
    limit = {torch.float64: 1e-12, torch.float32: 1e-3}[dtype]
    torch.testing.assert_close(expected[:2], pooled[:2], rtol=limit, atol=limit)
    assert expected[2].abs().min() > 1e-3

    def ours(x, s):
        return diffstride(x, s, plan=plan)

    transformed = under_torch_func(ours)(*start(shape, strides, dtype))
    for found in (outcome(ours, shape, strides, dtype), list(transformed)):
        torch.testing.assert_close(found, expected, rtol=limit, atol=limit)


def test_linearised_for_a_compiled_transform_it_is_the_same():
    shape, strides = CALLS[2]
    plan = ss.make_plan(shape, strides, hard=True)
    run = under_torch_func(lambda x, s: diffstride(x, s, plan=plan))
    arguments = start(shape, strides, torch.float64)
    torch.compiler.reset()
    found = torch.compile(run, fullgraph=True, backend="eager")(*arguments)
    torch.testing.assert_close(found, run(*arguments))


@pytest.mark.parametrize(("shape", "strides"), CALLS)
def test_compiled_it_is_one_node_that_gives_the_same(shape, strides):
    torch.compiler.reset()
    layer = DiffStride(strides, hard=True, dtype=torch.float64)
    x = torch.randn(shape, dtype=torch.float64).to(memory_format=torch.channels_last)
    expected = layer(x)
    expected.square().sum().backward()
    ds, layer.strides.grad = layer.strides.grad, None
    hold_sizes(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    y = compiled(x)
    torch.testing.assert_close(y, expected)
    y.square().sum().backward()
    torch.testing.assert_close(layer.strides.grad, ds)
    layer.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), expected)


def surrogate(x, strides, plan):
    """The hard crop with the soft one's derivatives, axis by axis in plain PyTorch."""
    for axis, size, n in reversed(list(zip(plan.axes, plan.sizes, plan.out_sizes, strict=True))):
        shape = list(x.shape)
        assert shape[axis] == size
        soft = ss.make_plan(shape, (1.0,), axes=(axis,), out_sizes=(size,))
        soft = ss.plan.sized_plan(soft.shape, soft.axes, (n,), 4.0, "inside", "forward", "auto")
        s = strides[axis - len(shape) :][:1]
        moving = diffstride(x, s, plan=soft) - diffstride(x, s.detach(), plan=soft)
        x = spectral_pool(x, (n,), axes=(axis,)) + moving
    return x


@pytest.mark.parametrize("strides", [(2.1, 2.2), (1.0, 1.3)])
def test_second_derivatives_are_those_of_the_soft_crop_in_the_place_of_no_change(strides):
    """Whether strides learn from the input or from the output: the Hessian is one and symmetric."""
    x = torch.randn(2, 12, 14, dtype=torch.float64)
    plan = ss.make_plan(x.shape, strides, hard=True)
    s = torch.tensor(strides, dtype=torch.float64)

    def loss(forward):
        return lambda s: (forward(x, s) ** 3).sum()

    def ours(x, s):
        return diffstride(x, s, plan=plan)

    expected = torch.autograd.functional.hessian(loss(lambda x, s: surrogate(x, s, plan)), s)
    assert (expected - expected.diag().diag()).abs().max() > 1e-3
    for found in (
        torch.autograd.functional.hessian(loss(ours), s),
        torch.func.hessian(loss(ours))(s),
        torch.func.jacfwd(torch.func.jacfwd(loss(ours)))(s),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("first", [True, False], ids=["resampled first", "convolved first"])
@pytest.mark.parametrize("strides", [(2.0, 1.7), (1.0, 2.0)])
def test_a_convolution_in_front_of_a_fixed_crop_is_taken_into_it(first, strides, monkeypatch):
    monkeypatch.setattr(conv_order, "resamples_first", lambda *_: first)
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 6, 3, padding=1, dtype=torch.float64)
    x = torch.randn(2, 3, 15, 14, dtype=torch.float64, requires_grad=True)
    pool = SpectralPool(strides, norm="ortho")
    outcomes = []
    for y in (pool(x, conv), pool(conv(x))):
        g = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape).cos()
        outcomes.append([y, *torch.autograd.grad((y * g).sum(), [x, conv.weight, conv.bias])])
    for found, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, expected)
    with torch.no_grad():
        hard = DiffStride(strides, norm="ortho", hard=True).double()
        torch.testing.assert_close(hard(x, conv), outcomes[0][0])
    torch.compiler.reset()
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, conv), outcomes[0][0])


def test_what_a_fixed_crop_does_not_take():
    with pytest.raises(ValueError, match=r"SpectralPool: conv: got stride \(2, 2\)"):
        SpectralPool(2.0)(torch.ones(1, 3, 8, 8), nn.Conv2d(3, 4, 3, stride=2))
    hooked = nn.Conv2d(3, 4, 3)
    hooked.register_forward_hook(lambda *_: torch.ones(1, 4, 6, 6))
    torch.testing.assert_close(
        SpectralPool(2.0)(torch.zeros(1, 3, 8, 8), hooked), torch.ones(1, 4, 3, 3)
    )


def test_a_network_with_fixed_crops_pays_for_no_full_convolution():
    """As much as one that learns, and holds the same sizes by a hard crop."""
    fixed, learned = (
        multiply_accumulates(resnet18(width=8, downsampling=kind, hard=True), (3, 32, 32))
        for kind in ("spectral", "diffstride")
    )
    assert fixed == learned == 10_715_776


def flops(layer, x):
    """What PyTorch counts in a forward pass."""
    with FlopCounterMode(display=False) as counter:
        layer(x)
    return counter.get_total_flops()


def test_at_stride_one_it_is_the_identity():
    """In eval mode nothing is multiplied; in training the ramps' few bins are."""
    x = torch.randn(2, 3, 32, 32)
    layer, soft = DiffStride(1.0, hard=True), DiffStride(1.0)
    y = layer(x)
    assert torch.equal(y, x)
    assert y.data_ptr() != x.data_ptr()
    assert 0 < flops(layer, x) < flops(soft, x)
    y.square().sum().backward()
    assert layer.strides.grad.abs().min() > 0
    layer.eval()
    with torch.no_grad():
        assert torch.equal(layer(x), x)
        assert flops(layer, x) == 0


def test_at_stride_one_a_convolution_is_the_convolution():
    conv = DiffStrideConv2d(3, 8, 3, strides=1.0, padding=1, hard=True).eval()
    x = torch.randn(2, 3, 16, 16)
    plain = nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), plain)
        assert flops(conv, x) == flops(lambda x: nn.functional.conv2d(x, conv.weight, padding=1), x)


def test_it_is_a_setting_like_any_other():
    """Set later, held or not; shown, copied; refused where nothing is cropped."""
    x = torch.randn(2, 3, 16, 16)
    layer = DiffStride(2.0)
    soft = layer(x)
    hold_sizes(layer)
    layer.hard = True
    assert "hard=True" in repr(layer)
    torch.testing.assert_close(layer(x), SpectralPool(2.0)(x))
    torch.testing.assert_close(copy.deepcopy(layer)(x), SpectralPool(2.0)(x))
    with pytest.raises(ValueError, match=r"DiffStride: hard: got both hard=True and crop"):
        layer.crop = False
    assert layer.crop
    layer.hard = False
    torch.testing.assert_close(layer(x), soft)
