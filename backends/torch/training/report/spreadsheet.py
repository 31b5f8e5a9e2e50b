"""The report as a table for other programs: one line a training."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from spectral_stride.torch.training.report.markdown import code
from spectral_stride.torch.training.report.run_table import pair
from spectral_stride.torch.training.report.runs import TrainedRun


def csv_of(runs: Sequence[TrainedRun]) -> str:
    """Write one line a training: its choices, what came out, and the sizes that it ended with."""
    file = io.StringIO()
    lines: list[dict[str, Any]] = [
        {
            **run.config,
            "folder": code(run.folder).strip("`"),
            "machine": run.machine,
            "train_samples": run.samples[0],
            "test_samples": run.samples[1],
            "accuracy": run.accuracy,
            "macs": run.macs,
            "step_seconds": run.step_seconds,
            "training_seconds": run.seconds,
            "final_sizes": ",".join(pair(layer["size_out"]) for layer in run.layers_after),
        }
        for run in runs
    ]
    # Runs of other versions may have options that are none here.
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(_no_formula, names))
    writer.writerows([_no_formula(line.get(name, "")) for name in names] for line in lines)
    return file.getvalue()


def _no_formula(value: Any) -> Any:
    """Return a cell that no spreadsheet computes: a run folder may be anybody's."""
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value
