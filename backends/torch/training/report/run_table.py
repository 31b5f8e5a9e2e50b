"""The table that a training run ends with. Plain ASCII, so that any terminal can show it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from spectral_stride.torch.budget.mac_budget import BALANCED
from spectral_stride.torch.training.networks import MODELS

# Where one stride more is given than is listed.
_NO_STAGE = "No stage1: at a stride of 1 it begins with an identity, and has no stride to learn."

# Where a budget does not begin at the strides that are given.
_BALANCED = "The start is that of --strides: the budget then began at balanced sizes."


def _number(value: float) -> str:
    """Write a stride; one just beside a whole number, which gives other sizes, is not that."""
    digits = 2 if round(value, 2) % 1 else 4
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def pair(strides: Sequence[float]) -> str:
    """Write strides as the command line takes them: those of both axes, or one number if equal."""
    first, second = (_number(stride) for stride in strides)
    return first if first == second else f"{first}x{second}"


def change(start: str, end: str) -> str:
    """Write what something was and became."""
    return start if start == end else f"{start} -> {end}"


def percent(share: float) -> str:
    """Write a share of 1 as a percentage."""
    return f"{100 * share:.2f} %"


def _size(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def samples_per_second(config: Mapping[str, Any], train_samples: int, step_seconds: float) -> float:
    """Samples that a second of training takes in, on all devices together.

    A device whose share of the training samples is smaller than a batch takes that share at a step.

    Examples
    --------
    >>> from spectral_stride.torch.training.report.run_table import samples_per_second
    >>> config = {"batch_size": 128, "devices": 2, "nodes": 1}
    >>> samples_per_second(config, 50_000, 0.5), samples_per_second(config, 100, 0.5)
    (512.0, 200.0)
    """
    processes = config["devices"] * config["nodes"]
    batch = min(config["batch_size"], math.ceil(train_samples / processes))
    return float(processes * batch / step_seconds)


def _layer_cells(run: dict[str, Any], position: int, columns: int) -> list[str]:
    """Write the stride of a layer and, in a second column, the map that it gives."""
    before, after = run["before"]["layers"][position], run["after"]["layers"][position]
    cells = [
        change(pair(before["stride"]), pair(after["stride"])),
        change(_size(before["size_out"]), _size(after["size_out"])),
    ]
    return cells[:columns]


def _total_cells(run: dict[str, Any], summary: Mapping[str, Any]) -> dict[str, str]:
    """What there is one of per run, by the name of its row."""
    tasks = run["test_accuracies"]
    speed = samples_per_second(summary["config"], summary["train_samples"], run["step_seconds"])
    each = (
        {f"  {escape(task)}": percent(share) for task, share in tasks.items()}
        if len(tasks) > 1
        else {}
    )
    return {
        "test accuracy": percent(run["test_accuracy"]),
        **(each if len(each) > 1 else {}),
        "MACs per sample": change(
            _millions(run["before"]["macs"]), _millions(run["after"]["macs"])
        ),
        "training time": f"{run['seconds']:.0f} s",
        "training step": f"{1e3 * run['step_seconds']:.1f} ms",
        "samples a second": f"{speed:.0f}",
    }


def result_table(summary: dict[str, Any]) -> Table:
    """Lay out strides, map sizes, accuracy and cost, at the start and the end, beside the baseline.

    Parameters
    ----------
    summary : dict
        From `fit.train`, or read back from ``summary.json``.

    Returns
    -------
    rich.table.Table
    """
    runs, axes = summary["runs"], MODELS[summary["config"]["model"]].axes
    caption = "MACs: multiply-accumulates, counted by torch.utils.flop_counter"
    if len(runs[0]["before"]["layers"]) < len(summary["config"]["strides"].split(",")):
        caption += f".\n{_NO_STAGE}"
    if summary["config"].get("begin") == BALANCED:  # older runs have no such choice
        caption += f".\n{_BALANCED}"
    table = Table(title=f"Start -> end; strides and maps are {' x '.join(axes)}", caption=caption)
    table.add_column("layer", no_wrap=True)
    # What stays as the first one starts has maps that are there already.
    first = runs[0]["before"]["layers"]
    columns = [1 if run["after"]["layers"] == first and run is not runs[0] else 2 for run in runs]
    for run, count in zip(runs, columns, strict=True):
        table.add_column(f"{run['downsampling']}:\nstride", no_wrap=True)
        if count == 2:
            table.add_column("\nmap", no_wrap=True)
    for position, layer in enumerate(runs[0]["before"]["layers"]):
        table.add_row(
            escape(layer["name"]),
            *(
                cell
                for run, count in zip(runs, columns, strict=True)
                for cell in _layer_cells(run, position, count)
            ),
        )
    table.add_section()
    totals = [_total_cells(run, summary) for run in runs]
    for name in totals[0]:
        cells = [[total[name], ""][:count] for total, count in zip(totals, columns, strict=True)]
        table.add_row(name, *(cell for some in cells for cell in some))
    return table
