"""What converting a network changes: which places move together, which are left, and why."""

import copy
import warnings
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from spectral_stride import checks
from spectral_stride.torch.adopt.enlarging import enlargements_in
from spectral_stride.torch.adopt.places import Sample, called, evaluating, places_in, run
from spectral_stride.torch.adopt.resampled import Resampled
from spectral_stride.torch.adopt.search import Chosen, Search, several
from spectral_stride.torch.adopt.trial import Group, Sizes


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
    undone : dict of str to tuple of str
        The names of what enlarges, and the places to whose old sizes it goes back.
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
    undone: dict[str, tuple[str, ...]]
    left: dict[str, str]
    changes: tuple[Change, ...]
    macs: tuple[int, int]

    def __str__(self) -> str:
        """Write a table of the places, and a line for each that is left."""
        numbers = {
            name: str(number) for number, group in enumerate(self.groups, 1) for name in group.names
        }
        strides = {name: group.strides for group in self.groups for name in group.names}
        for name, places in self.undone.items():
            numbers[name] = "+".join(dict.fromkeys(numbers[place] for place in places))
        rows: list[tuple[str, ...]] = []
        rows.append(("place", "operation", "stride", "sizes", "group", "MACs strided", "converted"))
        for one in self.changes:
            before, after = ["x".join(map(str, sizes)) for sizes in one.sizes]
            stride = "x".join(map(str, strides.get(one.name, ("back",))))
            counts = [f"{count:,}" for count in one.macs]
            row = called(one.name), one.operation, stride, f"{before} -> {after}", numbers[one.name]
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
        lines += [f"left: {called(name)}: {why}" for name, why in self.left.items()]
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
    search = Search(network, sample, include, exclude, **options)
    return _costed(search, search.groups())


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
        ``*``, or types such as ``nn.MaxPool2d``. All by default. What enlarges follows its place;
        it may be excluded too.
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
    strided call that is no module stays, and is named.

    A transposed convolution and a `torch.nn.Upsample` undo places whose strides multiply to their
    factor. They return the size that was there before, whatever the strides are: spectrally, as
    `SpectralUp` does.

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
    search = Search(network, sample, include, exclude, **options)
    groups = search.groups()
    left: dict[str, list[str]] = {}
    for name, reason in search.left.items():
        left.setdefault(reason, []).append(called(name))
    why = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in left.items())
    if not groups:
        got = f"one in which no place can be converted ({why})"
        remedy = "add DiffStride layers where sizes may change; for sizes that have to stay even, "
        remedy += "write multiple_of=2"
        checks.refuse(ValueError, "network", got, "one with a stride that can move", remedy)
    if why:
        warnings.warn(f"convert left these as they are: {why}", stacklevel=2)
    return search.trial.converted(groups)


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
    if any(getattr(module, "is_frozen", False) for module in network.modules()):
        remedy = "convert the network that it was frozen from"
        checks.refuse(ValueError, "network", "one that is frozen", "one that can learn", remedy)
    if any(isinstance(module, Resampled) for module in network.modules()):
        remedy = "convert the original, all that is to learn in one call"
        got, allowed = "one that convert has made", "one that it has not changed yet"
        checks.refuse(ValueError, "network", got, allowed, remedy)
    names = [place.name for place in places_in(network)]
    names += [one.name for one in enlargements_in(network)]
    for option, chosen in (("include", include), ("exclude", exclude)):
        for one in several(chosen):
            if isinstance(one, str) and any(fnmatchcase(name, one) for name in names):
                continue
            if not isinstance(one, type):
                allowed = "types of modules, and names of places or patterns of them"
                remedy = f"choose among {names[:10]}"
                checks.refuse(ValueError, option, checks.shown(one), allowed, remedy)


def _costed(search: Search, groups: tuple[Group, ...]) -> Conversion:
    """Count what a network costs before and after."""
    trial = search.trial
    before = _counts(copy.deepcopy(trial.network), trial.sample)
    after = _counts(trial.converted(groups), trial.sample)
    undone = {
        name: tuple(dict.fromkeys(pair.place for pair in pairs))
        for name, pairs in trial.paired(groups).items()
    }
    changed = {name for group in groups for name in group.names} | set(undone)
    modules = dict(trial.network.named_modules())
    changes = tuple(
        Change(
            name,
            type(modules[name]).__name__,
            sizes,
            (before.get(name, 0), after.get(name, 0)),
        )
        for name, sizes in trial.sizes.items()
        if name in changed
    )
    return Conversion(groups, undone, dict(search.left), changes, (before[""], after[""]))


def _counts(network: nn.Module, sample: Sample) -> dict[str, int]:
    """Count multiply-accumulates on the sample, by the name of the module."""
    with (
        evaluating(network),
        torch.random.fork_rng([]),
        FlopCounterMode(display=False) as counter,
    ):
        run(network, copy.deepcopy(sample))
    root = type(network).__name__
    counts = {
        name.removeprefix(root).removeprefix("."): sum(flops.values()) // 2
        for name, flops in counter.get_flop_counts().items()
    }
    return {**counts, "": counter.get_total_flops() // 2}
