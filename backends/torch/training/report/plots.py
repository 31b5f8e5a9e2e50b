"""What every picture of a training draws with: colours, axes, strides over steps, masks."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectral_stride import soft_mask

# Okabe and Ito's, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# As the metrics name them, whatever the axes of a network are, and how they are drawn.
AXES = (("height", "-"), ("width", "--"))


def stride_history(path: Path, run: dict[str, Any]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Read steps, and for every "layer/axis" the strides before each step and after the last."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    steps = np.array([int(row["step"]) for row in rows])
    history = {}
    for layer in run["after"]["layers"]:
        for position, (axis, _) in enumerate(AXES):
            name = f"{layer['name']}/{axis}"
            strides = [float(row[f"stride/{name}"]) for row in rows]
            history[name] = np.array([*strides, layer["stride"][position]])
    return np.append(steps, steps[-1] + 1), history


def mask_of(run: dict[str, Any], config: dict[str, Any], size: int, stride: float) -> NDArray[Any]:
    """What each frequency 0 .. size // 2 of a layer's input is multiplied by."""
    if run["downsampling"] == "diffstride":
        mask = soft_mask(size, stride, smoothness=config["smoothness"], ramp=config["ramp"])
    elif run["downsampling"] == "spectral":
        mask = soft_mask(size, stride, smoothness=0.0, ramp="inside")
    else:
        # A strided convolution takes every frequency; those that do not fit fold onto lower ones.
        mask = np.ones(size // 2 + 1)
    return np.asarray(mask)
