"""Residual networks with learned, spectral or strided downsampling."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from spectral_stride import checks
from spectral_stride.torch.models.downsampling import (
    Downsampling,
    Shrink,
    Stride,
    convolution,
    pair,
)
from spectral_stride.torch.models.network import (
    Classes,
    Heads,
    Logits,
    Network,
    initialize,
    one_each,
)

STEMS = ("small", "large")


class _PreActivation(nn.Module):
    """x + conv(act(down(conv(act(x))))), both branches resampled: two 3 x 3 convolutions."""

    def __init__(self, in_channels: int, channels: int, down: Downsampling | None) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = convolution(in_channels, channels, 3, down)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = convolution(channels, channels, 3)
        self.down = down
        self.shortcut = convolution(in_channels, channels, 1, down) if down else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the block's residual to its (resampled) input."""
        active = functional.relu(self.norm1(x))
        if self.down is None or self.shortcut is None:
            residual = self.conv1(active)
        else:
            residual, x = self.down(active, self.conv1), self.down(active, self.shortcut)
        residual = self.conv2(functional.relu(self.norm2(residual)))
        total: torch.Tensor = x + residual
        return total


class _PostActivation(nn.Module):
    """act(x + conv(act(down(conv(x))))), every convolution normalized, both branches resampled.

    The convolutions are 3 x 3; where there is a bottleneck the last one is 1 x 1, another 1 x 1
    stands before them, and between the two there are a quarter of the channels.
    """

    def __init__(
        self, in_channels: int, channels: int, down: Downsampling | None, bottleneck: bool
    ) -> None:
        super().__init__()
        inner = channels // 4 if bottleneck else channels
        self.narrow = nn.Sequential()
        if bottleneck:
            narrow = convolution(in_channels, inner, 1)
            self.narrow.extend([narrow, nn.BatchNorm2d(inner), nn.ReLU()])
        self.conv = convolution(inner if bottleneck else in_channels, inner, 3, down)
        last = convolution(inner, channels, 1 if bottleneck else 3)
        self.rest = nn.Sequential(nn.BatchNorm2d(inner), nn.ReLU(), last, nn.BatchNorm2d(channels))
        self.down = down
        self.shortcut = convolution(in_channels, channels, 1, down) if down else None
        self.shortcut_norm = nn.BatchNorm2d(channels) if down else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the block's residual to its (resampled) input."""
        residual = self.narrow(x)
        if self.down is None or self.shortcut is None:
            residual = self.conv(residual)
        else:
            residual, x = self.down(residual, self.conv), self.down(x, self.shortcut)
        return functional.relu(self.shortcut_norm(x) + self.rest(residual))


BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "preactivation": _PreActivation,
    "basic": partial(_PostActivation, bottleneck=False),
    "bottleneck": partial(_PostActivation, bottleneck=True),
}


class ResNet(Network):
    """Residual network: stem, stages of residual blocks, global average pooling, linear heads.

    The stem, its pooling, and the first block of every projecting stage each hold one
    `Downsampling`, shared by both branches of the block.

    Parameters
    ----------
    channels : sequence of int
        Of the stem, then of each stage.
    blocks : int or sequence of int
        Residual blocks per stage: one number, or one for each stage.
    strides : sequence of float or pair of float
        Of the stem, of its pooling where it has one, then of each stage; one number or (height,
        width).
    num_classes : int or sequence of int, optional
        Classes to tell apart; of a sequence, one head for each entry.
    in_channels : int, optional
        Size of the input along axis 1.
    downsampling : {"diffstride", "spectral", "strided", "blurpool", "maxpool"}, optional
        Learned strides, spectral pooling, plain strided operations, or an average or maximum
        behind an operation at stride 1: see `Downsampling`.
    identity_first : bool, optional
        Let a first stage as wide as the stem, at stride 1, keep its identity shortcut; such a stage
        has no downsampling.
    block : {"preactivation", "basic", "bottleneck"}, optional
        Batch norm and ReLU before the convolutions, of which there are two; or behind them, with
        two convolutions or with three that meet at a quarter of the channels.
    stem : {"small", "large"}, optional
        A 3 x 3 convolution, for small images; or 7 x 7 and a maximum over 3 x 3, each with its
        downsampling.
    **options
        Keyword arguments of `DiffStride`, used where the strides are learned.

    Raises
    ------
    ValueError
        For a wrong number of strides or of blocks, an unknown word, a stride below 1, no block, no
        channel, no class, a bottleneck that is no multiple of 4 wide, or a fractional stride where
        operations are strided.

    Notes
    -----
    `forward` maps (batch, in_channels, height, width) to logits of shape (batch, num_classes), or
    to a tuple of such tensors, one for each entry of ``num_classes``.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import ResNet
    >>> net = ResNet((8, 16), blocks=1, strides=(1, 2), num_classes=10)
    >>> net(torch.ones(2, 3, 16, 16)).shape
    torch.Size([2, 10])
    >>> net = ResNet((8, 16), 1, (2, 2, 1), num_classes=(10, 6), block="bottleneck", stem="large")
    >>> [tuple(logits.shape) for logits in net(torch.ones(2, 3, 16, 16))]
    [(2, 10), (2, 6)]
    """

    def __init__(
        self,
        channels: Sequence[int],
        blocks: int | Sequence[int],
        strides: Sequence[Stride],
        num_classes: Classes = 10,
        in_channels: int = 3,
        downsampling: str = "diffstride",
        identity_first: bool = True,
        block: str = "preactivation",
        stem: str = "small",
        **options: Any,
    ) -> None:
        super().__init__()
        checks.one_of("block", block, tuple(BLOCKS))
        checks.one_of("stem", stem, STEMS)
        identity_first = checks.truth("identity_first", identity_first, True)
        in_channels = checks.positive_integer("in_channels", in_channels)
        channels = checks.sizes("channels", channels)
        _check_bottlenecks(channels, block)
        counts = _blocks_per_stage(blocks, len(channels) - 1)
        large, last = stem == "large", channels[-1]
        places = ["stem", *["pool"] * large]
        places += [f"stage{stage + 1}" for stage in range(len(counts))]
        strides = one_each(strides, places, str((1, *[2] * (len(places) - 1))))

        def down(stride: Stride) -> Downsampling:
            return Downsampling(downsampling, stride, **options)

        first = down(strides[0])
        kernel_size = 7 if large else 3
        self.stem = nn.Sequential(
            Shrink(convolution(in_channels, channels[0], kernel_size, first), first)
        )
        activates_last = block != "preactivation"
        if activates_last:
            self.stem.extend([nn.BatchNorm2d(channels[0]), nn.ReLU()])
        self.pool: nn.Module = nn.Identity()
        if large:
            second = down(strides[1])
            self.pool = Shrink(nn.MaxPool2d(3, second.conv_stride, padding=1), second)
        self.stages = nn.Sequential()
        width = channels[0]
        for stage, (count, stage_channels, stride) in enumerate(
            zip(counts, channels[1:], strides[1 + large :], strict=True)
        ):
            keeps = identity_first and stage == 0 and stage_channels == width
            keeps = keeps and pair(stride) == (1.0, 1.0)
            entry = BLOCKS[block](width, stage_channels, None if keeps else down(stride))
            rest = [BLOCKS[block](stage_channels, stage_channels, None) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(entry, *rest))
            width = stage_channels
        # Where blocks begin with their activation, nothing has activated what leaves the last one.
        self.last = nn.Sequential()
        if not activates_last:
            self.last.extend([nn.BatchNorm2d(last), nn.ReLU()])
        self.classifier = Heads(last, num_classes)
        initialize(self)

    def forward(self, x: torch.Tensor) -> Logits:
        """Return logits of shape (batch, num_classes), or one such tensor a task."""
        features = self.last(self.stages(self.pool(self.stem(x))))
        logits: Logits = self.classifier(features.mean(dim=(-2, -1)))
        return logits


def _blocks_per_stage(blocks: int | Sequence[int], stages: int) -> tuple[int, ...]:
    given = checks.entries(blocks)
    given = (blocks,) * stages if given is None else given
    counts = tuple(checks.positive_integer("blocks", count) for count in given)
    if len(counts) != stages:
        allowed = f"{stages}: one number for each stage, or one for all"
        checks.refuse(ValueError, "blocks", f"{len(counts)} numbers", allowed, "write blocks=2")
    return counts


def _check_bottlenecks(channels: Sequence[int], block: str) -> None:
    for width in channels[1:] if block == "bottleneck" else ():
        if width % 4:
            allowed = "multiples of 4 behind the stem: the bottleneck has a quarter of them"
            checks.refuse(ValueError, "channels", width, allowed, f"write {width + -width % 4}")


def _channels(width: int, *growth: int) -> tuple[int, ...]:
    """Return the channels of the stem and of each stage, given in those of the stem."""
    width = checks.positive_integer("width", width)
    return tuple(width * factor for factor in growth)


def resnet18(
    num_classes: Classes = 10,
    *,
    in_channels: int = 3,
    width: int = 64,
    downsampling: str = "diffstride",
    strides: Sequence[Stride] = (1, 1, 2, 2, 2),
    **options: Any,
) -> ResNet:
    """ResNet-18 for small images: four stages of two blocks, of 1, 2, 4, 8 times width channels.

    Parameters
    ----------
    num_classes : int or sequence of int, optional
        Classes to tell apart; of a sequence, one head for each entry.
    in_channels : int, optional
        Size of the input along axis 1.
    width : int, optional
        Channels of the stem and of the first stage.
    downsampling : {"diffstride", "spectral", "strided", "blurpool", "maxpool"}, optional
        Learned strides, spectral pooling, plain strided convolutions, or an average or maximum
        behind an operation at stride 1: see `Downsampling`.
    strides : sequence of 5, optional
        Of the stem and of the four stages; one number or (height, width) each.
    **options
        Keyword arguments of `DiffStride`, such as ``ramp="outside"``.

    Returns
    -------
    ResNet

    Raises
    ------
    ValueError
        As `ResNet`.

    Notes
    -----
    Source: He et al., "Identity mappings in deep residual networks", 2016, with the downsamplings
    placed as in the code published with DiffStride.

    Examples
    --------
    >>> from spectral_stride.torch import resnet18
    >>> net = resnet18(width=8, strides=(1, 1, 3, 2, 3))
    >>> [down.initial for down in net.downsamplings().values()]
    [(1.0, 1.0), (3.0, 3.0), (2.0, 2.0), (3.0, 3.0)]
    """
    channels = _channels(width, 1, 1, 2, 4, 8)
    return ResNet(channels, 2, strides, num_classes, in_channels, downsampling, **options)


def resnet56(
    num_classes: Classes = 10,
    *,
    in_channels: int = 3,
    width: int = 16,
    downsampling: str = "diffstride",
    strides: Sequence[Stride] = (1, 1, 2, 2),
    **options: Any,
) -> ResNet:
    """ResNet-56 for small images: three stages of nine blocks, of 1, 2, 4 times width channels.

    Parameters
    ----------
    num_classes : int or sequence of int, optional
        Classes to tell apart; of a sequence, one head for each entry.
    in_channels : int, optional
        Size of the input along axis 1.
    width : int, optional
        Channels of the stem and of the first stage.
    downsampling : {"diffstride", "spectral", "strided", "blurpool", "maxpool"}, optional
        Learned strides, spectral pooling, plain strided convolutions, or an average or maximum
        behind an operation at stride 1: see `Downsampling`.
    strides : sequence of 4, optional
        Of the stem and of the three stages; one number or (height, width) each.
    **options
        Keyword arguments of `DiffStride`, such as ``ramp="outside"``.

    Returns
    -------
    ResNet

    Raises
    ------
    ValueError
        As `ResNet`.

    Examples
    --------
    >>> from spectral_stride.torch import resnet56
    >>> sum(parameter.ndim == 4 for parameter in resnet56().parameters())
    58
    """
    channels = _channels(width, 1, 1, 2, 4)
    return ResNet(
        channels,
        9,
        strides,
        num_classes,
        in_channels,
        downsampling,
        identity_first=False,
        **options,
    )


def resnet18_imagenet(
    num_classes: Classes = 1000,
    *,
    in_channels: int = 3,
    width: int = 64,
    downsampling: str = "diffstride",
    strides: Sequence[Stride] = (2, 2, 1, 2, 2, 2),
    **options: Any,
) -> ResNet:
    """ResNet-18 for large images: four stages of two blocks, of 1, 2, 4, 8 times width channels.

    Parameters
    ----------
    num_classes : int or sequence of int, optional
        Classes to tell apart; of a sequence, one head for each entry.
    in_channels : int, optional
        Size of the input along axis 1.
    width : int, optional
        Channels of the stem and of the first stage.
    downsampling : {"diffstride", "spectral", "strided", "blurpool", "maxpool"}, optional
        Learned strides, spectral pooling, plain strided operations, or an average or maximum
        behind an operation at stride 1: see `Downsampling`. The pooling of the stem is a maximum
        over 3 x 3 in every case.
    strides : sequence of 6, optional
        Of the stem, of its pooling and of the four stages; one number or (height, width) each.
    **options
        Keyword arguments of `DiffStride`, such as ``ramp="outside"``.

    Returns
    -------
    ResNet

    Raises
    ------
    ValueError
        As `ResNet`.

    Notes
    -----
    Batch norm and ReLU stand behind the convolutions, so that it has the 11 689 512 parameters of
    the network that is known by this name; learned strides come on top, two for each place.

    Source: He et al., "Deep residual learning for image recognition", 2016.

    Examples
    --------
    >>> from spectral_stride.torch import resnet18_imagenet
    >>> net = resnet18_imagenet(downsampling="strided")
    >>> sum(parameter.numel() for parameter in net.parameters())
    11689512
    """
    channels = _channels(width, 1, 1, 2, 4, 8)
    return ResNet(
        channels,
        2,
        strides,
        num_classes,
        in_channels,
        downsampling,
        block="basic",
        stem="large",
        **options,
    )


def resnet50(
    num_classes: Classes = 1000,
    *,
    in_channels: int = 3,
    width: int = 64,
    downsampling: str = "diffstride",
    strides: Sequence[Stride] = (2, 2, 1, 2, 2, 2),
    **options: Any,
) -> ResNet:
    """ResNet-50: stages of 3, 4, 6, 3 bottleneck blocks, of 4, 8, 16, 32 times width channels.

    Parameters
    ----------
    num_classes : int or sequence of int, optional
        Classes to tell apart; of a sequence, one head for each entry.
    in_channels : int, optional
        Size of the input along axis 1.
    width : int, optional
        Channels of the stem, and of the bottlenecks of the first stage.
    downsampling : {"diffstride", "spectral", "strided", "blurpool", "maxpool"}, optional
        Learned strides, spectral pooling, plain strided operations, or an average or maximum
        behind an operation at stride 1: see `Downsampling`. The pooling of the stem is a maximum
        over 3 x 3 in every case.
    strides : sequence of 6, optional
        Of the stem, of its pooling and of the four stages; one number or (height, width) each.
    **options
        Keyword arguments of `DiffStride`, such as ``ramp="outside"``.

    Returns
    -------
    ResNet

    Raises
    ------
    ValueError
        As `ResNet`.

    Notes
    -----
    The stride of a block is that of its 3 x 3 convolution. It has the 25 557 032 parameters of the
    network that is known by this name; learned strides come on top, two for each place. The first
    stage is wider than the stem, so it projects, and has a place of its own, at stride 1.

    Source: He et al., "Deep residual learning for image recognition", 2016.

    Examples
    --------
    >>> from spectral_stride.torch import resnet50
    >>> net = resnet50(width=4)
    >>> [down.initial[0] for down in net.downsamplings().values()]
    [2.0, 2.0, 1.0, 2.0, 2.0, 2.0]
    """
    channels = _channels(width, 1, 4, 8, 16, 32)
    return ResNet(
        channels,
        (3, 4, 6, 3),
        strides,
        num_classes,
        in_channels,
        downsampling,
        block="bottleneck",
        stem="large",
        **options,
    )
