"""Data sets of every form that a user may bring, made here, and what is said of the broken ones."""

import doctest
import io
import json
import logging
import re
import subprocess
import sys

import datasets
import huggingface_hub
import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch
from PIL import Image

from spectral_stride.torch.training.data import datamodule as data
from spectral_stride.torch.training.data import images, samples
from spectral_stride.torch.training.data import open as sources
from spectral_stride.torch.training.data import recordings as audio
from spectral_stride.torch.training.data.images import mean_and_std
from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.data.samples import BadFileError, LazySamples
from spectral_stride.torch.training.refusal import RefusedError

RATE = 800


@pytest.fixture(autouse=True)
def _own_cache_and_no_network(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def pixels(seed, shape=(6, 8, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(array, mode=None):
    file = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, "PNG")
    return file.getvalue()


def wav(samples, rate=RATE, subtype="PCM_16", kind="WAV"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format=kind)
    return file.getvalue()


def tone(seed, length=RATE):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, length).astype(np.float32)


def cells(contents):
    return [None if content is None else {"bytes": content, "path": None} for content in contents]


CLASSES = datasets.ClassLabel(names=["cat", "dog"])


def image_table(contents, labels=None, **columns):
    """The form of CIFAR on the hub: a column of images, one of labels, and more if given."""
    features = {"img": datasets.Image(), "label": CLASSES}
    labels = [row % 2 for row in range(len(contents))] if labels is None else labels
    values = {"img": cells(contents), "label": labels}
    for name, (feature, column) in columns.items():
        features[name], values[name] = feature, column
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def write(folder, **splits):
    """A folder in the form of a hub repository."""
    (folder / "data").mkdir(parents=True)
    for name, table in splits.items():
        table.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return str(folder)


def colours(count, start=0):
    return [png(pixels(start + seed)) for seed in range(count)]


def refused(name, match, **options):
    """Open what must be refused, and return the one line."""
    with pytest.raises(RefusedError, match=match) as caught:
        open_data(str(name), 4, 0, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert re.fullmatch(r"--[a-z-]+: got .+; allowed: .+; instead: .+", line)
    return line


# --- Images ------------------------------------------------------------------------------------


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


def test_one_parquet_file_keeps_a_fixed_stratified_fifth_for_the_test(tmp_path):
    file = tmp_path / "all.parquet"
    image_table(colours(20), [0] * 10 + [1] * 10).to_parquet(file)
    data = open_data(str(file), 4, 0)
    assert len(data.train_set) == 16
    assert data.test_set.tensors[1].flatten().tolist() == [0, 0, 1, 1]
    assert "fixed fifth" in data.notes[0]
    other = open_data(str(file), 4, seed=1)
    assert torch.equal(data.test_set.tensors[0], other.test_set.tensors[0])
    seen = {image.numpy().tobytes() for image in data.train_set.tensors[0]}
    assert not any(image.numpy().tobytes() in seen for image in data.test_set.tensors[0])


def test_files_train_and_test_in_a_folder_are_the_splits(tmp_path, monkeypatch):
    folder = tmp_path / "parquet"  # what `datasets` calls a kind of file, too
    folder.mkdir()
    image_table(colours(4)).to_parquet(folder / "train.parquet")
    image_table(colours(2)).to_parquet(folder / "test.parquet")
    monkeypatch.chdir(tmp_path)
    data = open_data("parquet", 2, 0)
    assert (len(data.train_set), len(data.test_set)) == (4, 2)


def test_every_class_label_is_a_task_unless_some_are_named(tmp_path):
    coarse = (datasets.ClassLabel(names=["a", "b", "c"]), [0, 1, 2, 0])
    table = image_table(colours(4), coarse=coarse, row=(datasets.Value("int64"), [7, 8, 9, 10]))
    name = write(tmp_path / "x", train=table, test=table)
    data = open_data(name, 2, 0)
    assert data.tasks == {"label": 2, "coarse": 3}
    assert data.train_set.tensors[1].tolist() == [[0, 0], [1, 1], [0, 2], [1, 0]]
    assert open_data(name, 2, 0, labels=["coarse"]).tasks == {"coarse": 3}


@pytest.mark.parametrize(
    ("kind", "train", "test"),
    [("int64", [30, -5, 30, -5], [30, -5]), ("string", ["y", "x", "y", "x"], ["y", "x"])],
)
def test_named_columns_become_classes_in_the_order_of_their_values(tmp_path, kind, train, test):
    def table(values):
        made = image_table(colours(len(values)), kind=(datasets.Value(kind), values))
        return made.remove_columns("label")

    name = write(tmp_path / "x", train=table(train), test=table(test))
    refused(name, r"no column of type ClassLabel .*kind.*write --labels kind$")
    data = open_data(name, 2, 0, labels=("kind",))
    assert data.tasks == {"kind": 2}
    assert data.train_set.tensors[1].flatten().tolist() == [1, 0, 1, 0]
    assert data.test_set.tensors[1].flatten().tolist() == [1, 0]


def in_structs(contents):
    return [{"bytes": content, "path": f"{row}.x"} for row, content in enumerate(contents)]


@pytest.mark.parametrize("form", [list, in_structs])
def test_bytes_without_a_type_are_looked_at(tmp_path, form):
    file = tmp_path / "x.parquet"
    for contents, shape in (
        (colours(10), (3, 6, 8)),
        ([wav(tone(row)) for row in range(10)], (RATE,)),
    ):
        values = {"content": form(contents), "note": [b"?"] * 10, "kind": ["a", "b"] * 5}
        datasets.Dataset.from_dict(values).to_parquet(file)
        assert open_data(str(file), 2, 0, labels=["kind"]).sample_shape == shape


def test_a_validation_split_is_the_test_where_the_test_has_no_labels(tmp_path):
    train, held = image_table(colours(4)), image_table(colours(2))
    hidden = image_table(colours(3), [-1, -1, -1])
    name = write(tmp_path / "x", train=train, validation=held, test=hidden)
    data = open_data(name, 2, 0)
    assert len(data.test_set) == 2
    assert data.notes == ("Split 'test' has no labels, and is not used.",)
    refused(name, r"row 0 of split 'test', which has no label in column 'label'", test_split="test")
    refused(name, r"--test-split: got 'dev'; .*: validation, test;", test_split="dev")
    name = write(tmp_path / "y", train=train, validation=held, test=held)
    assert open_data(name, 2, 0).notes == ("Not used: split validation.",)


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


def folder_of_images(root, classes=("ant", "bee"), count=5, shape=(6, 8, 3)):
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(count):
            (root / name / f"{index}.png").write_bytes(png(pixels(10 * number + index, shape)))
    return root


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


def test_greyscale_images_keep_one_channel_and_mixed_ones_become_rgb(tmp_path):
    grey = [png(pixels(seed, (6, 8))) for seed in range(4)]
    data = open_data(write(tmp_path / "g", train=image_table(grey), test=image_table(grey)), 2, 0)
    assert data.sample_shape == (1, 6, 8)
    np.testing.assert_array_equal(data.train_set.tensors[0][2, 0], pixels(2, (6, 8)))
    assert data.notes == ()
    odd = [grey[0], png(pixels(1), "P"), png(pixels(2, (6, 8, 4))), png(pixels(3))]
    data = open_data(write(tmp_path / "m", train=image_table(odd), test=image_table(grey)), 2, 0)
    assert data.sample_shape == data.test_set[0][0].shape == (3, 6, 8)
    assert data.notes == ("Images of Pillow's mode L, P, RGBA were converted to RGB.",)
    np.testing.assert_array_equal(data.train_set[0][0], pixels(0, (6, 8))[None].repeat(3, 0))
    np.testing.assert_array_equal(
        data.train_set[2][0].permute(1, 2, 0), pixels(2, (6, 8, 4))[..., :3]
    )


def test_a_photograph_is_turned_as_its_camera_was_held(tmp_path):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(pixels(0)).save(file, "PNG", exif=exif)
    name = write(
        tmp_path / "x",
        train=image_table([file.getvalue()] * 4),
        test=image_table([file.getvalue()] * 2),
    )
    data = open_data(name, 2, 0)
    np.testing.assert_array_equal(data.train_set[0][0].permute(1, 2, 0), np.rot90(pixels(0), -1))


def test_mixed_sizes_are_refused_by_row_and_brought_to_one_by_size(tmp_path):
    contents = colours(5)
    contents[3] = png(pixels(3, (8, 12, 3)))
    name = write(tmp_path / "x", train=image_table(contents), test=image_table(colours(2)))
    line = refused(name, r"row 3 of split 'train', of 8 x 12 pixels, while .*row 0 .* has 6 x 8")
    assert "instead: write --size" in line
    data = open_data(name, 2, 0, size=4)
    assert data.sample_shape == data.train_set[3][0].shape == (3, 4, 4)


def test_size_keeps_the_centre(tmp_path):
    wide = np.zeros((4, 8, 3), dtype=np.uint8)
    wide[:, 2:6] = 200
    table = image_table([png(wide)] * 4)
    data = open_data(write(tmp_path / "x", train=table, test=table), 2, 0, size=4)
    assert data.train_set.tensors[0].unique().tolist() == [200]
    assert data.std.flatten().tolist() == [1, 1, 1]  # nothing to divide by


@pytest.mark.filterwarnings("ignore:os.fork\\(\\) was called:RuntimeWarning")
def test_images_that_do_not_fit_in_memory_are_decoded_when_asked_for(tmp_path):
    name = write(tmp_path / "x", train=image_table(colours(6)), test=image_table(colours(3)))
    refused(name, "9 images of 6 x 8 pixels take more than .* --size 6", memory=1000)
    lazy, whole = (open_data(name, 2, 0, size=5, memory=memory) for memory in (100, 10_000))
    assert isinstance(lazy.train_set, LazySamples)
    assert lazy.workers > 0
    assert lazy.sample_shape == whole.sample_shape == (3, 5, 5)
    torch.testing.assert_close((lazy.mean, lazy.std), (whole.mean, whole.std))
    for ours, theirs in ((lazy.train_set, whole.train_set), (lazy.test_set, whole.test_set)):
        for one, other in zip(ours, theirs, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    lazy.workers = 1
    pairs = list(zip(lazy.train_dataloader(), whole.train_dataloader(), strict=True))
    assert len(pairs) == 3
    for ours, theirs in pairs:
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.filterwarnings("ignore:os.fork\\(\\) was called:RuntimeWarning")
def test_a_worker_says_which_row_is_damaged_in_one_line(tmp_path):
    contents = colours(4)
    name = write(
        tmp_path / "x",
        train=image_table(contents),
        test=image_table([contents[0], contents[1][:60]]),
    )
    data = open_data(name, 2, 0, size=5, memory=100)
    data.workers = 1
    with pytest.raises(RefusedError) as caught:
        list(data.test_dataloader())
    assert re.fullmatch(r"--data: got .*row 1 of split 'test', .*; instead: .*", str(caught.value))


def test_images_decoded_when_asked_for_all_have_the_channels_of_the_first_ones(tmp_path):
    grey = [png(pixels(seed, (6, 8))) for seed in range(4)]
    some = image_table([*colours(3), grey[0]])
    name = write(tmp_path / "some", train=some, test=image_table(grey))
    data = open_data(name, 2, 0, size=5, memory=100)
    assert data.sample_shape == data.train_set[3][0].shape == data.test_set[0][0].shape == (3, 5, 5)
    name = write(tmp_path / "none", train=image_table(grey), test=some)
    data = open_data(name, 2, 0, size=5, memory=100)
    assert data.sample_shape == data.test_set[3][0].shape == (1, 5, 5)
    assert data.mean.shape == (1, 1, 1)
    with pytest.raises(RefusedError, match="row 0 of split 'test', in colour"):
        data.test_set[0]


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


def test_mean_and_std_are_exact():
    images = torch.from_numpy(pixels(0, (5, 2, 3, 4)))
    mean, std = mean_and_std(images)
    std_, mean_ = torch.std_mean(images.double(), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean.flatten(), mean_.float())
    torch.testing.assert_close(std.flatten(), std_.float())


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


def test_the_classes_of_a_test_without_labels_are_not_asked_for(tmp_path):
    table = image_table(colours(10))
    name = write(tmp_path / "x", train=table, test=table.remove_columns("label"))
    data = open_data(name, 4, 0)
    assert (len(data.train_set), len(data.test_set)) == (8, 2)
    assert data.notes[0] == "Split 'test' has no labels, and is not used."


# --- Audio -------------------------------------------------------------------------------------


def audio_table(contents, digits=None):
    digits = [row % 2 for row in range(len(contents))] if digits is None else digits
    table = datasets.Dataset.from_dict(
        {"audio": cells(contents), "digit": digits, "speaker": digits[::-1]}
    )
    features = {"audio": datasets.Audio(), "digit": CLASSES, "speaker": CLASSES}
    return table.cast(datasets.Features(features))


def test_recordings_in_parquet_are_centred_cut_and_scaled(tmp_path):
    short, long = tone(0, RATE // 4), tone(1, 2 * RATE)
    table = audio_table([wav(short), wav(long)] * 2)
    data = open_data(write(tmp_path / "x", train=table, test=table), 2, 0)
    assert data.sample_shape == (RATE,)
    assert data.sample_rate == RATE
    assert data.tasks == {"digit": 2, "speaker": 2}
    assert data.mean.tolist() == [0]
    assert data.std.tolist() == [1]
    waves, labels = data.train_set.tensors
    assert waves.dtype == torch.float32
    assert labels.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    want = np.zeros(RATE, dtype=np.float32)
    want[3 * RATE // 8 : 5 * RATE // 8] = short
    np.testing.assert_allclose(waves[0], want, atol=1 / 2**15)
    np.testing.assert_allclose(waves[1], long[RATE // 2 : -RATE // 2], atol=1 / 2**15)
    assert data.notes[0].startswith("4 of 8 recordings are longer than 1 s, the longest 2.00 s")
    assert open_data(str(tmp_path / "x"), 2, 0, seconds=0.5).sample_shape == (400,)


def test_recordings_decoded_when_asked_for_are_looked_at_for_their_lengths(tmp_path, monkeypatch):
    contents = [wav(tone(row, RATE + 8 * row)) for row in range(8)]
    table = audio_table(contents)
    name = write(tmp_path / "x", train=table, test=table.select(range(4)))
    (whole,) = open_data(name, 2, 0).notes
    assert whole.startswith("10 of 12 recordings are longer than 1 s, the longest 1.07 s")
    assert open_data(name, 2, 0, memory=100).notes == (whole,)
    monkeypatch.setattr(audio, "LOOKED_AT", 4)
    (note,) = open_data(name, 2, 0, memory=100).notes
    assert note == (
        "6 of 8 recordings that were looked at (of 12) are longer than 1 s, the longest 1.07 s, "
        "and their middle is used."
    )
    # The first row and the last alone are looked at.
    few = write(tmp_path / "y", train=table.select([0, *range(7), 0]), test=table.select([0, 0]))
    monkeypatch.setattr(audio, "LOOKED_AT", 2)
    (note,) = open_data(few, 2, 0, memory=100).notes
    assert note == (
        "None of 4 recordings that were looked at (of 11) are longer than 1 s; of those that are, "
        "the middle is used."
    )


@pytest.mark.parametrize(("kind", "ending"), [("WAV", ".wav"), ("FLAC", ".flac")])
def test_recordings_in_class_folders_with_channels_averaged(tmp_path, kind, ending):
    stereo = np.stack([tone(0), tone(1)], axis=1)
    for name in ("no", "yes"):
        (tmp_path / name).mkdir()
        for index in range(5):
            (tmp_path / name / f"{index}{ending}").write_bytes(wav(stereo, kind=kind))
    data = open_data(str(tmp_path), 2, 0)
    assert data.tasks == {"label": 2}
    assert (len(data.train_set), len(data.test_set)) == (8, 2)
    np.testing.assert_allclose(data.train_set[0][0], stereo.mean(1), atol=1 / 2**15)
    lazy = open_data(str(tmp_path), 2, 0, memory=100)
    assert torch.equal(lazy.train_set[5][0], data.train_set[5][0])
    assert torch.equal(lazy.train_set[5][1], data.train_set[5][1])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (wav(tone(1))[:-200], r"cut off: 1444 of 1644 bytes"),
        (wav(tone(1), kind="FLAC")[:-200], "row 1 of split 'train', which"),
        (wav(tone(1), kind="AIFF")[:-200], r"cut off: 1454 of 1654 bytes"),
        (wav(tone(1))[:30], "cut off"),
        (b"no sound", r"cannot be decoded \(Format not recognised"),
        (b"", "which is empty"),
        (wav(tone(1)[:0]), "without a sample"),
        (wav(np.array([0, np.nan] * 9, np.float32), subtype="FLOAT"), "no finite number, number 1"),
        (wav(tone(1), 2 * RATE), "1600 samples a second, while .*row 0 .* has 800"),
    ],
)
def test_recordings_that_cannot_be_used_are_named_by_row(tmp_path, content, match):
    table = audio_table([wav(tone(0)), content, wav(tone(2)), wav(tone(3))])
    name = write(tmp_path / "x", train=table, test=audio_table([wav(tone(0))] * 2))
    assert "row 1 of split 'train'" in refused(name, match)


def test_an_ogg_file_that_is_cut_off_anywhere_is_refused():
    """libsndfile reads it as a shorter recording."""
    whole = wav(tone(0, 8000), 8000, "VORBIS", "OGG")
    assert len(audio._read(whole)[0]) == 8000
    assert len(audio._read(whole + b"a tag behind the last page")[0]) == 8000
    pages = [start for start in range(len(whole)) if whole.startswith(b"OggS\0", start)]
    assert len(pages) > 2
    cuts = {len(whole) - 1, len(whole) - 500, *range(pages[-1] - 3, pages[-1] + 40), pages[-2] + 99}
    for cut in cuts:
        with pytest.raises(BadFileError) as caught:
            audio._read(whole[:cut])
        assert caught.value.wrong == f"which is cut off after {cut} bytes"


# --- What is wrong with the data -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (png(pixels(1))[:80], "row 2 of split 'test', which cannot be decoded"),
        (b"no image", "row 2 of split 'test', which is no image .8 bytes."),
        (b"", "row 2 of split 'test', which is empty"),
        (None, "row 2 of split 'test', which is empty"),
        (png(np.zeros((6, 8), np.uint16)), "row 2 of split 'test', whose pixels have more than 8"),
    ],
)
def test_images_that_cannot_be_used_are_named_by_row(tmp_path, content, match):
    contents = colours(4)
    contents[2] = content
    name = write(tmp_path / "x", train=image_table(colours(4)), test=image_table(contents))
    refused(name, match)


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


def test_one_class_is_refused(tmp_path):
    refused(folder_of_images(tmp_path / "x", ("ant",)), "1 class in column 'label'")
    table = image_table(colours(4), [1, 1, 1, 1])
    refused(write(tmp_path / "y", train=table, test=table), "1 class in column 'label'")


def test_labels_that_cannot_be_learned_are_named_by_row(tmp_path):
    three = datasets.ClassLabel(names=["a", "b", "c"])

    def table(kinds, named):
        made = image_table(
            colours(len(kinds)), kind=(three, kinds), word=(datasets.Value("string"), named)
        )
        return made.remove_columns("label")

    train, test = table([0, 1, 0, 1], list("xyxy")), table([0, 1, 2], list("xyz"))
    name = write(tmp_path / "new", train=train, test=test)
    refused(name, r"row 2 of split 'test', whose label 'c' no training row has in column 'kind'")
    refused(name, r"row 2 of split 'test', whose label 'z' no training", labels=["word"])
    name = write(tmp_path / "other", train=train, test=table([0, 1], ["X", "Y"]))
    refused(name, r"row 0 of split 'test', whose label 'X' no training", labels=["word"])
    name = write(tmp_path / "gap", train=table([0, None, 1, 1], ["x", "y", None, "x"]), test=train)
    refused(name, r"row 1 of split 'train', which has no label in column 'kind'")
    refused(name, r"row 2 of split 'train', which has no label in column 'word'", labels=["word"])


def test_a_class_of_the_test_folder_that_training_lacks_is_named_by_its_file(tmp_path):
    folder_of_images(tmp_path / "train")
    folder_of_images(tmp_path / "test", ("ant", "wasp"), count=1)
    refused(tmp_path, r"wasp/0.png, whose label 'wasp' no training row has")


def test_columns_that_do_not_fit_are_refused_with_those_that_are_there(tmp_path):
    more = {
        "other": (datasets.Image(), cells(colours(4))),
        "row": (datasets.Value("int64"), [1, 2, 3, 4]),
        "weight": (datasets.Value("float64"), [0.5, 0.5, 1.5, 1.5]),
    }
    table = image_table(colours(4), **more)
    name = write(tmp_path / "x", train=table, test=table)
    there = r"img \(Image\), label \(ClassLabel\), other \(Image\), row \(int64\)"
    refused(name, rf"2 columns of images or recordings among {there}.*write --input COLUMN")
    assert open_data(name, 2, 0, input_column="other").sample_shape == (3, 6, 8)
    refused(name, rf"--input: got 'image'; .*{there}", input_column="image")
    refused(name, r"--input: got 'row', whose cells hold neither", input_column="row")
    named = {"input_column": "img"}
    refused(name, rf"--labels: got 'lable'; .*{there}", labels=["lable"], **named)
    refused(name, r"--labels: got 'weight' \(float64\)", labels=["weight"], **named)
    refused(
        name, r"--labels: got 'row', with 4 different values in 4 rows", labels=["row"], **named
    )
    refused(name, r"--labels: got 'img', the column of samples", labels=["img"], **named)
    refused(name, r"--labels: got label,label; .* once", labels=["label", "label"], **named)
    bare = table.remove_columns(["img", "other"])
    refused(write(tmp_path / "y", train=bare), "0 columns of images or recordings among label")


def test_splits_that_cannot_be_used_are_refused(tmp_path):
    table = image_table(colours(4))
    empty = table.select([])
    refused(write(tmp_path / "a", train=empty, test=table), r"\(its split 'train' is empty\)")
    refused(write(tmp_path / "b", train=table, test=empty), r"\(its split 'test' is empty\)")
    folder_of_images(tmp_path / "d" / "train")
    (tmp_path / "d" / "test").mkdir()
    refused(tmp_path / "d", "d, whose split 'test' is empty")
    few = write(tmp_path / "c", train=image_table(colours(6), [0, 0, 0, 0, 0, 1]))
    refused(few, r"6 rows for 2 classes in column 'label', 1 of them of 'dog'")


def test_class_names_in_another_order_are_brought_together_by_name(tmp_path):
    """Of two files each has the numbers of its own names."""
    other = datasets.ClassLabel(names=["dog", "cat"])
    contents = colours(6)
    train = image_table(contents, [0, 1, 0, 1, 0, 1])
    test = image_table(contents, [1, 0, -1, 0, 1, 0])
    test = test.cast_column("label", datasets.Value("int64")).cast_column("label", other)
    name = write(tmp_path / "x", train=train, validation=test.select([0, 1, 3]), test=train)
    data = open_data(name, 2, 0, test_split="validation")
    assert data.train_set.tensors[1].ravel().tolist() == [0, 1, 0, 1, 0, 1]
    assert data.test_set.tensors[1].ravel().tolist() == [0, 1, 1]
    assert torch.equal(open_data(name, 2, 0).test_set.tensors[1], data.train_set.tensors[1])
    # What has no label keeps none.
    refused(write(tmp_path / "y", train=train, test=test), "row 2 .* which has no label")


def test_class_names_that_cannot_be_brought_together_are_refused_by_file(tmp_path):
    table = image_table(colours(4))
    more = image_table(colours(4)).cast_column("label", datasets.ClassLabel(names=["cat", "cow"]))
    name = write(tmp_path / "x", train=table, test=more)
    line = refused(
        name,
        r"test-0\S+\.parquet, whose column 'label' names its classes cat, cow, while the classes "
        r"of \S+train-0\S+\.parquet are cat, dog;",
    )
    assert line.endswith("align_labels_with_mapping in `datasets` does")
    write(tmp_path / "y", train=table)
    swapped = table.cast_column("label", datasets.ClassLabel(names=["dog", "cat"]))
    swapped.to_parquet(tmp_path / "y" / "data" / "train-00001-of-00002.parquet")
    refused(tmp_path / "y", r"train-00001\S+, whose column 'label' names its classes dog, cat")
    # Those of a column that is not used may be any.
    kinds = [datasets.ClassLabel(names=names) for names in (["a", "b"], ["c", "d"])]
    parts = [image_table(colours(4), kind=(kind, [0, 1, 0, 1])) for kind in kinds]
    name = write(tmp_path / "z", train=parts[0], test=parts[1])
    refused(name, "whose column 'kind' names its classes c, d")
    assert open_data(name, 2, 0, labels=["label"]).tasks == {"label": 2}


def test_a_file_that_lacks_a_column_is_named_with_it(tmp_path):
    table = image_table(colours(4))
    name = write(tmp_path / "x", train=table, test=table.rename_column("img", "image"))
    refused(
        name,
        r"got \S+test-0\S+\.parquet, which lacks column 'img' of \S+train-0\S+\.parquet and has "
        r"'image' instead; allowed: the same columns in every file; instead: rename",
    )
    name = write(tmp_path / "y", train=table.remove_columns("label"), test=table)
    refused(name, r"got \S+train-0\S+\.parquet, which lacks column 'label' of \S+test-0\S+\.parq")


def test_a_file_without_rows_is_named(tmp_path):
    table = image_table(colours(4))
    name = write(tmp_path / "x", train=table, test=table)
    file = tmp_path / "x" / "data" / "test-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(file).slice(0, 0), file)
    for source in (name, file):
        refused(source, rf"got {re.escape(str(file))}, which has no rows; .*fill it or remove it$")


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


def test_a_damaged_part_of_a_folder_is_refused(tmp_path):
    table = image_table(colours(4))
    name = write(tmp_path / "x", train=table, test=table)
    file = tmp_path / "x" / "data" / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    refused(name, rf"got {re.escape(str(file))} \(it cannot be read: ArrowInvalid")


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_id():
    line = refused("nobody/none-such:config", "hub cannot be reached")
    assert line.startswith("--data: got nobody/none-such:config (")
    assert line.endswith("or write the path of a copy: --data FOLDER")


def test_a_hub_id_is_opened_with_its_revision_and_configuration(tmp_path, monkeypatch):
    calls = []

    def load(path, **choices):
        calls.append((path, choices))
        table = image_table(colours(4))
        return datasets.DatasetDict(train=table, test=table)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert open_data("owner/name@refs/convert/parquet:v0.02", 2, 0).tasks == {"label": 2}
    assert open_data("owner/name", 2, 0).sample_shape == (3, 6, 8)
    assert calls == [
        ("owner/name", {"name": "v0.02", "revision": "refs/convert/parquet"}),
        ("owner/name", {"name": None, "revision": None}),
    ]


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (
            RuntimeError("Dataset scripts are no longer supported, but found name.py"),
            "is a program.*write --data owner/name@refs/convert/parquet$",
        ),
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'owner/name' is a gated dataset"),
            "none of this name, or asks for a login.*hf auth login",
        ),
        (
            datasets.table.CastError("", table_column_names=["a"], requested_column_names=["b"]),
            r"\(a file has the columns b, another a\)",
        ),
        (ValueError("BatchSize must be greater than 0, got 0"), "one of its files has no rows"),
        (OSError(28, "No space left\non device"), r"OSError: \[Errno 28\] No space left on device"),
    ],
)
def test_what_the_hub_says_is_one_line(monkeypatch, error, match):
    def load(path, **choices):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    refused("owner/name", match)


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


# --- Manners -------------------------------------------------------------------------------------


def test_nothing_is_written_to_the_screen_and_what_was_set_is_set_again(tmp_path, capfd):
    name = write(tmp_path / "x", train=image_table(colours(4)), test=image_table(colours(2)))
    capfd.readouterr()
    assert not datasets.are_progress_bars_disabled()
    open_data(name, 2, 0)
    refused("nobody/none-such", "hub cannot be reached")
    assert capfd.readouterr() == ("", "")
    assert not datasets.are_progress_bars_disabled()


def test_the_logs_of_datasets_say_nothing(tmp_path):
    table = image_table(colours(4))
    name = write(tmp_path / "x", train=table, test=table)
    file = tmp_path / "x" / "data" / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("datasets")
    level = logger.level
    logger.addHandler(handler)
    try:
        refused(name, "it cannot be read")
    finally:
        logger.removeHandler(handler)
    assert records == []
    assert logger.level == level


def test_a_changed_file_is_read_again(tmp_path):
    file = tmp_path / "x.parquet"
    image_table(colours(10)).to_parquet(file)
    first = open_data(str(file), 2, 0)
    file.unlink()
    image_table(colours(10, 70)).to_parquet(file)
    assert not torch.equal(first.train_set[0][0], open_data(str(file), 2, 0).train_set[0][0])


@pytest.mark.parametrize(
    "module", [audio, data, images, samples, sources], ids=lambda it: it.__name__
)
def test_examples_run(module):
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0


def test_the_digits_load_neither_datasets_nor_soundfile():
    code = (
        "import sys; from spectral_stride.torch.training.data.open import open_data; "
        "open_data('digits', 32, 0); print({'datasets', 'soundfile'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
