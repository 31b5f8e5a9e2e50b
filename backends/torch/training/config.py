"""What one training run is: every choice that a user has, checked before anything starts."""

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from spectral_stride import checks
from spectral_stride.torch.models.downsampling import DOWNSAMPLINGS
from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.recipes import RECIPES, Recipe
from spectral_stride.torch.training.refusal import refuse

# What is built in. Everything else is a path or an id of the Hugging Face hub.
DIGITS = "digits"
DEVICES = ("auto", "cpu", "cuda", "mps")

# Eight times the usual width: beyond it no machine holds the network, and PyTorch would say so in
# its own way.
WIDEST = 512
# As much beyond what is usual, pixels a side.
LARGEST_SIDE = 8192
LARGEST_SEED = 2**32 - 1
# Nothing that makes sense is near it, and what is far beyond does not fit PyTorch's numbers.
LARGEST = 1_000_000

Pair = tuple[float, float]

DEFAULT_RECIPE = "small"
DEFAULT_MODEL = "resnet18"
_SMALL = RECIPES[DEFAULT_RECIPE]
# Options whose default is that of the recipe.
OF_THE_RECIPE = tuple(
    field.name
    for field in fields(Recipe)
    if field.name
    not in ("about", "optimizer", "schedule", "decays_vectors", "channels_last", "compiles")
)
# Options that are either said or denied.
SWITCHES = ("baseline", "flip")


def width_of(recipe: Recipe, model: str) -> int:
    """Return the channels of the stem where a user does not say how many.

    Examples
    --------
    >>> from spectral_stride.torch.training.config import width_of
    >>> from spectral_stride.torch.training.recipes import RECIPES
    >>> width_of(RECIPES["small"], "resnet56"), width_of(RECIPES["paper"], "resnet56")
    (8, 16)
    """
    return MODELS[model].width if recipe.width is None else recipe.width


@dataclass(frozen=True, slots=True)
class Config:
    """The choices of one training run, each under the name of its option.

    The defaults are the main job: small, band-limited images, and a network that starts at the poor
    strides of the paper's experiments.

    Attributes
    ----------
    data : str
        "digits", a path, or an id of the Hugging Face hub.
    input, labels : str
        Columns of the data, where they cannot be told by their types; labels between commas.
    test_split : str
        Name of the split to test on, where it is not the usual one.
    size : int
        Side in pixels that images are brought to; 0 leaves them as they are.
    seconds : float
        Length that recordings are brought to; 0 is the data module's own.
    limit : int
        Use at most so many samples of either part, evenly spread; 0 is all.
    recipe : str
        A name in `RECIPES`; it gives the defaults of `OF_THE_RECIPE`.
    width : int
        Channels of the stem, settled: see `width_of`.
    strides : str
        As on the command line: one per place where the network gets smaller, "2" or "3x2" (height x
        width). Empty stands for the model's own poor choice.
    baseline : bool or None
        Whether to train the same network with plain strided convolutions too; None means yes where
        they can take these strides.

    See Also
    --------
    parse : builds one from a user's words, and refuses what is out of range.
    """

    data: str = DIGITS
    input: str = ""
    labels: str = ""
    test_split: str = ""
    size: int = 0
    seconds: float = 0.0
    limit: int = 0
    model: str = DEFAULT_MODEL
    downsampling: str = "diffstride"
    strides: str = ""
    ramp: str = "inside"
    smoothness: float = 4.0
    penalty: float = _SMALL.penalty
    recipe: str = DEFAULT_RECIPE
    epochs: int = _SMALL.epochs
    batch_size: int = _SMALL.batch_size
    lr: float = _SMALL.lr
    stride_lr: float = _SMALL.stride_lr
    weight_decay: float = _SMALL.weight_decay
    label_smoothing: float = _SMALL.label_smoothing
    mixup: float = _SMALL.mixup
    crop: float = _SMALL.crop
    shift: float = _SMALL.shift
    flip: bool = _SMALL.flip
    precision: str = _SMALL.precision
    width: int = width_of(_SMALL, DEFAULT_MODEL)
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    baseline: bool | None = None

    @property
    def stride_pairs(self) -> list[Pair]:
        """The initial strides as numbers, (height, width) each."""
        return parse_strides(self.strides)

    def command(self) -> str:
        """The command line that repeats this run, with every option written out."""
        words = ["spectral-stride", "train"]
        for name, value in asdict(self).items():
            option = option_of(name)
            if name in SWITCHES:
                words.append(option if value else option.replace("--", "--no-"))
            elif value != "":
                words += [option, str(value)]
        return shlex.join(words)


# Every option of `train`, in the order of its help.
OPTIONS = tuple(field.name for field in fields(Config))
# What strides have that are learned, and what a training has no use for where they are not.
LEARNED = "diffstride"
LEARNED_ONLY = ("ramp", "smoothness", "penalty", "stride_lr")


def has_effect(option: str, downsampling: str) -> bool:
    """Whether an option makes a difference for a kind of downsampling.

    Examples
    --------
    >>> from spectral_stride.torch.training.config import has_effect
    >>> has_effect("penalty", "diffstride"), has_effect("penalty", "strided")
    (True, False)
    """
    return downsampling == LEARNED or option not in LEARNED_ONLY


def option_of(name: str) -> str:
    """Write the name of a field as an option."""
    return "--" + name.replace("_", "-")


def _choice(*allowed: str) -> Callable[[str, Any, Any], str]:
    def check(option: str, value: Any, default: Any) -> str:
        if value not in allowed:
            refuse(option, repr(value), ", ".join(allowed), f"write {option} {default}")
        return str(value)

    return check


def _integer(least: int, most: int = LARGEST, why: str = "") -> Callable[[str, Any, Any], int]:
    """Build a check for whole numbers from ``least`` to ``most``."""

    def check(option: str, value: Any, default: Any) -> int:
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            allowed = f"a whole number from {least} to {most}{why}"
            refuse(option, repr(value), allowed, f"write {option} {default}")
        return number

    return check


def _real(zero: bool = True) -> Callable[[str, Any, Any], float]:
    """Build a check for numbers from 0 on, or above it."""

    def check(option: str, value: Any, default: Any) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0.0 <= number <= LARGEST or (number == 0.0 and not zero):
            allowed = f"a number {'from' if zero else 'above'} 0 up to {LARGEST}"
            refuse(option, repr(value), allowed, f"write {option} {default:g}")
        return number

    return check


def _share(option: str, value: Any, default: Any) -> float:
    number = _real()(option, value, default)
    if number >= 1:
        refuse(
            option, repr(value), "a share from 0 up to, but not, 1", f"write {option} {default:g}"
        )
    return number


def _source(option: str, value: Any, default: Any) -> str:
    folder = Path(value.rpartition(":")[0] or value)  # it may name one of its configurations
    if value != DIGITS and "/" not in value and not Path(value).exists() and not folder.is_dir():
        allowed = f"{DIGITS}, a path that exists, or an id of the hub such as uoft-cs/cifar10"
        refuse(option, repr(value), allowed, f"write {option} {default}")
    return str(value)


def _text(option: str, value: Any, default: Any) -> str:
    return str(value)


def _switch(option: str, value: Any, default: Any) -> bool:
    if not isinstance(value, bool):
        refuse(option, repr(value), "yes or no", f"write {option}, or --no-{option[2:]}")
    return value


def _smoothness(option: str, value: Any, default: Any) -> float:
    number = _real()(option, value, default)
    if 0.0 < number < checks.NARROWEST_RAMP:
        allowed = f"0 (a hard crop), or at least {checks.NARROWEST_RAMP:g} DFT bins"
        refuse(option, repr(value), allowed, f"write {option} {default:g}")
    return number


def parse_strides(text: str) -> list[Pair]:
    """Parse "1,1,3x2,2,2" as pairs (height, width).

    Raises
    ------
    RefusedError
        For anything but numbers of at least 1.
    """
    pairs = []
    for part in text.split(","):
        try:
            numbers = [float(number) for number in part.split("x")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2) or not all(1 <= n <= LARGEST for n in numbers):
            allowed = "numbers of at least 1 between commas, each one stride or height x width"
            refuse("--strides", repr(text), allowed, "write --strides 1,1,3x2,2,2")
        pairs.append((numbers[0], numbers[-1]))
    return pairs


def _check_strides(config: Config) -> str:
    """Return the strides to use, refusing what the chosen model cannot take."""
    poor = MODELS[config.model].poor_strides
    text = config.strides or poor
    pairs, count = parse_strides(text), len(poor.split(","))
    if len(pairs) != count:
        allowed = f"{count} for --model {config.model}: one for each place where it gets smaller"
        refuse("--strides", f"{len(pairs)} strides {text!r}", allowed, f"write --strides {poor}")
    integral = all(number == int(number) for pair in pairs for number in pair)
    if config.downsampling == "strided" and not integral:
        remedy = "write whole numbers, or --downsampling diffstride (or spectral)"
        refuse("--strides", repr(text), "whole numbers for --downsampling strided", remedy)
    if config.baseline and not integral:
        remedy = "write whole numbers, or --no-baseline"
        allowed = "whole numbers with --baseline, whose convolutions are strided"
        refuse("--strides", repr(text), allowed, remedy)
    return text


_CHECKS: dict[str, Callable[[str, Any, Any], Any]] = {
    "data": _source,
    "input": _text,
    "labels": _text,
    "test_split": _text,
    "size": _integer(0, LARGEST_SIDE, " (0 leaves images as they are)"),
    "seconds": _real(),
    "limit": _integer(0, why=" (0 is all)"),
    "model": _choice(*MODELS),
    "downsampling": _choice(*DOWNSAMPLINGS),
    "ramp": _choice(*reversed(checks.RAMPS)),
    "smoothness": _smoothness,
    "penalty": _real(),
    "recipe": _choice(*RECIPES),
    "epochs": _integer(1),
    "batch_size": _integer(2, why=" (batch normalization compares images)"),
    "lr": _real(zero=False),
    "stride_lr": _real(),
    "weight_decay": _real(),
    "label_smoothing": _share,
    "mixup": _real(),
    "crop": _share,
    "shift": _share,
    "flip": _switch,
    "baseline": _switch,
    "precision": _choice("32", "bf16"),
    "width": _integer(1, WIDEST),
    "seed": _integer(0, LARGEST_SEED),
    "device": _choice(*DEVICES),
    "devices": _integer(1, 1024),
    "nodes": _integer(1, 1024),
}


def parse(words: Mapping[str, Any]) -> Config:
    """Build a configuration from a user's words.

    Parameters
    ----------
    words : mapping of str to str or number
        Option names, with underscores, and their values; what is missing or None takes its default.

    Returns
    -------
    Config
        With strides and baseline settled.

    Raises
    ------
    RefusedError
        For a value out of range: what was got, what is allowed, what to write instead.

    Examples
    --------
    >>> from spectral_stride.torch.training.config import parse
    >>> parse({"epochs": "3"}).epochs
    3
    """
    values: dict[str, Any] = {}
    recipe = _CHECKS["recipe"]("--recipe", words.get("recipe") or DEFAULT_RECIPE, DEFAULT_RECIPE)
    for field in fields(Config):
        value, default = words.get(field.name), field.default
        if field.name in OF_THE_RECIPE:
            default = getattr(RECIPES[recipe], field.name)
        if field.name == "width":
            default = width_of(RECIPES[recipe], values["model"])
        if value is None:
            value = default
        elif field.name in _CHECKS:
            value = _CHECKS[field.name](option_of(field.name), value, default)
        values[field.name] = value
    values["strides"] = _check_strides(Config(**values))
    if values["downsampling"] == "strided":
        values["baseline"] = False  # it would be the same training twice
    elif values["baseline"] is None:
        pairs = parse_strides(values["strides"])
        values["baseline"] = all(number == int(number) for pair in pairs for number in pair)
    return Config(**values)
