"""What one call of a network takes: multiply-accumulates, or bytes kept for the backward pass."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from spectral_stride.torch.adopt.places import Sample, evaluating, run
from spectral_stride.torch.layers.conv_order import Convolution


class MultiplyAccumulates:
    """Half the floating-point operations that PyTorch's own counter counts.

    An FFT counts nothing there.

    Attributes
    ----------
    counts : list of int
        Of each operation, in the order of the calls.
    """

    def __init__(self, network: nn.Module) -> None:
        self.counts: list[int] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what runs inside."""
        formulas = {
            operation: self._noting(formula) for operation, formula in flop_registry.items()
        }
        with FlopCounterMode(display=False, custom_mapping=formulas):
            yield

    def _noting(self, formula: Any) -> Any:
        def count(*args: Any, **kwargs: Any) -> Any:
            flops = formula(*args, **kwargs)
            self.counts.append(int(flops) // 2)
            return flops

        count._get_raw = True  # type: ignore[attr-defined]  # the formula takes tensors itself
        return count

    def of_convolution(self, conv: Convolution, x: torch.Tensor, shape: Sequence[int]) -> int:
        """Count a convolution at stride 1 that did not run."""
        window: int = math.prod(conv.kernel_size) * (conv.in_channels // conv.groups)
        return math.prod(shape) * window


class KeptBytes:
    """Bytes that autograd keeps for the backward pass, but for parameters and buffers.

    What several operations keep counts once.

    Attributes
    ----------
    counts : list of int
        Of each storage, in the order in which they are kept.
    """

    def __init__(self, network: nn.Module) -> None:
        self.counts: list[int] = []
        own = (*network.parameters(), *network.buffers())
        self._seen = {_address(tensor) for tensor in own}
        # Alive to the end, so that no address is used twice.
        self._kept: list[torch.Tensor] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what runs inside."""
        hooks = torch.autograd.graph.saved_tensors_hooks
        with torch.enable_grad(), hooks(self._note, lambda tensor: tensor):
            yield

    def _note(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._is_new(tensor):
            self.counts.append(tensor.untyped_storage().nbytes())
        return tensor

    def _is_new(self, tensor: torch.Tensor) -> bool:
        address = _address(tensor)
        if address in self._seen:
            return False
        self._seen.add(address)
        self._kept.append(tensor)
        return True

    def of_convolution(self, conv: Convolution, x: torch.Tensor, shape: Sequence[int]) -> int:
        """Count the input of a convolution that did not run, unless it is kept anyway."""
        return x.numel() * x.element_size() if self._is_new(x) else 0


def counted(network: nn.Module, sample: Sample, kind: str) -> list[int]:
    """Count one call, in evaluation."""
    counter = COUNTERS[kind](network)
    with evaluating(network), torch.random.fork_rng([]), counter.watching():
        run(network, sample)
    return counter.counts


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


COUNTERS: dict[str, type[MultiplyAccumulates] | type[KeptBytes]] = {
    "macs": MultiplyAccumulates,
    "memory": KeptBytes,
}
