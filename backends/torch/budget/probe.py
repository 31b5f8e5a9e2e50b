"""Runs of a network in which the sizes behind its layers are chosen: what each costs then."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import torch
from torch import nn

from spectral_stride import checks
from spectral_stride.torch.adopt.places import (
    Sample,
    check_not_empty,
    copied,
    evaluating,
    refusing_the_sample,
    run,
)
from spectral_stride.torch.budget.counted import COUNTERS
from spectral_stride.torch.kernels import products_for
from spectral_stride.torch.layers.conv_order import Convolution, convolved_shape
from spectral_stride.torch.layers.diffstride import DiffStride
from spectral_stride.torch.layers.spectral_pool import SpectralPool
from spectral_stride.torch.layers.spectral_up import SpectralUp


@dataclass(frozen=True)
class Axis:
    """One axis along which a layer was called: what it saw, and what it left.

    Calls of one layer that see the same size have it in common, as of branches that meet again.

    Attributes
    ----------
    layer : str
        Its name in the network.
    along : int
        The axis of the input, counted as the layer does.
    entry : int
        Which of all strides of the network acts here.
    before, after : int
        Samples in front of it and behind it.
    """

    layer: str
    along: int
    entry: int
    before: int
    after: int


@dataclass(frozen=True)
class Call:
    """One call of what resamples: along which axes, and of what.

    Attributes
    ----------
    layer : str
    axes : tuple of int
        Positions in the list of `Axis`, in the order of the layer's axes. None where nothing is
        chosen: a fixed stride, or a way back up.
    sees, leaves : tuple of int
        Positions in a run's list of sizes, of those in front of it and behind it along each axis.
    method : str
        How the layer computes: "auto", "matmul" or "fft".
    at_once : bool
        Whether one product may serve all axes.
    conv : Module, optional
        A convolution both of whose axes are resampled, so that either may come first.
    margins : tuple of int
        How many more samples its input has than its output at stride 1.
    images : int
        How many it takes.
    item : int
        Bytes of a number.
    """

    layer: str
    axes: tuple[int, ...]
    sees: tuple[int, ...]
    leaves: tuple[int, ...]
    method: str
    at_once: bool
    conv: Convolution | None
    margins: tuple[int, ...]
    images: int
    item: int


class Run(NamedTuple):
    """What one run of a network gave.

    Attributes
    ----------
    counts : list of int
        Of each operation; then, of each call, how many signals are resampled; then, of each call,
        what its convolution takes if it comes first.
    sizes : list of int
        In front of each call, and behind it.
    before : list of int
        What each `Axis` sees.
    """

    counts: list[int]
    sizes: list[int]
    before: list[int]


class _Noted(NamedTuple):
    """What a stand-in saw: shape and places are those of what is resampled."""

    conv: Convolution | None
    x: torch.Tensor
    shape: tuple[int, ...]
    places: tuple[int, ...]
    leaves: tuple[int, ...]


def layers_of(network: nn.Module) -> dict[str, DiffStride]:
    """Find the layers whose strides are to be moved, by name."""
    return {name: one for name, one in network.named_modules() if isinstance(one, DiffStride)}


class Probe:
    """A network on one sample, run again and again with other sizes behind its layers.

    Attributes
    ----------
    axes : list of Axis
    calls : list of Call
        In the order in which the network makes them.
    """

    def __init__(self, network: nn.Module, sample: Sample, kind: str) -> None:
        self.axes: list[Axis] = []
        self.calls: list[Call] = []
        check_not_empty(sample)
        copied(sample, "sample")  # by itself first, so that it is named
        self._network, self._sample = copied((network, sample), "model")
        self._kind = kind
        self._entries: dict[str, int] = {}
        entries = 0
        for name, layer in layers_of(self._network).items():
            self._entries[name] = entries
            entries += layer.strides.numel()
        for name, module in self._network.named_modules():
            if isinstance(module, DiffStride | SpectralPool):
                module.resampled = self._shrink(name, module)  # type: ignore[method-assign]
            elif isinstance(module, SpectralUp):
                module.resized = self._enlarge(name, module)  # type: ignore[method-assign]
        # What the stand-ins ask, and what they note.
        self._choose: Callable[[int], int] = lambda number: self.axes[number].after
        self._noted: list[_Noted] = []
        self._is_first = True
        with refusing_the_sample():
            self._run()
        self._is_first = False

    def again(self, sizes: Sequence[int]) -> Run:
        """Run with these sizes behind all axes.

        Raises
        ------
        ValueError
            If the network cannot run so.
        """
        self._choose = sizes.__getitem__
        try:
            return self._run()
        except Exception as error:
            self.refuse(sizes, checks.first_line(error))

    def refuse(self, sizes: Sequence[int], why: str) -> NoReturn:
        """Refuse a network because of what it does with other sizes."""
        pairs = zip(self.axes, sizes, strict=True)
        moved = [repr(axis.layer) for axis, size in pairs if size != axis.after]
        got = f"one that cannot have other sizes behind {', '.join(dict.fromkeys(moved))} ({why})"
        allowed = "a network that does the same whatever its strides are"
        remedy = "let branches that meet share one layer, or leave that place out when converting"
        checks.refuse(ValueError, "model", got, allowed, remedy)

    def _run(self) -> Run:
        """Run once, and look at what was noted."""
        self._noted = []
        counter = COUNTERS[self._kind](self._network)
        with evaluating(self._network), torch.random.fork_rng([]), counter.watching():
            output = run(self._network, copy.deepcopy(self._sample))
        before, sizes = [axis.before for axis in self.axes], list[int]()
        lines, convolving = [], []
        for call, noted in zip(self.calls, self._noted, strict=True):
            sees = [noted.shape[place] for place in noted.places]
            for axis, size in zip(call.axes, sees, strict=bool(call.axes)):
                before[axis] = size
            sizes += [*sees, *noted.leaves]
            lines.append(math.prod(noted.shape) // math.prod(sees))
            free = noted.conv is None
            convolving.append(0 if free else counter.of_convolution(*noted[:3]))
        del output  # what it keeps was counted
        return Run([*counter.counts, *lines, *convolving], sizes, before)

    def _shrink(self, name: str, layer: DiffStride | SpectralPool) -> Callable[..., torch.Tensor]:
        """Make what is called in a layer's place: it leaves zeros, in the sizes that are chosen.

        A layer with a fixed stride leaves the sizes that it has anyway.
        """

        def resampled(x: torch.Tensor, conv: Convolution | None = None) -> torch.Tensor:
            shape = tuple(x.shape if conv is None else convolved_shape(conv, x))
            layer._seen.note(x, layer.settings.axes)
            places = tuple([axis % x.ndim for axis in layer.settings.axes])
            axes: list[int] = []
            if isinstance(layer, SpectralPool):
                leaves = layer.settings.sizes_of(shape)
            elif self._is_first:
                axes = self._axes_of(name, layer, shape, places)
                leaves = tuple([self.axes[axis].after for axis in axes])
            else:
                leaves = tuple([self._choose(axis) for axis in self.calls[len(self._noted)].axes])
            return self._note(name, layer, axes, _Noted(conv, x, shape, places, leaves))

        return resampled

    def _enlarge(self, name: str, up: SpectralUp) -> Callable[..., torch.Tensor]:
        """Make what is called in the place of a way back up: it leaves zeros in these sizes."""

        def resized(y: torch.Tensor, axes: tuple[int, ...], sizes: Sequence[int]) -> torch.Tensor:
            places = tuple([axis % y.ndim for axis in axes])
            return self._note(name, up, [], _Noted(None, y, tuple(y.shape), places, tuple(sizes)))

        return resized

    def _note(
        self,
        name: str,
        layer: DiffStride | SpectralPool | SpectralUp,
        axes: list[int],
        noted: _Noted,
    ) -> torch.Tensor:
        """Note a call, describe it in the first run, and return what it leaves."""
        if self._is_first:
            self.calls.append(self._call(name, layer.method, tuple(axes), noted))
        self._noted.append(noted)
        shape = list(noted.shape)
        for place, size in zip(noted.places, noted.leaves, strict=True):
            shape[place] = size
        return noted.x.new_zeros(shape, requires_grad=torch.is_grad_enabled())

    def _call(self, name: str, method: str, axes: tuple[int, ...], noted: _Noted) -> Call:
        """Describe a call."""
        conv, x, shape, places, _ = noted
        number, start = len(places), 2 * sum(len(call.sees) for call in self.calls)
        last = tuple(range(x.ndim - number, x.ndim))
        return Call(
            name,
            axes,
            tuple(range(start, start + number)),
            tuple(range(start + number, start + 2 * number)),
            method,
            number > 1 and places == last and products_for(x).at_once is not None,
            conv if places == (x.ndim - 2, x.ndim - 1) else None,
            tuple(x.shape[place] - shape[place] for place in places),
            math.prod(x.shape[:-3]),
            x.element_size(),
        )

    def _axes_of(
        self, name: str, layer: DiffStride, shape: tuple[int, ...], places: tuple[int, ...]
    ) -> list[int]:
        """Find the axes of a call of the first run: new ones, or those of a call before."""
        plan = layer.settings.plan(shape, layer.settings.per_axis(layer.strides.tolist()))
        axes: list[int] = []
        for number, (place, after) in enumerate(zip(places, plan.out_sizes, strict=True)):
            entry = self._entries[name] + (0 if layer.shared else number)
            axis = Axis(name, layer.settings.axes[number], entry, shape[place], after)
            if axis not in self.axes:
                self.axes.append(axis)
            axes.append(self.axes.index(axis))
        return axes
