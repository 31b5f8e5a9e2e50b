"""``spectral-stride convert``: networks of other libraries by their names, without a download."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from torch import nn

from spectral_stride.__main__ import main
from spectral_stride.torch import DiffStride, convert
from spectral_stride.torch.training import foreign
from spectral_stride.torch.training.cli import WRONG_USAGE
from spectral_stride.torch.training.foreign import find_network

SMALL = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}
SMALL |= {"image_size": 32, "layer_type": "basic"}


@pytest.fixture
def saved(tmp_path):
    """A folder with a configuration, as transformers saves it."""
    pytest.importorskip("transformers", reason="transformers is an extra of the tests")
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMALL))
    return folder


def refusal(capsys, words):
    assert main(["convert", *map(str, words)]) == WRONG_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "; allowed: " in line
    assert "; instead: " in line
    return line


def test_a_folder_is_converted_with_its_weights_and_saved(saved, tmp_path, capsys):
    net = find_network(str(saved)).net
    torch.manual_seed(3)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    net.save_pretrained(saved)
    capsys.readouterr()
    out = tmp_path / "out.pt"
    assert main(["convert", str(saved), "--exclude", "*pooler*", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    first, *table = shown.out.splitlines()
    assert shown.err == ""
    assert first == f"ResNetForImageClassification, weights: those in {saved}"
    assert "32x32 -> 16x16" in table[1]
    assert not any("MaxPool2d" in line for line in table)
    assert table[-1] == f"Saved  {out}"
    x = torch.rand(2, 3, 32, 32)
    wanted = convert(net, x[:1], exclude="*pooler*")
    loaded = torch.load(out, weights_only=False)
    assert any(isinstance(module, DiffStride) for module in loaded.modules())
    with torch.no_grad():
        assert torch.equal(loaded(x).logits, wanted(x).logits)


def test_a_configuration_alone_has_weights_drawn_at_random(saved, capsys):
    for name in (saved, saved / "config.json"):
        words = ["convert", str(name), "--size", "48", "--include", "*pooler*"]
        assert main(words) == 0
        first, _, *rows = capsys.readouterr().out.splitlines()
        assert first == "ResNetForImageClassification, weights: drawn at random"
        assert rows[0].startswith("resnet.embedder.pooler  MaxPool2d  2x2     24x24 -> 12x12 ")
        assert len(rows) == 2


def test_a_type_of_transformers_has_its_default_configuration():
    pytest.importorskip("transformers", reason="transformers is an extra of the tests")
    found = find_network("mobilenet_v2")
    assert type(found.net).__name__ == "MobileNetV2ForImageClassification"
    assert (found.shape, found.net.training) == ((3, 224, 224), False)


class Small(nn.Sequential):
    pretrained_cfg = {"input_size": (1, 20, 24)}  # noqa: RUF012  # as timm has it


@pytest.fixture
def timm(monkeypatch):
    """What this knows of timm, which is no dependency."""
    module = ModuleType("timm")
    module.__spec__ = ModuleSpec("timm", None)
    made = []

    def create_model(name, pretrained):
        made.append((name, pretrained))
        return Small(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.ReLU())

    module.is_model = lambda name: name == "small"
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    return made


def test_a_name_of_timm_is_built_without_weights(timm, capsys):
    assert main(["convert", "small"]) == 0
    first, _, row, _ = capsys.readouterr().out.splitlines()
    assert first == "Small, weights: drawn at random"
    assert "20x24 -> 10x12" in row
    assert timm == [("small", False)]


def test_without_a_library_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(foreign, "find_spec", lambda name: None)
    assert "instead: pip install transformers timm" in refusal(capsys, ["resnet18"])
    line = refusal(capsys, ["owner/name"])
    assert "MODEL: got 'owner/name', without transformers; " in line
    assert line.endswith("pip install transformers")


def test_what_is_no_network_is_one_line(saved, tmp_path, capsys, timm):
    assert "MODEL: got 'nothing'; " in refusal(capsys, ["nothing"])
    assert "a BertConfig without an image classifier" in refusal(capsys, ["bert"])
    line = refusal(capsys, ["owner/nothing"])
    assert "MODEL: got 'owner/nothing', which is not here; " in line
    assert line.endswith("hf download owner/nothing")
    assert f"MODEL: got '{tmp_path}' (" in refusal(capsys, [tmp_path])
    for content in ("{", "[]", '{"model_type": "film"}', json.dumps(SMALL | {"depths": "x"})):
        (saved / "config.json").write_text(content)
        assert f"MODEL: got '{saved}' (" in refusal(capsys, [saved])
    (saved / "config.json").write_text(json.dumps(SMALL))
    (saved / "model.safetensors").write_text("words")
    assert f"MODEL: got '{saved}' (" in refusal(capsys, [saved])
    assert timm == []


def test_options_that_do_not_fit_are_one_line(timm, tmp_path, capsys, monkeypatch):
    assert "include: got 'x'" in refusal(capsys, ["small", "--include", "x"])
    assert "--size: got 'x'" in refusal(capsys, ["small", "--size", "x"])
    (tmp_path / "mine").write_text("mine")
    line = refusal(capsys, ["small", "--out", tmp_path / "mine"])
    assert "--out: got" in line
    assert "which is there already" in line
    assert (tmp_path / "mine").read_text() == "mine"
    monkeypatch.setattr(Small, "forward", lambda self, x: x[:, :, ::2].reshape(7))
    assert "sample: got one on which the network fails" in refusal(capsys, ["small"])


def test_a_network_that_cannot_be_saved_leaves_no_file(timm, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise AttributeError("cannot pickle a local class")

    monkeypatch.setattr(torch, "save", fail)
    line = refusal(capsys, ["small", "--out", tmp_path / "out.pt"])
    assert "--out: got a network that cannot be saved (AttributeError: cannot pickle" in line
    assert list(tmp_path.iterdir()) == []
