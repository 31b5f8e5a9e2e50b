"""Folders with one folder of files for each class."""

import os
import re

import numpy as np
import pytest

from spectral_stride.torch.training.data.open import open_data
from tests.training.data.made import (
    RATE,
    folder_of_images,
    pixels,
    png,
    refused,
    tone,
    wav,
)


def test_a_folder_of_class_folders_and_its_split_form(tmp_path):
    folder_of_images(tmp_path / "flat")
    data = open_data(str(tmp_path / "flat"), 4, 0)
    assert data.tasks == {"label": 2}
    assert (len(data.train_set), len(data.test_set)) == (8, 2)
    folder_of_images(tmp_path / "split" / "train", ("train", "bus"))  # classes may be called so
    folder_of_images(tmp_path / "split" / "test", ("bus", "train"), count=1)
    data = open_data(str(tmp_path / "split"), 4, 0)
    assert (len(data.train_set), len(data.test_set)) == (10, 2)
    np.testing.assert_array_equal(data.test_set[1][0].permute(1, 2, 0), pixels(10))
    assert data.test_set.tensors[1].flatten().tolist() == [0, 1]
    folder_of_images(tmp_path / "vehicles", ("bus", "train"))
    assert open_data(str(tmp_path / "vehicles"), 4, 0).tasks == {"label": 2}


def test_what_is_no_image_is_left_out_with_a_word(tmp_path):
    folder = folder_of_images(tmp_path / "x")
    (folder / "ant" / "notes.txt").write_text("six legs")
    (folder / "ant" / ".DS_Store").write_text("")
    assert "1, like" in open_data(str(folder), 4, 0).notes[0]


def test_files_that_cannot_be_used_are_named(tmp_path):
    folder = folder_of_images(tmp_path / "x")
    file = folder / "bee" / "3.png"
    file.write_bytes(file.read_bytes()[:70])
    assert refused(folder, "which cannot be decoded").startswith(f"--data: got {file}, ")
    file.write_bytes(b"")
    refused(folder, f"{re.escape(str(file))}, which is empty")
    file.unlink()
    file.symlink_to(tmp_path / "nowhere")
    refused(
        folder, rf"{re.escape(str(file))}, which cannot be read \(FileNotFoundError: No such file"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_has_no_end_is_named_and_not_waited_for(tmp_path, make):
    folder = folder_of_images(tmp_path / "x")
    file = folder / "bee" / "3.png"
    file.unlink()
    make(file)
    refused(folder, rf"{re.escape(str(file))}, which cannot be read \(no regular file\)")


def test_all_files_that_cannot_be_used_are_told_at_once(tmp_path):
    """In the order of their rows, of either part, and also where the first is one of them."""
    folder = folder_of_images(tmp_path / "train", count=12).parent
    folder_of_images(tmp_path / "test", count=2)
    bad = [folder / name for name in ("train/ant/0.png", "train/bee/3.png", "test/bee/1.png")]
    for file, content in zip(bad, (b"no image", b"", png(pixels(0, (7, 8, 3)))), strict=True):
        file.write_bytes(content)
    lines = refused(folder, "is no image", faults=2).splitlines()
    for line, file in zip(lines, bad, strict=False):
        assert line.startswith(f"--data: got {file}, which is ")
    bad[0].write_bytes(png(pixels(1)))
    lines = refused(folder, "which is empty", faults=2).splitlines()
    assert lines[1].startswith(f"--data: got {bad[2]}, of 7 x 8 pixels, while ")
    for file in (folder / "train" / "ant").iterdir():
        file.write_bytes(b"no image")
    line = refused(folder, "is no image", faults=11).splitlines()[-1]
    assert line.startswith("--data: got 10 faults, and looked no further; ")


def test_names_that_are_no_utf_8_are_told_at_once(tmp_path):
    folder = folder_of_images(tmp_path / "x")
    (folder / "bee").rename(folder / os.fsdecode(b"ab\xe9ille"))
    (folder / "ant" / "1.png").rename(folder / "ant" / os.fsdecode(b"\xfc.png"))
    lines = refused(folder, "no UTF-8", faults=2).splitlines()
    assert lines[0].startswith(rf"--data: got {folder}/ab\xe9ille, whose name is no UTF-8; ")
    assert rf"got {folder}/ant/\xfc.png, whose" in lines[1]
    assert "instead: rename it, as `convmv " in lines[0]
    other = folder_of_images(tmp_path / "y").rename(tmp_path / os.fsdecode(b"\xe9t\xe9"))
    refused(other, r"/\\xe9t\\xe9, whose name is no UTF-8")
    name = os.fsdecode(b"T\xebst")
    folder_of_images(tmp_path / "z" / "train")
    folder_of_images(tmp_path / "z" / name, count=1)
    refused(tmp_path / "z", r"z/T\\xebst, whose name is no UTF-8")


def test_the_folders_of_splits_may_have_capitals(tmp_path):
    folder_of_images(tmp_path / "x" / "Train")
    folder_of_images(tmp_path / "x" / "TEST", count=2)
    data = open_data(str(tmp_path / "x"), 4, 0)
    assert data.tasks == {"label": 2}
    assert (len(data.train_set), len(data.test_set), data.notes) == (10, 4, ())
    folder_of_images(tmp_path / "x" / "Test", count=1)
    refused(tmp_path / "x", "with the splits TEST, Test; allowed: splits that differ in more than")
    folder_of_images(tmp_path / "y" / "Data" / "Training")
    folder_of_images(tmp_path / "y" / "Data" / "Val", count=2)
    assert len(open_data(str(tmp_path / "y"), 4, 0).test_set) == 4
    folder_of_images(tmp_path / "y" / "Data" / "train")
    refused(tmp_path / "y", "with the splits Training, Val, train; allowed: one split named train")


def test_what_libsndfile_reads_is_a_recording_by_its_ending(tmp_path):
    forms = {".aifc": "AIFF", ".wave": "WAV"}
    contents = {ending: wav(tone(0), kind=kind) for ending, kind in forms.items()}
    contents[".opus"] = wav(tone(0, 8000), 8000, "OPUS", "OGG")
    contents[".mp3"] = wav(tone(0, 8000), 8000, "MPEG_LAYER_III", "MP3")
    for rate, endings in ((RATE, forms), (8000, (".opus", ".mp3"))):
        for folder in (tmp_path / f"{rate}" / part for part in ("train/a", "train/b", "test/a")):
            folder.mkdir(parents=True)
            for ending in endings:
                (folder / f"x{ending}").write_bytes(contents[ending])
        data = open_data(str(tmp_path / f"{rate}"), 4, 0)
        assert (data.sample_shape, len(data.test_set)) == ((rate,), len(endings))
        assert data.notes == ()


def test_layouts_that_are_no_class_folders_are_refused(tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    refused(flat, "no class folders that hold files")
    (flat / "0_jackson_0.wav").write_bytes(wav(tone(0)))
    refused(flat, r"0_jackson_0.wav, which lies in no class folder; allowed: FOLDER/CLASS/file")
    (flat / "1_jackson_0.wav").write_bytes(wav(tone(0)))
    refused(flat, r"1_jackson_0.wav, which lies in no class folder", faults=2)
    deep = folder_of_images(tmp_path / "deep")
    (deep / "bee" / "more").mkdir()
    refused(deep, "more, a folder inside the class folder 'bee'")
    empty = folder_of_images(tmp_path / "empty")
    (empty / "cow").mkdir()
    refused(empty, r"empty/cow, which holds no image file")
    (empty / "dog").mkdir()
    refused(empty, r"empty/dog, which holds no image file", faults=2)
    both = folder_of_images(tmp_path / "both")
    (both / "bee" / "x.wav").write_bytes(wav(tone(0)))
    refused(both, "with images and recordings")
    words = tmp_path / "words" / "a"
    words.mkdir(parents=True)
    (words / "x.txt").write_text("x")
    refused(words.parent, r"files of these kinds alone: \.txt")


def test_a_class_of_the_test_folder_that_training_lacks_is_named_by_its_file(tmp_path):
    folder_of_images(tmp_path / "train")
    folder_of_images(tmp_path / "test", ("ant", "wasp"), count=1)
    refused(tmp_path, r"wasp/0.png, whose label 'wasp' no training row has")
