"""The report itself: its tables, its pictures, the command, and broken files."""

import base64
import csv
import json
import os
from html.parser import HTMLParser

import pytest
import typer
from typer.testing import CliRunner

from spectral_stride.torch.training import commands
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.report.document import write_report
from spectral_stride.torch.training.report.runs import gather
from spectral_stride.torch.training.words import parse
from tests.training.report.made import write_config, write_run


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


def test_names_of_folders_that_are_no_utf_8_are_shown_with_escapes(runs, tmp_path):
    odd = runs / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    write_config(odd, parse({"seed": "5", "baseline": False}))
    for file in write_report([runs], tmp_path / "out"):
        assert rf"{runs}/caf\xe9" in file.read_text()


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
    assert all(len(row) == 8 for row in costs)
    (strides,) = rows(text, "trained")
    assert [row[2] for row in strides[1:]] == ["1 3x3.5"] * 4
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


@pytest.mark.usefixtures("undrawn")
def test_the_conclusion_and_what_failed_stand_on_top(tmp_path):
    for seed in range(3):
        accuracy = 0.8 + seed / 50
        write_run(tmp_path / f"a{seed}", accuracy, 10**6, seed=seed, downsampling="strided")
        write_run(tmp_path / f"b{seed}", accuracy - 0.1, 10**6, seed=seed, downsampling="spectral")
        write_run(tmp_path / f"c{seed}", accuracy - 0.05 + seed / 1000, 10**6, seed=seed)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "error.txt").write_text("RuntimeError: no\n")
    markdown, _ = write_report([tmp_path], tmp_path / "out")
    text = markdown.read_text()
    first, _, conclusion, *_ = text.splitlines()
    assert first == "# Learned strides: 9 trainings, 1 failed or not finished"
    assert conclusion == (
        "resnet18 on digits, accuracy of learned strides beside fixed ones at equal "
        "multiply-accumulates: 1 above, 1 below, 0 not told apart."
    )
    (paired,) = rows(text, "learned")
    assert [row[1:] for row in paired[1:]] == [
        ["strided, start 1,1,2,2,2", "-4.90 (-5.15 to -4.65)", "3", "below"],
        ["spectral, start 1,1,2,2,2", "+5.10 (+4.85 to +5.35)", "3", "above"],
    ]


def test_every_training_is_a_line_of_a_table(runs, tmp_path):
    write_run(runs / "sum", 0.5, 10**6, downsampling="strided", labels="=1+2")
    for name in ("config.json", "summary.json"):  # as a later version may have it
        written = json.loads((runs / "sum" / name).read_text())
        written["config"] |= {"=later": 3}
        (runs / "sum" / name).write_text(json.dumps(written))
    write_report([runs], tmp_path / "out")
    with (tmp_path / "out" / "trainings.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9
    (one,) = (line for line in lines if (line["penalty"], line["seed"]) == ("0.3", "1"))
    assert (float(one["accuracy"]), one["macs"], one["final_sizes"]) == (0.85, "500000", "8,8")
    assert [line["labels"] for line in lines if line["labels"]] == ["'=1+2"]
    assert [line["'=later"] for line in lines if line["'=later"]] == ["3.0"]


def test_nothing_is_concluded_from_two_seeds(runs, tmp_path):
    markdown, _ = write_report([runs], tmp_path / "out")
    text = markdown.read_text()
    assert "none has both equal cost and 3 seeds in common" in text.splitlines()[2]
    assert "### Paired by seed" not in text


def test_the_report_names_the_machine(tmp_path):
    machine = {"model": "A 1 | @ 2 GHz", "threads": 8}
    write_run(tmp_path / "runs" / "a", 0.9, 10**6, machine=machine, threads=2)
    text = write_report([tmp_path / "runs"], tmp_path / "out")[0].read_text()
    assert "Trained on `Linux, cpu, A 1 \\| @ 2 GHz`, with\n2 CPU thread(s)" in text
    assert "threads 8" not in text


@pytest.mark.usefixtures("undrawn")
def test_the_report_names_what_all_that_learn_share(tmp_path):
    """Ramp and penalty are in the tables; the others only where they differ."""
    words = {"smoothness": 3, "penalty": 0.1}
    for rate in (0.1, 0.2):
        write_run(tmp_path / "both" / str(rate), 0.9, 10**6, stride_lr=rate, **words)
    write_run(tmp_path / "one", 0.9, 10**6, stride_lr=0.1, **words)
    write_run(tmp_path / "none", 0.9, 10**6, downsampling="strided", stride_lr=0.1, **words)
    learned = "smoothness 3.0 and hard False"
    for name, ending in (
        ("both", f"samples 200; {learned} where strides are learned. Trained"),
        ("one", f"samples 200; {learned} and stride lr 0.1 where strides are learned. Trained"),
        ("none", "test samples 200. Trained"),
    ):
        text = write_report([tmp_path / name], tmp_path / f"{name}-out")[0].read_text()
        assert ending in text


@pytest.mark.usefixtures("undrawn")
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
        (break_summary(lambda s: s.update(runs=[])), "summary.json"),
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


@pytest.mark.usefixtures("undrawn")
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
