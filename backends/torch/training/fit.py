"""A run from its configuration to its folder: one network, its baseline, what is shown of them."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console

from spectral_stride.torch.training.budget_callback import BudgetCallback
from spectral_stride.torch.training.checkpoint import (
    WholeCheckpoints,
    read_checkpoint,
    restoring,
)
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.config import (
    BESIDE,
    BUDGETED,
    LEARNED,
    NO_BACKGROUND,
    OPTIONS,
    Config,
    starts_poorly,
)
from spectral_stride.torch.training.data.datamodule import TrainingData
from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.device import find_device, is_first_process, suitable_threads
from spectral_stride.torch.training.files import (
    UnreadableError,
    leads_into,
    read_json,
    write_json,
)
from spectral_stride.torch.training.lightning_ui import (
    Bar,
    EpochLines,
    interruptible,
    quiet_lightning,
)
from spectral_stride.torch.training.macs import Survey, of_transforms, survey
from spectral_stride.torch.training.networks import AUDIO, IMAGE, MODELS
from spectral_stride.torch.training.options import IMAGES, SOUNDS, flag_of
from spectral_stride.torch.training.recipes import RECIPES
from spectral_stride.torch.training.refusal import RefusedError, refuse, refuse_other_reading
from spectral_stride.torch.training.report.run_picture import draw
from spectral_stride.torch.training.report.run_table import result_table
from spectral_stride.torch.training.results import check_result
from spectral_stride.torch.training.run_folder import (
    CHECKPOINT,
    CONFIG,
    PICTURE,
    RESULT,
    RUNS,
    SUMMARY,
    discard,
    keep_metrics,
    locked,
    make_folder,
    missing_folders,
    write_config,
)
from spectral_stride.torch.training.trained import write_samples


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
        Share of the test samples that are classified rightly, 0 to 1; the mean of the tasks.
    test_accuracies : dict of str to float
        That of each task.
    parameters : int
        Numbers that were learned.
    seconds : float
        Of the training alone, in all processes one after another where it was resumed.
    step_seconds : float
        Median time of a training step.
    threads : int
        That PyTorch computed with; another number may round differently.
    """

    downsampling: str
    before: Survey
    after: Survey
    test_accuracy: float
    test_accuracies: dict[str, float]
    parameters: int
    seconds: float
    step_seconds: float
    threads: int


class _Budget(BudgetCallback):
    """A budget from the command line, where what it refuses is the user's to put right.

    The run's table counts FFTs, as in the spectrogram of the audio network. `MacBudget` takes them
    as free. So they are left out of what it is told.
    """

    def __init__(self, cost: float, transforms: int, sample: torch.Tensor, **options: Any) -> None:
        super().__init__(cost - transforms, sample, **options)
        self._transforms = transforms

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Make the budget, or say which one can be had."""
        without = f", without {self._transforms:,} of FFTs" if self._transforms else ""
        try:
            super().on_train_start(trainer, pl_module)
        except ValueError as error:
            said = str(error).removeprefix("target: ")
            raise RefusedError(f"--budget{without}: {said}") from error


def _trainer(
    config: Config,
    data: TrainingData,
    macs: int,
    transforms: int,
    folder: Path,
    device: str,
    progress: bool,
    tell: Callable[[str], None],
) -> lightning.Trainer:
    """Make the trainer of one network, with its checkpoint, its log, and its bar or lines."""
    checkpoint = folder / CHECKPOINT
    # Written over at the end of every epoch. There is no best one: nothing is chosen by a look at
    # the test samples.
    keep = ModelCheckpoint(checkpoint.parent, checkpoint.stem, enable_version_counter=False)
    shown = Bar(refresh_rate=4) if progress else EpochLines(tell)
    callbacks: list[lightning.Callback] = [keep, shown]
    if config.budget and config.downsampling == LEARNED:
        steps = config.epochs * len(data.train_dataloader())
        sample = torch.zeros(1, *data.sample_shape)
        # A share is that of the multiply-accumulates that the run's table shows.
        cost = config.budget * macs if config.budget <= 1 else config.budget
        options = {name: getattr(config, name) for name in BUDGETED}
        callbacks.append(_Budget(cost, transforms, sample, steps=steps, **options))
    return lightning.Trainer(
        accelerator=device,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp" if config.devices * config.nodes > 1 else "auto",
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        max_epochs=config.epochs,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        # Both write into the folder itself, not into numbered versions below it.
        logger=[
            CSVLogger(folder, name="", version=""),
            TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
        ],
        log_every_n_steps=1,
        enable_progress_bar=progress,
        enable_model_summary=False,
        default_root_dir=folder,
        use_distributed_sampler=False,  # the data modules have one
    )


def _build(config: Config, data: TrainingData) -> tuple[Classifier, Survey]:
    """Build a network and run it once; what the library refuses is the user's to put right."""
    try:
        module = Classifier.build(config, data)
        return module, survey(module.model, data.sample_shape)
    except RefusedError:
        raise
    except ValueError as error:
        raise RefusedError(str(error)) from error


def train_one(
    config: Config,
    data: TrainingData,
    folder: Path,
    device: str,
    *,
    progress: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """Train and test one network, or go on where an earlier process stopped.

    Parameters
    ----------
    config : Config
        The seed decides the first weights, the order of samples and every change to them.
    data : TrainingData
    folder : Path
        Gets ``metrics.csv``, TensorBoard's events, ``checkpoints/last.ckpt`` after each epoch, and
        ``result.json`` at the end. Where it has a checkpoint, the epochs after that are trained,
        each with the random numbers of its own.
    device : str
        From `device.find_device`.
    progress : bool, optional
        Show a progress bar.
    tell : callable, optional
        Called with a line after each epoch, where there is no bar.

    Returns
    -------
    Result
    """
    folder = folder.absolute()  # a relative one with a colon would be taken for an address
    checkpoint = folder / CHECKPOINT
    with quiet_lightning():
        lightning.seed_everything(config.seed, verbose=False)
        module, before = _build(config, data)
        transforms = of_transforms(module.model, data.sample_shape) if config.budget else 0
        trainer = _trainer(config, data, before.macs, transforms, folder, device, progress, tell)
        start = checkpoint if checkpoint.exists() else None
        if start is not None:
            keep_metrics(trainer, read_checkpoint(start)["global_step"])
        with (
            suitable_threads(before.macs * config.batch_size) as threads,
            restoring(start, trainer),
            interruptible(trainer),
        ):
            trainer.fit(module, data, ckpt_path=start, weights_only=True)
        with interruptible(trainer):
            (metrics,) = trainer.test(module, data, verbose=False)
    result = Result(
        downsampling=config.downsampling,
        before=before,
        after=survey(module.model, data.sample_shape),
        test_accuracy=metrics["test/accuracy"],
        test_accuracies={task: metrics[f"test/accuracy/{task}"] for task in data.tasks},
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        seconds=round(module.seconds, 2),
        step_seconds=module.median_step(),
        threads=threads,
    )
    if is_first_process():
        write_json(folder / RESULT, asdict(result))
    return result


def _refuse_links(inner: Path, folder: Path) -> None:
    """Refuse the folder of a training where a link puts it, or its checkpoints, somewhere else."""
    for place in (inner, (inner / CHECKPOINT).parent):
        if not leads_into(place, folder):
            got = f"{str(place)!r}, a link that leads out of the folder"
            remedy = "put the folder itself in the place of the link"
            refuse("--resume", got, "folders that lie in that of the run", remedy)


def _finished(config: Config, folder: Path) -> dict[str, Any] | None:
    """Return what came out of a training that an earlier process has finished, if one has."""
    path = folder / RESULT
    if not path.exists():
        return None
    try:
        result: dict[str, Any] = read_json(path, within=folder)
        check_result(result)
        if result["downsampling"] != config.downsampling:
            raise ValueError(f"the result of downsampling {result['downsampling']}")
    except KeyError as error:
        reason = f"without {error.args[0]!r}"
    except (UnreadableError, AttributeError, TypeError, ValueError) as error:
        reason = str(error)
    else:
        return result
    allowed = f"a {RESULT} as spectral-stride train writes it"
    remedy = "move it away: the training is then done from its last checkpoint"
    refuse("--resume", f"{str(path)!r} ({reason})", allowed, remedy)


def make_data(config: Config) -> TrainingData:
    """Open the samples that a configuration names."""
    return open_data(
        config.data,
        config.batch_size,
        config.seed,
        config.limit or None,
        size=config.size or None,
        background=None if config.background == NO_BACKGROUND else config.background,
        seconds=config.seconds or None,
        input_column=config.input or None,
        labels=[name for name in config.labels.split(",") if name] or None,
        test_split=config.test_split or None,
        hold_out=config.hold_out,
    )


def _steps(config: Config, data: TrainingData) -> int:
    """Steps of an epoch."""
    return data.steps_per_epoch(config.devices * config.nodes)


def _in_epochs(config: Config, data: TrainingData) -> Config:
    """Say a number of steps in epochs."""
    if not config.steps:
        return config
    return replace(config, epochs=math.ceil(config.steps / _steps(config, data)))


def _check_recipe(config: Config, kind: str) -> None:
    """Refuse a recipe whose own network works on another kind of data."""
    own = RECIPES[config.recipe].defaults.get("model")
    if own == config.model and MODELS[own].takes != kind:
        got = f"{config.recipe!r}, which is for {MODELS[own].takes} data, for {kind} data"
        others = [name for name, recipe in RECIPES.items() if "model" not in recipe.defaults]
        refuse("--recipe", got, "recipes for this --data", f"write one of {', '.join(others)}")


def train(
    config: Config,
    folder: Path,
    device: str,
    *,
    progress: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train the configured network and, if wanted, the same one with fixed strides.

    Parameters
    ----------
    config : Config
        From `words.parse`.
    folder : Path
        From `make_folder`, or that of a run that was broken off. Each training has a folder in it,
        named after its downsampling; one that is finished there is kept.
    device : str
        From `device.find_device`.
    progress : bool, optional
        Show progress bars.
    tell : callable, optional
        Called with a line before each training and, without bars, after each epoch.

    Returns
    -------
    dict
        The summary, as written to ``summary.json``.
    """
    data = make_data(config)
    kind = IMAGE if data.sample_rate is None else AUDIO
    _check_recipe(config, kind)
    config = _in_epochs(config, data)
    configs = [config]
    configs += [
        replace(config, downsampling=kind)
        for option, kind in BESIDE.items()
        if getattr(config, option)
    ]
    results = []
    if is_first_process():
        write_samples(folder, data)
    for note in data.notes:
        tell(note)
    what, other = ("images", SOUNDS) if kind == IMAGE else ("recordings", IMAGES)
    idle = [name for name, one in OPTIONS.items() if one.only == other and getattr(config, name)]
    if idle:
        tell(f"Without effect on {what}: {', '.join(map(flag_of, idle))}.")
    longest = data.sample_shape[0] / (data.sample_rate or 1)
    if kind == AUDIO and config.part >= longest:
        tell(f"Recordings are no longer than --part {config.part:g}: they are taken whole.")
    if config.steps:
        counted = f"{config.epochs} epoch{'s' * (config.epochs > 1)}"
        tell(f"--steps {config.steps}: {counted} of {_steps(config, data)} steps.")
    if starts_poorly(config):
        usual = MODELS[config.model].good_strides
        tell(
            f"The strides start at {config.strides}: a poor choice on purpose, so that there is "
            f"something to learn. The usual ones: --strides {usual}"
        )
    for number, each in enumerate(configs, 1):
        what = f"{number} of {len(configs)}: {each.model}, {each.downsampling}"
        inner = folder / each.downsampling
        _refuse_links(inner, folder)
        result = _finished(each, inner)
        if result is None:
            tell(f"Training {what}")
            result = asdict(train_one(each, data, inner, device, progress=progress, tell=tell))
        else:
            tell(f"Trained before: {what}")
        results.append(result)
    summary = {
        "config": asdict(config),
        "sample_shape": list(data.sample_shape),
        "tasks": data.tasks,
        "band_limit": data.band_limit,
        "train_samples": len(data.train_set),
        "test_samples": len(data.test_set),
        "runs": results,
    }
    if is_first_process():
        write_json(folder / SUMMARY, summary)
    return summary


def run_job(
    config: Config, out: str | None, console: Console, *, resume: str | None = None
) -> tuple[Path, dict[str, Any]]:
    """Run one job from checked choices to the last line on the screen.

    Parameters
    ----------
    config : Config
        From `words.parse`, or from `run_folder.resumed`.
    out : str or None
        The run folder, as `make_folder` takes it.
    console : rich.console.Console
        Where to show things; the other processes of a run on several devices show nothing.
    resume : str, optional
        The folder of a run that goes on, in place of ``out``; what is missing in it is made.

    Returns
    -------
    folder : Path
    summary : dict

    Raises
    ------
    RefusedError
        For a device or a folder that cannot be had; before anything is trained.
    """
    device = find_device(config.device)
    made = missing_folders(Path(out or RUNS))
    folder = make_folder(out, config) if resume is None else Path(resume)
    refuse_other_reading("--out" if resume is None else "--resume", folder)
    first = is_first_process()
    if not first:
        console = Console(quiet=True)
    # As it is: a name in brackets is no style.
    tell = partial(console.print, soft_wrap=True, highlight=False, markup=False)
    with locked(folder) if first else nullcontext():
        if first and not (folder / CONFIG).exists():
            write_config(folder, config, device)
        if not config.baseline and config.downsampling != "strided":
            tell("No baseline of strided convolutions.")
        progress = console.is_terminal
        try:
            summary = train(config, folder, device, progress=progress, tell=tell)
        except RefusedError:
            if first and resume is None:
                discard(folder, made if out else [folder, *made])
            raise
        except KeyboardInterrupt:
            tell(f"Stopped. It goes on with: spectral-stride train --resume {quote(str(folder))}")
            raise
        if first:
            draw(folder, summary)
    console.print(result_table(summary))
    tell(f"Picture  {folder / PICTURE}")
    tell(f"Files    {folder}")
    return folder, summary
