"""Trainings draw no picture, which takes a third of a small one, but where it is the subject.

And the folder of a run on two images, for tests of what is done with one.
"""

import pytest

from spectral_stride.torch.training.report import run_picture
from tests.training.data import made


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


@pytest.fixture(scope="package")
def run(tmp_path_factory):
    """The folder of a run on images of two classes; what is in it stays as it is."""
    # Only here: it loads all that a training needs.
    from tests.training.test_trained import untrained_run

    root = tmp_path_factory.mktemp("run")
    made.folder_of_images(root / "data", shape=(16, 16, 3))
    folder, _, _ = untrained_run(root / "run", data=str(root / "data"))
    return folder
