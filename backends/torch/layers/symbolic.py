"""How `torch.fx` sees a layer: as one node, whose sizes are its own business."""

from typing import Any

import torch
from torch import fx, nn


def is_symbol(x: Any) -> bool:
    """Whether an input stands for a tensor in a graph that is traced symbolically."""
    return isinstance(x, fx.Proxy) and not torch.compiler.is_compiling()


def as_node(layer: nn.Module, *arguments: Any) -> torch.Tensor:
    """Call a layer as a leaf of the graph, with modules among the arguments by their names."""
    tracer: Any = arguments[0].tracer
    nodes = [
        tracer.create_proxy("get_attr", tracer.path_of_module(one), (), {})
        if isinstance(one, nn.Module)
        else one
        for one in arguments
        if one is not None
    ]
    path = tracer.path_of_module(layer)
    node: torch.Tensor = tracer.create_proxy("call_module", path, tuple(nodes), {})
    return node
