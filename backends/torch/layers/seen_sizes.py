"""The sizes that a layer saw in its last forward pass, for a layer that goes back to them."""

import operator
from typing import Any
from weakref import WeakKeyDictionary

import torch

# Axes as a layer names them, and sizes along them.
Seen = tuple[tuple[int, ...], tuple[int, ...]]

# What the layers in a graph saw, while that graph is traced.
_in_graph: WeakKeyDictionary[Any, dict["SeenSizes", Seen]] = WeakKeyDictionary()


class SeenSizes:
    """What one layer saw last: the axes that it resamples, and an input's sizes along them.

    An object beside the module, into which a graph may write. What a compiler traces is written
    down twice. Once as code does it, for whoever asks behind the graph.
    And once while it is traced, for whoever asks inside of the graph: in a subgraph, as of a
    gradient checkpoint, and in an export no code may write. `compiler` says which methods run while
    a graph is traced.
    """

    def __init__(self) -> None:
        self._last: Seen = (), ()

    def note(self, x: torch.Tensor, axes: tuple[int, ...]) -> None:
        """Keep the sizes of an input."""
        sizes = tuple([operator.index(x.shape[axis]) for axis in axes])
        if torch.compiler.is_dynamo_compiling():
            from spectral_stride.torch.layers import compiler  # noqa: F401  # how the next is traced

            if not self.note_in_graph(axes, sizes):
                return
        self._last = axes, sizes

    def last(self) -> Seen:
        """Return the axes and the sizes; both are empty before the layer has run."""
        if torch.compiler.is_dynamo_compiling():
            from spectral_stride.torch.layers import compiler  # noqa: F401  # how the next is traced

            seen = self.in_graph()
            if seen is not None:
                return seen
        return self._last

    def note_in_graph(self, axes: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
        """Keep sizes for the graph that is traced, and return whether code may write here."""
        from torch._dynamo.symbolic_convert import InstructionTranslator

        _in_graph.setdefault(_graph(), {})[self] = axes, sizes
        tracer: Any = InstructionTranslator.current_tx()
        if not tracer.output.is_root_tracer():
            self._last = (), ()  # behind the graph none is better than that of another pass
            return False
        return not torch.compiler.is_exporting()  # whose programs write nothing

    def in_graph(self) -> Seen | None:
        """Return what was seen in the graph that is traced, if anything was."""
        return _in_graph.get(_graph(), {}).get(self)


def _graph() -> Any:
    """Return what stands for the graph that a compiler traces now, as long as it does."""
    from torch._guards import TracingContext

    return TracingContext.get()
