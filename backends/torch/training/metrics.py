"""The metrics of a run that goes on: those up to its checkpoint are kept, the others come again."""

import csv
import os
import pickle
from pathlib import Path

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger

from spectral_stride.torch.training.config import refuse
from spectral_stride.torch.training.run_folder import METRICS


def keep_metrics(trainer: lightning.Trainer, checkpoint: Path) -> None:
    """Put the rows of before the checkpoint back into the file that a new logger starts.

    Lightning's logger deletes the file of an earlier process when it is first used.
    """
    logger = next(one for one in trainer.loggers if isinstance(one, CSVLogger))
    path = Path(logger.log_dir) / METRICS
    if trainer.global_rank != 0 or not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or [])
        rows = list(reader)
    try:
        step = torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"]
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        got = f"{str(checkpoint)!r} ({str(error).splitlines()[0]})"
        refuse("--resume", got, "a whole checkpoint", "delete it: the training then starts anew")
    kept = path.with_suffix(".kept")
    with kept.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        # The last row of a process that was killed may be half of one.
        whole = (
            row for row in rows if (row["step"] or "").isdecimal() and None not in row.values()
        )
        writer.writerows(row for row in whole if int(row["step"]) < step)
    experiment = logger.experiment
    os.replace(kept, path)
    experiment.metrics_keys = names
