"""Kinds of options: the values of words, and what is refused with which line."""

import pytest

from spectral_stride.torch.training.config import OPTIONS
from spectral_stride.torch.training.options import (
    LARGEST,
    Choice,
    Integer,
    Real,
    Share,
    Switch,
    Text,
    flag_of,
)
from spectral_stride.torch.training.refusal import RefusedError

# Of any range; a file may hold what a command line cannot.
NO_NUMBERS = ["x", "nan", "inf", True, 10**400, None]
NO_INTEGERS = [*NO_NUMBERS, "2.5", 2.5, float("inf")]

# A kind, words with their values, words that are refused, and what is allowed in their place.
KINDS = [
    (Text("NAME"), {"a": "a", "": ""}, [], ""),
    (Choice(("a", "b")), {"a": "a", "b": "b"}, ["c", "", "A"], "a, b"),
    (Switch(), {True: True, False: False}, ["yes", 1, 0], "yes or no"),
    (Integer(2, 5), {2: 2, "5": 5}, [*NO_INTEGERS, "1", 6], "a whole number from 2 to 5"),
    (Integer(0, why=" (0 is all)"), {0: 0, LARGEST: LARGEST}, [-1], r"to 1000000 \(0 is all\)"),
    (Real(), {0: 0.0, "0.5": 0.5}, [*NO_NUMBERS, -0.1, 2 * LARGEST], "from 0 up to 1000000"),
    (Real(zero=False), {"1e-9": 1e-9}, [0, "-1"], "a number above 0 up to 1000000"),
    (Share(), {0: 0.0, "0.999": 0.999}, [1, "1.5"], "a share from 0 up to, but not, 1"),
    (Share(), {}, ["-0.1", "x", "nan"], "a number from 0"),
]


@pytest.mark.parametrize(("kind", "right", "wrong", "allowed"), KINDS, ids=repr)
def test_values_and_refusals(kind, right, wrong, allowed):
    for word, value in right.items():
        found = kind.check("--it", word, 0.5)
        assert (type(found), found) == (type(value), value)
    for word in wrong:
        line = rf"--it: got {word!r}; allowed: .*{allowed}.*; instead: write --it"
        with pytest.raises(RefusedError, match=line):
            kind.check("--it", word, 0.5)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_says_all_that_the_command_line_shows(name):
    one = OPTIONS[name]
    assert one.help.endswith(".")
    assert one.panel
    assert one.is_switch == (one.kind.metavar == "")
    if one.default not in ("", None):
        assert one.kind.check(flag_of(name), one.default, one.default) == one.default
