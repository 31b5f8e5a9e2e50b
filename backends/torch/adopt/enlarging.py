"""Enlargements: the operations that make maps larger, and which place each goes back behind."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import nn

from spectral_stride.torch.layers.conv_order import each_axis

_TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d

# A number, or a symbol behind a place.
Size = Any


@dataclass(frozen=True)
class Enlargement:
    """A transposed convolution, an upsampling or a pixel shuffle, where it stands in a network.

    Attributes
    ----------
    name : str
        As in ``network.named_modules()``.
    module : Module
    strides, output_padding : tuple of int
        Of a transposed convolution when it was found.
    """

    name: str
    module: Any
    strides: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()

    @property
    def is_transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return bool(self.strides)

    @property
    def has_fixed_size(self) -> bool:
        """Whether it returns one size, whatever it is given."""
        return getattr(self.module, "size", None) is not None

    def factors(self, before: Sequence[int], after: Sequence[int]) -> dict[int, int]:
        """By how much it enlarges each axis, of those with more than one, counted from the end.

        None where it does so by no whole number.
        """
        if self.is_transposed:
            found = {axis: self.strides[axis] for axis in range(-len(self.strides), 0)}
        elif isinstance(self.module, nn.PixelShuffle):
            found = dict.fromkeys((-2, -1), self.module.upscale_factor)
        else:
            axes = range(2 - len(before), 0)
            whole = not any(after[axis] % before[axis] for axis in axes)
            found = {axis: after[axis] // before[axis] for axis in axes if whole}
        return {axis: factor for axis, factor in found.items() if factor > 1}

    def samples_more(self, axis: int) -> int:
        """Samples that a transposed convolution returns beyond its stride times those it takes."""
        names = "dilation", "kernel_size", "padding"
        each = [each_axis(getattr(self.module, name), len(self.strides)) for name in names]
        dilation, kernel, padding = [entries[axis] for entries in each]
        reach = dilation * (kernel - 1) - 2 * padding
        return reach + self.output_padding[axis] - (self.strides[axis] - 1)


def enlargements_in(network: nn.Module) -> list[Enlargement]:
    """Find every operation that makes maps larger, each once."""
    found = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Upsample | nn.PixelShuffle):
            found.append(Enlargement(name, module))
        for ndim, plain in enumerate(_TRANSPOSED, 1):
            # One whose method is its own does something else.
            if type(module).forward is plain.forward:
                one: Any = module
                each = each_axis(one.stride, ndim), each_axis(one.output_padding, ndim)
                found.append(Enlargement(name, one, *each))
    return found


@dataclass(frozen=True)
class Pair:
    """What one enlargement goes back to: the sizes that a place saw, and a few samples more.

    Attributes
    ----------
    place : str
        The name of the place.
    source : str
        The place that made the map that is enlarged: the same one, or one behind it.
    axes, factors : tuple of int
        The axes that it enlarges, counted from the end, and by how much it did.
    more : tuple of int
        Samples on each, beyond those that the place saw; negative ones are fewer. Such are there
        where the network crops or pads maps afterwards.
    since : tuple of int
        As much for the map that is enlarged, beyond what ``source`` left.
    """

    place: str
    source: str
    axes: tuple[int, ...]
    factors: tuple[int, ...]
    more: tuple[int, ...]
    since: tuple[int, ...]


@dataclass(frozen=True)
class _Call:
    """One call of a place: on each axis its stride, the size before it, and the one behind.

    Or of an enlargement that undoes no place, and its factor on each axis.
    """

    name: str
    axes: dict[int, tuple[int, Size, Size]]
    enlarges: bool = False


class Pairing:
    """Pairs each enlargement of a run with the place that it undoes, by their sizes.

    The map that is enlarged has a size that a place left, which had shrunk another one, and so on.
    The place whose strides multiply to the factor of the enlargement is undone by it; of several
    the last. A map that was enlarged in between counts with both factors: of two enlargements by 2
    behind one stride of 4 the first keeps its factor, and the second goes back.

    Parameters
    ----------
    known : callable
        What of a size is compared: an expression of SymPy, or a number.
    hint : callable
        The number that a size is in this run.
    """

    def __init__(
        self, known: Callable[[Size], Any] = lambda size: size, hint: Callable[[Size], int] = int
    ) -> None:
        self._known, self._hint = known, hint
        self._calls: list[_Call] = []
        # Of each enlargement, one for each call; None where no place goes with it.
        self.pairs: dict[str, list[Pair | None]] = {}
        # Why no place goes with some.
        self.alone: dict[str, str] = {}
        # What a run before this one has paired.
        self._settled: set[str] = set()

    def again(self) -> None:
        """Begin another run of the network: only what was not reached before gets pairs."""
        self._calls, self._settled = [], set(self.pairs)

    def shrink(self, name: str, strides: dict[int, int], before: Any, after: Any) -> None:
        """Note a call of a place."""
        axes = {axis: (stride, before[axis], after[axis]) for axis, stride in strides.items()}
        self._calls.append(_Call(name, axes))

    def enlarge(self, one: Enlargement, before: Any, after: Any) -> Pair | None:
        """Find the place that a call of an enlargement undoes, and note both as a pair."""
        pair = self._pair(one, before, after)
        if one.name not in self._settled:
            self.pairs.setdefault(one.name, []).append(pair)
        return pair

    def _pair(self, one: Enlargement, before: Any, after: Any) -> Pair | None:
        old, new = ([self._hint(size) for size in shape] for shape in (before, after))
        factors = one.factors(old, new)
        undone = {
            axis: next(self._undone(before[axis], axis, factor, len(self._calls)), ())
            for axis, factor in factors.items()
        }
        found = [[call for call in calls if not call.enlarges] for calls in undone.values()]
        names = {(calls[0].name, calls[-1].name) for calls in found if calls}
        if not all(found) or len(names) != 1:
            axes_grown = {axis: (by, before[axis], after[axis]) for axis, by in factors.items()}
            self._calls.append(_Call(one.name, axes_grown, enlarges=True))
            if not all(isinstance(self._known(before[axis]), int) for axis in factors):
                self.alone[one.name] = "no place that moves shrinks by what it enlarges by"
            return None
        (place, source), axes = names.pop(), tuple(factors)
        sizes = [calls[0].axes[axis][1] for calls, axis in zip(found, axes, strict=True)]
        left = [calls[-1].axes[axis][2] for calls, axis in zip(found, axes, strict=True)]
        for axis, size in zip(axes, sizes, strict=True):
            if self._known(self.seen_by(place, axis) - size) != 0:
                self.alone[one.name] = f"{place}, which it undoes, runs again on other sizes before"
                return None
        if one.has_fixed_size and all(isinstance(self._known(size), int) for size in sizes):
            return None  # it returns that size already
        more = [new[axis] - self._hint(size) for axis, size in zip(axes, sizes, strict=True)]
        since = [old[axis] - self._hint(size) for axis, size in zip(axes, left, strict=True)]
        for call in chain.from_iterable(undone.values()):
            self.alone.pop(call.name, None)
        return Pair(place, source, axes, tuple(factors.values()), tuple(more), tuple(since))

    def seen_by(self, place: str, axis: int) -> Size:
        """Return the size that a place saw last."""
        return next(call for call in reversed(self._calls) if call.name == place).axes[axis][1]

    def _undone(self, size: Size, axis: int, factor: int, end: int) -> Iterator[tuple[_Call, ...]]:
        """Calls that made this size, one after the other, of one that is larger by a factor."""
        tried = set()
        for position in reversed(range(end)):
            call = self._calls[position]
            by, before, after = call.axes.get(axis, (1, 0, 0))
            if by == 1 or not self._is_made_of(size, after):
                continue
            if not call.enlarges and by == factor:
                yield (call,)
            wanted = factor * by if call.enlarges else factor // by
            if (call.enlarges or factor % by == 0) and (wanted, self._known(before)) not in tried:
                tried.add((wanted, self._known(before)))
                for calls in self._undone(before, axis, wanted, position):
                    yield (*calls, call)

    def _is_made_of(self, size: Size, other: Size) -> bool:
        """Whether a size is another one, or always differs from it by one number."""
        size, other = self._known(size), self._known(other)
        if isinstance(size, int) or isinstance(other, int):
            return bool(size == other)
        return bool((size - other).is_number)
