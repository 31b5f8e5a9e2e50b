"""Run folders of version 0.1.0: reports read them, and what was broken off goes on."""

import csv
import json
import os
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from rich.console import Console

from spectral_stride.__main__ import main
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.cli import WRONG_USAGE
from spectral_stride.torch.training.config import BESIDE, OPTIONS
from spectral_stride.torch.training.fit import run_job
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.report.comparison import sections
from spectral_stride.torch.training.report.document import write_report
from spectral_stride.torch.training.report.runs import gather
from spectral_stride.torch.training.run_folder import resumed
from spectral_stride.torch.training.words import complete, parse

OLD = Path(__file__).parents[1] / "data" / "runs-0.1.0"
CHECKPOINT = OLD / "broken-off" / "diffstride" / "checkpoints" / "last.ckpt"


@pytest.fixture
def broken_off(tmp_path):
    """A copy of the run that was broken off."""
    return Path(shutil.copytree(OLD / "broken-off", tmp_path / "run"))


def edit_choices(folder, change):
    """Change what a run folder says of the choices of its run."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content["config"])
    path.write_text(json.dumps(content))


def rows(folder):
    with (folder / "diffstride" / "metrics.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["train/loss"]]


def test_the_report_reads_them(tmp_path):
    markdown, _ = write_report([OLD], tmp_path / "out")
    text = markdown.read_text()
    assert "# Learned strides: 2 trainings, 1 failed or not finished\n" in text
    finished = json.loads((OLD / "finished" / "summary.json").read_text())
    for run in finished["runs"]:
        assert f"{100 * run['test_accuracy']:.2f} (1)" in text
    assert "not finished: running, or interrupted" in text
    assert len(list((tmp_path / "out").glob("*.png"))) == 4


def test_what_was_broken_off_ends_as_if_it_had_not_been(broken_off):
    """As the same training ended then, to rounding.

    But for the last layer: its strides are larger than its input of 5 samples can use. A gradient
    that pushes them further out is projected now, and was not then.
    """
    before = rows(broken_off)
    _, summary = run_job(
        resumed(str(broken_off)), None, Console(quiet=True), resume=str(broken_off)
    )
    after = rows(broken_off)
    assert [int(row["step"]) for row in after] == [0, 1, 2, 3]
    assert all(now.items() >= was.items() for now, was in zip(after, before, strict=False))
    found = summary["runs"][0]
    wanted, _ = json.loads((OLD / "finished" / "summary.json").read_text())["runs"]
    assert found["test_accuracy"] == wanted["test_accuracy"]
    assert found["after"]["macs"] == wanted["after"]["macs"]
    *inside, last = zip(found["after"]["layers"], wanted["after"]["layers"], strict=True)
    for ours, theirs in inside:
        assert ours["stride"] == pytest.approx(theirs["stride"], rel=1e-5)
    ours, theirs = (layer["stride"] for layer in last)
    assert ours == pytest.approx((2.8911004, theirs[1]), rel=1e-5)


def test_what_is_finished_is_shown_and_not_trained_again(tmp_path):
    folder = shutil.copytree(OLD / "finished", tmp_path / "run")
    console = Console(record=True, width=100, quiet=False)
    _, summary = run_job(resumed(str(folder)), None, console, resume=str(folder))
    before = json.loads((OLD / "finished" / "summary.json").read_text())
    # Options that came later are there with what they were then.
    assert summary.pop("config").items() >= before.pop("config").items()
    assert summary == before
    assert "3.12 %" in console.export_text()
    assert not (folder / "diffstride" / "checkpoints").exists()


def test_a_checkpoint_loads_by_itself():
    module = Classifier.load_from_checkpoint(CHECKPOINT, weights_only=True)
    assert module.config == resumed(str(OLD / "broken-off"))
    state = torch.load(CHECKPOINT, weights_only=True)["state_dict"]
    assert all(torch.equal(module.state_dict()[name], value) for name, value in state.items())


def test_a_checkpoint_from_before_an_option_loads(tmp_path):
    content = torch.load(CHECKPOINT, weights_only=True)
    del content["hyper_parameters"]["config"]["crop"]
    torch.save(content, tmp_path / "older.ckpt")
    module = Classifier.load_from_checkpoint(tmp_path / "older.ckpt", weights_only=True)
    assert module.config.crop == 0


def test_every_option_is_known_to_them_or_says_what_they_did():
    """A new option of the table needs a value for the runs before it."""
    there = json.loads((OLD / "finished" / "config.json").read_text())["config"]
    assert resumed(str(OLD / "finished")) == parse(complete(there))
    (run, *_) = gather([OLD / "finished"]).runs
    assert run.config.keys() == OPTIONS.keys() - BESIDE.keys()
    assert asdict(resumed(str(OLD / "finished"))).items() >= there.items()


def test_an_option_of_another_version_is_refused_with_that_version(broken_off):
    edit_choices(broken_off, lambda choices: choices.update(warm_up=3, ema=0.9))
    with pytest.raises(RefusedError) as caught:
        resumed(str(broken_off))
    ours = version("spectral-stride")
    assert str(caught.value) == (
        f"--resume: got {str(broken_off)!r}, started with --warm-up, --ema by version 0.1.0; "
        f"allowed: a run with options of this version, {ours}; "
        "instead: install spectral-stride==0.1.0, or train it anew"
    )


def test_the_report_keeps_an_option_of_another_version_apart(tmp_path):
    for name in ("a", "b"):
        shutil.copytree(OLD / "finished", tmp_path / name)
    edit_choices(tmp_path / "b", lambda choices: choices.update(warm_up=3))
    plain, other = sections(gather([tmp_path]).runs)
    assert "warm_up" not in plain.setting
    assert other.setting == plain.setting | {"warm_up": 3}


def test_an_option_that_is_missing_is_named(tmp_path, broken_off):
    finished = Path(shutil.copytree(OLD / "finished", tmp_path / "finished"))
    for folder in (broken_off, finished):
        edit_choices(folder, lambda choices: choices.pop("epochs"))
    with pytest.raises(RefusedError, match=r"--resume: got '.*' \(without 'epochs' in its config"):
        resumed(str(broken_off))
    with pytest.raises(RefusedError, match=r"RUNS: got '.*config\.json' \(without 'epochs'\)"):
        gather([finished])


# --- Links --------------------------------------------------------------------------------------


def move_away(path, outside):
    """Put a link in the place of a file or a folder, which is whole where the link leads to."""
    outside.mkdir()
    path.rename(outside / path.name)
    path.symlink_to(outside / path.name)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "diffstride",
        "diffstride/checkpoints",
        "diffstride/checkpoints/last.ckpt",
        "diffstride/metrics.csv",
    ],
)
def test_a_training_goes_on_from_nothing_outside_of_its_folder(broken_off, tmp_path, capsys, name):
    """Nor is anything written there."""
    outside = tmp_path / "outside"
    move_away(broken_off / name, outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    assert main(["train", "--resume", str(broken_off)]) == WRONG_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "a link that leads out of the folder" in line
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


def test_a_result_is_read_from_no_other_place(tmp_path, capsys):
    folder = Path(shutil.copytree(OLD / "finished", tmp_path / "run"))
    move_away(folder / "diffstride" / "result.json", tmp_path / "outside")
    assert main(["train", "--resume", str(folder)]) == WRONG_USAGE
    assert "a link that leads out of the folder" in capsys.readouterr().err


def test_a_run_that_is_itself_behind_a_link_goes_on(broken_off, tmp_path):
    (tmp_path / "link").symlink_to(broken_off)
    config = resumed(str(tmp_path / "link"))
    run_job(config, None, Console(quiet=True), resume=str(tmp_path / "link"))
    assert (broken_off / "summary.json").is_file()


def test_a_lock_is_written_through_no_link(broken_off, tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    (broken_off / "run.lock").symlink_to(tmp_path / "mine")
    assert main(["train", "--resume", str(broken_off)]) != 0
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert (tmp_path / "mine").read_text() == "mine"


# --- What was broken off, and damaged since -----------------------------------------------------

METRICS = Path("diffstride", "metrics.csv")


def become_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (become_a_pipe, "no regular file"),
        (lambda path: path.write_text(""), "without a column 'step'"),
        (lambda path: path.write_bytes(b"\xff"), "invalid start byte"),
        (lambda path: path.write_text(f"step,b\n1,{'2' * 10**6}\n"), "field larger than"),
        (lambda path: path.write_text(f"step,b\n{'1' * 5000},2\n"), "Exceeds the limit"),
    ],
)
def test_metrics_of_another_form_are_refused_in_one_line(broken_off, capsys, damage, reason):
    damage(broken_off / METRICS)
    assert main(["train", "--resume", str(broken_off)]) == WRONG_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: --resume: got '{broken_off / METRICS}' (" in line
    assert "; allowed: a metrics.csv as spectral-stride train writes it; instead: " in line
    assert reason in line


def test_rows_that_a_killed_process_had_put_aside_are_put_back(broken_off):
    """It was killed after the logger had deleted the file, and before it was written anew."""
    before = rows(broken_off)
    (broken_off / METRICS).rename(broken_off / METRICS.with_name("metrics.csv.kept"))
    run_job(resumed(str(broken_off)), None, Console(quiet=True), resume=str(broken_off))
    after = rows(broken_off)
    assert [int(row["step"]) for row in after] == [0, 1, 2, 3]
    assert all(now.items() >= was.items() for now, was in zip(after, before, strict=False))
    assert sorted(path.name for path in (broken_off / "diffstride").glob("*.csv*")) == [
        "metrics.csv"
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (None, "JSONDecodeError"),
        (lambda result: result.pop("seconds"), "without 'seconds'"),
        (lambda result: result.update(test_accuracy=5e9), "test_accuracy 5000000000.0"),
        (lambda result: result.update(before=[]), "list indices must be integers"),
        (lambda result: result["after"]["layers"].pop(), "other layers after the training"),
        (lambda result: result.update(downsampling="strided"), "the result of downsampling str"),
    ],
)
def test_a_result_that_no_training_has_is_refused_in_one_line(tmp_path, capsys, change, reason):
    folder = shutil.copytree(OLD / "finished", tmp_path / "run")
    path = folder / "diffstride" / "result.json"
    result = json.loads(path.read_text())
    if change is not None:
        change(result)
    path.write_text(json.dumps(result) if change is not None else "")
    before = path.read_bytes()
    assert main(["train", "--resume", str(folder)]) == WRONG_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: --resume: got '{path}' (" in line
    assert reason in line
    assert path.read_bytes() == before


@pytest.mark.usefixtures("picture")
def test_a_picture_of_another_form_is_refused_in_one_line(tmp_path, capsys):
    folder = shutil.copytree(OLD / "finished", tmp_path / "run")
    become_a_pipe(folder / METRICS)
    assert main(["train", "--resume", str(folder)]) == WRONG_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: --resume: got '{folder / METRICS}' (" in line


def test_names_of_a_run_are_shown_as_they_are(tmp_path):
    """And not as markup: of tasks, of layers and of its folder."""
    folder = Path(shutil.copytree(OLD / "finished", tmp_path / "[" / "]"))
    for kind in ("diffstride", "strided"):
        path = folder / kind / "result.json"
        text = path.read_text().replace("stage4", "[/]a")
        result = json.loads(text)
        result["test_accuracies"] = {"[/b]": 0.5, "[bold]c[/]": 0.5}
        path.write_text(json.dumps(result))
        metrics = folder / kind / "metrics.csv"
        metrics.write_text(metrics.read_text().replace("stage4", "[/]a"))
    console = Console(record=True, width=300)
    run_job(resumed(str(folder)), None, console, resume=str(folder))
    shown = console.export_text()
    for words in ("[/]a", "[/b]", "[bold]c[/]", str(folder)):
        assert words in shown


@pytest.mark.usefixtures("picture")
def test_a_picture_is_drawn_through_no_link(tmp_path):
    folder = shutil.copytree(OLD / "finished", tmp_path / "run")
    (tmp_path / "mine").write_text("mine")
    (folder / "strides.png").symlink_to(tmp_path / "mine")
    run_job(resumed(str(folder)), None, Console(quiet=True), resume=str(folder))
    assert (tmp_path / "mine").read_text() == "mine"
    assert (folder / "strides.png").read_bytes().startswith(b"\x89PNG")
