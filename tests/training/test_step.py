"""One step of training: what the network sees and what the loss is, computed again from it."""

from dataclasses import asdict
from functools import partial
from math import prod

import pytest
import torch

from spectral_stride.torch.training.augment import cropped, flipped, mixed, shifted
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.config import parse

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
