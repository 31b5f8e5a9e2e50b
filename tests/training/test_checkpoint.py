"""Checkpoints: whole or those of before, and one line for each that nothing can go on from."""

import errno
import os
import pickle
import shutil
import signal
import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch

from spectral_stride.__main__ import main
from spectral_stride.torch.training.checkpoint import WholeCheckpoints, read_checkpoint
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.cli import WRONG_USAGE
from spectral_stride.torch.training.refusal import RefusedError
from tests.training.processes import command, result, started
from tests.training.test_old_runs import OLD

STATE = {"epoch": 0, "global_step": 2, "state_dict": {}, "loops": {}, "optimizer_states": []}
STATE |= {"lr_schedulers": [], "pytorch-lightning_version": "2.6.6"}


def test_a_checkpoint_stays_whole_when_the_next_one_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    saves = WholeCheckpoints()
    saves.save_checkpoint({"epoch": 0}, path)

    def cut_off(number):
        os.ftruncate(number, os.fstat(number).st_size // 2)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("os.fsync", cut_off)
        with pytest.raises(OSError, match="No space left"):
            saves.save_checkpoint({"epoch": 1}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 0}
    saves.save_checkpoint({"epoch": 1}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_takes_no_way_through_the_folder_for_temporary_files(tmp_path, monkeypatch):
    """Which may be full, or on another file system."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    WholeCheckpoints().save_checkpoint(STATE, tmp_path / "new" / "last.ckpt")
    assert WholeCheckpoints().load_checkpoint(tmp_path / "new" / "last.ckpt") == STATE


def killed_in_a_write(*words):
    """A command that dies when half of its second checkpoint is on the disk."""
    fsync, seen = os.fsync, []

    def half(number):
        name = os.readlink(f"/proc/self/fd/{number}")
        if name.endswith("last.ckpt.part"):
            seen.append(name)
            if len(seen) == 2:
                os.ftruncate(number, os.fstat(number).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
        return fsync(number)

    os.fsync = half
    return command(*words)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="it asks Linux what is written")
def test_a_kill_in_the_middle_of_a_write_costs_one_epoch(tmp_path):
    words = ["train", "--width", "1", "--batch-size", "16", "--limit", "32", "--epochs", "3"]
    words += ["--device", "cpu", "--no-baseline", "--out", tmp_path / "run"]
    with started(killed_in_a_write, *words, folder=tmp_path) as process:
        assert process.wait() == -signal.SIGKILL, process.err
    checkpoints = tmp_path / "run" / "diffstride" / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["last.ckpt", "last.ckpt.part"]
    with pytest.raises(RefusedError, match="cut off"):
        read_checkpoint(checkpoints / "last.ckpt.part")
    assert read_checkpoint(checkpoints / "last.ckpt")["epoch"] == 0
    result(command, "train", "--resume", tmp_path / "run", folder=tmp_path / "again")
    assert read_checkpoint(checkpoints / "last.ckpt")["epoch"] == 2
    assert [path.name for path in checkpoints.iterdir()] == ["last.ckpt"]


# --- What nothing can go on from ---------------------------------------------------------------


class Program:
    """What a pickle runs when it is loaded, if one lets it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def save_without(name, path):
    torch.save({field: value for field, value in STATE.items() if field != name}, path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b""), "EOFError: "),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "PytorchStreamReader"),
        (lambda path: path.write_text("words"), "no tensors and plain values"),
        (lambda path: path.unlink() or os.mkfifo(path), "no regular file"),
        (lambda path: path.unlink() or path.mkdir(), "Is a directory"),
        (lambda path: torch.save([1], path), "TypeError: "),
        (lambda path: torch.save({}, path), "without 'state_dict'"),
        (lambda path: torch.save(STATE | {"state_dict": 3}, path), "state_dict is no mapping"),
        (lambda path: torch.save(STATE | {"epoch": 10**30}, path), "epoch a whole number of 100"),
        (lambda path: torch.save(STATE | {"global_step": "1"}, path), "global_step '1'"),
        *((partial(save_without, name), f"without '{name}'") for name in STATE),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, damage, reason):
    path = tmp_path / "last.ckpt"
    torch.save(STATE, path)
    damage(path)
    with pytest.raises(RefusedError, match=r"^--resume: got .*; allowed: .*; instead: ") as caught:
        read_checkpoint(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_a_checkpoint_runs_no_program(tmp_path):
    path = tmp_path / "last.ckpt"
    for content in (pickle.dumps(Program(tmp_path / "run")), None):
        if content is None:
            torch.save(STATE | {"seconds": Program(tmp_path / "run")}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(RefusedError, match="no tensors and plain values"):
            read_checkpoint(path)
    assert not (tmp_path / "run").exists()


def pop(*names):
    def change(state):
        *way, last = names
        for name in way:
            state = state[name]
        state.pop(last)

    return change


def fill(value):
    def change(state):
        name = next(name for name in state["state_dict"] if name.endswith("strides"))
        state["state_dict"][name].fill_(value)

    return change


def reshape_moments(state):
    (optimizer,) = state["optimizer_states"]
    optimizer["state"][0]["exp_avg"] = torch.zeros(7)


def flatten_moments(state):
    (optimizer,) = state["optimizer_states"]
    optimizer["state"][0]["exp_avg"] = torch.tensor(0.0)


def lose_moments(state):
    del state["optimizer_states"][0]["state"][0]["exp_avg"]


def poison_moments(state):
    state["optimizer_states"][0]["state"][0]["exp_avg"].fill_(torch.nan)


def moments(value):
    def change(state):
        state["optimizer_states"][0]["state"][0]["exp_avg"] = value

    return change


def group(**options):
    return lambda state: state["optimizer_states"][0]["param_groups"][0].update(options)


def schedule(**fields):
    return lambda state: state["lr_schedulers"][0].update(fields)


def count(value):
    def change(state):
        state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"] = value

    return change


@pytest.fixture(scope="module")
def module():
    path = OLD / "broken-off" / "diffstride" / "checkpoints" / "last.ckpt"
    return Classifier.load_from_checkpoint(path, weights_only=True), path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (fill(torch.nan), "strides has entries that are not finite"),
        (fill(torch.inf), "strides has entries that are not finite"),
        (pop("seconds"), "'seconds'"),
        (pop("step_seconds"), "'step_seconds'"),
        (pop("met"), "'met'"),
        (lambda state: state.update(seconds=torch.nan), "seconds nan"),
        (lambda state: state.update(step_seconds="1"), "step_seconds '1'"),
        (lambda state: state["met"].pop(), "'met' of 3 layers, for 4"),
        (
            lambda state: state["met"].__setitem__(0, ([torch.nan], None)),
            "a stride under 'met' nan",
        ),
    ],
)
def test_a_network_takes_nothing_from_a_checkpoint_that_no_training_has_left(
    module, change, reason
):
    network, path = module
    state = torch.load(path, weights_only=True)
    network.on_load_checkpoint(state)
    change(state)
    with pytest.raises((KeyError, ValueError), match=reason):
        network.on_load_checkpoint(state)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (fill(torch.nan), "strides has entries that are not finite"),
        (lambda state: state["state_dict"].popitem(), "Missing key"),
        (lambda state: state["state_dict"].update(other=3), "AttributeError"),
        (pop("met"), "without 'met'"),
        (pop("loops", "fit_loop"), "without 'fit_loop'"),
        (lambda state: state["optimizer_states"][0]["param_groups"].pop(), "parameter groups"),
        (reshape_moments, "exp_avg of shape (7,)"),
        (flatten_moments, "exp_avg of shape () for "),
        (lose_moments, "lacks fields"),
        (poison_moments, "exp_avg has entries that are NaN"),
        (moments(3), "exp_avg 3, and no tensor of numbers"),
        (group(lr="fast"), "lr 'fast', and not a number"),
        (group(betas=(0.9,)), "betas of 1, for 2"),
        (group(amsgrad=3), "amsgrad 3, and no truth value"),
        (pop("optimizer_states", 0, "param_groups", 0, "eps"), "without 'eps'"),
        (schedule(last_epoch=10**6), "a schedule at step 1000000 of 2"),
        (schedule(base_lrs=None), "base_lrs None, where list is usual"),
        (schedule(_anneal_func_type="steep"), "type 'steep', where 'cos' is usual"),
        (count(None), "ready None, and not a whole number"),
        (count(10**30), "ready a whole number of 100 bits"),
    ],
)
def test_what_a_training_cannot_go_on_from_is_one_line(tmp_path, capsys, change, reason):
    folder = Path(shutil.copytree(OLD / "broken-off", tmp_path / "run"))
    path = folder / "diffstride" / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    before = path.read_bytes()
    metrics = (folder / "diffstride" / "metrics.csv").read_text()
    assert main(["train", "--resume", str(folder)]) == WRONG_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"spectral-stride: error: --resume: got '{path}' (")
    assert "; allowed: a whole checkpoint of this training; instead: " in line
    assert reason in line
    assert path.read_bytes() == before
    assert (folder / "diffstride" / "metrics.csv").read_text() == metrics


def test_a_training_deletes_no_file_that_its_checkpoint_names(tmp_path):
    """Lightning's callback deletes what it believes to be the checkpoint before the next one."""
    folder = Path(shutil.copytree(OLD / "broken-off", tmp_path / "run"))
    (tmp_path / "mine").write_text("mine")
    path = folder / "diffstride" / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    (kept,) = state["callbacks"].values()
    kept["dirpath"] = str(path.parent)
    kept["best_model_path"] = f"{path.parent}/../../../mine"
    torch.save(state, path)
    assert main(["train", "--resume", str(folder)]) == 0
    assert (tmp_path / "mine").read_text() == "mine"
