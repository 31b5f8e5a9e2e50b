"""Sweeps on a cluster: what runs, what is skipped, what is repeated, and what each failure says."""

import io
import re
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest
from distributed import KilledWorker, LocalCluster
from rich.console import Console

import spectral_stride
from spectral_stride.torch.training.sweep import cluster, trials
from spectral_stride.torch.training.sweep.run import _with_progress
from spectral_stride.torch.training.sweep.trials import Outcome

GRID = "{downsampling: [diffstride, strided], penalty: [0.1, 0.3], seed: [0, 1]}"
# All of a cluster in this process.
HERE = {
    "n_workers": 1,
    "threads_per_worker": 1,
    "processes": False,
    "protocol": "tcp",
    "dashboard_address": "127.0.0.1:0",
}
# Three trainings at each of two seeds.
COUNT = 6


def seeds(trainings):
    return [config.seed for config in trainings.seen]


# --- What runs ---------------------------------------------------------------------------------


def test_every_point_runs_once_and_never_again(sweep, trainings, address, tmp_path):
    shown = sweep(GRID, "--scheduler", address)
    assert (shown.code, shown.err) == (0, "")
    assert seeds(trainings) == [0, 1] * 3
    assert f"{COUNT} done, 0 failed" in shown.out
    assert len(list((tmp_path / "out").glob("*/summary.json"))) == COUNT
    assert len(re.findall(r"^\S+  done: [56]0.00 % at 2.00 M MACs$", shown.out, re.M)) == COUNT
    again = sweep(GRID, "--scheduler", "tcp://127.0.0.1:1")  # nothing is left to ask a cluster for
    assert again.code == 0
    assert f"{COUNT} done, 0 failed" in again.out
    assert len(trainings.seen) == COUNT


def test_one_failure_does_not_stop_the_others_and_is_repeated(sweep, trainings, address, tmp_path):
    def fail(config, folder):
        if config.penalty == 0.3 and config.seed == 0:
            raise RuntimeError("out of memory")

    trainings.before = fail
    shown = sweep(GRID, "--scheduler", address)
    assert shown.code == 1
    assert f"{COUNT - 1} done, 1 failed" in shown.out
    assert re.search(r"penalty0.3-seed0-\S+  failed: RuntimeError: out of memory$", shown.out, re.M)
    (error,) = (tmp_path / "out").glob("*/error.txt")
    assert len(trainings.seen) == COUNT  # an exception is not tried again by itself
    trainings.before = None
    assert sweep(GRID, "--scheduler", address).code == 0
    assert (trainings.seen[-1].penalty, trainings.seen[-1].seed) == (0.3, 0)
    assert len(trainings.seen) == COUNT + 1
    assert not error.exists()


def test_results_that_were_removed_are_made_again(sweep, trainings, address, tmp_path):
    sweep(GRID, "--scheduler", address)
    next((tmp_path / "out").glob("strided-seed1-*/summary.json")).unlink()
    assert sweep(GRID, "--scheduler", address).code == 0
    assert (trainings.seen[-1].downsampling, trainings.seen[-1].seed) == ("strided", 1)
    assert len(trainings.seen) == COUNT + 1


def test_a_grid_may_grow_and_shrink(sweep, trainings, address):
    sweep("{seed: [0, 1], penalty: [0.1, 0.3]}", "--scheduler", address)
    trainings.seen.clear()
    grown = "{seed: [1, 2], penalty: [0.1, 0.3], smoothness: [4, 2], width: 8}"
    assert sweep(grown, "--scheduler", address).code == 0
    assert Counter((config.seed, config.smoothness) for config in trainings.seen) == {
        (1, 2.0): 2,
        (2, 4.0): 2,
        (2, 2.0): 2,
    }


def test_what_a_grid_holds_fixed_stays(sweep, trainings, address):
    sweep(GRID, "--scheduler", address)
    shown = sweep(f"{GRID[:-1]}, epochs: 3}}", "--scheduler", address)
    assert shown.code == 2
    assert re.search(r"epochs: 3; allowed: 30, .*epochs: \[30, 3\]", shown.refusal)
    assert len(trainings.seen) == COUNT
    assert sweep(f"{GRID[:-1]}, epochs: [30, 3]}}", "--scheduler", address).code == 0
    assert [config.epochs for config in trainings.seen[COUNT:]] == [3] * COUNT


def test_what_another_process_trains_is_left_to_it(sweep, trainings, address, monkeypatch):
    """And looked at again, after the others, until it is done."""
    monkeypatch.setattr(trials, "PATIENCE", 0.01)
    turns = Counter()
    locked = trials.locked

    def sometimes(folder, seconds):
        turns[folder.name] += 1
        if "seed0" in folder.name and turns[folder.name] < 3:
            raise trials.LockedError("folder: got one in which another process trains")
        return locked(folder, seconds)

    monkeypatch.setattr(trials, "locked", sometimes)
    shown = sweep("{downsampling: strided, seed: [0, 1]}", "--scheduler", address)
    assert (shown.code, seeds(trainings)) == (0, [1, 0])
    assert len(re.findall(r"  locked: folder: got", shown.out)) == 1
    assert sorted(turns.values()) == [1, 3]


def test_a_trial_that_has_killed_its_workers_fails(
    sweep, trainings, address, monkeypatch, tmp_path
):
    """As Dask says it when its tries are used up; the others go on."""

    def kill(name, config, folder):
        if config.seed == 0:
            raise KilledWorker(name, SimpleNamespace(address="tcp://127.0.0.1:1"), 3)
        return trials.run_trial(name, config, folder)

    monkeypatch.setattr(cluster, "run_trial", kill)
    shown = sweep("{downsampling: strided, seed: [0, 1]}", "--scheduler", address)
    assert shown.code == 1
    assert re.search(
        r"seed0-\S+  failed: ChildProcessError: its worker died in each of 4 tries", shown.out
    )
    assert "1 done, 1 failed" in shown.out
    (error,) = (tmp_path / "out").glob("*seed0*/error.txt")
    assert "its worker died" in error.read_text()


@pytest.mark.parametrize(("words", "workers", "threads"), [((), 1, 7), (("--workers", "3"), 3, 2)])
def test_a_local_cluster_shares_the_cores(sweep, trainings, monkeypatch, words, workers, threads):
    asked = {}

    def start(**options):
        asked.update(options)
        asked["environment"] = dict(dask.config.get("distributed.nanny.pre-spawn-environ"))
        asked["retries"] = dask.config.get("distributed.scheduler.allowed-failures")
        asked["blocked"] = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return LocalCluster(**options | HERE)

    monkeypatch.setattr(cluster, "LocalCluster", start)
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    shown = sweep("seed: 0", *words)
    assert shown.code == 0
    assert (asked["n_workers"], asked["threads_per_worker"]) == (workers, 1)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        assert asked["environment"][name] == threads
    assert asked["retries"] == 3
    assert asked["blocked"] == {signal.SIGINT}  # Ctrl-C is for the process that ends the others
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    link = re.search(r"^Dashboard  (http://127.0.0.1:\d+/status)$", shown.out, re.M)
    assert link


def test_a_live_line_says_how_far_it_is():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, no_color=True)
    outcomes = [Outcome("a", "done", 0.5, 10), Outcome("b", "failed", error="no [memory]")]
    assert list(_with_progress(outcomes, console, 3, 8)) == outcomes
    shown = screen.getvalue()
    assert "b  failed: no [memory]" in re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert re.search(r"trials, 1 failed .*5/8", re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown))


# --- What cannot run ---------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["0", "-1", "two", "1025", "1.5"])
def test_a_wrong_number_of_workers(sweep, workers):
    shown = sweep("seed: 0", "--workers", workers)
    assert shown.code == 2
    assert f"--workers: got '{workers}'; allowed: a whole number from 1 to 1024" in shown.refusal


def test_a_cluster_that_runs_has_its_own_workers(sweep, address):
    shown = sweep("seed: 0", "--workers", "2", "--scheduler", address)
    assert shown.code == 2
    assert "--workers: got --scheduler too; allowed: one of them" in shown.refusal


def test_the_device_is_looked_for_first(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    shown = sweep("device: cuda")
    assert shown.code == 2
    assert "--device: got 'cuda'" in shown.refusal
    assert not (tmp_path / "out").exists()


def test_a_summary_that_is_cut_off(sweep, trainings, address, tmp_path):
    sweep("seed: 0", "--scheduler", address)
    (path,) = (tmp_path / "out").glob("*/summary.json")
    path.write_text(path.read_text()[:20])
    shown = sweep("seed: 0", "--scheduler", address)
    assert shown.code == 2
    reason = "JSONDecodeError: Unterminated string starting at: line 1 column 12 (char 11)"
    assert f"--out: got '{path}' ({reason}); allowed:" in shown.refusal
    path.unlink()
    assert sweep("seed: 0", "--scheduler", address).code == 0


def test_a_folder_that_is_a_file(sweep, tmp_path):
    (tmp_path / "out").write_text("mine")
    shown = sweep("seed: 0")
    assert shown.code == 2
    assert "allowed: a folder that can be written" in shown.refusal


def test_a_folder_that_would_be_read_as_another(sweep, tmp_path):
    shown = sweep("seed: 0", "--out", str(tmp_path / "a::b"))
    assert shown.code == 2
    assert "allowed: paths without '::'" in shown.refusal


@pytest.fixture
def mute():
    """An address where something listens and never speaks."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("where", ["nonsense", "tcp://127.0.0.1:1", "http://127.0.0.1:80", "mute"])
def test_a_scheduler_that_cannot_be_reached(sweep, trainings, mute, where, monkeypatch):
    monkeypatch.setattr(cluster, "REACH", 0.5)
    where = mute if where == "mute" else where
    begun = time.monotonic()
    shown = sweep("seed: 0", "--scheduler", where)
    assert time.monotonic() - begun < 20
    assert shown.code == 2
    assert f"--scheduler: got '{where}' (" in shown.refusal
    assert "allowed: the address of a Dask scheduler; instead: start one" in shown.refusal
    assert shown.out == ""
    assert trainings.seen == []


def test_a_worker_is_no_scheduler(sweep, address):
    from distributed import Client

    with Client(address) as client:
        (worker,) = client.nthreads()
    shown = sweep("seed: 0", "--scheduler", worker)
    assert shown.code == 2
    assert "(Worker); allowed: the address of a Dask scheduler" in shown.refusal


def nowhere(name):
    """What a worker without the library answers."""
    raise ModuleNotFoundError("No module named 'spectral_stride'")


@pytest.mark.parametrize("version", [spectral_stride.__version__, None])
def test_a_worker_with_another_version(sweep, trainings, address, monkeypatch, version):
    monkeypatch.setattr(cluster, "__version__", "7.0.0")
    if version is None:
        monkeypatch.setattr(cluster, "resolve_name", nowhere)
    shown = sweep("seed: 0", "--scheduler", address)
    assert shown.code == 2
    assert f"version {version} of spectral-stride on worker tcp://" in shown.refusal
    assert "allowed: 7.0.0, as here; instead: install spectral-stride==7.0.0" in shown.refusal
    assert trainings.seen == []


def test_workers_that_do_not_see_the_folder(sweep, trainings, address, monkeypatch, tmp_path):
    named = cluster.NamedTemporaryFile
    elsewhere = tmp_path / "gone"

    def moved(dir, prefix):
        file = named(dir=dir, prefix=prefix)
        file.name = str(elsewhere / Path(file.name).name)
        return file

    monkeypatch.setattr(cluster, "NamedTemporaryFile", moved)
    shown = sweep("seed: 0", "--scheduler", address)
    assert shown.code == 2
    assert re.search(r"worker tcp://\S+, which does not see '.*out'", shown.refusal)
    assert "a file system that all machines share" in shown.refusal
    assert trainings.seen == []


def test_a_cluster_without_workers(sweep, trainings, monkeypatch):
    monkeypatch.setattr(cluster, "NO_WORKER", 0.5)
    with LocalCluster(**HERE | {"n_workers": 0}) as empty:
        shown = sweep("seed: 0", "--scheduler", empty.scheduler_address)
    assert shown.code == 2
    assert "a cluster without a worker for 0.5 s" in shown.refusal
    assert "start workers with dask worker tcp://" in shown.refusal


@pytest.mark.parametrize("lost", ["workers", "scheduler"])
def test_what_is_done_stays_when_a_cluster_is_lost(sweep, trainings, monkeypatch, lost, tmp_path):
    monkeypatch.setattr(cluster, "NO_WORKER", 0.5)
    with dask.config.set({"distributed.comm.timeouts.connect": 1}), LocalCluster(**HERE) as some:
        closing = []

        def lose(config, folder):
            if config.seed == 1:
                stop = {"workers": lambda: some.scale(0), "scheduler": some.scheduler.close}[lost]
                closing.append(threading.Thread(target=some.sync, args=(stop,)))
                closing[0].start()
                time.sleep(2)

        trainings.before = lose
        shown = sweep(
            "{downsampling: strided, seed: [0, 1, 2]}", "--scheduler", some.scheduler_address
        )
        closing[0].join()
    assert shown.code == 1
    assert {"workers": "no worker is left at tcp://", "scheduler": "the scheduler is gone"}[
        lost
    ] in shown.refusal
    assert "1 done, 0 failed, 2 waiting" in shown.out
