"""The fast room can be deleted: the core imports nothing of it, and gives the same numbers."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.libraries import load

ROOT = Path(__file__).parents[2]

NUMBERS = """
import functools, hashlib, importlib, sys
import array_api_strict, dask.array, jax.numpy, numpy as np, torch

def everything(ss, x, dx, strides, method):
    y, pullback = ss.vjp(x, strides, method=method)
    return y, *pullback(y), *ss.jvp(x, strides, dx, strides, ramp="inside", method=method)

def digests(ss):
    rng = np.random.default_rng(0)
    for xp in (np, array_api_strict, torch, jax.numpy, dask.array):
        digest = hashlib.sha256()
        for method in ("matmul", "fft"):
            for shape, strides in SHAPES:
                x, dx = (xp.asarray(rng.normal(size=shape).astype("float32")) for _ in range(2))
                function = functools.partial(everything, ss, strides=strides, method=method)
                if xp is jax.numpy:  # one program, and not one for each operation
                    function = jax.jit(function)
                for array in function(x, dx):
                    digest.update(np.asarray(array).tobytes())
        yield digest.hexdigest()

SHAPES = [((3, 12, 9), (1.7, 2.0)), ((2, 300), (2.5,)), ((2, 8, 1), (2, 2))]
for path in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "spectral_stride"]:
        del sys.modules[name]
    sys.path.insert(0, path)
    ss = importlib.import_module("spectral_stride")
    print(ss.__file__, *digests(ss))
    assert not any(name.startswith("spectral_stride.fast") for name in sys.modules)
"""


def numbers(*paths):
    """Digests of results of all kinds for each library, by the core that is found in each path.

    One process for all of them: most of its time goes into importing the libraries.
    """
    done = subprocess.run(
        [sys.executable, "-c", NUMBERS, *map(str, paths)],
        cwd=paths[0],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    for path, (where, *_) in zip(paths, lines, strict=True):
        assert Path(where).is_relative_to(path)
    return [digests for _, *digests in lines]


def test_these_tests_run_without_it():
    for name in ("spectral_stride.fast", "spectral_stride.fast.taps"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_results_are_the_same_where_it_is_deleted(tmp_path):
    load("torch")
    shutil.copytree(
        ROOT / "spectral_stride",
        tmp_path / "spectral_stride",
        ignore=shutil.ignore_patterns("torch", "jax", "cupy", "fast", "__pycache__"),
    )
    assert not (tmp_path / "spectral_stride/fast").exists()
    without, beside = numbers(tmp_path, ROOT)
    assert len(without) == 5
    assert without == beside
