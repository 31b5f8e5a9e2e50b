"""What a training run asks of a data set: samples, labels, and the batches they come in."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import lightning
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    Sampler,
    SequentialSampler,
    TensorDataset,
)

Batches = DataLoader[tuple[torch.Tensor, ...]]


class SampleReader(Protocol):
    """Makes one raw sample of a file, or of what is decoded already.

    Attributes
    ----------
    KIND : {"image", "recording", "digit"}
        What it reads.
    KEPT : tuple of str
        Its attributes that decide on a sample, besides the sample's shape.
    """

    KIND: ClassVar[str]
    KEPT: ClassVar[tuple[str, ...]]

    def __call__(self, content: bytes) -> torch.Tensor:
        """Read the bytes of one file."""

    def take(self, *decoded: Any) -> torch.Tensor:
        """Make the sample of an image, or of a wave and its rate."""


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
    classes : dict of str to list of str
        Name of each task and of its classes, in the order of the labels and of their numbers.
    reader : SampleReader
        Makes of a file's bytes what it made of those in the test set.
    origin : dict of str to str
        Where samples came from in the source: the column under "input", and the split of either
        part under "train" and "test". Empty for what is built in.
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
    >>> from spectral_stride.torch.training.data.digits import Digits
    >>> data = Digits(batch_size=32, seed=0)
    >>> data.sample_shape, data.tasks
    ((1, 32, 32), {'digit': 10})
    >>> x, labels = next(iter(data.train_dataloader()))
    >>> x.shape, labels.shape
    (torch.Size([32, 1, 32, 32]), torch.Size([32, 1]))
    """

    sample_shape: tuple[int, ...]
    classes: dict[str, list[str]]
    reader: "SampleReader"
    mean: torch.Tensor
    std: torch.Tensor
    # A data set need not have a length for PyTorch; these have.
    train_set: Any
    test_set: Any
    sample_rate: int | None = None
    band_limit: float | None = None
    origin: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    workers: int = 0

    def __init__(self, batch_size: int, seed: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed

    @property
    def tasks(self) -> dict[str, int]:
        """Name of each task and its number of classes, in the order of the labels."""
        return {task: len(names) for task, names in self.classes.items()}

    def keep_on(self, device: torch.device | str) -> None:
        """Move what is in memory to a device, so that batches are put together there."""
        self.train_set = _on_device(self.train_set, device)
        self.test_set = _on_device(self.test_set, device)

    def setup(self, stage: str) -> None:
        """Keep what is in memory on the device of this process."""
        if self.trainer is not None:
            self.keep_on(self.trainer.strategy.root_device)

    def train_dataloader(self) -> Batches:
        """Shuffled batches, in an order that the seed and the epoch alone decide.

        Of several processes each gets its share.
        """
        if self.trainer is None:
            return self._train_loader(1, 0)
        return self._train_loader(self.trainer.world_size, self.trainer.global_rank)

    def steps_per_epoch(self, processes: int) -> int:
        """How many batches each of so many processes gets."""
        return len(self._train_loader(processes, 0))

    def _train_loader(self, count: int, rank: int) -> Batches:
        """Make the loader of one of several processes."""
        samples: Any = self.train_set
        # It draws from seed + epoch: so that the orders of two seeds have nothing in common.
        sampler: DistributedSampler[Any] = DistributedSampler(
            samples, count, rank, shuffle=True, seed=self.seed << 20
        )
        if self.trainer is not None:
            # Lightning tells a sampler the same number when an epoch begins. But processes that
            # read samples take their first orders before, when it makes an iterator of this.
            progress: Any = self.trainer.fit_loop.epoch_progress.current
            sampler.set_epoch(progress.processed)
        # A last batch of one sample would break batch normalization on maps of one pixel.
        return self._loader(samples, self.batch_size, sampler, len(sampler) > self.batch_size)

    def test_dataloader(self) -> Batches:
        """The test samples in order, in larger batches: no gradients are kept."""
        samples: Any = self.test_set
        batch_size = max(self.batch_size, 256)
        return self._loader(samples, batch_size, SequentialSampler(samples), False)

    def _loader(
        self, samples: Any, batch_size: int, sampler: Sampler[int], drop_last: bool
    ) -> Batches:
        """Batch samples in a sampler's order."""
        if isinstance(samples, TensorDataset):
            # One look-up a batch. Collating sample by sample costs more than a small network does.
            batches = EpochBatches(sampler, batch_size, drop_last)
            return DataLoader(samples, batch_size=None, sampler=batches)
        return DataLoader(
            samples,
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
        """Tell the sampler which epoch comes next: it decides the order."""
        if isinstance(self.sampler, DistributedSampler):
            self.sampler.set_epoch(epoch)


def _on_device(
    samples: Dataset[tuple[torch.Tensor, ...]], device: torch.device | str
) -> Dataset[tuple[torch.Tensor, ...]]:
    """Copy samples to a device, where they are in memory."""
    if not isinstance(samples, TensorDataset):
        return samples
    return TensorDataset(*(tensor.to(device) for tensor in samples.tensors))
