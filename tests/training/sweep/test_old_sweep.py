"""The folder of a sweep that was made when Optuna kept the queue: it is reported, and goes on."""

import shutil
from pathlib import Path

import pytest

from spectral_stride.__main__ import main
from spectral_stride.torch.training.report.runs import gather

OLD = Path(__file__).parents[2] / "data" / "optuna_sweep"
GRID = "{downsampling: strided, width: 1, epochs: 1, batch_size: 16, limit: 32, seed: [0, 1, 2]}"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(OLD, tmp_path / "out")
    return tmp_path / "out"


def test_it_still_makes_a_report(folder, tmp_path):
    assert main(["report", str(folder), "--out", str(tmp_path / "report")]) == 0
    assert "strided" in (tmp_path / "report" / "report.md").read_text()
    found = gather([folder])
    assert [run.config["seed"] for run in found.runs] == [0, 1]
    (failed,) = found.unfinished
    assert failed.reason.startswith("RuntimeError: out of memory; finished in ")


def test_its_trials_are_not_trained_again(folder, sweep, trainings, address):
    """Nor one that failed at first and was then done in another folder."""
    shown = sweep(GRID, "--scheduler", address)
    assert (shown.code, shown.err) == (0, "")
    assert [config.seed for config in trainings.seen] == [2]
    assert "3 done, 0 failed" in shown.out
    assert "12.50 % at 0.09 M MACs" in shown.out


def test_what_it_has_not_done_goes_on_in_its_folder(folder, sweep, trainings, address):
    (done,) = folder.glob("*-try2")
    shutil.rmtree(done)
    assert sweep(GRID, "--scheduler", address).code == 0
    assert [config.seed for config in trainings.seen] == [1, 2]
    assert len(list(folder.glob("*/summary.json"))) == 3
    assert not list(folder.glob("*/error.txt"))
