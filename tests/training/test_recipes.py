"""Recipes: the defaults that a name stands for."""

import csv
import json
from dataclasses import asdict, replace

import pytest

from spectral_stride.__main__ import main
from spectral_stride.torch.training import load_run
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.config import OPTIONS, Config
from spectral_stride.torch.training.data.digits import Digits
from spectral_stride.torch.training.fit import _in_epochs
from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.options import flag_of
from spectral_stride.torch.training.recipes import RECIPES
from spectral_stride.torch.training.sweep.grid import read_grid
from spectral_stride.torch.training.words import parse
from tests.training.data import made

# What each is; options that are not named are off. Without --data the strides are the poor ones.
OFF = {"penalty": 0, "label_smoothing": 0, "mixup": 0, "crop": 0, "shift": 0, "flip": False} | {
    "budget": 0
}
NUMBERS = {
    "small": OFF
    | {"epochs": 30, "batch_size": 32, "lr": 3e-3, "stride_lr": 3e-2, "weight_decay": 1e-2}
    | {"budget": 0.5, "width": 8, "precision": "32"},
    "paper": OFF
    | {"epochs": 400, "batch_size": 256, "lr": 0.1, "stride_lr": 0.1, "weight_decay": 1e-2}
    | {"shift": 0.125, "flip": True, "width": 64, "precision": "32"},
    "published": OFF
    | {"epochs": 200, "batch_size": 128, "lr": 0.1, "stride_lr": 0.1, "weight_decay": 1e-3}
    | {"label_smoothing": 0.2, "mixup": 0.2, "width": 64, "precision": "32"},
    "paper-imagenet": OFF
    | {"model": "resnet18_imagenet", "size": 224, "epochs": 90, "batch_size": 256, "lr": 0.1}
    | {"stride_lr": 0.1, "weight_decay": 2e-3, "crop": 0.08, "flip": True, "width": 64}
    | {"strides": "2,2,1,2,2,2", "precision": "32"},
    "paper-audio": OFF
    | {"model": "audio", "part": 1, "steps": 1_000_000, "batch_size": 256, "lr": 1e-4}
    | {"stride_lr": 1e-4, "weight_decay": 0, "width": 64, "precision": "32"}
    | {"strides": "1,1,3,2,1,3"},
    "fast": OFF
    | {"epochs": 30, "batch_size": 256, "lr": 0.4, "stride_lr": 0.1, "weight_decay": 5e-4}
    | {"label_smoothing": 0.1, "shift": 0.125, "flip": True, "width": 64, "precision": "bf16"},
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_the_defaults(name):
    data = {"data": "some/images"} if name == "paper-imagenet" else {}
    config = asdict(parse({"recipe": name} | data))
    assert {option: config[option] for option in NUMBERS[name]} == NUMBERS[name]


@pytest.mark.parametrize("name", RECIPES)
def test_defaults_of_a_recipe_are_values_of_options(name):
    for option, value in RECIPES[name].defaults.items():
        if value is not None:
            assert OPTIONS[option].kind.check(flag_of(option), value, value) == value
        else:
            assert option == "width"


PUBLISHED = {
    "resnet18": 64,
    "resnet56": 16,
    "resnet18_imagenet": 64,
    "resnet50": 64,
    "efficientnet_b0": 32,
    "audio": 64,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_recipe_without_a_width_takes_the_networks_own(name, tmp_path):
    kind = MODELS[name]
    assert kind.width == PUBLISHED[name]
    for recipe in ("paper", "fast"):
        assert parse({"recipe": recipe, "model": name}).width == kind.width
        assert parse({"recipe": recipe, "model": name, "width": "5"}).width == 5
    assert parse({"recipe": "small", "model": name}).width == 8
    (tmp_path / "grid.yaml").write_text(f"{{model: {name}, recipe: paper}}")
    (point,) = read_grid(tmp_path / "grid.yaml")
    assert point.config.width == kind.width


def test_the_published_resnet56_has_its_parameters():
    config = parse({"recipe": "paper", "model": "resnet56", "downsampling": "strided"})
    module = Classifier.build(config, Digits(8, 0, 32))
    own = MODELS["resnet56"].build(10, in_channels=1, downsampling="strided")
    count = sum(parameter.numel() for parameter in module.model.parameters())
    assert count == sum(parameter.numel() for parameter in own.parameters())
    assert 850_000 < count < 870_000


def test_without_a_word_the_recipe_is_that_of_the_defaults():
    assert parse({}) == parse({"recipe": "small"})
    defaults, found = asdict(Config()), asdict(parse({}))
    demo = {"strides": "1,1,3,2,3", "width": 8, "budget": 0.5}
    assert found == defaults | demo | {"baseline": True, "spectral": True}


def test_options_change_a_recipe():
    config = parse({"recipe": "paper", "epochs": "3", "mixup": "0.2", "flip": False})
    assert (config.epochs, config.mixup, config.flip, config.lr) == (3, 0.2, False, 0.1)
    assert "--recipe paper" in config.command()
    assert "--no-flip" in config.command()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, ("audio", 1_000_000, 30, 1e-4)),
        ({"epochs": "3"}, ("audio", 0, 3, 1e-4)),
        ({"epochs": "3", "steps": "7"}, ("audio", 7, 30, 1e-4)),
        ({"lr": "0.5", "steps": "0"}, ("audio", 0, 30, 0.5)),
        ({"model": "resnet56"}, ("resnet56", 1_000_000, 30, 1e-4)),
    ],
)
def test_words_come_before_the_recipes_own(words, expected):
    config = parse({"recipe": "paper-audio"} | words)
    assert (config.model, config.steps, config.epochs, config.lr) == expected
    assert parse(asdict(config)) == config


def test_a_network_of_the_recipes_has_its_own_width(monkeypatch):
    defaults = {"model": "resnet56", "width": 0}
    monkeypatch.setitem(RECIPES, "own", replace(RECIPES["paper"], defaults=defaults))
    assert parse({"recipe": "own"}).width == PUBLISHED["resnet56"] != PUBLISHED["resnet18"]


def test_a_recipe_for_other_data_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for recipe, said in (
        ("paper-audio", "--recipe: got 'paper-audio', which is for audio data, for image data; "),
        ("paper-imagenet", "--data: got digits with --recipe paper-imagenet, for images of 224 "),
    ):
        assert main(["train", "--recipe", recipe]) == 2
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# What makes a training of each as small as can be, on a set that stands in for the published one.
STAND_INS = {
    "paper": (made.folder_of_images, {"epochs": "1", "size": "16"}),
    "published": (made.folder_of_images, {"epochs": "2", "size": "16"}),
    "paper-imagenet": (made.folder_of_images, {"epochs": "1", "size": "64"}),
    "paper-audio": (made.folder_of_recordings, {"steps": "3", "seconds": "2.5"}),
    "fast": (made.folder_of_images, {"epochs": "1", "size": "16"}),
}


@pytest.mark.parametrize("recipe", STAND_INS)
def test_a_recipe_trains_from_its_name_to_its_report(recipe, tmp_path, capsys):
    make, words = STAND_INS[recipe]
    make(tmp_path / "data", count=10)
    words = words | {"recipe": recipe, "data": str(tmp_path / "data"), "out": str(tmp_path / "run")}
    words |= {"width": "2", "batch-size": "4", "device": "cpu"}
    command = ["train", "--no-baseline", *(f"--{name}={word}" for name, word in words.items())]
    assert main(command) == 0, capsys.readouterr().err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    expected = parse(
        {name.replace("-", "_"): word for name, word in words.items() if name != "out"}
    )
    # 16 of 20 train, in 4 steps an epoch.
    epochs = 1 if recipe == "paper-audio" else int(words["epochs"])
    assert summary["config"] == asdict(expected) | {"epochs": epochs, "baseline": False}
    (run,) = summary["runs"]
    strides = [tuple(layer["stride"]) for layer in run["after"]["layers"]]
    assert strides != [tuple(layer["stride"]) for layer in run["before"]["layers"]]
    with (tmp_path / "run" / "diffstride" / "metrics.csv").open() as file:
        steps = [row["step"] for row in csv.DictReader(file) if row["train/loss"]]
    assert len(steps) == 4 * epochs
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report")]) == 0
    assert f"epochs {epochs}, steps {expected.steps}" in (tmp_path / "report/report.md").read_text()


@pytest.mark.parametrize(
    ("steps", "devices", "epochs"), [(0, 1, 30), (1, 1, 1), (74, 1, 1), (75, 1, 2), (75, 2, 3)]
)
def test_steps_are_whole_epochs(steps, devices, epochs):
    """Of 449 samples 74 batches of 6 are an epoch, or 37 on each of two devices."""
    config = parse({"steps": str(steps), "devices": str(devices), "batch_size": "6"})
    assert _in_epochs(config, Digits(6, 0)).epochs == epochs


def test_a_grid_trains_once_where_steps_say_how_long(tmp_path):
    (tmp_path / "grid.yaml").write_text("{steps: 7, epochs: [1, 2]}")
    assert len({point.config for point in read_grid(tmp_path / "grid.yaml")}) == 1


def test_it_says_how_many_epochs_steps_are_and_that_parts_are_whole(tmp_path, capsys):
    folder = made.folder_of_recordings(tmp_path / "data", count=10)
    words = ["train", f"--data={folder}", "--recipe=paper-audio", "--width=2", "--no-baseline"]
    words += ["--batch-size=4", "--device=cpu"]
    assert main([*words, "--steps", "5", "--out", str(tmp_path / "a")]) == 0
    shown = capsys.readouterr().out
    assert "--steps 5: 2 epochs of 4 steps." in shown
    assert "Recordings are no longer than --part 1: they are taken whole." in shown
    assert main([*words, "--epochs", "1", "--part", "0.5", "--out", str(tmp_path / "b")]) == 0
    shown = capsys.readouterr().out
    assert "--steps" not in shown
    assert "--part" not in shown
    assert load_run(tmp_path / "b").net.part == 4000  # at 8000 Hz
