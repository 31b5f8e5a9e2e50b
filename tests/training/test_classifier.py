"""Training steps: what the network sees, what the loss is, computed again; rates and decays."""

from copy import deepcopy
from dataclasses import asdict
from functools import partial
from math import prod
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spectral_stride.torch.training.augment import cropped, flipped, mixed, shifted
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.data.digits import Digits
from spectral_stride.torch.training.words import parse

TASKS = {"letter": 4, "ink": 3}


COUNT, SHAPE = 12, (2, 16, 16)


PLAIN = {"penalty": 0, "label_smoothing": 0, "mixup": 0, "crop": 0, "shift": 0, "flip": False}


class Watched:
    """A classifier with a batch, and what its network last got and gave."""

    def __init__(self, monkeypatch, **words):
        torch.manual_seed(0)
        config = parse({"width": 2, **PLAIN, **words})
        mean, std = [[[0.3]], [[-0.2]]], [[[2.0]], [[0.5]]]
        self.module = Classifier(asdict(config), TASKS, SHAPE, None, mean, std)
        for name in ("log", "log_dict"):  # they need a trainer
            monkeypatch.setattr(self.module, name, lambda *_, **__: None)
        self.module.model.register_forward_hook(self._watch)
        raw = torch.rand(COUNT, *SHAPE)
        labels = [torch.randint(classes, (COUNT,)) for classes in TASKS.values()]
        self.batch = raw, torch.stack(labels, dim=1)
        self.normalized = (raw - torch.tensor(mean)) / torch.tensor(std)

    def _watch(self, _, inputs, logits):
        (self.seen,), self.logits = inputs, logits

    def train(self, seed=1):
        torch.manual_seed(seed)
        return self.module.training_step(self.batch, 0)


def entropy(logits, labels, smoothing):
    """Cross entropies of the tasks against (1 - smoothing) * label + smoothing / classes, added."""
    total = 0.0
    for task, one in enumerate(logits):
        truth = torch.full_like(one, smoothing / one.shape[1])
        truth[torch.arange(len(one)), labels[:, task]] += 1 - smoothing
        total = total - (truth * one.log_softmax(dim=1)).sum(dim=1).mean()
    return total


def cost(strides):
    """Sum over places of the product of 1/(S_h S_w) up to there."""
    areas = [height * width for height, width in strides]
    return sum(1 / prod(areas[: place + 1]) for place in range(len(areas)))


@pytest.mark.parametrize(
    "words",
    [{}, {"penalty": 3}, {"label_smoothing": 0.3}, {"penalty": 3, "label_smoothing": 0.3}],
    ids=str,
)
@pytest.mark.parametrize("mixup", [0, 0.7])
def test_the_loss_is_the_mixed_entropy_and_the_penalty_times_the_complexity(
    words, mixup, monkeypatch
):
    watched = Watched(monkeypatch, mixup=mixup, **words)
    loss = watched.train(seed=1)
    labels, smoothing = watched.batch[1], words.get("label_smoothing", 0)
    x, partner, share = watched.normalized, torch.arange(COUNT), 1.0
    if mixup:
        torch.manual_seed(1)
        x, partner, share = mixed(x, mixup)
        assert 0.1 < share < 0.9
        assert not torch.equal(labels, labels[partner])
    torch.testing.assert_close(watched.seen, x)
    expected = share * entropy(watched.logits, labels, smoothing)
    expected = expected + (1 - share) * entropy(watched.logits, labels[partner], smoothing)
    strides = [layer.strides for layer in watched.module._layers()]
    expected = expected + words.get("penalty", 0) * cost(strides)
    torch.testing.assert_close(loss, expected)
    # What is the same number could still keep its gradient from the strides.
    for got, due in zip(
        torch.autograd.grad(loss, strides, retain_graph=True),
        torch.autograd.grad(expected, strides),
        strict=True,
    ):
        torch.testing.assert_close(got, due)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ({}, lambda x: x),
        ({"crop": 0.3}, partial(cropped, share=0.3)),
        ({"flip": True}, flipped),
        ({"shift": 0.25}, partial(shifted, share=0.25)),
        (
            {"crop": 0.3, "flip": True, "shift": 0.25},
            lambda x: shifted(flipped(cropped(x, 0.3)), 0.25),
        ),
    ],
    ids=["none", "crop", "flip", "shift", "all"],
)
def test_a_training_step_sees_changed_images_and_a_test_step_the_images(words, change, monkeypatch):
    watched = Watched(monkeypatch, **words)
    watched.train(seed=1)
    torch.manual_seed(1)
    expected = change(watched.normalized)
    torch.testing.assert_close(watched.seen, expected)
    assert torch.equal(expected, watched.normalized) == (not words)
    watched.module.eval()
    watched.module.test_step(watched.batch, 0)
    torch.testing.assert_close(watched.seen, watched.normalized)


def test_strides_reach_as_far_after_a_resumption():
    """A layer notes how large a stride its inputs could use; loading its parameter forgets it."""
    data = Digits(8, seed=0, limit=32)
    before, after = (Classifier.build(parse({"width": "2"}), data) for _ in range(2))
    for layer in before._layers():
        layer._reach = [77.0, 66.0]
    checkpoint = {}
    before.on_save_checkpoint(checkpoint)
    after.on_load_checkpoint(checkpoint)
    after.load_state_dict(before.state_dict())
    assert all(layer._reach is None for layer in after._layers())
    after.on_train_start()
    assert [layer._reach for layer in after._layers()] == [[77.0, 66.0]] * 4


def rates(recipe, steps=100, **words):
    """Learning rates of weights and strides at every step of a run."""
    config = parse({"recipe": recipe, "width": "2", "epochs": "4", **words})
    module = Classifier.build(config, Digits(8, 0, 32))
    data = SimpleNamespace(train_dataloader=lambda: range(steps // config.epochs))
    module._trainer = SimpleNamespace(datamodule=data)
    made = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return optimizer, torch.tensor(found)


@pytest.mark.parametrize(
    ("recipe", "steps", "expected"),
    [
        ("paper", 100, [0.1] * 50 + [0.01] * 25 + [0.001] * 25),
        ("paper-imagenet", 90, [0.1] * 30 + [0.01] * 30 + [0.001] * 20 + [0.0001] * 10),
        # Each hundredth of the published code's 78,000 steps.
        ("published", 780, [0.01] * 4 + [0.1] * 176 + [0.01] * 140 + [0.001] * 460),
    ],
)
def test_the_published_schedules(recipe, steps, expected):
    words = {"model": "resnet18", "size": "0"} if recipe == "paper-imagenet" else {}
    optimizer, found = rates(recipe, steps, epochs="1", **words)
    assert isinstance(optimizer, torch.optim.SGD)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
    torch.testing.assert_close(found, torch.tensor(expected)[:, None].expand(-1, 3))


def scheduled(steps=20):
    """A classifier of the paper's recipe, its optimizer and schedule."""
    module = Classifier.build(
        parse({"recipe": "paper", "width": "2", "epochs": "1"}), Digits(8, 0, 32)
    )
    module._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(train_dataloader=lambda: range(steps))
    )
    made = module.configure_optimizers()
    return module, made["optimizer"], made["lr_scheduler"]["scheduler"]


def test_a_schedule_of_an_earlier_version_goes_on():
    """It was PyTorch's MultiStepLR, and a run of 400 epochs may have begun with it."""
    module, optimizer, _ = scheduled()
    earlier = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10, 15], 0.1)
    checkpoint, expected, found = {}, [], []
    module.on_save_checkpoint(checkpoint)
    for step in range(20):
        if step == 12:
            checkpoint["lr_schedulers"] = [deepcopy(earlier.state_dict())]
            state = deepcopy(optimizer.state_dict())
        expected.append(earlier.get_last_lr())
        optimizer.step()
        earlier.step()
    module, optimizer, later = scheduled()
    module.on_load_checkpoint(checkpoint)
    optimizer.load_state_dict(state)
    (known,) = checkpoint["lr_schedulers"]
    assert known.keys() == later.state_dict().keys()
    later.load_state_dict(known)
    for _ in range(12, 20):
        found.append(later.get_last_lr())
        optimizer.step()
        later.step()
    np.testing.assert_allclose(found, expected[12:])


def test_the_papers_sounds_have_one_rate_and_adam():
    optimizer, found = rates("paper-audio", 12, model="resnet18")
    assert type(optimizer) is torch.optim.Adam
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0}
    assert (found == 1e-4).all()


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


def test_a_classifier_that_was_built_without_values(monkeypatch):
    module = Watched(monkeypatch).module.eval()
    with torch.device("meta"):
        others = [Watched(monkeypatch).module.eval() for _ in range(2)]
    others[0].to_empty(device="cpu").load_state_dict(module.state_dict())
    others[1].load_state_dict(module.state_dict(), assign=True)
    x = torch.rand(COUNT, *SHAPE)
    for other in others:
        for ours, theirs in zip(other(x), module(x), strict=True):
            assert torch.equal(ours, theirs)
