"""What a compiler is told about the layers; importing this loads the compiler."""

from collections.abc import Callable
from typing import Any

import torch

from spectral_stride.torch.layers.held_sizes import HeldSizes
from spectral_stride.torch.layers.seen_sizes import SeenSizes

# They run while a graph is traced, and their results are constants of the graph. Traced instead,
# the caches behind them would make the compiler warn of each.
torch.compiler.assume_constant_result(HeldSizes.axes_in)  # type: ignore[no-untyped-call]
torch.compiler.assume_constant_result(HeldSizes.bounds)  # type: ignore[no-untyped-call]
torch.compiler.assume_constant_result(HeldSizes.plan)  # type: ignore[no-untyped-call]
torch.compiler.assume_constant_result(SeenSizes.note_in_graph)  # type: ignore[no-untyped-call]
torch.compiler.assume_constant_result(SeenSizes.in_graph)  # type: ignore[no-untyped-call]


# A compiler would take every stride that is read for a constant, and compile anew at each step. One
# break around the whole call is cheaper, and can say what to do.
@torch.compiler.disable(  # type: ignore[no-untyped-call, untyped-decorator]
    reason="the output sizes of DiffStride follow its strides, which are read on the host at every "
    "call; instead: call spectral_stride.torch.hold_sizes(net) first, or net.eval()"
)
def outside_the_graph(function: Callable[..., torch.Tensor], *arguments: Any) -> torch.Tensor:
    """Call ``function`` as if nothing were being compiled."""
    return function(*arguments)
