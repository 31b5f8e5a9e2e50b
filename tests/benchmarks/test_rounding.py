"""The law of docs/rounding.md, and that what it is measured with sees an error."""

import math
from pathlib import Path

import numpy as np
import pytest

import spectral_stride as ss
from benchmarks.rounding import FULL, cases, exact, has_extended, lines, measure
from spectral_stride.testing import oracles
from tests.libraries import unavailable

PAGE = Path(__file__).parents[2] / "docs" / "rounding.md"
SIZES = [8, 100, pytest.param(4096, marks=pytest.mark.long)]


@pytest.fixture(autouse=True)
def extended():
    if not has_extended():
        unavailable("this machine has no floats that are wider than float64")


def allowed(dtype, method, size):
    """What the page allows an output and the gradients to lose, in units of eps."""
    if dtype not in FULL:
        return 0.5, 0.5, 2
    most = {"matmul": 0.45, "fft": 0.35}[method] * math.log2(size)
    return most, most, 20


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", cases(), ids="-".join)
def test_rounding_takes_what_the_law_allows(case, size):
    found = measure(*case, size)
    _, dtype, method = case
    lost = found.output, found.input_gradient, found.stride_gradient
    assert all(one < most for one, most in zip(lost, allowed(dtype, method, size), strict=True))
    assert lost[0] > 0


def rows():
    """The page's table: what a row is about, and its errors by size."""
    head, _, *body = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text("utf-8").partition("## Measured")[2].splitlines()
        if line.startswith("|")
    ]
    return [
        (line[:4], dict(zip(map(int, head[4:]), map(float, line[4:]), strict=True)))
        for line in body
    ]


def test_the_table_of_the_page_obeys_the_law():
    table = rows()
    assert [tuple(about[:3]) for about, _ in table] == [case for case in cases() for _ in range(3)]
    for (_, dtype, method, what), errors in table:
        assert list(errors) == [8, 32, 128, 512, 2048, 4096]
        position = ["output", "input gradient", "stride gradient"].index(what)
        for size, error in errors.items():
            assert error < allowed(dtype, method, size)[position]


def test_lines_are_those_of_the_table():
    made = list(lines([8]))
    assert [line.split(" | ")[:4] for line in made[2:]] == [
        ["| " + about[0], *about[1:]] for about, _ in rows()
    ]


@pytest.mark.parametrize("size", [8, 9, 30])
def test_the_truth_is_that_of_the_oracles(size):
    random = np.random.default_rng(0)
    x = random.normal(size=(3, size))
    n = ss.make_plan(x.shape, (2.0,)).out_shape[-1]
    g = random.normal(size=(3, n))
    y, dx, terms = exact(x, g)
    A, slope = oracles.axis_matrices(size, n, 2.0, 4.0, "inside", "forward")
    np.testing.assert_allclose(y.astype(float), x @ A.T, atol=1e-14)
    np.testing.assert_allclose(dx.astype(float), g @ A, atol=1e-14)
    np.testing.assert_allclose(float(terms.sum()), np.sum(g * (x @ slope.T)), atol=1e-13)
