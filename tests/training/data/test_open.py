"""Data sets by their names: which form each is, what is asked of it, and what is said."""

import json
import os
import re

import datasets
import numpy as np
import pytest
import torch

from spectral_stride.torch.training.data.open import open_data
from tests.training.data.made import (
    audio_table,
    colours,
    folder_of_images,
    image_table,
    pixels,
    refused,
    tone,
    wav,
    write,
)
from tests.training.processes import execute, result


def test_a_folder_like_a_hub_repository_gives_its_pixels_and_labels(tmp_path):
    name = write(tmp_path / "x", train=image_table(colours(6)), test=image_table(colours(4, 50)))
    data = open_data(name, 2, 0)
    assert data.sample_shape == (3, 6, 8)
    assert data.tasks == {"label": 2}
    assert (data.sample_rate, data.band_limit, data.notes) == (None, None, ())
    images, labels = data.train_set.tensors
    assert images.dtype == torch.uint8
    want = np.stack([pixels(seed) for seed in range(6)])
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1), want)
    assert labels.tolist() == [[0], [1], [0], [1], [0], [1]]
    np.testing.assert_array_equal(data.test_set[3][0].permute(1, 2, 0), pixels(53))
    assert data.mean.shape == data.std.shape == (3, 1, 1)
    np.testing.assert_allclose(data.mean.flatten(), want.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(data.std.flatten(), want.std((0, 1, 2)), rtol=1e-6)
    batch, marks = next(iter(data.train_dataloader()))
    assert (batch.shape, marks.shape, marks.dtype) == ((2, 3, 6, 8), (2, 1), torch.int64)


def test_one_of_several_configurations_is_chosen_after_a_colon(tmp_path):
    for part, count in (("small", 4), ("large", 8)):
        image_table(colours(count)).to_parquet(tmp_path / f"{part}.parquet")
    lines = ["---", "configs:"]
    for part in ("small", "large"):
        lines += [f"- config_name: {part}", f"  data_files: {part}.parquet"]
    (tmp_path / "README.md").write_text("\n".join([*lines, "---"]))
    refused(tmp_path, r"Config name is missing.*write --data .*:CONFIG$")
    data = open_data(f"{tmp_path}:large", 2, 0)
    assert len(data.train_set) + len(data.test_set) == 8


def test_tables_whose_names_are_no_utf_8_are_told_at_once(tmp_path, monkeypatch):
    table, odd = image_table(colours(10)), os.fsdecode(b"\xe9")
    (tmp_path / "x" / odd).mkdir(parents=True)
    table.to_parquet(tmp_path / "x" / "train.parquet")
    content = (tmp_path / "x" / "train.parquet").read_bytes()
    for name in (f"{odd}/test.parquet", f"train-{odd}.parquet"):
        (tmp_path / "x" / name).write_bytes(content)
    lines = refused(tmp_path / "x", "no UTF-8", faults=2).splitlines()
    assert lines[0].startswith(rf"--data: got {tmp_path}/x/train-\xe9.parquet, whose name is no ")
    (tmp_path / odd / "y").mkdir(parents=True)
    (tmp_path / odd / "y" / "train.parquet").write_bytes(content)
    monkeypatch.chdir(tmp_path / odd)
    refused("y", r"/\\xe9/y, whose name is no UTF-8")
    assert len(open_data("y/train.parquet", 4, 0).train_set) == 8


def test_files_train_and_test_in_a_folder_are_the_splits(tmp_path, monkeypatch):
    folder = tmp_path / "parquet"  # what `datasets` calls a kind of file, too
    folder.mkdir()
    image_table(colours(4)).to_parquet(folder / "train.parquet")
    image_table(colours(2)).to_parquet(folder / "test.parquet")
    monkeypatch.chdir(tmp_path)
    data = open_data("parquet", 2, 0)
    assert (len(data.train_set), len(data.test_set)) == (4, 2)


@pytest.mark.parametrize("kind", ["png", "wav"])
def test_files_beside_a_file_of_metadata(tmp_path, kind):
    contents = colours(10) if kind == "png" else [wav(tone(seed)) for seed in range(10)]
    lines = []
    for row, content in enumerate(contents):
        (tmp_path / f"{row}.{kind}").write_bytes(content)
        entry = {"file_name": f"{row}.{kind}", "animal": "ant" if row % 2 else "bee"}
        lines.append(json.dumps(entry))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    if kind == "wav":
        refused(tmp_path, "recordings beside a file of metadata, which are not read")
        return
    refused(tmp_path, "write --labels animal$")
    data = open_data(str(tmp_path), 4, 0, labels=["animal"])
    assert data.tasks == {"animal": 2}
    assert len(data.train_set) == 8


def test_what_is_no_data_set_is_refused(tmp_path):
    whole = tmp_path / "x.parquet"
    image_table(colours(4)).to_parquet(whole)
    for content in (whole.read_bytes()[:300], b"no table", b""):
        file = tmp_path / "cut.parquet"
        file.write_bytes(content)
        refused(file, rf"{re.escape(str(file))} \(.*(?i:parquet)")
    (tmp_path / "x.csv").write_text("a,b")
    refused(tmp_path / "x.csv", "x.csv, a file; allowed: digits, a hub id")
    refused(tmp_path / "none", "none', where there is no file or folder; allowed: digits, a hub id")
    refused("digts", "'digts', where there is no file or folder")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": 0}, "--size: got 0;"),
        ({"seconds": 0.0}, "--seconds: got 0.0;"),
        ({"seconds": float("nan")}, "--seconds: got nan;"),
        ({"seconds": 1.0}, "--seconds: got 1.0; allowed: no such option for .* holds images"),
    ],
)
def test_options_that_do_not_fit_images_are_refused(tmp_path, options, match):
    refused(folder_of_images(tmp_path / "x"), match, **options)


@pytest.mark.parametrize(
    "option", [{"size": 4}, {"seconds": 1.0}, {"labels": ["digit"]}, {"test_split": "test"}]
)
def test_the_digits_take_no_options(option):
    (name,) = option
    refused(
        "digits", f"--{name.replace('_', '-')}: got .* no such option for --data digits", **option
    )


def test_recordings_have_no_size(tmp_path):
    table = audio_table([wav(tone(0))] * 4)
    name = write(tmp_path / "x", train=table, test=table)
    refused(name, "--size: got 4; .* which holds recordings", size=4)
    refused(name, "--background: got .red.; .* which holds recordings", background="red")


def test_nothing_is_written_to_the_screen_and_what_was_set_is_set_again(tmp_path, capfd):
    name = write(tmp_path / "x", train=image_table(colours(4)), test=image_table(colours(2)))
    capfd.readouterr()
    assert not datasets.are_progress_bars_disabled()
    open_data(name, 2, 0)
    refused("nobody/none-such", "hub cannot be reached")
    assert capfd.readouterr() == ("", "")
    assert not datasets.are_progress_bars_disabled()


def test_a_changed_file_is_read_again(tmp_path):
    file = tmp_path / "x.parquet"
    image_table(colours(10)).to_parquet(file)
    first = open_data(str(file), 2, 0)
    file.unlink()
    image_table(colours(10, 70)).to_parquet(file)
    assert not torch.equal(first.train_set[0][0], open_data(str(file), 2, 0).train_set[0][0])


def test_the_digits_load_neither_datasets_nor_soundfile(tmp_path):
    """Nor does the tool itself, all of which the process has imported."""
    code = (
        "import sys; from spectral_stride.torch.training.data.open import open_data; "
        "assert 'spectral_stride.torch.training.fit' in sys.modules; "
        "open_data('digits', 32, 0); print({'datasets', 'soundfile'} & set(sys.modules))"
    )
    assert result(execute, code, folder=tmp_path) == "set()\n"
