"""Sweeps in processes of their own: a worker that is killed, and Ctrl-C."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[3]
GRID = """
{downsampling: strided, width: 1, epochs: 8, batch_size: 16, limit: 160, seed: [0, 1]}
"""
STEPS = 80
# Steps of an epoch.
EPOCH = 10


@pytest.fixture
def started(tmp_path):
    """A sweep that has begun, with one worker, in a process group as a terminal makes it."""
    (tmp_path / "grid.yaml").write_text(GRID)
    words = [sys.executable, "-m", "spectral_stride", "sweep", "grid.yaml", "--out", "out"]
    with subprocess.Popen(
        words,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition, process):
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_trial_outlives_its_worker_and_an_interrupt_keeps_what_is_done(started, tmp_path):
    out = tmp_path / "out"
    link = started.stdout.readline().split()[-1]
    with urlopen(link, timeout=60) as page:
        assert page.status == 200
        assert b"Dask Diagnostic UI" in page.read()
    wait_for(lambda: list(out.glob("*seed0*/strided/checkpoints/last.ckpt")), started)
    (folder,) = out.glob("*seed0*/strided")
    (worker,) = (
        process
        for process in psutil.Process(started.pid).children(recursive=True)
        if "spawn_main" in " ".join(process.cmdline())
    )
    done = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    assert done < 8
    worker.kill()
    # Another worker goes on after the last whole epoch, and the trial ends as if nothing had been.
    wait_for((folder.parent / "summary.json").exists, started)
    with (folder / "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]] == list(
            range(STEPS)
        )
    files = sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime)
    again = EventAccumulator(str(files[1])).Reload().Scalars("train/loss")
    assert again[0].step >= done * EPOCH

    wait_for(lambda: list(out.glob("*seed1*/config.json")), started)
    others = psutil.Process(started.pid).children(recursive=True)
    os.killpg(started.pid, signal.SIGINT)
    shown, errors = started.communicate(timeout=120)
    assert started.returncode == 130
    assert errors == "spectral-stride: error: interrupted\n"
    assert "Stopping; started again, the sweep goes on." in shown
    assert "1 done, 0 failed, 1 waiting" in shown
    assert psutil.wait_procs(others, timeout=30)[1] == []
