"""Data sets of every form that a user may bring, made of noise, and a look at refusals."""

import io
import re

import datasets
import numpy as np
import pytest
import soundfile
from PIL import Image

from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.refusal import RefusedError

RATE = 800


CLASSES = datasets.ClassLabel(names=["cat", "dog"])


def pixels(seed, shape=(6, 8, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(array, mode=None, kind="PNG", **options):
    file = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def colours(count, start=0):
    return [png(pixels(start + seed)) for seed in range(count)]


def wav(samples, rate=RATE, subtype="PCM_16", kind="WAV", endian=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format=kind, endian=endian)
    return file.getvalue()


def tone(seed, length=RATE):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, length).astype(np.float32)


def cells(contents):
    return [None if content is None else {"bytes": content, "path": None} for content in contents]


def image_table(contents, labels=None, **columns):
    """The form of CIFAR on the hub: a column of images, one of labels, and more if given."""
    features = {"img": datasets.Image(), "label": CLASSES}
    labels = [row % 2 for row in range(len(contents))] if labels is None else labels
    values = {"img": cells(contents), "label": labels}
    for name, (feature, column) in columns.items():
        features[name], values[name] = feature, column
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def audio_table(contents, digits=None):
    digits = [row % 2 for row in range(len(contents))] if digits is None else digits
    table = datasets.Dataset.from_dict(
        {"audio": cells(contents), "digit": digits, "speaker": digits[::-1]}
    )
    features = {"audio": datasets.Audio(), "digit": CLASSES, "speaker": CLASSES}
    return table.cast(datasets.Features(features))


def write(folder, **splits):
    """A folder in the form of a hub repository."""
    (folder / "data").mkdir(parents=True)
    for name, table in splits.items():
        table.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return str(folder)


def folder_of_images(root, classes=("ant", "bee"), count=5, shape=(6, 8, 3)):
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(count):
            (root / name / f"{index}.png").write_bytes(png(pixels(10 * number + index, shape)))
    return root


def folder_of_recordings(root, classes=("low", "high"), count=5, rate=8000):
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(count):
            content = wav(tone(10 * number + index, rate), rate)
            (root / name / f"{index}.wav").write_bytes(content)
    return root


def refused(name, match, faults=1, **options):
    """Open what must be refused, and return the one line, or one for each fault."""
    with pytest.raises(RefusedError, match=match) as caught:
        open_data(str(name), 4, 0, **options)
    lines = str(caught.value).split("\n")
    assert len(lines) == faults
    for line in lines:
        assert re.fullmatch(r"--[a-z-]+: got .+; allowed: .+; instead: .+", line)
    return str(caught.value)
