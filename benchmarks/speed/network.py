"""One training step of a whole network, with each kind of downsampling."""

from functools import partial
from typing import Any

from benchmarks.speed.cases import Case
from benchmarks.speed.modules import Built, all_parameters, module_peer
from benchmarks.speed.rows import Row, Setting, measure
from benchmarks.speed.timing import Effort
from spectral_stride.torch import resnet18

QUESTION = "What does a training step of resnet18 cost beside the strided network's?"
# Batch of images, and width of the network.
FULL, TINY = ((128, 3, 32, 32), 64), ((2, 3, 32, 32), 2)
STRIDED = "strided"
NETWORKS: dict[str, dict[str, Any]] = {
    STRIDED: {"downsampling": "strided"},
    "spectral": {"downsampling": "spectral"},
    "diffstride": {"ramp": "inside"},
}


def network(name: str, width: int) -> Built:
    """One of the networks, at the good strides."""
    return all_parameters(resnet18(width=width, **NETWORKS[name]))


def run(setting: Setting) -> list[Row]:
    """Measure forward and backward; the optimizer's step is the same for all."""
    shape, width = TINY if setting.tiny else FULL
    case = Case(shape, "inside")
    peers = []
    for name in NETWORKS:
        build = partial(network, name, width)
        peers.append(module_peer(name, case, setting.device, build, build))
    effort = setting.effort if setting.tiny else Effort(seconds=30.0)
    return measure(peers, case, STRIDED, setting, effort=effort)
