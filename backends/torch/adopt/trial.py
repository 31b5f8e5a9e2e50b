"""A trial: whether a network runs in which some places are converted, at any of their strides."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from spectral_stride import checks
from spectral_stride.torch.adopt.enlarging import Enlargement, Pair
from spectral_stride.torch.adopt.flattened import FlattenedHeads
from spectral_stride.torch.adopt.functional_calls import FunctionalCalls
from spectral_stride.torch.adopt.places import (
    Place,
    Sample,
    check_not_empty,
    copied,
    evaluating,
    refusing_the_sample,
    run,
    switch,
    watched,
)
from spectral_stride.torch.adopt.resampled import Resampled, resample_behind
from spectral_stride.torch.adopt.restored import restore_behind
from spectral_stride.torch.layers.diffstride import DiffStride

Sizes = tuple[int, ...]

# What every stride of a group is multiplied by, to see whether the network still runs.
_MOVES = 1.25, 0.75


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


class Trial:
    """Copies of a network in which some groups of places are converted, run on one sample.

    Attributes
    ----------
    places : dict of str to Place
        Those that may be converted, by name.
    enlargements : dict of str to Enlargement
    pairs : dict of str to tuple of Pair
        What each enlargement undoes, in the order of its calls.
    sizes : dict of str to (tuple of int, tuple of int)
        Before and after each of them, in the network as it is.
    calls : dict of str to str
        Calls that shrink or enlarge and are no modules, and why they stay.
    """

    def __init__(
        self,
        network: nn.Module,
        sample: Sample,
        places: dict[str, Place],
        enlargements: dict[str, Enlargement],
        options: Mapping[str, Any],
    ) -> None:
        # It is never run: what runs are copies of it, so that nothing that a run leaves behind
        # reaches the user's network.
        self.network = copied(network)
        check_not_empty(sample)
        self.sample, self.places, self.enlargements = sample, places, enlargements
        self.pairs: dict[str, tuple[Pair, ...]] = {}
        self._options = options
        with refusing_the_sample():
            first = copy.deepcopy(self.network)
            calls = FunctionalCalls(first, self.places)
            with calls.noting():
                self.sizes, shapes = self.run(first)
        self.calls = calls.found
        # What the network is expected to give, by whether it is in training.
        self.expected = {False: (self.sizes, shapes)}
        with suppress(Exception):  # some train on more than the sample has, such as labels
            training = self.run(copy.deepcopy(self.network), training=True)
            if training != self.expected[False]:
                self.expected[True] = training
                self.sizes = training[0] | self.sizes

    def run(
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
            switch(network, training)
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
        options = {"shared": group.shared, "hard": True, **self._options}
        for parameter in chain(module.parameters(), self.network.parameters()):
            options.setdefault("device", parameter.device)
            break
        layer = DiffStride(strides, axes=group.axes, **options)
        layer.train(module.training)
        return layer

    def fault(self, groups: Sequence[Group], moves: Sequence[float] = _MOVES) -> str | None:
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
            sizes, shapes = self.run(network, training)
        except Exception as error:
            return f"at its own stride the network fails: {checks.first_line(error)}"
        changed = [*self.paired(groups), *[name for group in groups for name in group.names]]
        for name in [name for name in changed if name in sizes_before]:
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
                self.run(network, training)
            except Exception as error:
                heads = FlattenedHeads()
                with suppress(Exception), heads:
                    self.run(network, training)
                ndim = self.places[groups[0].names[0]].operation.ndim
                why = heads.why(ndim) if heads.features else checks.first_line(error)
                return f"with another stride the network fails: {why}"
        return None


def _layer_at(network: nn.Module, name: str) -> DiffStride:
    """Find the layer of a place that was converted."""
    place = network.get_submodule(name)
    assert isinstance(place, Resampled)
    return place.shared_resampling
