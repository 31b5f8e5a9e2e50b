"""The core is tested as if `spectral_stride.fast` were not there: no result may need it.

This blocks what is imported while a test runs. What is imported at once, with the core itself, is
seen by `test_without_fast`, and by the house rules.
"""

import sys
from pathlib import Path

import pytest

import spectral_stride

FAST = "spectral_stride.fast"
FOLDER = Path(spectral_stride.__file__).parent / "fast"


@pytest.fixture(autouse=True)
def without_fast(monkeypatch):
    """Let every import of the fast room fail while a test of the core runs."""
    names = {f"{FAST}.{path.stem}" for path in FOLDER.glob("*.py")}
    for name in {FAST, *names}:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr(spectral_stride, "fast", raising=False)
