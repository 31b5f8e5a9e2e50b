"""Joins: which sizes a network needs to be equal, from a run in which they are symbols.

Where an addition, a concatenation or a product needs two sizes to be equal, those places have to
move together. Where one has to be a number, that place cannot move.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations, cycle, product

from torch import nn

from spectral_stride.torch.adopt.enlarging import Enlargement, Pairing
from spectral_stride.torch.adopt.places import STIFF, UNLIKE, Place, Sample
from spectral_stride.torch.adopt.symbols import Call, Joins, Size, followed

_MIXED = "its size meets one that does not come from its stride alone"
# Sizes for which places of one group must agree.
_COMPARED_SIZES = range(8, 300)

# Names that share a stride, whether all its axes need one size, and whether the operations have to
# run over their whole input.
Joined = tuple[tuple[str, ...], bool, bool]
# Why a place cannot move, and the axes along which it cannot.
Reason = tuple[str, set[int]]


def joined(
    network: nn.Module,
    sample: Sample,
    places: Sequence[Place],
    enlargements: Sequence[Enlargement],
    modes: Iterable[bool],
) -> tuple[dict[str, Reason], list[Joined], Pairing]:
    """Find the groups of places that move together; or, first, reasons why some cannot move.

    The modes are evaluation and, after it, training, as `torch.nn.Module.train` takes them.
    """
    groups: list[Joined] = []
    every = followed(network, sample, places, enlargements, modes)
    for training, found in zip(modes, map(_tied, every), strict=True):
        if reasons := _inconsistent(found):
            where = "in training: " if training else ""
            reasons = {one: (where + why, axes) for one, (why, axes) in reasons.items()}
            return reasons, [], found.pairing
        groups = list(_groups_of(found))
    return {}, groups, every[-1].pairing


def _tied(joins: Joins) -> Joins:
    """Tie sizes in front of places that leave equal ones.

    A branch may be shrunk twice while another one, that is added to it, was shrunk twice elsewhere.
    Nothing asks for equal sizes between the two steps. Where they are, one stride serves both first
    steps, and one both second steps.
    """
    while tie := next(chain(_ties(joins.calls), _ties_of_products(joins)), None):
        calls = [
            replace(
                call,
                before=tuple([_put(size, *tie) for size in call.before]),
                after=tuple([_put(size, *tie) for size in call.after]),
            )
            for call in joins.calls
        ]
        equations = [equation.subs(*tie) for equation in joins.equations]
        joins = replace(joins, calls=tuple(calls), equations=tuple(equations))
    return joins


def _ties(calls: Sequence[Call]) -> Iterator[tuple[Size, Size]]:
    """Pairs of symbols in front of places of one group, which are one number on the sample."""
    for group in _joined(calls):
        first = group[0]
        for call in group[1:]:
            if first.place.operation.axes != call.place.operation.axes:
                continue
            both = zip(first.before, call.before, first.hints, call.hints, strict=True)
            for one, other, (now, _), (same, _) in both:
                if one != other and now == same and _is_symbol(one) and _is_symbol(other):
                    yield other, one


def _ties_of_products(joins: Joins) -> Iterator[tuple[Size, Size]]:
    """Pairs of symbols behind places whose maps are equal in number where they are equal in size.

    Maps that were flattened, as keys and values of an attention, meet by the product of their
    sizes.
    """
    for equation in joins.equations:
        touched = [call for call in joins.calls if equation.free_symbols & set(call.after)]
        for one, other in combinations(touched, 2):
            same_sizes = [size for _, size in one.hints] == [size for _, size in other.hints]
            if same_sizes and one.place.operation.axes == other.place.operation.axes:
                pairs = list(zip(other.after, one.after, strict=True))
                are_symbols = all(map(_is_symbol, chain.from_iterable(pairs)))
                if are_symbols and str(equation.subs(pairs)) == "True":
                    yield from [pair for pair in pairs if pair[0] != pair[1]]


def _put(size: Size, old: Size, new: Size) -> Size:
    return size if isinstance(size, int) else size.subs(old, new)


def _inconsistent(joins: Joins) -> dict[str, Reason]:
    """Find places whose sizes what follows needs as they are, and say why."""
    found: dict[str, Reason] = {}

    def add(call: Call, why: str, axes: set[int]) -> None:
        found[call.place.name] = why, axes | found.get(call.place.name, (why, set()))[1]

    for call in joins.calls:
        axes = call.place.operation.axes
        for axis, size, (_, now) in zip(axes, call.after, call.hints, strict=True):
            if now > 1 and not _is_symbol(size):
                add(call, f"{STIFF} ({now})", {axis})
    if found:
        return found
    for equation in joins.equations:
        symbols = _changed_by(equation)
        for call in joins.calls:
            both = zip(call.place.operation.axes, call.after, strict=True)
            if touched := {axis for axis, size in both if size in symbols}:
                alone = set(equation.free_symbols) <= set(call.after)
                add(call, STIFF if alone else _MIXED, touched)
    if found:
        return found
    for group in _joined(joins.calls):
        first = group[0]
        for call in group[1:]:
            if not (_move_alike(first, call) or _move_alike(first, call, whole=True)):
                why = f"{UNLIKE}, of {first.place.name} and {call.place.name}"
                for one in group:
                    add(one, why, {*one.place.operation.axes})
    return found


def _is_symbol(size: Size) -> bool:
    return bool(getattr(size, "is_Symbol", False))


def _changed_by(equation: Size) -> set[Size]:
    """Symbols that an equation ties: those alone on one side, or all of it; none if it holds."""
    symbols = sorted(equation.free_symbols, key=str)
    nearby = [
        dict(zip(symbols, cycle(values), strict=False))
        for values in product(range(5, 60, 9), repeat=min(len(symbols), 3))
    ]
    # A relation of SymPy's that holds becomes its own truth, whose text is this.
    if all(str(equation.subs(values)) == "True" for values in nearby):
        return set()
    return {side for side in equation.args if _is_symbol(side)} or set(symbols)


def _joined(calls: Sequence[Call]) -> Iterator[list[Call]]:
    """Calls whose sizes are equal, or that are calls of one place, in one list each."""
    groups: list[list[Call]] = []
    for call in calls:
        touching = [
            group
            for group in groups
            if any(
                one.place.name == call.place.name or set(one.after) & set(call.after)
                for one in group
            )
        ]
        merged = [one for group in touching for one in group]
        groups = [group for group in groups if group not in touching] + [[*merged, call]]
    yield from groups


def _move_alike(one: Call, other: Call, whole: bool = False) -> bool:
    """Tell whether one stride makes equal sizes of two calls, whatever it is."""
    if one.place.name == other.place.name:
        return one.after == other.after or not set(one.after) & set(other.after)
    first, second = one.place.operation, other.place.operation
    if (first.axes, one.before) != (second.axes, other.before):
        return False
    if not (first.is_plain and second.is_plain):
        return first.strides == second.strides  # and then it is tried
    first, second = replace(first, whole=whole), replace(second, whole=whole)
    return first.strides == second.strides and all(
        first.lengths(axis, size)[1] == second.lengths(axis, size)[1]
        for axis in first.axes
        for size in _COMPARED_SIZES
    )


def _groups_of(joins: Joins) -> Iterator[tuple[tuple[str, ...], bool, bool]]:
    """Names that share a stride, whether all its axes need one size, and all of their inputs."""
    for calls in _joined(joins.calls):
        shared = any(len(set(call.after)) < len(call.after) for call in calls)
        whole = not all(_move_alike(calls[0], call) for call in calls)
        yield tuple(dict.fromkeys(call.place.name for call in calls)), shared, whole
