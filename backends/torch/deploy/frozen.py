"""The modules of a frozen network: what stands in for each layer, and what they refuse."""

import copy
import operator
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NoReturn, Self

import torch
from torch import nn
from torch.nn.utils import parametrize

from spectral_stride import checks
from spectral_stride.functional import resize_plan
from spectral_stride.layer_settings import UpSettings
from spectral_stride.torch.adopt.places import called
from spectral_stride.torch.adopt.resampled import Resampled
from spectral_stride.torch.adopt.standing_in import class_of_both
from spectral_stride.torch.deploy.forms import form_of
from spectral_stride.torch.deploy.operations import POOLINGS, Operation, at_stride_1
from spectral_stride.torch.functional import check_tensor
from spectral_stride.torch.layers.conv_order import (
    Convolution,
    check_convolution,
    each_axis,
    is_plain,
    pads_of,
)
from spectral_stride.torch.layers.diffstride import DiffStride
from spectral_stride.torch.layers.diffstride_conv import DiffStrideConv2d
from spectral_stride.torch.layers.seen_sizes import SeenSizes
from spectral_stride.torch.layers.spectral_pool import SpectralPool
from spectral_stride.torch.layers.spectral_up import SpectralUp
from spectral_stride.torch.layers.symbolic import as_node, is_symbol


def _refuse_training() -> NoReturn:
    remedy = "train the network that it was frozen from, then freeze that again"
    checks.refuse(ValueError, "mode", "train(True) of a frozen network", "eval mode", remedy)


class Frozen(nn.Module):
    """A network or a layer that is as it was when it was frozen."""

    is_frozen = True

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode; refuse the other one before anything has changed."""
        return super().train(mode) if not mode else _refuse_training()


class FrozenNetwork(Frozen):
    """The whole of it: a class in front of the network's own."""

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle as the network's own class does: the class of both has no name."""
        both = type(self)
        self.__class__ = both.__bases__[1]
        try:
            make, arguments, *state = self.__reduce_ex__(protocol)
        finally:
            self.__class__ = both
        return _made, (make, arguments), *state


def _made(make: Any, arguments: tuple[Any, ...]) -> Any:
    """Make a network whose state is still to come."""
    network = make(*arguments)
    kind: Any = type(network)
    network.__class__ = class_of_both(FrozenNetwork, kind, "Frozen")
    return network


def close(network: nn.Module) -> None:
    """Let the layers of a network take no other sizes from now on, and the network no training."""
    for module in network.modules():
        module.training = False
        if isinstance(module, FrozenLayer):
            module.live = ()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    if not isinstance(network, Frozen):
        kind: Any = type(network)
        network.__class__ = class_of_both(FrozenNetwork, kind, "Frozen")


class FrozenLayer(Frozen):
    """A layer as the forms that it has for what comes to it; each has its constants as buffers.

    It was another layer once, and still is the same object. While it has that as ``live`` it makes
    the form of whatever comes that it has not met; afterwards that is refused.
    """

    # In a tuple, in which it is no module of this one.
    live: tuple[Any, ...]
    who: str
    forms: nn.ModuleList
    met: list[tuple[Any, ...]]  # what each form is for
    _seen: SeenSizes

    def form(self, key: tuple[Any, ...], x: torch.Tensor, *arguments: Any) -> Any:
        """Find the form for what comes, or make it."""
        for known, form in zip(self.met, self.forms, strict=True):
            if known == key:
                return form
        if not self.live:
            alike = [known for known in self.met if known[1:] == key[1:]]
            # Only sizes differ: all else need not be told.
            many = 1 if alike else None
            _refuse_sizes(_text(key[:many]), [_text(known[:many]) for known in alike or self.met])
        found = self.build(x, *arguments)
        self.met.append(key)
        self.forms.append(found)
        return found

    def build(self, x: torch.Tensor, *arguments: Any) -> nn.Module:
        """Make a form."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """What may come."""
        return "; ".join(map(_text, self.met))


def _refuse_sizes(got: str, met: Iterable[str]) -> NoReturn:
    """Refuse what comes, beside all that may come."""
    allowed = " or ".join(met) or "nothing: the sample did not reach it"
    remedy = "resize the input, or freeze the network on a sample of this size"
    checks.refuse(ValueError, "x", got, allowed, remedy)


def _who(name: str, kind: type) -> str:
    """Say which module it is that refuses."""
    return f"{called(name)} ({kind.__name__})"


def _text(key: tuple[Any, ...]) -> str:
    """Say for what a form is."""
    sizes, *others = key
    text = "x".join(map(str, sizes)) + " samples"
    return f"{text} for {', '.join(map(str, others))}" if any(others) else text


class FrozenStride(FrozenLayer):
    """What a `DiffStride` or a `SpectralPool` becomes."""

    operations: ClassVar[tuple[type[nn.Module], ...]] = (nn.Conv2d, *POOLINGS)
    strides: tuple[float, ...]  # of a `DiffStride`

    @property
    def _axes(self) -> tuple[int, ...]:
        own: Any = vars(self)
        axes: tuple[int, ...] = own.get("_settings", own.get("settings")).axes
        return axes

    def forward(self, x: torch.Tensor, conv: Convolution | None = None) -> torch.Tensor:
        """Resample ``x``, or what a convolution at stride 1 makes of it."""
        if is_symbol(x):
            return as_node(self, x, None if conv is self else conv)
        if conv is not None and conv is not self:
            with checks.named(self.who):
                check_convolution(conv)
            if not is_plain(conv):
                y: torch.Tensor = self.resampled(conv(x))
                self._seen.note(x, self._axes)
                return y
        return self.resampled(x, conv)

    def resampled(self, x: torch.Tensor, operation: Operation | None = None) -> torch.Tensor:
        """Resample ``x``, or what a plain operation at stride 1 makes of it."""
        with checks.named(self.who):
            check_tensor(x)
            sizes = _sizes(x, self._axes)
            form = self.form((sizes, *_geometry(operation)), x, operation)
        self._seen.note(x, self._axes)
        y: torch.Tensor = form(x, operation)
        return y

    def build(self, x: torch.Tensor, *arguments: Any) -> nn.Module:
        """Make the form that is fastest for these sizes."""
        (operation,) = arguments
        if isinstance(operation, POOLINGS):
            strides, plan = self.live[0]._planned(at_stride_1(operation, x), None)
        else:
            strides, plan = self.live[0]._planned(x, operation)
        if isinstance(strides, torch.Tensor):
            strides = strides.tolist()
        return form_of(plan, strides, x, operation)

    def effective_strides(self) -> torch.Tensor:
        """Return the strides that the layer had, one per axis."""
        return torch.tensor(self.strides)


def _sizes(x: torch.Tensor, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes along axes, as numbers: `torch.jit.trace` has tensors for them."""
    return tuple([operator.index(x.shape[axis]) for axis in axes])


def _geometry(conv: Operation | None) -> tuple[str, ...]:
    """All of an operation that a form depends on, in words."""
    if conv is None:
        return ()
    kind = next((kind for kind in POOLINGS if isinstance(conv, kind)), None)
    if kind is not None:
        options = [f"{name} {getattr(conv, name)}" for name in kind.__constants__]
        return kind.__name__, *options
    words = {
        "": f"a convolution of {conv.in_channels} onto {conv.out_channels} channels",
        "kernel": tuple(conv.kernel_size),
        "dilation": each_axis(conv.dilation),
        "padding": pads_of(conv),
        "mode": conv.padding_mode,
        "groups": conv.groups,
    }
    return tuple([f"{name} {word}".strip() for name, word in words.items()])


class FrozenStrideConv2d(FrozenStride):
    """What a `DiffStrideConv2d` becomes: its parameters have their names."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # it has its own
        """Convolve and resample ``x``."""
        return super().forward(x, self)


class FrozenUp(FrozenLayer):
    """What a `SpectralUp` becomes."""

    settings: UpSettings

    def forward(self, y: torch.Tensor, like: nn.Module | torch.Tensor) -> torch.Tensor:
        """Resample ``y`` to the sizes that ``like`` saw, or to those of a tensor."""
        if is_symbol(y):
            return as_node(self, y, like)
        with checks.named(self.who):
            return self.resized(y, *SpectralUp._wanted(self, y, like))  # type: ignore[arg-type]

    def resized(self, y: torch.Tensor, axes: tuple[int, ...], sizes: Sequence[int]) -> torch.Tensor:
        """Resample ``y`` to sizes that are known."""
        own = _sizes(y, axes)
        form = self.form((own, f"{'x'.join(map(str, sizes))} along {axes}"), y, axes, sizes)
        found: torch.Tensor = form(y)
        return found

    def build(self, x: torch.Tensor, *arguments: Any) -> nn.Module:
        """Make the products onto other sizes."""
        axes, sizes = arguments
        plan = resize_plan(tuple(x.shape), sizes, axes=axes, norm=self.settings.norm)
        return form_of(plan, None, x, None)


class FrozenResampled(Resampled):
    """A place of `convert` that takes the sizes that it has met and no others."""

    _who: str
    _met: tuple[tuple[int, ...], ...]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Resample what the operation makes of ``x``."""
        if not is_symbol(x) and x.ndim > self._operation.ndim:
            sizes = _sizes(x, self._operation.axes)
            if not any(sizes == known for known in self._met):
                with checks.named(self._who):
                    _refuse_sizes(_text((sizes,)), [_text((known,)) for known in self._met])
        return super().forward(x)


def stand_still_as_place(place: Any, name: str, met: Iterable[tuple[int, ...]]) -> None:
    """Let a place take the sizes along its axes that it has met, and no others."""
    place._who, place._met = _who(name, place._operation.kind), tuple(met)
    place.__class__ = class_of_both(FrozenResampled, place._kind, FrozenResampled.__name__)


# The order counts: a DiffStrideConv2d is a DiffStride too.
OF_LAYERS: dict[Any, type[FrozenLayer]] = {
    DiffStrideConv2d: FrozenStrideConv2d,
    DiffStride: FrozenStride,
    SpectralPool: FrozenStride,
    SpectralUp: FrozenUp,
}


def stand_still(layer: Any, name: str) -> None:
    """Let a layer become what is frozen of it: the same object, in all places that know it."""
    kind = next((one for one in OF_LAYERS if isinstance(layer, one)), None)
    if kind is None:
        return
    if type(layer).forward is not kind.forward:
        got = f"a {type(layer).__name__} with a forward of its own"
        remedy = f"call a {kind.__name__} in it, in place of being one"
        checks.refuse(TypeError, "network", got, f"layers that compute as {kind.__name__}", remedy)
    if parametrize.is_parametrized(layer):
        for name in list(layer.parametrizations):
            parametrize.remove_parametrizations(layer, name)
    live = copy.copy(layer)
    live.training = False
    layer._parameters = {name: one for name, one in layer._parameters.items() if name != "strides"}
    layer._modules = {"forms": nn.ModuleList()}
    layer.live, layer.met, layer.who = (live,), [], _who(name, kind)
    if isinstance(live, DiffStride):
        layer.strides = tuple(live.effective_strides().tolist())
    layer.__class__ = OF_LAYERS[kind]
