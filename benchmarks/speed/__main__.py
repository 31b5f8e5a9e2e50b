"""The command ``python -m benchmarks.speed``: measure, print tables, write JSON and plots."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from rich.console import Console

from benchmarks.speed import (
    budgets,
    convolution,
    deployed,
    floor,
    growth,
    jitted,
    layer,
    methods,
    network,
    report,
)
from benchmarks.speed.rows import Row, Setting

RESULTS = Path(__file__).parent / "results"
# Wide enough for a line of the table where no terminal says how wide it is.
WIDTH = 150


class Benchmark(NamedTuple):
    """A module with a ``run``, the devices on which it runs unasked, and what it concludes."""

    module: ModuleType
    devices: tuple[str, ...]
    conclude: Callable[[Sequence[Row]], dict[str, Any]] = lambda rows: {}

    @property
    def question(self) -> str:
        """What it answers."""
        asked: str = self.module.QUESTION
        return asked


def _switch(rows: Sequence[Row]) -> dict[str, Any]:
    return {"longest_axis_for_matmul": growth.switch_points(rows)}


BENCHMARKS = {
    "layer": Benchmark(layer, ("cpu", "cuda")),
    "convolution": Benchmark(convolution, ("cpu", "cuda")),
    "network": Benchmark(network, ("cpu", "cuda")),
    "methods": Benchmark(methods, ("cpu", "cuda")),
    "growth": Benchmark(growth, ("cpu", "cuda"), _switch),
    "jitted": Benchmark(jitted, ("cpu",)),
    "deployed": Benchmark(deployed, ()),
    "budgets": Benchmark(budgets, ()),
    "floor": Benchmark(floor, ("cuda",)),
}


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    made.add_argument(
        "--only",
        action="append",
        choices=BENCHMARKS,
        help="run this benchmark, whatever the device; may be repeated",
    )
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--threads", type=int, help="PyTorch's threads; its own choice by default")
    made.add_argument("--tiny", action="store_true", help="tiny sizes, to see that all of it runs")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder for JSON and plots")
    return made


def chosen(options: argparse.Namespace) -> list[str]:
    """Names of the benchmarks to run: those of the device, and when tiny all that it can."""
    if options.only:
        return list(dict.fromkeys(options.only))
    return [
        name
        for name, benchmark in BENCHMARKS.items()
        if options.device in benchmark.devices or (options.tiny and options.device == "cpu")
    ]


def stem(name: str, setting: Setting) -> str:
    """Name of a result, without its ending: the same for every run of the same kind."""
    start = "tiny-" if setting.tiny else ""
    return f"{start}{name}-{setting.device}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser().error("--device: got cuda; allowed: cpu, as PyTorch finds no CUDA device here")
    if options.threads is not None:
        if options.threads < 1:
            parser().error(f"--threads: got {options.threads}; allowed: 1 or more")
        torch.set_num_threads(options.threads)
    setting, console = Setting(options.device, options.tiny), Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    options.results.mkdir(parents=True, exist_ok=True)
    for name in chosen(options):
        benchmark = BENCHMARKS[name]
        torch.manual_seed(0)
        rows = benchmark.module.run(setting)
        extra = benchmark.conclude(rows)
        console.print(report.table(benchmark.question, rows))
        for key, value in extra.items():
            console.print(f"{key}: {value}")
        path = options.results / stem(name, setting)
        found = report.record(name, benchmark.question, rows, setting, extra)
        report.write(path.with_suffix(".json"), found)
        report.picture(path.with_suffix(".png"), name, rows)
        console.print(f"written: {path}.json and .png\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
