"""The core is tested as if `spectral_stride.fast` were not there: no result may need it.

What is imported at once, with the core itself, is seen by `test_without_fast`, and by the house
rules.
"""

import pytest

from tests.libraries import block_fast


@pytest.fixture(autouse=True)
def without_fast(monkeypatch):
    """Let every import of the fast room fail while a test of the core runs."""
    block_fast(monkeypatch)
