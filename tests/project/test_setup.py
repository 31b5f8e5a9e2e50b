"""What a developer's machine is set up with: pip in few words, the targets, the commit hooks."""

import doctest
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

# What pip prints, in its words.
PIP_SAYS = """
Looking in indexes: https://pypi.org/simple
Collecting torch==2.13.0
  Downloading https://files.example/ab/cd/torch-2.13.0-cp311-cp311-linux_x86_64.whl (190.5 MB)
Collecting mdurl>=0.1
  Downloading mdurl-0.1.2-py3-none-any.whl (10.0 kB)
Requirement already satisfied: numpy in lib/python3.11/site-packages (2.4.6)
  Using cached jaxlib-0.10.2-cp311-cp311-manylinux_2_27_x86_64.whl (81.2 MB)
Installing collected packages: mdurl, torch
Successfully installed mdurl-0.1.2 torch-2.13.0
"""
PIP_WARNS = """
WARNING: Location 'file:///a/simple/torch/' is ignored: it is neither a file nor a directory.
WARNING: Location '/a/wheels' is ignored: it is neither a file nor a directory.
WARNING: Retrying (Retry(total=4)) after connection broken
ERROR: No matching distribution found for torch==2.13.0
"""


@pytest.fixture(scope="module")
def install():
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pretend(status):
    """A command that says what pip says, in pip's place."""
    script = f"import sys; print({PIP_SAYS!r}); print({PIP_WARNS!r}, file=sys.stderr)"
    return [sys.executable, "-c", f"{script}; sys.exit({status})"]


@pytest.mark.parametrize("status", [0, 1])
def test_pip_says_what_matters(install, capfd, status):
    assert install.run(pretend(status)) == status
    said = capfd.readouterr()
    assert said.out.splitlines() == [
        "    fetching torch-2.13.0-cp311-cp311-linux_x86_64.whl (190.5 MB)",
        "    fetching jaxlib-0.10.2-cp311-cp311-manylinux_2_27_x86_64.whl (81.2 MB)",
        "    installing mdurl, torch",
    ]
    assert said.err.split("\n") == [
        "",
        "WARNING: Retrying (Retry(total=4)) after connection broken",
        "ERROR: No matching distribution found for torch==2.13.0",
        "",
        "",
    ]


def test_many_packages_take_few_short_lines(install):
    names = ", ".join(f"package-number-{number}" for number in range(60))
    lines = install.progress(f"Installing collected packages: {names}\n").splitlines()
    assert " ".join(line.strip() for line in lines) == f"installing {names}"
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 96


def test_the_examples_of_the_installer_run(install):
    result = doctest.testmod(install)
    assert result.attempted > 0
    assert result.failed == 0


def test_arguments_reach_pip():
    done = subprocess.run(
        [sys.executable, ".ci/install.py", "--no-such-option"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no such option: --no-such-option" in done.stderr


def test_nothing_else_installs():
    """Every recipe goes through the installer."""
    assert "pip install" not in MAKEFILE
    assert MAKEFILE.count(".ci/install.py") == 3


def test_every_target_of_the_help_is_one_that_make_knows():
    phony = set(" ".join(re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)).split())
    helped = set(re.findall(r"^([a-z-]+):.*  ## ", MAKEFILE, re.MULTILINE))
    assert helped <= phony
    assert {"run", "test", "quick", "fix"} <= helped


def test_the_quick_check_has_every_part(tmp_path):
    """Style, types, core and house, and no framework that compiles."""
    if shutil.which("make") is None:
        pytest.skip("there is no make on this machine")
    done = subprocess.run(
        ["make", "--dry-run", f"VENV={tmp_path}", "quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for command in (
        "ruff check",
        "ruff format --check",
        "mypy",
        "pytest -q tests/core tests/project/test_house.py",
    ):
        assert f"{tmp_path}/bin/{command}" in done.stdout


def hooks():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    return [(repo["repo"], hook) for repo in config["repos"] for hook in repo["hooks"]]


def test_commit_hooks_fetch_nothing():
    """Each is local, and calls a tool that .venv has."""
    found = hooks()
    assert {hook["id"] for _, hook in found} == {"ruff-check", "ruff-format", "mypy", "house"}
    for repo, hook in found:
        assert (repo, hook["language"]) == ("local", "system")
        tool = Path(hook["entry"].split()[0])
        assert tool.parent == Path(".venv/bin")
        assert shutil.which(tool.name, path=Path(sys.executable).parent), tool


def test_commit_hooks_name_files_that_exist():
    for _, hook in hooks():
        for word in hook["entry"].split():
            if word.startswith("tests/"):
                assert (ROOT / word).is_file(), word
