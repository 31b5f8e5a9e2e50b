"""What converting a network changes: which places move together, which are left, and why."""

import copy
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from spectral_stride import checks
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


@dataclass(frozen=True)
class Change:
    """One place before and after: its sizes, and multiply-accumulates of a whole call."""

    name: str
    operation: str
    sizes: tuple[Sizes, Sizes]
    macs: tuple[int, int]


@dataclass(frozen=True)
class Conversion:
    """What `convert` makes of a network; its text is a table.

    Attributes
    ----------
    groups : tuple of Group
        What becomes learnable.
    left : dict of str to str
        The names of all other places, and why they stay as they are.
    changes : tuple of Change
        Of each place that becomes learnable, in the order in which the network runs them.
    macs : (int, int)
        Multiply-accumulates of the whole network on the sample, before and after, at equal sizes.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from spectral_stride.torch import conversion
    >>> net = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 8, 1))
    >>> found = conversion(net, torch.ones(1, 3, 32, 32))
    >>> found.groups
    (Group(names=('0',), strides=(2, 2), axes=(-2, -1), shared=False, whole=False),)
    >>> found.macs
    (6144, 79872)
    """

    groups: tuple[Group, ...]
    left: dict[str, str]
    changes: tuple[Change, ...]
    macs: tuple[int, int]

    def __str__(self) -> str:
        """Write a table of the places, and a line for each that is left."""
        numbers = {
            name: str(number) for number, group in enumerate(self.groups, 1) for name in group.names
        }
        strides = {name: group.strides for group in self.groups for name in group.names}
        rows: list[tuple[str, ...]] = []
        rows.append(("place", "operation", "stride", "sizes", "group", "MACs strided", "converted"))
        for one in self.changes:
            before, after = ["x".join(map(str, sizes)) for sizes in one.sizes]
            stride = "x".join(map(str, strides[one.name]))
            counts = [f"{count:,}" for count in one.macs]
            row = one.name, one.operation, stride, f"{before} -> {after}", numbers[one.name]
            rows.append((*row, *counts))
        rows.append(("whole network", "", "", "", "", *[f"{count:,}" for count in self.macs]))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if place > 3 else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines += [f"left: {name}: {why}" for name, why in self.left.items()]
        return "\n".join(lines)


def conversion(
    network: nn.Module,
    sample: Sample,
    *,
    include: Chosen = None,
    exclude: Chosen = None,
    **options: Any,
) -> Conversion:
    """Say what `convert` would change: a dry run.

    Parameters
    ----------
    network, sample, include, exclude, **options
        As of `convert`. The network is not touched.

    Returns
    -------
    Conversion
        Its text is a table: each place with its sizes, the number of the group that shares one
        stride, and its multiply-accumulates on the sample before and after.

    Raises
    ------
    ValueError, TypeError
        As `convert`, but where no place can be converted the table says so.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from spectral_stride.torch import conversion
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.AvgPool2d(2))
    >>> found = conversion(net, torch.ones(1, 3, 32, 32))
    >>> [group.names for group in found.groups]
    [('0',), ('1',)]
    >>> print(found)  # doctest: +NORMALIZE_WHITESPACE
    place          operation  stride  sizes           group  MACs strided  converted
    0              Conv2d     2x2     32x32 -> 16x16      1        55,296    417,792
    1              AvgPool2d  2x2     16x16 -> 8x8        2             0     24,576
    whole network                                                  55,296    442,368
    """
    _check(network, include, exclude)
    search = _Search(network, sample, include, exclude, **options)
    return search.costed(search.groups())


def convert(
    network: nn.Module,
    sample: Sample,
    *,
    include: Chosen = None,
    exclude: Chosen = None,
    **options: Any,
) -> nn.Module:
    """Make the strides of a network learnable, whose weights stay.

    Every convolution and every pooling with a stride above 1 becomes the same operation at stride
    1, resampled by a `DiffStride` that starts at the old stride. Where branches meet again, in a
    sum, a concatenation or a product, their places share one stride, so that their sizes stay equal
    wherever it moves.

    Parameters
    ----------
    network : Module
        With values, on any device. It is not touched.
    sample : Tensor, tuple or dict
        What the network is called on: a tensor, a tuple of arguments, a dict of named ones. A
        batch of one or two is enough; sizes should be those of use.
    include, exclude : str, type, or several, optional
        Which places to convert, and which not: names as in ``network.named_modules()``, with
        ``*``, or types such as ``nn.MaxPool2d``. All by default.
    **options
        Of `DiffStride`, for every place, such as ``smoothness``, ``shared`` and ``upper``. Here
        ``hard=True`` is the default: the network does not see the ramp, to which it is not used.

    Returns
    -------
    Module
        A copy. Its places are modules that own the parameters of the operation under their old
        names: a state_dict of the strided network loads with ``strict=False``, and lacks nothing
        but the strides.

    Raises
    ------
    ValueError
        If the network fails on the sample, has no operation with a stride, or none that can be
        converted; the message says why.
    TypeError
        If ``network`` is no module, or an option is none of `DiffStride`.

    Warns
    -----
    UserWarning
        With a line for each place that is left as it is, and why.

    See Also
    --------
    conversion : what would change, as a table.
    recalibrate : new statistics for batch norms. Call it next.

    Notes
    -----
    At the old strides every map has its old size on the sample, so the network runs at once. Its
    values are others: a spectral crop in place of every second sample.

    The network runs once without values, with symbols for sizes. PyTorch's own rules for shapes
    then say which of them must be equal, or a number. Last it is tried: on the sample, with strides
    as they were and with strides moved. Left are places whose size what follows needs as it is (a
    linear layer behind a flattened map, position embeddings), and those that leave one sample. A
    strided call that is no module stays without a word.

    A convolution whose outputs end before its input does, such as a patch embedding, goes on over
    the edge as far as zeros are needed for outputs that lie exactly a stride apart.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from spectral_stride.torch import convert
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(2))
    >>> learned = convert(net, torch.ones(1, 3, 32, 32))
    >>> learned(torch.ones(1, 3, 32, 32)).shape
    torch.Size([1, 8, 8, 8])
    >>> [name for name, _ in learned.named_parameters()]
    ['0.weight', '0.bias', '0.resampling.strides', '2.resampling.strides']
    """
    _check(network, include, exclude)
    search = _Search(network, sample, include, exclude, **options)
    groups = search.groups()
    why = "; ".join(f"{name}: {reason}" for name, reason in search.left.items())
    if not groups:
        got = f"one in which no place can be converted ({why})"
        remedy = "add DiffStride layers where sizes may change"
        checks.refuse(ValueError, "network", got, "one with a stride that can move", remedy)
    if why:
        warnings.warn(f"convert left these as they are: {why}", stacklevel=2)
    return search.converted(groups)


def _check(network: Any, include: Chosen, exclude: Chosen) -> None:
    """Refuse what is no network that can be copied and changed."""
    if not isinstance(network, nn.Module):
        allowed = "a torch.nn.Module"
        checks.refuse(TypeError, "network", type(network).__name__, allowed, "pass the network")
    wrappers = nn.parallel.DistributedDataParallel, nn.DataParallel, torch.jit.ScriptModule
    marks = "_orig_mod", "_fsdp_wrapped_module", "unshard"
    if isinstance(network, wrappers) or any(hasattr(network, mark) for mark in marks):
        got = f"a {type(network).__name__}"
        remedy = "convert the network that is in it, then wrap, compile or shard the result"
        checks.refuse(TypeError, "network", got, "the network itself", remedy)
    if any(is_lazy(one) for one in chain(network.parameters(), network.buffers())):
        remedy = "call the network once first"
        checks.refuse(ValueError, "network", "lazy parameters", "parameters with values", remedy)
    names = [place.name for place in places_in(network)]
    for option, chosen in (("include", include), ("exclude", exclude)):
        for one in _several(chosen):
            if isinstance(one, str) and any(fnmatchcase(name, one) for name in names):
                continue
            if not isinstance(one, type):
                allowed = "types of modules, and names of places or patterns of them"
                remedy = f"choose among {names[:10]}"
                checks.refuse(ValueError, option, checks.shown(one), allowed, remedy)


class _Search:
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
        self.places: dict[str, Place] = {}
        for place in places_in(network):
            if _is_chosen(place, include, True) and not _is_chosen(place, exclude, False):
                self.places[place.name] = place
        if not self.places:
            found = [place.name for place in places_in(network)]
            got = f"a network with {len(found)} strided operations, none of them chosen"
            allowed = "convolutions and poolings that are modules with a stride above 1"
            remedy = f"choose among {found[:10]}" if found else "add DiffStride layers yourself"
            checks.refuse(ValueError, "network", got, allowed, remedy)
        try:
            self.sizes, self.shapes = self._run(copy.deepcopy(self.network))
        except Exception as error:
            got = f"one on which the network fails ({_first_line(error)})"
            allowed = "a tensor, a tuple of arguments or a dict of named ones that it takes"
            remedy = "pass what you would call the network on, a batch of one or two"
            raise ValueError(f"sample: got {got}; allowed: {allowed}; instead: {remedy}") from error

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
        groups += self._groups_by_trying(hidden)
        return self._together(groups)

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
            places = list(self.places.values())
            try:
                reasons, groups = joined(self.network, self.sample, places)
            except Exception as error:  # whatever needs values, or sizes that are numbers
                why = f"{UNKNOWN}: {_first_line(error)}"
                reasons = dict.fromkeys(self.places, why)
            if not reasons:
                return [self._group(*found) for found in groups]
            for name, why in reasons.items():
                self.leave(name, why)
        # There is nothing to join: it is tried.
        alone = [self._group((name,)) for name in self.places]
        for group in alone:
            if fault := self._fault([group], _MANY_MOVES):
                self.leave(group.names[0], fault)
                return []
        return alone

    def _run(self, network: nn.Module) -> tuple[dict[str, tuple[Sizes, Sizes]], list[Sizes]]:
        """Run a copy of the sample; sizes before and after each place, and shapes of the output."""
        found: dict[str, tuple[Sizes, Sizes]] = {}
        modules = dict(network.named_modules())
        names = {modules[name]: name for name in self.places}

        def note(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            name = names[module]
            output = output if isinstance(output, torch.Tensor) else output[0]
            axes = self.places[name].operation.axes
            before, after = [
                tuple(shape[axis] for axis in axes) for shape in (arguments[0].shape, output.shape)
            ]
            found[name] = before, after

        with watched(list(names), note), evaluating(network), torch.random.fork_rng([]):
            output = run(network, copy.deepcopy(self.sample))
        return found, [tuple(one.shape) for one in tree_leaves(output) if hasattr(one, "shape")]

    def converted(self, groups: Sequence[Group]) -> nn.Module:
        """Copy the network, with the places of the groups resampled."""
        network = copy.deepcopy(self.network)
        places = {place.name: place for place in places_in(network)}
        for group in groups:
            layer = self._layer(group, places[group.names[0]].operation.module)
            for name in group.names:
                operation = replace(places[name].operation, whole=group.whole)
                resample_behind(operation, layer, name == group.names[0])
        return network

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
        network = self.converted(groups)
        try:
            sizes, shapes = self._run(network)
        except Exception as error:
            return f"at its own stride the network fails: {_first_line(error)}"
        for name in [name for group in groups for name in group.names]:
            before, after = self.sizes[name][1], sizes.get(name, ((), ()))[1]
            if after != before:
                return f"it leaves {after} samples in place of {before}"
        if shapes != self.shapes:
            return f"at its own stride the network returns shapes {shapes}, not {self.shapes}"
        layers = [_layer_at(network, group.names[0]) for group in groups]
        starts = [layer.strides.tolist() for layer in layers]
        for move in moves:
            for number, (layer, start) in enumerate(zip(layers, starts, strict=True)):
                # Each by another factor, so that none keeps the size of another by chance.
                factor = move ** (1 - 0.618 * number % 0.5)
                with torch.no_grad():
                    layer.strides.copy_(torch.tensor(start) * factor)
            try:
                self._run(network)
            except Exception as error:
                return f"with another stride the network fails: {_first_line(error)}"
        return None

    def costed(self, groups: tuple[Group, ...]) -> Conversion:
        """Count what places cost before and after."""
        before = self._counts(copy.deepcopy(self.network))
        after = self._counts(self.converted(groups))
        changes = tuple(
            Change(
                name,
                type(self.places[name].operation.module).__name__,
                self.sizes[name],
                (before.get(name, 0), after.get(name, 0)),
            )
            for name in self.sizes
            if any(name in group.names for group in groups)
        )
        return Conversion(groups, dict(self.left), changes, (before[""], after[""]))

    def _counts(self, network: nn.Module) -> dict[str, int]:
        """Count multiply-accumulates on the sample, by the name of the module."""
        with (
            evaluating(network),
            torch.random.fork_rng([]),
            FlopCounterMode(display=False) as counter,
        ):
            run(network, copy.deepcopy(self.sample))
        root = type(network).__name__
        counts = {
            name.removeprefix(root).removeprefix("."): sum(flops.values()) // 2
            for name, flops in counter.get_flop_counts().items()
        }
        return {**counts, "": counter.get_total_flops() // 2}


def _several(chosen: Chosen) -> list[Any]:
    """Return a choice as a list."""
    if chosen is None:
        return []
    return list(chosen) if isinstance(chosen, list | tuple | set | frozenset) else [chosen]


def _is_chosen(place: Place, chosen: Chosen, default: bool) -> bool:
    """Whether a place is among those that the user names."""
    if chosen is None:
        return default
    return any(
        fnmatchcase(place.name, one)
        if isinstance(one, str)
        else isinstance(place.operation.module, one)
        for one in _several(chosen)
    )


def _layer_at(network: nn.Module, name: str) -> DiffStride:
    """Find the layer of a place that was converted."""
    place = network.get_submodule(name)
    assert isinstance(place, Resampled)
    return place.shared_resampling


def _first_line(error: Exception) -> str:
    return checks.shown((str(error) or type(error).__name__).splitlines()[0])
