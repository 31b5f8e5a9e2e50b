"""What the site is made of, without Sphinx: its tree of pages, its lists of names, its pictures."""

import importlib
import re
import runpy
from pathlib import Path

import pytest

from tests.libraries import load

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INDEX = (DOCS / "index.md").read_text(encoding="utf-8")
REFERENCE = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.rst")}
SCRIPTS = sorted((DOCS / "gallery").glob("*.py"))


def tree(text):
    """The pages in the trees of a page, as names without an ending."""
    found = []
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        found += [line for line in block.splitlines() if line and not line.startswith(":")]
    # A line is a name, or a title and a name: "All pages <README>".
    return [re.sub(r"^.+ <(.+)>$", r"\1", line) for line in found]


def test_every_page_is_in_the_tree_once():
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    listed = [name for name in tree(INDEX) if not name.startswith(("/", "api/", "generated/"))]
    assert sorted(listed) == sorted(pages)
    assert sorted(name for name in tree(INDEX) if name.startswith("api/")) == sorted(
        f"api/{name}" for name in REFERENCE
    )


def test_pages_outside_of_the_folder_are_there():
    outside = [name for name in tree(INDEX) if name.startswith("/")]
    assert len(outside) > 5
    for name in outside:
        assert (ROOT / f"{name[1:]}.md").is_file(), name


def test_every_page_that_a_page_links_to_is_in_the_tree():
    """Sphinx would leave the link empty."""
    there = {ROOT / f"{name[1:]}.md" for name in tree(INDEX) if name.startswith("/")}
    there |= set(DOCS.glob("*.md"))
    linked = {}
    for page in there:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", text):
            linked[(page.parent / target).resolve()] = page.name
    assert len(linked) > 30
    assert {path: page for path, page in linked.items() if path not in there} == {}


def shown(text):
    """The names whose docstrings a page shows, and those in its tables."""
    directives = re.findall(r"^\.\. auto(?:class|data|function):: (\w+)$", text, re.MULTILINE)
    tables = re.findall(
        r"^\.\. autosummary::\n   :nosignatures:\n\n((?:   \w+\n)+)", text, re.MULTILINE
    )
    return directives, [name for table in tables for name in table.split()]


def apart(text, public):
    """What a page of the reference lacks, and what it has too much or twice."""
    return [names for names in shown(text) if sorted(names) != sorted(public)]


@pytest.mark.parametrize("page", ["core", "cupy", "jax", "testing", "torch"])
def test_every_public_name_is_shown_once(page):
    text = REFERENCE[page]
    (module,) = re.findall(r"^\.\. currentmodule:: (\S+)$", text, flags=re.MULTILINE)
    assert module == ("spectral_stride" if page == "core" else f"spectral_stride.{page}")
    if page == "cupy":
        load("cupy")
    assert apart(text, importlib.import_module(module).__all__) == []


def test_the_reference_has_no_other_page():
    assert sorted(REFERENCE) == ["core", "cupy", "jax", "testing", "torch"]


@pytest.mark.parametrize("line", ["", ".. autofunction:: vjp\n.. autofunction:: vjp"])
def test_a_name_that_is_missing_or_shown_twice_is_found(line):
    text = REFERENCE["core"].replace(".. autofunction:: vjp", line)
    assert apart(text, importlib.import_module("spectral_stride").__all__)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_pictures_are_drawn(script, monkeypatch):
    """Each script runs, shows at least one picture, and closes with what it claims."""
    plt = pytest.importorskip("matplotlib.pyplot", reason="pictures need matplotlib: extra docs")
    plt.switch_backend("agg")
    drawn = []

    def show():
        for number in plt.get_fignums():
            figure = plt.figure(number)
            figure.canvas.draw()
            drawn.append(figure)
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    runpy.run_path(str(script))
    assert drawn
    assert all(
        axis.get_title() or axis.get_xlabel() or axis.get_ylabel()
        for figure in drawn
        for axis in figure.axes
    )
    assert "\nassert " in script.read_text(encoding="utf-8")


def test_there_are_scripts_and_all_of_them_are_pages():
    assert len(SCRIPTS) >= 5
    for script in SCRIPTS:
        assert script.stem.startswith("plot_"), script  # the gallery runs no others


def test_the_first_figures_are_those_of_the_benchmarks():
    """The table of docs/start.md is a part of that in benchmarks/README.md, to the letter."""
    start = (DOCS / "start.md").read_text(encoding="utf-8")
    benchmarks = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8").splitlines()
    figures = [line for line in start.splitlines() if line.startswith("| ") and "±" in line]
    assert len(figures) == 5
    for line in figures:
        assert line in benchmarks, line


def test_versions_are_one():
    """In the package, its metadata, the citation, and the page about it."""
    from spectral_stride import __version__

    for name, pattern in (
        ("pyproject.toml", r'^version = "(.+)"$'),
        ("CITATION.cff", r"^version: (.+)$"),
        ("docs/cite.md", r"^  version = \{(.+)\}$"),
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert re.findall(pattern, text, flags=re.MULTILINE) == [__version__], name
