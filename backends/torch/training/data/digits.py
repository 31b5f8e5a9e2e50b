"""The digits, which need no file."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.signal import resample
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

from spectral_stride.torch.training.data.datamodule import TrainingData
from spectral_stride.torch.training.data.images import LEVELS, ImageReader, open_image
from spectral_stride.torch.training.data.samples import check_limit, spread
from spectral_stride.torch.training.data.splits import HELD_OUT, held_out

# How much larger the digits are made: their highest frequency is then an eighth of the sampling
# rate. A stride of four loses nothing but half of what is exactly there, in bin 4 of 32: an even
# number of samples, here 8, shows a wave in its last bin at half its height.
FACTOR = 4
# Pixels along a side, before that, and the level of the strongest stroke.
SIDE, STRONGEST = 8, 16
# Learning from a quarter is hard enough to tell networks apart, and what is left is a large test.
TEST_SHARE = 0.75


def enlarge(images: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Sample images more finely by padding their spectra with zeros.

    Parameters
    ----------
    images : array of shape (count, height, width)
    factor : int
        Output samples per input sample, along both axes.

    Returns
    -------
    array of shape (count, factor * height, factor * width)
        The same band-limited images: every ``factor``-th sample is an input sample.
    """
    _, height, width = images.shape
    tall = resample(images, factor * height, axis=1)
    wide: NDArray[np.float64] = resample(tall, factor * width, axis=2)
    return wide


@dataclass
class DigitReader:
    """Makes a float32 tensor (1, 32, 32) of an image file with one digit, light strokes on dark.

    It is brought to the 8 x 8 pixels and 17 levels of the digits, and enlarged as they are.
    """

    KIND: ClassVar[str] = "digit"
    KEPT: ClassVar[tuple[str, ...]] = ()

    def __call__(self, content: bytes) -> torch.Tensor:
        """Read one image; see `images.ImageReader`."""
        return self.take(open_image(content))

    def take(self, image: Image.Image) -> torch.Tensor:
        """Make a sample of one decoded image."""
        pixels = ImageReader(SIDE, background="black").take(image)
        levels = (pixels.double().mean(dim=0) * STRONGEST / (LEVELS - 1)).round()
        return torch.from_numpy(enlarge(levels[None].numpy(), FACTOR).astype(np.float32))


class Digits(TrainingData):
    """The 1797 handwritten digits inside scikit-learn, 8 x 8, enlarged to 32 x 32.

    A quarter of them, stratified by digit, is for training. The split is fixed: no seed changes it.

    Parameters
    ----------
    batch_size : int
        Training images per step.
    seed : int
        Of the order of training images.
    limit : int, optional
        Use at most so many images of either part, evenly spread; for trials.
    hold_out : float, optional
        Share of the training images that takes the place of the test.

    Raises
    ------
    RefusedError
        For a limit that leaves one digit alone.
    """

    def __init__(
        self, batch_size: int, seed: int, limit: int | None = None, hold_out: float = 0.0
    ) -> None:
        super().__init__(batch_size, seed)
        digits: Any = load_digits()
        images = enlarge(digits.images, FACTOR)
        train, test = train_test_split(
            np.arange(len(images)), test_size=TEST_SHARE, stratify=digits.target, random_state=0
        )
        if hold_out:
            train, test = (train[part] for part in held_out(digits.target[train], hold_out))
            self.notes = (HELD_OUT.format(hold_out),)

        def samples(chosen: NDArray[np.int64]) -> TensorDataset:
            pixels = images[chosen].astype(np.float32)[:, np.newaxis]
            labels = digits.target[chosen].astype(np.int64)[:, np.newaxis]
            return TensorDataset(torch.from_numpy(pixels), torch.from_numpy(labels))

        self.sample_shape = (1, FACTOR * SIDE, FACTOR * SIDE)
        self.classes = {"digit": [str(name) for name in digits.target_names]}
        self.reader = DigitReader()
        self.band_limit = SIDE / 2
        self.mean = torch.full((1, 1, 1), images[train].mean(), dtype=torch.float32)
        self.std = torch.full((1, 1, 1), images[train].std(), dtype=torch.float32)
        self.train_set = samples(train[spread(len(train), limit)])
        self.test_set = samples(test[spread(len(test), limit)])
        check_limit(limit, self.train_set.tensors[1].numpy(), self.tasks)


# Every data set that has a name of its own; `open.open_data` opens these and all others.
DATA_SETS: dict[str, type[Digits]] = {"digits": Digits}
