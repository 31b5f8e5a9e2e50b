"""Places: the operations of a network that have a stride, and the sizes that each leaves."""

import copy
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import keystr, tree_leaves_with_path

from spectral_stride import checks
from spectral_stride.torch.layers.conv_order import each_axis

# Why a place stays as it is: its size turned out to be a number, or joined with another that is
# made of other sizes. Networks that compute with sizes as plain numbers look so too.
STIFF = "what follows needs its size as it is"
UNLIKE = "sizes are joined that no common stride keeps equal"
UNKNOWN = "its sizes cannot be followed through what the network does with values"

# Operations by their number of axes: a sample of the input is (channels, *sizes).
_MAXIMA = nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d
_MEANS = nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d
_KINDS: tuple[tuple[Any, ...], ...] = (
    (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    _MAXIMA,
    _MEANS,
    (nn.LPPool1d, nn.LPPool2d, nn.LPPool3d),
)


@dataclass(frozen=True)
class Operation:
    """A convolution or a pooling, and the strides that it had when it was found.

    Attributes
    ----------
    module : Module
    kind : type
        The class of the module when it was found.
    strides : tuple of int
        One an axis, those of 1 included.
    whole : bool
        Whether it is to run over its whole input: see `lengths`.
    fixed : tuple of int
        Axes whose stride stays, counted from the end.
    """

    module: Any
    kind: Any
    strides: tuple[int, ...]
    whole: bool = False
    fixed: tuple[int, ...] = ()

    @property
    def ndim(self) -> int:
        """How many axes it runs along."""
        return len(self.strides)

    @property
    def strided(self) -> tuple[int, ...]:
        """Axes that have a stride, counted from the end."""
        return tuple([place - self.ndim for place, s in enumerate(self.strides) if s > 1])

    @property
    def axes(self) -> tuple[int, ...]:
        """Those whose stride may move."""
        return tuple([axis for axis in self.strided if axis not in self.fixed])

    @property
    def fixed_strides(self) -> tuple[int, ...]:
        """The strides of all axes without those that may move."""
        every = range(-self.ndim, 0)
        return tuple([self.strides[axis] if axis in self.fixed else 1 for axis in every])

    @property
    def is_plain(self) -> bool:
        """Whether calling it does what its attributes say: no method of a class of its own."""
        return any(
            isinstance(self.module, plain)
            and all(
                getattr(self.kind, name, None) is getattr(plain, name, None)
                for name in ("forward", "_conv_forward")
            )
            for plain in chain(*_KINDS)
        )

    def lengths(self, axis: int, size: int) -> tuple[int, int]:
        """Samples along an axis of its output at stride 1, and those to resample.

        M = size + padding - dilation (kernel - 1) outputs at stride 1 are n = ceil(M/s) at the
        stride s. Where M is less than s n, the operation goes on over the edge until there are as
        many, but not more than the input has: then n of them lie s samples apart. (In ceil mode n
        may ask for more.)

        One that is to run over the whole input goes on until there are as many as that has. Then
        ceil(size/s) are left, whatever the kernel, so that places with different kernels keep one
        size.
        """
        module, stride = self.module, self.strides[axis]
        kernel = each_axis(module.kernel_size, self.ndim)[axis]
        dilation = each_axis(getattr(module, "dilation", 1), self.ndim)[axis]
        padding = getattr(module, "padding", 0)
        before = 0 if isinstance(padding, str) else each_axis(padding, self.ndim)[axis]
        full = size + 2 * before - dilation * (kernel - 1)
        if getattr(module, "padding_mode", "zeros") != "zeros":
            return full, full  # what lies beyond the edge is not known here
        if self.whole:
            return full, max(full, size)
        out = -(-full // stride)
        if getattr(module, "ceil_mode", False):
            out = -(-(full - 1) // stride) + 1
            if (out - 1) * stride >= size + before:  # no window starts behind the input
                out -= 1
        return full, max(full, min(size, stride * out), stride * (out - 1) + 1)

    def extended(self, x: torch.Tensor) -> torch.Tensor:
        """Go on over the edge of x for as long as `lengths` says."""
        if not self.is_plain or x.ndim <= self.ndim:  # then the operation itself refuses it
            return x
        pads: list[int] = []
        for axis in reversed(range(self.ndim)):
            size = operator.index(x.shape[axis - self.ndim])  # `torch.jit.trace` has tensors
            full, wanted = self.lengths(axis, size)
            pads += [0, wanted - full if axis - self.ndim in self.axes else 0]
        if not any(pads):
            return x
        if isinstance(self.module, _MAXIMA):
            return functional.pad(x, pads, value=-torch.inf)
        if isinstance(self.module, _MEANS):
            return functional.pad(x, pads, mode="replicate")
        return functional.pad(x, pads)


def operation_of(module: Any) -> Operation | None:
    """Read a module as an operation with a stride above 1; None for any other."""
    kinds: tuple[Any, ...]
    for ndim, kinds in enumerate(zip(*_KINDS, strict=True), 1):
        if isinstance(module, kinds):
            own = module.kernel_size if module.stride is None else module.stride
            strides = each_axis(own, ndim)
            return Operation(module, type(module), strides) if max(strides) > 1 else None
    return None


@dataclass(frozen=True)
class Place:
    """One operation with a stride, where it stands in a network.

    Attributes
    ----------
    name : str
        As in ``network.named_modules()``.
    operation : Operation
    """

    name: str
    operation: Operation


def places_in(network: nn.Module) -> list[Place]:
    """Find every operation with a stride, each once."""
    found = [(name, operation_of(module)) for name, module in network.named_modules()]
    return [Place(name, operation) for name, operation in found if operation is not None]


def called(name: str) -> str:
    """Return the name of a module; a network has none in itself."""
    return name or "the network itself"


Sample = torch.Tensor | Sequence[Any] | Mapping[str, Any]
_Copied = TypeVar("_Copied")


def check_not_empty(sample: Sample, name: str = "sample") -> None:
    """Refuse what a network is to be called on if its maps have no values.

    Maps are the tensors with the most axes: beside them, a list of no boxes is an input too.
    """
    # Mappings of other kinds than dict are leaves to PyTorch.
    leaves = tree_leaves_with_path(dict(sample) if isinstance(sample, Mapping) else sample)
    tensors = [(path, one) for path, one in leaves if isinstance(one, torch.Tensor)]
    most = max((one.ndim for _, one in tensors), default=0)
    for path, one in tensors:
        if one.ndim == most and one.numel() == 0:
            where = f" at {keystr(path)}" if len(tensors) > 1 else ""
            got, remedy = f"one of shape {tuple(one.shape)}{where}", "pass a batch of one or more"
            checks.refuse(ValueError, name, got, "an input with values in it", remedy)


def copied(network: _Copied, name: str = "network") -> _Copied:
    """Copy a network, and what shares tensors with it, or say that it cannot be done."""
    try:
        return copy.deepcopy(network)
    except Exception as error:  # of whatever kind an attribute raises
        got = f"one that cannot be copied ({checks.first_line(error)})"
        remedy = "take out of its attributes what copy.deepcopy refuses"
        checks.refuse(ValueError, name, got, "one that copy.deepcopy copies", remedy)


@contextmanager
def refusing_the_sample() -> Iterator[None]:
    """Say of what a network raises in the block that the sample is at fault."""
    try:
        yield
    except Exception as error:
        got = f"one on which the network fails ({checks.first_line(error)})"
        allowed = "a tensor, a tuple of arguments or a dict of named ones that it takes"
        remedy = "pass what the network is to be called on, a batch of one"
        raise ValueError(f"sample: got {got}; allowed: {allowed}; instead: {remedy}") from error


def run(network: nn.Module, sample: Sample) -> Any:
    """Call a network on one argument, on several, or on named ones."""
    if isinstance(sample, Mapping):
        return network(**sample)
    return network(*sample) if isinstance(sample, list | tuple) else network(sample)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Switch to evaluation without gradients, and each module back to what it was."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def switch(network: nn.Module, training: bool) -> None:
    """Switch a copy to a mode, for its sizes: batch norms would refuse to train on one sample."""
    network.train(training)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


@contextmanager
def watched(modules: Sequence[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """Call ``hook(module, arguments, output)`` after each call; it may replace the output."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
