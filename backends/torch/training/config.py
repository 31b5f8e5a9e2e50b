"""What one training run is: every option of it, in one table."""

import math
import os
import shlex
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import ImageColor

from spectral_stride import checks
from spectral_stride.torch.budget.mac_budget import BALANCED, BEGINNINGS, PRESENT
from spectral_stride.torch.budget.schedule import REACHED
from spectral_stride.torch.models.downsampling import DOWNSAMPLINGS
from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.options import (
    IMAGES,
    LEARNED_STRIDES,
    SOUNDS,
    Choice,
    Integer,
    Real,
    Share,
    Switch,
    Text,
    flag_of,
    option,
    options_of,
)
from spectral_stride.torch.training.recipes import RECIPES
from spectral_stride.torch.training.refusal import refuse

# What is built in. Everything else is a path or an id of the Hugging Face hub.
DIGITS = "digits"
DEVICES = ("auto", "cpu", "cuda", "mps")
LEARNED = "diffstride"

# Eight times the usual width: beyond it no machine holds the network, and PyTorch would say so in
# its own way.
WIDEST = 512
# As much beyond what is usual, pixels a side.
LARGEST_SIDE = 8192
LARGEST_SEED = 2**32 - 1
LONGEST_STRIDE = 1_000_000
MOST_PROCESSES = 1024

Pair = tuple[float, float]

# What stands behind a large number.
_MANY = {"K": 1e3, "M": 1e6, "G": 1e9}

# In place of a colour, and of strides.
NO_BACKGROUND, RANDOM = "none", "random"
# The largest stride that is drawn at random.
LARGEST_DRAWN = 4.0

# Headings of the help.
DATA, NETWORK, TRAINING, RUN = "Data", "Network", "Training", "Run"


class _Source(Text):
    """The name of a data set."""

    def check(self, flag: str, word: Any, default: Any) -> str:
        """Return the name, if there may be such a data set."""
        # It may name one of its configurations. (Path.exists raises where a name is too long.)
        is_path = os.path.exists(word) or os.path.isdir(word.rpartition(":")[0])
        if not word or (word != DIGITS and "/" not in word and not is_path):
            allowed = f"{DIGITS}, a path that exists, or an id of the hub such as uoft-cs/cifar10"
            refuse(flag, repr(word), allowed, f"write {flag} {default}")
        return str(word)


class _Smoothness(Real):
    """The width of a ramp in DFT bins: none at all, or wide enough to have a slope."""

    def check(self, flag: str, word: Any, default: Any) -> float:
        """Return the width."""
        number = super().check(flag, word, default)
        if 0.0 < number < checks.NARROWEST_RAMP:
            allowed = f"0 (a hard crop), or at least {checks.NARROWEST_RAMP:g} DFT bins"
            refuse(flag, repr(word), allowed, f"write {flag} {default:g}")
        return number


class _Budget(Real):
    """A share of the cost at the first strides, or multiply-accumulates as in 13M."""

    def check(self, flag: str, word: Any, default: Any) -> float:
        """Return the number; 0 is none."""
        factor = 1.0
        if isinstance(word, str) and word[-1:].upper() in _MANY:
            word, factor = word[:-1], _MANY[word[-1].upper()]
        try:
            number = math.nan if isinstance(word, bool) else float(word) * factor
        except (ValueError, TypeError, OverflowError):
            number = math.nan
        if not 0.0 <= number < math.inf:
            allowed = "a share up to 1, or a number of multiply-accumulates such as 13M or 0.9G"
            refuse(flag, repr(word), allowed, f"write {flag} 0.5")
        return number


class _SettleAt(Share):
    """A share of the steps that leaves strides some to move in."""

    def check(self, flag: str, word: Any, default: Any) -> float:
        """Return the share."""
        number = super().check(flag, word, default)
        if number <= REACHED:
            allowed = f"a share above {REACHED:g}, where the budget is reached, and below 1"
            refuse(flag, repr(word), allowed, f"write {flag} {default:g}")
        return number


class _Background(Text):
    """What transparent images are laid on: a colour that Pillow knows, or nothing."""

    def check(self, flag: str, word: Any, default: Any) -> str:
        """Return the colour."""
        try:
            if word != NO_BACKGROUND:
                ImageColor.getrgb(word)
        except (ValueError, TypeError, AttributeError):
            allowed = f"a colour such as white or #ff8000, or {NO_BACKGROUND}"
            refuse(flag, repr(word), allowed, f"write {flag} {default}")
        return str(word)


@dataclass(frozen=True, slots=True)
class Config:
    """The choices of one training run, each under the name of its option: the table of options.

    A field says all that there is to say of an option; the command line, grids, ``config.json`` and
    reports read it here. A recipe may have other defaults: see `recipes`. So may the demo, which
    learns the built-in digits: a narrow network, which starts at the poor strides of the paper's
    experiments.

    See Also
    --------
    words.parse : builds one from a user's words, and refuses what is out of range.
    """

    data: str = option(
        DIGITS,
        _Source("digits|ID|PATH"),
        "What to learn: digits (built in), an id of the Hugging Face hub, a parquet file or a "
        "folder of them, a folder of images or of WAV or FLAC files in one folder for each class.",
        panel=DATA,
    )
    input: str = option("", Text("COLUMN"), "Column of the images or recordings.", panel=DATA)
    labels: str = option(
        "", Text("COLUMN,..."), "Columns of the labels; each is a task of its own.", panel=DATA
    )
    test_split: str = option(
        "",
        Text("NAME"),
        "Split to test on: without it test, or else validation, or else a fifth of the training "
        "samples.",
        panel=DATA,
    )
    hold_out: float = option(
        0.0,
        Share(),
        "Keep this share of the training samples from training, and test on it in place of the "
        "test: for choices between trainings.",
        panel=DATA,
        before=0.0,
    )
    size: int = option(
        0,
        Integer(0, LARGEST_SIDE, " (0 leaves images as they are)", "PIXELS"),
        "Bring images to this height and width; 0 leaves them as they are.",
        panel=DATA,
    )
    background: str = option(
        "white",
        _Background("COLOUR"),
        f"What transparent images are laid on; {NO_BACKGROUND} takes the colours under what is "
        "transparent.",
        panel=DATA,
        # For most images it says nothing, and reports are to compare such runs with those of now.
        before="white",
    )
    seconds: float = option(
        0.0,
        Real(),
        "Bring recordings to this length in seconds; 0 stands for 1 second.",
        panel=DATA,
    )
    part: float = option(
        0.0,
        Real(),
        "Train on a random part of so many seconds of each recording, and test on the mean of all "
        "such parts, one behind the other; 0 takes recordings whole.",
        panel=DATA,
        only=SOUNDS,
        before=0.0,
    )
    limit: int = option(
        0,
        Integer(0, why=" (0 is all)"),
        "At most so many samples of training and of test, evenly spread; 0 is all.",
        panel=DATA,
    )
    model: str = option("resnet18", Choice(MODELS), "Network.", panel=NETWORK)
    downsampling: str = option(
        LEARNED,
        Choice(DOWNSAMPLINGS),
        "Learned strides; spectral pooling; plain strided convolutions; or, behind convolutions at "
        "stride 1, averages (BlurPool) or maxima.",
        panel=NETWORK,
    )
    strides: str = option(
        "",
        Text("S,S,..."),
        "Where the strides start: one for each place where the network gets smaller, or one of "
        "each axis, height x width or time x frequency, as in 1,1,3x2,2,2. Fractions say "
        "sizes: 32/20 leaves 20 samples where 32 come in. "
        f"{RANDOM} draws each from 1 to {LARGEST_DRAWN:g}, evenly in logarithms, by the seed. "
        "At a stride of 1 the first stage of resnet18 and resnet18_imagenet begins with an "
        "identity, and learns none. Without it the usual ones: "
        + "; ".join(f"{kind.good_strides} for {name}" for name, kind in MODELS.items())
        + f". For --data {DIGITS} a poor choice, on purpose: "
        + "; ".join(f"{kind.poor_strides} for {name}" for name, kind in MODELS.items())
        + ".",
        panel=NETWORK,
    )
    ramp: str = option(
        "inside",
        Choice(checks.RAMPS),
        "Soft edge of the mask: inside gives maps the size that a strided convolution gives, "
        "outside is as published and makes them larger.",
        panel=NETWORK,
        only=LEARNED_STRIDES,
    )
    smoothness: float = option(
        4.0,
        _Smoothness(metavar="BINS"),
        "Width of that edge in DFT bins.",
        panel=NETWORK,
        only=LEARNED_STRIDES,
    )
    hard: bool = option(
        False,
        Switch(),
        "Crop the spectrum hard, to the same sizes; strides learn from an edge that the network "
        "does not see.",
        panel=NETWORK,
        only=LEARNED_STRIDES,
        before=False,
    )
    penalty: float = option(
        0.0,
        Real(),
        "Weight of the network's complexity in the loss.",
        panel=TRAINING,
        only=LEARNED_STRIDES,
    )
    budget: float = option(
        0.0,
        _Budget(metavar="COST"),
        "Learn the strides at a cost: a share of that at the first strides, as 0.5, or "
        "multiply-accumulates of one sample, as 13M. Strides then have no penalty and no rate of "
        "theirs, and settle on whole sizes. 0 is none. Beside --penalty, --stride-lr or --ramp "
        "outside there is none by default.",
        panel=TRAINING,
        only=LEARNED_STRIDES,
        before=0.0,
        demo=0.5,
    )
    begin: str = option(
        PRESENT,
        Choice(BEGINNINGS),
        f"Where a budget lets strides begin: {PRESENT} is at --strides; {BALANCED} is at the cost "
        "at once, with sizes at which all operations cost about the same, and --strides only says "
        "of what cost a share is one. Without a budget it does nothing.",
        panel=TRAINING,
        only=LEARNED_STRIDES,
        before=PRESENT,
    )
    settle_at: float = option(
        0.6,
        _SettleAt(),
        "Share of the steps after which the sizes of a budget settle; without one nothing does.",
        panel=TRAINING,
        only=LEARNED_STRIDES,
        before=0.6,
    )
    recipe: str = option(
        "small",
        Choice(RECIPES),
        "How to train: "
        + "; ".join(f"{name}: {recipe.about}" for name, recipe in RECIPES.items())
        + ".",
        panel=TRAINING,
    )
    epochs: int = option(30, Integer(1), "Passes over the training samples.", panel=TRAINING)
    steps: int = option(
        0,
        Integer(0, 10**9, " (0 leaves it to --epochs)"),
        "Train for at least so many steps, in whole epochs, in place of --epochs. Where a recipe "
        "has steps, --epochs by itself takes their place. 0 leaves it to --epochs.",
        panel=TRAINING,
        before=0,
    )
    batch_size: int = option(
        32,
        Integer(2, why=" (batch normalization compares images)"),
        "Samples in a step, on each device.",
        panel=TRAINING,
    )
    lr: float = option(
        3e-3, Real(zero=False), "Highest learning rate of the weights.", panel=TRAINING
    )
    stride_lr: float = option(
        3e-2,
        Real(),
        "Highest learning rate of the strides.",
        panel=TRAINING,
        only=LEARNED_STRIDES,
    )
    weight_decay: float = option(1e-2, Real(), "Of the weights; strides have none.", panel=TRAINING)
    label_smoothing: float = option(
        0.0, Share(), "Share of a target given to all classes.", panel=TRAINING
    )
    mixup: float = option(
        0.0,
        Real(metavar="A"),
        "Mix pairs of samples, shares from Beta(A, A); 0 mixes none.",
        panel=TRAINING,
    )
    crop: float = option(
        0.0,
        Share(),
        "Enlarge a random part of each image, of at least this share of its area (0.08 is "
        "usual for large images); 0 is none.",
        panel=TRAINING,
        only=IMAGES,
        before=0.0,
    )
    shift: float = option(
        0.0, Share(), "Move images by up to this share of their size.", panel=TRAINING, only=IMAGES
    )
    flip: bool = option(False, Switch(), "Mirror half of the images.", panel=TRAINING, only=IMAGES)
    precision: str = option(
        "32", Choice(("32", "bf16")), "Of products; bf16 is autocast.", panel=TRAINING
    )
    width: int = option(
        0,
        Integer(0, WIDEST, " (0 is the published one)"),
        f"Channels of the stem, up to {WIDEST}; 0 is as published: "
        + ", ".join(f"{kind.width} for {name}" for name, kind in MODELS.items())
        + ".",
        panel=NETWORK,
        demo=8,
    )
    seed: int = option(
        0,
        Integer(0, LARGEST_SEED),
        "Of the first weights and the order of images.",
        panel=TRAINING,
    )
    device: str = option("auto", Choice(DEVICES), "Where to compute.", panel=RUN)
    devices: int = option(
        1,
        Integer(1, MOST_PROCESSES),
        "Processes on each machine, each on a device.",
        panel=RUN,
    )
    nodes: int = option(
        1,
        Integer(1, MOST_PROCESSES),
        "Machines; start the command on each, as Lightning's docs show.",
        panel=RUN,
    )
    baseline: bool | None = option(
        None,
        Switch(),
        "Also train the same network with plain strided convolutions at the same strides. "
        "Without either: if these are whole numbers.",
        panel=TRAINING,
    )
    spectral: bool | None = option(
        None,
        Switch(),
        "Also train the same network with spectral pooling, fixed at the same strides. "
        f"Without either: beside a baseline for --data {DIGITS}.",
        panel=TRAINING,
        before=False,
    )

    @property
    def stride_pairs(self) -> list[Pair]:
        """The initial strides as numbers, (height, width) each."""
        if self.strides == RANDOM:
            places = MODELS[self.model].places
            drawn = LARGEST_DRAWN ** np.random.default_rng(self.seed).random(places)
            return [(stride, stride) for stride in drawn.tolist()]
        return parse_strides(self.strides)

    def command(self) -> str:
        """The command line that repeats this run, with every option written out."""
        words = ["spectral-stride", "train"]
        for name, value in asdict(self).items():
            flag = flag_of(name)
            if OPTIONS[name].is_switch:
                words.append(flag if value else flag.replace("--", "--no-"))
            elif value != "":
                words += [flag, str(value)]
        return shlex.join(words)


# Every option of `train`, in the order of the table.
OPTIONS = options_of(Config)
# What is trained beside a network, for the same command: a grid names each training by itself.
BESIDE = {"baseline": "strided", "spectral": "spectral"}
# What a training has no use for where its strides are not learned.
LEARNED_ONLY = tuple(name for name, one in OPTIONS.items() if one.only == LEARNED_STRIDES)
# What a budget is told, under the names that `MacBudget` has for it.
BUDGETED = "begin", "settle_at"


def has_effect(name: str, downsampling: str) -> bool:
    """Whether an option makes a difference for a kind of downsampling.

    Examples
    --------
    >>> from spectral_stride.torch.training.config import has_effect
    >>> has_effect("penalty", "diffstride"), has_effect("penalty", "strided")
    (True, False)
    """
    return downsampling == LEARNED or name not in LEARNED_ONLY


def acting(config: Config) -> Config:
    """Return a configuration with the options that have no effect at the table's defaults.

    Two trainings are the same where these are equal, whatever version made them.

    Examples
    --------
    >>> from spectral_stride.torch.training.config import Config, acting
    >>> acting(Config(downsampling="strided", penalty=0.2)).penalty
    0.0
    """
    idle = [name for name in OPTIONS if not has_effect(name, config.downsampling)]
    return replace(config, **{name: OPTIONS[name].default for name in idle})


def shown_value(value: Any) -> str:
    """Write an option's value for a name or a table.

    Examples
    --------
    >>> from spectral_stride.torch.training.config import shown_value
    >>> shown_value(2.0), shown_value("inside")
    ('2', 'inside')
    """
    return f"{value:g}" if isinstance(value, float) else str(value)


def starts_poorly(config: Config) -> bool:
    """Whether the strides are those that the demo starts from on purpose."""
    at_strides = config.begin == PRESENT
    return (
        at_strides and config.data == DIGITS and config.strides == MODELS[config.model].poor_strides
    )


def _quotient(word: str) -> float:
    """Read "1.6", or "32/20"."""
    above, _, below = word.partition("/")
    return float(above) / float(below) if below else float(word)


def parse_strides(text: str) -> list[Pair]:
    """Parse "1,1,3x2,32/20,2" as pairs (height, width).

    Raises
    ------
    RefusedError
        For anything but numbers of at least 1.
    """
    pairs = []
    for word in text.split(","):
        try:
            numbers = [_quotient(number) for number in word.split("x")]
        except (ValueError, ZeroDivisionError):
            numbers = []
        if len(numbers) not in (1, 2) or not all(1 <= n <= LONGEST_STRIDE for n in numbers):
            allowed = (
                "numbers of at least 1 between commas, each one stride or height x width, also as "
                f"in 32/20; or {RANDOM}"
            )
            refuse("--strides", repr(text), allowed, "write --strides 1,1,3x2,2,2")
        pairs.append((numbers[0], numbers[-1]))
    return pairs
