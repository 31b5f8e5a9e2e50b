"""spectral_stride.jax.diffstride and spectral_pool: the core, registered with JAX."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import spectral_stride as core
from tests.libraries import load

jax = load("jax")
jnp = jax.numpy
check_grads = pytest.importorskip("jax.test_util").check_grads
from spectral_stride.jax import (  # noqa: E402  # after the skip
    diffstride,
    spectral_pool,
    spectral_resize,
)

jax.config.update("jax_enable_x64", True)

# Inside the bounds of every size below, and on no corner of a mask: differences see a smooth map.
STRIDES = (1.63, 2.21)
SHAPE = (2, 1, 7, 6)
FORMS = pytest.mark.parametrize("method", ["matmul", "fft"])
RAMPS = pytest.mark.parametrize("ramp", ["outside", "inside"])


def draw(*shape, dtype="float64"):
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), dtype=dtype)


def settled(shape, strides, **options):
    """diffstride with a plan made beforehand, compiled."""
    return jax.jit(partial(diffstride, plan=core.make_plan(shape, strides, **options)))


def close(got, wanted, atol=1e-12):
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=atol)


@FORMS
@RAMPS
def test_equals_the_core_on_numpy(method, ramp):
    """Value, dx, dstrides and tangent are the core's, also for clamped strides and on corners."""
    x, dx, ds = draw(*SHAPE), draw(*SHAPE) + 1, jnp.array((0.3, -2.0))
    for strides in (STRIDES, (2.0, 1.0), (100.0, 0.5)):
        options = {"method": method, "ramp": ramp}
        function, s = settled(SHAPE, strides, **options), jnp.array(strides)
        expected, core_pullback = core.vjp(np.asarray(x), np.array(strides), **options)
        g = draw(*expected.shape)

        @jax.jit  # one program: called one by one, each derivative compiles by itself
        def everything(x, s, g, dx, ds, function=function):
            y, pullback = jax.vjp(function, x, s)
            return y, *pullback(g), *jax.jvp(function, (x, s), (dx, ds))

        for got, wanted in zip(
            everything(x, s, g, dx, ds),
            (
                expected,
                *core_pullback(np.asarray(g)),
                *core.jvp(*map(np.asarray, (x, s, dx, ds)), **options),
            ),
            strict=True,
        ):
            close(got, wanted)


@pytest.mark.parametrize(
    ("method", "ramp", "strides"),
    [("matmul", "inside", STRIDES), ("fft", "outside", STRIDES[1:])],
)
def test_first_and_second_derivatives(method, ramp, strides):
    """Both modes and their pairings against differences; of two axes among each other once."""
    function = settled(SHAPE, strides, method=method, ramp=ramp, smoothness=2.0)
    check_grads(function, (draw(*SHAPE), jnp.array(strides)), order=2)


@FORMS
def test_spectral_pool_derivatives(method):
    x = draw(*SHAPE)
    function = jax.jit(partial(spectral_pool, out_sizes=(4, 3), method=method))
    check_grads(function, (x,), order=2)
    close(function(x), core.spectral_pool(np.asarray(x), (4, 3)))


@FORMS
def test_spectral_resize_derivatives(method):
    """One axis grows and one shrinks; compiled, mapped, and in both modes."""
    x = draw(*SHAPE)
    function = jax.jit(partial(spectral_resize, sizes=(9, 3), method=method))
    check_grads(function, (x,), order=2)
    close(function(x), core.spectral_resize(np.asarray(x), (9, 3)))
    close(jax.vmap(function)(x), function(x))


def primitives(jaxpr, tainted, seen):
    """Note the shapes of all arrays in a jaxpr, and in those inside it, that depend on some inputs.

    ``tainted`` says which inputs; what is returned says which outputs.
    """
    depends = {var for var, is_tainted in zip(jaxpr.invars, tainted, strict=True) if is_tainted}
    for equation in jaxpr.eqns:
        is_tainted = [not hasattr(var, "val") and var in depends for var in equation.invars]
        inner = [
            getattr(value, "jaxpr", value)
            for value in jax.tree.leaves(
                list(equation.params.values()),
                is_leaf=lambda leaf: hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr"),
            )
            if hasattr(value, "eqns") or hasattr(value, "jaxpr")
        ]
        out = [any(is_tainted)] * len(equation.outvars)
        for one in inner:
            assert len(one.invars) == len(is_tainted), f"{equation.primitive} is not understood"
            out = primitives(one, is_tainted, seen)
        for var, is_out in zip(equation.outvars, out, strict=True):
            if is_out:
                depends.add(var)
                seen.add(tuple(var.aval.shape))
    return [not hasattr(var, "val") and var in depends for var in jaxpr.outvars]


def shapes_that_depend(function, arguments, on):
    """Shapes of what ``function`` computes from the arguments at the positions ``on``."""
    closed = jax.make_jaxpr(function)(*arguments)
    seen = set()
    primitives(closed.jaxpr, [position in on for position in range(len(arguments))], seen)
    return seen


@FORMS
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint], ids=["", "jit", "remat"])
def test_stride_gradient_is_skinny(method, wrap):
    """Nothing that depends on x or g is an (n x N) matrix, or a spectrum in the pullback."""
    batch, size = 3, 128
    plan = core.make_plan((batch, size), (2.2,), method=method)
    (n,) = plan.out_sizes
    assert 80 > n > 40
    x, s, g = draw(batch, size), jnp.array([2.2]), draw(batch, n)
    wide = {(n, size), (size, n)}

    function = wrap(partial(diffstride, plan=plan))

    def dstrides(x, s, g):
        return jax.vjp(lambda s: function(x, s), s)[1](g)

    def both(x, s, g):
        return jax.vjp(function, x, s)[1](g)

    for gradient in (dstrides, both):
        shapes = shapes_that_depend(gradient, (x, s, g), on=(0, 2))
        assert (batch, 8) in shapes  # the ramp's coefficients
        assert not shapes & wide
    # The way back to the strides alone needs no spectrum, and no A^T g.
    shapes = shapes_that_depend(dstrides, (x, s, g), on=(2,))
    assert not shapes & {(batch, size), (batch, size // 2 + 1), (batch, n // 2 + 1)}


def test_only_the_gradients_asked_for():
    """Without the strides' gradient nothing is computed on the ramp."""
    x, s, g = draw(3, 128), jnp.array([2.2]), draw(3, 59)
    function = settled(x.shape, (2.2,))

    def gradient(position, x, s, g):
        return jax.vjp(function, x, s)[1](g)[position]

    def dx_alone(x, s, g):
        return jax.vjp(lambda x: function(x, s), x)[1](g)

    rows = (8, 128)
    assert rows in shapes_that_depend(partial(gradient, 1), (x, s, g), on=(1,))
    assert rows not in shapes_that_depend(dx_alone, (x, s, g), on=(1,))


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint], ids=["", "jit", "remat"])
def test_a_resampling_that_nothing_flows_through(wrap):
    """Without a tangent of x or of the strides the rule has nothing to add."""
    x, s = draw(2, 16), jnp.array([2.0])
    function, fixed = settled(x.shape, (2.0,)), jax.lax.stop_gradient
    loss = wrap(lambda w, x, s: (w * function(fixed(x), fixed(s))).sum())
    dw, dx, ds = jax.grad(loss, (0, 1, 2))(2.0, x, s)
    close(dw, function(x, s).sum())
    assert not dx.any()
    assert not ds.any()


def test_the_walk_finds_a_wide_cotangent():
    """What the test above looks for is found where it is: in JAX's own derivative of A x."""
    x, s, g = draw(3, 128), jnp.array([2.2]), draw(3, 59)
    plan = core.make_plan(x.shape, (2.2,), method="matmul")

    def naive(x, s, g):
        return jax.vjp(jax.jit(lambda s: core.diffstride(x, s, plan=plan)), s)[1](g)

    assert shapes_that_depend(naive, (x, s, g), on=(0, 2)) & {(59, 128), (128, 59)}


def test_only_what_is_needed_is_saved():
    """For the stride gradient the ramp's bins of x are kept, and x is not."""
    x, s = draw(3, 128), jnp.array([2.2])
    function = settled(x.shape, (2.2,))
    _, pullback = jax.vjp(lambda s: function(x, s), s)
    kept = {leaf.shape for leaf in jax.tree.leaves(pullback)}
    assert (3, 8) in kept
    assert (3, 128) not in kept


def energy(function):
    return lambda x, strides: jnp.sin(function(x, strides)).sum()


def test_transforms_of_jax():
    """jacfwd, jacrev, grad, hessian, checkpoint and scan agree; vmap over inputs and strides."""
    x, s = draw(*SHAPE), jnp.array(STRIDES)
    function = settled(SHAPE, STRIDES)
    gradient = jax.jit(jax.grad(energy(function), (0, 1)))
    expected = gradient(x, s)
    for derivative in (
        jax.jacfwd(energy(function), (0, 1)),
        jax.jacrev(energy(function), (0, 1)),
        jax.grad(jax.checkpoint(energy(function)), (0, 1)),
    ):
        for got, wanted in zip(jax.jit(derivative)(x, s), expected, strict=True):
            close(got, wanted)

    def scanned(x, s):
        return jax.lax.scan(lambda total, row: (total + energy(function)(row, s), 0), 0.0, x)[0]

    stacked = jnp.stack([x, 2 * x])
    got = jax.jit(jax.grad(scanned, (0, 1)))(stacked, s)
    other = gradient(2 * x, s)
    close(got[0], jnp.stack([expected[0], other[0]]))
    close(got[1], expected[1] + other[1])
    pairs = jax.jit(jax.vmap(function))(stacked, jnp.stack([s, 1.01 * s]))
    close(pairs, jnp.stack([function(x, s), function(2 * x, 1.01 * s)]))
    close(
        jax.jit(jax.vmap(function, (0, None)))(stacked, s),
        jnp.stack([function(x, s), function(2 * x, s)]),
    )


@RAMPS
def test_second_derivatives_beyond_a_bound_are_those_at_it(ramp):
    """Of the strides among each other, and of strides and input; both orders of them agree."""
    x, low = draw(2, 12, 12), core.stride_bounds(12, ramp=ramp)[0]
    plan = core.make_plan(x.shape, (low, 2.21), ramp=ramp)

    def energy(x, s):
        return jnp.tanh(diffstride(x, s, plan=plan)).sum()

    @jax.jit
    def curvature(s):
        return jax.hessian(energy, argnums=(0, 1))(x, s)

    (_, mixed), (other, both) = curvature(jnp.array((low / 2, 2.21)))
    for got, wanted in zip(
        (mixed, both), (row[1] for row in curvature(jnp.array((low, 2.21)))), strict=True
    ):
        assert jnp.any(wanted[..., 0] != 0)
        close(got, wanted)
    close(both, both.T)
    close(other, jnp.moveaxis(mixed, -1, 0))


def test_hessian_in_x_is_that_of_a_linear_map():
    """Of |A x|^2 it is 2 A^T A."""
    x, s = draw(1, 9), jnp.array([1.7])
    function = settled(x.shape, (1.7,))
    matrix = jax.jit(jax.jacrev(lambda row: function(row[None], s)[0]))(x[0])
    hessian = jax.jit(jax.hessian(lambda row: (function(row[None], s) ** 2).sum()))(x[0])
    close(hessian, 2 * matrix.T @ matrix)


def test_compiles_once_while_strides_and_batches_of_one_shape_move():
    """The plan is a constant that jit compares by value."""
    traced = []

    @partial(jax.jit, static_argnames="plan")
    def function(x, strides, plan):
        traced.append(plan)
        return diffstride(x, strides, plan=plan)

    x = draw(2, 32)
    for stride in (2.0, 2.1, 2.2):
        function(x, jnp.array([stride]), core.make_plan(x.shape, (2.0,)))
    assert len(traced) == 1
    function(x, jnp.array([4.0]), core.make_plan(x.shape, (4.0,)))
    assert len(traced) == 2


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.vmap, jax.jacfwd])
def test_traced_strides_without_a_plan(transform):
    """The error shows the call to write instead."""
    message = r"strides: got .*cannot be read.*plan = make_plan\(x\.shape.*call with plan=plan"
    function = transform(lambda strides: diffstride(draw(2, 16), strides).sum())
    with pytest.raises(TypeError, match=message):
        function(jnp.full((2, 1) if transform is jax.vmap else (1,), 2.0))


@FORMS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype, method):
    """Values and dx in x's dtype, the stride gradient in the strides': near those of float64."""
    x = draw(4, 32, 20, dtype=dtype)
    s = jnp.array([2.2, 1.7], dtype="float32")
    plan = core.make_plan(x.shape, (2.2, 1.7), method=method)
    function = jax.jit(partial(diffstride, plan=plan))
    if method == "fft":
        with pytest.raises(TypeError, match=f"method: got 'fft' for {dtype}.*write method='auto'"):
            function(x, s)
        return
    y, pullback = jax.vjp(function, x, s)
    dx, ds = pullback(y)
    assert (y.dtype, dx.dtype, ds.dtype) == (dtype, dtype, "float32")
    exact, exact_pullback = jax.vjp(function, x.astype("float64"), s)
    wanted_dx, wanted_ds = exact_pullback(exact)
    tolerance = 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(y.astype("float64"), exact, atol=tolerance * 3)
    np.testing.assert_allclose(dx.astype("float64"), wanted_dx, atol=tolerance * 3)
    np.testing.assert_allclose(ds, wanted_ds, rtol=tolerance * 3)


def test_long_axes_in_half_precision():
    """Where "auto" takes the FFT, it computes in float32 and returns x's dtype."""
    x = draw(2, 600, dtype="bfloat16")
    y = jax.jit(partial(diffstride, strides=(2.2,)))(x)
    assert y.dtype == "bfloat16"
    wanted = core.diffstride(np.asarray(x, dtype="float64"), (2.2,))
    np.testing.assert_allclose(y.astype("float64"), wanted, atol=0.02)


def test_dtypes_of_strides_and_inputs_may_differ():
    s = jnp.array([2.2], dtype="float32")
    function = settled((2, 16), (2.2,))
    y, pullback = jax.vjp(function, draw(2, 16), s)
    dx, ds = pullback(y)
    assert (y.dtype, dx.dtype, ds.dtype) == ("float64", "float64", "float32")
    y, pullback = jax.vjp(function, draw(2, 16, dtype="float32"), s.astype("float64"))
    assert [y.dtype, *(one.dtype for one in pullback(y))] == ["float32", "float32", "float64"]


def test_exported_with_a_free_batch():
    """jax.export keeps the batch size open, also in the gradient."""
    plan = core.make_plan((1, 30, 17, 3), (2.2, 1.3), axes=(1, 2))

    def gradient(x, strides):
        return jax.grad(lambda s: (diffstride(x, s, plan=plan) ** 2).sum())(strides)

    (batch,) = jax.export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, 30, 17, 3), "float32")
    s, larger = jnp.array([2.2, 1.3], dtype="float32"), draw(5, 30, 17, 3, dtype="float32")
    for function in map(jax.jit, (partial(diffstride, plan=plan), gradient)):
        program = jax.export.export(function)(x, jax.ShapeDtypeStruct((2,), "float32"))
        np.testing.assert_allclose(program.call(larger, s), function(larger, s), rtol=1e-4)


def test_numpy_input_is_converted():
    x = np.random.default_rng(0).normal(size=(2, 16))

    @jax.jit
    def both():
        found = diffstride(x, np.array([2.0])), spectral_pool(x, (8,))
        # What NumPy had computed would come out as an array of JAX's all the same.
        assert all(isinstance(one, jax.Array) for one in found)
        return found

    for got, wanted in zip(
        both(), (core.diffstride(x, (2.0,)), core.spectral_pool(x, (8,))), strict=True
    ):
        close(got, wanted)


def test_an_empty_batch():
    function = settled((0, 16), (2.0,), method="fft", ramp="inside")
    y, pullback = jax.vjp(function, draw(0, 16), jnp.array([2.0]))
    assert y.shape == (0, 8)
    dx, ds = pullback(y)
    assert dx.shape == (0, 16)
    assert ds.tolist() == [0.0]


@pytest.mark.parametrize("function", [diffstride, spectral_pool])
def test_refuses_other_arrays(function):
    for other in ([1.0, 2.0], "ones"):
        name = type(other).__name__
        message = re.escape(f"x: got {name}; allowed: a jax.Array or a numpy.ndarray; instead: con")
        with pytest.raises(TypeError, match=message):
            function(other, (2,))
    with pytest.raises(TypeError, match=r"x: got a masked array \(MaskedArray\); allowed"):
        function(np.ma.array(np.ones((2, 8)), mask=False), (2,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: diffstride(x, (-1.0,)), r"strides: got -1\.0 at position 0; allowed: finite"),
        (lambda x: diffstride(x, 2.0), r"strides: got 2\.0 \(float\); allowed: a sequence"),
        (lambda x: diffstride(x, (jnp.array(2.0),)), "arrays inside a sequence would lose their"),
        (lambda x: diffstride(x, (2.0,), ramp="up"), "ramp: got 'up'; allowed: 'inside', 'out"),
        (lambda x: diffstride(x > 0, (2.0,)), "x: got dtype bool; allowed: real floating point"),
        (lambda x: diffstride(1.0, (2.0,)), r"x: got shape \(\); allowed: at least one dim"),
        (
            lambda x: diffstride(x, (2.0,), plan=core.make_plan((2, 9), (2.0,))),
            r"plan: got a plan for shape \(2, 9\) and an array of shape \(2, 16\)",
        ),
        (lambda x: spectral_pool(x, (17,)), "out_sizes: got 17 for axis 1; allowed: 1 to 16"),
    ],
)
def test_bad_input_is_refused_as_by_the_core(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(draw(2, 16))


THIRTY_TWO_BITS = """
import jax, jax.numpy as jnp, numpy as np, spectral_stride as core
from spectral_stride.jax import diffstride
values = np.random.default_rng(0).normal(size=(3, 40)).astype("float32")
for method in ("matmul", "fft"):
    plan = core.make_plan(values.shape, (2.2,), method=method)
    function = jax.jit(lambda x, s: diffstride(x, s, plan=plan))
    y, pullback = jax.vjp(function, jnp.asarray(values), jnp.array([2.2]))
    wanted, numpy_pullback = core.vjp(values, (2.2,), plan=plan)
    for got, one in zip((y, *pullback(y)), (wanted, *numpy_pullback(wanted)), strict=True):
        assert got.dtype == "float32"
        np.testing.assert_allclose(got, one, rtol=2e-5, atol=2e-5)
    assert function(values.astype("float64"), jnp.array([2.2])).dtype == "float32"
"""


def test_without_64_bits():
    """JAX's own default, in a fresh interpreter: float32 throughout, and not one warning."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", THIRTY_TWO_BITS],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Every pair of options, in half of the combinations.
@pytest.mark.parametrize(
    ("ramp", "stride", "method"),
    [
        ("outside", 2.3, "fft"),
        ("outside", 100.0, "matmul"),
        ("inside", 2.3, "matmul"),
        ("inside", 100.0, "fft"),
    ],
)
def test_strict_promotion_of_dtypes(ramp, stride, method):
    """Of the core and of the adapter: nothing is left to promotion, which is refused in a trace."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 24)), "float32")
    strides = jnp.asarray([stride], "float32")
    plan = core.make_plan(x.shape, (stride,), ramp=ramp, method=method)

    def every(x, strides):
        call = partial(diffstride, plan=plan)
        y, pullback = jax.vjp(call, x, strides)
        core_y, core_pullback = core.vjp(x, strides, plan=plan)
        return (
            *(y, *pullback(y), *jax.jvp(call, (x, strides), (x, strides))),
            *(core_y, *core_pullback(y), *core.jvp(x, strides, x, strides, plan=plan)),
        )

    expected = jax.eval_shape(every, x, strides)
    assert {one.dtype for one in expected} == {jnp.dtype("float32")}
    with jax.numpy_dtype_promotion("strict"):
        assert jax.eval_shape(every, x, strides) == expected


NO_NUMBERS = [
    *(np.asarray([[one] * 8]) for one in ("a", None, b"a", np.datetime64(1, "s"))),
    10**30,
    10**5000,  # longer than Python writes
]


@pytest.mark.parametrize("x", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_an_array_of_what_jax_has_no_numbers_for_is_refused(x):
    """In the words of this library, and not in those of JAX about its own parts."""
    for call in (lambda: diffstride(x, (2.0,)), lambda: spectral_pool(x, (4,))):
        with pytest.raises(TypeError, match=r"^x: got dtype .*; allowed: real floating .*; inst"):
            call()
