"""The table that a run ends with."""

import io
import json
import re

import pytest
from rich.console import Console

from spectral_stride.torch.training.report.run_table import pair, result_table
from spectral_stride.torch.training.report.runs import gather
from tests.training.report.made import write_run


def test_samples_a_second_are_those_that_a_step_takes(tmp_path):
    """A hundred training samples, half of them for either process, in batches of up to ..."""
    for batch_size, devices, wanted in ((32, 1, 3200), (256, 1, 10_000), (64, 2, 10_000)):
        folder = tmp_path / f"{batch_size}-{devices}"
        write_run(folder, 0.9, 10**6, step=0.01, batch_size=batch_size, devices=devices)
        (run,) = gather([folder]).runs
        assert run.samples_per_second == pytest.approx(wanted)
        summary = json.loads((folder / "summary.json").read_text())
        console = Console(record=True, width=200, file=io.StringIO())
        console.print(result_table(summary))
        assert re.search(rf"samples a second *│ *{wanted} ", console.export_text())


def test_a_start_that_a_budget_left_at_once_is_told(tmp_path):
    """With a balanced beginning the strides of the first column never trained."""
    line = "The start is that of --strides: the budget then began at balanced sizes"
    for begin, is_told in (("balanced", True), ("present", False), (None, False)):
        folder = write_run(tmp_path / str(begin), 0.9, 10**6, budget=4e6, begin=begin or "present")
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["config"].pop("begin") == (begin or "present")
        if begin:  # an older run has none
            summary["config"]["begin"] = begin
        assert (line in result_table(summary).caption) == is_told


def test_a_stride_beside_a_whole_number_is_not_written_as_that():
    """It gives another size."""
    assert pair((1.9998, 2.0)) == "1.9998x2"
    assert pair((1.504, 1.496)) == "1.5"
    assert pair((2.0, 2.0)) == pair((1.99999, 2.00001)) == "2"
