"""What finished trainings leave behind, made up: two layers, five steps."""

import csv
import json
from dataclasses import asdict

from spectral_stride.torch.training.words import parse


def layers(strides):
    return [
        {"name": name, "stride": [s, s + moved], "size_in": [16, 16], "size_out": [8, 8]}
        for name, s, moved in (("stem", 1.0, 0.0), ("stage1", strides, 0.5))
    ]


def write_run(folder, accuracy, macs, step=0.01, tasks=None, machine=None, threads=1, **words):
    """Write what a finished training of two layers leaves behind."""
    config = parse({"strides": "1,1,2,2,2", "baseline": False, **words})
    kind = config.downsampling
    trained = {
        "downsampling": kind,
        "before": {"layers": layers(2.0), "macs": 5_000_000, "complexity": 1.0},
        "after": {"layers": layers(3.0), "macs": macs, "complexity": 0.5},
        "test_accuracy": accuracy,
        "test_accuracies": tasks or {"class": accuracy},
        "parameters": 1234,
        "seconds": 100.0 + 2 * config.seed,
        "step_seconds": step,
        "threads": threads,
    }
    summary = {
        "config": {**asdict(config), "recipe": "plain"},
        "sample_shape": [1, 16, 16],
        "band_limit": None,
        "tasks": {task: 10 for task in trained["test_accuracies"]},
        "train_samples": 100,
        "test_samples": 200,
        "runs": [trained],
    }
    (folder / kind).mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    write_config(folder, config, machine)
    with (folder / kind / "metrics.csv").open("w", newline="") as file:
        names = [f"stride/{layer['name']}/{axis}" for layer in layers(2.0) for axis in "hw"]
        names = [name.replace("/h", "/height").replace("/w", "/width") for name in names]
        writer = csv.writer(file)
        writer.writerow(["step", "train/loss", "test/accuracy", *names])
        for step_number in range(5):
            row = [1.0, 1.0, 2.0 + step_number / 5, 2.0 + step_number / 4]
            writer.writerow([step_number, 1.5, "", *row])
        writer.writerow([4, "", accuracy, "", "", "", ""])
    return folder


def write_config(folder, config, machine=None):
    content = {
        "command": config.command(),
        "config": {**asdict(config), "recipe": "plain"},
        "machine": {"system": "Linux", "device": "cpu", **(machine or {})},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
