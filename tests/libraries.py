"""The array libraries that the core is tested on, how it is called, and how arrays compare."""

import importlib
import os
import sys
from enum import Enum
from pathlib import Path

import array_api_compat
import numpy as np
import pytest

import spectral_stride as ss
from spectral_stride.testing import known
from spectral_stride.testing.implementation import dtype_name, to_numpy

REQUIRE_ALL = "SPECTRAL_STRIDE_REQUIRE_ALL"
BUT = "SPECTRAL_STRIDE_REQUIRE_ALL_BUT"


def unavailable(reason):
    """Skip a test with its reason, or fail it if the environment says that nothing is missing.

    It may name packages that are missing all the same.
    """
    missing = reason.removesuffix(" is not installed").rpartition(" ")[2]
    may_miss = missing in os.environ.get(BUT, "").split()
    if os.environ.get(REQUIRE_ALL) == "1" and not may_miss:
        pytest.fail(f"{reason}, and {REQUIRE_ALL}=1 wants it")
    # A file of tests that all need a library loads it once, outside of them.
    pytest.skip(f"{reason} ({REQUIRE_ALL}=1 makes this a failure)", allow_module_level=True)


def load(name):
    """Import a library. Without it the test is skipped, or fails if the environment says so."""
    try:
        return importlib.import_module(name)
    except ImportError:
        unavailable(f"{name} is not installed")


def load_or_skip(implementation):
    """One of `KNOWN`, or a skip with the reason why it cannot run here."""
    try:
        return implementation.load()
    except known.UnavailableError as reason:
        return unavailable(f"{implementation.name}: {reason}")


def flat_vjp(x, strides, g, **options):
    """The output and both gradients, in one function of arrays."""
    y, pullback = ss.vjp(x, strides, **options)
    return y, *pullback(g)


def block_fast(monkeypatch):
    """Let every import of `spectral_stride.fast` fail from now on."""
    folder = Path(ss.__file__).parent / "fast"
    names = {f"spectral_stride.fast.{path.stem}" for path in folder.glob("*.py")}
    for name in {"spectral_stride.fast", *names}:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr(ss, "fast", raising=False)


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
        try:
            return known.namespace(self.value.partition(".")[0])
        except known.UnavailableError as error:
            return unavailable(str(error))

    @property
    def is_compiling(self):
        """Whether every new size costs a compilation."""
        return self in (Backend.JAX, Backend.JIT)

    def asarray(self, values, dtype="float64", **where):
        """An array of this library. NumPy's are read-only: whoever writes to an input is caught."""
        return known.make_array(self.namespace, values, dtype, **where)

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
        plan = known.planned(x, strides, options)
        arrays = [
            self.asarray(values, working(x)) if isinstance(values, tuple) else values
            for values in (x, strides, *others)
        ]
        return known.jitted(function)(*arrays, plan=plan)


def working(x):
    """The name of the dtype that masks and stride gradients of ``x`` have."""
    name = dtype_name(x)
    return name if name.startswith("float") and name != "float16" else "float32"


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
