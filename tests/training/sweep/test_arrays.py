"""The cluster that trains resamples arrays, too: the example of the documentation, done small."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import spectral_stride as ss

ROOT = Path(__file__).parents[3]
PATH = ROOT / "docs" / "examples" / "dask_cluster.py"
EXAMPLE = runpy.run_path(str(PATH))
# Workers are forked from the example's process, which holds little: they import nothing again.
FORKED = {"DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "fork"}
ENVIRONMENT = os.environ | FORKED | {"PYTHONPATH": str(ROOT)}
main = EXAMPLE["main"]


def test_a_cluster_that_runs_gives_what_numpy_gives(address):
    words = ["--images", "24", "--side", "20", "--at-once", "8", "--vjp", "--scheduler", address]
    found = main(words)
    x = EXAMPLE["images"](24, 20, 8).compute(scheduler="synchronous")
    y, pullback = ss.vjp(x, EXAMPLE["STRIDES"])
    dx, dstrides = pullback(y)
    assert found["mean before"] == pytest.approx(x.mean(), abs=1e-6)
    assert found["mean after"] == pytest.approx(y.mean(), abs=1e-6)
    assert found["mean of dx"] == pytest.approx(dx.mean(), abs=1e-6)
    np.testing.assert_allclose(found["dstrides"], dstrides, rtol=1e-4)


def test_an_array_may_be_larger_than_a_workers_memory():
    """A worker that needs more than it has is ended by Dask, and with it the computation."""
    words = [sys.executable, str(PATH), "--images", "1280", "--memory", "320MB"]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "336 MB in 40 chunks" in done.stdout
    before, after = re.findall(r"mean (?:before|after)  (\S+)", done.stdout)
    assert float(after) == pytest.approx(float(before), abs=1e-6)
