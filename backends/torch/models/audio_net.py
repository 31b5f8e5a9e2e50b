"""A network for sounds, with learned, spectral or strided downsampling of time and frequency."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from spectral_stride import checks
from spectral_stride.torch.models.downsampling import Downsampling, Shrink, Stride, convolution
from spectral_stride.torch.models.mel import LogMel, samples_in
from spectral_stride.torch.models.network import (
    Classes,
    Heads,
    Logits,
    Network,
    initialize,
    one_each,
)

# Channels of the blocks, in those of the first one.
GROWTH = (1, 2, 4, 4, 8, 8)
PLACES = tuple(f"stage{stage + 1}" for stage in range(len(GROWTH)))


class AudioNet(Network):
    """What `audio_net` builds, which says what its arguments are."""

    # In samples. Networks that were saved before there were parts have none.
    part: int | None = None

    def __init__(
        self,
        num_classes: Classes,
        sample_rate: int,
        width: int,
        downsampling: str,
        strides: Sequence[Stride],
        bands: int,
        part: float | None,
        **options: Any,
    ) -> None:
        super().__init__()
        width = checks.positive_integer("width", width)
        strides = one_each(strides, PLACES, "(2, 2, 1, 2, 1, 2)")
        self.frontend = LogMel(sample_rate, bands)
        if part is not None:
            least = self.frontend.window_size
            self.part = samples_in("part", part, self.frontend.sample_rate, least=least)
        self.stages = nn.Sequential()
        before = 1
        for growth, stride in zip(GROWTH, strides, strict=True):
            channels, down = growth * width, Downsampling(downsampling, stride, **options)
            self.stages.append(
                nn.Sequential(
                    convolution(before, channels, (3, 1)),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                    Shrink(convolution(channels, channels, (1, 3), down), down),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                )
            )
            before = channels
        self.classifier = Heads(before, num_classes)
        initialize(self)

    def forward(self, x: torch.Tensor) -> Logits:
        """Return logits of shape (batch, num_classes), or one such tensor a task."""
        if self.part is None or x.shape[-1] <= self.part:
            return self._logits(x)
        if self.training:
            return self._logits(_random_parts(x, self.part))
        parts = _all_parts(x, self.part)
        logits = self._logits(parts.flatten(0, 1))
        if isinstance(logits, tuple):
            return tuple([_means(one, parts.shape[1]) for one in logits])
        return _means(logits, parts.shape[1])

    def _logits(self, x: torch.Tensor) -> Logits:
        """Return the logits of waveforms that are taken as a whole."""
        features = self.stages(self.frontend(x)[:, None])
        # The maximum, and not the mean: how much silence surrounds a word says nothing.
        logits: Logits = self.classifier(features.amax(dim=(-2, -1)))
        return logits


def _all_parts(x: torch.Tensor, size: int) -> torch.Tensor:
    """Cut waveforms from the start on; what is left at the end is in a part that ends there."""
    whole = x.shape[-1] // size
    parts = x[:, : whole * size].reshape(-1, whole, size)
    if whole * size == x.shape[-1]:
        return parts
    return torch.cat([parts, x[:, None, -size:]], 1)


def _means(logits: torch.Tensor, count: int) -> torch.Tensor:
    """Average the logits of each waveform's parts."""
    return logits.reshape(-1, count, logits.shape[-1]).mean(1)


def _random_parts(x: torch.Tensor, size: int) -> torch.Tensor:
    """Cut a part of its own out of each waveform, everywhere alike; x of shape (batch, samples)."""
    starts = torch.randint(x.shape[-1] - size + 1, (x.shape[0], 1), device=x.device)
    return x.gather(-1, starts + torch.arange(size, device=x.device))


def audio_net(
    num_classes: Classes = 10,
    *,
    sample_rate: int = 8000,
    width: int = 64,
    downsampling: str = "diffstride",
    strides: Sequence[Stride] = (2, 2, 1, 2, 1, 2),
    bands: int = 64,
    part: float | None = None,
    **options: Any,
) -> AudioNet:
    """Network for sounds: a mel spectrogram, six blocks of two convolutions, a global maximum.

    A block convolves along time, 3 x 1, then along frequency, 1 x 3, and gets smaller along both;
    batch norm and ReLU follow each convolution. The blocks have 1, 2, 4, 4, 8, 8 times width
    channels.

    Parameters
    ----------
    num_classes : int or sequence of int, optional
        Classes to tell apart; of a sequence, one head for each entry, on one shared body.
    sample_rate : int, optional
        Of the waveforms, in Hz.
    width : int, optional
        Channels of the first block.
    downsampling : {"diffstride", "spectral", "strided", "blurpool", "maxpool"}, optional
        Learned strides, spectral pooling, plain strided convolutions, or an average or maximum
        behind an operation at stride 1: see `Downsampling`.
    strides : sequence of 6, optional
        Of the blocks; one number or (time, frequency) each, which learn apart.
    bands : int, optional
        Mel bands of the spectrogram, whose frames are 25 ms long and 10 ms apart: see `LogMel`.
    part : float, optional
        Of longer waveforms, how many seconds the network sees at once: in training a random part of
        each, in evaluation all parts of that length, one behind the other, whose logits are
        averaged. The last one ends where the waveform does. Without it waveforms are taken as a
        whole.
    **options
        Keyword arguments of `DiffStride`, such as ``ramp="outside"``.

    Returns
    -------
    AudioNet
        Maps waveforms of shape (batch, samples) to logits of shape (batch, num_classes), or to a
        tuple of such tensors, one for each entry of ``num_classes``.

    Raises
    ------
    ValueError
        For a wrong number of strides, an unknown downsampling, a stride below 1, no channel, no
        class, a fractional stride where convolutions are strided, a part shorter than a frame, and
        what `LogMel` refuses.

    Notes
    -----
    Source: Riad et al., "Learning strides in convolutional neural networks", ICLR 2022, section
    3.1, which has parts of one second. The strided convolution of a block is its second one.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import audio_net
    >>> net = audio_net((10, 6), width=4, strides=(2, 2, 1, (2, 1), 1, 2))
    >>> [tuple(logits.shape) for logits in net(torch.zeros(2, 8000))]
    [(2, 10), (2, 6)]
    """
    return AudioNet(num_classes, sample_rate, width, downsampling, strides, bands, part, **options)
