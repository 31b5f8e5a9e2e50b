"""A cluster in this process, and trainings that train nothing."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from spectral_stride.__main__ import main
from spectral_stride.torch.training.sweep import trials


@dataclass
class Trainings:
    """Stands for `fit.run_job`: notes what it is asked for, and leaves what a sweep looks at.

    `before` is called first, with the configuration and the folder, and may raise.
    """

    before: Any = None
    seen: list[Any] = field(default_factory=list)

    def __call__(self, config, out, console, *, resume):
        folder = Path(resume)
        self.seen.append(config)
        choices = {"config": asdict(config), "directory": str(Path.cwd())}
        (folder / "config.json").write_text(json.dumps(choices))
        if self.before is not None:
            self.before(config, folder)
        trained = {"test_accuracy": min(0.5 + config.seed / 10, 1), "after": {"macs": 2_000_000}}
        (folder / "summary.json").write_text(json.dumps({"runs": [trained]}))


@pytest.fixture
def trainings(monkeypatch):
    fake = Trainings()
    monkeypatch.setattr(trials, "run_job", fake)
    return fake


@pytest.fixture(scope="module")
def address():
    """The address of a scheduler with one worker, all of it in this process.

    For one file at a time: its threads draw random numbers, which Hypothesis does not like to see.
    """
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "protocol": "tcp"}
    with LocalCluster(**options, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


@dataclass
class Shown:
    """What a command has left on the screen."""

    code: int
    out: str
    err: str

    @property
    def refusal(self):
        (line,) = self.err.splitlines()
        assert line.startswith("spectral-stride: error: ")
        return line


@pytest.fixture
def sweep(tmp_path, capsys):
    """Sweep over a grid, given as text, into the folder "out"."""

    def run(text, *words):
        path = tmp_path / "grid.yaml"
        path.write_text(text)
        code = main(["sweep", str(path), "--out", str(tmp_path / "out"), *map(str, words)])
        shown = capsys.readouterr()
        return Shown(code, shown.out, shown.err)

    return run
