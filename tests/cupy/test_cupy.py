"""spectral_stride.cupy: the core on a GPU. Without one: what it asks of CuPy, and its own words."""

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import spectral_stride as ss
from tests.core.test_errors import check, refusal
from tests.libraries import load, unavailable

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["diffstride", "jvp", "spectral_pool", "spectral_resize", "vjp"]
SHAPE, STRIDES = (2, 3, 32, 27), (2.63, 3.21)


@pytest.fixture(scope="module")
def adapter():
    load("cupy")
    return importlib.import_module("spectral_stride.cupy")


# --- What the core asks of CuPy's namespace, which loads without a GPU ---------------------------


def attribute(node):
    """The name under ``xp`` or ``array_namespace(...)`` that an expression stands for, if any."""
    if not isinstance(node, ast.Attribute):
        return None
    if isinstance(node.value, ast.Attribute):
        inner = attribute(node.value)
        return f"{inner}.{node.attr}" if inner == "fft" else None
    root = node.value
    called = isinstance(root, ast.Call) and getattr(root.func, "id", "") == "array_namespace"
    return node.attr if called or getattr(root, "id", "") == "xp" else None


def demands():
    """Each name of the namespace that the core uses, with the ways in which it is called."""
    found = {}
    for path in (ROOT / "spectral_stride").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = attribute(node.func if isinstance(node, ast.Call) else node)
            if name is None or name == "fft":
                continue
            calls = found.setdefault(name, set())
            if isinstance(node, ast.Call):
                calls.add((len(node.args), tuple(sorted(word.arg for word in node.keywords))))
    return found


DEMANDS = demands()


def test_the_demands_are_found():
    assert {"fft.rfft", "matmul", "permute_dims", "float32", "where"} <= set(DEMANDS)
    assert (1, ("axis", "norm")) in DEMANDS["fft.rfft"]
    assert DEMANDS["float32"] == set()


@pytest.mark.parametrize("name", sorted(DEMANDS))
def test_cupy_has_what_the_core_calls(name):
    """The name exists, and takes as many arguments, and those keywords."""
    load("cupy")
    thing = importlib.import_module("array_api_compat.cupy")
    for part in name.split("."):
        thing = getattr(thing, part)
    for count, keywords in DEMANDS[name]:
        if isinstance(thing, importlib.import_module("cupy").ufunc):
            assert keywords == ()
            assert count == thing.nin
        else:
            inspect.signature(thing).bind(*range(count), **dict.fromkeys(keywords))


def test_the_core_never_clips():
    """array_api_compat clips CuPy arrays by boolean indexing, which waits for the device."""
    assert "clip" not in DEMANDS


# --- The adapter's own logic, on a stand-in for CuPy made of NumPy -------------------------------


class HostArray(np.ndarray):
    """A NumPy array with a device to enter, which remembers what was read as Python numbers."""

    device = nullcontext()
    read: list[tuple[int, ...]] = []  # noqa: RUF012  # one list for all of them

    def tolist(self):
        self.read.append(self.shape)
        return super().tolist()


def on_device(values):
    return np.array(values).view(HostArray)


@pytest.fixture
def stand_in(adapter, monkeypatch):
    """CuPy's name for NumPy arrays, in the adapter and in its examples."""
    module = ModuleType("cupy")
    module.ndarray, module.is_available, module.pi = HostArray, lambda: True, np.pi
    module.ones = lambda shape: on_device(np.ones(shape))
    module.arange = lambda stop: on_device(np.arange(stop))
    module.cos = np.cos
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr("spectral_stride.cupy.functional.cupy", module)
    monkeypatch.setattr(HostArray, "read", [])
    return adapter


def test_every_function_is_the_cores(stand_in):
    """Same results, arguments handed on, for all functions."""
    x = np.random.default_rng(0).normal(size=SHAPE)
    held, options = on_device(x), {"axes": (0, 2), "ramp": "inside", "norm": "ortho"}
    y, pullback = ss.vjp(x, (1.5, 2.5), **options)
    got, got_pullback = stand_in.vjp(held, (1.5, 2.5), **options)
    np.testing.assert_array_equal(got, y)
    np.testing.assert_array_equal(stand_in.diffstride(held, (1.5, 2.5), **options), y)
    for ours, cores in zip(got_pullback(got), pullback(y), strict=True):
        np.testing.assert_array_equal(ours, cores)
    for dx, dstrides in ((held, None), (None, (1.0, 2.0)), (held, (1.0, 2.0))):
        ours = stand_in.jvp(held, (1.5, 2.5), dx, dstrides, **options)
        cores = ss.jvp(x, (1.5, 2.5), None if dx is None else x, dstrides, **options)
        np.testing.assert_array_equal(ours[1], cores[1])
    pool = {"axes": (1, 3), "norm": "backward", "method": "fft"}
    np.testing.assert_array_equal(
        stand_in.spectral_pool(held, (2, 9), **pool), ss.spectral_pool(x, (2, 9), **pool)
    )
    np.testing.assert_array_equal(
        stand_in.spectral_resize(held, (5, 40), **pool), ss.spectral_resize(x, (5, 40), **pool)
    )


def test_the_host_reads_the_strides_once_and_nothing_with_a_plan(stand_in):
    x, strides = on_device(np.ones(SHAPE)), on_device(STRIDES)
    y, pullback = stand_in.vjp(x, strides)
    pullback(y)
    assert HostArray.read == [(2,)]
    plan = ss.make_plan(SHAPE, STRIDES)
    y, pullback = stand_in.vjp(x, strides, plan=plan)
    pullback(y)
    stand_in.jvp(x, strides, x, strides, plan=plan)
    stand_in.diffstride(x, strides, plan=plan)
    stand_in.spectral_pool(x, (4, 4))
    assert HostArray.read == [(2,)]


def test_work_runs_on_the_device_of_x(stand_in, monkeypatch):
    """Every call enters x's device once, the pullback too, whichever is current."""
    entered = []

    class Device(nullcontext):
        def __enter__(self):
            entered.append("in")

    monkeypatch.setattr(HostArray, "device", Device())
    x = on_device(np.ones(SHAPE))
    y, pullback = stand_in.vjp(x, STRIDES)
    for call in (
        lambda: stand_in.diffstride(x, STRIDES),
        lambda: stand_in.vjp(x, STRIDES),
        lambda: pullback(y),
        lambda: stand_in.jvp(x, STRIDES, x, None),
        lambda: stand_in.spectral_pool(x, (4, 4)),
        lambda: stand_in.spectral_resize(x, (40, 40)),
    ):
        entered.clear()
        call()
        assert entered == ["in"]


def test_arrays_of_other_libraries_are_refused(stand_in):
    x = on_device(np.ones(SHAPE))
    host = np.ones(SHAPE)
    _, pullback = stand_in.vjp(x, STRIDES)
    for name, call in {
        "x": [
            (stand_in.diffstride, host, STRIDES),
            (stand_in.vjp, host, STRIDES),
            (stand_in.jvp, host, STRIDES, None, None),
            (stand_in.spectral_pool, host, (4, 4)),
            (stand_in.spectral_resize, host, (40, 40)),
        ],
        "dx": [(stand_in.jvp, x, STRIDES, host, None)],
        "g": [(pullback, host)],
    }.items():
        for function, *arguments in call:
            check(
                refusal(TypeError, function, *arguments),
                name, "ndarray", "a cupy.ndarray", f"cupy.asarray({name})",
            )  # fmt: skip


def test_bad_input_meets_the_cores_checks(stand_in):
    x = on_device(np.ones(SHAPE))
    message = ("strides", "-1.0 at position 0", "finite numbers above 0", "at least 1")
    check(refusal(ValueError, stand_in.diffstride, x, (-1.0,)), *message)
    integers = on_device(np.ones(SHAPE, dtype=int))
    message = ("x", "int64", "real floating point", "convert it first")
    check(refusal(TypeError, stand_in.spectral_pool, integers, (4,)), *message)


def test_examples_give_what_they_show(stand_in):
    result = doctest.testmod(sys.modules["spectral_stride.cupy.functional"])
    assert result.failed == 0
    assert result.attempted >= len(NAMES)


# --- No device, no CuPy --------------------------------------------------------------------------


def test_without_a_device_the_call_says_so(adapter, monkeypatch):
    """The import works; the first call with an array says what is missing."""
    cupy = sys.modules["cupy"]
    monkeypatch.setattr(cupy, "is_available", lambda: False)
    x = np.ones(SHAPE)
    for name, *arguments in (
        ("diffstride", x, STRIDES),
        ("vjp", x, STRIDES),
        ("jvp", x, STRIDES, None, None),
        ("spectral_pool", x, (4, 4)),
        ("spectral_resize", x, (40, 40)),
    ):
        refused = refusal(RuntimeError, getattr(adapter, name), *arguments)
        check(refused, "x", "no CUDA device", "needs a GPU and a driver", "cupy.show_config()")
        assert cupy.__version__ in refused[1]


def test_without_cupy_the_import_says_what_to_install():
    """In a fresh interpreter that cannot import CuPy."""
    program = "import sys; sys.modules['cupy'] = None; import spectral_stride.cupy"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: cupy: got no CuPy that can be imported (")
    for part in ("; allowed: ", "pip install cupy-cuda13x", "cupy-cuda12x", "-e '.[cupy]'"):
        assert part in last


def test_the_public_names_are_the_cores(adapter):
    """The same names with the same parameters, so that the docs of the core apply."""
    assert adapter.__all__ == NAMES
    for name in NAMES:
        ours, cores = (inspect.signature(getattr(module, name)) for module in (adapter, ss))
        assert list(ours.parameters) == list(cores.parameters)


# --- On a GPU ------------------------------------------------------------------------------------


@pytest.fixture
def cupy(adapter):
    library = load("cupy")
    if not library.is_available():
        unavailable(f"CuPy {library.__version__} finds no CUDA device")
    return library


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("ramp", ["outside", "inside"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_numpy_on_the_device(cupy, adapter, method, ramp, dtype):
    x = np.random.default_rng(0).normal(size=SHAPE).astype(dtype)
    held = cupy.asarray(x)
    options = {"method": method, "ramp": ramp}
    y, pullback = ss.vjp(x, STRIDES, **options)
    got, got_pullback = adapter.vjp(held, cupy.asarray(STRIDES, dtype=dtype), **options)
    _, dy = ss.jvp(x, STRIDES, x, (0.3, -2.0), **options)
    _, got_dy = adapter.jvp(held, STRIDES, held, (0.3, -2.0), **options)
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    pairs = [
        (got, y),
        *zip(got_pullback(got), pullback(y), strict=True),
        (got_dy, dy),
        (adapter.diffstride(held, STRIDES, **options), y),
        (
            adapter.spectral_pool(held, (9, 8), method=method),
            ss.spectral_pool(x, (9, 8), method=method),
        ),
    ]
    for actual, expected in pairs:
        assert isinstance(actual, cupy.ndarray)
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual.get(), expected, rtol=tolerance, atol=tolerance)
