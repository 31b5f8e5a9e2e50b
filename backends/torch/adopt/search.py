"""The search for what can be converted: by reasoning about sizes, then by trying."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from spectral_stride import checks
from spectral_stride.torch.adopt.enlarging import Pair, Pairing, enlargements_in
from spectral_stride.torch.adopt.flattened import FLATTENED
from spectral_stride.torch.adopt.places import STIFF, UNKNOWN, UNLIKE, Sample, places_in, watched
from spectral_stride.torch.adopt.trial import Group, Trial

# A place by its name, as a pattern of the shell, or by the type of its operation.
Chosen = str | type | Sequence[str | type] | None

# What every stride of a group is multiplied by, to see whether the network still runs: of groups
# that nothing but trying has found.
_MANY_MOVES = 1.25, 0.75, 1.07, 0.93, 1.4, 0.55, 1.9, 1.13


class Search:
    """The search for what can be converted, and what moves together.

    Attributes
    ----------
    trial : Trial
        With the places that are still in the search.
    left : dict of str to str
        The others, and why they stay as they are.
    """

    def __init__(
        self,
        network: nn.Module,
        sample: Sample,
        include: Chosen = None,
        exclude: Chosen = None,
        **options: Any,
    ) -> None:
        places = {
            place.name: place
            for place in places_in(network)
            if _is_chosen(place.name, place.operation.module, include, True)
            and not _is_chosen(place.name, place.operation.module, exclude, False)
        }
        if not places:
            found = [place.name for place in places_in(network)]
            got = f"a network with {len(found)} strided operations"
            allowed = "convolutions and poolings that are modules with a stride above 1"
            remedy = "make calls such as F.max_pool2d(x, 2) modules, or add DiffStride layers"
            if found:
                got, remedy = f"{got}, none of them chosen", f"choose among {found[:10]}"
            checks.refuse(ValueError, "network", got, allowed, remedy)
        enlargements = {
            one.name: one
            for one in enlargements_in(network)
            if not _is_chosen(one.name, one.module, exclude, False)
        }
        self.trial = Trial(network, sample, places, enlargements, options)
        self.left: dict[str, str] = {}
        # Axes along which reasoning found that a place cannot move.
        self._stiff: dict[str, set[int]] = {}

    def groups(self) -> tuple[Group, ...]:
        """Find what can move, and what moves together; the others are left."""
        self._leave_what_cannot_move()
        chosen = dict(self.trial.places)
        groups = self._groups_by_reasoning()
        # Networks that compute with sizes as plain numbers hide from symbols what their places can.
        hidden = [
            name
            for name in chosen
            if any(why in self.left.get(name, "") for why in (STIFF, UNLIKE, UNKNOWN))
        ]
        self.trial.places |= {name: chosen[name] for name in hidden}
        if hidden:
            self._pair_by_numbers()
        groups += self._groups_by_trying(hidden)
        groups += self._groups_along_free_axes(hidden)
        groups_found = self._together(groups)
        self.left |= self.trial.calls
        return groups_found

    def _leave(self, name: str, why: str) -> None:
        """Take a place out of the search."""
        del self.trial.places[name]
        self.left[name] = why

    def _leave_what_cannot_move(self) -> None:
        """Leave what the sample does not reach, and what has no size to move."""
        for name, place in list(self.trial.places.items()):
            module = place.operation.module
            if name not in self.trial.sizes:
                self._leave(name, "the sample does not reach it")
            elif min(self.trial.sizes[name][1]) < 2:
                self._leave(name, "it leaves a single sample")
            elif getattr(module, "return_indices", False):
                self._leave(name, "it returns the places of its maxima too")

    def _groups_by_reasoning(self) -> list[Group]:
        """Find what moves together, until all that was noted about sizes is consistent."""
        # Only here: it loads the compiler.
        from spectral_stride.torch.adopt.joins import joined

        while len(self.trial.places) > 1:
            try:
                reasons, groups, pairing = joined(
                    self.trial.network,
                    self.trial.sample,
                    list(self.trial.places.values()),
                    list(self.trial.enlargements.values()),
                    self.trial.expected,
                )
            except Exception as error:  # whatever needs values, or sizes that are numbers
                for name in list(self.trial.places):
                    self._leave(name, f"{UNKNOWN}: {checks.first_line(error)}")
                return []
            if self._leave_mixed(pairing):
                continue
            self.trial.pairs = _pairs_of(pairing)
            if not reasons:
                self.left |= pairing.alone
                return [self._group(*found) for found in groups]
            for name, (why, axes) in reasons.items():
                self._leave(name, why)
                self._stiff[name] = axes
        # There is nothing to join: it is tried.
        self._pair_by_numbers()
        for name, place in list(self.trial.places.items()):
            group = self._group((name,))
            fault = self.trial.fault([group], _MANY_MOVES)
            if fault is None:
                return [group]
            self.left[name] = fault
            for axis in group.axes:
                self.trial.places[name], self._stiff[name] = place, {axis}
                if found := self._groups_along_free_axes([name]):
                    return found
            del self.trial.places[name]
        return []

    def _leave_mixed(self, pairing: Pairing) -> bool:
        """Leave enlargements of which some calls undo a place and some do not."""
        mixed = [
            name for name, pairs in pairing.pairs.items() if 0 < pairs.count(None) < len(pairs)
        ]
        for name in mixed:
            del self.trial.enlargements[name]
            self.left[name] = "some of its calls undo no place that moves"
        return bool(mixed)

    def _pair_by_numbers(self) -> None:
        """Pair enlargements that symbols have paired with nothing, by sizes on the sample."""
        pairing, network = Pairing(), copy.deepcopy(self.trial.network)
        modules = dict(network.named_modules())
        operations = {modules[name]: place for name, place in self.trial.places.items()}
        enlarging = {
            modules[name]: one
            for name, one in self.trial.enlargements.items()
            if name not in self.trial.pairs
        }

        def note(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            before, after = arguments[0].shape, output.shape
            if module in enlarging:
                pairing.enlarge(enlarging[module], before, after)
            else:
                place = operations[module]
                operation = place.operation
                strides = {axis: operation.strides[axis] for axis in operation.axes}
                pairing.shrink(place.name, strides, before, after)

        with watched([*operations, *enlarging], note):
            self.trial.run(network)
        self._leave_mixed(pairing)
        self.trial.pairs |= _pairs_of(pairing)

    def _groups_by_trying(self, names: Sequence[str]) -> list[Group]:
        """Find among places whose sizes could not be followed those that can move all the same.

        Each alone, or else with those that leave the same sizes.
        """
        groups: list[Group] = []
        failed: dict[Any, list[str]] = {}
        for name in names:
            if found := self._tried((name,)):
                groups.append(found)
            else:
                group = self._group((name,))
                key = group.strides, group.axes, self.trial.sizes[name][1]
                failed.setdefault(key, []).append(name)
        several = [tuple(alike) for alike in failed.values() if len(alike) > 1]
        groups += [found for alike in several if (found := self._tried(alike))]
        for group in groups:
            for name in group.names:
                del self.left[name]
        return groups

    def _tried(self, names: tuple[str, ...]) -> Group | None:
        """Make a group if the network runs with it; or say why not, where nothing was known."""
        group = self._group(names)
        why = self.trial.fault([group], _MANY_MOVES)
        if why is None:
            return group
        for name in names:
            if UNKNOWN in self.left[name]:
                self.left[name] = f"{UNKNOWN}, and {why}"
            elif FLATTENED in why:
                self.left[name] = why
        return None

    def _groups_along_free_axes(self, names: Sequence[str]) -> list[Group]:
        """Find among places that are left those that can move along some of their axes."""
        reasons = {}
        for name in names:
            place, fixed = self.trial.places[name], tuple(sorted(self._stiff.get(name, ())))
            place = replace(place, operation=replace(place.operation, fixed=fixed))
            if name in self.left and fixed and place.operation.axes:
                axes = ", ".join(map(str, fixed))
                reasons[name] = f"along axis {axes}: {self.left[name]}"
                self.trial.places[name] = place
        groups = self._groups_by_trying(list(reasons))
        self.left |= {name: reasons[name] for group in groups for name in group.names}
        return groups

    def _group(self, names: tuple[str, ...], shared: bool = False, whole: bool = False) -> Group:
        """Make a group of places with equal strides."""
        operation = self.trial.places[names[0]].operation
        strides = tuple(operation.strides[axis] for axis in operation.axes)
        return Group(names, strides, operation.axes, shared, whole)

    def _together(self, groups: list[Group]) -> tuple[Group, ...]:
        """Keep the groups with which the network runs, as it was and with strides moved."""
        if not groups or self.trial.fault(groups) is None:
            return self._in_order(groups)
        kept: list[Group] = []
        for group in groups:
            if why := self.trial.fault([*kept, group]):
                for name in group.names:
                    self._leave(name, why)
            else:
                kept.append(group)
        return self._in_order(kept)

    def _in_order(self, groups: Iterable[Group]) -> tuple[Group, ...]:
        """Sort groups by the order in which the network runs them."""
        order = {name: place for place, name in enumerate(self.trial.sizes)}
        sorted_names = [
            replace(group, names=tuple(sorted(group.names, key=order.__getitem__)))
            for group in groups
        ]
        return tuple(sorted(sorted_names, key=lambda group: order[group.names[0]]))


def _pairs_of(pairing: Pairing) -> dict[str, tuple[Pair, ...]]:
    """Pairs of the enlargements all of whose calls undo a place; one where all are the same."""
    found: dict[str, tuple[Pair, ...]] = {}
    for name, pairs in pairing.pairs.items():
        known = [pair for pair in pairs if pair is not None]
        if len(known) == len(pairs):
            found[name] = tuple(known[:1] if len(set(known)) == 1 else known)
    return found


def several(chosen: Chosen) -> list[Any]:
    """Return a choice as a list."""
    if chosen is None:
        return []
    return list(chosen) if isinstance(chosen, list | tuple | set | frozenset) else [chosen]


def _is_chosen(name: str, module: nn.Module, chosen: Chosen, default: bool) -> bool:
    """Whether a module is among those that the user names."""
    if chosen is None:
        return default
    return any(
        fnmatchcase(name, one) if isinstance(one, str) else isinstance(module, one)
        for one in several(chosen)
    )
