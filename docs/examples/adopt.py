"""Halve the cost of a network: train it, convert it, halve it, freeze it, run it in onnxruntime.

::

    python docs/examples/adopt.py                                  # the digits
    python docs/examples/adopt.py --data cifar10/ --limit 8192     # or any images

It needs `pip install 'spectral-stride[train,export]' transformers`, and downloads nothing.
"""

import argparse
import copy
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import ResNetConfig, ResNetForImageClassification

from spectral_stride.torch import MacBudget, convert, freeze, recalibrate
from spectral_stride.torch.training.data.open import open_data
from spectral_stride.torch.training.refusal import RefusedError


@dataclass
class Images:
    """A data set as batches of normalized images, enlarged to a size, and their first labels."""

    data: Any
    size: int

    def train(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Return the batches of an epoch, in an order of its own."""
        loader = self.data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return map(self._ready, loader)

    def test(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Return the test images."""
        return map(self._ready, self.data.test_dataloader())

    def _ready(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        x = (batch[0].float() - self.data.mean) / self.data.std
        return functional.interpolate(x, [self.size] * 2, mode="bilinear"), batch[1][:, 0]


@dataclass
class Row:
    """What is told of one step."""

    step: str
    macs: int
    accuracy: float
    latency: float | None = None


def resnet(data: Any, width: int) -> nn.Module:
    """Make a residual network of transformers: a stem, a max pooling and three stages."""
    config = ResNetConfig(
        layer_type="basic",
        num_channels=data.sample_shape[0],
        num_labels=len(next(iter(data.classes.values()))),
        embedding_size=width,
        hidden_sizes=[width, 2 * width, 4 * width],
        depths=[1, 1, 1],
    )
    return ResNetForImageClassification(config)


def train(net: nn.Module, images: Images, epochs: int, most: float | None = None) -> nn.Module:
    """Train for one cycle of the learning rate, to a cost where one is given."""
    steps = epochs * len(images.data.train_dataloader())
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    budget = MacBudget(net, sample(images), most, steps=steps) if most else None
    net.train()
    for epoch in range(epochs):
        for x, labels in images.train(epoch):
            functional.cross_entropy(net(x).logits, labels).backward()
            optimizer.step()
            if budget:
                budget.step()
            schedule.step()
            optimizer.zero_grad()
    return net.eval()


def sample(images: Images, count: int = 1) -> torch.Tensor:
    """Return the first test images."""
    x, _ = next(images.test())
    return x[:count]


def macs(net: nn.Module, images: Images) -> int:
    """Count the multiply-accumulates of one image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(sample(images))
    return counter.get_total_flops() // 2


def accuracy(predict: Callable[[torch.Tensor], torch.Tensor], images: Images) -> float:
    """Return the share of test images whose largest logit is that of their class."""
    with torch.no_grad():
        right = [predict(x).argmax(1) == labels for x, labels in images.test()]
    return float(torch.cat(right).float().mean())


def row(step: str, net: nn.Module, images: Images) -> Row:
    """Measure a network in PyTorch."""
    return Row(step, macs(net, images), accuracy(lambda x: net(x).logits, images))


def exported(net: nn.Module, images: Images) -> Callable[[torch.Tensor], torch.Tensor]:
    """Write a network as ONNX, for any batch, and return what runs it on one thread."""
    x, free = sample(images, 2), ({0: torch.export.Dim.DYNAMIC},)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the exporter's own
        program = torch.export.export(net, (x,), dynamic_shapes=free)
        content = torch.onnx.export(program, dynamo=True, verbose=False).model_proto
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content.SerializeToString(), options)
    return lambda x: torch.from_numpy(session.run(None, {"pixel_values": x.numpy()})[0])


def latencies(runs: list[tuple[Any, torch.Tensor]], rounds: int) -> list[float]:
    """Return median times beside the first one of the same round: all take turns."""
    times = np.empty((rounds, len(runs)))
    for turn in times:
        for number, (predict, x) in enumerate(runs):
            begun = time.perf_counter()
            predict(x)
            turn[number] = time.perf_counter() - begun
    return np.median(times / times[:, :1], axis=0).tolist()


def main(words: list[str] | None = None) -> list[Row]:
    """Take all steps, print the table and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="as of spectral-stride train")
    parser.add_argument("--limit", type=int, help="use so many images of either part")
    parser.add_argument("--size", type=int, default=64, help="pixels that images are enlarged to")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage")
    parser.add_argument("--exclude", nargs="*", default=[], help="places that stay strided")
    parser.add_argument("--epochs", type=int, default=20, help="before, and again after converting")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=500, help="of latencies; 0: none")
    asked = parser.parse_args(words)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.manual_seed(asked.seed)
    try:
        data = open_data(asked.data, asked.batch_size, asked.seed, asked.limit)
    except RefusedError as error:
        parser.error(str(error))
    images = Images(data, asked.size)

    net = resnet(data, asked.width)
    with torch.random.fork_rng():
        half = macs(net, images) / 2
        try:  # what cannot be reached is said before anything is trained
            untrained = convert(net, sample(images), exclude=asked.exclude)
            MacBudget(untrained, sample(images), half, steps=1)
        except ValueError as error:
            parser.error(str(error))
    train(net, images, asked.epochs)
    rows = [row("strided", net, images)]

    # Two rivals that are trained as long as what is converted: at full cost, and at half of it.
    longer = train(copy.deepcopy(net), images, asked.epochs)
    rows.append(row("trained on", longer, images))
    sizes = (Images(data, size) for size in range(asked.size, 0, -1))
    fewer = next(smaller for smaller in sizes if macs(net, smaller) <= half)
    on_fewer = train(copy.deepcopy(net), fewer, asked.epochs)
    rows.append(row(f"trained on at {fewer.size} x {fewer.size}", on_fewer, fewer))

    learned = convert(net, sample(images), exclude=asked.exclude)
    rows.append(row("converted", learned, images))
    recalibrate(learned, [x for x, _ in images.train(0)])
    rows.append(row("recalibrated", learned, images))
    unhalved = freeze(learned, sample(images))
    train(learned, images, asked.epochs, half)
    rows.append(row("halved by budget", learned, images))
    frozen = freeze(learned, sample(images))
    rows.append(row("frozen", frozen, images))

    served = exported(frozen, images)
    rows.append(Row("in onnxruntime", rows[-1].macs, accuracy(served, images)))
    if asked.rounds:
        one = sample(images)
        timed = {
            0: (exported(net, images), one),
            2: (exported(on_fewer, fewer), sample(fewer)),
            4: (exported(unhalved, images), one),
            7: (served, one),
        }
        times = latencies(list(timed.values()), asked.rounds)
        for number, latency in zip(timed, times, strict=True):
            rows[number].latency = latency
    show(rows)
    x = next(images.test())[0]
    with torch.no_grad():
        expected = learned(x).logits
    away = float((served(x) - expected).abs().max() / expected.abs().max())
    print(f"onnxruntime's logits differ from PyTorch's by {away:.1e} of the largest, at most")
    return rows


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table()
    for title in ("step", "MACs", "of strided", "accuracy", "latency"):
        table.add_column(title, justify="left" if title == "step" else "right")
    for one in rows:
        latency = "" if one.latency is None else f"{one.latency:.2f}"
        share = f"{one.macs / rows[0].macs:.2f}"
        table.add_row(one.step, f"{one.macs:,}", share, f"{one.accuracy:.1%}", latency)
    Console().print(table)


if __name__ == "__main__":
    main()
