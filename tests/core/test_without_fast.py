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
import numpy as np
import spectral_stride as ss

digest = hashlib.sha256()
rng = np.random.default_rng(0)
for method in ("matmul", "fft"):
    for ramp in ("inside", "outside"):
        for shape, strides in [((3, 12, 9), (1.7, 2.0)), ((2, 300), (2.5,)), ((2, 8, 1), (2, 2))]:
            x, dx = rng.normal(size=(2, *shape))
            y, pullback = ss.vjp(x, strides, ramp=ramp, method=method)
            arrays = y, *pullback(np.cos(y)), *ss.jvp(x, strides, dx, strides, ramp=ramp)
            for array in arrays:
                digest.update(array.tobytes())
assert not any(name.startswith("spectral_stride.fast") for name in sys.modules)
print(ss.__file__, digest.hexdigest())
"""


def numbers(path):
    """Where the core was found from ``path``, and a digest of results of all kinds."""
    done = subprocess.run(
        [sys.executable, "-c", NUMBERS], cwd=path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


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
    where, found = numbers(tmp_path)
    assert Path(where).is_relative_to(tmp_path)
    assert found == numbers(ROOT)[1]
