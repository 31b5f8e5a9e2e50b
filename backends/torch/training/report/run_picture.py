"""The picture of a training run: strides over training beside the final masks."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral_stride.torch.training.files import write_whole
from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.report.plots import (
    AXES,
    COLOURS,
    every_mark,
    mask_of,
    plain_text,
    png,
    stride_history,
)
from spectral_stride.torch.training.report.run_table import change, pair, percent
from spectral_stride.torch.training.run_folder import PICTURE

_GREY = "0.75"


def _draw_strides(axes: Axes, folder: Path, run: dict[str, Any], config: dict[str, Any]) -> None:
    epochs, names = config["epochs"], MODELS[config["model"]].axes
    layers = run["after"]["layers"]
    steps, history = stride_history(folder, run["downsampling"], layers, "--resume")
    when = steps * (epochs / steps[-1])
    for number, layer in enumerate(layers):
        colour = COLOURS[number % len(COLOURS)]
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
    colour = COLOURS[position % len(COLOURS)]
    start = mask_of(run, config, before["size_in"][0], before["stride"][0])
    axes.fill_between(np.arange(len(start)), start, color=_GREY, alpha=0.5, linewidth=0)
    for number, (_, style) in enumerate(AXES):
        mask = mask_of(run, config, after["size_in"][number], after["stride"][number])
        every = every_mark(len(mask))
        axes.plot(mask, style, color=colour, marker="o", markersize=3, markevery=every)
    if limit is not None:
        axes.axvline(limit, color="black", linewidth=1, linestyle=":")
    text = f"{after['name']}\n{change(pair(before['stride']), pair(after['stride']))}"
    axes.text(0.985, 0.9, text, transform=axes.transAxes, ha="right", va="top", color=colour)
    axes.set_ylim(-0.08, 1.12)
    axes.set_yticks([0, 1])
    axes.grid(alpha=0.3)


def _title(summary: dict[str, Any]) -> str:
    config = summary["config"]
    results = [
        f"{run['downsampling']} {percent(run['test_accuracy'])} "
        f"at {run['after']['macs'] / 1e6:.2f} M"
        for run in summary["runs"]
    ]
    first = f"{config['model']} on {config['data']}"
    return f"{first}\n{', '.join(results)} multiply-accumulates per sample"


@plain_text()
def draw(folder: Path, summary: dict[str, Any]) -> Path:
    """Draw the strides over training and the masks of the first training in a run folder.

    Parameters
    ----------
    folder : Path
        A run folder, with the metrics of its training.
    summary : dict
        From `fit.train`, or read back from ``summary.json``.

    Returns
    -------
    Path
        Of the PNG file in the folder.
    """
    config, run = summary["config"], summary["runs"][0]
    count = len(run["after"]["layers"])
    figure = Figure(figsize=(12, 6), layout="constrained")
    grid = figure.add_gridspec(count, 2, width_ratios=(1.2, 1))
    _draw_strides(figure.add_subplot(grid[:, 0]), folder, run, config)
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
    write_whole(path, png(figure, 120))
    return path
