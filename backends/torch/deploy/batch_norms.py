"""Batch norms that are all that sees a convolution's output: they become part of its weights."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from spectral_stride.torch.adopt.places import Operation
from spectral_stride.torch.adopt.resampled import Resampled
from spectral_stride.torch.deploy.frozen import FrozenStride, FrozenStrideConv2d

_CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d
_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d
# What tells nothing of a tensor's values.
_SHAPE: Any = torch.Tensor.shape
_LOOKS = torch.Tensor.dim, torch.Tensor.size, _SHAPE.__get__


class _Made(NamedTuple):
    """What a convolution returned, kept so that no other tensor takes its address."""

    output: torch.Tensor
    conv: Any
    # The batch norm that used it each time, or None for anything else.
    uses: list[Any]


class BatchNormsBehind(TorchFunctionMode):
    """Watches one run of a network in eval mode for what uses the outputs of its convolutions.

    Behind a layer that resamples a batch norm folds as it does behind the convolution: a factor for
    each channel commutes with the layer, and a constant keeps its value where ``norm`` is
    "forward".
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        alone = [module for module in network.modules() if _is_alone(module)]
        self._norms = {module for module in alone if type(module) in _NORMS}
        self._convolving = {module for module in alone if _may_fold(module)}
        self._made: dict[int, _Made] = {}
        self._calls: Counter[Any] = Counter()
        self._norm: Any = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what runs in the block, by hooks of all modules: one's own would change a form."""
        with ExitStack() as stack:
            stack.callback(register_module_forward_pre_hook(self._begun).remove)
            stack.callback(register_module_forward_hook(self._ended).remove)
            stack.enter_context(self)
            yield

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Note what a function of PyTorch takes."""
        if func not in _LOOKS:
            self._use((args, kwargs), self._norm)
        return func(*args, **(kwargs or {}))

    def fold(self, output: Any) -> None:
        """Fold each batch norm that alone used a convolution's output; ``output`` is the run's."""
        self._use(output, None)
        for made in self._made.values():
            conv, norm = made.conv, made.uses[0] if len(made.uses) == 1 else None
            once = self._calls[conv] == self._calls[norm] == 1
            if norm is not None and once and norm.running_mean is not None:
                _fold(conv, norm)

    def _use(self, tree: Any, by: Any) -> None:
        for leaf in tree_leaves(tree):
            made = self._made.get(id(leaf))
            if made is not None:
                made.uses.append(by)

    def _begun(self, module: Any, _: Any) -> None:
        if module in self._norms:
            self._norm = module
            self._calls[module] += 1

    def _ended(self, module: Any, arguments: tuple[Any, ...], output: Any) -> None:
        if module in self._norms:
            self._norm = None
        elif module in self._convolving:
            conv = module
            if isinstance(module, FrozenStride) and not isinstance(module, FrozenStrideConv2d):
                conv = arguments[1] if len(arguments) > 1 else None
            if conv in self._convolving:
                self._calls[conv] += 1
                self._made[id(output)] = _Made(output, conv, [])


def _is_alone(module: Any) -> bool:
    """Whether nobody looks at what a module takes or returns, or puts something in its place."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return not hooks and vars(module).keys().isdisjoint(("forward", "_conv_forward"))


def _may_fold(module: Any) -> bool:
    """Whether what a module returns is linear in the weights of a convolution."""
    if isinstance(module, Resampled):
        return _is_plain(module, module._operation.kind) and _keeps_constants(module._layer[0])
    if isinstance(module, FrozenStride):
        return _keeps_constants(module)
    return _is_plain(module, type(module))


def _is_plain(module: Any, kind: Any) -> bool:
    """Whether it is a convolution whose weights are parameters of its own."""
    return (
        isinstance(module, _CONVOLUTIONS)
        and Operation(module, kind, (1,)).is_plain
        and not parametrize.is_parametrized(module)
    )


def _keeps_constants(layer: Any) -> bool:
    own: Any = vars(layer)
    return bool(own.get("_settings", own.get("settings")).norm == "forward")


def _fold(conv: Any, norm: Any) -> None:
    """Put a batch norm into a convolution, and leave an identity in its place."""
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    norm._parameters.clear()
    norm._buffers.clear()
    norm.__class__ = nn.Identity
