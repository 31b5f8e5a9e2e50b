"""What can be told of the pages without running them: their links, their length, their tables."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "benchmarks/**/*.md", "tests/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]


def prose(text):
    """A page without what stands in fences."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def links(text):
    """Where the links and pictures of a page lead, those to other hosts left out."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(text))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(text):
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page):
    """Links of a page that lead nowhere."""
    text = page.read_text(encoding="utf-8")
    for target in links(text):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        there = path.is_file() or (path.is_dir() and not anchor)
        if not there or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            yield target


def test_links_lead_somewhere():
    for page in PAGES:
        assert list(broken(page)) == [], page


def test_links_are_read():
    assert {"docs/README.md", "CONTRIBUTING.md"} <= set(links((ROOT / "README.md").read_text()))
    assert len(PAGES) > 12


@pytest.mark.parametrize("link", ["no.md", "README.md#no-such-heading", "#nor-this", "docs#words"])
def test_a_link_that_leads_nowhere_is_found(tmp_path, link):
    page = tmp_path / "README.md"
    (tmp_path / "docs").mkdir()
    page.write_text(f"# Words, *and* more\n\n[good](#words-and-more) [folder](docs) [bad]({link})")
    assert list(broken(page)) == [link]


def test_every_page_is_on_the_list_of_pages():
    listed = set(links((ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= listed


def test_the_readme_is_short_and_honest_at_once():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 140
    # Nobody has to scroll for the command to try, or for what is bad.
    assert "make run" in "\n".join(lines[:20])
    assert "**slow so far**" in "\n".join(lines[:20])


# --- Where a line lives --------------------------------------------------------------------------


def rooms_told():
    """Each source folder that has a table in CONTRIBUTING.md, and the modules that it names."""
    section = CONTRIBUTING.partition("\n## Where a line lives\n")[2].partition("\n## ")[0]
    told = {}
    for part in section.split("\n### ")[1:]:
        title, _, body = part.partition("\n")
        if match := re.fullmatch(r"`((?:spectral_stride|backends)/[\w/]*)`", title):
            rows = re.findall(r"^\| (`[^|]+`) \|", body, flags=re.MULTILINE)
            told[match[1]] = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    return told


def rooms_there():
    """Each source folder with modules in it, adapters by the folder that they live in."""
    there = {}
    for top in ("spectral_stride", "backends"):
        for path in sorted((ROOT / top).rglob("*.py")):
            folder = path.parent.relative_to(ROOT)
            linked = any((ROOT / part).is_symlink() for part in (folder, *folder.parents))
            if not linked and path.stem != "__init__":
                there.setdefault(f"{folder.as_posix()}/", []).append(path.stem)
    return there


def test_every_module_is_told_where_a_line_lives():
    told, there = rooms_told(), rooms_there()
    assert sorted(told) == sorted(there)
    for room, modules in there.items():
        assert sorted(told[room]) == sorted(modules), room


def test_every_room_of_the_tests_is_told():
    part = CONTRIBUTING.partition("\n### `tests/`\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", part, flags=re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`([\w/]+)`", row)]
    there = [
        path.relative_to(ROOT / "tests").as_posix()
        for path in (ROOT / "tests").rglob("*")
        if path.is_dir() and (any(path.glob("*.py")) or any(path.glob("*.md")))
    ]
    assert sorted(told) == sorted(there)


def test_modules_that_stand_beside_the_rooms_of_the_tests_are_told():
    for path in (ROOT / "tests").glob("*.py"):
        assert f"`tests/{path.name}`" in CONTRIBUTING, path.name


def test_every_file_that_contributing_names_exists():
    """Paths in backticks, apart from those of the adapter that is made up."""
    named = re.findall(
        r"`((?:tests|spectral_stride|backends|docs|benchmarks|\.ci)/[\w/.]+)`", CONTRIBUTING
    )
    assert len(named) > 10
    for name in named:
        assert "mylib" in name or (ROOT / name).exists(), name
