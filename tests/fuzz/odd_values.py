"""What stands in the place of an argument: near misses, arrays of other libraries, nonsense."""

import collections
import copy
import functools
from fractions import Fraction

import numpy as np

from spectral_stride.testing import known
from spectral_stride.testing.cases import SMOOTHNESSES
from tests.nonsense import Word


class Whole(int):
    """A whole number of a class of its own."""


class Own(np.ndarray):
    """An array of a class of its own."""


class Unprintable:
    """It has no text, and no entries."""

    def __repr__(self):
        raise RuntimeError("no text")

    __iter__ = __index__ = __float__ = __len__ = __repr__


class Listed(list):
    """A list of a class of its own."""


@functools.cache
def arrays():
    """Arrays of every library, dense and not, of every kind of entry; made once."""
    torch, jnp, dask = (known.namespace(name) for name in ("torch", "jax", "dask"))
    import torch as plain

    one = plain.tensor([2.0])
    lists = [[2.0], [2.0, 1.5], 2.0, [2], [3, 4], [[2.0]], [], [True], [2j], [float("nan")]]
    found = [np.asarray(values) for values in lists]
    found += [np.asarray(["2"]), np.asarray([None]), np.asarray([10**400]), np.asarray(b"2")]
    found += [np.ones(2, kind) for kind in ("float16", "float32", "uint8", "m8[s]", "M8[s]")]
    found += [np.zeros(2, [("a", "f8")]), np.ma.array([2.0, 3.0], mask=[True, False])]
    found += [np.ones((2, 8)).view(Own), np.ones((0, 8)), np.ones((4, 0)), np.ones((2, 0, 3))]
    found += [xp.asarray(values) for xp in (torch, jnp) for values in lists]
    found += [dask.asarray(np.asarray(values)) for values in ([2.0], [2.0, 1.5], 2.0, [2])]
    found += [one.to("meta"), one.to_sparse(), one.clone().requires_grad_(), one.half()]
    found += [plain.nn.Parameter(one.clone()), plain.ones(2, 8), plain.ones(2, 8, dtype=int)]
    found += [jnp.ones((2, 8)), known.namespace("array_api_strict").ones(2)]
    return found


def _others():
    """Objects that are made anew for each draw."""
    return [
        Whole(2),
        Listed([2.0]),
        collections.deque([2.0]),
        range(1, 3),
        Unprintable(),
        [Unprintable()],
        Fraction(5, 2),
        np.int64(2),
        np.float16(2),
        Ellipsis,
        NotImplemented,
        slice(2),
        float,
        np,
        np.ndarray,
        known.load("torch").Tensor,
        ValueError("2"),
        {},
        frozenset({2}),
        collections.UserList([2.0]),
        [[2.0]],
        [[], []],
        ((2.0,), 2.0),
        ["inside"],
        "INSIDE",
        " inside",
        "",
        "a\nb" * 200,
        [2.0] * 70,
        10**30,
        -(2**70),
        2**53,
        -0.0,
    ]


def _changes(value):
    """What somebody might have written in place of a value."""
    if isinstance(value, bool | str) or value is None:
        return [str(value), [value], str(value).upper(), not value, str(value).encode()]
    if isinstance(value, int | float):
        if not abs(value) < 1e9:
            return ["1e400", -value, [value]]
        near = [-value, value + 1, 0, str(value), [value], np.float64(value), np.asarray(value)]
        return [*near, value * 1e9, value / 3, float(value), complex(value), (value, value)]
    if isinstance(value, list | tuple):
        entries = list(value)
        near = [entries, tuple(entries), entries + entries, entries[1:], [*entries, *entries[:1]]]
        near += [iter(entries), dict.fromkeys(range(len(entries))), "2.0, 2.0", [entries]]
        if not all(isinstance(one, int | float) for one in entries):
            return [*near, (*entries, 2.0), [*entries, "2"], [*entries, None]]
        near += [np.asarray(entries), np.asarray(entries, dtype=object), entries[::-1]]
        near += [set(entries), frozenset(entries)]
        firsts = [None, True, 10**400, 0, float("nan"), "2", np.asarray(2), np.float32(2), 2**53]
        near += [[one, *entries[1:]] for one in firsts]
        if entries and abs(entries[0]) < 1e9:
            near += [entries[0], [-entries[0], *entries[1:]], [entries[0] + 0.5, *entries[1:]]]
        return near
    return [None, [value], type(value).__name__]


# Other right values of some arguments, as long as the others go with them.
RIGHT = {
    "axes": (None, (0,), (-1,), [1], (0, 1), np.asarray([-1])),
    "smoothness": (*SMOOTHNESSES, 3, np.float32(2.5), Fraction(7, 2)),
    "ramp": ("inside", "outside", np.str_("outside"), Word.INSIDE),
    "norm": ("forward", "ortho", "backward", Word.FORWARD),
    "method": ("auto", "matmul", "fft", Word.FFT),
    "crop": (True, False, np.True_),
    "hard": (True, False, np.False_),
    "multiple_of": (1, 2, 3, 5, 100, np.int64(4)),
    "strides": ((2.0,), (1.5, 2.25), [3], np.asarray([1.75, 1.0], "float32"), (Fraction(5, 4),)),
    "stride": (1.0, 2, 2.5, np.float64(3.25), np.asarray(1.5)),
    "size": (6, 10, np.uint8(11)),
    "sizes": ((4,), (5, 3), [6]),
    "out_sizes": ((3,), (4, 2), [1]),
    "dstrides": (None, (1.0,), (0.5, -1.5)),
}


def other(rng, name, value):
    """Another right value of an argument, or the same written in another way."""
    if name in RIGHT and rng.random() < 0.7:
        return rng.choice(RIGHT[name])
    if isinstance(value, list | tuple):
        if not all(isinstance(one, int | float) for one in value):
            return rng.choice([tuple, list, Listed])(value)
        kinds = [tuple, list, Listed, np.asarray, lambda some: np.asarray(some, dtype="float32")]
        return rng.choice(kinds)(value)
    return value


def odd(rng, value, drawn):
    """Something in the place of a value, which may mean the same.

    ``rng`` chooses, a `random.Random`; ``drawn`` is what Hypothesis has drawn of `nonsense`.
    """
    kind = rng.choice(["near", "near", "array", "other", "drawn"])
    if kind == "near":
        return rng.choice(_changes(value))
    if kind == "drawn":
        is_used_up = hasattr(drawn, "__next__")
        return copy.copy(drawn) if is_used_up else drawn
    return rng.choice(arrays() if kind == "array" else _others())
