"""Every example in the training tools runs; that of load_run, of a run, does in test_trained."""

import doctest
import importlib
from pathlib import Path

import pytest

import spectral_stride.torch.training as training

ROOM = Path(training.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(ROOM).with_suffix("").parts)
    for path in ROOM.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8") and path.stem != "trained"
)


def test_there_are_some_in_every_room():
    assert {name.partition(".")[0] for name in MODULES} >= {"config", "data", "report"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(f"{training.__name__}.{name}"))
    assert result.failed == 0
    assert result.attempted > 0
