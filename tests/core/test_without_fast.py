"""The fast room can be deleted: the core imports nothing of it, and gives the same numbers."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NUMBERS = """
import hashlib, sys
import array_api_strict, dask.array, jax.numpy, numpy as np, torch
import spectral_stride as ss

rng = np.random.default_rng(0)
for xp in (np, array_api_strict, torch, jax.numpy, dask.array):
    digest = hashlib.sha256()
    for method in ("matmul", "fft"):
        for shape, strides in [((3, 12, 9), (1.7, 2.0)), ((2, 300), (2.5,)), ((2, 8, 1), (2, 2))]:
            x, dx = (xp.asarray(rng.normal(size=shape).astype("float32")) for _ in range(2))
            y, pullback = ss.vjp(x, strides, method=method)
            arrays = y, *pullback(y), *ss.jvp(x, strides, dx, strides, ramp="inside")
            for array in arrays:
                digest.update(np.asarray(array).tobytes())
    print(digest.hexdigest())
assert not any(name.startswith("spectral_stride.fast") for name in sys.modules)
print(ss.__file__)
"""


def numbers(path):
    """Digests of results of all kinds for each library, and where the core was found."""
    done = subprocess.run(
        [sys.executable, "-c", NUMBERS], cwd=path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *digests, where = done.stdout.splitlines()
    assert Path(where).is_relative_to(path)
    return digests


def test_these_tests_run_without_it():
    for name in ("spectral_stride.fast", "spectral_stride.fast.taps"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_results_are_the_same_where_it_is_deleted(tmp_path):
    shutil.copytree(
        ROOT / "spectral_stride",
        tmp_path / "spectral_stride",
        ignore=shutil.ignore_patterns("torch", "jax", "cupy", "fast", "__pycache__"),
    )
    assert not (tmp_path / "spectral_stride/fast").exists()
    found = numbers(tmp_path)
    assert len(found) == 5
    assert found == numbers(ROOT)
