"""What an enlargement becomes: the way back to the sizes that a place saw."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from spectral_stride import checks
from spectral_stride.layer_settings import UpSettings
from spectral_stride.torch.adopt.enlarging import Enlargement, Pair
from spectral_stride.torch.adopt.resampled import Resampled
from spectral_stride.torch.adopt.standing_in import StandIn, stand_in
from spectral_stride.torch.layers.seen_sizes import Seen
from spectral_stride.torch.layers.spectral_up import SpectralUp
from spectral_stride.torch.layers.symbolic import as_node, is_symbol

_UP = UpSettings()
_CONVOLUTIONS = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


class Restored(StandIn):
    """An operation that enlarges, and whose output has the sizes that a place saw.

    A pixel shuffle does what it did, and its output is resampled by `SpectralUp`: at the old
    strides that changes nothing. The others enlarge by the spectrum and go on at stride 1:

    * A transposed convolution of the factor s puts s - 1 zeros behind each sample, which repeats
      the spectrum s times, and convolves. The lowest of these copies alone is kept, and with it
      1/s of each value.
    * Upsampling puts what it repeats (s - 1)/2 samples further on than the spectrum does, and so
      does a mean over s samples.
    """

    _enlargement: Enlargement
    up: SpectralUp
    # For each call in a forward pass of the network: what it undoes, whose map it enlarges, and by
    # what. In a tuple, in which they are no modules of this one.
    _undone: tuple[tuple[Resampled, Resampled, Pair], ...]
    _turn: int

    @property
    def places_undone(self) -> tuple[Resampled, ...]:
        """The places that are asked for sizes."""
        return tuple([place for both in self._undone for place in both[:2]])

    def forward(self, x: torch.Tensor, output_size: Sequence[int] | None = None) -> torch.Tensor:
        """Enlarge to the sizes that were there before the place that is undone."""
        if is_symbol(x):
            return as_node(self, x)
        place, pair = self._next(x)
        if output_size is None:
            with checks.named(type(self).__name__):
                seen = _UP.like_layer(x.ndim, type(place).__name__, *place._seen.last())
            sizes = _with(pair, seen, pair.more)
        else:
            sizes = tuple([output_size[axis] for axis in pair.axes])
        if isinstance(self, nn.PixelShuffle):
            return self.up.resized(super().forward(x), pair.axes, sizes)
        if self._enlargement.is_transposed:
            return self._convolved(x, pair, sizes)
        y = self.up.resized(x, pair.axes, sizes)
        return y if self.align_corners else _mean(y, pair)

    def _next(self, x: torch.Tensor) -> tuple[Resampled, Pair]:
        """Find what this call undoes: in turn, but only what has left the sizes of x."""
        count = len(self._undone)
        turns = [(self._turn + step) % count for step in range(1, count + 1)]
        if count > 1:
            turns = [turn for turn in turns if self._fits(x, *self._undone[turn][1:])] + turns
        self._turn = turns[0]
        place, _, pair = self._undone[self._turn]
        return place, pair

    def _fits(self, x: torch.Tensor, source: Resampled, pair: Pair) -> bool:
        """Whether x has the sizes that a place has left."""
        sizes = tuple([x.shape[axis] for axis in pair.axes])
        return sizes == _with(pair, source._made.last(), pair.since)

    def _convolved(self, x: torch.Tensor, pair: Pair, sizes: Sequence[int]) -> torch.Tensor:
        """Enlarge and convolve, so that these sizes are left."""
        enlarged = [
            max(size - self._enlargement.samples_more(axis), 1)
            for axis, size in zip(pair.axes, sizes, strict=True)
        ]
        x = self.up.resized(x / math.prod(pair.factors), pair.axes, enlarged)
        # The module's own stride stays, for networks that compute with it.
        old = self._enlargement.strides
        strides = [1 if axis in pair.axes else old[axis] for axis in range(-len(old), 0)]
        convolve: Any = _CONVOLUTIONS[x.ndim - 3]
        y: torch.Tensor = convolve(
            x, self.weight, self.bias, strides, self.padding, 0, self.groups, self.dilation
        )
        for axis, size in zip(pair.axes, sizes, strict=True):
            y = y.narrow(axis, 0, size)
        return y

    def extra_repr(self) -> str:
        """The operation, and whose sizes it goes back to."""
        names = ", ".join(pair.place for _, _, pair in self._undone)
        return f"{super().extra_repr()}, back behind {names}"


def _with(pair: Pair, seen: Seen, more: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes along the axes of a pair that were seen, and some samples more."""
    sizes = dict(zip(*seen, strict=True))
    return tuple([sizes.get(axis, 0) + one for axis, one in zip(pair.axes, more, strict=True)])


def _mean(y: torch.Tensor, pair: Pair) -> torch.Tensor:
    """Mean over each sample and those before it, as many as the factor says."""
    ndim = y.ndim - 2
    pads, kernel = [0] * 2 * ndim, [1] * ndim
    for axis, factor in zip(pair.axes, pair.factors, strict=True):
        pads[2 * (-1 - axis)], kernel[axis] = factor - 1, factor
    pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[ndim - 1]
    return pool(functional.pad(y, pads, mode="replicate"), kernel, stride=1)


def restore_behind(
    enlargement: Enlargement, undone: Sequence[tuple[Resampled, Resampled, Pair]]
) -> None:
    """Let an enlargement's module go back behind places in place of its factor."""
    module = enlargement.module
    stand_in(Restored, module)
    module._enlargement, module._undone, module._turn = enlargement, tuple(undone), -1
    module.up = SpectralUp()
