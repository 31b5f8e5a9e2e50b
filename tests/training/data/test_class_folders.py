"""Folders with one folder of files for each class."""

import re

import numpy as np

from spectral_stride.torch.training.data.open import open_data
from tests.training.data.made import folder_of_images, pixels, refused, tone, wav


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
    refused(folder, rf"{re.escape(str(file))} \(No such file")


def test_layouts_that_are_no_class_folders_are_refused(tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    refused(flat, "no class folders that hold files")
    (flat / "0_jackson_0.wav").write_bytes(wav(tone(0)))
    refused(flat, r"0_jackson_0.wav, which lies in no class folder; allowed: FOLDER/CLASS/file")
    deep = folder_of_images(tmp_path / "deep")
    (deep / "bee" / "more").mkdir()
    refused(deep, "more, a folder inside the class folder 'bee'")
    empty = folder_of_images(tmp_path / "empty")
    (empty / "cow").mkdir()
    refused(empty, r"empty/cow, which holds no image file")
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
