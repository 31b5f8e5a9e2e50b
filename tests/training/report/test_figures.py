"""Reports on many runs: what is read, what is computed from it, and what is written."""

import base64
import csv
import doctest
import importlib
import io
import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from spectral_stride import soft_mask
from spectral_stride.torch.training import commands
from spectral_stride.torch.training.config import parse
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.report import figures as curves
from spectral_stride.torch.training.report.comparison import MeanAndDeviation, sections
from spectral_stride.torch.training.report.document import write_report
from spectral_stride.torch.training.report.figures import (
    COSTS,
    PANELS,
    draw_histories,
    frequency_response,
)
from spectral_stride.torch.training.report.run_table import result_table
from spectral_stride.torch.training.report.runs import gather

MACS, STEP = COSTS.values()


def layers(strides):
    return [
        {"name": name, "stride": [s, s + moved], "size_in": [16, 16], "size_out": [8, 8]}
        for name, s, moved in (("stem", 1.0, 0.0), ("stage1", strides, 0.5))
    ]


def write_run(folder, accuracy, macs, step=0.01, tasks=None, machine=None, threads=1, **words):
    """Write what a finished training of two layers leaves behind."""
    config = parse({"strides": "1,1,2,2,2", "baseline": False, **words})
    kind = config.downsampling
    trained = {
        "downsampling": kind,
        "before": {"layers": layers(2.0), "macs": 5_000_000, "complexity": 1.0},
        "after": {"layers": layers(3.0), "macs": macs, "complexity": 0.5},
        "test_accuracy": accuracy,
        "test_accuracies": tasks or {"class": accuracy},
        "parameters": 1234,
        "seconds": 100.0 + 2 * config.seed,
        "step_seconds": step,
        "threads": threads,
    }
    summary = {
        "config": {**asdict(config), "recipe": "plain"},
        "sample_shape": [1, 16, 16],
        "band_limit": None,
        "tasks": {task: 10 for task in trained["test_accuracies"]},
        "train_samples": 100,
        "test_samples": 200,
        "runs": [trained],
    }
    (folder / kind).mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    write_config(folder, config, machine)
    with (folder / kind / "metrics.csv").open("w", newline="") as file:
        names = [f"stride/{layer['name']}/{axis}" for layer in layers(2.0) for axis in "hw"]
        names = [name.replace("/h", "/height").replace("/w", "/width") for name in names]
        writer = csv.writer(file)
        writer.writerow(["step", "train/loss", "test/accuracy", *names])
        for step_number in range(5):
            row = [1.0, 1.0, 2.0 + step_number / 5, 2.0 + step_number / 4]
            writer.writerow([step_number, 1.5, "", *row])
        writer.writerow([4, "", accuracy, "", "", "", ""])
    return folder


def write_config(folder, config, machine=None):
    content = {
        "command": config.command(),
        "config": {**asdict(config), "recipe": "plain"},
        "machine": {"system": "Linux", "device": "cpu", **(machine or {})},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))


@pytest.fixture
def runs(tmp_path):
    """A sweep: strided at two starts and two seeds, learned at two penalties and two seeds."""
    folder = tmp_path / "runs"
    strided = [("1,1,1,2,2", 4_000_000, 0.90), ("1,1,2,2,2", 1_000_000, 0.80)]
    for start, macs, accuracy in strided:
        for seed, change in enumerate((-0.01, 0.01)):
            name = f"strided-{macs}-{seed}"
            words = {"strides": start, "downsampling": "strided", "seed": seed}
            write_run(folder / name, accuracy + change, macs, 2e-9 * macs, **words)
    for penalty, macs, accuracy in ((0.1, 2_000_000, 0.91), (0.3, 500_000, 0.83)):
        for seed, change in enumerate((-0.02, 0.02)):
            name = f"diffstride-{penalty}-{seed}"
            words = {"penalty": penalty, "seed": seed}
            write_run(folder / name, accuracy + change, macs, 3e-9 * macs, **words)
    return folder


# --- What is computed --------------------------------------------------------------------------


def test_spread_over_seeds():
    assert MeanAndDeviation.of([0.9, 0.92, 0.97]).mean == pytest.approx(0.93)
    assert MeanAndDeviation.of([0.9, 0.92, 0.97]).deviation == pytest.approx(
        np.std([90, 92, 97], ddof=1) / 100
    )
    assert MeanAndDeviation.of([0.9]).text(100) == "90.00 (1)"
    assert MeanAndDeviation.of([0.9, 0.9]).text(100) == "90.00 ± 0.00 (2)"


def test_runs_are_sorted_into_groups(runs):
    (section,) = sections(gather([runs]).runs)
    assert [(group.label, group.start, len(group.runs)) for group in section.groups] == [
        ("strided", "1,1,1,2,2", 2),
        ("strided", "1,1,2,2,2", 2),
        ("diffstride inside, penalty 0.1", "1,1,2,2,2", 2),
        ("diffstride inside, penalty 0.3", "1,1,2,2,2", 2),
    ]
    assert [group.accuracy.mean for group in section.groups] == pytest.approx(
        [0.9, 0.8, 0.91, 0.83]
    )
    assert [curve.label for curve in section.curves] == [
        "strided",
        "diffstride inside from 1,1,2,2,2",
    ]


@pytest.mark.parametrize(
    ("macs", "accuracy"),
    [(4.0, 0.90), (2.0, 0.85), (1.0, 0.80), (4 ** (1 / 4), 0.825), (4.001, None), (0.5, None)],
)
def test_accuracy_at_equal_cost_is_never_extrapolated(runs, macs, accuracy):
    (section,) = sections(gather([runs]).runs)
    strided, learned = section.curves
    found = strided.accuracy_at(MACS, macs)
    assert found is None if accuracy is None else found == pytest.approx(accuracy)
    # The same by step time, which is 2 ns a MAC here.
    found = strided.accuracy_at(STEP, 2 * macs)
    assert found is None if accuracy is None else found == pytest.approx(accuracy)
    assert learned.accuracy_at(MACS, 1.0) == pytest.approx(0.87)


def curve_of(folder, points):
    """The curve of strided networks at (ms a step, accuracy)."""
    for number, (milliseconds, accuracy) in enumerate(points):
        words = {"downsampling": "strided", "strides": f"1,1,1,1,{1 + number}"}
        write_run(folder / str(number), accuracy, 1_000_000, milliseconds / 1e3, **words)
    (section,) = sections(gather([folder]).runs)
    (curve,) = section.curves
    return curve


@pytest.mark.parametrize(
    ("cost", "accuracy"),
    [
        (89, None),
        (90, 0.64),
        (100, 0.64 + 0.02 * np.log(10 / 9) / np.log(2)),  # not by way of what is less accurate
        (110, 0.64 + 0.02 * np.log(11 / 9) / np.log(2)),
        (180, 0.66),
        (200, 0.66),  # what costs more is less accurate
        (240, 0.66),
        (241, None),
    ],
)
def test_more_than_is_needed_does_not_cost_accuracy(tmp_path, cost, accuracy):
    """Equal cost is up to that cost: nobody has to take what is dearer and worse."""
    points = [(100, 0.61), (240, 0.60), (90, 0.64), (180, 0.66)]
    found = curve_of(tmp_path, points).accuracy_at(STEP, cost)
    assert found is None if accuracy is None else found == pytest.approx(accuracy)


def test_the_cheapest_may_be_the_best(tmp_path):
    curve = curve_of(tmp_path, [(90, 0.64), (100, 0.61)])
    assert [curve.accuracy_at(STEP, cost) for cost in (89, 90, 95, 100, 101)] == [
        None,
        *[pytest.approx(0.64)] * 3,
        None,
    ]


def test_of_equal_costs_the_best_counts(tmp_path):
    """Its mean is that over seeds; other starts are other choices."""
    curve = curve_of(tmp_path, [(90, 0.60), (90, 0.64), (180, 0.64), (180, 0.62)])
    assert curve.best(STEP) == ([90.0], [0.64])
    assert curve.accuracy_at(MACS, 1.0) is None  # a single cost is no curve


def test_a_single_cost_is_no_curve(tmp_path):
    write_run(tmp_path / "a", 0.9, 1_000_000, downsampling="strided")
    (section,) = sections(gather([tmp_path]).runs)
    assert section.curves[0].accuracy_at(MACS, 1.0) is None


def test_what_may_not_be_compared_is_apart(tmp_path):
    for number, words in enumerate([{}, {"epochs": 3}, {"smoothness": 2}, {"ramp": "outside"}]):
        write_run(tmp_path / str(number), 0.9, 1_000_000, **words)
    short, usual = sorted(sections(gather([tmp_path]).runs), key=lambda s: s.setting["epochs"])
    assert [group.method for group in short.groups] == ["diffstride inside"]
    assert [group.method for group in usual.groups] == [
        "diffstride outside smoothness 4",
        "diffstride inside smoothness 2",
        "diffstride inside smoothness 4",
    ]


@pytest.mark.parametrize(
    "machines",
    [
        [{"device": "cpu"}, {"device": "cuda"}],
        [{"model": "A 1"}, {"model": "A 2"}],
        [{}, {"model": "A 1"}],  # from before models were written down: nobody knows which
        [{"model": "A 1", "threads": 1}, {"model": "A 1", "threads": 8}],
    ],
)
def test_times_of_different_machines_are_apart(tmp_path, machines):
    for seed, machine in enumerate(machines):
        words = {"machine": machine, "downsampling": "strided", "seed": seed}
        write_run(tmp_path / str(seed), 0.9, 10**6, **words)
    assert len(sections(gather([tmp_path]).runs)) == 2


def test_threads_are_those_that_a_training_may_take(tmp_path):
    """Small steps take one of them; that is no reason not to compare them with large ones."""
    machine = {"model": "A 1", "threads": 8}
    write_run(tmp_path / "small", 0.9, 10**6, machine=machine, threads=1, downsampling="strided")
    write_run(tmp_path / "large", 0.9, 10**7, machine=machine, threads=8)
    (section,) = sections(gather([tmp_path]).runs)
    assert len(section.groups) == 2
    # From before they were written down there is only what was taken.
    write_run(tmp_path / "old1", 0.9, 10**6, threads=1)
    write_run(tmp_path / "old8", 0.9, 10**6, threads=8, seed=1)
    assert len(sections(gather([tmp_path]).runs)) == 3


def test_the_report_names_the_machine(tmp_path):
    machine = {"model": "A 1 | @ 2 GHz", "threads": 8}
    write_run(tmp_path / "runs" / "a", 0.9, 10**6, machine=machine, threads=2)
    text = write_report([tmp_path / "runs"], tmp_path / "out")[0].read_text()
    assert "Trained on `Linux, cpu, A 1 \\| @ 2 GHz`, with\n2 CPU thread(s)" in text
    assert "threads 8" not in text


def test_the_report_names_what_all_that_learn_share(tmp_path):
    """Ramp and penalty are in the tables; the others only where they differ."""
    words = {"smoothness": 3, "penalty": 0.1}
    for rate in (0.1, 0.2):
        write_run(tmp_path / "both" / str(rate), 0.9, 10**6, stride_lr=rate, **words)
    write_run(tmp_path / "one", 0.9, 10**6, stride_lr=0.1, **words)
    write_run(tmp_path / "none", 0.9, 10**6, downsampling="strided", stride_lr=0.1, **words)
    for name, ending in (
        ("both", "test samples 200; smoothness 3.0 where strides are learned. Trained"),
        (
            "one",
            "test samples 200; smoothness 3.0 and stride lr 0.1 where strides are learned. Trained",
        ),
        ("none", "test samples 200. Trained"),
    ):
        text = write_report([tmp_path / name], tmp_path / f"{name}-out")[0].read_text()
        assert ending in text


def test_a_run_that_went_on_elsewhere_is_compared_as_it_was_started(tmp_path):
    """There its summary has the data's whole path."""
    for seed in (0, 1):
        write_run(tmp_path / str(seed), 0.9, 10**6, downsampling="strided", seed=seed)
    path = tmp_path / "1" / "summary.json"
    summary = json.loads(path.read_text())
    summary["config"]["data"] = "/elsewhere/digits"
    path.write_text(json.dumps(summary))
    (section,) = sections(gather([tmp_path]).runs)
    assert [len(group.runs) for group in section.groups] == [2]


def test_a_run_from_before_an_option_is_compared_with_those_after_it(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / str(seed), 0.9, 10**6, seed=seed)
    for name in ("config.json", "summary.json"):
        path = tmp_path / "1" / name
        content = json.loads(path.read_text())
        del content["config"]["crop"]
        path.write_text(json.dumps(content))
    (section,) = sections(gather([tmp_path]).runs)
    assert [len(group.runs) for group in section.groups] == [2]


def test_the_same_training_counts_once(tmp_path):
    """As strided baselines of runs that differ in their penalty alone."""
    for name, penalty in (("a", 0.1), ("b", 0.3)):
        write_run(tmp_path / name, 0.9, 10**6, downsampling="strided", penalty=penalty)
    gathered = gather([tmp_path])
    assert [run.folder.name for run in gathered.runs] == ["a"]
    assert gathered.repeats == [(tmp_path / "b", tmp_path / "a")]


def test_a_folder_named_twice_counts_once(runs):
    assert gather([runs, runs.parent]).runs == gather([runs]).runs
    assert gather([runs, runs.parent]).repeats == []


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


@pytest.mark.parametrize("size", [16, 15, 2, 1])
@pytest.mark.parametrize("stride", [1.0, 2.3, 4.0])
def test_the_response_is_the_mask_on_the_bins(size, stride):
    mask = np.asarray(soft_mask(size, stride, smoothness=2))
    bins = np.arange(len(mask)) / size
    np.testing.assert_allclose(frequency_response(mask, size, bins), mask, atol=1e-12)


def test_the_response_between_bins_is_that_to_a_sampled_wave():
    """Circular convolution of a long wave with the impulse response, which is all of it."""
    size, count, wave = 16, 64, 9  # 9 cycles in 64 samples: between the bins 2 and 3 of 16
    mask = np.asarray(soft_mask(size, 2.5, smoothness=3))
    impulse = np.roll(np.fft.irfft(mask, n=size), size // 2)
    # The tap half a period away belongs to both sides.
    taps = np.concatenate([[impulse[0] / 2], impulse[1:], [impulse[0] / 2]])
    cosine = np.cos(2 * np.pi * wave / count * np.arange(count))
    padded = np.zeros(count)
    padded[: len(taps)] = taps
    filtered = np.fft.irfft(np.fft.rfft(cosine) * np.fft.rfft(np.roll(padded, -size // 2)), n=count)
    expected = frequency_response(mask, size, np.array([wave / count]))
    np.testing.assert_allclose(filtered, expected * cosine, atol=1e-12)


def test_every_learning_run_is_drawn_to_its_last_stride(tmp_path):
    for seed in range(PANELS + 1):
        write_run(tmp_path / str(seed), 0.9, 10**6, seed=seed)
    write_run(tmp_path / "strided", 0.9, 10**6, downsampling="strided")
    (section,) = sections(gather([tmp_path]).runs)
    pages = list(draw_histories(section))
    panels = [axes for page in pages for axes in page.axes if axes.get_visible()]
    assert [len([a for a in page.axes if a.get_visible()]) for page in pages] == [PANELS, 1]
    ends = [[line.get_ydata()[-1] for line in axes.lines] for axes in panels]
    assert ends == [[1.0, 1.0, 3.0, 3.5]] * (PANELS + 1)
    assert panels[0].lines[2].get_ydata()[0] == 2.0


@pytest.mark.parametrize(
    "name",
    ["report.comparison", "report.figures", "report.run_table", "sweep.grid", "sweep.outcomes"],
)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(f"spectral_stride.torch.training.{name}"))
    assert result.failed == 0
    assert result.attempted > 0


# --- What is written ---------------------------------------------------------------------------


class Page(HTMLParser):
    """Texts, pictures and links of a page, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.pictures, self.tags, self.texts = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attributes))
        elif tag not in ("meta", "br", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.texts.append(data)


def rows(markdown, first):
    """Rows of every table whose header begins with a word, as lists of cells."""
    tables = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("|")]
    cells = [[[c.strip() for c in line.strip("|").split(" | ")] for line in t] for t in tables]
    return [table[0:1] + table[2:] for table in cells if table[0][0] == first]


def test_the_report(runs, tmp_path):
    (runs / "half").mkdir()
    write_config(runs / "half", parse({"seed": "5", "baseline": False}))
    (runs / "broken").mkdir()
    (runs / "broken" / "error.txt").write_text("Traceback ...\nRuntimeError: a | b <i> `c`\n\n")
    markdown, html = write_report([runs], tmp_path / "out")
    text = markdown.read_text()
    (accuracy,) = rows(text, "downsampling")[:1]
    assert accuracy == [
        ["downsampling", "start 1,1,1,2,2", "start 1,1,2,2,2"],
        ["strided", "90.00 ± 1.41 (2)", "80.00 ± 1.41 (2)"],
        ["diffstride inside, penalty 0.1", "-", "91.00 ± 2.83 (2)"],
        ["diffstride inside, penalty 0.3", "-", "83.00 ± 2.83 (2)"],
    ]
    costs = rows(text, "downsampling")[1]
    assert costs[0][3:8] == ["M MACs", "step (ms)", "samples/s", "training (s)", "parameters"]
    assert [row[6] for row in costs[1:]] == ["101"] * 4  # the mean of 100 and 102
    assert [row[5] for row in costs[1:3]] == ["4000", "16000"]  # 32 samples in 8 and 2 ms
    assert all(len(row) == 9 for row in costs)
    macs, steps = rows(text, "measured")
    assert [row[2:] for row in macs[1:]] == [
        ["0.50", "83.00", "-", "itself"],
        ["1.00", "80.00", "itself", "87.00 (−7.00)"],
        ["2.00", "91.00", "85.00 (+6.00)", "itself"],
        ["4.00", "90.00", "itself", "-"],
    ]
    # By time the learned strides cost half as much again for each MAC.
    assert [row[2:] for row in steps[1:]] == [
        ["1.50", "83.00", "-", "itself"],
        ["2.00", "80.00", "itself", "84.66 (−4.66)"],
        ["6.00", "91.00", "87.92 (+3.08)", "itself"],
        ["8.00", "90.00", "itself", "-"],
    ]
    assert "the best that its means reach at up to that cost" in " ".join(text.split())
    (unfinished,) = rows(text, "run")
    assert [row[1] for row in unfinished[1:]] == [
        "`RuntimeError: a \\| b <i> 'c'`",
        "`not finished: running, or interrupted`",
    ]
    for command in {run.command for run in gather([runs]).runs}:
        assert f"```sh\n{command}\n```" in text

    page = Page(html.read_text())
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == [
        "section-1-costs.png",
        *(f"section-1-responses-{number}.png" for number in range(1, 5)),
        "section-1-strides-1.png",
    ]
    inside = [picture["src"].partition("base64,") for picture in page.pictures]
    assert {kind for kind, _, _ in inside} == {"data:image/png;"}
    assert sorted(base64.b64decode(data) for _, _, data in inside) == sorted(
        (tmp_path / "out" / name).read_bytes() for name in pictures
    )
    assert all(f"]({name})" in text for name in pictures)
    assert all(picture["alt"] for picture in page.pictures)
    assert not {"script", "link", "i"} & set(page.tags)
    assert "RuntimeError: a | b <i> 'c'" in page.texts
    assert "http" not in "".join(page.texts)


def test_several_tasks_and_sections(tmp_path):
    both = {"digit": 0.9, "speaker": 0.7}
    write_run(tmp_path / "runs" / "a", 0.8, 10**6, tasks=both)
    write_run(tmp_path / "runs" / "b", 0.8, 10**6, epochs=3)
    markdown, _ = write_report([tmp_path / "runs"], tmp_path / "out")
    text = markdown.read_text()
    assert "## resnet18 on digits, epochs 30\n" in text
    assert "## resnet18 on digits, epochs 3\n" in text
    tables = rows(text, "downsampling")
    values = [table[1][1] for table in tables if len(table[0]) == 2]
    assert values == ["80.00 (1)", "90.00 (1)", "70.00 (1)", "80.00 (1)"]
    assert text.index("Digit alone:") < text.index("Speaker alone:")


def test_a_failure_that_was_made_good_says_so(runs, tmp_path):
    done = next(runs.glob("diffstride-*"))
    failed = runs / "zz-failed"
    failed.mkdir()
    (failed / "config.json").write_text((done / "config.json").read_text())
    (failed / "error.txt").write_text("RuntimeError: out of memory\n")
    (unfinished,) = gather([runs]).unfinished
    assert unfinished.reason == f"RuntimeError: out of memory; finished in {done}"


def test_only_unfinished_runs_make_a_report_too(tmp_path):
    write_config(tmp_path / "runs" / "a", parse({}))
    markdown, _ = write_report([tmp_path / "runs"], tmp_path / "out")
    assert "# Learned strides: 0 trainings" in markdown.read_text()
    assert "## Failed or not finished" in markdown.read_text()


def interleave(folder):
    """Let a second training write its steps between those of the first."""
    path = folder / "diffstride" / "metrics.csv"
    header, *rows, test = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row for row in rows for _ in "12"), test]) + "\n")


def break_summary(change):
    def do(folder):
        path = folder / "summary.json"
        summary = json.loads(path.read_text())
        change(summary)
        path.write_text(json.dumps(summary))

    return do


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda f: (f / "summary.json").write_text('{"runs": ['), "summary.json"),
        (lambda f: (f / "summary.json").write_bytes(b"\xff\xfe"), "summary.json"),
        (lambda f: (f / "summary.json").write_text("[]"), "summary.json"),
        (break_summary(lambda s: s.pop("train_samples")), "summary.json"),
        (break_summary(lambda s: s["runs"][0].pop("step_seconds")), "summary.json"),
        (break_summary(lambda s: s["runs"][0].pop("seconds")), "summary.json"),
        (break_summary(lambda s: s["runs"][0].update(test_accuracy="high")), "summary.json"),
        (lambda f: (f / "config.json").unlink(), "config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config.json"),
        (lambda f: (f / "config.json").write_text("{}"), "config.json"),
        (lambda f: (f / "diffstride" / "metrics.csv").unlink(), "metrics.csv"),
        (lambda f: (f / "diffstride" / "metrics.csv").write_text("step\n1\n"), "metrics.csv"),
        (lambda f: (f / "diffstride" / "metrics.csv").write_text(""), "metrics.csv"),
        (interleave, "metrics.csv' (step 0 after step 0"),
    ],
)
def test_a_broken_file_is_named_in_one_line(runs, tmp_path, damage, name):
    folder = runs / "diffstride-0.1-0"
    damage(folder)
    with pytest.raises(RefusedError, match=r"RUNS: got .*; allowed: .*; instead: ") as caught:
        write_report([runs], tmp_path / "out")
    assert f"{folder}/" in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(commands.sweep)
    app.command()(commands.report)
    return lambda *words: CliRunner().invoke(app, ["report", *words])


def test_the_command_writes_over_its_own_report_alone(command, runs, tmp_path):
    first, second = (str(path) for path in sorted(runs.glob("diffstride-0.1-*")))
    result = command(first, second)
    assert (result.exit_code, result.exception) == (0, None)
    assert "report/report.html" in result.stdout.replace("\n", "")
    stale = tmp_path / "report" / "section-7-costs.png"
    stale.touch()
    (tmp_path / "report" / "report.html").unlink()  # as if it had been stopped half way
    assert command(first).exit_code == 0
    assert not stale.exists()
    assert "90.00" not in (tmp_path / "report" / "report.md").read_text()

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "section.png").write_text("mine")
    result = command(first, "--out", str(mine))
    assert "which holds files" in str(result.exception)
    assert (mine / "section.png").read_text() == "mine"
    result = command(first, "--out", str(mine / "section.png"))
    assert "a folder that can be written" in str(result.exception)


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_runs(command, tmp_path, name):
    (tmp_path / "empty").mkdir()
    assert "allowed: folders with runs in them" in str(command(str(tmp_path / name)).exception)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("model", "axes"), [("audio", ["time", "frequency"]), ("resnet18", ["height", "width"])]
)
def test_axes_have_the_names_of_what_the_network_hears_or_sees(model, axes):
    run = SimpleNamespace(config={"model": model}, layers_after=[])
    assert [handle.get_label() for handle in curves._layer_handles(run)] == axes
