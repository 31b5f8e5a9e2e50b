"""What a training run asks of a data set, and the digits that need no file."""

from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    Sampler,
    SequentialSampler,
    TensorDataset,
)

from spectral_stride.torch.training.data.samples import check_limit, spread

Batches = DataLoader[tuple[torch.Tensor, ...]]

# How much larger the digits are made: their highest frequency is then an eighth of the sampling
# rate, and a stride of four loses nothing.
FACTOR = 4
# Learning from a quarter is hard enough to tell networks apart, and what is left is a large test.
TEST_SHARE = 0.75


class TrainingData(lightning.LightningDataModule):
    """Samples and labels: what a training run asks of a data set.

    A subclass sets every attribute that has no value here when it is made.

    Parameters
    ----------
    batch_size : int
        Training samples per step.
    seed : int
        Of the order of training samples.

    Attributes
    ----------
    sample_shape : tuple of int
        (channels, height, width) of images, (samples,) of audio.
    sample_rate : int or None
        Of audio, in Hz.
    tasks : dict of str to int
        Name of each task and its number of classes, in the order of the labels.
    band_limit : float or None
        Highest frequency in the samples, in cycles per sample's extent, where one is known.
    mean, std : Tensor
        Of the training samples, float32, in the units of a sample; they broadcast against a batch.
    train_set, test_set : Dataset
        Pairs (x, labels): x of ``sample_shape``, uint8 or float32, not normalized, and labels int64
        of shape (tasks,). A `TensorDataset` where all of it is in memory.
    notes : tuple of str
        Lines that a user should see once: what was changed or left out on the way in.
    workers : int
        Processes that read samples; 0 for data in memory.

    Examples
    --------
    >>> from spectral_stride.torch.training.data.datamodule import Digits
    >>> data = Digits(batch_size=32, seed=0)
    >>> data.sample_shape, data.tasks
    ((1, 32, 32), {'digit': 10})
    >>> x, labels = next(iter(data.train_dataloader()))
    >>> x.shape, labels.shape
    (torch.Size([32, 1, 32, 32]), torch.Size([32, 1]))
    """

    sample_shape: tuple[int, ...]
    tasks: dict[str, int]
    mean: torch.Tensor
    std: torch.Tensor
    # A data set need not have a length for PyTorch; these have.
    train_set: Any
    test_set: Any
    sample_rate: int | None = None
    band_limit: float | None = None
    notes: tuple[str, ...] = ()
    workers: int = 0

    def __init__(self, batch_size: int, seed: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed

    def keep_on(self, device: torch.device | str) -> None:
        """Move what is in memory to a device, so that batches are put together there."""
        self.train_set = _moved(self.train_set, device)
        self.test_set = _moved(self.test_set, device)

    def setup(self, stage: str) -> None:
        """Keep what is in memory on the device of this process."""
        if self.trainer is not None:
            self.keep_on(self.trainer.strategy.root_device)

    def train_dataloader(self) -> Batches:
        """Shuffled batches, in an order that the seed and the epoch alone decide.

        Of several processes each gets its share.
        """
        count, rank = 1, 0
        if self.trainer is not None:
            count, rank = self.trainer.world_size, self.trainer.global_rank
        part: Any = self.train_set
        # It draws from seed + epoch: so that the orders of two seeds have nothing in common.
        sampler: DistributedSampler[Any] = DistributedSampler(
            part, count, rank, shuffle=True, seed=self.seed << 20
        )
        # A last batch of one sample would break batch normalization on maps of one pixel.
        return self._loader(part, self.batch_size, sampler, len(sampler) > self.batch_size)

    def test_dataloader(self) -> Batches:
        """The test samples in order, in larger batches: no gradients are kept."""
        part: Any = self.test_set
        return self._loader(part, max(self.batch_size, 256), SequentialSampler(part), False)

    def _loader(
        self, part: Any, batch_size: int, sampler: Sampler[int], drop_last: bool
    ) -> Batches:
        """Batches in a sampler's order."""
        if isinstance(part, TensorDataset):
            # One look-up a batch. Collating sample by sample costs more than a small network does.
            whole = EpochBatches(sampler, batch_size, drop_last)
            return DataLoader(part, batch_size=None, sampler=whole)
        return DataLoader(
            part,
            batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class EpochBatches(BatchSampler):
    """Batches of indices, whose order is told the epoch as that of single ones would be."""

    def set_epoch(self, epoch: int) -> None:
        """Pass it on to the sampler."""
        if isinstance(self.sampler, DistributedSampler):
            self.sampler.set_epoch(epoch)


def _moved(
    part: Dataset[tuple[torch.Tensor, ...]], device: torch.device | str
) -> Dataset[tuple[torch.Tensor, ...]]:
    if not isinstance(part, TensorDataset):
        return part
    return TensorDataset(*(tensor.to(device) for tensor in part.tensors))


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

    Raises
    ------
    RefusedError
        For a limit that leaves one digit alone.
    """

    def __init__(self, batch_size: int, seed: int, limit: int | None = None) -> None:
        super().__init__(batch_size, seed)
        digits: Any = load_digits()
        size = digits.images.shape[1]
        images = enlarge(digits.images, FACTOR)
        train, test = train_test_split(
            np.arange(len(images)), test_size=TEST_SHARE, stratify=digits.target, random_state=0
        )

        def part(chosen: NDArray[np.int64]) -> TensorDataset:
            pixels = images[chosen].astype(np.float32)[:, np.newaxis]
            labels = digits.target[chosen].astype(np.int64)[:, np.newaxis]
            return TensorDataset(torch.from_numpy(pixels), torch.from_numpy(labels))

        self.sample_shape = (1, FACTOR * size, FACTOR * size)
        self.tasks = {"digit": len(digits.target_names)}
        self.band_limit = size / 2
        self.mean = torch.full((1, 1, 1), images[train].mean(), dtype=torch.float32)
        self.std = torch.full((1, 1, 1), images[train].std(), dtype=torch.float32)
        self.train_set = part(train[spread(len(train), limit)])
        self.test_set = part(test[spread(len(test), limit)])
        check_limit(limit, self.train_set.tensors[1].numpy(), self.tasks)


# Every data set that has a name of its own; `sources.open_data` opens these and all others.
DATA_SETS: dict[str, type[Digits]] = {"digits": Digits}
