"""Run folders of somebody else: what they say is text, what they point at stays unread."""

import csv
import json
import os
from pathlib import Path

import pytest

from spectral_stride.__main__ import main
from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.report.document import write_report
from tests.training.report.made import write_run
from tests.training.report.test_document import Page

SECRET = "the words of a secret file"


@pytest.fixture
def run(tmp_path):
    """The folder of one finished run."""
    return write_run(tmp_path / "runs" / "a", 0.9, 10**6)


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text(SECRET)
    return path


def change(path, *way, value):
    """Change one value in a file of JSON."""
    content = json.loads(path.read_text())
    inner = content
    for name in way[:-1]:
        inner = inner[name]
    inner[way[-1]] = value
    path.write_text(json.dumps(content))


def report(run, out="out"):
    markdown, html = write_report([run.parent], run.parents[1] / out)
    return markdown.read_text(), html.read_text()


# --- What they say is text ---------------------------------------------------------------------

# As the value of an option, as a name, as a command.
WORDS = [
    "![x]({secret})",
    "[x](https://example.com)",
    "<img src={secret}>",
    "<script>alert(1)</script>",
    "a\n\n# heading\n\n![x]({secret})",
    "a ``` b\n```\n# heading\n![x]({secret})\n````",
    "a | b | ![x]({secret})",
    "$\\frac{{$",
    "\ud800\x1b[31m",
]
PLACES = {
    "data": ("config.json", "config", "data"),
    "an option of another version": ("config.json", "config", "warm_up"),
    "command": ("config.json", "command"),
}


def use_everywhere(run, word):
    for file, *way in PLACES.values():
        change(run / file, *way, value=word)
    change(run / "config.json", "config", word, value=1)
    change(run / "config.json", "versions", word, value="1")
    summary = json.loads((run / "summary.json").read_text())
    summary["runs"][0]["test_accuracies"] = {word: 0.5, f"{word}2": 0.5}
    (run / "summary.json").write_text(json.dumps(summary))
    failed = run.parent / "failed"
    failed.mkdir()
    (failed / "error.txt").write_text(f"Error\n{word}", errors="surrogatepass")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("word", WORDS)
def test_no_word_is_more_than_text(run, secret, word):
    use_everywhere(run, word.format(secret=secret))
    other = write_run(run.parent / "b", 0.9, 10**6, epochs=3)  # so that titles say more
    assert other.is_dir()
    _, html = report(run)
    page = Page(html)
    assert set(page.tags) <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "img"),
        *("table", "thead", "tbody", "tr", "th", "td", "code", "pre"),
    }
    assert page.tags.count("h1") == 1
    assert page.tags.count("h2") == 3
    pictures = [image["src"] for image in page.pictures]
    assert set(pictures) == {"data:image/png;base64,YSBwaWN0dXJl"}
    assert len(pictures) == 6  # costs, strides and responses of two sections
    assert SECRET not in html


@pytest.mark.usefixtures("undrawn")
def test_words_are_shown_as_they_are(run, secret):
    change(run / "config.json", "config", "data", value=f"![x]({secret})")
    markdown, html = report(run)
    assert f"## resnet18 on !\\[x\\]({secret})\n" in markdown.replace("\\_", "_")
    assert f"resnet18 on ![x]({secret})" in Page(html).texts


@pytest.mark.usefixtures("undrawn")
def test_a_folder_may_have_any_name(run):
    for name in ("![x](y)", "`<b>`", "a|b", "[/]", "$\\x$"):
        write_run(run.parent / name, 0.9, 10**6, seed=len(name) + ord(name[0]))
    _, html = report(run)
    assert not {"b", "a"} & set(Page(html).tags)


def test_a_dollar_in_a_name_begins_no_formula(tmp_path):
    """Which it need not be: drawn, for the pictures' words are read then."""
    run = write_run(tmp_path / "runs" / "a", 0.9, 10**6)
    name = "$\\frac{$"
    for path in (run / "summary.json", run / "diffstride" / "metrics.csv"):
        path.write_text(path.read_text().replace("stage1", json.dumps(name)[1:-1]))
    path.write_text(path.read_text().replace("\\\\", "\\"))
    markdown, _ = report(run)
    assert "section-1-strides-1.png" in markdown


# --- What they point at stays unread -----------------------------------------------------------


@pytest.mark.parametrize("name", ["summary.json", "config.json", "diffstride/metrics.csv"])
@pytest.mark.parametrize("kind", ["pipe", "zero", "link", "folder", "large"])
def test_what_is_no_file_of_the_run_is_refused_at_once(run, tmp_path, name, kind):
    path = run / name
    path.rename(tmp_path / "away")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        path.symlink_to(tmp_path / "away")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(2**30 + 1)
    with pytest.raises(RefusedError, match=r"RUNS: got .*; allowed: .*; instead: ") as caught:
        report(run)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reason_is_read_from_no_other_place(run, secret):
    failed = run.parent / "failed"
    failed.mkdir()
    (failed / "error.txt").symlink_to(secret)
    with pytest.raises(RefusedError, match=r"error\.txt' \(a link that leads out of the folder"):
        report(run)


@pytest.mark.usefixtures("undrawn")
def test_a_folder_of_runs_may_be_a_link(run):
    (run.parents[1] / "link").symlink_to(run.parent)
    markdown, _ = write_report([run.parents[1] / "link"], run.parents[1] / "out")
    assert "90.00 (1)" in markdown.read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_report_is_written_through_no_link(run, secret):
    out = run.parents[1] / "out"
    out.mkdir()
    for name in ("report.md", "report.html", "section-1-costs.png"):
        (out / name).symlink_to(secret)
    report(run)
    assert secret.read_text() == SECRET
    assert not any(path.is_symlink() for path in out.iterdir())


@pytest.mark.usefixtures("undrawn")
def test_an_earlier_report_outlives_a_refusal_and_a_kill(run):
    report(run)
    out = run.parents[1] / "out"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    metrics = run / "diffstride" / "metrics.csv"
    content = metrics.read_text()
    metrics.write_text("")
    with pytest.raises(RefusedError):
        report(run)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    for name in ("report.html.part", "section-9-costs.png.part"):
        (out / name).write_text("half")
    metrics.write_text(content)
    report(run)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# --- Absurd numbers ----------------------------------------------------------------------------

RUN = ("summary.json", "runs", 0)
HUGE = 10**30


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ((*RUN, "test_accuracy"), 5e9),
        ((*RUN, "test_accuracy"), -0.1),
        ((*RUN, "test_accuracy"), float("nan")),
        ((*RUN, "test_accuracy"), True),
        ((*RUN, "test_accuracy"), "0.9"),
        ((*RUN, "test_accuracies"), {"class": 5e9}),
        ((*RUN, "test_accuracies"), {}),
        ((*RUN, "test_accuracies"), [0.9]),
        ((*RUN, "step_seconds"), 0.0),
        ((*RUN, "step_seconds"), float("inf")),
        ((*RUN, "seconds"), -1.0),
        ((*RUN, "threads"), 0),
        ((*RUN, "parameters"), 1.5),
        ((*RUN, "parameters"), HUGE),
        ((*RUN, "downsampling"), "../../other"),
        ((*RUN, "downsampling"), ["diffstride"]),
        ((*RUN, "before"), []),
        ((*RUN, "after", "macs"), 0),
        ((*RUN, "after", "macs"), HUGE),
        ((*RUN, "after", "layers"), []),
        ((*RUN, "after", "layers"), {}),
        ((*RUN, "after", "layers", 0, "name"), "other"),
        ((*RUN, "after", "layers", 0, "name"), "a\nb"),
        ((*RUN, "after", "layers", 0, "name"), 3),
        ((*RUN, "after", "layers", 0, "stride"), [1e300, 1e300]),
        ((*RUN, "after", "layers", 0, "stride"), [float("nan"), 1.0]),
        ((*RUN, "after", "layers", 0, "stride"), [0.0, 1.0]),
        ((*RUN, "after", "layers", 0, "stride"), [2.0]),
        ((*RUN, "after", "layers", 0, "size_in"), [10**12, 16]),
        ((*RUN, "after", "layers", 0, "size_in"), 16),
        (("summary.json", "train_samples"), "100"),
        (("summary.json", "test_samples"), -1),
        (("summary.json", "runs"), 3),
        (("summary.json", "runs"), []),
        (("summary.json", "runs"), [{}]),
        (("config.json", "config"), []),
        (("config.json", "config", "epochs"), HUGE),
        (("config.json", "config", "epochs"), 0),
        (("config.json", "config", "batch_size"), None),
        (("config.json", "config", "smoothness"), float("nan")),
        (("config.json", "config", "model"), "resnet9000"),
        (("config.json", "config", "ramp"), "middle"),
        (("config.json", "config", "strides"), "a" * 10**5),
        (("config.json", "config", "data"), ["a"]),
        (("config.json", "config", "other"), {"a": 1}),
        (("config.json", "config", "other"), float("nan")),
        (("config.json", "machine"), "cpu"),
        (("config.json", "machine", "threads"), -1),
        (("config.json", "machine", "system"), [[[]]]),
        (("config.json", "versions"), ["torch"]),
        (("config.json", "versions", "torch"), {}),
        (("config.json", "command"), 3),
        (("config.json", "command"), "a" * 10**5),
        (("config.json", "config"), dict.fromkeys(map(str, range(10**5)), 1)),
        (("config.json", "versions"), dict.fromkeys(map(str, range(10**5)), "1")),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_what_no_training_has_is_refused_in_one_line(run, way, value, capsys):
    change(run / way[0], *way[1:], value=value)
    assert main(["report", str(run), "--out", str(run.parents[1] / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: RUNS: got '{run / way[0]}' (" in line
    assert "; allowed: " in line
    assert len(line) < 1000


def many_layers(run):
    """Of which each would be a column of pictures, for an hour."""
    layers = [{**run["after"]["layers"][0], "name": str(number)} for number in range(100)]
    return [run | {when: run[when] | {"layers": layers} for when in ("before", "after")}]


def many_runs(run):
    """Of which each would be a section of its own."""
    return [run | {"test_accuracies": {str(number): 0.5}} for number in range(10**3)]


@pytest.mark.parametrize(
    ("multiply", "reason"),
    [
        (many_layers, "before list, and not 1 to 20 layers"),
        (many_runs, "two trainings of downsampling diffstride"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_more_than_any_training_has_is_refused_and_not_drawn(run, multiply, reason, monkeypatch):
    monkeypatch.setattr("spectral_stride.torch.training.report.document.sections", None)
    path = run / "summary.json"
    change(path, "runs", value=multiply(json.loads(path.read_text())["runs"][0]))
    with pytest.raises(RefusedError, match=reason) as caught:
        report(run)
    assert str(path) in str(caught.value)


def rewrite(change):
    """Change the rows of metrics, as lists of cells below a header."""

    def do(path):
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        change(rows)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    return do


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (rewrite(lambda rows: rows[2].__setitem__(5, "nan")), "stride/stage1/height nan"),
        (rewrite(lambda rows: rows[2].__setitem__(5, "1e300")), "stride/stage1/height 1e+300"),
        (rewrite(lambda rows: rows[2].__setitem__(5, "1e400")), "stride/stage1/height inf"),
        (rewrite(lambda rows: rows[2].__setitem__(0, "-1")), "step -1"),
        (rewrite(lambda rows: rows[5].__setitem__(0, "1" * 30)), "step a whole number of "),
        (rewrite(lambda rows: rows[5].__setitem__(0, "1" * 5000)), "Exceeds the limit"),
        (rewrite(lambda rows: rows[5].__setitem__(1, "1" * 10**6)), "field larger than"),
        (lambda path: path.write_bytes(b"\xff"), "UnicodeDecodeError"),
        (lambda path: path.write_bytes(b"\0" * 10**6), "larger than field limit"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_metrics_that_no_training_writes_are_refused_in_one_line(run, capsys, damage, reason):
    damage(run / "diffstride" / "metrics.csv")
    assert main(["report", str(run), "--out", str(run.parents[1] / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: RUNS: got '{run}/diffstride/metrics.csv' (" in line
    assert reason in line
    assert len(line) < 1000


def test_files_without_an_end_are_refused_in_one_line(run, capsys):
    texts = ["[" * 10**6, '{"runs":' * 10**5, "1" * 5000, '{"runs": [{"seconds": 1e400}]}', "\0"]
    for name in ("summary.json", "config.json"):
        before = (run / name).read_text()
        for text in texts:
            (run / name).write_text(text)
            assert main(["report", str(run), "--out", str(run.parents[1] / "out")]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert "error: RUNS: got '" in line
            assert len(line) < 1000
        (run / name).write_text(before)


def test_folders_in_each_other_without_an_end_are_refused(tmp_path, monkeypatch, capsys):
    """As deep as a path may be, which is deeper than Python's glob can look."""
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path / "runs")
    for _ in range(1500):
        Path("a").mkdir()
        os.chdir("a")
    Path("summary.json").write_text("{}")
    os.chdir(tmp_path)
    try:
        assert main(["report", "runs"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "error: RUNS: got " in line
    finally:
        os.chdir(tmp_path / "runs")
        os.system("rm -rf a")


@pytest.mark.usefixtures("undrawn")
def test_trainings_alike_that_name_other_layers_are_refused(run):
    other = write_run(run.parent / "b", 0.9, 10**6, seed=1)
    path = other / "summary.json"
    path.write_text(path.read_text().replace("stage1", "stage2"))
    with pytest.raises(RefusedError, match=r"b', with other layers than '.*a'; allowed: the same"):
        report(run)


@pytest.mark.usefixtures("undrawn")
def test_sections_that_differ_in_their_tasks_alone_say_so(run):
    write_run(run.parent / "b", 0.9, 10**6, seed=1, tasks={"speaker": 0.9})
    markdown, _ = report(run)
    assert "## resnet18 on digits, tasks class\n" in markdown
    assert "## resnet18 on digits, tasks speaker\n" in markdown
