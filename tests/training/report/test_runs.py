"""Finished runs read back from their folders: which count, and which cannot be read."""

import json
import traceback

import pytest

from spectral_stride.torch.training.refusal import RefusedError
from spectral_stride.torch.training.report.comparison import sections
from spectral_stride.torch.training.report.runs import gather
from tests.training.report.made import write_run


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


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RefusedError("--data: got a", "--data: got b"), "--data: got a (more in error.txt)"),
        (RefusedError("--data: got a"), "--data: got a"),
        (RuntimeError("size:\n\t3 and 4\n"), "RuntimeError: size: (more in error.txt)"),
        (
            RuntimeError('Caught OSError.\nTraceback\n  File "a.py", line 1\n    a\nOSError: b'),
            "OSError: b",
        ),
        (KeyError("a"), "KeyError: 'a'"),
        (None, "failed"),
    ],
)
def test_the_reason_of_a_failure_is_where_its_message_begins(tmp_path, error, reason):
    story = ""
    try:
        if error:
            raise error
    except Exception:
        story = traceback.format_exc()
    (tmp_path / "error.txt").write_text(story)
    (unfinished,) = gather([tmp_path]).unfinished
    assert unfinished.reason == reason


def test_a_failure_that_was_made_good_says_so(runs, tmp_path):
    done = next(runs.glob("diffstride-*"))
    failed = runs / "zz-failed"
    failed.mkdir()
    (failed / "config.json").write_text((done / "config.json").read_text())
    (failed / "error.txt").write_text("RuntimeError: out of memory\n")
    (unfinished,) = gather([runs]).unfinished
    assert unfinished.reason == f"RuntimeError: out of memory; finished in {done}"
