"""For the tests of reports: a made-up sweep, and pictures that take no time."""

import pytest

from tests.training.report.made import write_run


@pytest.fixture
def runs(tmp_path):
    """A sweep: strided at two starts and two seeds, learned at two penalties and two seeds."""
    folder = tmp_path / "runs"
    strided = [("1,1,1,2,2", 4_000_000, 0.90), ("1,1,2,2,2", 1_000_000, 0.80)]
    for start, macs, accuracy in strided:
        for seed, change in enumerate((-0.01, 0.01)):
            name = f"strided-{macs}-{seed}"
            words = {"strides": start, "downsampling": "strided", "seed": seed}
            write_run(folder / name, accuracy + change, macs, 2e-9 * macs, **words)
    for penalty, macs, accuracy in ((0.1, 2_000_000, 0.91), (0.3, 500_000, 0.83)):
        for seed, change in enumerate((-0.02, 0.02)):
            name = f"diffstride-{penalty}-{seed}"
            words = {"penalty": penalty, "seed": seed}
            write_run(folder / name, accuracy + change, macs, 3e-9 * macs, **words)
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are built and not drawn, which takes most of a report's time: for tests of words."""

    def save(figure, path, **options):
        path.write(b"a picture")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)
