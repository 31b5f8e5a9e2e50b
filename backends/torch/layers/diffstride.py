"""The layer whose stride is a number that is learned."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NoReturn, Self

import torch
from torch import nn
from torch.nn.utils import parametrize

from spectral_stride import checks
from spectral_stride.arrays import check_every_entry
from spectral_stride.layer_settings import (
    HasStrideSettings,
    StrideSettings,
    check_initial,
    check_learned,
    check_rank,
    largest_stride,
    popped,
    strides_per_axis,
)
from spectral_stride.plan import Plan, with_batch_of_one
from spectral_stride.torch.dispatch import feasible, may_learn, resample
from spectral_stride.torch.functional import REAL, check_tensor
from spectral_stride.torch.layers.conv_order import (
    Convolution,
    check_convolution,
    convolved_shape,
    is_plain,
    resampled_convolution,
)
from spectral_stride.torch.layers.held_sizes import HeldSizes
from spectral_stride.torch.layers.parameter import has_values, is_sharded, like, on_host
from spectral_stride.torch.layers.seen_sizes import SeenSizes
from spectral_stride.torch.layers.symbolic import as_node, is_symbol
from spectral_stride.torch.map_cache import Strides


def _unreadable(why: str) -> NoReturn:
    """Refuse to plan from a parameter that has no values now."""
    checks.refuse(
        TypeError,
        "strides",
        f"a parameter whose values cannot be read now ({why})",
        "a parameter with values, or output sizes that are held",
        "call hold_sizes(net) first, where the values are known; to export or to compile for "
        "inference, net.eval() does it too",
    )


def _check_saved(saved: torch.Tensor, held: torch.Tensor) -> None:
    """Refuse saved strides that are not finite as the parameter will have them.

    All that is finite is used, clamped.
    """
    entries = zip(saved.flatten().tolist(), held.isfinite().flatten().tolist(), strict=True)
    for position, (stride, is_finite) in enumerate(entries):
        if not is_finite:
            got, allowed = f"{stride} at position {position}", f"finite numbers, as {held.dtype}"
            checks.refuse(ValueError, "strides", got, allowed, "take an earlier checkpoint")


class DiffStride(HasStrideSettings, nn.Module):
    r"""Downsampling with learnable strides.

    Along each axis, with X = rfft(x) and the soft mask m that the stride sets, y = irfft(m X, n):
    see `spectral_stride.diffstride`. The layer's rank is its number of strides.

    Parameters
    ----------
    strides : float or sequence of float, optional
        Initial strides, at least 1, in input samples per output sample: one per axis, or one number
        for ``ndim`` equal ones.
    smoothness : float, optional
        Width R of the mask's ramp in DFT bins. With 0 the strides have no gradient.
    ramp : {"inside", "outside"}, optional
        Ramp below the strided Nyquist bin (stride 2 maps 32 to 16, as a strided convolution does),
        or above it, as published (stride 2 maps 32 to 24).
    norm : {"forward", "ortho", "backward"}, optional
        As in `torch.fft`; by default a constant keeps its value.
    shared : bool, optional
        One stride for all axes.
    trainable : bool, optional
        Whether ``strides`` requires gradients.
    lower, upper : float, optional
        Bounds on the strides, inside the bounds that an input's size sets; 1 and none by default.
    crop : bool, optional
        If False the mask is applied and sizes stay.
    multiple_of : int, optional
        Round output sizes up to a multiple, so that they change rarely while strides move.
    ndim : int, optional
        Number of axes where ``strides`` is a single number; 2 by default.
    axes : sequence of int, optional
        Axes to resample. The last ones by default (channels first); (1, 2) for images with channels
        last.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.
    hard : bool, optional
        Crop hard to the same sizes, as `SpectralPool` does, while the strides learn from the ramp
        that the output does not have: see Notes. Not together with ``crop=False``.
    device, dtype : optional
        Of the parameter.

    Attributes
    ----------
    strides : Parameter of shape (ndim,), or (1,) if shared
        The learned strides. After an optimizer step they may lie outside what is feasible: the next
        forward pass uses the nearest feasible strides, and their gradient is projected: outside of
        its bounds a stride gets none that would push it further out, and the whole one that brings
        it back. (With ``create_graph=True`` and in `torch.func` it is the whole one: a projection
        has no derivative.) Nothing writes the parameter but an optimizer, `project_strides` and
        `hold_sizes`, so a small input does not change the strides that a large one sees.
    settings : StrideSettings
        What the layer was constructed with, but for the strides. Each is an attribute of its own
        too, as ``ramp`` and ``lower`` are, and all but ``shared`` may be set: see Notes.

    Raises
    ------
    ValueError, TypeError
        From the constructor, and when a setting is set, for what is out of range; nothing has
        changed then. From the forward pass for inputs that
        `spectral_stride.torch.diffstride` refuses, for those that have no dimension beside axes
        that are counted from the end, and for a parameter that is not finite or, while
        sizes are not held, cannot be read: on the meta device, or in a batch of `vmap`. Every
        message begins with the name of the class, "DiffStride: ".

    Notes
    -----
    Sizes follow the strides, so the forward pass reads them on the host. `hold_sizes` makes sizes
    stand still until it is called again: then nothing is read, every `torch.func` transform applies
    to the strides too, and ``torch.compile(net, fullgraph=True)`` builds one graph for training.
    Without it a compiler breaks its graph once around the layer, which runs uncompiled; values and
    gradients are the same. (Where the layer stands in a `Sequential`, a loop, PyTorch leaves that
    whole loop uncompiled.)

    In eval mode a compiler or `torch.export` needs no more: the graph has the sizes of the strides
    at the last ``eval()``, ``load_state_dict``, or eager forward pass in eval mode, for every batch
    size. Export under `torch.no_grad` to leave the strides' derivative out of the program. Whoever
    writes into the parameter of a layer in eval mode, as an average of weights is copied in, calls
    ``eval()`` again before the compiled network runs.

    A setting that is set acts from the next forward pass on, whether sizes follow or are held, and
    a compiled network compiles again; an exported program stays as it is. Held sizes are planned
    anew then, of the strides that they were held at, within the bounds of now.
    ``layer.settings = dataclasses.replace(layer.settings, lower=3, upper=4)`` sets several at once.

    With ``hard=True`` the output is spectral pooling to the sizes of the present strides, and the
    network never sees the ramp: at equal sizes it takes away what the crop would keep. At stride 1
    the layer is the identity, and outside of training computes nothing. The gradient in the strides
    is a straight-through estimate, and no derivative of the output: see `spectral_stride.vjp`.

    Use `param_groups` to keep weight decay away from strides: it would pull every stride to 1.

    An optimizer with a large step may throw a stride far beyond its bounds, from where gradients
    bring it back slowly. `project_strides` after ``optimizer.step()`` sets it on the bound at once.

    Put a nonlinearity between this layer and a global mean: the mean sees DC alone, which the mask
    never touches, and the strides would get no gradient.

    Source: Riad et al., "Learning strides in convolutional neural networks", ICLR 2022.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import DiffStride
    >>> DiffStride(2.0)(torch.ones(8, 3, 32, 32)).shape
    torch.Size([8, 3, 16, 16])
    >>> published = DiffStride(2.0, ramp="outside", norm="backward")
    >>> published(torch.ones(8, 3, 32, 32)).shape
    torch.Size([8, 3, 24, 24])
    >>> DiffStride((2.0,))(torch.ones(8, 16, 400)).shape
    torch.Size([8, 16, 200])
    >>> DiffStride(2.0, axes=(1, 2))(torch.ones(8, 32, 32, 3)).shape
    torch.Size([8, 16, 16, 3])
    >>> layer = DiffStride(2.5)
    >>> layer.multiple_of = 4
    >>> layer(torch.ones(8, 3, 32, 32)).shape
    torch.Size([8, 3, 16, 16])
    """

    strides: nn.Parameter
    # What comes before it that it computes itself: see `resampled`.
    operations: ClassVar[tuple[type[nn.Module], ...]] = (nn.Conv2d,)

    @checks.known_options
    def __init__(
        self,
        strides: float | Sequence[float] = 2.0,
        smoothness: float = 4.0,
        ramp: str = "inside",
        norm: str = "forward",
        shared: bool = False,
        trainable: bool = True,
        lower: float | None = None,
        upper: float | None = None,
        crop: bool = True,
        multiple_of: int = 1,
        *,
        ndim: int | None = None,
        axes: Sequence[int] | None = None,
        method: str = "auto",
        hard: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        with checks.named(type(self).__name__):
            if not (dtype is None or (isinstance(dtype, torch.dtype) and dtype in REAL)):
                remedy = "write dtype=torch.float32"
                got = checks.shown(dtype)
                checks.refuse(TypeError, "dtype", got, "a real floating-point dtype", remedy)
            trainable = checks.truth("trainable", trainable, True)
            initial = strides_per_axis(strides, ndim)
            self._settings = StrideSettings(
                len(initial),
                axes=axes,
                smoothness=smoothness,
                ramp=ramp,
                norm=norm,
                shared=shared,
                lower=lower,
                upper=upper,
                crop=crop,
                multiple_of=multiple_of,
                method=method,
                hard=hard,
            )
            entries = self._settings.start(initial)
            values = torch.tensor(entries, device=device, dtype=dtype)
            # What the user set counts as usable, whatever the inputs' sizes.
            self._start: list[float] = torch.tensor(
                entries, device="cpu", dtype=values.dtype
            ).tolist()
            check_initial(initial, self.lower, torch.finfo(values.dtype).max)
        self.strides = nn.Parameter(values, requires_grad=trainable)
        # Largest stride that any input so far could use, per entry; None before the first.
        self._reach: list[float] | None = None
        self._holds = False
        self._held = HeldSizes(self._settings, self._start)
        self._seen = SeenSizes()

    @property
    def settings(self) -> StrideSettings:
        """The options of the layer, as they are now; may be set. See the class's Notes."""
        return self._settings

    @settings.setter
    def settings(self, settings: StrideSettings) -> None:
        self._check_successor(settings)
        self._extend_reach_to_met()
        self._settings = settings
        self._held.renew(settings, settings.clip(self._held.strides))
        self._note_strides()

    def _check_successor(self, settings: StrideSettings) -> None:
        """Refuse settings that this layer cannot come to have."""
        self._settings.check_successor(settings)

    def forward(self, x: torch.Tensor, conv: Convolution | None = None) -> torch.Tensor:
        """Resample ``x``; its shape follows the present strides, or is held.

        With a convolution at stride 1, which stays the caller's: resample ``conv(x)``, at about the
        price that the convolution has with a stride, as `DiffStrideConv2d` does.
        """
        if is_symbol(x):
            return as_node(self, x, None if conv is self else conv)
        if conv is not None and conv is not self:
            with checks.named(type(self).__name__):
                check_convolution(conv)
            if not is_plain(conv):
                y: torch.Tensor = DiffStride.forward(self, conv(x))
                self._seen.note(x, self._settings.axes)
                return y
        return self.resampled(x, conv)

    def resampled(self, x: torch.Tensor, conv: Convolution | None = None) -> torch.Tensor:
        """Resample ``x``, or its convolution by what was found to be a plain one at stride 1."""
        if torch.compiler.is_compiling():
            # Only here: it loads the compiler.
            from spectral_stride.torch.layers import compiler

            if not (self._stands_still() or torch.compiler.is_exporting()):
                y: torch.Tensor = compiler.outside_the_graph(DiffStride.resampled, self, x, conv)
                return y
        with checks.named(type(self).__name__):
            strides, plan = self._planned(x, conv)
            # Where sizes follow, the strides were just read.
            may_wait = not self._stands_still()
            if conv is None:
                return resample(x, strides, plan, may_wait=may_wait)
            return resampled_convolution(conv, x, strides, plan, may_wait=may_wait)

    def _planned(self, x: torch.Tensor, conv: Convolution | None) -> tuple[Strides, Plan]:
        """Decide with which strides a call computes, and onto which sizes."""
        check_tensor(x)
        there = x.device.type
        if self.strides.device.type == "meta" != there and self._holds:
            checks.no_values("strides", there)
        settings, stands_still = self._settings, self._stands_still()
        shape = tuple(x.shape) if conv is None else convolved_shape(conv, x)
        check_rank(settings, shape)
        axes = (self._held if stands_still else settings).axes_in(x.ndim)
        checks.spectral_sizes(tuple(x.shape), axes)
        self._seen.note(x, settings.axes)
        sizes = tuple([shape[axis] for axis in axes])
        if stands_still:
            # Nothing is read on the host: a compiler can trace this.
            held = self._held
            plan = held.plan(with_batch_of_one(shape, axes), held.generation)
            bounds = held.bounds(plan.sizes, held.generation)
            return feasible(self._per_axis(), *bounds), plan
        if isinstance(shape[-1], torch.Tensor):
            got, remedy = "one of torch.jit.trace", "trace freeze(network, sample)"
            checks.refuse(TypeError, "x", got, "a tensor whose sizes are numbers", remedy)
        self._extend_reach(sizes)
        current, values = self._read()
        if not self.training:
            self._held.renew(settings, values)
        per_axis = settings.per_axis(values)
        plan = settings.plan(shape, per_axis)
        if not may_learn(self.strides):
            # As numbers: the arrays of a map are kept for those.
            return per_axis, plan
        strides, bounds = self._per_axis(), settings.bounds(sizes)
        triples = zip(settings.per_axis(current), *bounds[2:], strict=True)
        if any([not low <= stride <= high for stride, low, high in triples]):
            strides = feasible(strides, *bounds)
        return strides, plan

    def _stands_still(self) -> bool:
        """Whether sizes come from the host's copy of the strides."""
        return self._holds or (not self.training and torch.compiler.is_compiling())

    @property
    def holds_sizes(self) -> bool:
        """Whether output sizes are held."""
        return self._holds

    def hold_sizes(self) -> bool:
        """Hold the output sizes that the present strides give until the next call.

        As `spectral_stride.torch.hold_sizes` does for all layers of a network.
        """
        return self.hold_at(self.present_strides())

    def present_strides(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Read the parameter on the host: its entries, and the nearest feasible ones."""
        if self.strides.is_meta:
            return None  # no values
        self._extend_reach_to_met()
        with checks.named(type(self).__name__):
            return self._read()

    def hold_at(self, present: tuple[tuple[float, ...], tuple[float, ...]] | None) -> bool:
        """Hold the sizes of `present_strides`; without any, those of the last ones known."""
        self._holds = True
        if present is None:
            return False
        current, values = present
        if values != current:
            self.project()
        return self._held.renew(self._settings, values)

    def project(self) -> None:
        """Bring the parameter to the nearest feasible strides; nothing else ever writes it.

        As `spectral_stride.torch.project_strides` does for all layers of a network.
        """
        if self.strides.is_meta or parametrize.is_parametrized(self, "strides"):
            return
        self._extend_reach_to_met()
        with torch.no_grad():
            self.strides.clamp_(min=self.lower)
            most = self._limits()
            if len(set(most)) == 1:
                self.strides.clamp_(max=most[0])
            else:
                self.strides.clamp_(max=like(self.strides, most))

    def release_sizes(self) -> None:
        """Let the output sizes follow the strides at every forward pass again."""
        self._holds = False

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a layer in eval mode can be compiled and exported as it is now."""
        super().train(mode)
        self._note_strides()
        return self

    def _note_strides(self) -> None:
        """Keep the present strides on the host, for a compiler that cannot read them."""
        if self._holds or is_sharded(self.strides):
            return
        try:
            _, values = self._read()
        except (TypeError, ValueError):
            # Without values, or broken: the next forward pass says so, if there is one.
            return
        self._held.renew(self._settings, values)

    def effective_strides(self) -> torch.Tensor:
        """Return the strides that the next forward pass will use, one per axis, differentiable.

        They lie within ``lower`` and ``upper``; an input's size may bound them further. While sizes
        are held they are not read on the host.
        """
        settings, most = self._settings, None
        if not self._stands_still():
            with checks.named(type(self).__name__):
                self._read()
            most = self._reach
        low = (settings.lower,) * settings.ndim
        high = settings.per_axis(settings.clip([math.inf] * len(self._start), most))
        return feasible(self._per_axis(), low, high, low, high)

    def _extend_reach(self, sizes: Iterable[int]) -> None:
        """Note how large a stride these sizes can use."""
        most = [*map(largest_stride, sizes)]
        if self._settings.shared:
            most = [max(most)]
        self._reach = [*map(max, self._reach or self._start, most)]

    def _extend_reach_to_met(self) -> None:
        """Note how large a stride those inputs can use that came in while sizes were held."""
        for sizes in self._held.met:
            self._extend_reach(sizes)

    def _limits(self) -> tuple[float, ...]:
        """Largest feasible stride, per entry: what is infinite is brought to it."""
        return self._settings.clip([math.inf] * len(self._start), self._reach)

    def _read(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Read the parameter on the host: its entries, and the nearest feasible ones."""
        if torch.compiler.is_exporting():
            _unreadable("an exported program has no values")
        try:
            current = on_host(self.strides)
        except Exception as error:  # a tensor on meta, a fake one, a batched one: each has its own
            _unreadable(type(error).__name__)
        check_learned(current)
        return tuple(current), self._settings.clip(current, self._reach)

    def _per_axis(self) -> torch.Tensor:
        """Return one stride an axis, of the parameter's entries."""
        # A copy: a graph that has saved it does not mind when the parameter is projected.
        strides = self.strides.clone()
        return strides.expand(self._settings.ndim) if self._settings.shared else strides

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load strides, refusing what no stride can be; PyTorch raises the messages."""
        saved = state_dict.get(prefix + "strides")
        if isinstance(saved, torch.Tensor) and has_values(saved):
            try:
                check_every_entry("strides", saved)
                checks.stride_array("strides", (saved.numel(),), saved.dtype)
                assign = local_metadata.get("assign_to_params_buffers", False)
                _check_saved(saved, saved if assign else saved.to(self.strides.dtype))
            except (TypeError, ValueError) as error:
                error_msgs.append(f"{prefix}strides in the checkpoint: {error}")
                return
        before = len(error_msgs)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if len(error_msgs) == before and has_values(self.strides):
            self._start, self._reach = self.strides.tolist(), None
            self._note_strides()

    def extra_repr(self) -> str:
        """The strides that are used and every setting."""
        if self.strides.is_meta:
            strides = "on meta"
        elif is_sharded(self.strides):
            strides = "sharded"  # to read them all ranks would have to come together
        elif torch.compiler.is_compiling():
            strides = "traced"  # vmap asks for the name of what it maps, which is this text
        else:
            used = self._settings.clip(self.strides.tolist(), self._reach)
            strides = str([round(stride, 4) for stride in used])
        settings = self._settings
        return (
            f"strides={strides}, smoothness={settings.smoothness:g}, ramp={settings.ramp!r}, "
            f"norm={settings.norm!r}, shared={settings.shared}, "
            f"trainable={self.strides.requires_grad}, lower={settings.lower:g}, "
            f"upper={settings.upper:g}, crop={settings.crop}, "
            f"multiple_of={settings.multiple_of}, axes={settings.axes}, "
            f"method={settings.method!r}, hard={settings.hard}" + ", sizes held" * self._holds
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state; of a layer that was saved with each setting by itself, too."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if "_settings" not in state:
            before = self._held
            self._settings = popped(StrideSettings, vars(self), ndim=len(state["axes"]))
            self._held = HeldSizes(self._settings, before.strides)
            for sizes in before._met:
                self._held.meet(sizes)
            self._extend_reach_to_met()
        vars(self).setdefault("_seen", SeenSizes())
