"""The array libraries that the core is tested on, how it is called, and how arrays compare."""

import importlib
import os
from enum import Enum
from functools import lru_cache

import array_api_compat
import numpy as np
import pytest

import spectral_stride as ss

REQUIRE_ALL = "SPECTRAL_STRIDE_REQUIRE_ALL"


def load(name):
    """Import a library. Without it the test is skipped, or fails if the environment says so."""
    try:
        library = importlib.import_module(name)
    except ImportError as error:
        if os.environ.get(REQUIRE_ALL) == "1":
            pytest.fail(f"{name} is not installed, and {REQUIRE_ALL}=1 wants it: {error}")
        pytest.skip(f"{name} is not installed ({REQUIRE_ALL}=1 makes this a failure)")
    return library


@lru_cache
def configured(name):
    """A library, set up for tests: JAX with 64 bits, the strict one with nothing but the FFT."""
    library = load(name)
    if name == "jax":
        library.config.update("jax_enable_x64", True)
        return library.numpy
    if name == "array_api_strict":
        library.set_array_api_strict_flags(
            boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=("fft",)
        )
    return library


def flat_vjp(x, strides, g, **options):
    """The output and both gradients, in one function of arrays."""
    y, pullback = ss.vjp(x, strides, **options)
    return y, *pullback(g)


@lru_cache
def compiled(function):
    """The function under ``jax.jit``, with the plan as a constant."""
    return load("jax").jit(function, static_argnames="plan")


class Backend(Enum):
    """One way of calling the core: an array library, run eagerly or compiled."""

    NUMPY = "numpy"
    STRICT = "array_api_strict"
    TORCH = "torch"
    JAX = "jax"
    JIT = "jax.jit"

    def __str__(self):
        return self.value

    @property
    def namespace(self):
        """The array namespace, as the core sees it."""
        library = configured(self.value.partition(".")[0])
        return array_api_compat.array_namespace(library.zeros(1))

    @property
    def is_compiling(self):
        """Whether every new size costs a compilation."""
        return self in (Backend.JAX, Backend.JIT)

    def asarray(self, values, dtype="float64", **where):
        """An array of this library. NumPy's are read-only: whoever writes to an input is caught."""
        xp = self.namespace
        array = xp.asarray(values, dtype=getattr(xp, dtype), **where)
        if self is Backend.NUMPY:
            array = array.copy()
            array.setflags(write=False)
        return array

    def diffstride(self, x, strides, **options):
        """`spectral_stride.diffstride`, called this way."""
        return self._call(ss.diffstride, x, strides, options=options)

    def vjp(self, x, strides, g, **options):
        """The output and both gradients, called this way."""
        return self._call(flat_vjp, x, strides, g, options=options)

    def jvp(self, x, strides, dx, dstrides, **options):
        """`spectral_stride.jvp`, called this way."""
        return self._call(ss.jvp, x, strides, dx, dstrides, options=options)

    def _call(self, function, x, strides, *others, options):
        if self is not Backend.JIT:
            return function(x, strides, *others, **options)
        plan = options.get("plan") or ss.make_plan(x.shape, strides, **options)
        arrays = [
            self.asarray(values, working(x)) if isinstance(values, tuple) else values
            for values in (x, strides, *others)
        ]
        return compiled(function)(*arrays, plan=plan)


def dtype_name(array):
    """The name of an array's dtype, without its library's."""
    return str(array.dtype).rpartition(".")[2]


def working(x):
    """The name of the dtype that masks and stride gradients of ``x`` have."""
    name = dtype_name(x)
    return name if name.startswith("float") and name != "float16" else "float32"


def to_numpy(array):
    """A float64 NumPy copy of an array of any library."""
    if array_api_compat.is_torch_array(array):
        array = array.detach().double()
    elif array_api_compat.array_namespace(array).__name__ == "array_api_strict":
        array = array.to_device(type(array.device)("CPU_DEVICE"))
    return np.asarray(array).astype(np.float64)


def assert_array(actual, desired, *, like, atol, dtype=None):
    """Check namespace, dtype, shape and device first, then values to within ``atol``.

    Namespace and device are those of the array ``like``, and so is the dtype if none is named.
    """
    __tracebackhide__ = True
    assert array_api_compat.array_namespace(actual) is array_api_compat.array_namespace(like)
    assert dtype_name(actual) == (dtype or dtype_name(like))
    assert tuple(actual.shape) == np.shape(desired)
    assert array_api_compat.device(actual) == array_api_compat.device(like)
    np.testing.assert_allclose(to_numpy(actual), desired, rtol=0, atol=atol)
