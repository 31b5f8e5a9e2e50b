"""One trial: what it does with its folder, and what a grid finds there again."""

import errno
import json
import os
import signal
import time
from dataclasses import asdict

import pytest

from spectral_stride.__main__ import main
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.run_folder import locked
from spectral_stride.torch.training.sweep import trials
from spectral_stride.torch.training.sweep.grid import Point
from spectral_stride.torch.training.sweep.trials import (
    Outcome,
    finished,
    run_trial,
    with_their_folders,
)
from spectral_stride.torch.training.words import parse
from tests.training.processes import started


def config_of(**words):
    return parse({"downsampling": "strided", "baseline": False, **words})


TINY = {"width": "1", "epochs": "1", "batch_size": "16", "limit": "32"}
CONFIG = config_of(**TINY)


def hold(folder):
    """Hold a folder's lock, say so, and go on until it is killed."""
    with locked(folder):
        print("locked", flush=True)
        time.sleep(600)


@pytest.fixture
def other(tmp_path):
    """Another process, which trains in the trial's folder until it is asked to stop."""
    (tmp_path / "trial").mkdir()
    (tmp_path / "other").mkdir()
    with started(hold, tmp_path / "trial", folder=tmp_path / "other") as process:
        process.wait_for(lambda: process.out == "locked\n")
        yield process


def test_a_trial_trains_in_its_folder_and_then_never_again(tmp_path):
    outcome = run_trial("trial", CONFIG, tmp_path)
    folder = tmp_path / "trial"
    summary = json.loads((folder / "summary.json").read_text())
    (trained,) = summary["runs"]
    assert outcome == Outcome(
        "trial", "done", trained["test_accuracy"], trained["after"]["macs"], ""
    )
    assert (folder / "strided" / "metrics.csv").is_file()
    written = (folder / "summary.json").stat().st_mtime_ns
    assert run_trial("trial", CONFIG, tmp_path) == outcome
    assert (folder / "summary.json").stat().st_mtime_ns == written


def test_what_fails_leaves_its_reason_until_it_is_repeated(tmp_path, trainings):
    def fail(config, folder):
        raise RuntimeError("out of\nmemory")

    trainings.before = fail
    outcome = run_trial("trial", CONFIG, tmp_path)
    assert outcome == Outcome("trial", "failed", error="RuntimeError: out of (more in error.txt)")
    reason = (tmp_path / "trial" / "error.txt").read_text()
    assert "in fail" in reason
    assert reason.endswith("RuntimeError: out of\nmemory\n")
    trainings.before = None
    assert run_trial("trial", CONFIG, tmp_path).state == "done"
    assert not (tmp_path / "trial" / "error.txt").exists()


def test_what_the_tool_refuses_keeps_its_line(tmp_path):
    outcome = run_trial("trial", config_of(model="audio", strides="1,1,1,1,1,1"), tmp_path)
    assert outcome.error.startswith("--model: got 'audio'")
    assert "--model: got 'audio'" in (tmp_path / "trial" / "error.txt").read_text()
    assert (tmp_path / "trial" / "config.json").exists()  # a report names what has failed


def test_ten_faults_are_ten_lines_in_the_folder(tmp_path, trainings):
    def fail(config, folder):
        raise RefusedError(*lines)

    lines = [f"--data: got {number}.png; allowed: files; instead: mend it" for number in range(10)]
    trainings.before = fail
    outcome = run_trial("trial", CONFIG, tmp_path)
    assert outcome.error == f"{lines[0]} (more in error.txt)"
    story = (tmp_path / "trial" / "error.txt").read_text().splitlines()
    assert story[-9:] == lines[1:]
    assert story[-10].endswith(f"RefusedError: {lines[0]}")


def test_on_a_full_disk_a_trial_fails_and_begins_again_when_there_is_room(tmp_path, monkeypatch):
    full = True
    fsync = os.fsync

    def write(number):
        if full:  # a name may still find room
            raise OSError(errno.ENOSPC, "No space left on device")
        return fsync(number)

    monkeypatch.setattr("os.fsync", write)
    outcome = run_trial("trial", CONFIG, tmp_path)
    assert outcome.state == "failed"
    assert "No space left on device" in outcome.error
    full = False
    assert run_trial("trial", CONFIG, tmp_path).state == "done"


def test_a_worker_does_not_make_the_sweeps_folder(tmp_path, trainings):
    """It would be one of its own, that nobody else sees."""
    outcome = run_trial("trial", CONFIG, tmp_path / "sweep")
    assert outcome.state == "failed"
    assert "No such file or directory" in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_one_folder_is_not_written_by_two(tmp_path, trainings, monkeypatch, other, capsys):
    monkeypatch.setattr(trials, "PATIENCE", 0.1)
    outcome = run_trial("trial", CONFIG, tmp_path)
    assert outcome.state == "locked"
    assert "in which another process trains; allowed: one process" in outcome.error
    assert trainings.seen == []
    # Nor by another command.
    choices = {"config": asdict(CONFIG), "directory": str(tmp_path)}
    (tmp_path / "trial" / "config.json").write_text(json.dumps(choices))
    assert main(["train", "--resume", str(tmp_path / "trial")]) == 2
    assert "in which another process trains" in capsys.readouterr().err
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert run_trial("trial", CONFIG, tmp_path).state == "done"


def test_a_folder_with_another_training_is_left_alone(tmp_path, trainings):
    run_trial("trial", config_of(**TINY, seed="7"), tmp_path)
    (tmp_path / "trial" / "summary.json").unlink()
    outcome = run_trial("trial", CONFIG, tmp_path)
    assert outcome.state == "failed"
    assert "which holds another training (" in outcome.error
    assert "(seed 7)" in outcome.error
    assert "instead: move it away" in outcome.error
    assert not (tmp_path / "trial" / "error.txt").exists()
    assert len(trainings.seen) == 1
    points = [Point("trial", CONFIG), Point("next", config_of(**TINY, seed="1"))]
    with pytest.raises(RefusedError, match=r"trial', which holds another training \(seed 7\)"):
        finished(points, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"config": {"width": "x"}, "directory": "/"}'])
def test_a_folder_whose_choices_cannot_be_read_is_refused(tmp_path, content):
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "config.json").write_text(content)
    with pytest.raises(RefusedError, match=r"trial', which holds another training .*move it away"):
        finished([Point("trial", CONFIG)], tmp_path)


def test_what_is_done_is_found_by_what_it_trained(tmp_path, trainings):
    """Also in a folder of another name."""
    run_trial("trial", CONFIG, tmp_path)
    (tmp_path / "trial").rename(tmp_path / "moved")
    other = config_of(**TINY, seed="1")
    done = finished([Point("a", CONFIG), Point("b", other)], tmp_path)
    assert done == {"a": Outcome("a", "done", 0.5, 2_000_000)}


def test_a_trial_keeps_the_folder_that_it_began_in(tmp_path, trainings):
    """What was broken off goes on where it lies, whatever name a grid gives the point today."""
    run_trial("before", CONFIG, tmp_path)
    (tmp_path / "before" / "summary.json").unlink()
    points = [Point("today", CONFIG), Point("other", config_of(**TINY, seed="1"))]
    assert [point.name for point in with_their_folders(points, tmp_path)] == ["before", "other"]


@pytest.mark.parametrize("accuracy", ["'x'", "null", "[]", "5e9", "-1", "NaN", "true", "1e400"])
def test_a_summary_that_says_nothing_is_refused(tmp_path, trainings, accuracy):
    run_trial("trial", CONFIG, tmp_path)
    summary = tmp_path / "trial" / "summary.json"
    summary.write_text(summary.read_text().replace("0.5", accuracy.replace("'", '"')))
    with pytest.raises(RefusedError, match=r"summary\.json.* allowed: .*of one training"):
        finished([Point("trial", CONFIG)], tmp_path)
