"""spectral_stride.torch.diffstride and spectral_pool: the core, registered with PyTorch."""

import math
import re
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

import spectral_stride as core
from spectral_stride import make_plan
from spectral_stride.axis import AxisMap, Resampling
from spectral_stride.operator import PLAIN, along, gram, pair
from spectral_stride.torch import diffstride, kernels, spectral_pool, spectral_resize
from spectral_stride.torch.kernels import (
    FAST,
    all_axes,
    along_by_convolution,
    gram_by_convolution,
    pair_at_once,
    products_for,
)
from spectral_stride.torch.map_cache import _to_device, constant, learned, learned_map

# Inside the bounds of every size below, and on no corner of a mask: differences see a smooth map.
STRIDES = (1.63, 2.21)
SHAPE = (2, 1, 7, 6)
FORMS = pytest.mark.parametrize("method", ["matmul", "fft"])
RAMPS = pytest.mark.parametrize("ramp", ["outside", "inside"])


def draw(*shape, dtype=torch.float64, requires_grad=True):
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(shape, generator=generator, dtype=dtype)
    return x.requires_grad_(requires_grad)


def stride_parameter(*values, dtype=torch.float64):
    return torch.tensor(values or STRIDES, dtype=dtype, requires_grad=True)


@FORMS
@RAMPS
def test_equals_the_core_on_numpy(method, ramp):
    """Value, dx and dstrides are those of the core, also for clamped strides and on corners."""
    for strides in (STRIDES, (2.0, 1.0), (100.0, 0.5)):
        x, s = draw(*SHAPE), stride_parameter(*strides)
        y = diffstride(x, s, method=method, ramp=ramp)
        g = draw(*y.shape, requires_grad=False)
        gradients = torch.autograd.grad(y, (x, s), g)
        expected, pullback = core.vjp(
            x.detach().numpy(), np.array(strides), method=method, ramp=ramp
        )
        np.testing.assert_allclose(y.detach(), expected, atol=1e-14)
        for got, wanted in zip(gradients, pullback(g.numpy()), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)


@FORMS
@RAMPS
def test_first_and_second_derivatives(method, ramp):
    """gradcheck in reverse and forward mode, batched and not; second order in every pairing.

    Of the second derivatives a random projection is compared, which has all entries in it.
    """
    function = partial(diffstride, method=method, ramp=ramp, smoothness=2.0)
    inputs = (draw(*SHAPE), stride_parameter())
    assert gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(
        function, inputs, check_batched_grad=True, check_fwd_over_rev=True, fast_mode=True
    )


@FORMS
def test_spectral_pool_derivatives(method):
    function = partial(spectral_pool, out_sizes=(4, 3), method=method)
    assert gradcheck(function, (draw(*SHAPE),), check_forward_ad=True)
    assert gradgradcheck(function, (draw(*SHAPE),))


@FORMS
def test_spectral_resize_derivatives(method):
    """One axis grows and one shrinks; the gradient is the way back, up to a number."""
    function = partial(spectral_resize, sizes=(9, 3), method=method)
    assert gradcheck(function, (draw(*SHAPE),), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, (draw(*SHAPE),))
    # And where 5 samples have no more bins than 4.
    same_bins = partial(function, sizes=(5,))
    assert gradcheck(same_bins, (draw(2, 4),), check_batched_grad=True)
    x = draw(*SHAPE)
    y = function(x)
    np.testing.assert_allclose(
        y.detach(), core.spectral_resize(x.detach().numpy(), (9, 3)), atol=1e-14
    )
    g = torch.randn_like(y)
    (dx,) = torch.autograd.grad(y, x, g)
    growth = np.prod(y.shape) / np.prod(SHAPE)
    torch.testing.assert_close(dx, growth * spectral_resize(g, SHAPE[-2:], method=method))


# The last has a bin on the ramp with a share of 0.0025 in the output.
KEPT = {
    "output": ((2, 3, 32, 32), (1.8, 2.15)),
    "samples": ((2, 3, 12, 12), (1.9, 2.1)),
    "input": ((2, 3, 32, 32), (16 / 8.51, 2.1)),
}
inside = partial(diffstride, ramp="inside")


def source(shape, strides):
    """Where the backward pass finds the ramps' coefficients."""
    plan = make_plan(shape, strides, ramp="inside")
    _, how = learned_map(torch.tensor(strides).double(), plan, None, from_output=True)
    if how is None:
        return "input"
    return "samples" if how.keeps_samples else "output"


def test_saves_what_the_strides_need_and_only_for_them():
    """Of an axis the backward pass keeps 8 numbers for its 32, or the one output for all."""

    def saved(shape, strides):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
            y = inside(draw(*shape), strides)
        assert all(tensor.data_ptr() != y.data_ptr() for tensor in kept)
        return y, sorted(tensor.untyped_storage().nbytes() // 8 for tensor in kept)

    for name, (shape, strides) in KEPT.items():
        assert source(shape, strides) == name
        assert saved(shape, torch.tensor(strides).double())[1] == []
    found = {name: saved(shape, stride_parameter(*s)) for name, (shape, s) in KEPT.items()}
    assert found["output"][1] == [2, 6 * 8 * 15, 6 * 18 * 8]
    assert found["input"][1] == [2, 6 * 8 * 16, 6 * 32 * 8]
    y, numbers = found["samples"]
    assert numbers == [2, y.numel()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_strides_without_a_ramp_have_a_zero_tangent(dtype):
    """Of the output's shape and dtype, and not of the strides'."""
    x, strides = torch.ones(2, 16, dtype=dtype), torch.tensor([2.0])
    plan = make_plan((2, 16), (2.0,), smoothness=0)
    y, dy = torch.func.jvp(
        lambda s: diffstride(x, s, plan=plan), (strides,), (torch.ones_like(strides),)
    )
    assert (dy.shape, dy.dtype) == (y.shape, y.dtype) == ((2, 8), dtype)
    assert not dy.any()


@pytest.mark.parametrize("name", KEPT)
def test_derivatives_from_what_is_kept(name):
    """First and second ones, eager and batched; y may be changed in place."""
    shape, strides = KEPT[name]
    x, s = draw(*shape)[:1, :1].detach().requires_grad_(), stride_parameter(*strides)
    assert gradcheck(inside, (x, s), check_batched_grad=True, fast_mode=True)
    assert gradgradcheck(inside, (x, s), check_batched_grad=True, fast_mode=True)
    plain, changed = (inside(x, s) for _ in range(2))
    expected = torch.autograd.grad(plain.sum(), (x, s))
    changed.mul_(3)
    found = torch.autograd.grad(changed.sum(), (x, s))
    torch.testing.assert_close(found, tuple(3 * one for one in expected))


def test_arrays_go_to_a_device_in_one_piece():
    arrays = [np.arange(6.0).reshape(2, 3), np.ones((0, 2)), np.arange(4.0)[::2]]
    found = _to_device(torch.device("cpu"), arrays)
    for one, other in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(one.numpy(), other)
        assert one.untyped_storage().data_ptr() == found[0].untyped_storage().data_ptr()


@pytest.mark.parametrize("first", [torch.float32, torch.float64])
def test_maps_are_kept_for_each_precision(first):
    """Of equal strides, learned, constant or of a hard crop, in whichever one they came first."""
    x, s = draw(2, 24, requires_grad=False), stride_parameter(2.25)
    precisions = [first, torch.float64 if first == torch.float32 else torch.float32]
    for call in (
        lambda x: diffstride(x, s.to(x.dtype)),
        lambda x: diffstride(x, s.detach().to(x.dtype)),
        lambda x: diffstride(x, (2.25,)),
        lambda x: spectral_pool(x, (11,)),
    ):
        learned.clear()
        constant.clear()
        y = {dtype: call(x.to(dtype)) for dtype in precisions}
        error = (y[torch.float32] - y[torch.float64]).abs().max()
        assert 1e-10 < error < 1e-6
        learned.clear()
        constant.clear()
        for dtype in precisions:
            torch.testing.assert_close(y[dtype], call(x.to(dtype)), rtol=0, atol=0)
            learned.clear()
            constant.clear()


def test_strides_alone_may_learn():
    """Their gradient is the same where x has none, and x is then not swept over."""
    for shape, strides in KEPT.values():
        x, s = draw(*shape), stride_parameter(*strides)
        _, expected = torch.autograd.grad(inside(x, s).square().sum(), (x, s))
        (found,) = torch.autograd.grad(inside(x.detach(), s).square().sum(), s)
        torch.testing.assert_close(found, expected)


class Sizes(TorchDispatchMode):
    """Record the shape of every tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = out if isinstance(out, tuple | list) else [out]
        self.seen |= {tuple(t.shape) for t in tensors if isinstance(t, torch.Tensor)}
        return out


@FORMS
def test_stride_gradient_is_skinny(method):
    """Neither an (n x N) matrix nor a full spectrum appears on the way to the strides' gradient."""
    size, batch = 128, 3
    x, s = draw(batch, size, requires_grad=False), stride_parameter(2.2)
    y = diffstride(x, s, method=method)
    with Sizes() as sizes:
        torch.autograd.grad(y.sum(), s)
    n = y.shape[-1]
    assert 80 > n > 40
    assert not sizes.seen & {(n, size), (size, n)}
    assert not sizes.seen & {(batch, size // 2 + 1), (batch, n // 2 + 1)}


def test_only_the_gradients_asked_for():
    """With fixed strides the backward pass is A^T g, and without x's gradient it has no A^T."""
    x, s = draw(3, 128), stride_parameter(2.2)
    y = diffstride(x.detach(), s)
    with Sizes() as sizes:
        torch.autograd.grad(y.sum(), s)
    assert (3, 128) not in sizes.seen
    y = diffstride(x, s.detach())
    with Sizes() as sizes:
        torch.autograd.grad(y.sum(), x)
    assert (3, 128) in sizes.seen
    assert (8, 128) not in sizes.seen  # the ramp's rows


def test_forward_mode_gives_the_cores_tangent():
    x, s = draw(*SHAPE, requires_grad=False), stride_parameter().detach()
    dx, ds = draw(*SHAPE, requires_grad=False) + 1, torch.tensor((0.3, -2.0), dtype=x.dtype)
    with forward_ad.dual_level():
        y = diffstride(forward_ad.make_dual(x, dx), forward_ad.make_dual(s, ds))
        tangent = forward_ad.unpack_dual(y).tangent
    _, expected = core.jvp(x.numpy(), s.numpy(), dx.numpy(), ds.numpy())
    np.testing.assert_allclose(tangent, expected, atol=1e-13)


def test_torch_func_transforms():
    """vmap over inputs and over strides, grad, jacrev, jacfwd and hessian agree with autograd."""
    x, s = draw(*SHAPE), stride_parameter()
    plan = core.make_plan(SHAPE[1:], STRIDES)
    rows = torch.func.vmap(lambda row: diffstride(row, s, plan=plan))(x)
    torch.testing.assert_close(rows, diffstride(x, s))
    both = torch.stack([s, 1.01 * s]).detach()
    pairs = torch.func.vmap(lambda row, one: diffstride(row, one, plan=plan))(x, both)
    singly = [diffstride(row, one, plan=plan) for row, one in zip(x, both, strict=True)]
    torch.testing.assert_close(pairs, torch.stack(singly))

    def energy(strides):
        return diffstride(x.detach(), strides).square().sum()

    (expected,) = torch.autograd.grad(energy(s), s)
    torch.testing.assert_close(torch.func.grad(energy)(s.detach()), expected)
    torch.testing.assert_close(torch.func.jacfwd(energy)(s.detach()), expected)
    torch.testing.assert_close(
        torch.func.hessian(energy)(s.detach()),
        torch.autograd.functional.hessian(energy, s.detach()),
    )


def test_traced_strides_without_a_plan():
    x, strides = draw(2, 16, requires_grad=False), torch.full((2, 1), 2.0)
    with pytest.raises(TypeError, match=r"strides: got .*cannot be read.*make_plan\(x\.shape"):
        torch.func.vmap(diffstride)(x, strides)


@FORMS
def test_autocast(method):
    """Under autocast a matmul takes the lower precision and an FFT stays in float32.

    Masks and matrices are built outside autocast: the result is that of a bfloat16 input.
    """
    x, s = draw(2, 3, 32, 32, dtype=torch.float32), stride_parameter(2.2, 1.7, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = diffstride(x, s, method=method)
        pooled = spectral_pool(x, (16, 16), method=method)
        enlarged = spectral_resize(x, (40, 40), method=method)
        unchanged = diffstride(x.double(), s, method=method)
        y.float().sum().backward()  # autocast is on here too, and must not reach the gradients
    wanted = torch.bfloat16 if method == "matmul" else torch.float32
    assert y.dtype == pooled.dtype == enlarged.dtype == wanted
    assert unchanged.dtype == torch.float64
    assert x.grad.dtype == s.grad.dtype == torch.float32
    exact = diffstride(x.to(wanted), s, method=method)
    torch.testing.assert_close(y, exact, rtol=0, atol=0)
    (expected,) = torch.autograd.grad(exact.float().sum(), s)
    torch.testing.assert_close(s.grad, expected)


@pytest.mark.parametrize(
    ("ramp", "backend"),
    [
        ("outside", "aot_eager"),
        ("inside", "aot_eager"),
        pytest.param(
            "inside",
            "inductor",
            marks=pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs g++"),
        ),
    ],
)
def test_compiled(ramp, backend):
    """One graph, with the value and both gradients of the eager call, at sizes of every kind."""
    torch._dynamo.reset()
    x, s = draw(2, 30, 17, dtype=torch.float32), stride_parameter(2.2, 1.3, dtype=torch.float32)
    plan = core.make_plan(x.shape, (2.2, 1.3), ramp=ramp)
    compiled = torch.compile(partial(diffstride, plan=plan), fullgraph=True, backend=backend)
    y, exact = compiled(x, s), diffstride(x, s, plan=plan)
    torch.testing.assert_close(y, exact)
    g = draw(*y.shape, dtype=torch.float32, requires_grad=False)
    got, wanted = (torch.autograd.grad(out, (x, s), g) for out in (y, exact))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_compiled_inference_has_no_derivative():
    """Under no_grad the graph holds the map alone, also where the strides are a parameter."""
    torch._dynamo.reset()
    x, s = draw(2, 16, dtype=torch.float32), stride_parameter(2.2, dtype=torch.float32)
    plan = core.make_plan(x.shape, (2.2,))
    graphs = CompileCounterWithBackend("eager")
    compiled = torch.compile(partial(diffstride, plan=plan), fullgraph=True, backend=graphs)
    exact = compiled(x, s)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, s), exact.detach())
    nodes = [node for graph in graphs.graphs for node in graph.graph.nodes]
    learns = [node.args[2] for node in nodes if "spectral_stride.resample" in str(node.target)]
    assert learns == [True, False]


def test_exported_with_a_free_batch():
    """torch.export keeps the batch size open and gives the eager values."""

    class Fixed(torch.nn.Module):
        def forward(self, x):
            return diffstride(x, torch.tensor([2.2, 1.3]), plan=plan)

    x = draw(2, 30, 17, dtype=torch.float32, requires_grad=False)
    plan = core.make_plan(x.shape, (2.2, 1.3))
    batch = torch.export.Dim("batch")
    program = torch.export.export(Fixed(), (x,), dynamic_shapes=({0: batch},))
    larger = draw(5, 30, 17, dtype=torch.float32, requires_grad=False)
    torch.testing.assert_close(program.module()(larger), Fixed()(larger))


def test_memory_order_does_not_matter():
    x = draw(2, 6, 16, 16, requires_grad=False)
    last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        diffstride(last, STRIDES), diffstride(x, STRIDES), rtol=0, atol=1e-14
    )


@FORMS
def test_meta_device(method):
    """Shapes without values: everything that is made is made on x's device."""
    x = torch.ones(2, 32, 20, device="meta")
    y = diffstride(x, (2.0, 2.0), method=method)
    assert (y.shape, y.device.type) == ((2, 16, 10), "meta")
    assert spectral_pool(x, (5, 4), method=method).shape == (2, 5, 4)


def test_refuses_other_arrays():
    message = re.escape("x: got ndarray; allowed: a torch.Tensor; instead: convert it first")
    with pytest.raises(TypeError, match=message):
        diffstride(np.ones(8), (2.0,))
    with pytest.raises(TypeError, match=message):
        spectral_pool(np.ones(8), (4,))


@pytest.fixture(params=[1, 2**24], ids=["by axis", "by whole images"])
def always(monkeypatch, request):
    """The faster kernels at every size, and not only where they are faster."""
    for name in ("LEAST_INPUT", "LEAST_ROWS"):
        monkeypatch.setattr(kernels, name, 1)
    monkeypatch.setattr(kernels, "LARGEST_AT_ONCE", request.param)


@pytest.mark.parametrize("shape", [(2, 3, 24, 32), (5, 40), (2, 1, 3, 1, 24), (64,), (2, 3, 8)])
def test_the_faster_product_is_the_product(shape, always):
    """Where values alone are asked for, in float32 on the CPU, and along every axis."""
    x = draw(*shape, dtype=torch.float32, requires_grad=False)
    plain, fast = PLAIN, FAST
    assert products_for(x) == plain  # PyTorch may differentiate it
    with torch.no_grad():
        assert products_for(x) == fast
        assert products_for(x.double()) == products_for(x[..., :0]) == plain
        assert torch.func.vmap(lambda row: row * (products_for(row) == plain))(x).equal(x)
        for axis, size in enumerate(shape):
            rows = draw(7, size, requires_grad=False)
            found = along_by_convolution(rows, x, axis)
            assert found.is_contiguous() == along(rows, x, axis).is_contiguous()
            torch.testing.assert_close(found, along(rows, x, axis), rtol=1e-5, atol=1e-5)


WITH_OTHER_AXES = [((2048, 8, 16), (2,)), ((512, 8, 8, 8), (2, 3)), ((512, 16, 16, 3), (1, 2))]


@pytest.mark.parametrize(("shape", "axes"), WITH_OTHER_AXES)
def test_a_number_that_is_not_finite_spoils_its_own_signal_alone(shape, axes):
    """Along axes that are not resampled nothing is mixed, in small images either."""
    x = draw(*shape, dtype=torch.float32, requires_grad=False)
    x[(0,) * len(shape)] = torch.inf
    for strides in (torch.full((len(axes),), 2.0), stride_parameter(*[2.0] * len(axes))):
        spoilt = ~diffstride(x, strides, axes=axes, ramp="inside").isfinite()
        others = [axis for axis in range(x.ndim) if axis not in axes]
        assert spoilt.any()
        assert not spoilt.nonzero()[:, others].any()


@pytest.mark.parametrize("shape", [(5, 6, 12, 16), (3, 8, 8), (2, 3, 4, 5, 6), (7, 9), (4, 20, 3)])
def test_sums_of_products_along_an_axis(shape, always):
    """Of g y^T over all other axes, by the core and by the faster kernels."""
    names = "abcde"[: len(shape)]
    for axis, name in enumerate(names):
        other = [size if place != axis else 3 for place, size in enumerate(shape)]
        g, y = (draw(*one, dtype=torch.float32, requires_grad=False) for one in (shape, other))
        spec = f"{names},{names.replace(name, 'z')}->{name}z"
        expected = torch.einsum(spec, g.double(), y.double())
        for one in (gram, gram_by_convolution):
            torch.testing.assert_close(one(g, y, axis).double(), expected, rtol=1e-5, atol=1e-4)


def test_sums_of_products_along_a_long_axis_of_narrow_images_stay_small():
    """There a product of each image with itself is larger than the image."""
    images = draw(6, 40, 3, requires_grad=False)
    with Sizes() as sizes:
        gram(images, images, 1)
    assert max(math.prod(shape) for shape in sizes.seen) <= max(images.numel(), 40 * 40)


def built_map(matrices, x, axes):
    """A map of these matrices, along these axes of x; None for an axis that is left."""
    out_sizes = [4 if one is None else one.shape[0] for one in matrices]
    plan = make_plan(x.shape, (2.0,) * len(axes), axes=axes, crop=False)
    maps = []
    for one, n in zip(matrices, out_sizes, strict=True):
        axis_map = one if one is None else AxisMap(x, None, one.shape[1], n, "forward")
        if axis_map is not None:
            axis_map._matrix = one
        maps.append(axis_map)
    return Resampling(plan, tuple(maps))


def test_products_along_all_axes_at_once():
    """Over all of the last axes; left to each axis where that is not known to be faster."""
    x = draw(64, 128, 8, 12, dtype=torch.float32, requires_grad=False)
    first, second = (draw(4, size, requires_grad=False) for size in (8, 12))
    expected = along(first.double(), along(second.double(), x.double(), 3), 2)
    for matrices in ([first, second], [first.mT.contiguous().mT, second]):
        op = built_map(matrices, x, (2, 3))
        found = all_axes(op, x, False)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)
        back = along(first.double().mT, along(second.double().mT, expected, 3), 2)
        found = all_axes(op, torch.cat([found] * 6), True)[:64]
        torch.testing.assert_close(found.double(), back, rtol=1e-5, atol=1e-3)
    assert all_axes(built_map([second], x, (3,)), x, False) is None
    assert all_axes(built_map([first, None], x, (2, 3)), x, False) is None
    assert all_axes(built_map([first, second], x.mT, (3, 2)), x.mT, False) is None
    turned = x.permute(2, 0, 1, 3)
    assert all_axes(built_map([first, first], turned, (0, 1)), turned, False) is None
    # Of so few samples its call would cost more.
    assert all_axes(built_map([first, second], x[:1], (2, 3)), x[:1], False) is None
    tall, long = draw(32, 8, requires_grad=False), draw(32, 12, requires_grad=False)
    assert all_axes(built_map([tall, long], x, (2, 3)), x, False) is None


def test_the_faster_pairing_is_the_pairing():
    """Also of tensors that are not contiguous, and in the dtype of the strides."""
    p, q = (draw(4, 3, 24, 8, requires_grad=False).mT for _ in range(2))
    expected = pair(p, q, (2, 3))
    assert expected.shape == (4, 3, 1, 1)
    torch.testing.assert_close(pair_at_once(p, q, (2, 3)), expected.sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mean", [0, 10])
@pytest.mark.parametrize("name", KEPT)
def test_gradients_by_the_faster_kernels(name, mean, always):
    """Forward and backward in float32; the core in float64 is the truth."""
    shape, strides = KEPT[name]
    x = (draw(*shape, dtype=torch.float32) + mean).detach().requires_grad_()
    s = stride_parameter(*strides, dtype=torch.float32)
    y = inside(x, s)
    g = draw(*y.shape, dtype=torch.float32, requires_grad=False) + mean
    found = y, *torch.autograd.grad(y, (x, s), g)
    array, values, cotangent = (value.detach().double().numpy() for value in (x, s, g))
    expected, pullback = core.vjp(array, values, ramp="inside")
    for got, wanted in zip(found, (expected, *pullback(cotangent)), strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(got.detach(), wanted, rtol=0, atol=(1e-5 + 2e-5 * mean) * scale)


def test_what_is_kept_where_the_output_will_not_do():
    """In half precision it is too coarse; a spectrum has the coefficients anyway."""
    shape, strides = KEPT["output"]

    def saved(x, **options):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
            inside(x, stride_parameter(*strides), **options)
        return sorted(tensor.numel() for tensor in kept)

    passing = [2, 6 * 8 * 15, 6 * 32 * 8]
    assert saved(draw(*shape)) != passing
    assert saved(draw(*shape).bfloat16()) == passing
    assert saved(draw(*shape), method="fft") == passing


@pytest.mark.parametrize("strides", [(40.0, 2.15), (2.15, 40.0)])
def test_beyond_the_bounds_the_output_will_do_to_every_order(strides):
    """Whatever is kept: a transform keeps the coefficients that pass, an eager call the output."""
    shape = KEPT["output"][0]
    assert source(shape, strides) != "input"
    x = draw(*shape, requires_grad=False)
    plan = make_plan(shape, strides, ramp="inside")

    def energy(s):
        return diffstride(x, s, plan=plan).tanh().square().sum()

    s = torch.tensor(strides, dtype=torch.float64)
    found = torch.autograd.functional.hessian(energy, s)
    torch.testing.assert_close(found, torch.func.hessian(energy)(s))
    torch.testing.assert_close(found, found.T)
