"""A file becomes what the test set has, also by a transform that was written down."""

import io
import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from spectral_stride.torch.training.data.digits import FACTOR, STRONGEST, Digits
from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.data.transform import read_transform, transform_of
from spectral_stride.torch.training.refusal import RefusedError
from tests.training.data import made


def again(data):
    """The transform of a data set, as it is after it was written to a file."""
    return read_transform(json.loads(json.dumps(transform_of(data).described())))


def see_through(seed):
    pixels = made.pixels(seed, (6, 8, 4))
    return made.png(pixels)


GREY = [made.png(made.pixels(seed, (6, 8))) for seed in range(6)]
MIXED = [*made.colours(3), *GREY[:3], see_through(1), made.png(made.pixels(2, (6, 8)), mode="LA")]
LARGE = [made.png(made.pixels(seed, (9 + seed, 12, 3))) for seed in range(6)]
WAVES = [made.wav(made.tone(seed, length)) for seed, length in enumerate([800, 700, 900, 800])]
TWO_CHANNELS = [made.wav(np.stack([made.tone(seed), made.tone(9)], 1)) for seed in range(4)]


@pytest.mark.parametrize(
    ("contents", "options"),
    [
        (GREY, {}),
        (MIXED, {}),
        (MIXED, {"background": "#ff8000"}),
        (MIXED, {"background": None}),
        (MIXED, {"background": "#ff8000", "size": 5, "memory": 0}),
        (LARGE, {"size": 7}),
        (WAVES, {}),
        (TWO_CHANNELS, {"seconds": 0.5, "labels": ["speaker", "digit"]}),
    ],
)
def test_a_file_becomes_what_the_test_set_has(tmp_path, contents, options):
    table = made.audio_table if contents in (WAVES, TWO_CHANNELS) else made.image_table
    name = made.write(tmp_path / "set", train=table(contents), test=table(contents))
    data = open_data(name, 2, 0, **options)
    transform = again(data)
    samples = [sample for sample, _ in data.test_set]
    assert len(samples) == len(contents)
    for content, sample in zip(contents, samples, strict=True):
        assert torch.equal(transform(content), (sample.float() - data.mean) / data.std)
    (tmp_path / "one").write_bytes(contents[0])
    assert torch.equal(transform(tmp_path / "one"), transform(contents[0]))
    assert torch.equal(transform(str(tmp_path / "one")), transform(contents[0]))


def test_a_digit_becomes_what_the_digits_are():
    data = Digits(16, seed=0, limit=20)
    for sample, _ in data.test_set:
        pixels = sample[0, ::FACTOR, ::FACTOR].numpy().clip(0) * 255 / STRONGEST
        file = made.png(pixels.round().astype(np.uint8))
        assert torch.equal(again(data)(file), (sample - data.mean) / data.std)


def test_what_is_decoded_becomes_the_same(tmp_path):
    turned = made.png(made.pixels(3), kind="JPEG", exif=_held_sideways())
    name = made.write(tmp_path / "images", train=made.image_table([turned] * 10))
    transform = again(open_data(name, 2, 0))
    assert transform(turned).shape == (3, 8, 6)
    assert torch.equal(transform(Image.open(io.BytesIO(turned))), transform(turned))
    name = made.write(tmp_path / "waves", train=made.audio_table(TWO_CHANNELS * 3))
    transform = again(open_data(name, 2, 0, labels=["digit"]))
    wave, rate = soundfile.read(io.BytesIO(TWO_CHANNELS[0]), dtype="float32")
    assert wave.ndim == 2
    assert torch.equal(transform(wave, rate), transform(TWO_CHANNELS[0]))
    one = torch.from_numpy(wave.mean(axis=1))
    assert torch.equal(transform(one, rate), transform(TWO_CHANNELS[0]))


def _held_sideways():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Transforms of grey images, of images in colour, and of recordings."""
    root = tmp_path_factory.mktemp("kinds")
    tables = {
        "grey": made.image_table(GREY),
        "colour": made.image_table(made.colours(6)),
        "recording": made.audio_table(WAVES * 2).select_columns(["audio", "digit"]),
    }
    return {
        name: again(open_data(made.write(root / name, train=table), 2, 0))
        for name, table in tables.items()
    }


@pytest.mark.parametrize(
    ("kind", "sample", "line"),
    [
        ("colour", made.png(made.pixels(1, (5, 8, 3))), "one, of 5 x 8 pixels, while the run has"),
        ("colour", made.png(made.pixels(1, (5, 8, 3))), "; instead: make it 6 x 8"),
        ("colour", made.png(made.pixels(1))[:-30], "one, which cannot be decoded"),
        ("colour", b"words", "one, which is no image"),
        ("grey", made.colours(1)[0], "one, in colour"),
        ("recording", made.wav(made.tone(1), 900), "one, with 900 samples a second, while the run"),
        ("recording", b"words", "one, which cannot be decoded"),
        ("colour", 3, "one, a int; allowed: a path, bytes, or an image of Pillow's"),
        ("recording", Image.new("L", (6, 8)), "allowed: a path, bytes, or a wave with rate="),
        ("recording", np.zeros(9, np.float32), "allowed: a path, bytes, or a wave with rate="),
        ("colour", "caf\udce9.png", r"caf\xe9.png (FileNotFoundError"),
        ("colour", "/", "/ (IsADirectoryError"),
    ],
)
def test_what_is_no_sample_is_one_line(kinds, kind, sample, line):
    with pytest.raises(RefusedError, match=r"^file: got .*; allowed: .*; instead: ") as caught:
        kinds[kind](sample)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("colour", {"kind": "film"}, "film"),
        ("colour", {"size": 7}, "size 7"),
        ("colour", {"channels": 1}, "samples"),
        ("colour", {"background": "no colour"}, "color"),
        ("colour", {"sample_shape": [3, 6, 10**9]}, "1000000000"),
        ("colour", {"sample_shape": [3, 6]}, "dimensions"),
        ("colour", {"mean": "x"}, "str"),
        ("colour", {"mean": [1.0, 2.0]}, "size"),
        ("grey", {"std": float("nan")}, "not finite"),
        ("recording", {"rate": 0}, "rate 0"),
        ("recording", {"rate": None}, "rate None"),
        ("recording", {"sample_shape": [-1]}, "sample_shape"),
    ],
)
def test_what_no_transform_says_of_itself_is_refused(kinds, kind, change, reason):
    words = kinds[kind].described()
    read_transform(words)
    with pytest.raises((TypeError, ValueError, RuntimeError), match=reason):
        read_transform(words | change)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        ([3, 12], ["3", "12"]),
        ([2.0, 10.0], ["2", "10"]),
        ([False, True], ["False", "True"]),
    ],
)
def test_classes_have_the_names_of_their_values(tmp_path, values, names):
    contents, labels = made.colours(8), values * 4
    wanted = made.image_table(contents).remove_columns("label").add_column("kind", labels)
    data = open_data(made.write(tmp_path / "set", train=wanted), 2, 0, labels=["kind"])
    assert data.classes == {"kind": names}
    assert data.origin == {"input": "img", "train": "train", "test": "train"}


def test_classes_have_the_names_that_their_type_gives_them(tmp_path):
    train, test = (made.image_table(made.colours(4)) for _ in range(2))
    name = made.write(tmp_path / "set", train=train, test=test)
    data = open_data(name, 2, 0)
    assert data.classes == {"label": ["cat", "dog"]}
    assert data.origin == {"input": "img", "train": "train", "test": "test"}
    assert open_data("digits", 2, 0).classes == {"digit": [str(digit) for digit in range(10)]}
