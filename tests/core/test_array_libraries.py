"""One core, many libraries: they agree with NumPy, keep devices and dtypes, and can be traced."""

import subprocess
import sys
from pathlib import Path

import array_api_compat
import numpy as np
import pytest

import spectral_stride as ss
from spectral_stride.axis import AxisMap
from spectral_stride.testing import known, oracles
from spectral_stride.testing.cases import Case
from tests.libraries import (
    BUT,
    REQUIRE_ALL,
    Backend,
    assert_array,
    flat_vjp,
    load,
)

METHODS = pytest.mark.parametrize("method", ["matmul", "fft"])


@METHODS
@pytest.mark.parametrize("as_array", [True, False], ids=["array of strides", "tuple of strides"])
@pytest.mark.parametrize("ramp", ["outside", "inside"])
@pytest.mark.parametrize("name", ["device1", "no_float64", "no_x64"])
def test_everything_stays_on_the_device_of_the_input(name, ramp, as_array, method):
    """No dtype= or device= is forgotten: a device without 64 bits refuses whatever else is made."""
    strict = Backend.STRICT.namespace
    device = strict.Device(name)
    dtype = "float64" if name == "device1" else "float32"
    values = np.random.default_rng(0).normal(size=(3, 8, 9))
    x, strides = (
        strict.asarray(array, dtype=getattr(strict, dtype), device=device)
        for array in (values, np.array([2.0, 1.5]))
    )
    if not as_array:
        strides = (2.0, 1.5)
    options = {"ramp": ramp, "method": method}
    y, pullback = ss.vjp(x, strides, **options)
    wanted, numpy_pullback = ss.vjp(values, (2.0, 1.5), **options)
    _, dy = ss.jvp(x, strides, x, strides, **options)
    pooled = ss.spectral_pool(x, (4, 5), method=method)
    found = [y, *pullback(y), dy, pooled]
    wanted = [
        wanted,
        *numpy_pullback(wanted),
        ss.jvp(values, (2.0, 1.5), values, (2.0, 1.5), **options)[1],
        ss.spectral_pool(values, (4, 5), method=method),
    ]
    for one, other in zip(found, wanted, strict=True):
        assert_array(one, other, like=x, atol=200 * np.finfo(dtype).eps)
    if as_array:
        mask = ss.soft_mask(16, strides[0], ramp=ramp)
        assert_array(mask, ss.soft_mask(16, 2.0, ramp=ramp), like=x, atol=1e-6)
        assert array_api_compat.device(ss.complexity([strides])) == device


def test_strides_of_another_library_are_numbers(xp):
    """Their gradient is of x's library and dtype: nothing else can be pulled back with it."""
    values = np.random.default_rng(0).normal(size=(2, 12))
    x = xp.asarray(values)
    y, pullback = ss.vjp(values, (2.0,))
    other = Backend.NUMPY if xp is Backend.TORCH else Backend.TORCH
    if xp is Backend.NUMPY:
        load("torch")
    strides = other.asarray([2.0], "float32")
    for plan in (None, ss.make_plan((2, 12), (2.0,))):
        found, found_pullback = ss.vjp(x, strides, plan=plan)
        dx, ds = found_pullback(found)
        for one, wanted in zip((found, dx, ds), (y, *pullback(y)), strict=True):
            assert_array(one, wanted, like=x, atol=1e-13)


def test_long_axes_need_no_integers_of_64_bits():
    """Phases are right where a library counts in 32 bits: products of 40000 and 20000 fit."""
    strict = Backend.STRICT.namespace
    values = np.random.default_rng(0).normal(size=40_000).astype("float32")
    x = strict.asarray(values, device=strict.Device("no_x64"))
    _, pullback = ss.vjp(x, (1.0,), ramp="inside", method="fft")
    _, wanted = ss.vjp(values.astype("float64"), (1.0,), ramp="inside", method="fft")
    expected = wanted(values.astype("float64"))[1]
    assert_array(pullback(x)[1], expected, like=x, atol=1e-5 * abs(expected[0]))


@METHODS
@pytest.mark.parametrize("ramp", ["outside", "inside"])
def test_shapes_alone_in_torch(ramp, method):
    """On the meta device nothing has a value: a plan reads none, and no device= is forgotten."""
    torch = load("torch")
    plan = ss.make_plan((2, 32, 9), (2.0, 1.5), ramp=ramp, method=method)
    x = torch.empty((2, 32, 9), device="meta")
    strides = torch.empty(2, device="meta")
    y, pullback = ss.vjp(x, strides, plan=plan)
    dx, ds = pullback(y)
    _, dy = ss.jvp(x, strides, x, strides, plan=plan)
    for array, shape in [(y, plan.out_shape), (dx, x.shape), (ds, (2,)), (dy, plan.out_shape)]:
        assert tuple(array.shape) == tuple(shape)
        assert array.device.type == "meta"
        assert array.dtype == torch.float32
    assert ss.spectral_pool(x, (4,)).shape == (2, 32, 4)
    assert ss.soft_mask(16, strides[0]).device.type == "meta"


HALVES = [
    (Backend.NUMPY, "float16"),
    (Backend.TORCH, "float16"),
    (Backend.TORCH, "bfloat16"),
    (Backend.JIT, "float16"),
    (Backend.JIT, "bfloat16"),
]


@pytest.mark.parametrize(("xp", "dtype"), HALVES, indirect=["xp"], ids=str)
@pytest.mark.parametrize("size", [12, 600])
def test_half_precision(xp, dtype, size):
    """Products in 16 bits by matmul, or in 32 by FFT on long axes; strides and masks in 32."""
    eps = float(xp.namespace.finfo(getattr(xp.namespace, dtype)).eps)
    # Multiples of 1/8 are numbers of either dtype.
    case = Case((4, size), (1,), (size / 4,), {}, ramp="inside", dtype="float32")
    x, g = (np.round(8 * case.values(shape, 1)) / 8 for shape in (case.shape, case.out_shape))
    array = xp.asarray(x, dtype)
    y, dx, ds = xp.vjp(array, case.strides, xp.asarray(g, dtype), **case.options)
    _, dy = xp.jvp(array, case.strides, array, (0.5,), **case.options)
    A, slopes = case.matrices()
    expected = oracles.apply(A, x, (1,))
    assert_array(y, expected, like=array, atol=4 * eps)
    assert_array(dx, g @ A[0], like=array, atol=4 * eps)
    terms = np.abs(g) @ np.abs(slopes[0]) * np.abs(x)
    gradient = oracles.stride_gradient(A, slopes, x, g, (1,))
    assert_array(ds, gradient, like=array, dtype="float32", atol=2 * eps * terms.sum())
    tangent = expected + oracles.stride_tangent(A, slopes, x, (0.5,), (1,))
    assert_array(dy, tangent, like=array, atol=8 * eps)


@METHODS
@pytest.mark.parametrize("ramp", ["outside", "inside"])
def test_vmap_over_strides_is_a_loop_in_torch(ramp, method):
    """Strides may be batched under torch.func.vmap, once the plan is given."""
    torch = load("torch")
    x, plan, strides, wanted = held_strides(ramp, method)
    tensor = torch.asarray(x)

    def forward_and_gradient(s):
        y, pullback = ss.vjp(tensor, s, plan=plan)
        return y, pullback(y)[1]

    found = torch.func.vmap(forward_and_gradient)(torch.asarray(strides))
    for one, other in zip(found, wanted, strict=True):
        assert_array(one, other, like=tensor, atol=1e-13)


@METHODS
@pytest.mark.parametrize("ramp", ["outside", "inside"])
def test_vmap_over_strides_is_a_loop_in_jax(ramp, method):
    """Strides may be batched under jax.vmap and jax.jit, once the plan is given."""
    jax = load("jax")
    x, plan, strides, wanted = held_strides(ramp, method)
    array = Backend.JAX.asarray(x)

    def forward_and_gradient(s):
        y, pullback = ss.vjp(array, s, plan=plan)
        return y, pullback(y)[1]

    found = jax.jit(jax.vmap(forward_and_gradient))(Backend.JAX.asarray(strides))
    for one, other in zip(found, wanted, strict=True):
        assert_array(one, other, like=array, atol=1e-13)


def held_strides(ramp, method):
    """An input, a plan, several strides inside it, and what a loop over them gives in NumPy."""
    x = np.random.default_rng(0).normal(size=(2, 12))
    plan = ss.make_plan(x.shape, (1.5,), smoothness=2.0, ramp=ramp, method=method)
    strides = np.array([[1.5], [2.0], [3.5]])
    pairs = [ss.vjp(x, s, plan=plan) for s in strides]
    wanted = [np.stack([y for y, _ in pairs]), np.stack([pull(y)[1] for y, pull in pairs])]
    return x, plan, strides, wanted


def test_a_compiled_function_is_compiled_once_while_strides_move():
    """The plan is the constant: another stride is no other program."""
    load("jax")
    plan = ss.make_plan((2, 8), (2.0,), ramp="inside")
    x = Backend.JAX.asarray(np.ones((2, 8)))
    function = known.jitted(flat_vjp)
    function(x, Backend.JAX.asarray([2.0]), x[:, :4], plan=plan)
    before = function._cache_size()
    function(x, Backend.JAX.asarray([2.25]), x[:, :4], plan=plan)
    assert function._cache_size() == before


def test_strides_of_another_library_are_read_on_the_host():
    """NumPy strides resample a torch tensor, and the other way round."""
    torch = load("torch")
    values = np.random.default_rng(0).normal(size=(16, 16))
    wanted = ss.diffstride(values, (2.0, 3.0))
    x = torch.asarray(values)
    assert_array(ss.diffstride(x, np.array([2.0, 3.0])), wanted, like=x, atol=1e-15)
    assert_array(ss.diffstride(values, torch.tensor([2.0, 3.0])), wanted, like=values, atol=0)


THIRTY_TWO_BITS = """
import jax, jax.numpy as jnp, numpy as np, spectral_stride as ss
values = np.random.default_rng(0).normal(size=(3, 40)).astype("float32")
for method in ("matmul", "fft"):
    for ramp in ("outside", "inside"):
        options = dict(ramp=ramp, method=method)
        x = jnp.asarray(values)
        plan = ss.make_plan(x.shape, (2.0,), **options)

        @jax.jit  # one program, and not one for each operation
        def everything(x, strides):
            y, pullback = ss.vjp(x, strides, plan=plan)
            return y, *pullback(y), ss.jvp(x, (2.0,), x, (1.0,), plan=plan)[1]

        wanted, numpy_pullback = ss.vjp(values, (2.0,), **options)
        found = everything(x, jnp.asarray([2.0]))
        wanted = (
            wanted,
            *numpy_pullback(wanted),
            ss.jvp(values, (2.0,), values, (1.0,), **options)[1],
        )
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == "float32"
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
"""


def test_jax_without_64_bits():
    """JAX's own default, in a fresh interpreter: float32 throughout, and not one warning."""
    load("jax")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", THIRTY_TWO_BITS],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_library_is_a_skip_or_a_failure(monkeypatch):
    """A skip says why; the environment can turn it into a failure, but for what it names."""
    monkeypatch.delenv(REQUIRE_ALL, raising=False)
    monkeypatch.delenv(BUT, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no_such_library is not installed") as skipped:
        load("no_such_library")
    assert skipped.value.allow_module_level  # some load it outside of their tests
    monkeypatch.setenv(REQUIRE_ALL, "1")
    monkeypatch.setenv(BUT, "library such_library")
    with pytest.raises(pytest.fail.Exception, match="no_such_library is not installed"):
        load("no_such_library")
    monkeypatch.setenv(BUT, "such_library no_such_library")
    with pytest.raises(pytest.skip.Exception, match="no_such_library is not installed"):
        load("no_such_library")


@pytest.mark.parametrize("method", ["auto", "matmul"])
@pytest.mark.parametrize(("shape", "axis"), [((0, 60000), 1), ((2, 0, 60000), 2), ((60000, 0), 0)])
def test_of_an_empty_batch_nothing_is_built(xp, shape, axis, method, monkeypatch):
    """On a long axis the matrix would have 1.8 thousand million entries."""
    monkeypatch.setattr(AxisMap, "build_matrix", lambda *_: pytest.fail("the dense matrix"))
    monkeypatch.setattr(AxisMap, "build_analysis", lambda *_: pytest.fail("the ramp's rows"))
    options = {"axes": (axis,), "method": method}
    x, strides = xp.asarray(np.zeros(shape)), xp.asarray([2.0])
    out = ss.make_plan(shape, (2.0,), **options).out_shape
    g = xp.asarray(np.zeros(out))
    y, dx, ds = xp.vjp(x, strides, g, **options)
    assert (tuple(y.shape), tuple(dx.shape), tuple(ds.shape)) == (out, shape, (1,))
    assert float(ds[0]) == 0
    _, dy = xp.jvp(x, strides, x, strides, **options)
    assert tuple(dy.shape) == out
    assert y.dtype == dy.dtype == dx.dtype == x.dtype
