"""A trained network, with all that it takes to use it: a transform, and names of classes."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

from spectral_stride.torch.models.downsampling import DOWNSAMPLINGS
from spectral_stride.torch.models.network import Network
from spectral_stride.torch.training.checkpoint import read_checkpoint
from spectral_stride.torch.training.classifier import Classifier
from spectral_stride.torch.training.config import DIGITS, NO_BACKGROUND
from spectral_stride.torch.training.data.datamodule import TrainingData
from spectral_stride.torch.training.data.transform import (
    Transform,
    read_transform,
    transform_of,
)
from spectral_stride.torch.training.files import leads_into, read_json, write_json
from spectral_stride.torch.training.refusal import refuse
from spectral_stride.torch.training.run_folder import CHECKPOINT, CONFIG, RESULT, SAMPLES
from spectral_stride.torch.training.words import complete, parse

RUN = "RUN"


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A trained network that is ready to be used.

    Attributes
    ----------
    net : Network
        In evaluation mode, on the CPU. It takes a batch of what ``transform`` gives, and returns a
        tuple of logits: one tensor of shape (batch, classes) for each entry of ``classes``.
    transform : Transform
        Makes of a file, an image or a wave what the net takes, as the test of the training did.
    classes : dict of str to tuple of str
        The name of each task, and the names of its classes in the order of the logits.
    notes : tuple of str
        What is not known of the run, and what was assumed.
    """

    net: Network
    transform: Transform
    classes: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """Say in plain values what classes are called, and what makes samples of files."""
        return {
            "classes": {task: list(names) for task, names in self.classes.items()},
            "transform": self.transform.described(),
        }


def write_samples(folder: Path, data: TrainingData) -> None:
    """Write into a run folder what its classes are called, and how files become samples."""
    content = {
        "classes": data.classes,
        **data.origin,
        "transform": transform_of(data).described(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SAMPLES, content)


def load_run(folder: str | Path) -> LoadedRun:
    """Load a trained network, with its transform and the names of its classes.

    Parameters
    ----------
    folder : str or Path
        Of a run, or one of the trainings in it: ``runs/NAME`` has the network that the run was
        started for, ``runs/NAME/strided`` the baseline beside it. A training that is not finished
        is loaded as it was after its last whole epoch.

    Returns
    -------
    LoadedRun
        With ``net``, ``transform`` and ``classes``. The net computes in float32 whatever
        ``--precision`` was.

    Raises
    ------
    RefusedError
        For a folder that is no run or has no checkpoint, and files of another form.

    Warns
    -----
    UserWarning
        Where the run was trained before class names and the transform were kept: classes are then
        numbers, written as text, and the transform is what the choices of the run say.

    Examples
    --------
    >>> from spectral_stride.torch.training import load_run
    >>> run = load_run("runs/digits")
    >>> (logits,) = run.net(run.transform("seven.png")[None])
    >>> run.classes["digit"][logits.argmax()]
    '7'
    """
    run = read_run(Path(folder))
    for note in run.notes:
        warnings.warn(note, stacklevel=2)
    return run


def read_run(folder: Path) -> LoadedRun:
    """Load a trained network without a warning; see `load_run`."""
    inner = _training_in(folder)
    path = inner / CHECKPOINT
    if not path.is_file():
        allowed = "a run with a checkpoint, which there is after its first epoch"
        refuse(RUN, f"{str(folder)!r}, without {path}", allowed, "wait for it, or train it anew")
    checkpoint = read_checkpoint(path, RUN, "copy it anew if it is a copy, or train it anew")
    try:
        known = checkpoint["hyper_parameters"]
        # The data need not be here.
        parse(complete(known["config"]) | {"data": DIGITS})
        with torch.random.fork_rng([]):  # first weights are drawn, and then written over
            module = Classifier(**known)
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    except Exception as error:  # of whatever PyTorch makes of other fields
        _refuse_file(path, error)
    notes = []
    if not (inner / RESULT).exists():
        epochs = module.config.epochs
        notes.append(f"{folder}: not finished, {checkpoint['epoch'] + 1} of {epochs} epochs")
    samples = inner.parent / SAMPLES
    if samples.exists():
        classes, transform = _read_samples(samples, module.tasks)
    else:
        classes = {task: tuple(map(str, range(count))) for task, count in module.tasks.items()}
        transform = read_transform(_assumed(known))
        notes.append(
            f"{folder}: trained before the names of classes were kept ({SAMPLES}), so they are "
            "called 0, 1, ... here; files are read as the choices of the run say"
        )
    return LoadedRun(module.model.eval(), transform, classes, tuple(notes))


def _training_in(folder: Path) -> Path:
    """Return the folder of a training: the named one, or the one that the run was started for."""
    if folder.name in DOWNSAMPLINGS and not (folder / CONFIG).exists():
        return folder
    path = folder / CONFIG
    if not folder.is_dir():
        allowed = "the folder of a run, as spectral-stride train writes it"
        refuse(RUN, f"{str(folder)!r}, which is no folder", allowed, "name another run")
    try:
        kind = str(read_json(path, within=folder)["config"]["downsampling"])
        if kind not in DOWNSAMPLINGS:
            raise ValueError("another downsampling than there is")
        if not leads_into(folder / kind, folder):
            raise ValueError(f"{kind} is a link that leads out of the folder")
    except (KeyError, TypeError, ValueError) as error:
        _refuse_file(path, error)
    return folder / kind


def _read_samples(
    path: Path, tasks: Mapping[str, int]
) -> tuple[dict[str, tuple[str, ...]], Transform]:
    """Read what `write_samples` wrote, for a network with so many classes in each task."""
    try:
        content = read_json(path, within=path.parent)
        classes = {task: tuple(names) for task, names in content["classes"].items()}
        if {task: len(names) for task, names in classes.items()} != dict(tasks):
            raise ValueError("other tasks or classes than the network has")
        if not all(isinstance(name, str) for names in classes.values() for name in names):
            raise ValueError("classes that are no text")
        return classes, read_transform(content["transform"])
    except (
        ArithmeticError,
        AttributeError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        _refuse_file(path, error)


def _assumed(known: Mapping[str, Any]) -> dict[str, Any]:
    """Say what the transform of a run was that has not kept it, from what its checkpoint knows."""
    config, shape, rate = complete(known["config"]), known["sample_shape"], known["sample_rate"]
    common = {"sample_shape": shape, "mean": known["mean"], "std": known["std"]}
    if rate is not None:
        return {"kind": "recording", "rate": rate, **common}
    if config["data"] == DIGITS:
        return {"kind": "digit", **common}
    background = None if config["background"] == NO_BACKGROUND else config["background"]
    image = {"size": config["size"] or None, "channels": shape[0], "background": background}
    return {"kind": "image", **image, **common}


def _refuse_file(path: Path, error: Exception) -> NoReturn:
    reason = f"without {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
    got = f"{str(path)!r} ({' '.join(reason.split())[:300]})"
    refuse(RUN, got, f"a {path.name} as spectral-stride train writes it", "name another run")
