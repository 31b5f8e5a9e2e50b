"""What a developer's machine is set up with: pip in few words, the targets, the commit hooks."""

import doctest
import importlib.util
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
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


def script(name):
    """A script of .ci/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def install():
    return script("install")


@pytest.fixture(scope="module")
def versions():
    return script("versions")


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


@pytest.mark.parametrize("name", ["install", "versions"])
def test_the_examples_of_the_scripts_run(name):
    result = doctest.testmod(script(name))
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


def test_every_python_that_is_supported_has_an_environment(versions):
    assert versions.PYTHONS == ["3.11", "3.12", "3.13"]
    assert versions.find_python("2.0") is None
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert versions.answers(versions.find_python(running), "import ensurepip")


def test_the_oldest_environment_has_every_lower_bound(versions):
    """And none is left open in it, but for the build backend, whose pin is elsewhere."""
    newest, oldest = versions.requirements("3.13"), versions.requirements(versions.OLDEST)
    names = [versions.name_of(one) for one in newest]
    assert [name for name in names if name != "cubed"] == list(map(versions.name_of, oldest))
    assert {"numpy>=2.0", "dask[array]>=2026.8"} <= set(newest)
    assert {"numpy==2.0", "dask[array]==2026.8", "jax==0.10.2"} <= set(oldest)
    assert [one for one in oldest if "==" not in one] == ["hatchling"]


def test_no_environment_asks_for_pytorch(versions):
    """Neither by itself nor through what asks for it: chosen anew it takes gigabytes."""
    asked = {versions.name_of(one).lower() for one in versions.requirements("3.13")}
    reached = set()
    while asked:
        name = asked.pop()
        reached.add(name)
        with suppress(PackageNotFoundError):  # one for another system, or for a newer Python
            for line in requires(name) or ():
                if "extra ==" not in line:
                    asked |= {versions.name_of(line).lower()} - reached
    assert {"numpy", "scipy", "jaxlib"} <= reached
    assert "torch" not in reached


def test_an_environment_that_nobody_knows_is_refused(versions, capsys):
    with pytest.raises(SystemExit):
        versions.main(["3.9"])
    said = capsys.readouterr().err
    assert "NAME: got '3.9'; allowed: 3.11, 3.12, 3.13, oldest; instead: leave it out" in said


def test_a_python_that_is_missing_fails_unless_it_may_be(versions, monkeypatch, capsys):
    monkeypatch.setattr(versions, "find_python", lambda version: None)
    assert versions.main(["3.12", "oldest"]) == 2
    assert versions.main(["3.12", "--skip-missing"]) == 0
    assert capsys.readouterr().out.count("there is no such Python on this machine") == 3


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
