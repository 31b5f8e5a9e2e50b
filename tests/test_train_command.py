"""``spectral-stride train`` from its words to its run folder, on few images."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from spectral_stride.__main__ import main
from spectral_stride.torch.training.config import Config, read
from spectral_stride.torch.training.cost import multiply_accumulates
from spectral_stride.torch.training.data import Digits
from spectral_stride.torch.training.lit import Classifier
from spectral_stride.torch.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec")  # Lightning asks in the old way

SMALL = {"epochs": "1", "width": "2", "batch_size": "16"}


def small(**choices):
    return read({**vars_of(Config()), **SMALL, **choices})


def vars_of(config):
    return {name: getattr(config, name) for name in Config.__dataclass_fields__}


def test_the_digits_are_band_limited_and_split_once():
    """Nothing lies above an eighth of the sampling rate; no image is in both parts."""
    data, other = Digits(32, seed=0), Digits(32, seed=1)
    images = data.train_set.tensors[0].double()
    spectrum = torch.fft.rfft2(images).abs()
    frequencies = torch.fft.fftfreq(32).abs()[:, None].maximum(torch.fft.rfftfreq(32))
    assert spectrum[..., frequencies > 1 / 8].max() < 1e-4
    assert spectrum[..., frequencies == 1 / 8].max() > 1
    assert images.shape[1:] == data.image_shape == (1, 32, 32)
    rows = [tensors.tensors[0].flatten(1).numpy() for tensors in (data.train_set, data.test_set)]
    assert len(rows[0]) + len(rows[1]) == 1797
    assert not {row.tobytes() for row in rows[0]} & {row.tobytes() for row in rows[1]}
    np.testing.assert_array_equal(rows[0], other.train_set.tensors[0].flatten(1).numpy())
    counts = np.bincount(data.train_set.tensors[1])
    assert counts.min() > 40
    assert counts.max() < 50


def test_multiply_accumulates_of_known_layers():
    """A convolution, a linear layer and an FFT, per image."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)
    )
    assert multiply_accumulates(net, (3, 6, 6)) == 36 * 3 * 8 * 9 + 8 * 36 * 5

    class Transform(torch.nn.Linear):
        def forward(self, x):
            return torch.fft.irfft(torch.fft.rfft(x))

    assert multiply_accumulates(Transform(1, 1), (4, 64)) == 4 * 2.5 * 64 * 6


def test_a_run_leaves_everything_behind(tmp_path):
    """Metrics, events, checkpoint and summary; the strides moved; the same seed repeats it."""
    config = small(stride_lr="0.2", penalty="1.0")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = train(config, tmp_path / "one", "cpu", limit=96, progress=False)
    again = train(config, tmp_path / "two", "cpu", limit=96, progress=False)
    learned, strided = first["runs"]
    assert (learned["downsampling"], strided["downsampling"]) == ("diffstride", "strided")
    for run in (learned, strided):
        folder = tmp_path / "one" / run["downsampling"]
        assert list(folder.glob("events.out.tfevents*"))
        assert (folder / "checkpoints" / "last.ckpt").is_file()
    starts, ends = ([layer["stride"] for layer in learned[when]["layers"]] for when in WHEN)
    assert [tuple(stride) for stride in starts] == [(1, 1), (3, 3), (2, 2), (3, 3)]
    assert all(start != end for start, end in zip(starts, ends, strict=True))
    assert strided["before"] == strided["after"]
    assert learned["before"]["macs"] > learned["after"]["macs"] > 0
    with (tmp_path / "one" / "diffstride" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["stride/stem/height"]) == 1
    assert float(rows[3]["stride/stem/height"]) > 1
    stored = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert stored["runs"][0]["test_accuracy"] == learned["test_accuracy"]
    for run in (*first["runs"], *again["runs"]):
        run.pop("seconds")
    assert first["runs"] == again["runs"]


WHEN = ("before", "after")


def test_a_checkpoint_gives_the_network_back(tmp_path):
    config = small()
    summary = train(config, tmp_path, "cpu", limit=64, progress=False)
    path = tmp_path / "diffstride" / "checkpoints" / "last.ckpt"
    module = Classifier.load_from_checkpoint(path).eval()
    images, labels = Digits(16, seed=0, limit=64).test_set.tensors
    with torch.no_grad():
        right = (module(images).argmax(dim=1) == labels).float().mean().item()
    assert right == pytest.approx(summary["runs"][0]["test_accuracy"])


@pytest.mark.parametrize(
    "choices",
    [
        {"downsampling": "spectral"},
        {"downsampling": "strided"},
        {"model": "resnet56", "strides": "1,2x3,2,2", "ramp": "outside", "baseline": False},
    ],
    ids=str,
)
def test_other_networks_train(choices, tmp_path):
    summary = train(small(**choices), tmp_path, "cpu", limit=32, progress=False)
    kinds = [run["downsampling"] for run in summary["runs"]]
    assert kinds[0] == choices.get("downsampling", "diffstride")
    assert ("strided" in kinds) == (choices.get("baseline", True) is not False)


@pytest.mark.parametrize(
    "words",
    [
        "--data mnist",
        "--model vgg",
        "--downsampling max",
        "--ramp up",
        "--device tpu",
        "--device cuda:99",
        "--epochs 0",
        "--epochs many",
        "--width -1",
        "--batch-size 1",
        "--lr nan",
        "--lr 0",
        "--stride-lr -1",
        "--penalty inf",
        "--weight-decay x",
        "--smoothness -1",
        "--seed -1",
        "--strides 1,2",
        "--strides 1,1,0.5,2,2",
        "--strides a,b",
        "--strides 1,1,1x2x3,2,2",
        "--strides 1,1,2.5,2,2 --downsampling strided",
        "--out README.md",
        "--what 1",
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_2(words, capsys, monkeypatch, tmp_path):
    (tmp_path / "README.md").write_text("a file, not a folder")
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words.split()]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("spectral-stride: error: ")
    assert shown.err.count("\n") == 1
    if "--what" not in words:
        assert words.split()[0] in shown.err
        assert "allowed: " in shown.err
        assert "instead: " in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_run_folder_is_never_written_over(tmp_path, capsys):
    (tmp_path / "precious").write_text("kept")
    assert main(["train", "--out", str(tmp_path)]) == 2
    assert "which holds files" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "kept"


def test_the_whole_command_in_a_process(tmp_path):
    """The table on the screen, the picture and the configuration in the folder, exit code 0."""
    words = ["train", "--epochs", "1", "--width", "2", "--no-baseline", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "spectral_stride", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("stem", "stage4", "test accuracy", "MACs per image"):
        assert word in done.stdout
    assert (tmp_path / "strides.png").read_bytes().startswith(b"\x89PNG")
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["config"]["width"] == 2
    assert "torch" in stored["versions"]


def test_without_pytorch_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("spectral_stride.__main__.find_spec", lambda _: None)
    assert main(["train"]) == 1
    assert "pip install 'spectral-stride[train]'" in capsys.readouterr().err
