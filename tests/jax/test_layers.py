"""Flax NNX layers: shapes, strides that cannot die, sizes that follow when replan says so."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import spectral_stride as core
from tests.libraries import load

jax = load("jax")
nnx = load("flax.nnx")
optax = load("optax")
jnp = jax.numpy
import spectral_stride.jax as adapter  # noqa: E402
from spectral_stride.jax import DiffStride, SpectralPool, diffstride, replan  # noqa: E402
from tests.changed_settings import CHANGES, REFUSED, START, STRIDES  # noqa: E402
from tests.examples import optax_loop  # noqa: E402

ROOT = Path(__file__).parents[2]
SAVED = ROOT / "tests" / "data" / "flax_layers.pkl"
OUTSIDE = r"allowed: a model outside of nnx\.jit"


def image(*shape, dtype="float32"):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype=dtype)


def close(got, wanted, atol=1e-6):
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=atol)


def put(layer, *strides):
    """What an optimizer or a user does."""
    layer.strides[...] = jnp.asarray(strides, dtype=layer.strides.dtype)


@nnx.jit
def compiled(layer, x):
    """A call in one program: eagerly every operation of it compiles for every new size."""
    return layer(x)


def program_of(layer, x):
    """What a call of the layer itself computes, as text, for which nothing is compiled."""
    return jax.jit(lambda x: layer(x)).lower(x).as_text()


def shape_of(layer, *inputs):
    """The output's shape, for which nothing is compiled."""
    return jax.eval_shape(lambda *inputs: layer(*inputs), *inputs).shape


@nnx.jit
def gradient(layer, x, weight=1.0):
    """Gradient of the weighted energy in the strides."""
    (found,) = jax.tree.leaves(nnx.grad(lambda layer: weight * (layer(x) ** 2).sum())(layer))
    return found


@pytest.mark.parametrize(
    ("strides", "shape", "expected"),
    [
        ((2.0,), (4, 50, 3), (4, 25, 3)),
        ((2.0, 3.0), (4, 32, 33, 3), (4, 16, 11, 3)),
        ((2.0, 2.0, 1.5), (1, 8, 9, 12, 2), (1, 4, 5, 8, 2)),
    ],
)
def test_rank_is_the_number_of_strides_and_channels_are_last(strides, shape, expected):
    assert jax.eval_shape(DiffStride(strides, ramp="inside"), jnp.ones(shape)).shape == expected
    assert jax.eval_shape(SpectralPool(strides), jnp.ones(shape)).shape == expected


def test_scalar_strides():
    """A scalar means images, or as many axes as ndim says."""
    assert DiffStride().strides[...].tolist() == [2.0, 2.0]
    assert DiffStride(3.0, ndim=1).strides[...].tolist() == [3.0]
    assert DiffStride(3, ndim=3).strides[...].tolist() == [3.0, 3.0, 3.0]
    assert DiffStride(np.array([2.0, 3.0])).strides[...].tolist() == [2.0, 3.0]


def test_options_reach_the_operator():
    x = image(2, 32, 30, 3)
    options = {"smoothness": 2.0, "ramp": "inside", "norm": "ortho", "multiple_of": 4}
    y = compiled(DiffStride((2.1, 2.6), **options, method="fft"), x)
    close(y, core.diffstride(np.asarray(x), (2.1, 2.6), axes=(1, 2), **options))
    assert y.shape == (2, 16, 12, 3)
    assert shape_of(DiffStride(2.0, crop=False), x) == x.shape
    first = DiffStride((2.1, 2.6), **options, axes=(-2, -1))
    close(np.moveaxis(compiled(first, np.moveaxis(x, -1, 1)), 1, -1), y)
    pooled = compiled(SpectralPool(2.5, norm="ortho"), x)
    assert pooled.shape == (2, 13, 12, 3)
    close(compiled(SpectralPool(out_sizes=(13, 12), norm="ortho", axes=(1, 2)), x), pooled)


def test_shared_stride():
    """One parameter for all axes, whose gradient is the sum of theirs."""
    x = image(2, 16, 14, 3)
    shared, free = DiffStride(2.2, shared=True), DiffStride(2.2)
    assert shared.strides.shape == (1,)
    close(compiled(shared, x), compiled(free, x))
    close(gradient(shared, x), gradient(free, x).sum(keepdims=True), atol=1e-4)
    put(shared, 4.0)
    assert replan(shared, x)
    assert shared.planned == (4.0, 4.0)


def test_fixed_strides():
    """Neither nnx.grad nor an optimizer of Params sees them, and they are saved."""
    layer = DiffStride(2.0, trainable=False)
    assert not jax.tree.leaves(nnx.state(layer, nnx.Param))
    loss = nnx.grad(lambda layer: layer(image(1, 8, 8, 1)).sum())
    assert not jax.tree.leaves(nnx.jit(loss)(layer))
    assert len(jax.tree.leaves(nnx.state(layer))) == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(dtype):
    x = image(2, 16, 16, 3, dtype=dtype)
    layer = DiffStride(2.2, param_dtype=dtype)
    assert layer.strides.dtype == dtype
    assert jax.eval_shape(layer, x).dtype == dtype
    assert gradient(layer, x).dtype == dtype


def test_functions_take_a_layers_strides():
    """A parameter is an array to diffstride, and not read on the host: its gradient is alive."""
    x, layer = image(2, 16, 16, 3), DiffStride(2.0)
    plan = layer.plan(x.shape, layer.planned, (1, 2))
    loss = nnx.grad(lambda layer: (diffstride(x, layer.strides, plan=plan) ** 2).sum())
    close(nnx.jit(loss)(layer).strides[...], gradient(layer, x), atol=1e-4)
    dx = [
        jax.jit(jax.grad(lambda x, s=strides: (diffstride(x, s, plan=plan) ** 2).sum()))(x)
        for strides in (layer.strides, layer.strides[...])
    ]
    close(*dx)


@pytest.mark.parametrize("thrown_to", [-50.0, 0.0, 0.75, 1e6])
def test_an_infeasible_parameter_is_used_clamped_and_comes_back(thrown_to):
    """A call clamps and does not write, the gradient is that at the bound, replan brings back."""
    x, bound = image(2, 32, 32, 3), 16.0 if thrown_to > 1 else 1.0
    layer, there = (DiffStride(2.0, ramp="inside") for _ in range(2))
    put(layer, thrown_to, thrown_to)
    put(there, bound, bound)
    close(compiled(layer, x), compiled(there, x))
    found = gradient(layer, x)
    assert layer.strides[...].tolist() == [thrown_to] * 2
    close(found, gradient(there, x), atol=1e-4)
    assert replan(layer, x)
    assert layer.strides[...].tolist() == [bound] * 2
    assert shape_of(layer, x) == ((2, 2, 2, 3) if thrown_to > 1 else x.shape)
    assert bool((gradient(layer, x) != 0).all())


def test_own_bounds():
    layer = DiffStride(3.0, lower=2.0, upper=4.0, ramp="inside")
    x = image(2, 32, 32, 3)
    for thrown_to, bound in [(-1e9, 2.0), (9.0, 4.0)]:
        put(layer, thrown_to, thrown_to)
        assert layer.effective_strides().tolist() == [bound, bound]
        assert bool((gradient(layer, x) != 0).all())
        replan(layer, x)
        assert layer.strides[...].tolist() == [bound, bound]
        wanted = core.diffstride(np.asarray(x), (bound, bound), axes=(1, 2), ramp="inside")
        close(compiled(layer, x), wanted)


def test_compiled_equals_eager_while_strides_move():
    """Sizes follow the planned strides everywhere; values follow the present ones."""
    x, layer = image(2, 32, 32, 3), DiffStride(2.0, ramp="inside")
    for stride in (2.0, 2.7, 1.4):
        put(layer, stride, stride)
        y = layer(x)
        close(compiled(layer, x), y)
        assert y.shape == (2, 16, 16, 3)
        plan = core.make_plan(x.shape, (2.0, 2.0), axes=(1, 2), ramp="inside")
        close(y, core.diffstride(np.asarray(x), (stride, stride), plan=plan))


class Counted:
    """A compiled call of a layer, and how often it was traced."""

    def __init__(self):
        self.traces = 0

        @nnx.jit
        def call(layer, x):
            self.traces += 1
            return layer(x)

        self.call = call


def test_one_compilation_for_each_distinct_size():
    """Also when strides wander through a size again, from both sides and from the start."""
    x, layer, counted = image(1, 20, 20, 1), DiffStride(2.3, ramp="inside", shared=True), Counted()
    sizes = set()
    for stride in (2.3, 2.25, 2.9, 2.1, 3.1, 2.6, 2.95, 2.31, 1e5, 11.0, 2.24, 2.3):
        put(layer, stride)
        before = shape_of(layer, x)
        assert replan(layer, x) == (shape_of(layer, x) != before)
        size = -(-20 // min(stride, 10.0))
        assert counted.call(layer, x).shape == (1, size, size, 1)
        sizes.add(size)
    assert counted.traces == len(sizes) == 5


def test_a_stride_of_tenths_has_the_size_of_that_number():
    """1.4 in float32 is 1.39999998, and 14/1.4 is no 10.0000002 for that."""
    x = image(1, 14, 14, 3)
    for layer in (DiffStride((1.4, 2.8), ramp="inside"), SpectralPool((1.4, 2.8))):
        assert shape_of(layer, x) == (1, 10, 5, 3)
    layer = DiffStride((1.5, 2.5), ramp="inside")
    shape_of(layer, x)
    put(layer, 1.4, 2.8)
    replan(layer, x)
    assert shape_of(layer, x) == (1, 10, 5, 3)


def test_multiple_of_lets_sizes_rest():
    x, layer = image(1, 32, 32, 1), DiffStride(2.3, ramp="inside", multiple_of=4)
    put(layer, 2.05, 2.6)
    assert not replan(layer, x)
    assert layer.planned == pytest.approx((2.3, 2.3))


def at_strides(**options):
    """A layer that came to its strides after it was made, and sizes with it."""
    layer = DiffStride(2.0, **options)
    put(layer, *STRIDES)
    layer.planned = layer.settings.clip(STRIDES)
    return layer


def test_a_changed_setting_acts_as_if_the_layer_were_made_with_it():
    """The layer itself, and compiled once for each of them, also if planned anew; axes last."""
    x, counted = image(5, 33, 30, 4), Counted()
    layer, changed = at_strides(**START), dict(START)
    before = counted.call(layer, x)
    for count, (name, value) in enumerate([*CHANGES.items(), ("axes", (0, 2))], 2):
        changed[name] = value
        made = at_strides(**changed)
        plan = made.plan(x.shape, made.planned)
        wanted = core.diffstride(np.asarray(x), made.effective_strides().tolist(), plan=plan)
        for replans in (False, True):
            setattr(layer, name, value)
            if replans:
                replan(layer, x)
            y = counted.call(layer, x)
            close(y, wanted, atol=1e-5)
        replan(made, x)  # which brings the parameter itself within new bounds
        assert getattr(layer, name) == value
        assert (layer.settings, layer.planned) == (made.settings, made.planned)
        assert program_of(layer, x) == program_of(made, x), name
        assert counted.traces == count, name
        assert name == "method" or y.shape != before.shape or bool((y != before).any()), name
        before = y


def test_a_setting_that_is_set_back_compiles_nothing():
    x, layer, counted = image(1, 16, 16, 1), DiffStride(2.0, ramp="inside"), Counted()
    counted.call(layer, x)
    layer.multiple_of = 5
    assert counted.call(layer, x).shape == (1, 10, 10, 1)
    layer.multiple_of = 1
    counted.call(layer, x)
    assert counted.traces == 2
    layer.multiple_of = 5
    copy = nnx.merge(*nnx.split(layer))
    assert copy.multiple_of == 5
    assert counted.call(copy, x).shape == (1, 10, 10, 1)


def test_changed_bounds_move_sizes_and_several_settings_change_at_once():
    layer, x = DiffStride(2.0, ramp="inside"), image(1, 24, 24, 1)
    layer.lower = 3.0
    assert shape_of(layer, x) == (1, 8, 8, 1)
    assert not replan(layer, x)
    layer.settings = replace(layer.settings, lower=4.0, upper=4.5)
    assert shape_of(layer, x) == (1, 6, 6, 1)
    layer.axes = None
    assert layer.axes == (-3, -2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [*REFUSED, ("shared", True, r"shared: got True; allowed: False, which gave the layer's param")],
)
def test_a_setting_that_is_refused_has_changed_nothing(name, value, message):
    layer = at_strides(**START)
    before = nnx.graphdef(layer)
    with pytest.raises(ValueError, match=f"^DiffStride: {message}"):
        setattr(layer, name, value)
    assert nnx.graphdef(layer) == before


def test_settings_of_pooling_change():
    x, layer, counted = image(2, 33, 30, 4), SpectralPool(2.0), Counted()
    assert counted.call(layer, x).shape == (2, 17, 15, 4)
    for name, value in [("strides", 3.0), ("norm", "ortho"), ("axes", (2, 0)), ("method", "fft")]:
        setattr(layer, name, value)
        options = {"norm": layer.norm, "axes": layer.axes, "method": layer.method}
        made = SpectralPool(layer.strides, **options)
        assert program_of(layer, x) == program_of(made, x), name
        wanted = core.spectral_pool(
            np.asarray(x), made.settings.sizes_of(x.shape), axes=made.axes, norm=made.norm
        )
        close(counted.call(layer, x), wanted, atol=1e-5)
    assert counted.traces == 5
    with pytest.raises(ValueError, match=r"^SpectralPool: strides: got neither"):
        layer.strides = None
    assert layer.strides == (3.0, 3.0)
    layer.out_sizes = (4, 1)  # takes the place of the strides
    assert shape_of(layer, x) == (1, 33, 4, 4)


def test_layers_that_were_saved_before_their_settings_were_one_object():
    """Their outputs are those of then, and they are planned, changed and saved like any other."""
    saved = pickle.loads(SAVED.read_bytes())
    for name, (layer, x, y) in saved.items():
        close(compiled(layer, x), y, atol=1e-5)
        close(compiled(pickle.loads(pickle.dumps(layer)), x), y, atol=1e-5)
        close(compiled(nnx.clone(layer), x), y, atol=1e-5)
        if name != "network":
            assert not vars(layer).keys() & set(CHANGES)
            assert layer.axes == layer.settings.axes
    planned, x, y = saved["planned"]
    options = {"smoothness": 3.0, "ramp": "inside", "norm": "ortho", "multiple_of": 2}
    bounds = {"lower": 1.5, "upper": 5.0}
    assert planned.settings == DiffStride(2.0, **options, **bounds).settings
    assert planned.planned != planned.initial
    assert replan(planned, x)
    assert planned.strides[...].tolist() == pytest.approx([2.7, 1.5])
    planned.multiple_of = 6
    assert shape_of(planned, x) == (1, 12, 12, 2)
    assert saved["shared"][0].strides.shape == (1,)
    assert type(saved["uncropped"][0].strides).__name__ == "FixedStrides"


class Net(nnx.Module):
    """A layer used twice, at two sizes; a branch; batch statistics, dropout and a counter."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(1, 2, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(2, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.drop_in_training = nnx.Dropout(0.5)  # has no random numbers: fails outside eval mode
        self.twice = DiffStride(2.0, ramp="inside")
        self.branch = nnx.List([DiffStride(4.0, ramp="inside"), DiffStride(3.0, ramp="inside")])
        self.calls = nnx.Variable(jnp.zeros((), dtype="int32"))

    def __call__(self, x, second=True):
        self.calls[...] += 1
        x = self.drop_in_training(self.drop(self.norm(self.conv(x))))
        y = self.twice(self.twice(x))
        return y.mean() + self.branch[0](x).mean() if second else y


def test_replan_touches_nothing_but_plans_and_thrown_strides():
    """No batch statistics, no random counts, no modes, no parameter that is feasible."""
    net, x = Net(), image(2, 32, 32, 1)
    put(net.twice, 2.5, 2.0)
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(net, nnx.Not(nnx.RngKey))))
    assert replan(net, x)
    after = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(net, nnx.Not(nnx.RngKey))))
    jax.tree.map(np.testing.assert_array_equal, after, before)
    assert (net.drop.deterministic, net.norm.use_running_average) == (False, False)
    assert net.twice.observer is None


def test_replan_runs_the_model_on_shapes_alone():
    assert not replan(Net(), jax.ShapeDtypeStruct((2, 32, 32, 1), "float32"))


def test_replan_follows_the_data_flow():
    """What a layer gets follows from the new sizes of the layers before it."""
    first, second = DiffStride(2.0, ramp="inside"), DiffStride(4.0, ramp="inside")
    net, x = nnx.Sequential(first, second), jnp.ones((1, 32, 32, 1))
    put(second, 4.4, 4.4)
    assert not replan(net, x)  # 16 -> 4 as before
    put(first, 2.6, 2.6)
    assert replan(net, x)  # 13 -> 3, where the planned stride 4 would give 4
    assert shape_of(net, x) == (1, 3, 3, 1)
    assert not replan(net, x)


def test_replan_looks_at_every_call_of_a_layer():
    """One layer at two sizes in a row; another one that is not called."""
    net, x = Net(), image(2, 32, 32, 1)
    # 32 -> 16 stays; the second call is 16 -> 8 and stays: nothing to do.
    put(net.twice, 2.0, 2.0)
    assert not replan(net, x, second=False)
    # 32 -> 15, and 15 -> 8: the first call changes.
    put(net.twice, 2.14, 2.0)
    assert replan(net, x, second=False)
    assert shape_of(lambda x: net.twice(net.twice(x)), x) == (2, 8, 8, 1)
    # A layer that is not called keeps its plan; its thrown parameter comes back to its own bounds.
    put(net.branch[1], -3.0, 9.0)
    assert not replan(net, x, second=False)
    assert net.branch[1].planned == (3.0, 3.0)
    assert net.branch[1].strides[...].tolist() == [1.0, 9.0]


def test_the_largest_input_decides_what_a_parameter_may_be():
    class Pair(nnx.Module):
        def __init__(self):
            self.layer = DiffStride(2.0, ramp="inside")

        def __call__(self, small, large):
            return self.layer(small), self.layer(large)

    model = Pair()
    put(model.layer, 10.0, 100.0)
    assert replan(model, jnp.ones((1, 8, 8, 1)), jnp.ones((1, 64, 64, 1)))
    assert model.layer.strides[...].tolist() == [10.0, 32.0]
    small, large = jax.eval_shape(model, jnp.ones((1, 8, 8, 1)), jnp.ones((1, 64, 64, 1)))
    assert (small.shape, large.shape) == ((1, 2, 2, 1), (1, 7, 2, 1))


def test_replan_sees_through_transforms_inside_a_model():
    """A model that compiles or rematerialises a part of itself, and was called before."""

    class Inner(nnx.Module):
        def __init__(self, transform):
            self.layer, self.transform = DiffStride(2.0, ramp="inside"), transform

        def __call__(self, x):
            return self.transform(lambda layer, x: layer(x))(self.layer, x)

    x = jnp.ones((1, 32, 32, 1))
    for transform in (nnx.jit, nnx.remat):
        model = Inner(transform)
        for stride, size in ((2.6, 13), (2.0, 16), (2.6, 13)):
            put(model.layer, stride, stride)
            assert replan(model, x)
            # What rematerialises alone would run, and compile, one operation after the other.
            y = model(x) if transform is nnx.jit else compiled(model, x)
            assert y.shape == (1, size, size, 1)


def test_saved_strides_set_sizes_again():
    """Loading Params restores strides; replan makes sizes follow."""
    x, trained = image(1, 32, 32, 1), DiffStride(2.0, ramp="inside")
    put(trained, 2.6, 3.3)
    replan(trained, x)
    fresh = DiffStride(2.0, ramp="inside")
    nnx.update(fresh, nnx.state(trained))
    assert shape_of(fresh, x) == (1, 16, 16, 1)
    assert replan(fresh, x)
    assert fresh.planned == trained.planned
    wanted = compiled(trained, x)
    close(compiled(fresh, x), wanted)
    merged = nnx.merge(*nnx.split(trained))
    close(compiled(merged, x), wanted)
    close(compiled(nnx.clone(trained), x), wanted)


def test_exported_with_a_free_batch():
    layer = DiffStride((2.2, 1.7))
    (batch,) = jax.export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, 16, 14, 3), "float32")
    program = jax.export.export(jax.jit(lambda x: layer(x)))(x)
    larger = image(5, 16, 14, 3)
    close(program.call(larger), compiled(layer, larger))


def test_replan_refuses():
    layer, x = DiffStride(2.0), image(1, 16, 16, 1)
    with pytest.raises(TypeError, match=r"model: got function; allowed: an nnx\.Module; instead"):
        replan(lambda x: x, x)
    with pytest.raises(TypeError, match=rf"^DiffStride: strides: got a traced .*{OUTSIDE}"):
        nnx.jit(replan)(layer, x)
    model = nnx.List([layer, DiffStride(2.0)])
    put(layer, 50.0, 2.0)
    put(model[1], jnp.nan, 2.0)
    with pytest.raises(
        ValueError,
        match=r"^DiffStride: strides: got the parameter \(nan, 2\.0\); .*a smaller learning rate",
    ):
        replan(model, x)
    assert layer.strides[...].tolist() == [50.0, 2.0]
    stack = nnx.vmap(lambda _: DiffStride(2.0), in_axes=0)(jnp.arange(3))
    with pytest.raises(ValueError, match=r"^DiffStride: strides: got an array of shape \(3, 2\)"):
        replan(stack, x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": 0.5}, r"strides: got 0\.5 .*at least 1 .*write 2"),
        ({"strides": float("nan")}, r"strides: got nan at position 0; .*at least 1"),
        ({"strides": (2.0, 9.0), "upper": 8.0}, r"got 9 at position 1; .*from 1 to 8 .*change"),
        ({"strides": 1e300}, r"strides: got 1e\+300 at position 0; allowed: finite numbers from 1"),
        (
            {"strides": 10**400},
            r"strides: got 1000\d*\.\.\. \(int\) at position 0; allowed: finite",
        ),
        ({"lower": 3.0, "upper": 2.0}, r"lower, upper: got 3\.0 and 2\.0"),
        ({"upper": 10**400}, r"lower, upper: got None and 1000\d*\.\.\. \(int\)"),
        ({"strides": (2.0, 3.0), "shared": True}, r"strides: got \(2\.0, 3\.0\) with shared=True"),
        ({"strides": (2.0, 3.0), "ndim": 3}, r"strides: got 2 numbers and ndim=3; .*leave ndim"),
        ({"ndim": 0}, r"ndim: got 0; allowed: an integer of at least 1"),
        ({"axes": (1, 1)}, r"axes: got \(1, 1\); allowed: 2 different integers"),
        ({"smoothness": -1.0}, r"smoothness: got -1\.0; allowed: a finite number"),
        ({"ramp": "beside"}, r"ramp: got 'beside'; allowed: 'inside', 'outside'"),
        ({"norm": "l2"}, r"norm: got 'l2'; allowed: 'forward', 'ortho', 'backward'"),
        ({"method": "dct"}, r"method: got 'dct'; allowed: 'auto', 'matmul', 'fft'"),
        ({"multiple_of": 0}, r"multiple_of: got 0; allowed: an integer of at least 1"),
        ({"param_dtype": "int32"}, r"param_dtype: got int32; allowed: a real floating-point dtype"),
    ],
)
def test_constructor_errors(arguments, message):
    with pytest.raises((TypeError, ValueError), match=f"^DiffStride: .*{message}"):
        DiffStride(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"strides: got neither; allowed: exactly one of strides and out_sizes"),
        ({"strides": 2.0, "out_sizes": (8, 8)}, r"strides: got both"),
        ({"strides": 0.5}, r"strides: got 0\.5 .*at least 1"),
        ({"out_sizes": (4,), "ndim": 3}, r"out_sizes: got 1 numbers and ndim=3"),
        ({"strides": 2.0, "norm": "l2"}, r"norm: got 'l2'"),
        ({"out_sizes": (8, 0)}, r"out_sizes: got 0; allowed: an integer of at least 1"),
    ],
)
def test_spectral_pool_constructor_errors(arguments, message):
    with pytest.raises((ValueError, TypeError), match=f"^SpectralPool: {message}"):
        SpectralPool(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DiffStride()([1.0]), r"DiffStride: x: got list; allowed: a jax\.Array or a nump"),
        (
            lambda: DiffStride()(jnp.ones((8, 8))),
            r"DiffStride: x: got shape \(8, 8\); allowed: at least 3 dimensions",
        ),
        (
            lambda: DiffStride()(jnp.ones(8)),
            r"DiffStride: x: got shape \(8,\); allowed: at least 3 dimensions",
        ),
        (
            lambda: DiffStride((2.0,))(jnp.ones((2, 0, 1))),
            r"DiffStride: x: got shape \(2, 0, 1\) with an empty axis 1",
        ),
        (
            lambda: DiffStride((2.0,))(jnp.ones((2, 8, 1), dtype="int32")),
            "DiffStride: x: got dtype int32; allowed: real floating",
        ),
        (
            lambda: nnx.jit(SpectralPool(out_sizes=(9,)))(jnp.ones((2, 8, 1))),
            "SpectralPool: out_sizes: got 9 for axis 1; allowed: 1 to 8",
        ),
    ],
)
def test_call_errors(call, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        call()


@pytest.mark.long
def test_a_training_loop_compiles_once_for_each_distinct_size():
    """The stride moves at every step, sizes now and then, also back; a coarser grid rests more."""
    every = {multiple_of: optax_loop.train(multiple_of=multiple_of) for multiple_of in (2, 8)}
    for multiple_of, history in every.items():
        assert history.compilations == len(set(history.sizes))
        assert len(set(history.strides)) > 50
        assert abs(history.strides[-1] - history.strides[0]) > 0.3
        assert history.losses[-1] < 0.2 * history.losses[0]
        assert all(size % multiple_of == 0 for size in history.sizes)
    changes = sum(a != b for a, b in zip(every[2].sizes, every[2].sizes[1:], strict=False))
    assert changes >= every[2].compilations > every[8].compilations > 1


WITHOUT_FLAX = """
import sys
sys.modules["flax"] = None
import spectral_stride.jax as adapter
adapter.diffstride
assert {"DiffStride", "SpectralPool", "replan"} <= set(dir(adapter)) & set(adapter.__all__)
for name in ("DiffStride", "replan"):
    try:
        getattr(adapter, name)
    except ImportError as error:
        assert str(error).startswith(name + ": got no flax (")
        assert "pip install flax, or pip install -e '.[jax]' in a checkout" in str(error)
    else:
        raise AssertionError(name)
assert not hasattr(adapter, "Dense")
"""


def test_the_adapters_names():
    assert {"DiffStride", "SpectralPool", "diffstride", "replan"} <= set(dir(adapter))
    assert adapter.DiffStride is DiffStride
    with pytest.raises(AttributeError, match=r"'spectral_stride\.jax' has no attribute 'Dense'"):
        adapter.Dense  # noqa: B018


def test_the_functions_need_no_flax():
    """Flax is imported for a layer alone, and its absence is explained."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FLAX], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


WITHOUT_JAX = """
import sys
sys.modules["jax"] = None
import spectral_stride.jax
"""


def test_without_jax_the_import_says_what_to_install():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX], cwd=ROOT, capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: spectral_stride.jax: got no jax (")
    assert last.endswith("instead: pip install jax, or pip install -e '.[jax]' in a checkout")


def test_a_wrong_keyword_and_other_wrong_arguments():
    for arguments, message in (
        ({"stride": 2}, "stride: got 2; allowed: strides, .*; instead: write strides="),
        ({"param_dtype": "float99"}, "param_dtype: got 'float99'; .*jnp.float32"),
        ({"crop": "False"}, r"crop: got 'False' \(str\); allowed: True or False"),
        ({"trainable": 1}, r"trainable: got 1 \(int\); allowed: True or False"),
    ):
        with pytest.raises(TypeError, match=f"^DiffStride: {message}"):
            DiffStride(**arguments)
    with pytest.raises(TypeError, match=r"^SpectralPool: stride: got 2; .*write strides="):
        SpectralPool(stride=2)


def test_a_layer_wants_a_dimension_beside_those_that_it_resamples():
    x = jnp.ones((8, 10))
    for layer in (DiffStride(2.0), SpectralPool(2.0), DiffStride(2.0, axes=(-2, -1))):
        with pytest.raises(ValueError, match=r"x: got shape \(8, 10\); .*at least 3 dim.*x\["):
            layer(x)
    assert SpectralPool(2.0)(x[..., None]).shape == (4, 5, 1)


def test_strict_promotion_of_dtypes():
    """Layers, their gradients and their sizes, with nothing left to promotion."""
    x = jnp.ones((2, 24, 1))
    with jax.numpy_dtype_promotion("strict"):
        layer = DiffStride((2.3,), method="fft")
        slope = nnx.grad(lambda layer: (layer(x) ** 2).sum())(layer)
        assert slope["strides"][...].shape == (1,)
        assert not replan(layer, x)
        assert SpectralPool(2.0, ndim=1, method="fft")(x).shape == (2, 12, 1)


def test_a_hard_crop_learns_from_the_ramp_it_does_not_have():
    """The value of spectral pooling, the core's gradients, and a setting like any other."""
    x = image(2, 12, 10, 3)
    hard, soft = DiffStride((2.0, 1.0), hard=True), DiffStride((2.0, 1.0))
    close(compiled(hard, x), SpectralPool((2.0, 1.0))(x))
    _, pullback = core.vjp(np.asarray(x), (2.0, 1.0), axes=(1, 2), hard=True)
    plan = hard.plan(x.shape, (2.0, 1.0))
    energy = jax.jit(jax.grad(lambda x, s: (diffstride(x, s, plan=plan) ** 2).sum() / 2, (0, 1)))
    dx, ds = energy(x, jnp.asarray((2.0, 1.0)))
    wanted = pullback(np.asarray(SpectralPool((2.0, 1.0))(x)))
    close(dx, wanted[0], 1e-5)
    close(ds, wanted[1], 1e-3)
    soft.hard = True
    close(compiled(soft, x), compiled(hard, x))
