"""What is kept off the screen, and for how long."""

import logging
import warnings

import pytest

from spectral_stride.torch.training.lightning_ui import quiet_lightning


def test_lightning_is_quiet_only_inside():
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with quiet_lightning():
        assert logger.level == logging.WARNING
        warnings.warn("GPU available but not used. Set it", UserWarning, stacklevel=1)
    assert logger.level == level
    with pytest.warns(UserWarning, match="GPU available"):
        warnings.warn("GPU available but not used. Set it", UserWarning, stacklevel=1)
