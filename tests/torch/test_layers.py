"""DiffStride and SpectralPool as modules: shapes, a parameter that cannot die, checkpoints."""

import copy
import gc
import pickle
import re
import weakref
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

import spectral_stride as core
from spectral_stride import make_plan
from spectral_stride.torch import (
    DiffStride,
    DiffStrideConv2d,
    SpectralPool,
    autograd,
    diffstride,
    hold_sizes,
    map_cache,
    param_groups,
    project_strides,
    release_sizes,
    spectral_pool,
)
from spectral_stride.torch.layers.held_sizes import HeldSizes
from tests.changed_settings import CHANGES, REFUSED, START, STRIDES
from tests.nonsense import answers_or_refuses, nonsense


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def backward(layer, x, weight=1.0):
    layer.zero_grad()
    (weight * layer(x).square().sum()).backward()
    return layer.strides.grad


@pytest.mark.parametrize(
    ("strides", "shape", "expected"),
    [
        ((2.0,), (4, 3, 50), (4, 3, 25)),
        ((2.0, 3.0), (4, 3, 32, 33), (4, 3, 16, 11)),
        ((2.0, 2.0, 1.5), (1, 2, 8, 9, 12), (1, 2, 4, 5, 8)),
    ],
)
def test_rank_is_the_number_of_strides(strides, shape, expected):
    assert DiffStride(strides, ramp="inside")(image(*shape)).shape == expected
    assert SpectralPool(strides)(image(*shape)).shape == expected


def test_scalar_strides():
    """A scalar means images, or as many axes as ndim says."""
    assert DiffStride().strides.tolist() == [2.0, 2.0]
    assert DiffStride(3.0, ndim=1).strides.tolist() == [3.0]
    assert DiffStride(3, ndim=3).strides.tolist() == [3.0, 3.0, 3.0]
    assert DiffStride(2.0)(image(2, 3, 32, 32)).shape == (2, 3, 16, 16)
    # Nothing but the ramp tells the published layer's sizes from those of a strided convolution.
    assert DiffStride(2.0, ramp="outside")(image(2, 3, 32, 32)).shape == (2, 3, 24, 24)
    assert DiffStride(2.0)(image(2, 3, 16, 16)).shape == (2, 3, 8, 8)


def test_strides_may_be_an_array():
    for strides in (torch.tensor([2.0, 3.0]), torch.tensor([2.0, 3.0]).numpy()):
        assert DiffStride(strides).strides.tolist() == [2.0, 3.0]


def test_channels_last():
    x = image(2, 3, 20, 18)
    for layer, last in [
        (DiffStride((2.0, 3.0)), DiffStride((2.0, 3.0), axes=(1, 2))),
        (SpectralPool(2.0), SpectralPool(2.0, axes=(1, 2))),
    ]:
        torch.testing.assert_close(last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), layer(x))


def test_options_reach_the_operator():
    x = image(2, 3, 32, 30)
    options = {"smoothness": 2.0, "ramp": "inside", "norm": "ortho", "multiple_of": 4}
    layer = DiffStride((2.1, 2.6), **options, method="fft")
    torch.testing.assert_close(layer(x), diffstride(x, (2.1, 2.6), **options))
    assert layer(x).shape == (2, 3, 16, 12)
    assert DiffStride(2.0, crop=False)(x).shape == x.shape
    pooled = SpectralPool(2.5, norm="ortho")(x)
    assert pooled.shape == (2, 3, 13, 12)
    torch.testing.assert_close(SpectralPool(out_sizes=(13, 12), norm="ortho")(x), pooled)


def test_spectral_pool_has_the_sizes_of_a_strided_convolution():
    for size in range(1, 40):
        for stride in (1, 2, 3, 5):
            conv = torch.nn.Conv1d(1, 1, 3, stride, padding=1)
            x = torch.ones(1, 1, size)
            assert SpectralPool((stride,))(x).shape == conv(x).shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "layer",
    [
        lambda dtype: DiffStride((1.4, 2.8), ramp="inside", dtype=dtype),
        lambda dtype: DiffStrideConv2d(3, 3, 1, (1.4, 2.8), ramp="inside", dtype=dtype),
        lambda dtype: SpectralPool((1.4, 2.8)),
    ],
    ids=["DiffStride", "DiffStrideConv2d", "SpectralPool"],
)
def test_a_stride_of_tenths_has_the_size_of_that_number(layer, dtype):
    """1.4 in float32 is 1.39999998, and 14/1.4 is no 10.0000002 for that."""
    made = layer(dtype)
    x = torch.ones(1, 3, 14, 14, dtype=dtype)
    assert made(x).shape[-2:] == (10, 5)
    if isinstance(made, DiffStride):
        made.hold_sizes()
        assert made(x).shape[-2:] == (10, 5)
        made.release_sizes()
    assert made.eval()(x).shape[-2:] == (10, 5)


def test_shared_stride():
    """One parameter for all axes, whose gradient is the sum of theirs."""
    x = image(2, 3, 32, 30)
    shared, free = DiffStride(2.2, shared=True), DiffStride(2.2)
    assert shared.strides.shape == (1,)
    torch.testing.assert_close(shared(x), free(x))
    torch.testing.assert_close(backward(shared, x), backward(free, x).sum(dim=0, keepdim=True))


def test_fixed_strides():
    layer = DiffStride(2.0, trainable=False)
    assert not layer.strides.requires_grad
    assert not layer(image(2, 3, 16, 16)).requires_grad


def test_learns_the_stride_that_passes_a_wave():
    """Asked to pass a wave in bin 6 of 32, a stride that weakens it shrinks until it passes."""
    wave = torch.cos(2 * torch.pi * 6 * torch.arange(32) / 32)[None]
    layer = DiffStride((2.6,), ramp="inside")
    assert layer(wave).amax() < 0.5
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        (1 - layer(wave).amax()).square().backward()
        optimizer.step()
    assert layer.strides.item() < 1.8
    assert layer(wave).amax() > 0.95


@pytest.mark.parametrize("ramp", ["outside", "inside"])
@pytest.mark.parametrize("thrown_to", [-50.0, 0.0, 0.75, 1e6])
def test_an_infeasible_parameter_is_used_clamped_and_can_come_back(ramp, thrown_to):
    """Nothing is written, and the gradient that leads back is the whole one of the bound."""
    x = image(2, 3, 32, 32)
    layer = DiffStride(2.0, ramp=ramp)
    set_strides(layer, thrown_to, thrown_to)
    bound = 16.0 if thrown_to > 1 else 1.0
    torch.testing.assert_close(layer(x), diffstride(x, (bound, bound), ramp=ramp))
    at_bound = backward(DiffStride(bound, ramp=ramp), x)
    back = 1.0 if (bound > 1) == bool(at_bound[0] > 0) else -1.0
    torch.testing.assert_close(backward(layer, x, weight=back), back * at_bound)
    assert bool((at_bound != 0).all())
    assert backward(layer, x, weight=-back).tolist() == [0.0, 0.0]
    assert layer.strides.tolist() == [thrown_to] * 2


def test_one_layer_sees_several_sizes():
    """A small input clamps its own call; the parameter keeps what larger inputs can use."""
    layer = DiffStride(10.0, ramp="inside")
    large, small = image(2, 3, 64, 64), image(2, 3, 8, 8)
    expected = layer(large)
    for _ in range(3):
        assert layer(small).shape == (2, 3, 2, 2)
        backward(layer, small)
    assert layer.strides.tolist() == [10.0, 10.0]
    torch.testing.assert_close(layer(large), expected)


def test_the_largest_input_decides_in_whatever_order_inputs_come():
    """Also when a small input was there first, and in one graph with the large one."""
    small, large = image(2, 3, 8, 8), image(2, 3, 64, 64)
    for inputs in ((small, large), (large, small)):
        layer = DiffStride(2.0, ramp="inside")
        layer(small)
        with torch.no_grad():
            layer.strides.fill_(10.0)
        sum(layer(x).square().sum() for x in inputs).backward()
        assert layer.strides.tolist() == [10.0, 10.0]


def test_graphs_survive_that_the_parameter_is_projected():
    """Several graphs of one parameter, which is projected before any goes backward."""
    layer = DiffStride(2.0, ramp="inside", upper=3.0)
    set_strides(layer, 5.0, 5.0)
    first, penalty = layer(image(2, 3, 8, 8)), layer.effective_strides().prod()
    second = layer(image(2, 3, 64, 64))
    project_strides(layer)
    for part in (first.square().sum(), penalty.square(), second.square().sum()):
        part.backward()
    assert layer.strides.tolist() == [3.0, 3.0]


def test_a_graph_with_the_parameter_itself_survives_too():
    """One call clamps, the next can use the parameter as it is."""
    layer = DiffStride(2.0, ramp="inside")
    small, large = image(2, 3, 8, 8), image(2, 3, 64, 64)
    layer(small)
    with torch.no_grad():
        layer.strides.fill_(10.0)
    clamped, free = layer(small), layer(large)
    clamped.square().sum().backward()
    free.square().sum().backward()
    assert layer.strides.tolist() == [10.0, 10.0]


def test_own_bounds():
    layer = DiffStride(3.0, lower=2.0, upper=4.0, ramp="inside")
    x = image(2, 3, 32, 32)
    for thrown_to, bound in [(1.0, 2.0), (9.0, 4.0)]:
        with torch.no_grad():
            layer.strides.fill_(thrown_to)
        torch.testing.assert_close(layer(x), diffstride(x, (bound, bound), ramp="inside"))
        assert layer.effective_strides().tolist() == [bound, bound]
        signs = [bool((backward(layer, x, weight=sign) != 0).all()) for sign in (1.0, -1.0)]
        assert sorted(signs) == [False, True]
        assert layer.strides.tolist() == [thrown_to, thrown_to]
        project_strides(layer)
        assert layer.strides.tolist() == [bound, bound]


def test_any_optimizer_step_leaves_a_usable_layer():
    """Wild steps of several optimizers: the next forward pass always works, and gradients live."""
    x = image(2, 3, 16, 16)
    for make in (torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop):
        layer = DiffStride(2.0)
        optimizer = make(layer.parameters(), lr=30.0)
        for step in range(12):
            assert bool(layer(x).isfinite().all())
            assert all(1 <= stride <= 8 for stride in layer.effective_strides().tolist())
            signs = [backward(layer, x, weight=sign).clone() for sign in (1.0, -1.0)]
            assert bool((sum(gradient.abs() for gradient in signs) > 0).all())
            backward(layer, x, weight=(-1.0) ** step)
            optimizer.step()


def test_shared_between_calls_of_one_graph():
    """A layer used twice, with a parameter that needs clamping, still differentiates."""
    layer = DiffStride(2.0, ramp="inside")
    with torch.no_grad():
        layer.strides.fill_(0.2)
    (layer(image(2, 3, 16, 16)).sum() + layer(image(1, 3, 9, 9)).square().sum()).backward()
    assert bool((layer.strides.grad != 0).all())
    assert layer.strides.tolist() == [pytest.approx(0.2)] * 2


def test_checkpoints_copies_and_devices():
    x = image(2, 3, 32, 32)
    layer = DiffStride((2.3, 3.1), smoothness=3.0, upper=6.0)
    expected = layer(x)
    loaded = DiffStride(2.0, smoothness=3.0, upper=6.0)
    loaded.load_state_dict(layer.state_dict())
    for other in (loaded, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(x), expected, rtol=0, atol=0)
        torch.testing.assert_close(backward(other, x), backward(layer, x))
    double = copy.deepcopy(layer).to(torch.float64)
    assert double.strides.dtype == torch.float64
    torch.testing.assert_close(double(x.double()).float(), expected)
    assert DiffStride(2.0, device="meta").strides.is_meta
    assert "on meta" in repr(DiffStride(2.0, device="meta"))


def test_a_checkpoint_of_an_infeasible_moment_can_be_loaded():
    """What an optimizer has left is saved as it is, and used clamped wherever it is loaded."""
    layer, x = DiffStride((2.0, 3.0)), image(2, 3, 16, 16)
    set_strides(layer, -4.0, 2.5)
    loaded = DiffStride(2.0)
    loaded.load_state_dict(copy.deepcopy(layer.state_dict()))
    assert loaded.strides.tolist() == [-4.0, 2.5]
    torch.testing.assert_close(loaded(x), layer(x), rtol=0, atol=0)


def test_a_penalty_reads_strides_that_left_their_range():
    """As they are, where it reads the parameter itself."""
    layer = DiffStride(2.0, ramp="inside")
    set_strides(layer, 0.8, 2.0)
    y = layer(torch.ones(2, 3, 16, 16)).square().sum()  # DC alone: no gradient in the strides
    (y + layer.strides.square().sum()).backward()
    torch.testing.assert_close(layer.strides.grad, torch.tensor([1.6, 4.0]))


def test_strides_set_by_hand_are_kept():
    """Before any input has shown what is usable, every stride of at least 1 may be."""
    layer = DiffStride(2.0, ramp="inside")
    with torch.no_grad():
        layer.strides.fill_(5.0)
    assert layer.state_dict()["strides"].tolist() == [5.0, 5.0]
    assert layer.effective_strides().tolist() == [5.0, 5.0]
    assert layer(image(1, 1, 20, 20)).shape == (1, 1, 4, 4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_checkpoint_is_refused_and_changes_nothing(value):
    layer = DiffStride(2.0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3), layer)
    state = copy.deepcopy(model.state_dict())
    state["1.strides"][1] = value
    message = rf"1\.strides in the checkpoint: strides: got {value} at position 1; allowed: finite"
    with pytest.raises(RuntimeError, match=message):
        model.load_state_dict(state)
    assert layer.strides.tolist() == [2.0, 2.0]


def test_a_checkpoint_in_another_dtype_is_read_as_the_parameter_will_have_it():
    """A float64 stride of 1e300 would be infinite in float32; assigned, it stays what it is."""
    for saved, message in (
        (
            torch.tensor([1e300, 2.0], dtype=torch.float64),
            r"got 1e\+300 at position 0; allowed: finite numbers, as torch\.float32",
        ),
        (torch.tensor([2.0, 2.0]).to_sparse(), "got a sparse_coo tensor; .*to_dense"),
        (torch.tensor([2j, 2.0]), r"got dtype torch\.complex64"),
        (torch.tensor([True, True]), r"got dtype torch\.bool"),
    ):
        layer = DiffStride(3.0)
        with pytest.raises(RuntimeError, match=rf"strides in the checkpoint: strides: {message}"):
            layer.load_state_dict({"strides": saved})
        assert layer.strides.tolist() == [3.0, 3.0]
    large = torch.tensor([1e300, 2.0], dtype=torch.float64)
    layer.load_state_dict({"strides": large}, assign=True)
    assert layer.strides.tolist() == [1e300, 2.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_parameter_that_training_broke_is_reported(value):
    layer = DiffStride(2.0)
    with torch.no_grad():
        layer.strides[0] = value
    with pytest.raises(
        ValueError, match=rf"strides: got the parameter \[{value}, 2\.0\].*stride_lr"
    ):
        layer(image(1, 1, 8, 8))


@pytest.mark.parametrize("shape", [(1, 1, 8, 40), (1, 1, 40, 8)])
def test_a_shared_stride_reaches_as_far_as_the_longest_axis_can_use(shape):
    layer = DiffStride(2.0, shared=True)
    layer(image(*shape))
    set_strides(layer, float("inf"))
    project_strides(layer)
    assert layer.strides.tolist() == [20.0]


def test_the_settings_of_a_pool_reach_the_operator():
    x = image(1, 2, 33, 30)
    for norm in ("ortho", "backward"):
        wanted = spectral_pool(x, (17, 15), norm=norm)
        torch.testing.assert_close(SpectralPool(2.0, norm=norm)(x), wanted)
    for method in ("fft", "matmul"):
        _, plan = SpectralPool(2.0, method=method)._planned(x, None)
        assert plan.methods == (method, method)


def test_the_printed_strides_are_those_that_are_used():
    layer = DiffStride((2.0, 1.23456), ramp="inside")
    layer(image(1, 3, 32, 32))
    set_strides(layer, 1e6, 1.23456)
    assert repr(layer).startswith("DiffStride(strides=[16.0, 1.2346], ")
    assert repr(DiffStride(2.0, device="meta")).startswith("DiffStride(strides=on meta, ")


def test_training_is_the_mode_without_a_word():
    assert DiffStride(2.0).eval().train().training


@pytest.mark.parametrize(
    ("state", "then", "message"),
    [
        ({}, 2.5, 'Missing key(s) in state_dict: "strides"'),
        (
            {"strides": torch.full((2,), 3.0), "other": torch.ones(1)},
            3.0,  # PyTorch takes what it can use
            'Unexpected key(s) in state_dict: "other"',
        ),
        ({"strides": torch.ones(3)}, 2.5, "size mismatch for strides"),
        (
            {"strides": torch.tensor([float("nan"), 2.0])},
            2.5,
            "strides in the checkpoint: strides: got nan at position 0; allowed: finite numbers, "
            "as torch.float32; instead: take an earlier checkpoint",
        ),
    ],
)
def test_what_does_not_fit_a_layer_is_told(state, then, message):
    layer = DiffStride(2.5)
    with pytest.raises(RuntimeError, match=re.escape(message)):
        layer.load_state_dict(state)
    assert layer.strides.tolist() == [then, then]


def test_each_stride_is_brought_to_its_own_bound():
    """To all of its digits, in the parameter's precision."""
    layer = DiffStride(2.0, ramp="inside", upper=3.3, dtype=torch.float64)
    layer(image(1, 3, 64, 4))
    set_strides(layer, float("inf"), float("inf"))
    project_strides(layer)
    assert layer.strides.tolist() == [3.3, 2.0]


def test_a_gradient_of_any_size_is_projected():
    """Outward none, inward the whole of it: on either side, and inside of the bounds."""
    strides = torch.tensor([0.5, 0.5, 9.0, 9.0, 2.0])
    g = torch.tensor([0.25, -0.25, -0.25, 0.25, 0.25])
    found = autograd.project(g, strides, (1.0,) * 5, (8.0,) * 5)
    assert found.tolist() == [0.0, -0.25, 0.0, 0.25, 0.25]


def test_a_parametrized_weight_leaves_the_strides_to_the_layer():
    layer = DiffStrideConv2d(3, 4, 3, 2.0, upper=3.0)
    parametrize.register_parametrization(layer, "weight", nn.Identity())
    set_strides(layer, 5.0, 5.0)
    project_strides(layer)
    assert layer.strides.tolist() == [3.0, 3.0]


def test_loaded_strides_are_a_new_start():
    """Usable whatever the sizes that the layer has seen before; also of a layer without values."""
    layer = DiffStride(2.0, ramp="inside")
    layer(image(1, 3, 8, 8))
    layer.load_state_dict({"strides": torch.full((2,), 10.0)})
    assert layer.effective_strides().tolist() == [10.0, 10.0]
    empty = DiffStride(2.0, device="meta")
    empty.load_state_dict(empty.state_dict(), assign=True)
    assert empty.strides.is_meta


def test_whether_sizes_are_held_is_a_truth_value():
    layer = DiffStride(2.0)
    assert layer.holds_sizes is False
    layer.hold_sizes()
    assert layer.holds_sizes is True
    layer.release_sizes()
    assert layer.holds_sizes is False


@pytest.mark.parametrize(
    ("axes", "shape"), [((-2, -1), (1, 64, 32)), ((0, 1), (64, 32, 1)), ((1, 2), (1, 64, 32, 1))]
)
def test_sizes_that_were_met_stand_for_inputs_with_one_more_dimension(axes, shape):
    held = HeldSizes(DiffStride(2.0, axes=axes).settings, (2.0, 2.0))
    held.meet((64, 32))
    assert held.met == [(64, 32)]
    assert [*held._met] == [shape]


def test_a_bias_is_told():
    assert "bias=True" in repr(DiffStrideConv2d(3, 4, 3))
    assert "bias=False" in repr(DiffStrideConv2d(3, 4, 3, bias=False))


def test_nothing_is_written_behind_a_parametrization():
    """It may hand out the very tensor that it keeps."""
    layer = DiffStride(2.0, ramp="inside")
    parametrize.register_parametrization(layer, "strides", nn.Identity())
    set_strides(layer, 0.5, 0.5)
    project_strides(layer)
    assert layer.strides.tolist() == [0.5, 0.5]


def test_a_layer_holds_its_sizes_by_itself():
    layer = DiffStride(2.0, ramp="inside")
    assert not layer.hold_sizes()
    set_strides(layer, 4.0, 4.0)
    assert layer(image(1, 3, 32, 32)).shape == (1, 3, 16, 16)
    assert layer.hold_sizes()
    assert layer(image(1, 3, 32, 32)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    "ask", [lambda layer: layer.effective_strides(), lambda layer: layer(image(1, 3, 8, 8))]
)
def test_a_parameter_without_values_is_refused_with_what_to_do(ask):
    with pytest.raises(TypeError) as caught:
        ask(DiffStride(2.0, device="meta"))
    assert str(caught.value) == (
        "DiffStride: strides: got a parameter whose values cannot be read now "
        "(NotImplementedError); allowed: a parameter with values, or output sizes that are held; "
        "instead: call hold_sizes(net) first, where the values are known; to export or to compile "
        "for inference, net.eval() does it too"
    )


def set_strides(layer, *values):
    with torch.no_grad():
        layer.strides.copy_(torch.tensor(values))


@pytest.mark.parametrize("ramp", ["outside", "inside"])
def test_held_sizes_stand_still_while_strides_move(ramp):
    """Value and gradients are those of the present strides on the plan of the earlier ones."""
    x = image(2, 3, 32, 30)
    layer = DiffStride((2.2, 3.1), ramp=ramp)
    assert not hold_sizes(layer)
    plan = make_plan(x.shape, (2.2, 3.1), ramp=ramp)
    for strides in ((2.2, 3.1), (2.6, 4.0), (1.5, 2.0)):  # the last ones outgrow the canvas
        set_strides(layer, *strides)
        s = torch.tensor(strides, requires_grad=True)
        expected = diffstride(x, s, plan=plan)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
        (gradient,) = torch.autograd.grad(expected.square().sum(), s)
        torch.testing.assert_close(backward(layer, x), gradient)
    assert hold_sizes(layer)
    torch.testing.assert_close(layer(x), diffstride(x, (1.5, 2.0), ramp=ramp))
    set_strides(layer, 2.2, 3.1)
    release_sizes(layer)
    torch.testing.assert_close(layer(x), diffstride(x, (2.2, 3.1), ramp=ramp))


def test_holding_keeps_the_layers_options():
    """Also those that only the planner knows."""
    x = image(2, 3, 32, 30)
    for options in (
        {"multiple_of": 4, "smoothness": 2.0, "norm": "ortho", "method": "fft"},
        {"crop": False},
        {"axes": (2, 1), "ramp": "inside"},
        {"shared": True, "norm": "backward"},
    ):
        layer = DiffStride(2.2, **options)
        expected, gradient = layer(x), backward(layer, x)
        hold_sizes(layer)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
        torch.testing.assert_close(backward(layer, x), gradient, rtol=0, atol=0)


def test_a_changed_size_is_reported_once_and_for_sizes_that_were_met():
    layer = DiffStride((2.0,), ramp="inside")
    model = torch.nn.Sequential(layer, DiffStride((1.0,), ramp="inside"))
    hold_sizes(model)
    layer(image(1, 8))
    set_strides(layer, 2.05)  # 8/2.05 still rounds up to 4, 100/2.05 would be 49
    assert not hold_sizes(model)
    assert layer(image(1, 100)).shape == (1, 49)
    set_strides(layer, 2.0)
    assert hold_sizes(model)
    assert not hold_sizes(model)
    assert layer(image(1, 100)).shape == (1, 50)
    assert layer(image(1, 8)).shape == (1, 4)


@pytest.mark.parametrize("thrown_to", [-50.0, 0.0, 0.75, 1e6, 1e30])
def test_an_infeasible_held_parameter_is_used_clamped_and_the_next_hold_brings_it_back(thrown_to):
    """Forward and backward passes write nothing; the gradient is that at the bound, or none."""
    x = image(2, 3, 32, 32)
    layer = DiffStride(2.0, ramp="inside")
    hold_sizes(layer)
    layer(x)
    set_strides(layer, thrown_to, thrown_to)
    before = layer.strides.tolist()
    gradients = [backward(layer, x, weight=sign).clone() for sign in (1.0, -1.0)]
    assert layer.strides.tolist() == before
    bound = 16.0 if thrown_to > 1 else 1.0
    plan = make_plan(x.shape, (2.0, 2.0), ramp="inside")
    s = torch.tensor([bound] * 2, requires_grad=True)
    expected = diffstride(x, s, plan=plan)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
    (wanted,) = torch.autograd.grad(expected.square().sum(), s)
    for gradient, sign in zip(gradients, (1.0, -1.0), strict=True):
        outward = (sign * wanted > 0) == (bound == 1.0)
        torch.testing.assert_close(gradient, (sign * wanted).masked_fill(outward, 0))
    hold_sizes(layer)
    assert layer.strides.tolist() == [bound] * 2


def test_own_bounds_hold_too():
    layer = DiffStride(3.0, lower=2.0, upper=4.0, ramp="inside")
    hold_sizes(layer)
    for thrown_to, bound in [(1.0, 2.0), (9.0, 4.0)]:
        set_strides(layer, thrown_to, thrown_to)
        strides = layer.effective_strides()
        assert strides.tolist() == [bound, bound]
        back = 1.0 if thrown_to > bound else -1.0
        gradient = torch.autograd.grad(back * strides.sum(), layer.strides)[0]
        assert gradient.tolist() == [back, back]
        hold_sizes(layer)
        assert layer.strides.tolist() == [bound, bound]


def test_a_graph_survives_that_sizes_are_planned_anew():
    """hold_sizes between a forward pass and its backward pass, with a parameter to bring back."""
    layer = DiffStride(2.0, ramp="inside", upper=3.0)
    hold_sizes(layer)
    x = image(2, 3, 16, 16)
    expected = backward(layer, x)
    layer.zero_grad()
    loss = layer(x).square().sum()
    set_strides(layer, 5.0, 5.0)
    hold_sizes(layer)
    loss.backward()
    torch.testing.assert_close(layer.strides.grad, expected)


def test_a_parameter_that_training_broke_is_reported_when_sizes_are_planned():
    """While held, NaN is not seen on the host, and stays NaN in the output."""
    layer = DiffStride(2.0)
    hold_sizes(layer)
    set_strides(layer, float("nan"), 2.0)
    assert bool(layer(image(1, 1, 16, 16)).isnan().all())
    with pytest.raises(ValueError, match=r"DiffStride: strides: got the parameter \[nan, 2\.0\]"):
        hold_sizes(layer)
    layer.eval()  # says nothing, and changes nothing
    assert layer(image(1, 1, 16, 16)).shape == (1, 1, 8, 8)


def test_a_checkpoint_changes_no_held_size():
    layer = DiffStride(2.0, ramp="inside")
    hold_sizes(layer)
    layer.load_state_dict(DiffStride(4.0).state_dict())
    layer.eval()
    assert layer(image(1, 16, 16)).shape == (1, 8, 8)
    hold_sizes(layer)
    assert layer(image(1, 16, 16)).shape == (1, 4, 4)


def test_eager_eval_mode_follows_every_write():
    layer = DiffStride(2.0, ramp="inside").eval()
    x = image(1, 16, 16)
    layer(x)
    layer.strides.data.fill_(4.0)
    assert layer(x).shape == (1, 4, 4)


def at_strides(held, **options):
    """A layer, held or not, that came to its strides after it was made."""
    layer = DiffStride(2.0, **options)
    set_strides(layer, *STRIDES)
    if held:
        hold_sizes(layer)
        set_strides(layer, *STRIDES)  # which were projected
    return layer


@pytest.mark.parametrize("held", [False, True], ids=["following", "held"])
def test_a_changed_setting_acts_as_if_the_layer_were_made_with_it(held):
    """Output and gradients, after every setting was changed in turn; axes last."""
    x = image(4, 5, 33, 30)
    layer, changed = at_strides(held, **START), dict(START)
    before = layer(x)
    for name, value in [*CHANGES.items(), ("axes", (1, 3))]:
        changed[name] = value
        setattr(layer, name, value)
        assert getattr(layer, name) == value
        made = at_strides(held, **changed)
        y = layer(x)
        torch.testing.assert_close(y, made(x), rtol=0, atol=0, msg=name)
        torch.testing.assert_close(backward(layer, x), backward(made, x), rtol=0, atol=0, msg=name)
        assert y.shape != before.shape or not torch.equal(y, before), name
        assert layer.settings == made.settings
        before = y


def test_held_strides_come_within_changed_bounds():
    """Sizes are those of the strides that were held, however far these have moved since."""
    layer = DiffStride(2.0, ramp="inside")
    hold_sizes(layer)
    x = image(1, 24, 24)
    layer(x)
    set_strides(layer, 5.0, 1.0)
    layer.lower = 3.0
    assert layer(x).shape == (1, 8, 8)
    assert layer.effective_strides().tolist() == [5.0, 3.0]
    assert hold_sizes(layer)
    assert layer(x).shape == (1, 5, 8)


def test_several_settings_change_at_once():
    layer = DiffStride(2.0, ramp="inside", upper=4.0)
    layer.settings = replace(layer.settings, lower=6.0, upper=8.0)
    assert layer(image(1, 24, 24)).shape == (1, 4, 4)


def test_the_strides_of_inputs_that_came_before_a_change_stay_usable():
    layer = DiffStride(2.0, ramp="inside")
    hold_sizes(layer)
    layer(image(1, 64, 64))
    layer.axes = (1, 2)
    set_strides(layer, 30.0, 40.0)
    project_strides(layer)
    assert layer.strides.tolist() == [30.0, 32.0]


def test_a_layer_without_values_can_be_changed():
    layer = DiffStride(2.0, ramp="inside", device="meta")
    hold_sizes(layer)
    layer.multiple_of = 5
    assert layer(torch.ones(1, 24, 24, device="meta")).shape == (1, 15, 15)


@pytest.mark.parametrize("held", [False, True], ids=["following", "held"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [*REFUSED, ("shared", True, r"shared: got True; allowed: False, which gave the layer's param")],
)
def test_a_setting_that_is_refused_has_changed_nothing(name, value, message, held):
    layer, x = at_strides(held, **START), image(1, 33, 30)
    expected, said = layer(x), repr(layer)
    with pytest.raises(ValueError, match=f"^DiffStride: {message}"):
        setattr(layer, name, value)
    assert repr(layer) == said
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)


def test_a_convolution_says_its_own_name_when_a_setting_is_refused():
    with pytest.raises(ValueError, match=r"^DiffStrideConv2d: ramp: got 'beside'"):
        DiffStrideConv2d(3, 4, 3).ramp = "beside"


def test_settings_of_pooling_change():
    layer, x = SpectralPool(2.0), image(2, 33, 30)
    assert layer(x).shape == (2, 17, 15)
    for name, value, sizes in [
        ("strides", 3, (2, 11, 10)),
        ("norm", "ortho", (2, 11, 10)),
        ("axes", (2, 0), (1, 33, 10)),
        ("method", "fft", (1, 33, 10)),
    ]:
        setattr(layer, name, value)
        y = layer(x)
        assert y.shape == sizes
        arguments = {"strides": layer.strides, "norm": layer.norm, "axes": layer.axes}
        torch.testing.assert_close(y, SpectralPool(**arguments, method=layer.method)(x))
    for name, value, message in [
        ("strides", (2.0,), r"strides: got 1 numbers and ndim=2"),
        ("strides", 0.5, r"strides: got 0\.5 at position 0"),
        ("strides", None, r"strides: got neither"),
        ("norm", "l2", r"norm: got 'l2'"),
    ]:
        with pytest.raises(ValueError, match=f"^SpectralPool: {message}"):
            setattr(layer, name, value)
    torch.testing.assert_close(layer(x), y, rtol=0, atol=0)
    fixed = SpectralPool(out_sizes=(8, 8))
    fixed.out_sizes = (4, 6)
    assert fixed(x).shape == (2, 4, 6)
    # Of strides and sizes the one that is set takes the place of the other.
    fixed.strides = 3.0
    assert fixed(x).shape == (2, 11, 10)
    fixed.out_sizes = (8, 8)
    assert fixed(x).shape == (2, 8, 8)


def test_a_layer_is_freed_at_once():
    """Without the garbage collector, which may come late: parameters can be large company."""
    layer = DiffStride(2.0)
    hold_sizes(layer)
    layer(image(1, 8, 8))
    seen = weakref.ref(layer)
    gc.disable()
    try:
        del layer
        assert seen() is None
    finally:
        gc.enable()


def test_holding_wants_a_module():
    for function in (hold_sizes, release_sizes):
        with pytest.raises(TypeError, match=r"module: got list; allowed: a torch\.nn\.Module"):
            function([DiffStride(2.0)])
    assert not hold_sizes(torch.nn.Linear(2, 2))


def test_repr_says_everything():
    assert repr(DiffStride((2.25, 3.0), ramp="inside", upper=8, shared=False)) == (
        "DiffStride(strides=[2.25, 3.0], smoothness=4, ramp='inside', norm='forward', "
        "shared=False, trainable=True, lower=1, upper=8, crop=True, multiple_of=1, "
        "axes=(-2, -1), method='auto', hard=False)"
    )
    held = DiffStride(2.0)
    hold_sizes(held)
    assert repr(held).endswith("method='auto', hard=False, sizes held)")
    assert repr(SpectralPool(2.0, ndim=1)) == (
        "SpectralPool(strides=(2.0,), norm='forward', axes=(-1,), method='auto')"
    )
    assert "out_sizes=(8, 8)" in repr(SpectralPool(out_sizes=(8, 8)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": 0.5}, r"strides: got 0\.5 .*at least 1 .*write 2"),
        ({"strides": -1.0}, r"strides: got -1 at position 0; .*at least 1 .*write 2"),
        ({"strides": float("nan")}, r"strides: got nan at position 0; .*at least 1"),
        (
            {"strides": 10**400},
            r"strides: got 1000\d*\.\.\. \(int\) at position 0; allowed: finite",
        ),
        ({"strides": (2.0, float("nan"))}, r"strides: got nan at position 1; allowed: finite"),
        (
            {"strides": (2.0, 9.0), "upper": 8.0},
            r"got 9 at position 1; allowed: finite numbers from 1 to 8 .*change the bounds",
        ),
        ({"strides": (1.0, 2.0), "lower": 1.5}, r"got 1 at position 0; .*at least 1\.5"),
        ({"strides": 1e300}, r"strides: got 1e\+300 at position 0; allowed: finite numbers"),
        ({"strides": 1e5, "dtype": torch.float16}, r"got 100000 at position 0; .* 1 to 65504"),
        ({"lower": 0.5}, r"lower, upper: got 0\.5 and None; allowed: 1 <= lower <= upper"),
        ({"lower": 3.0, "upper": 2.0}, r"lower, upper: got 3\.0 and 2\.0"),
        ({"lower": float("nan")}, r"lower, upper: got nan"),
        ({"upper": 10**400}, r"lower, upper: got None and 1000\d*\.\.\. \(int\)"),
        ({"strides": (2.0, 3.0), "shared": True}, r"got \(2\.0, 3\.0\) with shared=True"),
        ({"strides": (2.0, 3.0), "ndim": 3}, r"got 2 numbers and ndim=3; .*leave ndim out"),
        ({"ndim": 0}, r"ndim: got 0; allowed: an integer of at least 1"),
        ({"axes": (1, 1)}, r"axes: got \(1, 1\); allowed: 2 different integers"),
        ({"axes": (1, 2, 3)}, r"axes: got \(1, 2, 3\); allowed: 2 different integers"),
        ({"axes": (1.5, 2.5)}, r"axes: got \(1\.5, 2\.5\); allowed: 2 different integers"),
        ({"strides": ()}, r"strides: got \(\); allowed: one number per axis"),
        ({"lower": "a"}, r"lower, upper: got 'a' and None; allowed: 1 <= lower"),
        ({"smoothness": -1.0}, r"smoothness: got -1\.0; allowed: a finite number"),
        ({"ramp": "beside"}, r"ramp: got 'beside'; allowed: 'inside', 'outside'"),
        ({"norm": "l2"}, r"norm: got 'l2'; allowed: 'forward', 'ortho', 'backward'"),
        ({"method": "dct"}, r"method: got 'dct'; allowed: 'auto', 'matmul', 'fft'"),
        ({"multiple_of": 0}, r"multiple_of: got 0; allowed: an integer of at least 1"),
        ({"ndim": 10**9}, r"ndim: got 1000000000; allowed: .* at most 64; instead: write ndim=1"),
        ({"ndim": 10**400}, r"ndim: got 1000\d*\.\.\. \(int\); allowed: .* at most 64"),
        ({"norm": torch.ones(2).numpy()}, r"norm: got array\(.*; allowed: 'forward'"),
        ({"axes": b"\x01\x02"}, r"axes: got b'\\x01\\x02'; allowed: 2 different integers"),
    ],
)
def test_constructor_errors(arguments, message):
    with pytest.raises(ValueError, match=f"^DiffStride: .*{message}"):
        DiffStride(**arguments)


def test_a_bound_that_float32_does_not_have_is_no_reason_to_refuse_the_stride():
    assert DiffStride(1.3, lower=1.3).strides.tolist() == [pytest.approx(1.3, abs=1e-6)] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"strides: got neither; allowed: exactly one of strides and out_sizes"),
        ({"strides": 2.0, "out_sizes": (8, 8)}, r"strides: got both"),
        ({"strides": 0.5}, r"strides: got 0\.5 .*at least 1"),
        ({"out_sizes": (4,), "ndim": 3}, r"out_sizes: got 1 numbers and ndim=3"),
        ({"strides": 2.0, "norm": "l2"}, r"norm: got 'l2'"),
        ({"strides": 2.0, "method": "dct"}, r"method: got 'dct'"),
        ({"out_sizes": 8}, r"out_sizes: got 8; allowed: a sequence of"),
        ({"out_sizes": (8, 0)}, r"out_sizes: got 0; allowed: an integer of at least 1"),
    ],
)
def test_spectral_pool_constructor_errors(arguments, message):
    with pytest.raises((ValueError, TypeError), match=f"^SpectralPool: .*{message}"):
        SpectralPool(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stride": 2}, r"stride: got 2; allowed: strides, .*; instead: write strides="),
        ({"kernel": 2}, r"kernel: got 2; allowed: strides, .*; instead: leave it out"),
        ({"strides": b"22"}, r"strides: got b'22' \(bytes\); allowed: a number, or a"),
        ({"dtype": "float32"}, r"dtype: got 'float32'; .*; instead: write dtype=torch\.float32"),
        ({"dtype": torch.int32}, r"dtype: got torch\.int32; allowed: a real floating-point"),
        ({"crop": "False"}, r"crop: got 'False' \(str\); allowed: True or False"),
        ({"shared": torch.ones(2)}, r"shared: got tensor.* \(Tensor\); allowed: True or False"),
        ({"trainable": 0}, r"trainable: got 0 \(int\); allowed: True or False"),
    ],
)
def test_constructor_arguments_of_another_kind(arguments, message):
    with pytest.raises(TypeError, match=f"^DiffStride: {message}"):
        DiffStride(**arguments)
    if "stride" in arguments:
        with pytest.raises(TypeError, match=f"^SpectralPool: {message}"):
            SpectralPool(2.0, **arguments)


LAYERS = [
    *((DiffStride, {}, name) for name in ("strides", "ndim", "axes", "shared", "trainable")),
    *((DiffStride, {}, name) for name in ("smoothness", "lower", "upper", "crop", "dtype")),
    *((SpectralPool, {"strides": 2.0}, name) for name in ("strides", "ndim", "axes", "norm")),
    (SpectralPool, {}, "out_sizes"),
    (diffstride, {"x": torch.ones(2, 8), "strides": (2.0,)}, "x"),
    (diffstride, {"x": torch.ones(2, 8), "strides": (2.0,)}, "strides"),
]


@pytest.mark.parametrize(
    ("function", "good", "name"),
    LAYERS,
    ids=[f"{function.__name__} {name}" for function, _, name in LAYERS],
)
@given(value=st.data())
def test_nonsense_is_answered_or_refused_in_one_line(function, good, name, value):
    answers_or_refuses(function, **good | {name: value.draw(nonsense())})


@pytest.mark.parametrize("held", [False, True], ids=["following", "held"])
def test_a_layer_wants_a_dimension_beside_those_that_it_resamples(held):
    """Without it the batch, or the channels, would be resampled, and nothing would say so."""
    one, two = DiffStride(2.0, ndim=1), DiffStride(2.0)
    if held:
        hold_sizes(nn.ModuleList([one, two]))
    x, message = torch.ones(8, 100), r"x: got shape \(8, 100\); allowed: at least 3 dimensions: 2 "
    with pytest.raises(ValueError, match=rf"^DiffStride: {message}.*x\[None\], .*ndim=1, or"):
        two(x)
    with pytest.raises(ValueError, match=r"^DiffStride: x: got shape \(100,\); .*at least 2 dim"):
        one(x[0])
    for pool in (SpectralPool(2.0), SpectralPool(out_sizes=(4, 4))):
        with pytest.raises(ValueError, match=f"^SpectralPool: {message}"):
            pool(x)
    assert two(x[None]).shape == (1, 4, 50)
    assert one(x).shape == (8, 50)
    # Whoever counts axes from the front has named them all.
    assert DiffStride(2.0, axes=(0, 1))(x).shape == (4, 50)
    assert diffstride(x, (2.0, 2.0)).shape == (4, 50)


@pytest.mark.filterwarnings("ignore:Sparse CSC:UserWarning")
def test_inputs_that_are_not_dense_and_strides_without_values():
    layer = DiffStride(2.0)
    x = torch.ones(8, 8)
    for kind, wrong in (("sparse_coo", x.to_sparse()), ("sparse_csc", x.to_sparse_csc())):
        with pytest.raises(TypeError, match=f"^DiffStride: x: got a {kind} tensor; .*to_dense"):
            layer(wrong)
    assert layer(torch.ones(1, 8, 8, device="meta")).shape == layer(torch.ones(1, 8, 8)).shape
    empty = DiffStride(2.0, device="meta")
    hold_sizes(empty)
    assert empty(torch.ones(1, 8, 8, device="meta")).shape == layer(torch.ones(1, 8, 8)).shape
    with pytest.raises(TypeError, match=r"^DiffStride: strides: got a tensor on meta, .* x on cpu"):
        empty(torch.ones(1, 8, 8))


@pytest.mark.parametrize("held", [False, True], ids=["following", "held"])
def test_forward_errors(held):
    """The core's errors, with the layer's name in front."""
    one, two = DiffStride((2.0,)), DiffStride(2.0)
    if held:
        hold_sizes(torch.nn.ModuleList([one, two]))
    with pytest.raises(TypeError, match=r"^DiffStride: x: got ndarray; allowed: a torch\.Tensor"):
        two(image(8, 8).numpy())
    with pytest.raises(
        ValueError, match=r"^DiffStride: x: got shape \(8,\); allowed: at least 3 d"
    ):
        two(image(8))
    with pytest.raises(
        ValueError, match=r"^DiffStride: x: got shape \(2, 0\) with an empty axis 1"
    ):
        one(torch.ones(2, 0))
    with pytest.raises(TypeError, match=r"^DiffStride: x: got dtype torch\.int64; allowed: real"):
        one(torch.ones(2, 8, dtype=torch.int64))
    pool = SpectralPool(out_sizes=(9,))
    with pytest.raises(ValueError, match=r"^SpectralPool: out_sizes: got 9 for axis 1; .* 1 to 8"):
        pool(torch.ones(2, 8))
    with pytest.raises(TypeError, match=r"^SpectralPool: x: got dtype torch\.int64"):
        pool(torch.ones(2, 9, dtype=torch.int64))


def test_strides_get_their_own_rate_and_no_decay():
    down = DiffStride(2.0)
    frozen = DiffStride(3.0, trainable=False)
    model = torch.nn.ModuleList([torch.nn.Conv2d(3, 4, 3), down, down, frozen])
    weights, strides = param_groups(model, lr=0.1, weight_decay=0.5, stride_lr=0.01)
    assert [parameter.shape for parameter in weights["params"]] == [(4, 3, 3, 3), (4,)]
    assert (weights["lr"], weights["weight_decay"]) == (0.1, 0.5)
    assert strides["params"] == [down.strides]
    assert (strides["lr"], strides["weight_decay"]) == (0.01, 0.0)
    assert param_groups(model, lr=0.1, weight_decay=0.5)[1]["lr"] == 0.1
    assert len(param_groups(torch.nn.Linear(2, 2), lr=0.1, weight_decay=0.5)) == 1
    with pytest.raises(TypeError, match=r"model: got generator; .*not model\.parameters\(\)"):
        param_groups(model.parameters(), lr=0.1, weight_decay=0.5)
    optimizer = torch.optim.SGD([weights, strides])
    model[0].weight.grad = torch.zeros_like(model[0].weight)
    down.strides.grad = torch.zeros_like(down.strides)
    before = model[0].weight.detach().clone()
    optimizer.step()
    torch.testing.assert_close(model[0].weight.detach(), before * (1 - 0.1 * 0.5))
    assert down.strides.tolist() == [2.0, 2.0]


class OnePlusExponential(nn.Module):
    def forward(self, free):
        return 1 + free.exp()

    def right_inverse(self, strides):
        return (strides - 1).log()


def test_parametrized_strides():
    """What they are made of is what is saved, and what has the strides' rate and no decay."""
    layers = [DiffStride(2.0, ramp="inside") for _ in range(2)]
    for layer in layers:
        parametrize.register_parametrization(layer, "strides", OnePlusExponential())
    with torch.no_grad():
        layers[0].parametrizations.strides.original.fill_(0.5)
    layers[1].load_state_dict(layers[0].state_dict())
    torch.testing.assert_close(layers[1].strides, layers[0].strides)
    weights, strides = param_groups(
        nn.Sequential(nn.Conv2d(3, 4, 3), layers[0]), lr=0.1, weight_decay=0.5
    )
    assert len(weights["params"]) == 2
    assert strides["params"] == [layers[0].parametrizations.strides.original]


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("holds", [False, True], ids=["follows", "held"])
def test_unchanged_strides_build_nothing_again(monkeypatch, holds, mode):
    """The arrays of a map are built once for each value of the strides."""
    calls = []
    original = map_cache.resampling
    monkeypatch.setattr(
        map_cache, "resampling", lambda *a, **k: calls.append(1) or original(*a, **k)
    )
    map_cache.constant.clear()
    map_cache.learned.clear()
    net = nn.Sequential(
        DiffStride(2.0), DiffStrideConv2d(3, 32, 3, padding=1, ramp="inside")
    ).eval()
    if holds:
        hold_sizes(net)
    x = torch.ones(2, 3, 24, 28)
    with mode():
        first = net(x)
        assert len(calls) == 2
        torch.testing.assert_close(net(x), first)
        torch.testing.assert_close(net(x[:1]), first[:1])
        assert len(calls) == 2
    net[0].strides.data.fill_(1.9)  # no version counter moves
    with mode():
        assert not torch.equal(net(x), first)
    assert len(calls) > 2


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (DiffStride(2.3), (2, 32, 32)),
        (DiffStride(2.3), (1, 300, 300)),  # by FFT
        (DiffStride((2.3,), method="matmul"), (1, 1024)),
        (SpectralPool(2.3), (2, 32, 32)),
        (SpectralPool(2.3), (1, 300, 300)),
        (DiffStrideConv2d(3, 64, 3, padding=1), (3, 28, 28)),
        (DiffStrideConv2d(3, 64, 3, padding=1), (3, 300, 300)),
    ],
    ids=str,
)
def test_unchanged_layers_make_no_waves(layer, shape, mode):
    """No cosine is computed again, forward or backward; in training mode too."""

    def step():
        y = layer(torch.ones(shape))
        if y.requires_grad:
            y.sum().backward()

    for training in (True, False):
        layer.train(training)
        with mode():
            step()
            with torch.autograd.profiler.profile() as profile:
                step()
        names = {event.key for event in profile.key_averages()}
        assert not names & {"aten::cos", "aten::sin", "aten::remainder"}


def test_what_is_kept_is_bounded(monkeypatch):
    """Maps whose strides have moved are not kept for the life of the process."""
    layer, x = DiffStride(2.0, ramp="inside"), torch.ones(1, 24, 24)
    monkeypatch.setattr(map_cache, "MOST_KEPT", 6000)
    map_cache.learned.clear()
    for _ in range(20):
        with torch.no_grad():
            layer.strides.add_(0.001)
        layer(x)
    assert 1 <= len(map_cache.learned) < 20
    layer(x)
    calls = []
    monkeypatch.setattr(map_cache, "resampling", lambda *a, **k: calls.append(1))
    layer(x)
    assert calls == []


def test_a_default_device_is_not_that_of_what_is_kept():
    x = torch.randn(2, 16, 16)
    for layer in (DiffStride(2.1), DiffStride(2.1, trainable=False), SpectralPool(2.1)):
        expected = layer(x)
        map_cache.learned.clear()
        map_cache.constant.clear()
        with torch.device("meta"):
            found = layer(x)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
# Few samples; enough for the faster kernels, whole and axis by axis; nothing to do.
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (64, 64, 8, 8), (8, 16, 48, 48), (2, 3, 1, 1)])
@pytest.mark.parametrize(
    "layer",
    [
        DiffStride(2.0, ramp="inside"),
        DiffStride(2.0, trainable=False),
        SpectralPool(2.0),
        SpectralPool(1.0),
    ],
    ids=["learned", "fixed", "pool", "identity"],
)
def test_whoever_gets_the_output_may_write_to_it(layer, shape, memory_format):
    """As an activation in place does; what came in is not touched by it."""
    x = torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape)
    x = x.contiguous(memory_format=memory_format)
    before = x.clone()
    x.requires_grad_()
    wanted = torch.relu(layer(x)).square().sum()
    found = layer(x).relu_().square().sum()
    inputs = [x, *(p for p in layer.parameters() if p.requires_grad)]
    for one, other in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(wanted, inputs), strict=True
    ):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        y = layer(x).relu_()
    y.mul_(2)
    torch.testing.assert_close(x.detach(), before)


def test_what_is_kept_from_inference_serves_in_training():
    layer = DiffStride((2.0, 1.7), trainable=False)
    x = torch.randn(2, 24, 24)
    map_cache.constant.clear()
    with torch.inference_mode():
        expected = layer(x)
    x.requires_grad_()
    y = layer(x)
    torch.testing.assert_close(y, expected.clone())
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    dx.square().sum().backward()
    assert x.grad.isfinite().all()


def test_a_map_that_is_too_large_pushes_no_other_out(monkeypatch):
    monkeypatch.setattr(map_cache, "MOST_KEPT", 6000)
    map_cache.constant.clear()
    with torch.no_grad():
        SpectralPool(2.0)(torch.ones(1, 24, 24))
        (kept,) = map_cache.constant._maps
        SpectralPool(2.0)(torch.ones(1, 240, 240))
    assert list(map_cache.constant._maps) == [kept]


def test_a_map_of_single_precision_does_not_serve_double():
    """At the same strides, in either order."""
    x = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    expected = core.diffstride(x.double().numpy(), (2.5, 1.75), ramp="inside")
    for dtypes in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        map_cache.learned.clear()
        for dtype in dtypes:
            layer = DiffStride((2.5, 1.75), ramp="inside", dtype=dtype)
            y = layer(x.to(dtype)).detach()
            assert y.dtype == dtype
            assert (y.double().numpy() - expected).std() < (1e-14 if dtype.itemsize > 4 else 1e-6)


def test_large_matrices_are_not_kept(monkeypatch):
    monkeypatch.setattr(map_cache, "MOST_KEPT", 1)
    map_cache.constant.clear()
    with torch.no_grad():
        DiffStride(2.0)(torch.ones(1, 24, 24))
    assert len(map_cache.constant) == 0
