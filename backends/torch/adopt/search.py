"""The search for what can be converted: by reasoning about sizes, then by trying."""

import copy
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from spectral_stride import checks
from spectral_stride.torch.adopt.enlarging import Pair, Pairing, enlargements_in
from spectral_stride.torch.adopt.functional_calls import FunctionalCalls
from spectral_stride.torch.adopt.places import (
    STIFF,
    UNKNOWN,
    UNLIKE,
    Place,
    Sample,
    evaluating,
    places_in,
    run,
    watched,
)
from spectral_stride.torch.adopt.resampled import Resampled, resample_behind
from spectral_stride.torch.adopt.restored import restore_behind
from spectral_stride.torch.layers.diffstride import DiffStride

# A place by its name, as a pattern of the shell, or by the type of its operation.
Chosen = str | type | Sequence[str | type] | None
Sizes = tuple[int, ...]


# What every stride of a group is multiplied by, to see whether the network still runs.
_MOVES = 1.25, 0.75
# The same for groups that nothing but trying has found.
_MANY_MOVES = 1.25, 0.75, 1.07, 0.93, 1.4, 0.55, 1.9, 1.13


@dataclass(frozen=True)
class Group:
    """Places that share one stride, because their sizes meet again.

    Attributes
    ----------
    names : tuple of str
        Of the modules, in the order in which the network runs them.
    strides : tuple of int
        Of each axis that has one above 1.
    axes : tuple of int
        Those axes, counted from the end.
    shared : bool
        Whether all axes need the same size, and so one stride.
    whole : bool
        Whether the operations are to run over their whole input, so that sizes that their kernels
        make differ by one are equal.
    """

    names: tuple[str, ...]
    strides: tuple[int, ...]
    axes: tuple[int, ...]
    shared: bool
    whole: bool = False


class Search:
    """The search for what can be converted: by reasoning about sizes, then by trying."""

    def __init__(
        self,
        network: nn.Module,
        sample: Sample,
        include: Chosen = None,
        exclude: Chosen = None,
        **options: Any,
    ) -> None:
        try:
            # It is never run: what runs are copies of it, so that nothing that a run leaves behind
            # reaches the user's network.
            self.network = copy.deepcopy(network)
        except Exception as error:
            got = f"one that cannot be copied ({_first_line(error)})"
            remedy = "take out of its attributes what copy.deepcopy refuses"
            checks.refuse(ValueError, "network", got, "one that copy.deepcopy copies", remedy)
        self.sample, self.options = sample, options
        self.left: dict[str, str] = {}
        # Axes along which reasoning found that a place cannot move.
        self.stiff: dict[str, set[int]] = {}
        self.places: dict[str, Place] = {}
        for place in places_in(network):
            named = place.name, place.operation.module
            if _is_chosen(*named, include, True) and not _is_chosen(*named, exclude, False):
                self.places[place.name] = place
        if not self.places:
            found = [place.name for place in places_in(network)]
            got = f"a network with {len(found)} strided operations, none of them chosen"
            allowed = "convolutions and poolings that are modules with a stride above 1"
            remedy = f"choose among {found[:10]}" if found else "add DiffStride layers yourself"
            checks.refuse(ValueError, "network", got, allowed, remedy)
        self.enlargements = {
            one.name: one
            for one in enlargements_in(network)
            if not _is_chosen(one.name, one.module, exclude, False)
        }
        # What each enlargement undoes, in the order of its calls.
        self.pairs: dict[str, tuple[Pair, ...]] = {}
        try:
            copied = copy.deepcopy(self.network)
            calls = FunctionalCalls(copied)
            with calls.noting():
                self.sizes, shapes = self._run(copied)
        except Exception as error:
            got = f"one on which the network fails ({_first_line(error)})"
            allowed = "a tensor, a tuple of arguments or a dict of named ones that it takes"
            remedy = "pass what you would call the network on, a batch of one or two"
            raise ValueError(f"sample: got {got}; allowed: {allowed}; instead: {remedy}") from error
        self.calls = calls.found
        # What the network is expected to give, by whether it is in training.
        self.expected = {False: (self.sizes, shapes)}
        with suppress(Exception):  # not every network trains on a batch of one
            training = self._run(copy.deepcopy(self.network), training=True)
            if training != self.expected[False]:
                self.expected[True] = training

    def groups(self) -> tuple[Group, ...]:
        """Find what can move, and what moves together; the others are left."""
        self._leave_what_cannot_move()
        chosen = dict(self.places)
        groups = self._groups_by_reasoning()
        # Networks that compute with sizes as plain numbers hide from symbols what their places can.
        hidden = [
            name for name in chosen if self.left.get(name, "").startswith((STIFF, UNLIKE, UNKNOWN))
        ]
        self.places |= {name: chosen[name] for name in hidden}
        if hidden:
            self._pair_by_numbers()
        groups += self._groups_by_trying(hidden)
        groups += self._groups_along_free_axes(hidden)
        groups_found = self._together(groups)
        self.left |= self.calls
        return groups_found

    def leave(self, name: str, why: str) -> None:
        """Take a place out of the search."""
        del self.places[name]
        self.left[name] = why

    def _leave_what_cannot_move(self) -> None:
        """Leave what the sample does not reach, and what has no size to move."""
        for name, place in list(self.places.items()):
            module = place.operation.module
            if name not in self.sizes:
                self.leave(name, "the sample does not reach it")
            elif min(self.sizes[name][1]) < 2:
                self.leave(name, "it leaves a single sample")
            elif getattr(module, "return_indices", False):
                self.leave(name, "it returns the places of its maxima too")

    def _groups_by_reasoning(self) -> list[Group]:
        """Find what moves together, until all that was noted about sizes is consistent."""
        # Only here: it loads the compiler.
        from spectral_stride.torch.adopt.joins import joined

        while len(self.places) > 1:
            places, enlargements = list(self.places.values()), list(self.enlargements.values())
            try:
                reasons, groups, pairing = joined(self.network, self.sample, places, enlargements)
            except Exception as error:  # whatever needs values, or sizes that are numbers
                for name in list(self.places):
                    self.leave(name, f"{UNKNOWN}: {_first_line(error)}")
                return []
            if self._leave_mixed(pairing):
                continue
            self.pairs = _pairs_of(pairing)
            if not reasons:
                self.left |= pairing.alone
                return [self._group(*found) for found in groups]
            for name, (why, axes) in reasons.items():
                self.leave(name, why)
                self.stiff[name] = axes
        # There is nothing to join: it is tried.
        self._pair_by_numbers()
        for name, place in list(self.places.items()):
            group = self._group((name,))
            fault = self._fault([group], _MANY_MOVES)
            if fault is None:
                return [group]
            self.left[name] = fault
            for axis in group.axes:
                self.places[name], self.stiff[name] = place, {axis}
                if found := self._groups_along_free_axes([name]):
                    return found
            del self.places[name]
        return []

    def _leave_mixed(self, pairing: Pairing) -> bool:
        """Leave enlargements of which some calls undo a place and some do not."""
        mixed = [
            name for name, pairs in pairing.pairs.items() if 0 < pairs.count(None) < len(pairs)
        ]
        for name in mixed:
            del self.enlargements[name]
            self.left[name] = "some of its calls undo no place that moves"
        return bool(mixed)

    def _pair_by_numbers(self) -> None:
        """Pair enlargements that symbols have paired with nothing, by sizes on the sample."""
        pairing, network = Pairing(), copy.deepcopy(self.network)
        modules = dict(network.named_modules())
        operations = {modules[name]: place for name, place in self.places.items()}
        enlarging = {
            modules[name]: one for name, one in self.enlargements.items() if name not in self.pairs
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
            self._run(network)
        self._leave_mixed(pairing)
        self.pairs |= _pairs_of(pairing)

    def _run(
        self, network: nn.Module, training: bool = False
    ) -> tuple[dict[str, tuple[Sizes, Sizes]], list[Sizes]]:
        """Run a copy of the sample; sizes before and after each place, and shapes of the output."""
        found: dict[str, tuple[Sizes, Sizes]] = {}
        modules = dict(network.named_modules())
        names = {modules[name]: name for name in [*self.places, *self.enlargements]}

        def note(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            name = names[module]
            output = output if isinstance(output, torch.Tensor) else output[0]
            place = self.places.get(name)
            axes = range(2 - output.ndim, 0) if place is None else place.operation.strided
            before, after = [
                tuple(shape[axis] for axis in axes) for shape in (arguments[0].shape, output.shape)
            ]
            found[name] = before, after

        with watched(list(names), note), evaluating(network), torch.random.fork_rng([]):
            network.train(training)
            output = run(network, copy.deepcopy(self.sample))
        return found, [tuple(one.shape) for one in tree_leaves(output) if hasattr(one, "shape")]

    def converted(self, groups: Sequence[Group]) -> nn.Module:
        """Copy the network, with the places of the groups resampled."""
        network = copy.deepcopy(self.network)
        modules = dict(network.named_modules())
        for group in groups:
            layer = self._layer(group, modules[group.names[0]])
            for name in group.names:
                operation = self.places[name].operation
                operation = replace(operation, module=modules[name], whole=group.whole)
                resample_behind(operation, layer, name == group.names[0])
        for name, pairs in self.paired(groups).items():
            undone = [(modules[pair.place], modules[pair.source], pair) for pair in pairs]
            restore_behind(replace(self.enlargements[name], module=modules[name]), undone)
        return network

    def paired(self, groups: Sequence[Group]) -> dict[str, tuple[Pair, ...]]:
        """Find the enlargements that go back behind places of these groups."""
        moving = {name for group in groups for name in group.names}
        return {
            name: pairs
            for name, pairs in self.pairs.items()
            if all({pair.place, pair.source} <= moving for pair in pairs)
        }

    def _layer(self, group: Group, module: nn.Module) -> DiffStride:
        """Make the layer of a group, where its operation lies."""
        strides = tuple(map(float, group.strides))
        options = {"shared": group.shared, "hard": True, **self.options}
        for parameter in chain(module.parameters(), self.network.parameters()):
            options.setdefault("device", parameter.device)
            break
        layer = DiffStride(strides, axes=group.axes, **options)
        layer.train(module.training)
        return layer

    def _groups_by_trying(self, names: Sequence[str]) -> list[Group]:
        """Find among places whose sizes could not be followed those that can move all the same.

        Each alone, or else with those that leave the same sizes.
        """
        groups: list[Group] = []
        failed: dict[Any, list[str]] = {}
        for name in names:
            group = self._group((name,))
            if self._fault([group], _MANY_MOVES) is None:
                groups.append(group)
            else:
                key = group.strides, group.axes, self.sizes[name][1]
                failed.setdefault(key, []).append(name)
        for several in failed.values():
            group = self._group(tuple(several))
            if len(several) > 1 and self._fault([group], _MANY_MOVES) is None:
                groups.append(group)
        for group in groups:
            for name in group.names:
                del self.left[name]
        return groups

    def _groups_along_free_axes(self, names: Sequence[str]) -> list[Group]:
        """Find among places that are left those that can move along some of their axes."""
        reasons = {}
        for name in names:
            place, fixed = self.places[name], tuple(sorted(self.stiff.get(name, ())))
            place = replace(place, operation=replace(place.operation, fixed=fixed))
            if name in self.left and fixed and place.operation.axes:
                axes = ", ".join(map(str, fixed))
                reasons[name] = f"along axis {axes}: {self.left[name]}"
                self.places[name] = place
        groups = self._groups_by_trying(list(reasons))
        self.left |= {name: reasons[name] for group in groups for name in group.names}
        return groups

    def _group(self, names: tuple[str, ...], shared: bool = False, whole: bool = False) -> Group:
        """Make a group of places with equal strides."""
        operation = self.places[names[0]].operation
        strides = tuple(operation.strides[axis] for axis in operation.axes)
        return Group(names, strides, operation.axes, shared, whole)

    def _together(self, groups: list[Group]) -> tuple[Group, ...]:
        """Keep the groups with which the network runs, as it was and with strides moved."""
        if not groups or self._fault(groups) is None:
            return self._in_order(groups)
        kept: list[Group] = []
        for group in groups:
            if why := self._fault([*kept, group]):
                for name in group.names:
                    self.leave(name, why)
            else:
                kept.append(group)
        return self._in_order(kept)

    def _in_order(self, groups: Iterable[Group]) -> tuple[Group, ...]:
        """Sort groups by the order in which the network runs them."""
        order = {name: place for place, name in enumerate(self.sizes)}
        sorted_names = [
            replace(group, names=tuple(sorted(group.names, key=order.__getitem__)))
            for group in groups
        ]
        return tuple(sorted(sorted_names, key=lambda group: order[group.names[0]]))

    def _fault(self, groups: Sequence[Group], moves: Sequence[float] = _MOVES) -> str | None:
        """Say why a network with these groups does not run; None where it does."""
        for training in self.expected:
            if why := self._fault_in(training, groups, moves):
                return f"in training: {why}" if training else why
        return None

    def _fault_in(
        self, training: bool, groups: Sequence[Group], moves: Sequence[float]
    ) -> str | None:
        """Say why a network does not run in one mode."""
        network = self.converted(groups)
        sizes_before, shapes_before = self.expected[training]
        try:
            sizes, shapes = self._run(network, training)
        except Exception as error:
            return f"at its own stride the network fails: {_first_line(error)}"
        changed = [*self.paired(groups), *[name for group in groups for name in group.names]]
        for name in changed:
            before, after = sizes_before[name][1], sizes.get(name, ((), ()))[1]
            if after != before:
                return f"it leaves {after} samples in place of {before}"
        if shapes != shapes_before:
            return f"at its own stride the network returns shapes {shapes}, not {shapes_before}"
        layers = [_layer_at(network, group.names[0]) for group in groups]
        starts = [layer.strides.tolist() for layer in layers]
        for move in moves:
            for number, (layer, start) in enumerate(zip(layers, starts, strict=True)):
                # Each by another factor, so that none keeps the size of another by chance.
                factor = move ** (1 - 0.618 * number % 0.5)
                with torch.no_grad():
                    layer.strides.copy_(torch.tensor(start) * factor)
            try:
                self._run(network, training)
            except Exception as error:
                return f"with another stride the network fails: {_first_line(error)}"
        return None


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


def _layer_at(network: nn.Module, name: str) -> DiffStride:
    """Find the layer of a place that was converted."""
    place = network.get_submodule(name)
    assert isinstance(place, Resampled)
    return place.shared_resampling


def _first_line(error: Exception) -> str:
    return checks.shown((str(error) or type(error).__name__).splitlines()[0])
