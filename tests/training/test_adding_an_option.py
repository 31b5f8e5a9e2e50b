"""The worked example of CONTRIBUTING, "Adding an option", followed in a copy of the library."""

import os
import re
import shutil
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.training import processes

ROOT = Path(__file__).resolve().parents[2]

# Appended to the example's own test. The table is the only place that names the option.
CHECKS = """
import json
from pathlib import Path

import pytest

from spectral_stride.__main__ import main
from spectral_stride.torch.training.config import OPTIONS
from spectral_stride.torch.training.report.comparison import sections
from spectral_stride.torch.training.report.runs import gather
from spectral_stride.torch.training.run_folder import resumed, write_config
from spectral_stride.torch.training.sweep.grid import read_grid

OLD = Path({old!r})


def test_the_help_has_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["train", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    said = "leaves them as they are. By the recipe: 0.0 small, 0.0 paper, 0.0 published, "
    said += "0.0 paper-imagenet, 0.0 paper-audio, 1.0 fast."
    assert "--clip NUMBER Scale gradients down to this norm; 0 " + said in shown


def test_a_wrong_word_is_refused(capsys):
    assert main(["train", "--clip", "-1"]) == 2
    line = capsys.readouterr().err
    assert "--clip: got '-1'; allowed: a number from 0 up to 1000000; instead: write" in line


def test_a_grid_takes_it(tmp_path):
    (tmp_path / "grid.yaml").write_text("clip: [0, 0.5]")
    points = read_grid(tmp_path / "grid.yaml")
    assert [point.config.clip for point in points] == [0.0, 0.5]


def test_a_run_folder_and_its_command_have_it(tmp_path):
    write_config(tmp_path, parse({{"clip": "0.5"}}), "cpu")
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["config"]["clip"] == 0.5
    assert "--clip 0.5" in content["command"]
    assert resumed(str(tmp_path)).clip == 0.5
    assert parse({{"recipe": "fast"}}).clip == 1.0


def test_runs_from_before_it_go_on_and_are_reported():
    assert resumed(str(OLD / "broken-off")).clip == 0.0
    (section,) = sections(gather([OLD]).runs)
    assert section.setting["clip"] == 0.0


def test_without_what_runs_did_before_it_they_are_refused(monkeypatch, capsys):
    from dataclasses import MISSING, replace

    monkeypatch.setitem(OPTIONS, "clip", replace(OPTIONS["clip"], before=MISSING))
    assert main(["train", "--resume", str(OLD / "broken-off")]) == 2
    assert "(without 'clip' in its config.json); allowed: " in capsys.readouterr().err
"""


def run_tests(file):
    """Run pytest beside a file of tests, with the library that lies there and not with this one."""
    ours = [name for name in sys.modules if name.split(".")[0] in ("spectral_stride", "tests")]
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, str(file.parent))
    for name in [name for name in os.environ if "PYTEST" in name]:
        del os.environ[name]  # nothing of the pytest that runs this test
    code = pytest.main(["-q", "-p", "no:cacheprovider", file.name])
    library = Path(sys.modules["spectral_stride"].__file__)
    assert library.is_relative_to(file.parent), library
    return int(code)


def steps():
    """The files that the example changes, each with what was there and what is there then."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Adding an option\n(.*?)^## ", text, re.M | re.S)
    changes = []
    for path, block in re.findall(r"`([\w/]+\.py)`[^`]*\n\n +```diff\n(.*?) +```", section, re.S):
        lines = re.sub(r"^   ", "", block, flags=re.M).splitlines()
        before = [line[1:] for line in lines if line[0] == " "]
        changes.append((path, "\n".join(before), "\n".join(line[1:] for line in lines)))
    (test,) = re.findall(r"```python\n(.*?) +```", section, re.S)
    return changes, dedent(test)


def test_the_worked_example_works(tmp_path):
    changes, test = steps()
    assert [Path(path).stem for path, _, _ in changes] == ["config", "fit", "recipes"]
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "spectral_stride", tmp_path / "spectral_stride", ignore=ignored)
    for path, before, after in changes:
        file = tmp_path / path.replace("backends", "spectral_stride")
        text = file.read_text(encoding="utf-8")
        assert text.count(f"\n{before}\n") == 1, f"{path} has other lines than CONTRIBUTING says"
        file.write_text(text.replace(f"\n{before}\n", f"\n{after}\n"), encoding="utf-8")
    # The test that it adds comes to a file that has these imports, and TINY.
    fit = (ROOT / "tests/training/test_fit.py").read_text(encoding="utf-8")
    parts = [
        fit.partition("@pytest")[0],
        CHECKS.format(old=str(ROOT / "tests/data/runs-0.1.0")),
        test,
    ]
    (tmp_path / "test_clip.py").write_text("\n".join(parts), encoding="utf-8")
    shown = processes.result(run_tests, tmp_path / "test_clip.py", folder=tmp_path)
    assert "7 passed" in shown
