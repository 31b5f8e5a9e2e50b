"""The picture of a training run: strides over training beside the final masks."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spectral_stride import soft_mask
from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.report.run_table import change, pair, percent
from spectral_stride.torch.training.run_folder import METRICS, PICTURE

# Colours that colour-blind readers can tell apart, for as many layers as a network here has.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# As the metrics name them, whatever the axes of a network are, and how they are drawn.
AXES = (("height", "-"), ("width", "--"))
_GREY = "0.75"


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


def _draw_strides(axes: Axes, path: Path, run: dict[str, Any], config: dict[str, Any]) -> None:
    epochs, names = config["epochs"], MODELS[config["model"]].axes
    steps, history = stride_history(path, run)
    when = steps * (epochs / steps[-1])
    for number, layer in enumerate(run["after"]["layers"]):
        colour = _COLOURS[number % len(_COLOURS)]
        for axis, style in AXES:
            label = layer["name"] if axis == "height" else None
            axes.plot(when, history[f"{layer['name']}/{axis}"], style, color=colour, label=label)
    for (_, style), name in zip(AXES, names, strict=True):
        axes.plot([], [], style, color=_GREY, label=name)
    axes.set(xlabel="epoch", ylabel="stride (input samples per output sample)")
    axes.set_title("Strides over training", loc="left")
    axes.set_xlim(0, epochs)
    axes.grid(alpha=0.3)
    axes.legend(ncols=2, frameon=True, loc="best")


def _draw_mask(
    axes: Axes, run: dict[str, Any], config: dict[str, Any], position: int, limit: float | None
) -> None:
    """Draw one layer's masks over the frequency in cycles per axis, which all layers share."""
    before, after = run["before"]["layers"][position], run["after"]["layers"][position]
    colour = _COLOURS[position % len(_COLOURS)]
    start = mask_of(run, config, before["size_in"][0], before["stride"][0])
    axes.fill_between(np.arange(len(start)), start, color=_GREY, alpha=0.5, linewidth=0)
    for number, (_, style) in enumerate(AXES):
        mask = mask_of(run, config, after["size_in"][number], after["stride"][number])
        axes.plot(mask, style, color=colour, marker="o", markersize=3)
    if limit is not None:
        axes.axvline(limit, color="black", linewidth=1, linestyle=":")
    text = f"{after['name']}\n{change(pair(before['stride']), pair(after['stride']))}"
    axes.text(0.985, 0.9, text, transform=axes.transAxes, ha="right", va="top", color=colour)
    axes.set_ylim(-0.08, 1.12)
    axes.set_yticks([0, 1])
    axes.grid(alpha=0.3)


def _title(summary: dict[str, Any]) -> str:
    config = summary["config"]
    parts = [
        f"{run['downsampling']} {percent(run['test_accuracy'])} "
        f"at {run['after']['macs'] / 1e6:.2f} M multiply-accumulates"
        for run in summary["runs"]
    ]
    return f"{config['model']} on {config['data']}: {', '.join(parts)}"


def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw the strides over training and the masks of the first training in a run folder.

    Parameters
    ----------
    folder : Path
        A run folder, with the metrics of its training.
    summary : dict
        From `run.train`, or read back from ``summary.json``.

    Returns
    -------
    Path
        Of the PNG file in the folder.
    """
    config, run = summary["config"], summary["runs"][0]
    count = len(run["after"]["layers"])
    figure = Figure(figsize=(12, 6), layout="constrained")
    grid = figure.add_gridspec(count, 2, width_ratios=(1.2, 1))
    metrics = folder / run["downsampling"] / METRICS
    _draw_strides(figure.add_subplot(grid[:, 0]), metrics, run, config)
    limit = summary["band_limit"]
    highest = max(run["before"]["layers"][0]["size_in"]) // 2
    for position in range(count):
        axes = figure.add_subplot(grid[position, 1])
        _draw_mask(axes, run, config, position, limit)
        axes.set_xlim(-0.2, highest + 0.2)
        axes.tick_params(labelbottom=position == count - 1)
        if position == 0:
            axes.set_title("Masks: at the start (grey), at the end (colour)", loc="left")
    known = "" if limit is None else "; the data end at the dotted line"
    axes.set_xlabel(f"frequency (cycles per axis{known})")
    figure.suptitle(_title(summary), fontweight="bold")
    path = folder / PICTURE
    figure.savefig(path, dpi=120)
    return path
