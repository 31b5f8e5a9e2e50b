"""``spectral-stride predict``: a row for each file, and a line for each that cannot be read."""

import csv
import io
import os
import shutil

import datasets
import pytest
import torch
from rich.console import Console

from spectral_stride.__main__ import main
from spectral_stride.torch.training import load_run
from spectral_stride.torch.training.cli import FAILED, WRONG_USAGE
from spectral_stride.torch.training.predict import Prediction, predict_files, write
from tests.training.data import made
from tests.training.test_trained import untrained_run


@pytest.fixture
def files(tmp_path):
    """A folder with two images, and one below it."""
    (tmp_path / "files" / "more").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.PNG", "more/c.png")):
        (tmp_path / "files" / name).write_bytes(made.png(made.pixels(seed, (16, 16, 3))))
    (tmp_path / "files" / "notes.txt").write_text("words")
    (tmp_path / "files" / ".hidden.png").write_text("words")
    return tmp_path / "files"


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_files_and_folders_get_a_row_for_each_file(run, files, capsys):
    assert main(["predict", str(run), str(files), str(files / "a.png")]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines()[0] == "file,class,probability"
    found = rows(shown.out)
    names = ["a.png", "b.PNG", "more/c.png", "a.png"]
    assert [row["file"] for row in found] == [str(files / name) for name in names]
    loaded = load_run(run)
    for row in found:
        with torch.no_grad():
            (logits,) = loaded.net(loaded.transform(row["file"])[None])
        share, place = logits.softmax(dim=1)[0].max(dim=0)
        assert row["class"] == loaded.classes["label"][place]
        assert float(row["probability"]) == pytest.approx(share.item(), abs=1e-5)


def test_more_classes_stand_in_the_order_of_their_shares(run, files, capsys):
    assert main(["predict", str(run), str(files / "a.png"), "--top", "9", "--csv"]) == 0
    first, second = rows(capsys.readouterr().out)
    assert {first["class"], second["class"]} == {"ant", "bee"}
    assert float(first["probability"]) >= float(second["probability"])
    assert float(first["probability"]) + float(second["probability"]) == pytest.approx(1, abs=1e-5)


def test_files_that_cannot_be_read_are_named_and_the_others_predicted(run, files, capsys):
    (files / "a.png").write_text("words")
    (files / "b.PNG").write_bytes(made.png(made.pixels(1, (5, 16, 3))))
    (files / "empty").mkdir()
    words = [str(files), str(files / "no.png"), str(files / "empty")]
    assert main(["predict", str(run), *words]) == FAILED
    shown = capsys.readouterr()
    assert [row["file"] for row in rows(shown.out)] == [str(files / "more" / "c.png")]
    lines = [line.partition(str(files))[2] for line in shown.err.splitlines()]
    assert lines[0].startswith("/a.png, which is no image (5 bytes); allowed: ")
    assert lines[1].startswith("/b.PNG, of 5 x 16 pixels, while the run has 16 x 16; allowed: ")
    assert lines[2].startswith("/no.png (FileNotFoundError: No such file or directory); allowed: ")
    assert lines[3].startswith("/empty, a folder without such a file; allowed: ")
    assert all(line.startswith("spectral-stride: error: file: ") for line in shown.err.splitlines())


def test_a_network_that_says_nothing_of_a_file_is_refused(run, files, tmp_path, capsys):
    """Its weights are finite, and what it computes with them is not."""
    folder = shutil.copytree(run, tmp_path / "run")
    path = folder / "diffstride" / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    for weight in state["state_dict"].values():
        if weight.is_floating_point() and weight.ndim == 4:
            weight.fill_(3e38)
    torch.save(state, path)
    assert main(["predict", str(folder), str(files / "a.png")]) == WRONG_USAGE
    shown = capsys.readouterr()
    line = shown.err.splitlines()[-1]
    assert f"RUN: got a network whose logits of {files / 'a.png'} are not finite; allowed: " in line
    assert "nan" not in shown.out


def test_many_files_are_read_in_batches(run, files, monkeypatch):
    monkeypatch.setattr("spectral_stride.torch.training.predict.BATCH", 2)
    loaded, faults = load_run(run), []
    shares = [one.probability for one in predict_files(loaded, [str(files)], 1, faults.append)]
    monkeypatch.undo()
    whole = [one.probability for one in predict_files(loaded, [str(files)], 1, faults.append)]
    assert shares == pytest.approx(whole, abs=1e-6)
    assert len(shares) == 3
    assert faults == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_in_a_folder_that_is_no_utf_8_is_written_as_escapes(run, files, capsys):
    (files / "a.png").rename(files / os.fsdecode(b"caf\xe9.png"))
    assert main(["predict", str(run), str(files)]) == 0
    assert rows(capsys.readouterr().out)[1]["file"] == rf"{files}/caf\xe9.png"


def test_recordings_and_tasks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    waves = [made.wav(made.tone(seed, 4000), 4000) for seed in range(10)]
    name = made.write(tmp_path / "data", train=made.audio_table(waves))
    words = {"labels": "digit,speaker", "model": "audio", "strides": "2,2,1,2,1,2"}
    folder, _, _ = untrained_run(tmp_path / "run", data=name, **words)
    (tmp_path / "one.wav").write_bytes(waves[0])
    assert main(["predict", str(folder), str(tmp_path / "one.wav"), "--top", "2"]) == 0
    found = rows(capsys.readouterr().out)
    assert list(found[0]) == ["file", "task", "class", "probability"]
    assert [row["task"] for row in found] == ["digit", "digit", "speaker", "speaker"]
    assert {row["class"] for row in found} == {"cat", "dog"}


@pytest.mark.parametrize("word", ["0", "-1", "many", "1.5"])
def test_how_many_classes_is_a_whole_number(run, files, word, capsys):
    assert main(["predict", str(run), str(files), "--top", word]) == WRONG_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--top: got '{word}'; allowed: a whole number from 1 to " in line


def test_no_file_is_no_command(run, capsys):
    assert main(["predict", str(run)]) == WRONG_USAGE
    assert "FILES" in capsys.readouterr().err


def test_an_older_run_says_what_is_not_known_on_the_side(run, files, tmp_path, capsys):
    (run / "samples.json").rename(tmp_path / "kept")
    try:
        assert main(["predict", str(run), str(files / "a.png")]) == 0
    finally:
        (tmp_path / "kept").rename(run / "samples.json")
    shown = capsys.readouterr()
    assert rows(shown.out)[0]["class"] in ("0", "1")
    assert shown.err.startswith(f"{run}: trained before the names of classes were kept")


def test_a_terminal_gets_a_table_of_plain_text():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    names = ["[/]a", "b\x1b[31m\nc"]
    found = [Prediction("x.png", "label", name, 0.5) for name in names]
    write(found, ["label"], console, as_csv=False)
    shown = console.file.getvalue()
    assert "[/]a" in shown
    assert r"b\x1b[31m\nc" in shown
    assert "0.5000" in shown
    assert "label" not in shown
    write(found[:1], ["label"], console, as_csv=True)
    assert console.file.getvalue().endswith("file,class,probability\nx.png,[/]a,0.500000\n")
