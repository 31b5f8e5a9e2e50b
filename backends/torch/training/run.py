"""One training run, from a configuration to a folder of results."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from spectral_stride.torch.training.bar import Bar
from spectral_stride.torch.training.config import Config, RefusedError
from spectral_stride.torch.training.cost import Survey, survey
from spectral_stride.torch.training.data import DATA_SETS, ImageData
from spectral_stride.torch.training.device import suitable_threads
from spectral_stride.torch.training.folder import CHECKPOINT, SUMMARY, write_config, write_json
from spectral_stride.torch.training.lit import Classifier
from spectral_stride.torch.training.quiet import quiet_lightning


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of one training.

    Attributes
    ----------
    downsampling : str
        As in `Config`.
    before, after : Survey
        Strides, map sizes and cost, before the first step and after the last.
    test_accuracy : float
        Share of the test images that are classified rightly, 0 to 1.
    parameters : int
        Numbers that were learned.
    seconds : float
        Of the training alone.
    threads : int
        That PyTorch computed with; another number may round differently.
    """

    downsampling: str
    before: Survey
    after: Survey
    test_accuracy: float
    parameters: int
    seconds: float
    threads: int


def _trainer(config: Config, folder: Path, device: str, progress: bool) -> lightning.Trainer:
    checkpoint = folder / CHECKPOINT
    # Written over at the end of every epoch. There is no best one: nothing is chosen by a look at
    # the test images.
    keep = ModelCheckpoint(checkpoint.parent, checkpoint.stem, enable_version_counter=False)
    callbacks: list[lightning.Callback] = [keep]
    if progress:
        callbacks.append(Bar(refresh_rate=4))
    return lightning.Trainer(
        accelerator=device,
        devices=1,
        max_epochs=config.epochs,
        callbacks=callbacks,
        # Both write into the folder itself, not into numbered versions below it.
        logger=[
            CSVLogger(folder, name="", version=""),
            TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
        ],
        log_every_n_steps=1,
        enable_progress_bar=progress,
        enable_model_summary=False,
        default_root_dir=folder,
    )


@contextmanager
def _interruptible(trainer: lightning.Trainer) -> Iterator[None]:
    """Let Ctrl-C arrive as the KeyboardInterrupt that it is.

    Lightning turns it into an exit of its own, and makes the process deaf to the next one.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if trainer.interrupted:
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from stop
        raise


def _build(config: Config, data: ImageData) -> tuple[Classifier, Survey]:
    """Build a network and run it once; what the library refuses is the user's to put right."""
    try:
        module = Classifier.build(config, data.num_classes, data.image_shape[0])
        return module, survey(module.model, data.image_shape)
    except ValueError as error:
        raise RefusedError(str(error)) from error


def train_one(
    config: Config, data: ImageData, folder: Path, device: str, *, progress: bool = True
) -> Result:
    """Train and test one network.

    Parameters
    ----------
    config : Config
        The seed decides the first weights and the order of images.
    data : ImageData
    folder : Path
        Gets ``metrics.csv``, TensorBoard's events, ``checkpoints/last.ckpt``.
    device : str
        From `device.find_device`.
    progress : bool, optional
        Show a progress bar.

    Returns
    -------
    Result
    """
    with quiet_lightning():
        lightning.seed_everything(config.seed, verbose=False)
        module, before = _build(config, data)
        trainer = _trainer(config, folder, device, progress)
        start = time.perf_counter()
        with suitable_threads(before.macs * config.batch_size) as threads, _interruptible(trainer):
            trainer.fit(module, data)
        seconds = time.perf_counter() - start
        with _interruptible(trainer):
            (metrics,) = trainer.test(module, data, verbose=False)
    return Result(
        downsampling=config.downsampling,
        before=before,
        after=survey(module.model, data.image_shape),
        test_accuracy=metrics["test/accuracy"],
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        seconds=round(seconds, 2),
        threads=threads,
    )


def make_data(config: Config, limit: int | None = None) -> ImageData:
    """Load the images that a configuration names; of either part only the first ``limit``."""
    return DATA_SETS[config.data](config.batch_size, config.seed, limit)


def train(
    config: Config,
    folder: Path,
    device: str,
    *,
    limit: int | None = None,
    progress: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train the configured network and, if wanted, the same one with strided convolutions.

    Parameters
    ----------
    config : Config
        From `read`.
    folder : Path
        From `make_folder`; each training gets a folder in it, named after its downsampling.
    device : str
        From `device.find_device`.
    limit : int, optional
        Use only the first so many images; for trials.
    progress : bool, optional
        Show progress bars.
    tell : callable, optional
        Called with a line before each training.

    Returns
    -------
    dict
        The summary, as written to ``summary.json``.
    """
    write_config(folder, config, device)
    configs = [config]
    if config.baseline:
        configs.append(replace(config, downsampling="strided"))
    results = []
    for number, each in enumerate(configs, 1):
        tell(f"Training {number} of {len(configs)}: {each.model}, {each.downsampling}")
        # Made anew, so that the second training sees the images in the order of the first.
        data = make_data(config, limit)
        inner = folder / each.downsampling
        results.append(train_one(each, data, inner, device, progress=progress))
    summary = {
        "config": asdict(config),
        "image_shape": list(data.image_shape),
        "band_limit": data.band_limit,
        "train_images": len(data.train_set),
        "test_images": len(data.test_set),
        "runs": [asdict(result) for result in results],
    }
    write_json(folder / SUMMARY, summary)
    return summary
