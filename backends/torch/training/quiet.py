"""Lightning without its side remarks: what a user sees is the progress and the result."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# How each warning starts, and why it says nothing that a user could act on.
_IRRELEVANT = (
    # The images are in memory: worker processes would only copy them around.
    r"The '\w+' does not have many workers",
    # The user said where to compute.
    r"[GT]PU available but not used",
    # Every process tests all samples: there is nothing to add up.
    r"It is recommended to use `self.log\(.*sync_dist=True",
    # The run goes on in its folder; its metrics are kept.
    r"Experiment logs directory .* exists and is not empty",
    r"Checkpoint directory .* exists and is not empty",
    # Lightning asks PyTorch's trees in the old way.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advertisements and the warnings that do not apply here off the screen."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)  # its remarks on devices and other products are INFO
    try:
        with warnings.catch_warnings():
            for start in _IRRELEVANT:
                warnings.filterwarnings("ignore", message=start)
            yield
    finally:
        logger.setLevel(level)
