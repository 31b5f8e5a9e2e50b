"""Trainings to a budget: by the command's options, and by Lightning alone."""

import warnings
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import soundfile
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from spectral_stride.torch import DiffStride, DiffStrideConv2d
from spectral_stride.torch.training.budget_callback import BudgetCallback
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.fit import _trainer, make_data, train_one
from spectral_stride.torch.training.lightning_ui import quiet_lightning
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.words import parse

WORDS = {"limit": "64", "epochs": "5", "batch_size": "32", "width": "2", "budget": "0.4"}


def run(config, folder, **options):
    return train_one(config, make_data(config), folder, "cpu", progress=False, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget")
    return folder, run(parse(WORDS), folder)


def last(folder):
    return folder / "checkpoints" / "last.ckpt"


def test_the_network_costs_what_was_asked(finished):
    _, result = finished
    assert 0.98 <= result.after.macs / (0.4 * result.before.macs) <= 1.005
    assert len({layer.stride for layer in result.after.layers}) > 1


def test_its_checkpoint_crops_hard(finished):
    folder, _ = finished
    module = Classifier.load_from_checkpoint(last(folder), weights_only=True)
    layers = [one for one in module.modules() if isinstance(one, DiffStride)]
    assert layers
    assert all(layer.hard for layer in layers)


class StoppedError(Exception):
    """Raised in the middle of a training."""


def test_broken_off_and_resumed_it_ends_the_same(finished, tmp_path):
    """Twice: before and behind the step where sizes settle."""
    folder, result = finished

    def stop(epoch, line):
        if line.startswith(f"Epoch {epoch}/"):
            raise StoppedError

    for epoch in (2, 4):
        with pytest.raises(StoppedError):
            run(parse(WORDS), tmp_path, tell=partial(stop, epoch))
    again = run(parse(WORDS), tmp_path)
    assert again.after == result.after
    first, second = (torch.load(last(one), weights_only=True) for one in (folder, tmp_path))
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name


def test_what_the_command_says_reaches_the_data_and_the_budget(tmp_path):
    config = parse(
        {**WORDS, "limit": "0", "hold_out": "0.2", "settle_at": "0.3", "begin": "balanced"}
    )
    data = make_data(config)
    assert len(data.test_set) == 90  # of the 449 that train
    trainer = _trainer(config, data, 10**6, 0, tmp_path, "cpu", False, print)
    (callback,) = (one for one in trainer.callbacks if isinstance(one, BudgetCallback))
    assert callback._options == {"begin": "balanced", "settle_at": 0.3}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for name in ("no", "yes"):
        (folder / name).mkdir()
        for index in range(10):
            wave = np.random.default_rng(index).uniform(-0.5, 0.5, 8000)
            soundfile.write(folder / name / f"{index}.wav", wave, 8000)
    return {"data": str(folder), "model": "audio", "width": "4", "epochs": "5", "batch_size": "8"}


@pytest.mark.parametrize("budget", ["3M", "0.4"])
def test_a_network_with_a_spectrogram_costs_what_its_table_says(recordings, tmp_path, budget):
    """The table counts the FFTs of the spectrogram too."""
    result = run(parse({**recordings, "budget": budget}), tmp_path)
    asked = 3e6 if budget == "3M" else 0.4 * result.before.macs
    assert 0.98 <= result.after.macs / asked <= 1.005


def test_a_budget_that_the_spectrogram_leaves_no_room_for_says_so(recordings, tmp_path):
    with pytest.raises(RefusedError, match=r"--budget, without 193,007 of FFTs: got 6993.0; allow"):
        run(parse({**recordings, "budget": "0.2M"}), tmp_path)


def test_a_budget_takes_the_penalty_s_place():
    assert parse({"budget": "0.5"}).penalty == 0
    # And the other way round, where the demo has a budget.
    assert parse({}).budget == 0.5
    assert parse({"penalty": "0"}).budget == parse({"stride_lr": "0.1"}).budget == 0
    assert (parse({"penalty": "0.2"}).budget, parse({"penalty": "0.2"}).penalty) == (0, 0.2)
    assert parse({"ramp": "outside"}).budget == 0
    assert parse({"recipe": "paper"}).budget == parse({"recipe": "fast"}).budget == 0
    with pytest.raises(RefusedError, match=r"--penalty: got 0.1 with --budget"):
        parse({"budget": "0.5", "penalty": "0.1"})


@pytest.mark.parametrize(
    ("word", "cost"), [("13M", 13e6), ("0.9g", 0.9e9), ("850K", 850e3), ("0.5", 0.5), (7e6, 7e6)]
)
def test_words_for_a_cost(word, cost):
    assert parse({"budget": word}).budget == pytest.approx(cost)


@pytest.mark.parametrize("word", ["M", "half", "-1", "1T", "nan", "inf", True])
def test_other_words_are_refused(word):
    with pytest.raises(RefusedError, match=r"--budget: got .*13M or 0\.9G; instead: write"):
        parse({"budget": word})


def test_a_cost_that_cannot_be_had_is_refused_in_one_line(tmp_path):
    with pytest.raises(
        RefusedError, match=r"^--budget: got 1000000000000.0; allowed: a share from 0\.\d+ to 1 "
    ):
        run(replace(parse(WORDS), budget=1e12), tmp_path)


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            DiffStrideConv2d(3, 8, 3, strides=1.5, padding=1),
            nn.Conv2d(8, 16, 3, padding=1),
            DiffStride(1.5),
            nn.Conv2d(16, 16, 3, padding=1),
        )
        self.example_input_array = torch.zeros(1, 3, 32, 32)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        return self(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def test_any_module_of_lightning_is_trained_to_a_budget():
    """Gradients of two batches make a step; the budget steps as often as the optimizer."""
    data = DataLoader(TensorDataset(torch.randn(20, 3, 32, 32)), batch_size=2)
    callback, module = BudgetCallback(0.5), Module()
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with quiet_lightning(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=2,
            callbacks=[callback],
            accelerator="cpu",
            accumulate_grad_batches=2,
            enable_model_summary=False,
            **silent,
        )
        trainer.fit(module, data)
    assert callback.budget.steps_done == trainer.global_step == 10
    assert callback.budget.settled
    assert 0.98 <= callback.budget.cost() / callback.budget.target <= 1.005


def test_a_training_goes_on_to_the_target_that_it_had():
    """Not to a share of what the network costs by now: that would be out of its bounds."""
    trainer = SimpleNamespace(estimated_stepping_batches=10, global_step=0)
    module, callbacks = Module(), [BudgetCallback(0.1), BudgetCallback(0.1)]
    callbacks[0].on_train_start(trainer, module)
    callbacks[0].budget.settle()
    again = Module()
    again.load_state_dict(module.state_dict())
    with pytest.raises(ValueError, match=r"target: got 0\.1"):
        callbacks[1].on_train_start(trainer, again)
    callbacks[1].load_state_dict(callbacks[0].state_dict())
    callbacks[1].on_train_start(trainer, again)
    assert callbacks[1].budget.state_dict() == callbacks[0].budget.state_dict()


def test_a_module_without_a_sample_is_told():
    module = Module()
    module.example_input_array = None
    with pytest.raises(ValueError, match=r"sample: got none; .*example_input_array"):
        BudgetCallback(0.5).on_train_start(None, module)
