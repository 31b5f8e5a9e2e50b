"""What nobody means as an argument, and what has to come of it: a result, or one clear line."""

import re
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

FORM = re.compile(r"[^\n]+: got [^\n]+; allowed: [^\n]+; instead: [^\n]+")


class Word(StrEnum):
    """A word that is equal to one that is allowed, with a hash of its own."""

    INSIDE = "inside"
    FORWARD = "forward"
    FFT = "fft"


def _single():
    """Numbers, words and objects of every kind."""
    odd = [None, True, False, *Word, 10**400, -(10**5000), 2**63, Fraction(10**400), 1e300, 5e-324]
    odd += [
        Decimal("NaN"),
        np.float32(2),
        np.uint8(2),
        np.True_,
        np.str_("inside"),
        b"2",
        bytearray(b"2"),
    ]
    odd += [
        memoryview(b"22"),
        object(),
        int,
        lambda: 2,
        np.datetime64(1, "s"),
        "inside",
        "False",
        "2",
    ]
    numbers = st.integers(-3, 9) | st.floats() | st.fractions() | st.complex_numbers()
    return st.sampled_from(odd) | numbers | st.text(max_size=2) | st.binary(max_size=2)


def _arrays():
    values = [
        2.0,
        2,
        [2.0],
        [2.0, 2.0],
        [3, 4],
        [[2.0]],
        [True],
        [2j],
        "inside",
        ["inside"],
        [None],
    ]
    return st.sampled_from([np.asarray(value) for value in values])


def nonsense():
    """A value of any kind, alone or in any kind of collection."""
    one = _single() | _arrays()
    some = st.lists(one, max_size=2)
    plain = st.lists(st.integers(0, 2) | st.floats(1, 3), max_size=2)
    return (
        one | some | some.map(tuple) | some.map(iter) | plain.map(set) | plain.map(dict.fromkeys)
    )  # fmt: skip


def answers_or_refuses(function, *arguments, **options):
    """Call a function; the only errors are those that say what was got and what to write."""
    try:
        function(*arguments, **options)
    except (TypeError, ValueError) as error:
        if type(error) not in (TypeError, ValueError) or not FORM.fullmatch(str(error)):
            raise AssertionError("not one line of got, allowed, instead") from error
