"""The networks that can be trained, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spectral_stride.torch.resnet import ResNet, resnet18, resnet56


@dataclass(frozen=True, slots=True)
class ModelKind:
    """A network and where it starts.

    Attributes
    ----------
    build : callable
        ``build(num_classes, in_channels=, width=, downsampling=, strides=, **options)``.
    poor_strides : str
        Strides that downsample at the wrong places, one per place where the network gets smaller:
        a start from which there is something to learn. It leaves 2 x 2 pixels of 32 x 32.
    """

    build: Callable[..., ResNet]
    poor_strides: str


# The start of resnet18 is the poor one in the paper's tables; that of resnet56 shrinks 32 x 32
# images as far.
MODELS = {
    "resnet18": ModelKind(resnet18, "1,1,3,2,3"),
    "resnet56": ModelKind(resnet56, "1,3,2,3"),
}


def build_model(
    model: str,
    *,
    num_classes: int,
    in_channels: int,
    width: int,
    downsampling: str,
    strides: Sequence[tuple[float, float]],
    ramp: str,
    smoothness: float,
) -> ResNet:
    """Build a network by name; ``ramp`` and ``smoothness`` count where its strides are learned."""
    options: dict[str, Any] = {}
    if downsampling == "diffstride":
        options = {"ramp": ramp, "smoothness": smoothness}
    return MODELS[model].build(
        num_classes,
        in_channels=in_channels,
        width=width,
        downsampling=downsampling,
        strides=strides,
        **options,
    )


def layer_name(module_name: str) -> str:
    """Name a place where a network gets smaller as a reader would: "stem", "stage2".

    Examples
    --------
    >>> from spectral_stride.torch.training.models import layer_name
    >>> layer_name("stages.1.0.down")
    'stage2'
    """
    room, _, rest = module_name.partition(".")
    if room == "stages":
        return f"stage{int(rest.split('.')[0]) + 1}"
    return room
