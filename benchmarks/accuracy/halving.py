"""A trained network at half of its cost: five ways, trained equally long, judged side by side.

::

    python -m benchmarks.accuracy.halving --data data/cifar10 --seeds 20 21 22 --out halving.jsonl

The network is a RegNet of transformers, from configuration: convolutions with strides of 2 in its
stem and in two stages. Each way starts at the same trained weights, aims at half of that network's
multiply-accumulates, counted in the frozen network, and is trained once more. A line of the file is
one row of one seed; seeds that are in it are not trained again. It needs `pip install
'spectral-stride[dev]'`.
"""

import argparse
import copy
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import onnxruntime
import torch
import torch_pruning
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode
from transformers import RegNetConfig, RegNetForImageClassification

from spectral_stride.torch import convert, freeze, recalibrate
from spectral_stride.torch.training.augment import flipped, shifted
from spectral_stride.torch.training.budget_callback import BudgetCallback
from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.data.samples import normalized

WHOLE = "whole, trained on"
STRIDED, SMALLER, BY_HAND = "strided", "smaller images", "spectral, sizes by hand"
LEARNED, PRUNED = "learned under a budget", "fewer channels"
BUT_THE_STEM = "learned, the stem as it is"
STEM = "*.embedder.*"
# The same recipe before and after; a network that is trained already takes half of the rate.
BATCH, RATE, SHIFT, SMOOTHING = 128, 0.2, 0.125, 0.1


@dataclass
class Row:
    """One way at one seed: what was measured."""

    seed: int
    way: str
    accuracy: float
    macs: int
    parameters: int
    training_seconds: float
    strides: list[list[float]]
    latency: float | None = None


@dataclass
class Images:
    """Normalized images and labels, in memory, at one size."""

    x: torch.Tensor
    labels: torch.Tensor

    def at(self, size: int) -> "Images":
        """Return them at another size, averaged against aliasing."""
        if size == self.x.shape[-1]:
            return self
        x = functional.interpolate(self.x, [size] * 2, mode="bilinear", antialias=True)
        return Images(x, self.labels)

    def batches(self) -> Iterator[torch.Tensor]:
        """Return the images in batches."""
        return iter(self.x.split(BATCH))


class Logits(nn.Module):
    """A network of transformers that returns a tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.network(x).logits
        return logits


class Task(lightning.LightningModule):
    """Train for one cycle of the learning rate, on images that are mirrored and shifted."""

    def __init__(self, net: nn.Module, rate: float) -> None:
        super().__init__()
        self.net, self.rate = net, rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.net(x)
        return logits

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        """Return the loss."""
        x, labels = batch
        logits = self(shifted(flipped(x), SHIFT))
        return functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)

    def configure_optimizers(self) -> Any:
        """Return the optimizer, without the strides, which a budget moves, and its schedule."""
        named = self.net.named_parameters()
        weights = [value for name, value in named if not name.endswith("strides")]
        optimizer = torch.optim.SGD(weights, 0.0, 0.9, weight_decay=5e-4)
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.rate, steps, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def train(
    net: nn.Module, images: Images, epochs: int, rate: float, target: float | None = None
) -> tuple[nn.Module, float]:
    """Train a network, to a cost where one is given; return it with the seconds that it took."""
    loader = DataLoader(TensorDataset(images.x, images.labels), BATCH, shuffle=True, drop_last=True)
    callbacks = [BudgetCallback(target, images.x[:1])] if target else []
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    begun = time.perf_counter()
    trainer.fit(Task(net, rate).train(), loader)
    return net.eval(), time.perf_counter() - begun


def macs(net: nn.Module, x: torch.Tensor) -> int:
    """Count the multiply-accumulates of one image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(x[:1])
    return counter.get_total_flops() // 2


def accuracy(net: nn.Module, images: Images) -> float:
    """Return the share of images whose largest logit is that of their class."""
    with torch.no_grad():
        right = torch.cat([net.eval()(x).argmax(1) for x in images.batches()]) == images.labels
    return float(right.float().mean())


def regnet(channels: int, classes: int) -> nn.Module:
    """Make a RegNet of dense convolutions for small images: 32 / 16 / 8 / 4 pixels."""
    config = RegNetConfig(
        num_channels=channels,
        num_labels=classes,
        embedding_size=16,
        hidden_sizes=[16, 32, 64],
        depths=[2, 2, 2],
        groups_width=64,
        layer_type="x",
        downsample_in_first_stage=False,
    )
    return Logits(RegNetForImageClassification(config))


def strides_of(net: nn.Module) -> list[nn.Parameter]:
    """Return the strides of a converted network, in the order in which it runs them."""
    return [value for name, value in net.named_parameters() if name.endswith("strides")]


def shrunk(net: nn.Module, x: torch.Tensor, most: float) -> nn.Module:
    """Fix the strides at the dearest sizes within a cost at which all maps shrink alike.

    Sizes fall by one half from place to place, rounded up or down.
    """
    dearest, found = 0, None
    for sizes in _halved([x.shape[-1]], len(strides_of(net))):
        tried = _with_sizes(net, sizes)
        cost = macs(freeze(tried, x[:1]), x)
        if dearest < cost <= most:
            dearest, found = cost, tried
    if found is None:
        raise ValueError(f"no sizes that fall by halves cost {most:.0f} multiply-accumulates")
    for strides in strides_of(found):
        strides.requires_grad_(requires_grad=False)
    return found


def _halved(sizes: list[int], places: int) -> Iterator[list[int]]:
    """Yield sizes behind the image's own: up to one half of it, then one half of the last."""
    if len(sizes) > places:
        yield sizes
        return
    last = sizes[-1]
    for size in range(last // 2, 1, -1) if len(sizes) == 1 else {last // 2, -(-last // 2)}:
        if size > 1:
            yield from _halved([*sizes, size], places)


def _with_sizes(net: nn.Module, sizes: list[int]) -> nn.Module:
    """Return a copy whose places leave these sizes, behind the first one."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for strides, (before, after) in zip(strides_of(net), pairwise(sizes), strict=True):
            strides.fill_(before / after)
    return net


def pruned(net: nn.Module, x: torch.Tensor, most: float) -> nn.Module:
    """Remove the channels whose weights are smallest, the same share of each layer."""
    for share in np.arange(0.02, 1.0, 0.01):
        fewer = copy.deepcopy(net)
        pruner = torch_pruning.pruner.BasePruner(
            fewer,
            x[:1],
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=float(share),
            round_to=2,  # odd numbers of channels run slower
            ignored_layers=[fewer.network.classifier[-1]],
        )
        pruner.step()
        if macs(fewer, x) <= most:
            return fewer
    raise ValueError(f"no share of channels costs {most:.0f} multiply-accumulates")


def ways(
    net: nn.Module, images: Images, epochs: int
) -> Iterator[tuple[str, nn.Module, int, float]]:
    """Yield each way, its network, the size of its images, and the seconds of its training."""
    x, size = images.x, images.x.shape[-1]
    half, rate = macs(net, x) / 2, RATE / 2
    yield WHOLE, *_trained(copy.deepcopy(net), images, size, epochs, rate)
    fewer = next(n for n in range(size, 1, -1) if macs(net, images.at(n).x[:1]) <= half)
    yield SMALLER, *_trained(copy.deepcopy(net), images, fewer, epochs, rate)
    yield PRUNED, *_trained(pruned(net, x, half), images, size, epochs, rate)
    for way in (BY_HAND, LEARNED, BUT_THE_STEM):
        learned = convert(net, x[:1], exclude=STEM if way == BUT_THE_STEM else None)
        if way == BY_HAND:
            learned = shrunk(learned, x, half)
        recalibrate(learned, images.batches())
        # Counted live; frozen, it may take a few percent more at the same sizes.
        target = None if way == BY_HAND else 0.97 * half
        yield way, *_trained(learned, images, size, epochs, rate, target)


def _trained(
    net: nn.Module, images: Images, size: int, epochs: int, rate: float, target: float | None = None
) -> tuple[nn.Module, int, float]:
    """Train, and return the network, the size of its images, and the seconds."""
    net, seconds = train(net, images.at(size), epochs, rate, target)
    return net, size, seconds


def exported(net: nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    """Write a network as ONNX, and return what runs it on one image and one thread."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the exporter's own
        program = torch.export.export(net, (x[:1],))
        content = torch.onnx.export(program, dynamo=True, verbose=False).model_proto
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content.SerializeToString(), options)
    inputs = {session.get_inputs()[0].name: x[:1].numpy()}
    return lambda: session.run(None, inputs)


def latencies(runs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Return median times beside the first one of the same round: all take turns."""
    times = np.empty((rounds, len(runs)))
    for turn in times:
        for number, run in enumerate(runs):
            begun = time.perf_counter()
            run()
            turn[number] = time.perf_counter() - begun
    return np.median(times / times[:, :1], axis=0).tolist()


def rows_of(seed: int, images: Images, test: Images, asked: argparse.Namespace) -> list[Row]:
    """Train everything that a seed stands for, and measure it."""
    lightning.seed_everything(seed, verbose=False)
    net, seconds = train(
        regnet(images.x.shape[1], int(images.labels.max()) + 1), images, asked.epochs, RATE
    )
    size = images.x.shape[-1]
    trained = [(STRIDED, net, size, seconds), *ways(net, images, asked.more_epochs)]
    rows: list[Row] = []
    runs: list[tuple[nn.Module, torch.Tensor]] = []
    for way, one, pixels, seconds in trained:
        shown = test.at(pixels)
        strides = [values.tolist() for values in strides_of(one)]
        served = freeze(one, shown.x[:1]) if strides else one
        rows.append(
            Row(
                seed,
                way,
                accuracy(served, shown),
                macs(served, shown.x),
                sum(value.numel() for value in served.parameters()),
                seconds,
                strides,
            )
        )
        runs.append((served, shown.x))
    if asked.rounds:
        served_runs = [exported(one, x) for one, x in runs]
        for row, latency in zip(rows, latencies(served_runs, asked.rounds), strict=True):
            row.latency = latency
    return rows


def show(rows: list[Row]) -> None:
    """Print means and standard deviations, and differences to the whole network, paired by seed."""
    table = Table()
    for title in ("way", "accuracy", "below whole", "M MACs", "training", "latency"):
        table.add_column(title, justify="left" if title == "way" else "right")
    by_way: dict[str, list[Row]] = {}
    for row in rows:
        by_way.setdefault(row.way, []).append(row)
    whole = {row.seed: row.accuracy for row in by_way[WHOLE]}
    for way, some in by_way.items():
        below = [whole[row.seed] - row.accuracy for row in some]
        latency = [row.latency for row in some if row.latency is not None]
        table.add_row(
            way,
            _spread([row.accuracy for row in some]),
            _spread(below),
            f"{statistics.mean(row.macs for row in some) / 1e6:.2f}",
            f"{statistics.mean(row.training_seconds for row in some):.0f} s",
            f"{statistics.mean(latency):.2f}" if latency else "",
        )
    Console().print(table)


def _spread(shares: list[float]) -> str:
    """Write a mean and a standard deviation in %."""
    deviation = f" ± {100 * statistics.stdev(shares):.2f}" if len(shares) > 1 else ""
    return f"{100 * statistics.mean(shares):.2f}{deviation}"


def main(words: list[str] | None = None) -> None:
    """Train what the file does not have yet, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/cifar10", help="as of spectral-stride train")
    parser.add_argument("--limit", type=int, default=8192, help="use so many images of either part")
    parser.add_argument("--epochs", type=int, default=8, help="of the strided network")
    parser.add_argument("--more-epochs", type=int, default=4, help="of each way")
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21, 22])
    parser.add_argument("--rounds", type=int, default=500, help="of latencies; 0: none")
    parser.add_argument("--out", type=Path, default=Path("halving.jsonl"))
    asked = parser.parse_args(words)
    for name in ("torch.onnx", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    data = open_data(asked.data, BATCH, 0, asked.limit)
    train_set, test_set = (
        Images(normalized(x, data.mean, data.std), labels[:, 0])
        for x, labels in (part.tensors for part in (data.train_set, data.test_set))
    )
    lines = asked.out.read_text().splitlines() if asked.out.exists() else []
    rows = [Row(**json.loads(line)) for line in lines]
    for seed in asked.seeds:
        if seed not in {row.seed for row in rows}:
            found = rows_of(seed, train_set, test_set, asked)
            with asked.out.open("a") as file:
                file.writelines(json.dumps(asdict(row)) + "\n" for row in found)
            rows += found
    show(rows)


if __name__ == "__main__":
    main()
