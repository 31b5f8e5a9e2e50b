"""What every picture of a training draws with: colours, axes, strides over steps, masks."""

import csv
import io
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spectral_stride import soft_mask
from spectral_stride.torch.training.config import LONGEST_STRIDE
from spectral_stride.torch.training.files import UnreadableError, opened
from spectral_stride.torch.training.refusal import refuse
from spectral_stride.torch.training.results import number, whole
from spectral_stride.torch.training.run_folder import LARGEST_METRICS, METRICS

# Okabe and Ito's, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# As the metrics name them, whatever the axes of a network are, and how they are drawn.
AXES = (("height", "-"), ("width", "--"))


# Steps of a training, far beyond any.
_MOST_STEPS = 10**12
# Marks on a line that can be told apart.
_MOST_MARKS = 500


@contextmanager
def plain_text() -> Iterator[None]:
    """Draw names as they are: two dollars in one make no formula, which may be none."""
    with rc_context({"text.parse_math": False}):
        yield


def png(figure: Figure, dpi: int) -> bytes:
    """Return a picture as what its file holds."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


def stride_history(
    folder: Path, kind: str, layers: Sequence[Mapping[str, Any]], option: str
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Read steps, and for every "layer/axis" the strides before each step and after the last.

    Parameters
    ----------
    folder : Path
        Of the run.
    kind : str
        The downsampling of the training.
    layers : sequence of mapping
        Name and final stride of each.
    option : str
        Of the command line, under which metrics of no finished training are refused.
    """
    path = folder / kind / METRICS
    try:
        steps, history = _read_history(path, folder, layers)
    except (UnreadableError, csv.Error, LookupError, TypeError, ValueError) as error:
        _refuse_metrics(path, f"{type(error).__name__}: {error}", option)
    falls = np.flatnonzero(np.diff(steps) <= 0)
    if falls.size:
        before, after = steps[falls[0] : falls[0] + 2]
        reason = f"step {after} after step {before}: two trainings wrote into it"
        _refuse_metrics(path, reason, option)
    return steps, history


def _read_history(
    path: Path, folder: Path, layers: Sequence[Mapping[str, Any]]
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    last = {
        f"{layer['name']}/{axis}": stride
        for layer in layers
        for (axis, _), stride in zip(AXES, layer["stride"], strict=True)
    }
    # Numbers alone are kept: there may be millions of rows.
    steps, columns = array("q"), {f"stride/{name}": array("d") for name in last}
    with opened(path, folder, LARGEST_METRICS) as file:
        reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
        places = {name: place for place, name in enumerate(next(reader, []))}
        step, loss = places["step"], places["train/loss"]
        filled = [(places[name], name, values) for name, values in columns.items()]
        for row in reader:
            if len(row) > loss and row[loss]:
                steps.append(whole(int(row[step]), "step", 0, _MOST_STEPS))
                for place, name, values in filled:
                    stride = float(row[place])
                    values.append(number(stride, name, -LONGEST_STRIDE, LONGEST_STRIDE))
    history = {
        name: np.append(values, final)
        for (name, final), values in zip(last.items(), columns.values(), strict=True)
    }
    return np.append(steps, steps[-1] + 1), history


def _refuse_metrics(path: Path, reason: str, option: str) -> NoReturn:
    allowed = "the metrics of one finished training, with its strides at each step"
    remedy = "train it again, or move its folder away"
    refuse(option, f"{str(path)!r} ({reason})", allowed, remedy)


def every_mark(count: int) -> int:
    """Say how far apart marks stand on a line of so many points."""
    return -(-count // _MOST_MARKS)


def mask_of(run: dict[str, Any], config: dict[str, Any], size: int, stride: float) -> NDArray[Any]:
    """What each frequency 0 .. size // 2 of a layer's input is multiplied by."""
    if run["downsampling"] == "diffstride":
        mask = soft_mask(size, stride, smoothness=config["smoothness"], ramp=config["ramp"])
        # A hard crop keeps whole what a soft one keeps in part.
        mask = (mask > 0) * 1.0 if config["hard"] else mask
    elif run["downsampling"] == "spectral":
        mask = soft_mask(size, stride, smoothness=0.0)
    elif run["downsampling"] == "blurpool":
        frequencies = np.arange(size // 2 + 1) / size
        mask = (np.sinc(stride * frequencies) / np.sinc(frequencies)) ** 2
    else:
        # A strided convolution takes every frequency; those that do not fit fold onto lower ones.
        mask = np.ones(size // 2 + 1)
    return np.asarray(mask)
