"""The same rows as a table, as JSON and as a picture."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.speed.growth import series
from benchmarks.speed.rows import Row, Setting

PACKAGES = ("spectral-stride", "numpy", "scipy", "torch", "jax", "array-api-compat")
COLUMNS = ("peer", "time", "quartiles", "ratio", "quartiles", "error of y, of gradients", "memory")


def machine() -> dict[str, Any]:
    """What the times depend on besides the code."""
    return {
        "system": platform.system(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": {"torch": torch.get_num_threads(), "OMP": os.environ.get("OMP_NUM_THREADS")},
    }


def processor() -> str:
    """Name of the processor; Linux alone knows it in full."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def record(
    name: str, question: str, rows: Sequence[Row], setting: Setting, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the whole result of one benchmark as JSON can hold it."""
    return {
        "benchmark": name,
        "question": question,
        "device": setting.device,
        "tiny": setting.tiny,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": sys.version.split()[0]}
        | {package: version(package) for package in PACKAGES},
        **extra,
        "rows": [row.entry() for row in rows],
    }


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Write a record as JSON."""
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def cells(row: Row) -> list[str]:
    """One line of the table, as text."""
    if row.seconds is None or row.ratio is None or row.errors is None or row.peak_bytes is None:
        return [row.peer, row.note, *[""] * (len(COLUMNS) - 2)]
    time, ratio = row.seconds, row.ratio
    return [
        row.peer,
        f"{1e3 * time.median:.3g} ms",
        f"{1e3 * time.low:.3g} to {1e3 * time.high:.3g}",
        f"{ratio.median:.2f}",
        f"{ratio.low:.2f} to {ratio.high:.2f}",
        ", ".join(f"{error:.0e}" for error in row.errors.values()),
        f"{row.peak_bytes / 2**20:.3g} MiB",
    ]


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows that were measured in turns, under what they have in common."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(f"{row.shape} {row.ramp}, {row.dtype}", []).append(row)
    return found


def table(question: str, rows: Sequence[Row]) -> Table:
    """One table of a benchmark, a section for each case."""
    columns = [f"over {rows[0].reference}" if name == "ratio" else name for name in COLUMNS]
    made = Table(*columns, title=question, title_justify="left", highlight=False)
    for title, together in groups(rows).items():
        made.add_section()
        made.add_row(title, style="bold")
        for row in together:
            made.add_row(*cells(row))
    return made


def picture(path: Path, name: str, rows: Sequence[Row]) -> None:
    """Write the plot of a benchmark."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    if name == "growth":
        growth_panels(figure, rows)
    else:
        ratio_panels(figure, rows)
    figure.savefig(path, dpi=110)


def ratio_panels(figure: Figure, rows: Sequence[Row]) -> None:
    """Ratios to the reference over shapes, one panel for each ramp and dtype."""
    kinds = list(dict.fromkeys((row.ramp, row.dtype) for row in rows))
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    peers = list(dict.fromkeys(row.peer for row in rows))
    for panel, (ramp, dtype) in zip(panels, kinds, strict=True):
        here = [row for row in rows if (row.ramp, row.dtype) == (ramp, dtype)]
        shapes = list(dict.fromkeys(row.shape for row in here))
        for peer in peers:
            points = [
                (shapes.index(row.shape), row.ratio)
                for row in here
                if row.peer == peer and row.ratio is not None
            ]
            places, found = [place for place, _ in points], [ratio for _, ratio in points]
            middle = [ratio.median for ratio in found]
            below = [ratio.median - ratio.low for ratio in found]
            above = [ratio.high - ratio.median for ratio in found]
            panel.errorbar(places, middle, (below, above), marker="o", capsize=3, label=peer)
        panel.set_yscale("log")
        panel.set_xticks(range(len(shapes)), [str(shape) for shape in shapes], rotation=20)
        panel.set_title(f"ramp {ramp}, {dtype}")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(f"time over {rows[0].reference}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")


def growth_panels(figure: Figure, rows: Sequence[Row]) -> None:
    """Time and memory over the length of the axis, one curve for each method and batch."""
    time, memory = figure.subplots(1, 2)
    for count, peer in series(rows):
        here = [row for row in rows if (row.shape[1], row.peer) == (count, peer)]
        timed = [(row.shape[-1], row.seconds) for row in here if row.seconds is not None]
        label = f"{peer}, {count} rows"
        sizes = [size for size, _ in timed]
        time.plot(sizes, [1e3 * found.median for _, found in timed], marker="o", label=label)
        time.fill_between(
            sizes,
            [1e3 * found.low for _, found in timed],
            [1e3 * found.high for _, found in timed],
            alpha=0.2,
        )
        kept = [(row.shape[-1], row.peak_bytes / 2**20) for row in here if row.peak_bytes]
        memory.plot(*zip(*kept, strict=True), marker="o", label=label)
    _finish(time, "time (ms)")
    _finish(memory, "peak memory over the input (MiB)")
    time.legend()


def _finish(panel: Axes, label: str) -> None:
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xlabel("samples N along the axis")
    panel.set_ylabel(label)
    panel.grid(alpha=0.3)
