"""Raw files as samples: limits, and decoding when they are asked for."""

import re

import datasets
import pytest

from spectral_stride.torch.training.data import samples
from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.data.samples import BadFileError, RawSamples
from spectral_stride.torch.training.refusal import RefusedError
from tests.training.data.made import audio_table, colours, image_table, refused, tone, wav, write


def test_a_limit_is_spread_over_the_classes(tmp_path):
    table = image_table(colours(12), [0] * 6 + [1] * 6)
    data = open_data(write(tmp_path / "x", train=table, test=table), 2, 0, limit=4)
    assert data.train_set.tensors[1].flatten().tolist() == [0, 0, 1, 1]
    assert len(data.test_set) == 4


def test_a_limit_that_leaves_one_class_of_a_task_is_refused(tmp_path):
    coarse = (datasets.ClassLabel(names=["a", "b"]), [0, 0, 0, 1, 0, 0])
    table = image_table(colours(6), [0, 0, 0, 1, 1, 1], coarse=coarse)
    name = write(tmp_path / "x", train=table, test=table)
    wanted = r"--limit: got 1, which leaves training samples of one class of 'label'; .*--limit 10,"
    refused(name, wanted, limit=1)
    refused(name, "one class of 'coarse'", limit=2)
    assert len(open_data(name, 2, 0, limit=2, labels=["label"]).train_set) == 2
    table = audio_table([wav(tone(seed)) for seed in range(4)])
    name = write(tmp_path / "y", train=table, test=table)
    refused(name, "--limit: got 1, which leaves .* of 'digit'", limit=1)


@pytest.mark.filterwarnings("ignore:os.fork\\(\\) was called:RuntimeWarning")
@pytest.mark.parametrize(
    ("damaged", "lines"), [([1], [1]), ([2, 3, 5], [2, 3, 5]), (range(1, 14), range(1, 11))]
)
def test_a_worker_says_which_rows_are_damaged_in_a_line_each(tmp_path, damaged, lines):
    contents = colours(14)
    cut = [content[:60] if row in damaged else content for row, content in enumerate(contents)]
    name = write(tmp_path / "x", train=image_table(contents), test=image_table(cut))
    data = open_data(name, 2, 0, size=5, memory=100)
    data.workers = 1
    with pytest.raises(RefusedError) as caught:
        list(data.test_dataloader())
    told = caught.value.args
    for row, line in zip(lines, told[: len(lines)], strict=True):
        assert re.fullmatch(rf"--data: got .*row {row} of split 'test', .*; instead: .*", line)
    more = [
        "--data: got 10 faults, and looked no further; allowed: none; instead: mend these first"
    ]
    assert list(told[len(lines) :]) == (more if len(damaged) > 10 else [])


@pytest.mark.parametrize("parent", [None, "a process with a bar of its own"])
def test_a_process_that_works_for_another_draws_no_bar(tmp_path, monkeypatch, parent):
    table = image_table(colours(4))
    drawn = set()

    def track(samples, *_, disable, **__):
        drawn.add(not disable)
        return samples

    monkeypatch.setattr(samples, "track", track)
    monkeypatch.setattr(samples, "parent_process", lambda: parent)
    monkeypatch.setattr(samples.sys.stderr, "isatty", lambda: True)
    open_data(write(tmp_path / "x", train=table, test=table), 2, 0)
    assert drawn == {parent is None}


def test_a_file_that_can_be_read_after_all_is_used(tmp_path, monkeypatch):
    """As where a network's file system does not answer for a moment."""
    table = image_table(colours(4))
    data = open_data(write(tmp_path / "x", train=table, test=table), 2, 0, size=5, memory=100)
    read = RawSamples.read

    def fail(raw, place):
        monkeypatch.setattr(RawSamples, "read", read)
        raise BadFileError("which cannot be read", "files", "put it right")

    expected = data.train_set[1][0]
    monkeypatch.setattr(RawSamples, "read", fail)
    assert data.train_set[1][0].equal(expected)
