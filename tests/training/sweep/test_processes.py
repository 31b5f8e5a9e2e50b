"""Sweeps in processes of their own: a worker that is killed, and Ctrl-C."""

import csv
import os
import signal
import time
from urllib.request import urlopen

import psutil
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spectral_stride.torch.training.sweep.cluster import local_cluster
from tests.training import processes

# The second one is broken off: it is so long that it does not end before.
GRID = """
- &first {downsampling: strided, width: 1, epochs: 4, batch_size: 16, limit: 160, seed: 0}
- {<<: *first, epochs: 400, seed: 1}
"""
STEPS = 40
# Steps of an epoch.
EPOCH = 10
# Workers are forked from the sweep and import nothing again. They stay what they are else: its
# children, in its group of processes, with the signals blocked that it has blocked.
FORKED = {"DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "fork"}


@pytest.fixture
def started(tmp_path):
    """A sweep that has begun, with one worker, in a process group as a terminal makes it."""
    (tmp_path / "grid.yaml").write_text(GRID)
    words = ["sweep", "grid.yaml", "--out", "out"]
    with processes.started(
        processes.command, *words, folder=tmp_path, environment=FORKED
    ) as process:
        yield process
        if process.process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)


def test_a_trial_outlives_its_worker_and_an_interrupt_keeps_what_is_done(started, tmp_path):
    out = tmp_path / "out"
    started.wait_for(lambda: "\n" in started.out)
    link = started.out.splitlines()[0].split()[-1]
    with urlopen(link, timeout=60) as page:
        assert page.status == 200
        assert b"Dask Diagnostic UI" in page.read()
    started.wait_for(lambda: list(out.glob("*seed0*/strided/checkpoints/last.ckpt")))
    (folder,) = out.glob("*seed0*/strided")
    (worker,) = (
        process
        for process in psutil.Process(started.pid).children(recursive=True)
        if "resource_tracker" not in " ".join(process.cmdline())
    )
    done = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    assert done < 4
    worker.kill()
    # Another worker goes on after the last whole epoch, and the trial ends as if nothing had been.
    started.wait_for((folder.parent / "summary.json").exists)
    with (folder / "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]] == list(
            range(STEPS)
        )
    files = sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime)
    again = EventAccumulator(str(files[1])).Reload().Scalars("train/loss")
    assert again[0].step >= done * EPOCH

    started.wait_for(lambda: list(out.glob("*seed1*/config.json")))
    others = psutil.Process(started.pid).children(recursive=True)
    os.killpg(started.pid, signal.SIGINT)
    assert started.wait(120) == 130
    assert started.err == "spectral-stride: error: interrupted\n"
    assert "Stopping; started again, the sweep goes on." in started.out
    assert "1 done, 0 failed, 1 waiting" in started.out
    assert psutil.wait_procs(others, timeout=30)[1] == []


def of_workers():
    """Print what the first worker of the usual kind has, and who comes after it.

    Whether it blocks SIGINT, and how much free memory it keeps, where anything says that.
    """
    with local_cluster(1) as client:
        for _ in range(2):
            ((_, mask),) = client.run(signal.pthread_sigmask, signal.SIG_BLOCK, []).items()
            ((worker, pid),) = client.run(os.getpid).items()
            ((_, trim),) = client.run(os.getenv, "MALLOC_TRIM_THRESHOLD_").items()
            print(signal.SIGINT in mask, trim)
            os.kill(pid, signal.SIGKILL)
            while worker in client.nthreads() or not client.nthreads():
                time.sleep(0.01)


def test_an_interrupt_spares_workers_that_are_spawned_too(tmp_path):
    """As Dask starts them unless told otherwise, through a process that lifts what is blocked.

    And they keep their memory, as a training outside a sweep does.
    """
    assert processes.result(of_workers, folder=tmp_path) == "True None\nTrue None\n"
