"""``spectral-stride export``: a file that computes what the network does, and names its classes."""

import io
import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spectral_stride.__main__ import main
from spectral_stride.torch import DiffStride
from spectral_stride.torch.training import export, load_run
from spectral_stride.torch.training.cli import WRONG_USAGE
from spectral_stride.torch.training.export import export_run
from spectral_stride.torch.training.refusal import RefusedError


class Small(nn.Sequential):
    """A network whose logits are those of one task."""

    def forward(self, x):
        return (super().forward(x),)


@pytest.fixture
def loaded(run, monkeypatch):
    """The run, with a network that is smaller than any that can be trained."""
    torch.manual_seed(0)
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    net = Small(nn.Conv2d(3, 4, 3), DiffStride(1.7), nn.ReLU(), *head).eval()
    small = replace(load_run(run), net=net)
    monkeypatch.setattr("spectral_stride.torch.training.trained.read_run", lambda folder: small)
    return small


def refusal(capsys, words):
    assert main(["export", *map(str, words)]) == WRONG_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("spectral-stride: error: --")
    return line


def test_a_program_of_pytorch_is_the_same_and_knows_its_classes(run, loaded, tmp_path, capsys):
    out = tmp_path / "net.pt2"
    assert main(["export", str(run), "--format", "pt2", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0] == f"File        {out}"
    assert lines[1] == "Input       samples: float32 (batch, 3, 16, 16)"
    assert lines[2] == "Output      logits/label: float32 (batch, 2)"
    about = {"classes.json": "", "transform.json": ""}
    program = torch.export.load(io.BytesIO(out.read_bytes()), extra_files=about)
    with FlopCounterMode(display=False) as counter:
        program.module()(torch.rand(1, 3, 16, 16))
    macs = counter.get_total_flops() // 2
    # The convolution, what resamples 14 samples onto 9 on each axis, and the head.
    learned = 14 * 14 * 4 * 27 + 4 * (14 + 9) * 9 * 14 + 4 * 2
    assert lines[3] == f"MACs        {macs:,} per sample, {learned:,} in the network that learned"
    assert lines[4].startswith("Difference  ")
    assert not any("strides" in name for name in program.state_dict)  # it is frozen
    assert json.loads(about["classes.json"]) == {"label": ["ant", "bee"]}
    assert json.loads(about["transform.json"]) == loaded.transform.described()
    for count in (1, 3):
        x = torch.rand(count, 3, 16, 16)
        with torch.no_grad():
            (found,), (wanted,) = program.module()(x), loaded.net(x)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_onnx_is_the_same_and_knows_its_classes(run, loaded, capsys):
    pytest.importorskip("onnxscript", reason="ONNX is an extra: pip install '.[export]'")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX is an extra: '.[export]'")
    assert main(["export", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"File        {run / 'net.onnx'}"
    session = runtime.InferenceSession((run / "net.onnx").read_bytes())
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == {"label": ["ant", "bee"]}
    assert json.loads(about["transform"]) == loaded.transform.described()
    x = torch.rand(3, 3, 16, 16)
    (found,) = session.run(["logits/label"], {"samples": x.numpy()})
    with torch.no_grad():
        (wanted,) = loaded.net(x)
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-5)


def test_without_onnx_it_says_what_to_install(run, capsys, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if "onnx" in name else name)
    line = refusal(capsys, [run, "--out", run / "new.onnx"])
    assert "--format: got onnx, without onnx, onnxscript, onnxruntime; " in line
    assert line.endswith("pip install 'spectral-stride[export]', or write --format pt2")
    assert not (run / "new.onnx").exists()


def test_a_file_that_is_there_is_kept(run, tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    line = refusal(capsys, [run, "--format", "pt2", "--out", tmp_path / "mine"])
    assert "which is there already; allowed: a new file" in line
    assert (tmp_path / "mine").read_text() == "mine"
    line = refusal(capsys, [run, "--format", "pt2", "--out", tmp_path / "absent" / "new"])
    assert "absent/new', whose folder is not there; allowed: a new file" in line


def test_another_format_is_refused(run, capsys):
    assert "--format: got 'h5'; allowed: onnx, pt2" in refusal(capsys, [run, "--format", "h5"])


def test_what_cannot_be_exported_or_computes_something_else_is_one_line(loaded, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such\noperation")

    with monkeypatch.context() as broken:
        broken.setattr(torch.export, "export", fail)
        with pytest.raises(RefusedError, match=r"hold this network \(RuntimeError: no such oper"):
            export_run(loaded, "pt2")

    class Other:
        def module(self):
            return lambda x: (torch.zeros(len(x), 2) + 7,)

    monkeypatch.setattr(export, "_as_pt2", lambda *_: b"")
    monkeypatch.setattr(torch.export, "export", lambda *_, **__: None)
    monkeypatch.setattr(torch.export, "load", lambda _: Other())
    with pytest.raises(RefusedError, match=r"^--format: got pt2, whose logits differ by [\d.]+ fr"):
        export_run(loaded, "pt2")
