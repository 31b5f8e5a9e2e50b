"""What is kept off the screen, and for how long."""

import logging
import warnings
from types import SimpleNamespace

import pytest
import torch

from spectral_stride.torch.training.lightning_ui import Bar, EpochLines, quiet_lightning


def test_lightning_is_quiet_only_inside():
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with quiet_lightning():
        assert logger.level == logging.WARNING
        warnings.warn("GPU available but not used. Set it", UserWarning, stacklevel=1)
    assert logger.level == level
    with pytest.warns(UserWarning, match="GPU available"):
        warnings.warn("GPU available but not used. Set it", UserWarning, stacklevel=1)


@pytest.mark.parametrize(("epoch", "shown"), [(0, "Epoch  1/60"), (59, "Epoch 60/60")])
def test_a_bar_counts_epochs_from_one(epoch, shown):
    bar = Bar()
    bar._trainer = SimpleNamespace(max_epochs=60, current_epoch=epoch)
    assert bar._get_train_description(epoch) == shown


def test_a_line_has_the_means_of_an_epoch():
    lines = []
    callback, trainer = EpochLines(lines.append), SimpleNamespace(max_epochs=9, current_epoch=4)
    for losses in ([9.0], [0.5, 1.0]):  # nothing of the epoch before
        callback.on_train_epoch_start(trainer, None)
        for loss in losses:
            logged = {"train/loss": torch.tensor(loss), "train/accuracy": torch.tensor(0.25)}
            trainer.callback_metrics = logged
            callback.on_train_batch_end(trainer, None, None, None, 0)
        callback.on_train_epoch_end(trainer, None)
    assert lines[1].startswith("Epoch 5/9: loss 0.7500, accuracy 0.2500, ")
