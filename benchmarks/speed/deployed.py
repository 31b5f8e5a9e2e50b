"""A frozen network beside the strided one that it was converted from, where networks serve."""

import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.cases import Case
from benchmarks.speed.peers import Peer
from benchmarks.speed.rows import Row, Setting, measure
from benchmarks.speed.timing import Effort
from spectral_stride.torch import DiffStride, convert, freeze

QUESTION = "What is the latency of a frozen network beside the strided one's?"
STRIDED, FROZEN = "strided", "frozen"
FULL, TINY = (1, 3, 224, 224), (1, 3, 32, 32)
SHARE = 0.5
# Two ways to come to that share, by which strides move. With the first one alone every later map
# shrinks alike.
MOVED = {"all strides alike": None, "the first stride": 1}


class Logits(nn.Module):
    """A network of transformers that returns a tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(x).logits
        return found


def warmed(network: nn.Module, x: torch.Tensor) -> nn.Module:
    """Show an input to the batch norms of a network, and return it in eval mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(8, *x.shape[1:]))
    return network.eval()


def networks(x: torch.Tensor, tiny: bool) -> Iterator[tuple[str, nn.Module]]:
    """Networks with strides, in eval mode, whose batch norms have seen an input."""
    import transformers as t

    found = {
        "ResNet-18": partial(
            t.ResNetForImageClassification,
            t.ResNetConfig(
                layer_type="basic",
                depths=[2, 2, 2, 2],
                hidden_sizes=[64, 128, 256, 512],
                embedding_size=64,
            ),
        ),
        "MobileNetV1": partial(t.MobileNetV1ForImageClassification, t.MobileNetV1Config()),
        "MobileNetV2": partial(t.MobileNetV2ForImageClassification, t.MobileNetV2Config()),
    }
    for name, build in list(found.items())[: 1 if tiny else None]:
        yield name, warmed(Logits(build()), x)


def macs(network: nn.Module, x: torch.Tensor) -> int:
    """Multiply-accumulates of one call."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x)
    return counter.get_total_flops() // 2


def frozen(
    network: nn.Module, x: torch.Tensor, factor: float, count: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """Return a converted network, its first strides (or all) times a factor; and it frozen."""
    moved = copy.deepcopy(network)
    layers = [layer for layer in moved.modules() if isinstance(layer, DiffStride)]
    for layer in layers[:count]:
        with torch.no_grad():
            layer.strides.mul_(factor)
    return moved.eval(), freeze(moved, x)


def at_share(
    network: nn.Module, x: torch.Tensor, most: float, count: int | None
) -> tuple[nn.Module, nn.Module]:
    """Move the first strides (or all) until the frozen network takes so few; as `frozen`."""
    low, high = 1.0, 3.0
    for _ in range(7):
        middle = (low + high) / 2
        if macs(frozen(network, x, middle, count)[1], x) > most:
            low = middle
        else:
            high = middle
    found = frozen(network, x, high, count)
    assert macs(found[1], x) <= most, "a factor of 3 is not enough"
    return found


@dataclass
class Running:
    """A network in one runtime."""

    name: str
    framework: str
    network: nn.Module
    live: nn.Module
    x: torch.Tensor
    share: str

    def peer(self) -> Peer:
        """Return it as what is measured."""
        step = self.by_torch if self.framework == "torch" else self.by_onnxruntime()
        with torch.no_grad():
            exact = self.live(self.x).numpy()
        return Peer(
            name=self.name,
            framework=self.framework,
            step=step,
            peak=self.kept,
            to_numpy=np.asarray,
            exact=lambda: (exact,),
            of=("y",),
            note=self.share,
        )

    def kept(self) -> int:
        """Bytes of parameters and constants: of what else a runtime takes nothing is known here."""
        named = [*self.network.parameters(), *self.network.buffers()]
        return sum(one.numel() * one.element_size() for one in named)

    def by_torch(self) -> tuple[Any, ...]:
        """Call it."""
        with torch.no_grad():
            return (self.network(self.x).numpy(),)

    def by_onnxruntime(self) -> Any:
        """Export it, and return what calls it."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Sessions take turns, and threads that wait by spinning would take each other's cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            path = str(Path(folder) / "network.onnx")
            torch.onnx.export(self.network, (self.x,), path, dynamo=True, verbose=False)
            session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        given = {session.get_inputs()[0].name: self.x.numpy()}
        return lambda: session.run(None, given)


def run(setting: Setting) -> list[Row]:
    """Measure each network strided, and frozen at its sizes and at half of what it computes."""
    rows = []
    shape = TINY if setting.tiny else FULL
    x = torch.randn(shape)
    effort = setting.effort if setting.tiny else Effort(seconds=20.0, most_rounds=101)
    for name, network in networks(x, setting.tiny):
        learned = convert(network, x).eval()
        whole = macs(network, x)
        names = [f"{name}, {STRIDED}", f"{name}, {FROZEN}"]
        found = [(network, network), frozen(learned, x, 1.0)]
        if not setting.tiny:
            for which, count in MOVED.items():
                found.append(at_share(learned, x, SHARE * whole, count))
                names.append(f"{name}, {FROZEN} at {SHARE:.0%}, {which}")
        for framework in ("onnxruntime", "torch"):
            peers = []
            for peer, (live, one) in zip(names, found, strict=True):
                share = f"{macs(one, x) / whole:.3f} of the strided network's multiply-accumulates"
                label = f"{peer}, {framework}"
                peers.append(Running(label, framework, one, live, x, share).peer())
            rows += measure(peers, Case(shape, "inside"), peers[0].name, setting, effort=effort)
    return rows
