"""How a file, or what is decoded of one, becomes what a network takes; and that as plain data."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps

from spectral_stride.torch.training.config import LARGEST_SIDE
from spectral_stride.torch.training.data.datamodule import SampleReader, TrainingData
from spectral_stride.torch.training.data.digits import DigitReader
from spectral_stride.torch.training.data.images import ImageReader
from spectral_stride.torch.training.data.samples import (
    BadFileError,
    UnlikeError,
    normalized,
    quiet_pillow,
)
from spectral_stride.torch.training.files import UnreadableError, opened
from spectral_stride.torch.training.refusal import readable, refuse
from spectral_stride.torch.training.results import LONGEST, MOST, shown, whole

# What samples of another size or rate are compared with, in a message.
_LIKE = "the run"


@dataclass(frozen=True, slots=True)
class Transform:
    """Makes of a file the tensor that a network takes, as the test of its training did.

    Attributes
    ----------
    reader : SampleReader
        Makes raw samples.
    sample_shape : tuple of int
        (channels, height, width) of images, (samples,) of recordings.
    mean, std : Tensor
        What raw samples are normalized with.
    """

    reader: SampleReader
    sample_shape: tuple[int, ...]
    mean: torch.Tensor
    std: torch.Tensor

    def __call__(self, sample: Any, rate: int | None = None) -> torch.Tensor:
        """Make the tensor of one sample.

        Parameters
        ----------
        sample : str, Path, bytes, PIL.Image.Image or array
            A file's path or content; an image; or a wave, as ``soundfile.read`` gives it: floats of
            shape (samples,) or (samples, channels), of which the mean is taken.
        rate : int, optional
            Samples a second of a wave.

        Returns
        -------
        Tensor of shape ``sample_shape``, float32, on the CPU

        Raises
        ------
        RefusedError
            For what cannot be read, or has another size or rate than the samples of the training.
        """
        name = "one"
        try:
            if isinstance(sample, str | os.PathLike):
                name = readable(os.fspath(sample))
                with opened(Path(sample)) as file:
                    sample = file.read()
            with quiet_pillow():
                raw = self._raw(sample, rate)
        except UnreadableError as error:
            refuse("file", f"{name} ({error})", "files that can be read", "put it right")
        except UnlikeError as error:
            side = " x ".join(map(str, self.sample_shape[1:]))
            refuse("file", f"{name}, {error.wrong}", "the size of the run's", f"make it {side}")
        except BadFileError as error:
            refuse("file", f"{name}, {error.wrong}", error.allowed, error.remedy)
        # A grey image among those in colour may have one channel so far: the mean gives it three.
        return normalized(raw, self.mean, self.std)

    def _raw(self, sample: Any, rate: int | None) -> torch.Tensor:
        """Make a raw sample of what is in memory."""
        if isinstance(sample, bytes):
            return self.reader(sample)
        is_wave = self.reader.KIND == "recording"
        if isinstance(sample, Image.Image) and not is_wave:
            return self.reader.take(ImageOps.exif_transpose(sample))
        if is_wave and rate is not None and not isinstance(sample, Image.Image):
            wave = np.asarray(sample, dtype=np.float32)
            return self.reader.take(wave.mean(axis=1) if wave.ndim == 2 else wave, rate)
        decoded = "a wave with rate=" if is_wave else "an image of Pillow's"
        allowed = f"a path, bytes, or {decoded}"
        raise BadFileError(f"a {type(sample).__name__}", allowed, "pass one of these")

    def described(self) -> dict[str, Any]:
        """Say all that makes it what it is, in plain values."""
        return {
            "kind": self.reader.KIND,
            **{name: getattr(self.reader, name) for name in self.reader.KEPT},
            "sample_shape": list(self.sample_shape),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
        }


def transform_of(data: TrainingData) -> Transform:
    """Return what makes of a file what the test set of a data set has."""
    return Transform(data.reader, data.sample_shape, data.mean, data.std)


def read_transform(words: Mapping[str, Any]) -> Transform:
    """Make a transform again of what it described itself as.

    Raises
    ------
    KeyError, TypeError, ValueError, RuntimeError
        For what no transform describes itself as.
    """
    shape = tuple(words["sample_shape"])
    mean, std = (torch.tensor(words[name], dtype=torch.float32) for name in ("mean", "std"))
    for constant in (mean, std):
        constant.expand(shape)  # or refuse to
        if not constant.isfinite().all():
            raise ValueError("a mean or std that is not finite")
    if not (std >= 1 / LONGEST).all():
        raise ValueError(f"a std of {std.min():g}, and samples are divided by it")
    return Transform(_reader(words, shape), shape, mean, std)


def _reader(words: Mapping[str, Any], shape: tuple[int, ...]) -> SampleReader:
    """Make a reader again for samples of a shape."""
    kind = words["kind"]
    if kind == DigitReader.KIND:
        return DigitReader()
    if kind == ImageReader.KIND:
        size, channels, background = (words[name] for name in ImageReader.KEPT)
        count, height, width = (whole(one, "sample_shape", 1, LARGEST_SIDE) for one in shape)
        if size not in (None, height) or channels not in (None, count):
            raise ValueError(f"images of size {shown(size)} for samples of {height}")
        if background is not None:
            ImageColor.getrgb(background)
        return ImageReader(size, (height, width), _LIKE, channels, background)
    from spectral_stride.torch.training.data.recordings import AudioReader

    if kind != AudioReader.KIND:
        raise ValueError(f"samples that are {shown(kind)}")
    (samples,) = (whole(one, "sample_shape", 1, MOST) for one in shape)
    return AudioReader(whole(words["rate"], "rate", 1, MOST), samples, _LIKE)
