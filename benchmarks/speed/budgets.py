"""Time at equal multiply-accumulates, of the networks that ``accuracy/PLAN.md`` compares."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from benchmarks.speed.cases import Case
from benchmarks.speed.deployed import Running, warmed
from benchmarks.speed.modules import Built, all_parameters, module_peer
from benchmarks.speed.rows import Row, Setting, measure
from benchmarks.speed.timing import Effort
from spectral_stride.torch import freeze, resnet18

QUESTION = "At equal multiply-accumulates, what do a training step and inference cost?"
STRIDED, FIXED, LEARNED = "strided", "spectral", "learned"
# Million multiply-accumulates, the images on which the strided network takes them, and sizes by
# hand with which spectral pooling takes them on 32 x 32: behind the stem and stages 2 to 4.
Budget = tuple[str, int, tuple[int, ...]]
FULL: tuple[Budget, ...] = (
    ("8.87 M", 32, (30, 14, 7, 3)),
    ("4.46 M", 21, (21, 10, 5, 2)),
    ("2.22 M", 16, (14, 6, 3, 2)),
)
TINY = FULL[-1:]
# Learned strides leave no whole number N/s, and maps are the next larger one.
BELOW = 0.4
WIDTH, BATCH, IMAGE, TINY_WIDTH, TINY_BATCH = 8, 128, 32, 2, 2


def strides_of(sizes: Sequence[int], below: float = 0.0) -> tuple[float, ...]:
    """Return the strides that leave these sizes, or so much less than whole ones; stage 1 has 1."""
    stem, *stages = [
        before / (after - below) for before, after in zip((IMAGE, *sizes), sizes, strict=False)
    ]
    return (stem, 1.0, *stages)


def networks(budget: Budget, width: int) -> dict[str, tuple[int, Callable[[], nn.Module]]]:
    """Size of the images, and what builds the network, of each way."""
    _, image, sizes = budget
    fixed, learned = strides_of(sizes), strides_of(sizes, BELOW)
    return {
        STRIDED: (image, partial(resnet18, width=width, downsampling="strided")),
        FIXED: (IMAGE, partial(resnet18, width=width, downsampling="spectral", strides=fixed)),
        LEARNED: (IMAGE, partial(resnet18, width=width, hard=True, strides=learned)),
    }


def built(build: Callable[[], nn.Module]) -> Built:
    """Build a network, with its parameters."""
    return all_parameters(build())


def served(
    way: str, build: Callable[[], nn.Module], x: torch.Tensor
) -> tuple[nn.Module, nn.Module]:
    """Return a network in eval mode whose batch norms have seen an input, and what is shipped."""
    torch.manual_seed(0)
    network = warmed(build(), x)
    return network, network if way == STRIDED else freeze(network, x)


def run(setting: Setting) -> list[Row]:
    """Measure steps with batches, and inference with an image at a time."""
    width, batch = (TINY_WIDTH, TINY_BATCH) if setting.tiny else (WIDTH, BATCH)
    effort = setting.effort if setting.tiny else Effort(seconds=20.0, most_rounds=101)
    rows: list[Row] = []
    for budget in TINY if setting.tiny else FULL:
        steps, inference = [], []
        for way, (image, build) in networks(budget, width).items():
            name = f"{way} at {budget[0]}"
            made = partial(built, build)
            note = f"images of {image} x {image}"
            case = Case((batch, 3, image, image), "inside")
            peer = module_peer(f"{name}, step", case, setting.device, made, made)
            steps.append(replace(peer, note=note))
            if way != LEARNED:  # frozen it is the fixed one
                x = torch.randn(1, 3, image, image)
                live, shipped = served(way, build, x)
                label = f"{name}, onnxruntime"
                inference.append(Running(label, "onnxruntime", shipped, live, x, note).peer())
        for peers, many in ((steps, batch), (inference, 1)):
            case = Case((many, 3, IMAGE, IMAGE), "inside")
            rows += measure(peers, case, peers[0].name, setting, effort=effort)
    return rows
