"""What the README and the pages in docs/ show, run as it is printed."""

import ast
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (README, *sorted((ROOT / "docs").glob("*.md")))
}
# Developers' commands stand in one more page.
COMMANDS = PAGES | {"CONTRIBUTING.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")}


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


SNIPPETS = [
    pytest.param(code, id=f"{page}-{number}")
    for page, text in PAGES.items()
    for number, code in enumerate(blocks(text, "python"), 1)
]


def said_by(line):
    """The values that a line's comment gives: "True: ...", or shapes, as "(8, 3) and (2,)"."""
    comment = line.rpartition("#")[2].strip()
    if comment.startswith("True: "):
        return [True]
    shape = r"\(\d+,(?: \d+,?)*\)"
    if not re.fullmatch(rf"{shape}(?: and {shape})*", comment):
        return []
    return [ast.literal_eval(part) for part in comment.split(" and ")]


@cache
def run(code):
    """Run a snippet statement by statement, and check what its comments give."""
    names, lines = {}, code.splitlines()
    for statement in ast.parse(code).body:
        line = lines[statement.end_lineno - 1]
        said = said_by(line)
        if said and isinstance(statement, ast.Expr):
            assert [eval(ast.unparse(statement), names)] == said, line
            continue
        exec(ast.unparse(statement), names)
        if said:
            (target,) = statement.targets
            made = [names[node.id] for node in ast.walk(target) if isinstance(node, ast.Name)]
            # Of `y, pullback = ...` the one that has a shape is meant.
            assert [tuple(x.shape) for x in made if hasattr(x, "shape")] == said, line
    return names


@pytest.mark.parametrize("code", SNIPPETS)
def test_python_snippets_run_and_their_comments_are_true(code):
    run(code)


@pytest.mark.parametrize(
    "code",
    [
        "import numpy as np\nx = np.ones((2, 3))  # (2, 4)",
        "import numpy as np\nx, y = np.ones(2), np.ones(3)  # (2,) and (2,)",
        "(2, 3)[:1]  # (3,)",
        "1 > 2  # True: of course",
    ],
)
def test_a_comment_that_is_not_true_is_found(code):
    with pytest.raises(AssertionError):
        run(code)


def test_the_comments_are_read():
    said = [said_by(line) for text in PAGES.values() for line in text.splitlines()]
    assert [(8, 3, 32, 32), (2,)] in said
    assert [True] in said
    assert sum(map(bool, said)) >= 8


def test_the_torch_snippet_moves_its_strides():
    names = run(blocks(PAGES["README.md"], "python")[1])
    assert names["net"][1].strides.tolist() != [2.0, 2.0]


def test_the_jax_snippet_ends_with_the_samples_that_it_says():
    (code,) = blocks(PAGES["docs/jax.md"], "python")
    assert "the next call gives 13 samples where it gave 16\n" in code
    names = run(code)
    before, after = names["DiffStride"](2.0, ramp="inside"), names["layer"]
    shapes = [names["jax"].eval_shape(layer, names["x"]).shape for layer in (before, after)]
    assert shapes == [(8, 16, 16, 3), (8, 13, 13, 3)]


def swaps():
    """The first two columns of the swap table: code for what is there, and code to write."""
    return re.findall(r"^\| `(nn\..*?)` \| `(.*?)` \|", PAGES["README.md"], flags=re.MULTILINE)


@pytest.mark.parametrize(("before", "after"), swaps())
def test_swaps_keep_the_size(before, after):
    import torch
    from torch import nn

    from spectral_stride.torch import DiffStride, DiffStrideConv2d, SpectralPool

    names = {"nn": nn, "DiffStride": DiffStride, "SpectralPool": SpectralPool}
    names["DiffStrideConv2d"] = DiffStrideConv2d
    rank = 3 if "3d" in before else 1 if "1d" in before else 2
    for sizes in ((24, 18, 12), (25, 19, 13)):
        x = torch.ones(2, 16, *sizes[:rank])
        assert eval(after, names)(x).shape == eval(before, names)(x).shape


def test_the_swap_table_is_read():
    assert len(swaps()) == 9


def test_sizes_of_the_ramps():
    from spectral_stride import make_plan

    page = PAGES["docs/sizes.md"]
    for ramp in ("outside", "inside"):
        sizes = re.search(rf'^\| `"{ramp}"`.*?\| ([\d, ]+)', page, flags=re.MULTILINE).group(1)
        planned = [make_plan((size,), (2.0,), ramp=ramp).out_shape[0] for size in (32, 16, 8)]
        assert [int(size) for size in sizes.strip(", ").split(",")] == planned


def commands(text):
    """The command lines of a page, without their comments, each as a list of words."""
    script = "".join(blocks(text, "sh")).replace("\\\n", " ")
    for line in script.splitlines():
        if words := shlex.split(line, comments=True):
            yield words


@pytest.mark.parametrize("page", COMMANDS)
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands(COMMANDS[page]):
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, flags=re.MULTILINE), words


def test_the_readme_says_the_two_commands():
    targets = [words for words in commands(PAGES["README.md"]) if words[0] == "make"]
    assert targets == [["make", "run"], ["make", "test"]]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_tool_exist_with_their_options(page):
    from spectral_stride.__main__ import main

    for words in commands(PAGES[page]):
        if words[0] == "spectral-stride":
            assert main([*words[1:], "--help"]) == 0, words


def test_the_commands_of_the_tool_are_read():
    shown = [words[1] for words in commands(PAGES["docs/training.md"]) if "stride" in words[0]]
    assert shown == ["train"] * 8 + ["report"]


def test_an_option_that_does_not_exist_is_found():
    from spectral_stride.__main__ import main

    assert main(["train", "--no-such-option", "--help"]) != 0


def test_extras_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {
        extra
        for text in PAGES.values()
        for extra in re.findall(r"pip\s+install\s+'\.\[(\w+)\]'", text)
    }
    assert found == {"cupy", "export", "jax", "testing", "torch", "train"}
    assert found <= project["optional-dependencies"].keys()


def test_the_suites_table_has_every_property():
    """The table that is printed is the one of today's properties."""
    from spectral_stride.testing import PROPERTIES

    (table,) = blocks(PAGES["docs/property-suite.md"], "text")
    for prop in PROPERTIES:
        assert re.search(rf"^{prop.name.replace('_', ' ')} +\d+ 0\.\d\d", table, re.MULTILINE)
