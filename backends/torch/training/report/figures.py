"""The pictures of a report: accuracy over cost, strides over training, masks and responses."""

import math
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.report.comparison import Cost, Section, SeedGroup
from spectral_stride.torch.training.report.plots import (
    AXES,
    COLOURS,
    every_mark,
    mask_of,
    stride_history,
)
from spectral_stride.torch.training.report.run_table import pair
from spectral_stride.torch.training.report.runs import TrainedRun

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LOWEST = -60.0  # dB
# Frequencies at which a response is drawn.
_RESPONSES = 513

# How many times the least the largest cost is, where ticks at 1, 2 and 5 are enough.
_WIDE = 6.0

# Inches: of this width letters can be read on a telephone, at 390 pixels.
_WIDTH = 5.5
_COLUMNS = 2
# Letters above one of them.
_LETTERS = 38
# Small pictures in one figure: more would not fit on a page.
PANELS = 12


def macs_in_millions(run: TrainedRun) -> float:
    """Multiply-accumulates per sample, in millions."""
    return run.macs / 1e6


def step_milliseconds(run: TrainedRun) -> float:
    """Median time of a training step, in milliseconds."""
    return 1e3 * run.step_seconds


# What a report calls a cost, and how it is read from a run.
COSTS: dict[str, Cost] = {
    "multiply-accumulates per sample (millions)": macs_in_millions,
    "training step (ms, median)": step_milliseconds,
}


def frequency_response(mask: NDArray[np.float64], size: int, count: int) -> NDArray[np.float64]:
    """Frequency response of a mask on the bins of an axis, between the bins too.

    H(f) = sum_n h_n cos(2 pi f d_n), the Fourier transform of the impulse response
    h_n = irfft(m)_n at the distance d_n = min(n, N - n) from its centre; H(k/N) = m_k.

    Parameters
    ----------
    mask : array of shape (size//2 + 1,)
    size : int
        Samples N along the axis.
    count : int
        How many frequencies, 2 or more, evenly from 0 to 1/2 cycle per sample.

    Returns
    -------
    array of shape (count,)

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_stride import soft_mask
    >>> from spectral_stride.torch.training.report.figures import frequency_response
    >>> mask = soft_mask(8, 2.0, smoothness=2, ramp="outside")
    >>> np.round(frequency_response(mask, 8, 9)[[0, 6, 7, 8]], 3)  # at 0, 3/8, 7/16, 1/2
    array([1.   , 1.   , 0.686, 0.5  ])
    """
    impulse = np.fft.irfft(mask, n=size)
    distance = np.minimum(np.arange(size), size - np.arange(size))
    # Each wave repeats after so many samples: taps as far apart are one.
    period = 2 * (count - 1)
    return np.fft.rfft(np.bincount(distance % period, impulse, period)).real


def _colours(section: Section) -> dict[str, str]:
    methods = list(dict.fromkeys(group.method for group in section.groups))
    return {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(methods)}


def _markers(section: Section) -> dict[str, str]:
    return {start: _MARKERS[i % len(_MARKERS)] for i, start in enumerate(section.starts)}


def _scale(axes: Axes) -> None:
    """Make the costs logarithmic, with a few ticks that are written as plain numbers."""
    axes.set_xscale("log")
    least, most = axes.get_xlim()
    wide = most > _WIDE * least
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if wide else MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_cost(axes: Axes, section: Section, cost: Cost) -> None:
    colours, markers = _colours(section), _markers(section)
    for curve in section.curves:
        costs, accuracies = curve.points(cost)
        means = [100 * accuracy for accuracy in accuracies]
        axes.plot(costs, means, "-+", color=colours[curve.method], lw=1.2, markersize=9)
    for group in section.groups:
        axes.plot(
            [cost(run) for run in group.runs],
            [100 * run.accuracy for run in group.runs],
            linestyle="none",
            marker=markers[group.start],
            markersize=4,
            alpha=0.6,
            color=colours[group.method],
        )
    _scale(axes)
    axes.grid(alpha=0.3)


def draw_costs(section: Section) -> Figure:
    """Draw accuracy over each cost: a marker for each training, + and lines for means over seeds.

    Parameters
    ----------
    section : Section

    Returns
    -------
    Figure
    """
    handles = [
        Line2D([], [], color=colour, label=method) for method, colour in _colours(section).items()
    ]
    handles += [
        Line2D([], [], linestyle="none", marker=marker, color="0.4", label=f"start {start}")
        for start, marker in _markers(section).items()
    ]
    height = 7.0 + 0.2 * len(handles)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="white")
    panels = figure.subplots(len(COSTS), 1)
    for axes, (name, cost) in zip(panels, COSTS.items(), strict=True):
        _draw_cost(axes, section, cost)
        axes.set_xlabel(name)
        axes.set_ylabel("test accuracy (%)")
    figure.legend(handles=handles, loc="outside lower center", ncols=1, fontsize=9)
    return figure


def _title(run: TrainedRun, group: SeedGroup) -> str:
    words = f"{group.label}, start {group.start}, seed {run.config['seed']}"
    return textwrap.fill(words, _LETTERS)


def _draw_history(axes: Axes, run: TrainedRun) -> None:
    kind = run.config["downsampling"]
    steps, history = stride_history(run.folder, kind, run.layers_after, "RUNS")
    epochs = steps * (run.config["epochs"] / steps[-1])
    for number, layer in enumerate(run.layers_after):
        colour = COLOURS[number % len(COLOURS)]
        for axis, style in AXES:
            axes.plot(epochs, history[f"{layer['name']}/{axis}"], style, color=colour, lw=1.2)
    axes.set_xlim(0, run.config["epochs"])
    axes.grid(alpha=0.3)


def _layer_handles(run: TrainedRun) -> list[Line2D]:
    handles = [
        Line2D([], [], color=COLOURS[number % len(COLOURS)], label=layer["name"])
        for number, layer in enumerate(run.layers_after)
    ]
    return handles + _axis_handles(run)


def _axis_handles(run: TrainedRun) -> list[Line2D]:
    names = MODELS[run.config["model"]].axes
    return [
        Line2D([], [], color="0.5", ls=style, label=name)
        for (_, style), name in zip(AXES, names, strict=True)
    ]


def draw_histories(section: Section) -> Iterator[Figure]:
    """Draw the strides of each learning run over its training, a panel for each.

    Parameters
    ----------
    section : Section

    Yields
    ------
    Figure
        Of up to `PANELS` runs.
    """
    pairs = [(group, run) for group in section.groups for run in group.runs if run.learns]
    for first in range(0, len(pairs), PANELS):
        page = pairs[first : first + PANELS]
        rows = math.ceil(len(page) / _COLUMNS)
        figure = Figure(figsize=(_WIDTH, 2.2 * rows + 0.9), layout="constrained", facecolor="white")
        panels = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False)
        for axes in panels.flat[len(page) :]:
            axes.set_visible(False)
        for axes, (group, run) in zip(panels.flat, page, strict=False):
            _draw_history(axes, run)
            axes.set_title(_title(run, group), loc="left", fontsize=8)
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel("stride (input samples per output sample)", fontsize=9)
        handles = _layer_handles(page[0][1])
        figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=9)
        yield figure


def _draw_response(
    mask_axes: Axes, response_axes: Axes, run: TrainedRun, position: int, colour: str
) -> None:
    layer = run.layers_after[position]
    frequencies = np.linspace(0.0, 0.5, _RESPONSES)
    kind = {"downsampling": run.config["downsampling"]}
    for (_, style), size, stride in zip(AXES, layer["size_in"], layer["stride"], strict=True):
        mask = mask_of(kind, dict(run.config), size, stride)
        response = np.abs(frequency_response(mask, size, _RESPONSES))
        bins = np.arange(len(mask)) / size
        dots: dict[str, Any] = {"marker": ".", "markersize": 4, "markevery": every_mark(len(mask))}
        mask_axes.plot(bins, mask, style, color=colour, lw=0.8, alpha=0.8, **dots)
        decibels = 20 * np.log10(np.maximum(response, 10 ** (_LOWEST / 20)))
        response_axes.plot(frequencies, decibels, style, color=colour, lw=0.8, alpha=0.8)
        for axes in (mask_axes, response_axes):
            axes.axvline(0.5 / stride, color=colour, lw=0.8, ls=":")


def draw_responses(group: SeedGroup) -> Figure:
    """Draw each layer's mask and frequency response at its final strides, one seed over another.

    Parameters
    ----------
    group : SeedGroup

    Returns
    -------
    Figure
        A row for each layer: the mask on the bins of the layer's input, and |H| in dB beside it.
        Dotted lines are at the strided Nyquist frequencies, 1/(2 stride).
    """
    layers = group.runs[0].layers_after
    figure = Figure(
        figsize=(_WIDTH, 1.8 * len(layers) + 1.2), layout="constrained", facecolor="white"
    )
    panels = figure.subplots(len(layers), 2, sharex=True, sharey="col", squeeze=False)
    for position, layer in enumerate(layers):
        mask_axes, response_axes = panels[position]
        for number, run in enumerate(group.runs):
            colour = COLOURS[number % len(COLOURS)]
            _draw_response(mask_axes, response_axes, run, position, colour)
        strides = list(dict.fromkeys(pair(r.layers_after[position]["stride"]) for r in group.runs))
        shown = ", ".join(strides[:2]) + (", ..." if len(strides) > 2 else "")
        mask_axes.set_title(f"{layer['name']}, stride {shown}", loc="left", fontsize=9)
        for axes in (mask_axes, response_axes):
            axes.grid(alpha=0.3)
            axes.set_xlim(0.0, 0.5)
        mask_axes.set_ylabel("mask", fontsize=9)
        response_axes.set_ylabel("|H| (dB)", fontsize=9)
    panels[0, 0].set_ylim(-0.08, 1.12)
    panels[0, 1].set_ylim(_LOWEST, 6.0)
    figure.supxlabel("frequency (cycles per sample of the layer's input)", fontsize=9)
    seeds = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], label=f"seed {run.config['seed']}")
        for i, run in enumerate(group.runs)
    ]
    nyquist = Line2D([], [], color="0.5", ls=":", label="strided Nyquist")
    handles = [*seeds, *_axis_handles(group.runs[0]), nyquist]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=9)
    return figure
