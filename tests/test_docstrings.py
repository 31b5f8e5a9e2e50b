"""Every example in a docstring of the core runs, and every public function has one."""

import doctest
import importlib
import inspect

import pytest

import spectral_stride as ss

FUNCTIONS = [name for name in ss.__all__ if inspect.isfunction(getattr(ss, name))]
MODULES = sorted({getattr(ss, name).__module__ for name in FUNCTIONS})


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name), verbose=False)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example(name):
    function = getattr(ss, name)
    assert doctest.DocTestFinder(recurse=False).find(function, globs={})[0].examples
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"\n{section}\n" in inspect.getdoc(function)
