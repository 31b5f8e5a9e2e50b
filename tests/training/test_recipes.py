"""Recipes: the numbers that a name stands for, and what options change in them."""

from types import SimpleNamespace

import pytest
import torch

from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.config import OF_THE_RECIPE, Config, parse
from spectral_stride.torch.training.data.digits import Digits
from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.recipes import RECIPES
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.sweep.grid import read_grid


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_the_defaults(name):
    config = parse({"recipe": name})
    wanted = {field: getattr(RECIPES[name], field) for field in OF_THE_RECIPE}
    wanted["width"] = {"small": 8, "paper": 64, "fast": 64}[name]  # of resnet18
    assert {field: getattr(config, field) for field in OF_THE_RECIPE} == wanted


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
    defaults = Config()
    assert all(getattr(defaults, name) == getattr(parse({}), name) for name in OF_THE_RECIPE)


def test_options_change_a_recipe():
    config = parse({"recipe": "paper", "epochs": "3", "mixup": "0.2", "flip": False})
    assert (config.epochs, config.mixup, config.flip, config.lr) == (3, 0.2, False, 0.1)
    assert "--recipe paper" in config.command()
    assert "--no-flip" in config.command()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"recipe": "papr"}, "--recipe: got 'papr'; allowed: small, paper, fast"),
        ({"label_smoothing": "1"}, "--label-smoothing: got '1'; allowed: a share from 0"),
        (
            {"flip": "no"},
            "--flip: got 'no'; allowed: yes or no; instead: write --flip, or --no-flip",
        ),
        ({"precision": "16"}, "--precision: got '16'; allowed: 32, bf16; instead: write"),
        ({"data": "digitz:all"}, "--data: got 'digitz:all'; allowed: digits, a path that exists"),
        ({"data": "digitz"}, "--data: got 'digitz'; allowed: digits, a path that exists, or an id"),
    ],
    ids=str,
)
def test_refusals(words, message):
    with pytest.raises(RefusedError, match=message):
        parse(words)


def test_a_folder_may_name_one_of_its_configurations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables").mkdir()
    assert parse({"data": "tables:small"}).data == "tables:small"


def rates(recipe, steps=100, **words):
    """Learning rates of weights and strides at every step of a run."""
    module = Classifier.build(parse({"recipe": recipe, "width": "2", **words}), Digits(8, 0, 32))
    module._trainer = SimpleNamespace(estimated_stepping_batches=steps)
    made = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return optimizer, torch.tensor(found)


def test_the_papers_schedule_divides_by_ten_twice():
    optimizer, found = rates("paper")
    assert isinstance(optimizer, torch.optim.SGD)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
    expected = torch.tensor([0.1] * 50 + [0.01] * 25 + [0.001] * 25)
    torch.testing.assert_close(found, expected[:, None].expand(-1, 3))


def test_the_papers_weight_decay_is_that_of_kernels_alone():
    optimizer, _ = rates("paper", steps=4, stride_lr="0.05")
    kernels, vectors, strides = optimizer.param_groups
    assert [group["weight_decay"] for group in (kernels, vectors, strides)] == [0.01, 0, 0]
    assert [group["initial_lr"] for group in (kernels, vectors, strides)] == [0.1, 0.1, 0.05]
    # Convolutions and the classifier; normalizations and the classifier's bias; strides.
    assert {parameter.ndim for parameter in kernels["params"]} == {2, 4}
    assert {parameter.ndim for parameter in vectors["params"] + strides["params"]} == {1}
    counts = [len(group["params"]) for group in (kernels, vectors, strides)]
    model = Classifier.build(parse({"width": "2"}), Digits(8, 0, 32)).model
    assert sum(counts) == len(list(model.parameters()))
    assert counts[2] == 4
    for recipe, decay in (("small", 0.01), ("fast", 5e-4)):
        weights, strides = rates(recipe, steps=4)[0].param_groups
        assert (weights["weight_decay"], strides["weight_decay"]) == (decay, 0)


def test_one_cycle_goes_up_and_down_once():
    _, found = rates("fast", stride_lr="0.05")
    for column, most in ((0, 0.4), (1, 0.05)):
        peak = int(found[:, column].argmax())
        assert found[peak, column] == pytest.approx(most, rel=1e-3)
        assert 25 <= peak <= 35
        assert (found[: peak + 1, column].diff() > 0).all()
        assert (found[peak:, column].diff() < 0).all()
