"""The words of ``spectral-stride``: what they do, and what each wrong one gets."""

import os
import re
import signal
import subprocess
import sys

import pytest

import spectral_stride
from spectral_stride import __main__ as command
from spectral_stride.__main__ import main
from spectral_stride.torch.training import cli, fit
from spectral_stride.torch.training.config import OPTIONS, Config
from spectral_stride.torch.training.options import flag_of
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.words import parse
from tests.training import processes

COMMAND = [sys.executable, "-m", "spectral_stride"]


@pytest.fixture
def asked(monkeypatch):
    """What would be run, in place of running it."""
    seen = []
    monkeypatch.setattr(
        fit, "run_job", lambda config, out, console, resume: seen.append((config, out))
    )
    return seen


def refusal(capsys, words):
    """The one line that wrong words get."""
    assert main(words) == cli.WRONG_USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("spectral-stride: error: ")
    return line


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"spectral-stride {spectral_stride.__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["train", "--help"]], ids=str)
def test_help(words, capsys):
    assert main(words) == 0
    assert "Usage: spectral-stride" in capsys.readouterr().out


def test_help_says_whose_width_it_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "0 is as published: 64 for resnet18, 16 for resnet56" in shown
    assert "Without it 0; for --data digits by the recipe small 8." in shown
    assert "Without it 0; for --data digits by the recipe small 0.5." in shown
    assert "2,2,1,2,1,2 for audio. For --data digits a poor choice, on purpose: 1,1,3,2,3" in shown


def test_help_has_the_default_of_every_switch(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    main(["train", "--help"])
    shown = capsys.readouterr().out
    for name, one in OPTIONS.items():
        if one.is_switch:
            (line,) = [line for line in shown.splitlines() if f" {flag_of(name)} " in line]
            defaults = re.findall(r"\[default: ([\w-]+)\]", line)
            varies = one.default is None or "By the recipe" in line
            assert defaults == ([] if varies else [words_of(name, one.default)])


def words_of(name, switch):
    return flag_of(name)[2:] if switch else f"no-{flag_of(name)[2:]}"


def test_help_has_four_parts_in_the_order_of_a_plan(capsys):
    main(["train", "--help"])
    headings = re.findall(r"╭─ (\w[\w ]*) ─", capsys.readouterr().out)
    assert headings == ["Options", "Data", "Network", "Training", "Run"]


def test_every_choice_is_an_option_with_its_default(asked):
    assert main(["train"]) == 0
    assert asked == [(parse({}), None)]


def test_options_reach_the_run(asked):
    words = "train --model resnet56 --strides 1,3x2,2,2 --ramp outside --smoothness 2 --budget 0"
    words += " --epochs 3 --batch-size 8 --lr 0.1 --stride-lr 0 --weight-decay 0 --width 4"
    words += " --seed 7 --device cpu --no-baseline --out here --downsampling spectral --data digits"
    assert main(words.split()) == 0
    expected = Config(
        model="resnet56",
        downsampling="spectral",
        strides="1,3x2,2,2",
        ramp="outside",
        smoothness=2.0,
        penalty=0.0,
        epochs=3,
        batch_size=8,
        lr=0.1,
        stride_lr=0.0,
        weight_decay=0.0,
        width=4,
        seed=7,
        device="cpu",
        baseline=False,
        spectral=False,
    )
    assert asked == [(expected, "here")]
    assert expected.stride_pairs == [(1, 1), (3, 2), (2, 2), (2, 2)]


def test_options_of_learned_strides_without_any_are_named(asked, capsys):
    assert main(["train", "--downsampling", "strided", "--ramp", "inside", "--penalty", "1"]) == 0
    assert capsys.readouterr().err == (
        "without effect, as the strides of --downsampling strided are not learned: "
        "--ramp, --penalty\n"
    )
    assert main(["train", "--ramp", "inside", "--penalty", "1"]) == 0
    assert capsys.readouterr().err == ""
    assert len(asked) == 2


def test_options_of_a_budget_without_one_are_named(asked, capsys):
    assert main(["train", "--budget", "0", "--begin", "balanced", "--settle-at", "0.3"]) == 0
    said = capsys.readouterr().err
    assert said == "without effect, as there is no budget: --begin, --settle-at\n"
    assert main(["train", "--begin", "balanced", "--settle-at", "0.3"]) == 0  # the demo's budget
    assert main(["train", "--budget", "0", "--ramp", "inside"]) == 0
    assert capsys.readouterr().err == ""
    assert len(asked) == 3


WRONG = {
    "--data": ["mnist"],
    "--model": ["resnet19"],
    "--downsampling": ["max"],
    "--strides": [
        "1,2",
        "a",
        "1,,2,2,2",
        "0.5,1,1,1,1",
        "-1,1,1,1,1",
        "nan,1,1,1,1",
        "1x2x3,1,1,1,1",
    ],
    "--ramp": ["middle"],
    "--smoothness": ["-1", "nan", "1e-9", "wide", "1e300"],
    "--penalty": ["-0.1", "inf", "x"],
    "--epochs": ["0", "-1", "1.5", "many", "99999999999"],
    "--batch-size": ["1", "x"],
    "--lr": ["0", "-1", "nan", "x"],
    "--stride-lr": ["-1", "nan"],
    "--weight-decay": ["-1", "nan"],
    "--crop": ["1", "-0.1", "nan", "x"],
    "--size": ["-1", "1000000", "x"],
    "--width": ["-1", "513", "x"],
    "--seed": ["-1", "4294967296", "x"],
    "--device": ["tpu"],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in WRONG.items() for value in values]
)
def test_a_wrong_value_gets_one_line(option, value, capsys, asked):
    line = refusal(capsys, ["train", option, value])
    assert line.startswith(f"spectral-stride: error: {option}: got ")
    assert value in line
    assert "; allowed: " in line
    assert f"; instead: write {option} " in line
    assert asked == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (
            "--downsampling strided --strides 1,1,1.5,2,2",
            "whole numbers for --downsampling strided",
        ),
        ("--baseline --strides 1,1,1.5,2,2", "or --no-baseline"),
        ("--model resnet56 --strides 1,1,2,2,2", "allowed: 4 for --model resnet56"),
        ("--epoch 3", "No such option: --epoch"),
        ("--epochs", "requires an argument"),
        ("more", "unexpected extra argument"),
    ],
)
def test_words_that_do_not_fit_get_one_line(words, part, capsys, asked):
    assert part in refusal(capsys, ["train", *words.split()])
    assert asked == []


@pytest.mark.parametrize("words", [["train", "--data"], ["train", "--out"], ["report"]])
def test_names_that_are_no_utf_8_get_one_line(words, capsys, asked):
    line = refusal(capsys, [*words, os.fsdecode(b"caf\xe9/x")])
    assert r"got caf\xe9/x, whose name is no UTF-8; allowed: names in UTF-8; instead: " in line
    assert asked == []


def test_faults_that_are_told_at_once_get_a_line_each(capsys, tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "x" / name).mkdir(parents=True)
        for index in range(5):
            (tmp_path / "x" / name / f"{index}.png").write_bytes(b"")
    words = ["train", "--data", str(tmp_path / "x"), "--out", str(tmp_path / "out")]
    assert main(words) == cli.WRONG_USAGE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    for line in lines[:10]:
        assert line.startswith(f"spectral-stride: error: --data: got {tmp_path}/x/")
    assert lines[10].startswith("spectral-stride: error: --data: got 10 faults, and looked no ")


def test_an_unknown_command_gets_one_line(capsys):
    assert "trian" in refusal(capsys, ["trian"])


@pytest.mark.parametrize(("device", "module"), [("cuda", "cuda"), ("mps", "backends.mps")])
def test_a_device_that_is_not_there(device, module, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(f"torch.{module}.is_available", lambda: False)
    line = refusal(capsys, ["train", "--device", device, "--out", str(tmp_path / "new")])
    assert f"--device: got '{device}'" in line
    assert not (tmp_path / "new").exists()


def test_a_folder_with_files_is_kept(capsys, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    line = refusal(capsys, ["train", "--out", str(tmp_path)])
    assert "which holds files; allowed: a new or an empty folder; instead: write --out" in line
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "a folder that can be written" in refusal(capsys, ["train", "--out", str(path)])


def test_what_the_library_refuses_is_one_line_too(capsys, monkeypatch):
    def refuse(*_, **__):
        raise RefusedError("strides: got\nsomething")

    monkeypatch.setattr(fit, "run_job", refuse)
    assert refusal(capsys, ["train"]) == "spectral-stride: error: strides: got something"


def test_a_failing_disk_is_one_line(capsys, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fit, "run_job", fail)
    assert main(["train"]) == cli.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device; instead: make room, and go on" in line


@pytest.mark.parametrize("missing", ["torch", "lightning"])
def test_without_the_training_tools_it_says_what_to_install(missing, capsys, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == missing else name)
    assert main(["train"]) == cli.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert f"({missing})" in line
    assert "in a checkout, with: python -m pip install -e '.[train]'" in line


def test_a_wrong_value_in_a_process_of_its_own():
    done = subprocess.run(
        [*COMMAND, "train", "--epochs", "none"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "spectral-stride: error: --epochs: got 'none'; allowed: a whole number from 1 to 1000000; "
        "instead: write --epochs 30"
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupt_is_one_line_and_code_130(tmp_path):
    out = tmp_path / "my [bold] run"
    small = ["--width", "1", "--limit", "32", "--batch-size", "16", "--epochs", "100000"]
    words = ["train", "--no-baseline", *small, "--out"]
    with processes.started(processes.command, *words, out, folder=tmp_path) as process:
        process.wait_for(lambda: list(out.glob("*/checkpoints/last.ckpt")))
        os.kill(process.pid, signal.SIGINT)
        assert process.wait() == cli.INTERRUPTED
    assert process.err.splitlines() == ["spectral-stride: error: interrupted"]
    # It goes on where it stopped; a path with a space is written so that it can be pasted.
    remedy = f"Stopped. It goes on with: spectral-stride train --resume '{out}'"
    assert process.out.splitlines()[-1] == remedy
    assert re.search(r"^Epoch      1/100000: loss \d\.\d{4}, ", process.out, re.MULTILINE)
