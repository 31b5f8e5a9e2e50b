"""Sweeps: what a grid stands for, and what workers that fail, die or meet leave behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Barrier

import pytest
import typer
from optuna import create_study, load_study
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from rich.markup import escape
from typer.testing import CliRunner

from spectral_stride.torch.training import commands, fit
from spectral_stride.torch.training.config import parse
from spectral_stride.torch.training.fit import train
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.report.runs import gather
from spectral_stride.torch.training.sweep.grid import read_grid
from spectral_stride.torch.training.sweep.leases import GRACE
from spectral_stride.torch.training.sweep.outcomes import Outcome
from spectral_stride.torch.training.sweep.storage import JOURNAL, open_storage
from spectral_stride.torch.training.sweep.sweep import ERROR, sweep

GRID = """
downsampling: [diffstride, strided]
penalty: [0.1, 0.3]
seed: [0, 1]
"""
# Three trainings at each of two seeds.
COUNT = 6
DIED = "its worker died, or was killed, or was not heard of for too long"


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def write_summary(config, folder):
    """What a training leaves behind, as far as a sweep looks at it."""
    trained = {"test_accuracy": 0.5 + config.seed / 10, "after": {"macs": 1000 + config.seed}}
    summary = {"config": asdict(config), "runs": [trained]}
    (folder / "summary.json").write_text(json.dumps(summary))
    return summary


class Runner:
    """Trains nothing, notes what it was asked for, and fails where it is told to."""

    def __init__(self, fails=lambda config: False):
        self.fails = fails
        self.seen = []

    def __call__(self, config, folder):
        assert list(folder.iterdir()) == []
        self.seen.append(config)
        if self.fails(config):
            raise RuntimeError("out of\nmemory")
        return write_summary(config, folder)


# --- Grids -------------------------------------------------------------------------------------


def points_of(tmp_path, text):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    return read_grid(path)


def test_options_that_do_not_count_do_not_multiply(grid):
    points = read_grid(grid)
    assert [(p.config.downsampling, p.config.penalty, p.config.seed) for p in points] == [
        ("diffstride", 0.1, 0),
        ("diffstride", 0.1, 1),
        ("diffstride", 0.3, 0),
        ("diffstride", 0.3, 1),
        ("strided", 0.2, 0),
        ("strided", 0.2, 1),
    ]
    assert len({point.name for point in points}) == COUNT
    assert not any(point.config.baseline for point in points)


def test_a_point_is_named_after_its_choices(tmp_path):
    (point,) = points_of(tmp_path, "strides: 1,1,3x2,2,2\nramp: outside\nseed: 7")
    assert point.name.startswith("strides1,1,3x2,2,2-outside-seed7-")
    (fast,) = points_of(tmp_path, "lr: 1000000.0\npenalty: 0.10")
    assert fast.name.startswith("penalty0.1-lr1e+06-")
    (strided,) = points_of(tmp_path, "downsampling: strided\nramp: outside\nwidth: 4")
    assert strided.name.startswith("strided-width4-")
    assert "outside" not in strided.name


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("data: /tmp/images", "tmp-images-"),
        ("{data: ../images, seed: 7}", "images-seed7-"),
        ("{data: /, seed: 7}", "seed7-"),
        ("data: /", ""),  # what is left is the hash
    ],
)
def test_a_name_begins_with_no_dash_and_no_dot(tmp_path, text, begin):
    """Which a command would take for an option, and a listing would hide."""
    (point,) = points_of(tmp_path, text)
    assert re.fullmatch(f"{begin}[0-9a-f]{{8}}", point.name)


def test_grids_are_joined(tmp_path):
    text = """
    - {model: resnet18, strides: ["1,1,2,2,2", "1,1,3,2,3"]}
    - {model: resnet56, strides: "1,1,2,2", batch-size: 64}
    - {model: resnet18, strides: "1,1,2,2,2", smoothness: 4}
    """
    points = points_of(tmp_path, text)
    assert [(p.config.model, p.config.strides, p.config.batch_size) for p in points] == [
        ("resnet18", "1,1,2,2,2", 32),
        ("resnet18", "1,1,3,2,3", 32),
        ("resnet56", "1,1,2,2", 64),
    ]


@pytest.mark.parametrize("text", ["lr: 3e-3", "lr: 0.003", "lr: '3e-3'", "lr: [0.003, 3e-3]"])
def test_numbers_may_be_written_in_any_way(tmp_path, text):
    (point,) = points_of(tmp_path, text)
    assert point.config == parse({"lr": "0.003", "baseline": False})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["got null as part 1"]),
        ("[]", ["with nothing in it"]),
        ("penalty", ['got "penalty" as part 1']),
        ("- {seed: 0}\n- 3", ["got 3 as part 2"]),
        ("seed: [0", ["allowed: a YAML file"]),
        ("seed: !!python/name:os.system", ["allowed: a YAML file"]),
        ("penalti: 0.1", ["an option 'penalti'", "instead: write penalty"]),
        ("frequency: 0.1", ["an option 'frequency'", "data, input, labels"]),
        ("flip: 'no'", ["for flip", "true or false"]),
        ("devices: 2", ["devices", "start the sweep once for each device"]),
        ("3: 4", ["an option '3'"]),
        ("baseline: true", ["got baseline", "write downsampling: [diffstride, strided]"]),
        ("seed: []", ["no value for seed"]),
        ("seed:", ["got null for seed"]),
        ("seed: true", ["got true for seed"]),
        ("strides: [[1, 1, 2, 2, 2]]", ["got [1, 1, 2, 2, 2] for strides", '["1,1,2,2,2"]']),
        ("strides: [1, 1, 2, 2, 2]", ["1 strides '1'", "allowed: 5"]),
        ("epochs: 2.5", ["--epochs: got '2.5'"]),
        ("seed: 0\nseed: 1", ["'seed' twice"]),
        ("batch-size: 8\nbatch_size: 9", ["'batch_size' twice"]),
        ("{downsampling: strided, ramp: [inside, middle]}", ["--ramp: got 'middle'"]),
        (
            "{downsampling: [diffstride, strided], strides: '1,1,2.5,2,2'}",
            ["whole numbers for --downsampling strided"],
        ),
    ],
)
def test_a_wrong_grid_gets_one_line_and_runs_nothing(tmp_path, text, parts):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    runner = Runner()
    with pytest.raises(RefusedError, match=r"; allowed: .*; instead: ") as caught:
        sweep(path, tmp_path / "out", runner)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert runner.seen == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing.yaml", ".", "binary.yaml"])
def test_a_grid_that_cannot_be_read(tmp_path, name):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(RefusedError, match=r"grid: got '.*; allowed: a YAML file"):
        read_grid(tmp_path / name)


# --- One worker --------------------------------------------------------------------------------


def test_every_point_runs_once_and_never_again(tmp_path, grid):
    first, second, told = Runner(), Runner(), []
    outcomes = sweep(grid, tmp_path / "out", first, tell=told.append)
    assert first.seen == [point.config for point in read_grid(grid)]
    assert [outcome.state for outcome in outcomes] == ["done"] * COUNT
    assert [outcome.accuracy for outcome in outcomes] == [0.5, 0.6] * 3
    assert [outcome.macs for outcome in outcomes] == [1000, 1001] * 3
    for outcome in outcomes:
        assert (tmp_path / "out" / outcome.folder / "summary.json").is_file()
    assert told[1] == "  done: 50.00 % at 0.00 M MACs"
    assert sweep(grid, tmp_path / "out", second) == outcomes
    assert second.seen == []


def test_one_failure_does_not_lose_the_others_and_is_tried_again(tmp_path, grid):
    def fails(config):
        return config.penalty == 0.3 and config.seed == 1

    first, second = Runner(fails), Runner()
    outcomes = sweep(grid, tmp_path / "out", first)
    assert len(first.seen) == COUNT
    (failed,) = [outcome for outcome in outcomes if outcome.state != "done"]
    assert (failed.state, failed.error) == ("failed", "RuntimeError: out of memory")
    error = tmp_path / "out" / failed.folder / ERROR
    assert "in __call__" in error.read_text()

    outcomes = sweep(grid, tmp_path / "out", second)
    assert [config for config in first.seen if fails(config)] == second.seen
    assert [outcome.state for outcome in outcomes] == ["done"] * COUNT
    assert {failed.folder, f"{failed.folder}-try2"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    assert error.is_file()


def test_what_the_tool_refuses_keeps_its_line(tmp_path, grid):
    def run(config, folder):
        raise RefusedError("training: got a loss of nan")

    outcomes = sweep(grid, tmp_path / "out", run)
    assert {outcome.error for outcome in outcomes} == {"training: got a loss of nan"}


def test_an_interrupt_stops_the_sweep(tmp_path, grid):
    def run(config, folder):
        if config.seed == 1:
            raise KeyboardInterrupt
        return write_summary(config, folder)

    with pytest.raises(KeyboardInterrupt):
        sweep(grid, tmp_path / "out", run)
    again = Runner()
    outcomes = sweep(grid, tmp_path / "out", again)
    assert len(again.seen) == COUNT - 1
    assert [outcome.state for outcome in outcomes] == ["done"] * COUNT


def test_what_waits_and_is_no_longer_in_the_grid_does_not_run(tmp_path, grid):
    def interrupt(config, folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(grid, tmp_path / "out", interrupt)
    grid.write_text(GRID.replace("[0, 1]", "[1, 2]"))
    fewer, again, told = Runner(), Runner(), []
    sweep(grid, tmp_path / "out", fewer, tell=told.append)
    assert [config.seed for config in fewer.seen] == [1, 1, 1, 2, 2, 2]
    assert len(told) == 2 * COUNT  # nothing on what was dropped
    grid.write_text(GRID)
    outcomes = sweep(grid, tmp_path / "out", again)
    assert [config.seed for config in again.seen] == [0, 0, 0]
    assert [outcome.state for outcome in outcomes] == ["done"] * COUNT


def test_results_that_were_removed_are_made_again(tmp_path, grid):
    outcomes = sweep(grid, tmp_path / "out", Runner())
    (tmp_path / "out" / outcomes[2].folder / "summary.json").unlink()
    again = Runner()
    sweep(grid, tmp_path / "out", again)
    assert again.seen == [read_grid(grid)[2].config]


def test_a_grid_may_grow_and_shrink(tmp_path, grid):
    sweep(grid, tmp_path / "out", Runner())
    grid.write_text(GRID.replace("[0, 1]", "[1, 2]") + "width: 8\nsmoothness: [4, 2]\n")
    more = Runner()
    outcomes = sweep(grid, tmp_path / "out", more)
    assert Counter((c.downsampling, c.seed, c.smoothness) for c in more.seen) == {
        ("diffstride", 1, 2.0): 2,
        ("diffstride", 2, 4.0): 2,
        ("diffstride", 2, 2.0): 2,
        ("strided", 2, 4.0): 1,
    }
    assert [outcome.state for outcome in outcomes] == ["done"] * 10


def test_what_a_grid_holds_fixed_stays(tmp_path, grid):
    sweep(grid, tmp_path / "out", Runner())
    grid.write_text(GRID + "epochs: 3\n")
    none, more = Runner(), Runner()
    with pytest.raises(RefusedError, match=r"epochs: 3; allowed: 30, .*epochs: \[30, 3\]"):
        sweep(grid, tmp_path / "out", none)
    assert none.seen == []
    grid.write_text(GRID + "epochs: [30, 3]\n")
    sweep(grid, tmp_path / "out", more)
    assert [config.epochs for config in more.seen] == [3] * COUNT


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////nowhere/at/all.db", "oracle+no://x"])
def test_a_storage_that_cannot_be_opened(tmp_path, grid, url):
    with pytest.raises(RefusedError, match=r"--storage: got .*; allowed: a database") as caught:
        sweep(grid, tmp_path / "out", Runner(), storage=url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda old: old + b'{"op_co\n{}\n', "line LAST + 1"),
        (lambda old: old[:-20], "line LAST"),  # as of a disk that was full
        (lambda old: old[:-1], "line LAST"),  # the next entry would go on in that line
        (lambda old: old + b"gar{bage\n", "line LAST + 1"),
        (lambda old: old + b"\xff\xfe\n", "line LAST + 1"),
        (lambda old: old + b"{}\n", "KeyError"),
        (lambda old: old + b"3\n", "TypeError"),
        (lambda old: old + b'{"op_code": 99, "worker_id": ""}\n', "AssertionError"),
    ],
)
def test_a_broken_journal(tmp_path, damage, where):
    path, journal = tmp_path / "grid.yaml", tmp_path / "out" / JOURNAL
    path.write_text("seed: [0, 1, 2]")
    sweep(path, tmp_path / "out", Runner())
    entries = journal.read_bytes().count(b"\n")
    where = where.replace("LAST + 1", str(entries + 1)).replace("LAST", str(entries))
    broken = damage(journal.read_bytes())
    journal.write_bytes(broken)
    again = Runner()
    with pytest.raises(RefusedError, match=r"--out: got '.*journal.log' .*; instead: ") as caught:
        sweep(path, tmp_path / "out", again)
    assert "a journal of Optuna" in str(caught.value)
    assert where in str(caught.value)
    assert "\n" not in str(caught.value)
    assert again.seen == []
    assert journal.read_bytes() == broken
    assert not journal.with_name(f"{JOURNAL}.lock").is_symlink()


def test_a_lock_that_a_killed_worker_has_left_can_grow_old(tmp_path, monkeypatch):
    """Optuna looks at the age of what the lock points to, which a relative path would miss."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    storage = open_storage(Path("out"), None)
    storage._backend._lock.acquire()
    assert (tmp_path / "out" / f"{JOURNAL}.lock").exists()


def test_a_folder_that_is_a_file(tmp_path, grid):
    with pytest.raises(RefusedError, match="a folder that can be written"):
        sweep(grid, grid, Runner())


def test_folders_that_a_lost_journal_has_left_are_kept(tmp_path, grid):
    first = sweep(grid, tmp_path / "out", Runner())
    (tmp_path / "out" / JOURNAL).unlink()
    again = Runner()
    outcomes = sweep(grid, tmp_path / "out", again)
    assert len(again.seen) == COUNT
    assert [outcome.folder for outcome in outcomes] == [f"{old.folder}-try2" for old in first]


def test_a_folder_that_cannot_be_made_fails_its_trial(tmp_path, grid, monkeypatch):
    def full(work, name):
        raise OSError("No space left on device")

    monkeypatch.setattr("spectral_stride.torch.training.sweep.sweep._Sweep.new_folder", full)
    outcomes = sweep(grid, tmp_path / "out", Runner())
    assert {(o.state, o.error) for o in outcomes} == {("failed", "No space left on device")}


# --- Several workers ---------------------------------------------------------------------------

# A worker that begins when there is no file "hold", and whose trainings go on while there is a file
# "hold-SEED"; it says what it begins.
WORKER = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from spectral_stride.torch.training.sweep import leases
from spectral_stride.torch.training.sweep.sweep import sweep

leases.HEARTBEAT, leases.GRACE = 1, 6
here, storage = Path(sys.argv[1]), sys.argv[2] or None

def run(config, folder):
    print(folder.name, flush=True)
    time.sleep(0.2)
    while (here / f"hold-{{config.seed}}").exists():
        time.sleep(0.02)
    trained = {{"test_accuracy": 0.5, "after": {{"macs": 1000}}}}
    summary = {{"runs": [trained]}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return summary

print("ready", flush=True)
while (here / "hold").exists():
    time.sleep(0.02)
outcomes = sweep(here / "grid.yaml", here / "out", run, storage=storage)
"""


@pytest.fixture
def worker(tmp_path, request):
    """A way to start workers; whatever happens they are gone in the end."""
    started = []
    script = WORKER.format(root=str(request.config.rootpath))

    def start(storage=""):
        command = [sys.executable, "-c", script, str(tmp_path), storage]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def storages(tmp_path):
    return {"journal": None, "database": f"sqlite:///{tmp_path / 'sweep.db'}"}


@pytest.mark.parametrize("kind", ["journal", "database"])
def test_two_workers_divide_the_points(tmp_path, grid, worker, kind):
    storage = storages(tmp_path)[kind]
    (tmp_path / "hold").touch()
    workers = [worker(storage or "") for _ in range(2)]
    (tmp_path / "hold").unlink()
    folders = [process.communicate(timeout=60)[0].split() for process in workers]
    assert [process.returncode for process in workers] == [0, 0]
    assert all(folders)
    assert sorted(folders[0] + folders[1]) == sorted(point.name for point in read_grid(grid))
    rest = Runner()
    outcomes = sweep(grid, tmp_path / "out", rest, storage=storage)
    assert [outcome.state for outcome in outcomes] == ["done"] * COUNT
    assert rest.seen == []


def test_two_workers_never_take_the_same_trial_of_a_database(tmp_path, monkeypatch):
    check = RDBStorage.check_trial_is_updatable

    def slowly(storage, trial_id, state):
        # Between reading that a trial waits and marking it as running.
        check(storage, trial_id, state)
        time.sleep(0.5)

    url = storages(tmp_path)["database"]
    studies = [
        create_study(study_name="one", storage=open_storage(tmp_path, url), load_if_exists=True)
        for _ in range(2)
    ]
    for _ in studies:
        studies[0].enqueue_trial({})
    monkeypatch.setattr(RDBStorage, "check_trial_is_updatable", slowly)
    together = Barrier(len(studies))
    taken = []

    def train(trial):
        taken.append(trial.number)
        return 0.5

    def work(study):
        together.wait()
        study.optimize(train, n_trials=1)

    with ThreadPoolExecutor(len(studies)) as pool:
        list(pool.map(work, studies))
    assert sorted(taken) == [0, 1]


def test_a_killed_worker_is_told_from_a_living_one(tmp_path, grid, worker):
    (tmp_path / "hold-1").touch()
    process = worker()
    assert [process.stdout.readline().strip() for _ in range(2)] == [
        point.name for point in read_grid(grid)[:2]
    ]
    # It holds its second point: another worker takes the rest of seed 0 ...
    beside = Runner()
    outcomes = sweep(grid, tmp_path / "out", beside)
    assert len(beside.seen) == COUNT - 2
    assert [outcome.state for outcome in outcomes].count("running") == 1
    assert outcomes[1].state == "running"
    assert outcomes[1].machine
    # ... and once it is killed, its point.
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    after = Runner()
    outcomes = sweep(grid, tmp_path / "out", after)
    assert after.seen == [read_grid(grid)[1].config]
    assert [outcome.state for outcome in outcomes] == ["done"] * COUNT
    assert outcomes[1].folder == f"{outcomes[1].name}-try2"


def test_a_worker_that_dies_while_others_work_is_seen_at_the_end(tmp_path, grid, worker):
    (tmp_path / "hold-0").touch()
    process = worker()
    process.stdout.readline()

    def run(config, folder):
        process.kill()
        process.wait(timeout=10)
        return write_summary(config, folder)

    outcomes = sweep(grid, tmp_path / "out", run)
    assert [outcome.state for outcome in outcomes] == ["failed"] + ["done"] * (COUNT - 1)
    assert outcomes[0].error == DIED


def test_a_database_hears_when_a_worker_is_silent(tmp_path, grid, worker, monkeypatch):
    storage = storages(tmp_path)["database"]
    (tmp_path / "hold-1").touch()
    process = worker(storage)
    for _ in range(2):
        process.stdout.readline()
    monkeypatch.setattr("spectral_stride.torch.training.sweep.leases.HEARTBEAT", 1)
    monkeypatch.setattr("spectral_stride.torch.training.sweep.leases.GRACE", 6)
    time.sleep(7.5)  # longer than the grace that a silent worker has
    beside = Runner()
    outcomes = sweep(grid, tmp_path / "out", beside, storage=storage)
    assert len(beside.seen) == COUNT - 2
    assert outcomes[1].state == "running"
    process.kill()
    process.wait(timeout=10)
    time.sleep(7.5)
    after = Runner()
    outcomes = sweep(grid, tmp_path / "out", after, storage=storage)
    assert after.seen == [read_grid(grid)[1].config]
    assert [outcome.state for outcome in outcomes] == ["done"] * COUNT


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_worker_that_was_taken_for_dead_goes_on(tmp_path, grid, interrupted):
    """As the worker of a machine that slept: its trial is failed, and it trains the others."""
    storage = storages(tmp_path)["database"]
    names = []

    def run(config, folder):
        names.append(folder.name)
        (folder / "config.json").touch()
        if len(names) == 1:
            other = load_study(study_name="out", storage=storage)
            other.tell(0, state=TrialState.FAIL)
            if interrupted:
                raise KeyboardInterrupt
        return write_summary(config, folder)

    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            sweep(grid, tmp_path / "out", run, storage=storage)
        assert len(names) == 1
        assert "KeyboardInterrupt" in (tmp_path / "out" / names[0] / ERROR).read_text()
    lines = []
    outcomes = sweep(grid, tmp_path / "out", run, storage=storage, tell=lines.append)
    if not interrupted:
        assert [outcome.state for outcome in outcomes] == ["failed"] + ["done"] * (COUNT - 1)
        assert outcomes[0].error == DIED
        assert lines[1] == f"  failed: {escape(outcomes[0].line())}"
        assert not (tmp_path / "out" / names[0] / ERROR).exists()
        outcomes = sweep(grid, tmp_path / "out", run, storage=storage)
    # Started again, it trains what was taken away; the first folder is kept.
    assert [outcome.state for outcome in outcomes] == ["done"] * COUNT
    assert names.count(f"{names[0]}-try2") == 1


def test_points_that_two_workers_queued_at_once_run_once(tmp_path, grid, monkeypatch):
    """Only behind a database, which has no lock on the queue as a whole."""
    from spectral_stride.torch.training.sweep import sweep as module

    storage = storages(tmp_path)["database"]
    enqueue = module._Sweep.enqueue

    def twice(work):
        enqueue(work)
        monkeypatch.setattr(work, "trials_of", lambda point: [])  # the other saw an empty queue
        enqueue(work)
        monkeypatch.undo()

    monkeypatch.setattr(module._Sweep, "enqueue", twice)
    runner = Runner()
    outcomes = sweep(grid, tmp_path / "out", runner, storage=storage)
    assert runner.seen == [point.config for point in read_grid(grid)]
    assert [outcome.state for outcome in outcomes] == ["done"] * COUNT


@pytest.mark.parametrize(("kind", "suffix"), [("journal", ""), ("database", "-try2")])
def test_only_a_worker_that_is_known_to_be_dead_loses_its_folder(tmp_path, kind, suffix):
    """The operating system opens a dead worker's locks; one that a database misses may wake up."""
    path = tmp_path / "grid.yaml"
    path.write_text("seed: 0")
    storage = storages(tmp_path)[kind]
    names = []

    def run(config, folder):
        names.append(folder.name)
        if len(names) == 1:
            (folder / "config.json").touch()
            other = load_study(study_name="out", storage=open_storage(tmp_path / "out", storage))
            other.tell(0, state=TrialState.FAIL)
            raise RuntimeError("what a dead worker cannot tell")
        return write_summary(config, folder)

    for _ in range(2):
        outcomes = sweep(path, tmp_path / "out", run, storage=storage)
    assert [outcome.state for outcome in outcomes] == ["done"]
    assert names == [names[0], f"{names[0]}{suffix}"]


@pytest.mark.parametrize("kind", ["journal", "database"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_broken_off_goes_on_in_its_folder(tmp_path, error, kind):
    """And what has failed begins in a new one."""
    path = tmp_path / "grid.yaml"
    path.write_text("seed: [0, 1]")
    storage = storages(tmp_path)[kind]
    seen = []

    def run(config, folder):
        seen.append((config.seed, folder.name, (folder / "config.json").exists()))
        (folder / "config.json").write_text("{}")
        if len(seen) == 1:
            raise error
        return write_summary(config, folder)

    with suppress(KeyboardInterrupt):
        sweep(path, tmp_path / "out", run, storage=storage)
    outcomes = sweep(path, tmp_path / "out", run, storage=storage)
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    first, again = (one for one in seen if one[0] == 0)
    assert first[2] is False
    if error is KeyboardInterrupt:
        assert again == (0, first[1], True)
        assert not (tmp_path / "out" / first[1] / ERROR).exists()
    else:
        assert again == (0, f"{first[1]}-try2", False)


def test_what_cannot_go_on_begins_anew(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("seed: 0")
    names = []

    def run(config, folder):
        names.append(folder.name)
        (folder / "config.json").write_text("{}")
        if len(names) < 3:
            raise (KeyboardInterrupt, RuntimeError)[len(names) - 1]
        return write_summary(config, folder)

    for _ in range(3):
        with suppress(KeyboardInterrupt):
            sweep(path, tmp_path / "out", run)
    assert names == [names[0], names[0], f"{names[0]}-try2"]


# --- The real training, and the command --------------------------------------------------------


def test_real_trainings(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(
        "{downsampling: [diffstride, strided], width: 1, epochs: 1, batch_size: 16, limit: 32}"
    )

    def run(config, folder):
        return train(config, folder, "cpu", progress=False)

    outcomes = sweep(path, tmp_path / "out", run)
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    learned, strided = outcomes
    assert 0 <= learned.accuracy <= 1
    assert learned.macs != strided.macs
    for outcome, kind in ((learned, "diffstride"), (strided, "strided")):
        folder = tmp_path / "out" / outcome.folder
        assert (folder / kind / "metrics.csv").is_file()
        assert len(json.loads((folder / "summary.json").read_text())["runs"]) == 1


@pytest.fixture
def command(monkeypatch, tmp_path):
    """The command as it is registered, with a training that fails for seed 9."""
    runner = Runner(lambda config: config.seed == 9)

    def run(config, out, console, *, keep):
        from pathlib import Path

        return Path(out), runner(config, Path(out))

    monkeypatch.setattr(fit, "run_job", run)
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(commands.sweep)
    app.command()(commands.report)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_the_command_says_what_ran_and_what_failed(command, tmp_path, grid):
    result = command("sweep", str(grid))
    assert (result.exit_code, result.exception) == (0, None)
    assert "6 done, 0 failed, 0 running, 0 waiting" in result.stdout
    assert (tmp_path / "sweeps" / "grid" / JOURNAL).is_file()
    grid.write_text(GRID.replace("[0, 1]", "[0, 9]"))
    result = command("sweep", str(grid))
    assert result.exit_code == 1
    assert "3 done, 3 failed" in result.stdout
    assert "RuntimeError: out of memory" in result.stdout


@pytest.mark.parametrize("storage", [(), ("--storage", "sqlite:///sweep.db")])
def test_what_runs_behind_a_database_may_be_dead(command, grid, monkeypatch, storage):
    outcomes = [Outcome("a", "done", "a"), Outcome("b", "running", "b", "here")]
    where = "spectral_stride.torch.training.sweep.sweep.sweep"
    monkeypatch.setattr(where, lambda *_, **__: outcomes)
    result = command("sweep", str(grid), *storage)
    assert (result.exit_code, result.exception) == (0, None)
    assert ("killed less than 3 minutes ago" in result.stdout) is bool(storage)
    monkeypatch.setattr(where, lambda *_, **__: outcomes[:1])
    assert "minutes ago" not in command("sweep", str(grid), *storage).stdout


def test_the_help_says_how_long_a_killed_worker_counts_as_running(command, monkeypatch):
    assert commands.MINUTES * 60 == GRACE
    monkeypatch.setenv("COLUMNS", "300")
    shown = " ".join(command("sweep", "--help").stdout.replace("│", " ").split())
    assert "only by 3 minutes of silence" in shown
    assert "wait three minutes after a worker was killed" in shown


def test_what_was_refused_and_then_made_good_is_reported_as_that(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise RefusedError("--data: got nothing")

    path, out = tmp_path / "grid.yaml", tmp_path / "out"
    path.write_text("{downsampling: strided, width: 1, epochs: 1, batch_size: 16, limit: 32}")
    with monkeypatch.context() as patch:
        patch.setattr(fit, "train", refused)
        with pytest.raises(typer.Exit):
            commands.sweep(str(path), str(out))
    commands.sweep(str(path), str(out))
    (unfinished,) = gather([out]).unfinished
    reason, _, done = unfinished.reason.partition("; finished in ")
    assert reason.endswith("--data: got nothing")
    assert done == f"{unfinished.folder}-try2"


def test_the_command_looks_for_the_device_first(command, grid, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    grid.write_text("device: cuda")
    result = command("sweep", str(grid), "--out", str(tmp_path / "out"))
    assert isinstance(result.exception, RefusedError)
    assert "--device: got 'cuda'" in str(result.exception)
    assert not (tmp_path / "out").exists()
