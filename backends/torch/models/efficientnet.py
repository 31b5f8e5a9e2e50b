"""EfficientNet-B0 with learned, spectral or strided downsampling."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from spectral_stride import checks
from spectral_stride.torch.models.downsampling import Downsampling, Shrink, Stride, convolution
from spectral_stride.torch.models.network import (
    Classes,
    Heads,
    Logits,
    Network,
    initialize,
    one_each,
)


class _Stage(NamedTuple):
    """Blocks in a row: the factor by which each widens inside, its kernel, what it gives."""

    expansion: int
    kernel_size: int
    channels: int
    blocks: int
    shrinks: bool


# Table 1 of the paper, without its first and last line: the stem and the head.
STEM, HEAD = 32, 1280
STAGES = (
    _Stage(1, 3, 16, 1, shrinks=False),
    _Stage(6, 3, 24, 2, shrinks=True),
    _Stage(6, 5, 40, 2, shrinks=True),
    _Stage(6, 3, 80, 3, shrinks=True),
    _Stage(6, 5, 112, 3, shrinks=False),
    _Stage(6, 5, 192, 4, shrinks=True),
    _Stage(6, 3, 320, 1, shrinks=False),
)
PLACES = ("stem", *(f"stage{n}" for n, stage in enumerate(STAGES, 1) if stage.shrinks))


class _SqueezeExcitation(nn.Module):
    """Weigh each channel by a number between 0 and 1 that all channels' means decide."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the weighed channels."""
        means = x.mean(dim=(-2, -1), keepdim=True)
        weights: torch.Tensor = self.excite(functional.silu(self.squeeze(means))).sigmoid()
        return x * weights


class _StochasticDepth(nn.Module):
    """Leave a residual out of some samples of a training batch, and make up for it in the others.

    Source: Huang et al., "Deep networks with stochastic depth", 2016.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, with whole samples set to zero."""
        samples = x.new_ones(x.shape[0], 1, 1, 1)  # len(x) would fix the batch of an export
        return x * functional.dropout(samples, self.share, self.training)


class _InvertedBottleneck(nn.Module):
    """MBConv: widen, convolve each channel (and get smaller), weigh channels, narrow."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stage: _Stage,
        down: Downsampling | None,
        drop: float,
    ) -> None:
        super().__init__()
        inner = in_channels * stage.expansion
        widen = [convolution(in_channels, inner, 1), nn.BatchNorm2d(inner), nn.SiLU()]
        depthwise = convolution(inner, inner, stage.kernel_size, down, groups=inner)
        self.layers = nn.Sequential(
            *(widen if stage.expansion > 1 else []),
            Shrink(depthwise, down) if down else depthwise,
            nn.BatchNorm2d(inner),
            nn.SiLU(),
            _SqueezeExcitation(inner, max(1, in_channels // 4)),
            convolution(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )
        self.adds = down is None and in_channels == channels
        self.drop = _StochasticDepth(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform x, and add it where the shape has stayed."""
        y: torch.Tensor = self.layers(x)
        return x + self.drop(y) if self.adds else y


class EfficientNet(Network):
    """What `efficientnet_b0` builds, which says what its arguments are."""

    def __init__(
        self,
        num_classes: Classes,
        in_channels: int,
        width: int,
        downsampling: str,
        strides: Sequence[Stride],
        dropout: float,
        stochastic_depth: float,
        **options: Any,
    ) -> None:
        super().__init__()
        in_channels = checks.positive_integer("in_channels", in_channels)
        width = checks.positive_integer("width", width)
        dropout = _share("dropout", dropout)
        stochastic_depth = _share("stochastic_depth", stochastic_depth)
        strides = one_each(strides, PLACES, "(2, 2, 2, 2, 2)")
        downs = iter([Downsampling(downsampling, stride, **options) for stride in strides])
        first = next(downs)
        self.stem = nn.Sequential(
            Shrink(convolution(in_channels, width, 3, first), first),
            nn.BatchNorm2d(width),
            nn.SiLU(),
        )
        self.stages = nn.Sequential()
        before, blocks, channels = 0, sum(stage.blocks for stage in STAGES), width
        for stage in STAGES:
            row = nn.Sequential()
            out = _scaled(stage.channels, width)
            for position in range(stage.blocks):
                down = next(downs) if stage.shrinks and position == 0 else None
                # Deeper blocks are left out more often.
                drop = stochastic_depth * before / blocks
                row.append(_InvertedBottleneck(channels, out, stage, down, drop))
                before, channels = before + 1, out
            self.stages.append(row)
        features = _scaled(HEAD, width)
        self.last = nn.Sequential(
            convolution(channels, features, 1), nn.BatchNorm2d(features), nn.SiLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = Heads(features, num_classes)
        initialize(self)

    def forward(self, x: torch.Tensor) -> Logits:
        """Return logits of shape (batch, num_classes), or one such tensor a task."""
        features = self.last(self.stages(self.stem(x))).mean(dim=(-2, -1))
        logits: Logits = self.classifier(self.dropout(features))
        return logits


def _share(name: str, value: Any) -> float:
    """Return a number from 0 to 1 as a float, or refuse it."""
    share = checks.real_number(value)
    if not 0.0 <= share <= 1.0:
        allowed, remedy = "a share, from 0 to 1", f"write {name}=0.2, or 0 for none"
        checks.refuse(ValueError, name, checks.shown(value), allowed, remedy)
    return share


def _scaled(channels: int, width: int) -> int:
    """Return the channels of a network whose stem has ``width``, where that of B0 has 32."""
    return -(-channels * width // STEM)


def efficientnet_b0(
    num_classes: Classes = 1000,
    *,
    in_channels: int = 3,
    width: int = STEM,
    downsampling: str = "diffstride",
    strides: Sequence[Stride] = (2, 2, 2, 2, 2),
    dropout: float = 0.2,
    stochastic_depth: float = 0.2,
    **options: Any,
) -> EfficientNet:
    """EfficientNet-B0: seven stages of inverted bottlenecks with squeeze and excitation.

    Parameters
    ----------
    num_classes : int or sequence of int, optional
        Classes to tell apart; of a sequence, one head for each entry.
    in_channels : int, optional
        Size of the input along axis 1.
    width : int, optional
        Channels of the stem. All other numbers of channels follow in proportion, rounded up.
    downsampling : {"diffstride", "spectral", "strided", "blurpool", "maxpool"}, optional
        Learned strides, spectral pooling, plain strided convolutions, or an average or maximum
        behind an operation at stride 1: see `Downsampling`.
    strides : sequence of 5, optional
        Of the stem and of stages 2, 3, 4 and 6; one number or (height, width) each.
    dropout : float, optional
        Share of the features that the heads do not see in training.
    stochastic_depth : float, optional
        Share of the samples that a residual is left out of in training: for the block at position i
        of 16, from 0, this times i/16.
    **options
        Keyword arguments of `DiffStride`, such as ``ramp="outside"``.

    Returns
    -------
    EfficientNet
        Maps (batch, in_channels, height, width) to logits of shape (batch, num_classes), or to a
        tuple of such tensors, one for each entry of ``num_classes``.

    Raises
    ------
    ValueError
        For a wrong number of strides, an unknown downsampling, a stride below 1, no channel, no
        class, a share outside of 0 to 1, or a fractional stride where convolutions are strided.

    Notes
    -----
    It has the 5 288 548 parameters of the network that is known by this name; learned strides come
    on top, two for each place. Convolutions are padded by half their kernel on every side. The
    published code pads a strided one unevenly, which shifts its maps by a sample.

    Source: Tan, Le, "EfficientNet: rethinking model scaling for convolutional neural networks",
    ICML 2019.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import efficientnet_b0
    >>> net = efficientnet_b0(10, width=4, strides=(2, 1, 2, (2, 1), 2))
    >>> net(torch.ones(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    return EfficientNet(
        num_classes,
        in_channels,
        width,
        downsampling,
        strides,
        dropout,
        stochastic_depth,
        **options,
    )
