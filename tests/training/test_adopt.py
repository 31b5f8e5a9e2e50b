"""A network adopted from beginning to end: the example of the documentation, done small."""

import runpy
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "docs" / "examples" / "adopt.py"
EXAMPLE = runpy.run_path(str(PATH))
TINY = "--limit 20 --epochs 3 --batch-size 4 --width 4 --size 64 --rounds 0"


def test_the_example_takes_all_steps_within_the_budget(capsys):
    rows = EXAMPLE["main"](TINY.split())
    names = [row.step for row in rows]
    assert names == [
        "strided",
        "trained on",
        names[2],
        "converted",
        "recalibrated",
        "halved by budget",
        "frozen",
        "in onnxruntime",
    ]
    strided, longer, fewer, converted, recalibrated, halved, frozen, served = rows
    assert longer.macs == strided.macs
    assert fewer.macs <= strided.macs / 2
    assert converted.macs == recalibrated.macs > strided.macs
    assert halved.macs / strided.macs == pytest.approx(0.5, abs=0.01)
    assert served.macs == frozen.macs <= 0.51 * strided.macs
    assert served.accuracy == frozen.accuracy == halved.accuracy
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    # Of the largest logit: the two runtimes round apart.
    assert float(printed.rpartition("differ from PyTorch's by ")[2].split()[0]) < 1e-4


def test_what_cannot_be_halved_is_said_before_anything_is_trained(capsys, monkeypatch):
    trained = []
    monkeypatch.setitem(EXAMPLE["main"].__globals__, "train", trained.append)
    with pytest.raises(SystemExit):
        EXAMPLE["main"]([*TINY.split(), "--exclude", "resnet.embedder", "resnet.encoder"])
    *_, line = capsys.readouterr().err.splitlines()
    assert "error: exclude: got 'resnet.embedder'" in line
    assert not trained


def test_latencies_are_told_beside_the_first():
    calls = []
    ratios = EXAMPLE["latencies"]([(calls.append, "first"), (calls.append, "second")], 2)
    assert calls == ["first", "second"] * 2
    assert len(ratios) == 2
    assert ratios[0] == 1
