"""Recipes: the defaults that a name stands for."""

from dataclasses import asdict

import pytest

from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.config import OPTIONS, Config
from spectral_stride.torch.training.data.digits import Digits
from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.options import flag_of
from spectral_stride.torch.training.recipes import RECIPES
from spectral_stride.torch.training.sweep.grid import read_grid
from spectral_stride.torch.training.words import parse

# What each is, of resnet18; options that are not named are off.
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
    "fast": OFF
    | {"epochs": 30, "batch_size": 256, "lr": 0.4, "stride_lr": 0.1, "weight_decay": 5e-4}
    | {"label_smoothing": 0.1, "shift": 0.125, "flip": True, "width": 64, "precision": "bf16"},
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_the_defaults(name):
    config = asdict(parse({"recipe": name}))
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
