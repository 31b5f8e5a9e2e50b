"""Layers under torch.func, autocast, checkpointing, memory formats, and on the meta device."""

import copy
import pickle

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import spectral_stride as core
from spectral_stride import make_plan
from spectral_stride.torch import (
    DiffStride,
    SpectralPool,
    diffstride,
    hold_sizes,
    map_cache,
    spectral_pool,
)

STRIDES = (1.63, 2.21)
SHARED = pytest.mark.parametrize("shared", [False, True])
HELD = pytest.mark.parametrize("held", [False, True], ids=["following", "held"])


def draw(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def layer_of(shared=False, held=True, dtype=torch.float64, **options):
    """A layer, and its strides as a plain tensor."""
    strides = 1.8 if shared else STRIDES
    layer = DiffStride(strides, shared=shared, ramp="inside", dtype=dtype, **options)
    if held:
        hold_sizes(layer)
    return layer, layer.strides.detach().clone()


def energy_of(layer, x):
    return lambda strides: functional_call(layer, {"strides": strides}, (x,)).square().sum()


def reference_of(layer, x):
    """The same energy through the function, with the layer's own strides as the plan."""
    plan = make_plan(x.shape, layer.effective_strides().tolist(), ramp="inside")

    def energy(strides):
        return diffstride(x, strides.expand(2), plan=plan).square().sum()

    return energy


@SHARED
def test_derivatives_in_the_strides_of_a_held_layer(shared):
    """grad, jacrev, jacfwd, jvp and hessian through functional_call equal the function's."""
    layer, strides = layer_of(shared)
    x = draw(2, 3, 14, 12)
    energy, reference = energy_of(layer, x), reference_of(layer, x)
    point = strides.clone().requires_grad_()
    (expected,) = torch.autograd.grad(reference(point), point)
    assert bool((expected != 0).all())
    for transform in (grad, jacrev, jacfwd):
        torch.testing.assert_close(transform(energy)(strides), expected)
    direction = torch.linspace(1.0, -2.0, len(strides), dtype=strides.dtype)
    value, tangent = jvp(energy, (strides,), (direction,))
    torch.testing.assert_close(value, reference(strides))
    torch.testing.assert_close(tangent, expected @ direction)
    second = torch.autograd.functional.hessian(reference, strides)
    assert bool((second != 0).any())
    torch.testing.assert_close(hessian(energy)(strides), second)


@pytest.mark.parametrize("by_matrix", [True, False])
@pytest.mark.parametrize("ramp", ["inside", "outside"])
def test_forward_mode_over_forward_mode(ramp, by_matrix):
    """Second and third derivatives in the strides, and mixed ones, are those of reverse mode."""
    x, strides = draw(2, 21, 20), torch.tensor(STRIDES, dtype=torch.float64)
    method = "matmul" if by_matrix else "fft"
    plan = make_plan(x.shape, STRIDES, ramp=ramp, method=method)

    def energy(x, strides):
        return diffstride(x, strides, plan=plan).square().sum()

    def slope(x, strides):
        return jvp(lambda s: energy(x, s), (strides,), (torch.ones_like(strides),))[1]

    torch.testing.assert_close(
        jacfwd(jacfwd(energy, 1), 1)(x, strides), jacrev(jacrev(energy, 1), 1)(x, strides)
    )
    torch.testing.assert_close(jacfwd(slope)(x, strides), jacrev(slope)(x, strides))
    torch.testing.assert_close(
        jacrev(jacfwd(jacfwd(energy, 1), 1), 1)(x, strides),
        jacrev(jacrev(jacrev(energy, 1), 1), 1)(x, strides),
    )


def test_vmap_over_inputs_and_over_an_ensemble_of_strides():
    layer, strides = layer_of()
    x = draw(3, 2, 14, 12)
    torch.testing.assert_close(vmap(layer)(x), layer(x))
    ensemble = torch.stack([strides, 1.02 * strides, 0.98 * strides])
    outputs = vmap(lambda s, row: functional_call(layer, {"strides": s}, (row,)))(ensemble, x)
    singly = [functional_call(layer, {"strides": s}, (row,)) for s, row in zip(ensemble, x)]  # noqa: B905
    torch.testing.assert_close(outputs, torch.stack(singly))
    per_sample = vmap(grad(lambda s, row: energy_of(layer, row)(s)), in_dims=(None, 0))(strides, x)
    expected = [grad(energy_of(layer, row))(strides) for row in x]
    torch.testing.assert_close(per_sample, torch.stack(expected))


def test_sizes_that_follow_cannot_be_batched():
    """Their strides are read, and a batch of them has no single size: the error says what to do."""
    layer, strides = layer_of(held=False)
    x = draw(2, 14, 12)
    message = r"DiffStride: strides: got a parameter whose values cannot be read.*hold_sizes\(net\)"
    with pytest.raises(TypeError, match=message):
        vmap(lambda s: functional_call(layer, {"strides": s}, (x,)))(strides[None])


def test_per_sample_gradients_of_a_following_layer():
    """vmap over inputs alone leaves the strides readable."""
    layer, _ = layer_of(held=False)
    x = draw(3, 2, 14, 12)
    torch.testing.assert_close(vmap(layer)(x), layer(x))


@HELD
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(held, dtype):
    """The output is that of an input in autocast's dtype; gradients arrive in full precision."""
    layer, _ = layer_of(held=held, dtype=torch.float32)
    x = draw(2, 3, 16, 16, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        y, pooled = layer(x), SpectralPool(2.0)(x)
    assert y.dtype == pooled.dtype == dtype
    torch.testing.assert_close(y, layer(x.to(dtype)), rtol=0, atol=0)
    (y.float().sum() + pooled.float().sum()).backward()
    assert x.grad.dtype == layer.strides.grad.dtype == torch.float32


@HELD
@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("stride", [2.2, 40.0], ids=["feasible", "clamped"])
def test_checkpointing_changes_no_gradient(held, use_reentrant, stride):
    layer, _ = layer_of(held=held)
    with torch.no_grad():
        layer.strides.fill_(stride)
    plain = copy.deepcopy(layer)
    x, again = (draw(2, 3, 16, 16).requires_grad_() for _ in range(2))
    y = checkpoint(layer, x, use_reentrant=use_reentrant)
    expected = plain(again)
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    y.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, again.grad)
    torch.testing.assert_close(layer.strides.grad, plain.strides.grad)
    torch.testing.assert_close(layer.strides, plain.strides)


FORMATS = pytest.mark.parametrize(
    ("shape", "form"),
    [
        ((2, 3, 14, 12), torch.channels_last),
        ((2, 3, 6, 7, 8), torch.channels_last_3d),
        ((1, 5, 14, 12), torch.channels_last),
    ],
)
METHODS = pytest.mark.parametrize("method", ["matmul", "fft"])


@METHODS
@FORMATS
def test_channels_last_comes_in_and_goes_out(shape, form, method):
    """Values and gradients of the contiguous tensor; a matmul keeps its gradient's format too."""
    strides = (2.2,) * (len(shape) - 2)
    layer = DiffStride(strides, method=method, ramp="inside", dtype=torch.float64)
    pool = SpectralPool(strides, method=method)
    plain = draw(*shape).requires_grad_()
    last = draw(*shape).to(memory_format=form).requires_grad_()
    for module in (layer, pool):
        expected, y = module(plain), module(last)
        assert y.is_contiguous(memory_format=form)
        assert not y.is_contiguous()
        torch.testing.assert_close(y, expected)
        inputs = [module.strides] if module is layer else []
        g = draw(*y.shape)
        gradients = torch.autograd.grad(y, [last, *inputs], g.to(memory_format=form))
        assert method == "fft" or gradients[0].is_contiguous(memory_format=form)
        torch.testing.assert_close(
            gradients, torch.autograd.grad(expected, [plain, *inputs], g), atol=1e-12, rtol=1e-12
        )


@METHODS
def test_channels_last_with_other_axes(method):
    """Whatever the axes, the channels among them: the order of the memory is kept."""
    x = draw(2, 6, 14, 12)
    last = x.to(memory_format=torch.channels_last)
    for axes in ((1,), (3, 1), (0, 2), (-1, -2, -3)):
        strides = (1.7, 2.2, 1.3)[: len(axes)]
        y = diffstride(last, strides, axes=axes, method=method)
        torch.testing.assert_close(y, diffstride(x, strides, axes=axes, method=method))
        assert y.is_contiguous(memory_format=torch.channels_last)
    y = spectral_pool(last, (4, 3), axes=(3, 1), method=method)
    torch.testing.assert_close(y, spectral_pool(x, (4, 3), axes=(3, 1), method=method))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(2, 1, 9, 8), (2, 3, 1, 1), (0, 3, 9, 8), (1, 1, 1, 1)])
def test_ambiguous_and_empty_formats(shape):
    """Where both formats are one, or nothing is resampled, values and gradients are the same."""
    x, last = draw(*shape).requires_grad_(), draw(*shape).to(memory_format=torch.channels_last)
    last.requires_grad_()
    layer, _ = layer_of(held=False)
    y, expected = layer(last), layer(x)
    torch.testing.assert_close(y, expected)
    g = draw(*y.shape)
    gradients = torch.autograd.grad(y, (last, layer.strides), g)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (x, layer.strides), g))


def test_vmap_over_a_channels_last_batch():
    layer, _ = layer_of()
    x = draw(4, 2, 3, 14, 12)
    last = x.to(memory_format=torch.channels_last_3d)
    strided = torch.stack([one.to(memory_format=torch.channels_last) for one in x])
    for batch in (last, strided, x):
        torch.testing.assert_close(vmap(layer)(batch), vmap(layer)(x))


def test_meta_device():
    """A held layer needs no values; where sizes follow, the error says what is missing."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), DiffStride(2.0, ramp="inside"))
    with torch.no_grad():
        net[1].strides.fill_(4.0)
    x = torch.ones(2, 3, 32, 32, device="meta", requires_grad=True)
    with pytest.raises(TypeError, match=r"DiffStride: strides: got .*cannot be read.*hold_sizes"):
        copy.deepcopy(net).to("meta")(x)
    hold_sizes(net)
    y = net.to("meta")(x)
    assert (y.shape, y.device.type) == ((2, 4, 8, 8), "meta")
    y.sum().backward()
    assert net[1].strides.grad.is_meta
    born = DiffStride(2.0, ramp="inside", device="meta")
    assert not hold_sizes(born)
    assert born(x).shape == (2, 3, 16, 16)


def test_copies_of_held_layers_hold():
    layer, _ = layer_of()
    x = draw(2, 3, 14, 12)
    expected = layer(x)
    with torch.no_grad():
        layer.strides.mul_(2)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other(x).shape == expected.shape
        torch.testing.assert_close(other(x), layer(x), rtol=0, atol=0)
        assert hold_sizes(other)
        assert other(x).shape < expected.shape
    assert layer(x).shape == expected.shape


TRANSFORMS = {
    "grad": lambda f: torch.func.grad(lambda x: f(x).square().sum()),
    "jvp": lambda f: lambda x: torch.func.jvp(f, (x,), (x,))[1],
    "jacrev": lambda f: lambda x: torch.func.jacrev(f)(x[0]),
    "vmap of grad": lambda f: torch.func.vmap(torch.func.grad(lambda x: f(x).square().sum())),
    "vmap": torch.func.vmap,
    "functionalize": torch.func.functionalize,
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_constant_strides_under_a_transform_that_comes_first(name):
    """What is kept of a map is made outside of transforms and modes, or not kept."""
    x = torch.randn(3, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def function(x):
        return diffstride(x, (2.5, 1.7))

    exact = torch.from_numpy(core.diffstride(x.numpy(), (2.5, 1.7)))
    map_cache.constant.clear()
    first = TRANSFORMS[name](function)(x)
    torch.testing.assert_close(function(x), exact)
    assert type(function(x)) is torch.Tensor
    torch.testing.assert_close(TRANSFORMS[name](function)(x), first)


def test_a_fake_mode_leaves_nothing_behind():
    layer = DiffStride((2.5, 1.7), trainable=False)
    x = torch.randn(3, 12, 10)
    map_cache.constant.clear()
    with FakeTensorMode(allow_non_fake_inputs=True):
        layer(x)
    y = layer(x)
    assert type(y) is torch.Tensor
    torch.testing.assert_close(y, torch.from_numpy(core.diffstride(x.numpy(), (2.5, 1.7))))


def test_tensors_are_plain_while_they_are_counted_alone():
    """PyTorch's counter makes none of its own, so that it counts what runs without it."""
    assert map_cache.is_plain_eager()
    with FlopCounterMode(display=False):
        assert map_cache.is_plain_eager()
        with FakeTensorMode():
            assert not map_cache.is_plain_eager()
