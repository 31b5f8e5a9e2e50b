"""Trainings draw no picture, which takes a third of a small one, but where it is the subject."""

import pytest

from spectral_stride.torch.training.report import run_picture


@pytest.fixture(scope="package", autouse=True)
def undrawn():
    """Put nothing in the picture's place; a test that asks for it puts it back.

    In a process of its own a training draws none either: see `processes`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spectral_stride.torch.training.fit.draw", lambda folder, summary: None)
        yield


@pytest.fixture
def picture(monkeypatch):
    """The picture again, for a test of it."""
    monkeypatch.setattr("spectral_stride.torch.training.fit.draw", run_picture.draw)
