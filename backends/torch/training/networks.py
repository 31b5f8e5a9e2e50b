"""The networks that can be trained, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from spectral_stride.torch.models.audio_net import audio_net
from spectral_stride.torch.models.efficientnet import efficientnet_b0
from spectral_stride.torch.models.network import Classes, Network
from spectral_stride.torch.models.resnet import resnet18, resnet18_imagenet, resnet50, resnet56
from spectral_stride.torch.training.refusal import refuse

IMAGE, AUDIO = "image", "audio"
# In Hz: from here on each of the audio network's 64 mel bands has a bin of its 25 ms window.
LEAST_RATE = 2741


@dataclass(frozen=True, slots=True)
class ModelKind:
    """A network and where it starts.

    Attributes
    ----------
    build : callable
        ``build(num_classes, width=, downsampling=, strides=, **options)``, and ``in_channels=`` for
        images or ``sample_rate=`` for audio.
    poor_strides : str
        Strides that downsample at the wrong places, one per place where the network gets smaller,
        as on the command line: a start from which there is something to learn.
    good_strides : str
        The usual ones.
    takes : str
        "image" or "audio": what it works on.
    """

    build: Callable[..., Network]
    poor_strides: str
    good_strides: str
    takes: str = IMAGE

    @property
    def axes(self) -> tuple[str, str]:
        """What the two axes of its maps are."""
        return ("time", "frequency") if self.takes == AUDIO else ("height", "width")

    @property
    def places(self) -> int:
        """How many strides the network has."""
        return len(self.good_strides.split(","))

    @property
    def width(self) -> int:
        """Channels of the stem, as published: what the builder takes by itself."""
        return int(signature(self.build).parameters["width"].default)


# Both starts of resnet18 are those in the paper's tables; the other poor ones follow it: too little
# early, too much late.
MODELS = {
    "resnet18": ModelKind(resnet18, "1,1,3,2,3", "1,1,2,2,2"),
    "resnet56": ModelKind(resnet56, "1,3,2,3", "1,1,2,2"),
    "resnet18_imagenet": ModelKind(resnet18_imagenet, "2,1,1,3,2,3", "2,2,1,2,2,2"),
    "resnet50": ModelKind(resnet50, "2,1,1,3,2,3", "2,2,1,2,2,2"),
    "efficientnet_b0": ModelKind(efficientnet_b0, "2,1,3,2,3", "2,2,2,2,2"),
    "audio": ModelKind(audio_net, "1,1,3,2,1,3", "2,2,1,2,1,2", AUDIO),
}


def build_model(
    model: str,
    *,
    num_classes: Classes,
    sample_shape: Sequence[int],
    sample_rate: int | None,
    width: int,
    downsampling: str,
    strides: Sequence[tuple[float, float]],
    ramp: str,
    smoothness: float,
    hard: bool,
    part: float,
) -> Network:
    """Build a network by name, for the data that it is to learn.

    Parameters
    ----------
    model : str
        A name in `MODELS`.
    num_classes : int or sequence of int
        Of a sequence, one head for each entry.
    sample_shape : sequence of int
        (channels, height, width) of images, (samples,) of audio.
    sample_rate : int or None
        Of audio, in Hz; None for images.
    width : int
        Channels of the stem, or of the first block of the audio network.
    downsampling : {"diffstride", "spectral", "strided", "blurpool", "maxpool"}
    strides : sequence of pairs of float
        One per place where the network gets smaller.
    ramp, smoothness, hard
        As in `DiffStride`; they count where strides are learned.
    part : float
        As in `audio_net`, which alone has it; 0 for none.

    Returns
    -------
    Network

    Raises
    ------
    RefusedError
        For a network that does not work on data of this kind, or of this sample rate.
    ValueError
        For what the builder refuses.
    """
    kind = MODELS[model]
    _check_data(model, IMAGE if sample_rate is None else AUDIO)
    if sample_rate is not None:
        _check_rate(sample_rate)
    options: dict[str, Any] = {}
    if downsampling == "diffstride":
        options = {"ramp": ramp, "smoothness": smoothness, "hard": hard}
    if kind.takes == AUDIO:
        options |= {"sample_rate": sample_rate, "part": part or None}
    else:
        options["in_channels"] = sample_shape[0]
    return kind.build(
        num_classes, width=width, downsampling=downsampling, strides=strides, **options
    )


def _check_data(model: str, given: str) -> None:
    """Refuse a network that works on another kind of data."""
    fit = [name for name, kind in MODELS.items() if kind.takes == given]
    if model not in fit:
        got = f"{model!r}, which takes {MODELS[model].takes} data, for {given} data"
        refuse("--model", got, f"{', '.join(fit)} for this --data", f"write --model {fit[0]}")


def _check_rate(sample_rate: int) -> None:
    """Refuse recordings whose spectrum has too few bins: the network's bands are no option here."""
    if sample_rate < LEAST_RATE:
        got = f"recordings with {sample_rate} samples a second"
        allowed = f"{LEAST_RATE} or more: fewer give no 64 mel bands from windows of 25 ms"
        refuse("--data", got, allowed, "name recordings of a higher rate, or resample these")


def layer_name(module_name: str) -> str:
    """Name a place where a network gets smaller as a reader would: "stem", "pool", "stage2".

    Examples
    --------
    >>> from spectral_stride.torch.training.networks import layer_name
    >>> layer_name("stages.1.0.down")
    'stage2'
    """
    room, _, rest = module_name.partition(".")
    if room == "stages":
        return f"stage{int(rest.split('.')[0]) + 1}"
    return room
