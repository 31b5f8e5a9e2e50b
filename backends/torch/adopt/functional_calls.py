"""Calls that shrink or enlarge a map in the code of a network, where no module stands for them."""

from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from spectral_stride.torch.adopt.enlarging import enlargements_in
from spectral_stride.torch.adopt.places import called, operation_of

_STRIDED = ("conv", "conv_transpose", "max_pool", "avg_pool", "lp_pool")
_NAMES = {f"{name}{ndim}d" for name in _STRIDED for ndim in (1, 2, 3)}
_NAMES |= {"interpolate", "pixel_shuffle", "pixel_unshuffle"}


class FunctionalCalls(TorchFunctionMode):
    """Notes such calls: the module in whose forward each is made, and what it does to sizes.

    What enlarges, or moves samples into channels, is noted behind a place: elsewhere its sizes do
    not move.
    """

    def __init__(self, network: nn.Module, places: Container[str]) -> None:
        super().__init__()
        self._places, self._is_behind_place = places, False
        self._known = {one.module for one in enlargements_in(network)}
        self._names = {module: name for name, module in network.named_modules()}
        self._running: list[nn.Module] = [network]
        self.found: dict[str, str] = {}

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is called meanwhile."""
        handles = []
        for module in self._names:
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(module.register_forward_hook(self._leave, always_call=True))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, arguments: Any) -> None:
        self._running.append(module)

    def _leave(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self._running.pop()
        self._is_behind_place |= self._names[module] in self._places

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, and look at what it did."""
        output, options = func(*args, **(kwargs or {})), kwargs or {}
        name, module = getattr(func, "__name__", "").lstrip("_"), self._running[-1]
        if name in _NAMES and operation_of(module) is None and module not in self._known:
            if name == "interpolate":
                is_strided = (args[1] if len(args) > 1 else options.get("size")) is None
            elif name.startswith("conv"):
                is_strided = _most(args[3] if len(args) > 3 else options.get("stride", 1)) > 1
            else:
                is_strided = True  # by default as far as the kernel reaches
            if is_strided:
                self._look_at(name, module, args[0] if args else options["input"], output)
        return output

    def _look_at(self, name: str, module: nn.Module, before: torch.Tensor, output: Any) -> None:
        after = output if isinstance(output, torch.Tensor) else output[0]
        pairs = zip(reversed(before.shape[2:]), reversed(after.shape[2:]), strict=False)
        # A pooling to a single sample is no stride, and one of stride 1 takes a few samples away.
        ratios = [old / new for old, new in pairs if new > 1]
        is_stride = name != "pixel_unshuffle" and any(ratio >= 1.5 for ratio in ratios)
        changes = any(max(ratio, 1 / ratio) >= 1.5 for ratio in ratios)
        if is_stride or (changes and self._is_behind_place):
            where = self._names[module]
            call = f"{where}.{name}()" if where else f"{name}() of {called(where)}"
            why = "a call that is no module keeps its factor: make it a module"
            if name == "interpolate":
                why += ", or tell it the size"
            if name == "pixel_unshuffle":
                factor = before.shape[-1] // after.shape[-1]
                why = f"it takes {factor} samples of an axis into channels, whatever strides are; "
                why += f"behind a stride that moves write multiple_of={factor}, or it fails"
            self.found[call] = why


def _most(value: Any) -> int:
    """Return the largest of a number an axis, or of one for all."""
    return int(value) if isinstance(value, int) else max(value)
