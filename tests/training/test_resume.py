"""Runs in processes of their own: killed, then resumed; and spread over several processes."""

import csv
import json
import os
import shutil
import signal
import socket
import time
from contextlib import ExitStack
from functools import partial

import pytest
import torch

from spectral_stride.__main__ import main
from spectral_stride.torch.training import fit
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.cli import WRONG_USAGE
from spectral_stride.torch.training.data.open import open_data
from tests.training.data import made
from tests.training.processes import command, result, started

WORDS = [
    "--width",
    "2",
    "--batch-size",
    "16",
    "--stride-lr",
    "0.1",
    "--epochs",
    "4",
    "--flip",
    "--shift",
    "0.1",
    "--mixup",
    "0.2",
    "--device",
    "cpu",
    "--no-baseline",
    "--limit",
    "160",
]


def run(*words, folder):
    return result(command, "train", *words, folder=folder)


def weights(folder):
    path = folder / "diffstride" / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def steps(folder):
    with (folder / "diffstride" / "metrics.csv").open(newline="") as file:
        return [
            (int(row["step"]), row["train/loss"])
            for row in csv.DictReader(file)
            if row["train/loss"]
        ]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    run(*WORDS, "--out", folder, folder=folder.parent)
    return folder


def test_killed_in_the_middle_of_an_epoch_it_ends_as_if_it_had_not_been(unbroken, tmp_path):
    name = "file:/run[1] *?"  # neither an address nor a pattern
    folder = tmp_path / name
    checkpoint = folder / "diffstride" / "checkpoints" / "last.ckpt"
    with started(command, "train", *WORDS, "--out", name, folder=tmp_path) as process:
        process.wait_for(checkpoint.exists)
        time.sleep(0.2)  # some steps into the next epoch
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    with (folder / "diffstride" / "metrics.csv").open("a") as file:
        file.write("1")  # a process may die in the middle of a row
    done = torch.load(checkpoint, weights_only=True)["epoch"] + 1
    assert done < 4
    assert not (folder / "summary.json").exists()
    run("--resume", name, folder=tmp_path)
    expected = weights(unbroken)
    found = weights(folder)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert steps(folder) == steps(unbroken)
    first, second = (
        json.loads((path / "summary.json").read_text())["runs"][0] for path in (unbroken, folder)
    )
    for name in ("after", "test_accuracy", "test_accuracies"):
        assert first[name] == second[name]
    assert second["seconds"] > 0


def read_by_workers(killed_in, *words):
    """A command whose samples do not fit in memory; in an epoch, if one is given, it is killed."""
    fit.open_data = partial(open_data, memory=0)
    training_step = Classifier.training_step

    def step(module, batch, index):
        if module.current_epoch == killed_in and index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return training_step(module, batch, index)

    if killed_in is not None:
        Classifier.training_step = step
    return command(*words)


KINDS = {
    "images": lambda root: made.folder_of_images(root, count=16, shape=(32, 32, 3)),
    "recordings": lambda root: made.folder_of_recordings(root, count=16),
}


@pytest.mark.parametrize(("kind", "epochs"), [("recordings", (0, 2)), ("images", (1,))])
def test_killed_while_workers_read_it_ends_as_if_it_had_not_been(kind, epochs, tmp_path):
    """In the first, a middle and the last epoch: the order of samples is that of each epoch.

    Where it is killed twice, the second time is after it went on.
    """
    data = tmp_path / "data"
    KINDS[kind](data)
    words = ["train", "--data", data, "--width", "2", "--batch-size", "8", "--epochs", "3"]
    words += ["--device", "cpu", "--no-baseline", "--seed", "1"]
    words += ["--size", "32", "--shift", "0.1"] if kind == "images" else ["--model", "audio"]
    whole = tmp_path / "whole"
    result(read_by_workers, None, *words, "--out", whole, folder=tmp_path / "there")
    losses = [loss for _, loss in steps(whole)]
    assert len(set(losses)) == len(losses)
    folder = tmp_path / "run"
    rest = ["train", "--resume", folder]
    for number, epoch in enumerate(epochs):
        begun = rest if number else [*words, "--out", folder]
        with started(read_by_workers, epoch, *begun, folder=tmp_path) as process:
            assert process.wait() == -signal.SIGKILL
    result(read_by_workers, None, *rest, folder=tmp_path / "again")
    assert steps(folder) == steps(whole)
    expected, found = weights(whole), weights(folder)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_killed_before_the_test_it_is_tested(unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    before = json.loads((folder / "summary.json").read_text())["runs"][0]
    for path in (folder / "summary.json", folder / "diffstride" / "result.json"):
        path.unlink()
    run("--resume", folder, folder=tmp_path)
    after = json.loads((folder / "summary.json").read_text())["runs"][0]
    assert after == before | {"step_seconds": after["step_seconds"]}
    assert after["step_seconds"] > 0


def test_a_finished_run_is_not_trained_again(unbroken, capsys):
    before = (unbroken / "diffstride" / "metrics.csv").stat().st_mtime_ns
    assert main(["train", "--resume", str(unbroken)]) == 0
    assert "test accuracy" in capsys.readouterr().out
    assert (unbroken / "diffstride" / "metrics.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize("words", [["nowhere"], ["runs", "--epochs", "3"]])
def test_what_cannot_go_on(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--resume", *words]) == WRONG_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("spectral-stride: error: --resume: got ")


def test_a_checkpoint_that_is_cut_off_is_refused_in_one_line(unbroken, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    (folder / "diffstride" / "result.json").unlink()
    path = folder / "diffstride" / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    assert main(["train", "--resume", str(folder)]) == WRONG_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "--resume: got" in line
    assert path.exists()  # nothing is lost


def test_two_processes_share_a_run(tmp_path):
    folder = tmp_path / "run"
    words = [*WORDS, "--devices", "2", "--epochs", "1", "--no-spectral", "--batch-size", "20"]
    words = [word for word in words if word != "--no-baseline"]
    shown = run(*words, "--out", folder, folder=tmp_path)
    assert shown.count("test accuracy") == 1  # one of them speaks
    summary = json.loads((folder / "summary.json").read_text())
    assert [one["downsampling"] for one in summary["runs"]] == ["diffstride", "strided"]
    # 160 images, 20 for each of two processes: 4 steps.
    assert [step for step, _ in steps(folder)] == list(range(4))


def test_two_machines_share_a_run(tmp_path):
    """As a user starts them: the same command on each, and which machine it is in the variables."""
    folder = tmp_path / "run"
    words = ["train", *WORDS, "--epochs", "1", "--nodes", "2", "--out", folder]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    with ExitStack() as stack:
        machines = []
        for node in range(2):
            place = tmp_path / f"machine{node}"
            place.mkdir()
            variables = common | {"NODE_RANK": str(node)}
            one = started(command, *words, folder=place, environment=variables)
            machines.append(stack.enter_context(one))
        codes = [machine.wait() for machine in machines]
        assert codes == [0, 0], [machine.err for machine in machines]
        assert ["test accuracy" in machine.out for machine in machines] == [True, False]
    assert [step for step, _ in steps(folder)] == list(range(5))
