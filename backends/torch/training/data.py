"""The images to train on, as Lightning data modules, by name."""

from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

Batches = DataLoader[tuple[torch.Tensor, ...]]

# How much larger the digits are made: their highest frequency is then an eighth of the sampling
# rate, and a stride of four loses nothing.
FACTOR = 4
# Learning from a quarter is hard enough to tell networks apart, and what is left is a large test.
TEST_SHARE = 0.75


class ImageData(lightning.LightningDataModule):
    """Images and labels in memory: what a training run asks of a data set.

    A subclass sets every attribute when it is made.

    Attributes
    ----------
    image_shape : tuple of int
        (channels, height, width).
    num_classes : int
        Labels are 0 .. num_classes - 1.
    band_limit : float or None
        Highest frequency in the images, in cycles per image, where one is known.
    train_set, test_set : TensorDataset
        Normalized float32 images and int64 labels.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    band_limit: float | None
    train_set: TensorDataset
    test_set: TensorDataset

    def __init__(self, batch_size: int, seed: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> Batches:
        """Shuffled batches, in an order that the seed alone decides."""
        return DataLoader(
            self.train_set,
            self.batch_size,
            shuffle=True,
            generator=torch.Generator().manual_seed(self.seed),
            # A last batch of one image would break batch normalization on maps of one pixel.
            drop_last=len(self.train_set) > self.batch_size,
        )

    def test_dataloader(self) -> Batches:
        """The test images in order, in larger batches: no gradients are kept."""
        return DataLoader(self.test_set, max(self.batch_size, 256))


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


class Digits(ImageData):
    """The 1797 handwritten digits inside scikit-learn, 8 x 8, enlarged to 32 x 32.

    A quarter of them, stratified by digit, is for training. The split is fixed: no seed changes it.
    Mean and spread of the training images normalize both parts.

    Parameters
    ----------
    batch_size : int
        Training images per step.
    seed : int
        Of the order of training images.
    limit : int, optional
        Use only the first so many images of either part; for trials.
    """

    def __init__(self, batch_size: int, seed: int, limit: int | None = None) -> None:
        super().__init__(batch_size, seed)
        digits: Any = load_digits()
        size = digits.images.shape[1]
        images = enlarge(digits.images, FACTOR)
        train, test = train_test_split(
            np.arange(len(images)), test_size=TEST_SHARE, stratify=digits.target, random_state=0
        )
        mean, spread = images[train].mean(), images[train].std()

        def part(chosen: NDArray[np.int64]) -> TensorDataset:
            pixels = ((images[chosen] - mean) / spread).astype(np.float32)[:, np.newaxis]
            labels = digits.target[chosen].astype(np.int64)
            return TensorDataset(torch.from_numpy(pixels), torch.from_numpy(labels))

        self.image_shape = (1, FACTOR * size, FACTOR * size)
        self.num_classes = len(digits.target_names)
        self.band_limit = size / 2
        self.train_set = part(train[:limit])
        self.test_set = part(test[:limit])


# Every name that `config.DATA` allows.
DATA_SETS: dict[str, type[Digits]] = {"digits": Digits}
