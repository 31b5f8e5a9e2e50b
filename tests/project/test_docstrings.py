"""Every example in a public docstring runs, and every public name has one."""

import doctest
import importlib
import inspect

import pytest

import spectral_stride as ss
import spectral_stride.jax as ssj
import spectral_stride.torch as sst
from spectral_stride.torch.training import config, words
from spectral_stride.torch.training import macs as cost
from spectral_stride.torch.training import networks as models
from tests.libraries import load, unavailable

PUBLIC = [
    pytest.param(getattr(package, name), id=f"{package.__name__}.{name}")
    for package in (ss, ssj, sst)
    for name in package.__all__
    if name != "Plan"  # make_plan has the example
]
MODULES = sorted(
    {parameter.values[0].__module__ for parameter in PUBLIC}
    | {module.__name__ for module in (config, cost, models, words)}
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name), verbose=False)
    assert result.failed == 0
    assert result.attempted > 0 or ".training." in name


@pytest.mark.parametrize("thing", PUBLIC)
def test_every_public_name_is_documented(thing):
    assert_documented(thing)


@pytest.mark.parametrize("name", ["diffstride", "jvp", "spectral_pool", "spectral_resize", "vjp"])
def test_every_public_name_for_cupy_is_documented(name):
    load("cupy")
    assert_documented(getattr(importlib.import_module("spectral_stride.cupy"), name))


@pytest.mark.gpu
def test_examples_for_cupy_run():
    if not load("cupy").is_available():
        unavailable("CuPy finds no CUDA device: its examples run on NumPy in test_cupy.py alone")
    result = doctest.testmod(importlib.import_module("spectral_stride.cupy.functional"))
    assert result.failed == 0
    assert result.attempted > 0


def assert_documented(thing):
    """What it takes, what it gives, what it refuses, and an example."""
    text = inspect.getdoc(thing)
    assert ">>>" in text
    returns = [] if inspect.isclass(thing) else ["Returns"]
    for section in ("Parameters", *returns, "Raises", "Examples"):
        assert f"\n{section}\n---" in text
