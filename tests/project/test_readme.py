"""What the README shows, run as it is printed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def swaps():
    """The first two columns of the swap table: code for what is there, and code to write."""
    return re.findall(r"^\| `(nn\..*?)` \| `(.*?)` \|", README, flags=re.MULTILINE)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_snippets_run(code):
    exec(code, {})


def test_numpy_snippet_comments_are_true():
    names = {}
    exec(blocks("python")[0], names)
    assert names["y"].shape == (8, 3, 16, 13)
    assert names["dx"].shape == (8, 3, 32, 32)
    assert names["dstrides"].shape == (2,)


def test_torch_snippet_comment_is_true():
    names = {}
    exec(blocks("python")[1], names)
    assert names["net"][1].strides.tolist() != [2.0, 2.0]


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
    assert len(swaps()) == 8


def test_sizes_of_the_ramps():
    from spectral_stride import make_plan

    for ramp in ("outside", "inside"):
        sizes = re.search(rf'^\| `"{ramp}"`.*?\| ([\d, ]+)', README, flags=re.MULTILINE).group(1)
        planned = [make_plan((size,), (2.0,), ramp=ramp).out_shape[0] for size in (32, 16, 8)]
        assert [int(size) for size in sizes.strip(", ").split(",")] == planned


def test_commands_exist():
    """Every make target and every spectral-stride command that the README names is there."""
    from spectral_stride.__main__ import main

    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shell = "".join(blocks("sh"))
    lines = [line.partition("#")[0].strip() for line in shell.splitlines()]
    targets = [line.split()[1] for line in lines if line.startswith("make ")]
    assert targets == ["run", "test"]
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)
    commands = [line.split()[1:] for line in lines if line.startswith("spectral-stride ")]
    assert len(commands) == 8
    for command in commands:
        assert main([*command, "--help"]) == 0


def test_the_suites_table_has_every_property():
    """The table that is printed is the one of today's properties."""
    from spectral_stride.testing import PROPERTIES

    (table,) = blocks("text")
    for prop in PROPERTIES:
        assert re.search(rf"^{prop.name.replace('_', ' ')} +\d+ 0\.\d\d", table, re.MULTILINE)


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / target).is_file(), target
