"""Residual networks for small images with learned, spectral or strided downsampling."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from spectral_stride import checks, complexity
from spectral_stride.torch.layers import DiffStride
from spectral_stride.torch.pool import SpectralPool

DOWNSAMPLINGS = ("diffstride", "spectral", "strided")

# One stage's stride: the same along both axes, or one number an axis.
Stride = float | Sequence[float]


def _pair(stride: Stride) -> tuple[float, float]:
    pair = (stride, stride) if isinstance(stride, int | float) else tuple(stride)
    if len(pair) != 2:
        allowed = "one number, or two for height and width, per stage"
        checks.refuse(ValueError, "strides", f"{pair} for one stage", allowed, "write 2 or (2, 2)")
    return float(pair[0]), float(pair[1])


class Downsampling(nn.Module):
    """One place where a network gets smaller: the stride of a convolution, or a layer behind it.

    Exactly one of the two does the work: ``conv_stride`` is the stride to give to the convolution,
    and calling the module with it resamples what it returns, where it has no stride of its own. Two
    branches that are added share one of these, so that they keep one size.
    """

    def __init__(self, kind: str, stride: Stride, **options: Any) -> None:
        super().__init__()
        checks.one_of("downsampling", kind, DOWNSAMPLINGS)
        self.initial = _pair(stride)
        learned = DiffStride(self.initial, **options)  # also refuses what no kind could use
        self.conv_stride = (1, 1)
        self.layer: nn.Module = nn.Identity()
        if kind == "strided":
            checks.integer_strides(self.initial)
            self.conv_stride = (int(self.initial[0]), int(self.initial[1]))
        elif kind == "spectral":
            self.layer = SpectralPool(self.initial)
        else:
            self.layer = learned

    def strides(self) -> torch.Tensor | tuple[float, float]:
        """Present strides: a differentiable tensor where they are learned, else two numbers."""
        if isinstance(self.layer, DiffStride):
            return self.layer.effective_strides()
        return self.initial

    def forward(self, x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
        """Convolve and make smaller."""
        if isinstance(self.layer, DiffStride):
            y: torch.Tensor = self.layer(x, conv)
        else:
            y = self.layer(conv(x))
        return y


def _conv(
    in_channels: int, channels: int, kernel_size: int, stride: tuple[int, int] = (1, 1)
) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels, channels, kernel_size, stride, padding=kernel_size // 2, bias=False
    )


class _Stem(nn.Sequential):
    """The first convolution and its downsampling."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and make smaller."""
        conv, down = self
        y: torch.Tensor = down(x, conv)
        return y


class _Block(nn.Module):
    """Pre-activation residual block: x + conv(act(down(conv(act(x))))), both branches resampled."""

    def __init__(self, in_channels: int, channels: int, down: Downsampling | None) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _conv(in_channels, channels, 3, down.conv_stride if down else (1, 1))
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3)
        self.down = down
        self.shortcut = _conv(in_channels, channels, 1, down.conv_stride) if down else None

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


class ResNet(nn.Module):
    """Pre-activation residual network for small images.

    A 3 x 3 stem, stages of residual blocks, global average pooling, a linear classifier. The stem
    and the first block of every projecting stage each hold one `Downsampling`, shared by both
    branches of the block.

    Parameters
    ----------
    channels : sequence of int
        Of the stem, then of each stage.
    blocks : int
        Residual blocks per stage.
    strides : sequence of float or pair of float
        Of the stem, then of each stage; one number or (height, width).
    num_classes, in_channels : int, optional
        Size of the output and of the input along axis 1.
    downsampling : {"diffstride", "spectral", "strided"}, optional
        Learned strides, spectral pooling, or plain strided convolutions.
    identity_first : bool, optional
        Let a first stage as wide as the stem, at stride 1, keep its identity shortcut; such a stage
        has no downsampling.
    **options
        Keyword arguments of `DiffStride`, used where the strides are learned.

    Raises
    ------
    ValueError
        For a wrong number of strides, an unknown downsampling, a stride below 1, no block, no
        channel, or a fractional stride where convolutions are strided.

    Notes
    -----
    `forward` maps (batch, in_channels, height, width) to (batch, num_classes) logits.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import ResNet
    >>> net = ResNet((8, 16), blocks=1, strides=(1, 2), num_classes=10)
    >>> net(torch.ones(2, 3, 16, 16)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        channels: Sequence[int],
        blocks: int,
        strides: Sequence[Stride],
        num_classes: int = 10,
        in_channels: int = 3,
        downsampling: str = "diffstride",
        identity_first: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        checks.positive_integer("blocks", blocks)
        for width in channels:
            checks.positive_integer("channels", width)
        if len(strides) != len(channels):
            checks.refuse(
                ValueError,
                "strides",
                f"{len(strides)} strides {tuple(strides)}",
                f"{len(channels)}: one for the stem and one for each stage",
                f"write strides={(1, *[2] * (len(channels) - 1))}",
            )
        stem_down = Downsampling(downsampling, strides[0], **options)
        self.stem = _Stem(_conv(in_channels, channels[0], 3, stem_down.conv_stride), stem_down)
        stages = []
        width = channels[0]
        for stage, (stage_channels, stride) in enumerate(
            zip(channels[1:], strides[1:], strict=True)
        ):
            keeps = identity_first and stage == 0 and stage_channels == width
            keeps = keeps and _pair(stride) == (1.0, 1.0)
            down = None if keeps else Downsampling(downsampling, stride, **options)
            first = _Block(width, stage_channels, down)
            rest = [_Block(stage_channels, stage_channels, None) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
            width = stage_channels
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (batch, num_classes)."""
        features = functional.relu(self.norm(self.stages(self.stem(x))))
        logits: torch.Tensor = self.classifier(features.mean(dim=(-2, -1)))
        return logits

    def downsamplings(self) -> dict[str, Downsampling]:
        """Return every place where the network gets smaller, by module name, in forward order."""
        return {
            name: module
            for name, module in self.named_modules()
            if isinstance(module, Downsampling)
        }

    def complexity(self) -> Any:
        """Return the paper's cost, sum_l prod_{i<=l} 1/(S_h^i S_w^i), differentiable."""
        return complexity([down.strides() for down in self.downsamplings().values()])


def resnet18(
    num_classes: int = 10,
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
    num_classes, in_channels : int, optional
        Size of the output and of the input along axis 1.
    width : int, optional
        Channels of the stem and of the first stage.
    downsampling : {"diffstride", "spectral", "strided"}, optional
        Learned strides, spectral pooling, or plain strided convolutions.
    strides : sequence of 5, optional
        Of the stem and of the four stages; one number or (height, width) each.
    **options
        Keyword arguments of `DiffStride`, such as ``ramp="inside"``.

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
    >>> net = resnet18(width=8, strides=(1, 1, 3, 2, 3), ramp="inside")
    >>> [down.initial for down in net.downsamplings().values()]
    [(1.0, 1.0), (3.0, 3.0), (2.0, 2.0), (3.0, 3.0)]
    """
    channels = (width, width, 2 * width, 4 * width, 8 * width)
    return ResNet(channels, 2, strides, num_classes, in_channels, downsampling, **options)


def resnet56(
    num_classes: int = 10,
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
    num_classes, in_channels : int, optional
        Size of the output and of the input along axis 1.
    width : int, optional
        Channels of the stem and of the first stage.
    downsampling : {"diffstride", "spectral", "strided"}, optional
        Learned strides, spectral pooling, or plain strided convolutions.
    strides : sequence of 4, optional
        Of the stem and of the three stages; one number or (height, width) each.
    **options
        Keyword arguments of `DiffStride`, such as ``ramp="inside"``.

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
    channels = (width, width, 2 * width, 4 * width)
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
