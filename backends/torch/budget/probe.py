"""Runs of a network in which the sizes behind its layers are chosen: what each costs then."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import nn

from spectral_stride import checks
from spectral_stride.functional import resize_plan
from spectral_stride.torch.adopt.places import Sample, check_not_empty, evaluating, run
from spectral_stride.torch.budget.counted import COUNTERS
from spectral_stride.torch.functional import spectral_resize
from spectral_stride.torch.layers.conv_order import Convolution, convolved_shape
from spectral_stride.torch.layers.diffstride import DiffStride
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
    """One call of a layer: along which axes, and of what.

    Attributes
    ----------
    layer : str
    axes : tuple of int
        Positions in the list of `Axis`, in the order of the layer's axes.
    method : str
        How the layer computes: "auto", "matmul" or "fft".
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
    method: str
    conv: Convolution | None
    margins: tuple[int, ...]
    images: int
    item: int


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
    base : list of int
        Counts at the strides that the network has: of each operation; then, of each call, how many
        signals are resampled; then, of each call, what its convolution takes if it comes first.
    """

    def __init__(self, network: nn.Module, sample: Sample, kind: str) -> None:
        self.axes: list[Axis] = []
        self.calls: list[Call] = []
        check_not_empty(sample)
        try:
            self._network, self._sample = copy.deepcopy((network, sample))
        except Exception as error:
            got = f"one that cannot be copied ({checks.first_line(error)})"
            remedy = "take out of its attributes what copy.deepcopy refuses"
            checks.refuse(ValueError, "model", got, "a network of modules and tensors", remedy)
        self._kind = kind
        self._entries: dict[str, int] = {}
        entries = 0
        for name, layer in layers_of(self._network).items():
            self._entries[name] = entries
            entries += layer.strides.numel()
            layer.resampled = self._stand_in(name, layer)  # type: ignore[method-assign]
        # How what enlarges computes, of each call and axis.
        self._methods: list[tuple[str, ...]] = []
        self._enlarged = 0
        for module in self._network.modules():
            if isinstance(module, SpectralUp):
                module.resized = self._same_method(module)  # type: ignore[method-assign]
        # What the stand-ins ask, and what they note.
        self._choose: Callable[[int], int] = lambda number: self.axes[number].after
        self._noted: list[tuple[Any, torch.Tensor, list[int], tuple[int, ...]]] = []
        self._is_first = True
        try:
            self.base, _ = self._run()
        except Exception as error:
            got = f"one on which the network fails ({checks.first_line(error)})"
            remedy = "pass a tensor, a tuple of arguments or a dict of named ones, as in training"
            checks.refuse(ValueError, "sample", got, "an input that the network takes", remedy)
        self._is_first = False

    def again(self, sizes: Sequence[int]) -> tuple[list[int], list[int]]:
        """Run with these sizes behind all axes; return counts, and what each axis sees.

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
        checks.refuse(ValueError, "model", got, allowed, "leave that place out when converting")

    def _run(self) -> tuple[list[int], list[int]]:
        """Run once; return counts, and the samples that each axis sees."""
        self._noted, self._enlarged = [], 0
        counter = COUNTERS[self._kind](self._network)
        with evaluating(self._network), torch.random.fork_rng([]), counter.watching():
            output = run(self._network, copy.deepcopy(self._sample))
        before = [axis.before for axis in self.axes]
        lines, convolving = [], []
        for call, (conv, x, shape, places) in zip(self.calls, self._noted, strict=True):
            for axis, place in zip(call.axes, places, strict=True):
                before[axis] = shape[place]
            lines.append(math.prod(shape) // math.prod(shape[place] for place in places))
            convolving.append(0 if conv is None else counter.of_convolution(conv, x, shape))
        del output  # what it keeps was counted
        return [*counter.counts, *lines, *convolving], before

    def _stand_in(self, name: str, layer: DiffStride) -> Callable[..., torch.Tensor]:
        """Make what is called in a layer's place: it leaves zeros, in the sizes that are chosen."""

        def resampled(x: torch.Tensor, conv: Convolution | None = None) -> torch.Tensor:
            shape = list(x.shape if conv is None else convolved_shape(conv, x))
            places = layer.settings.axes_in(x.ndim)
            layer._seen.note(x, layer.settings.axes)
            if self._is_first:
                self.calls.append(self._call(name, layer, x, conv, shape, places))
            call = self.calls[len(self._noted)]
            self._noted.append((conv, x, list(shape), places))
            for axis, place in zip(call.axes, places, strict=True):
                shape[place] = self._choose(axis)
            return x.new_zeros(shape, requires_grad=torch.is_grad_enabled())

        return resampled

    def _same_method(self, up: SpectralUp) -> Callable[..., torch.Tensor]:
        """Make what is called in the place of an enlargement: it has the method of the first run.

        By its sizes it would multiply here and take an FFT there, which counts nothing.
        """

        def resized(y: torch.Tensor, axes: tuple[int, ...], sizes: Sequence[int]) -> torch.Tensor:
            settings = up.settings
            options = {"norm": settings.norm, "method": settings.method}
            if self._is_first:
                plan = resize_plan(tuple(y.shape), sizes, axes=axes, **options)
                methods = dict(zip(plan.axes, plan.methods, strict=True))
                self._methods.append(tuple([methods[axis % y.ndim] for axis in axes]))
            each = list(zip(axes, sizes, self._methods[self._enlarged], strict=True))
            self._enlarged += 1
            for axis, size, method in reversed(each):
                y = spectral_resize(y, (size,), axes=(axis,), norm=settings.norm, method=method)
            return y

        return resized

    def _call(
        self,
        name: str,
        layer: DiffStride,
        x: torch.Tensor,
        conv: Convolution | None,
        shape: list[int],
        places: tuple[int, ...],
    ) -> Call:
        """Describe a call of the first run, with axes that are new, or those of a call before."""
        plan = layer.settings.plan(shape, layer.settings.per_axis(layer.strides.tolist()))
        axes: list[int] = []
        for number, (place, after) in enumerate(zip(places, plan.out_sizes, strict=True)):
            entry = self._entries[name] + (0 if layer.shared else number)
            axis = Axis(name, layer.settings.axes[number], entry, shape[place], after)
            if axis not in self.axes:
                self.axes.append(axis)
            axes.append(self.axes.index(axis))
        both = conv is not None and places == (x.ndim - 2, x.ndim - 1)
        return Call(
            name,
            tuple(axes),
            layer.method,
            conv if both else None,
            tuple(x.shape[place] - shape[place] for place in places),
            math.prod(x.shape[:-3]),
            x.element_size(),
        )
