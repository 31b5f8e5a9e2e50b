"""A layer's settings, in whatever framework: checked once, and what follows from them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import repeat
from numbers import Real
from typing import Any, TypeVar

from spectral_stride import checks
from spectral_stride.plan import (
    Plan,
    host_numbers,
    planned_sizes,
    sized_plan,
    stride_range,
    strided_size,
    with_batch_of_one,
)


@dataclass(frozen=True, init=False)
class StrideSettings:
    """All that a layer with learnable strides knows, but for the strides: they are its parameter.

    Frozen and hashable, so that plans are cached for it, and a compiler may take it as a constant.
    `dataclasses.replace` gives other settings, checked as these were.

    Parameters
    ----------
    ndim : int
        How many axes are resampled.
    axes : sequence of int, optional
        Which ones. By default the last ones, or with ``channels_last`` those before the last one.
    smoothness, ramp, norm, crop, multiple_of, method, hard : optional
        As of `spectral_stride.make_plan`.
    shared : bool, optional
        Whether all axes have one stride. The parameter has one entry then, and ``ndim`` otherwise.
    lower, upper : float, optional
        Bounds on the strides, inside the bounds that an input's size sets; 1 and none by default.
    channels_last : bool, optional
        What the framework's default axes are.

    Attributes
    ----------
    axes : tuple of int
        As given: those that are counted from the end stay so.
    lower, upper : float
        Of no bound, infinity.

    Raises
    ------
    ValueError
        For a setting that is out of its range.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from spectral_stride.layer_settings import StrideSettings
    >>> settings = StrideSettings(2)
    >>> settings.plan((8, 3, 32, 32), (2.6, 2.0)).out_sizes
    (13, 16)
    >>> replace(settings, multiple_of=4).plan((8, 3, 32, 32), (2.6, 2.0)).out_sizes
    (16, 16)
    """

    ndim: int
    axes: tuple[int, ...]
    smoothness: float
    ramp: str
    norm: str
    shared: bool
    lower: float
    upper: float
    crop: bool
    multiple_of: int
    method: str
    channels_last: bool
    hard: bool = False  # which settings that were saved before do not have

    def __init__(
        self,
        ndim: int,
        *,
        axes: Sequence[int] | None = None,
        smoothness: float = 4.0,
        ramp: str = "inside",
        norm: str = "forward",
        shared: bool = False,
        lower: float | None = None,
        upper: float | None = None,
        crop: bool = True,
        multiple_of: int = 1,
        method: str = "auto",
        channels_last: bool = False,
        hard: bool = False,
    ) -> None:
        ndim = checks.positive_integer("ndim", ndim, most=checks.MOST_AXES)
        channels_last = checks.truth("channels_last", channels_last, False)
        distinct = _distinct_axes(axes, ndim, channels_last)
        least, most = _bounds(lower, upper)
        width = checks.smoothness(smoothness)
        ramp = checks.one_of("ramp", ramp, checks.RAMPS)
        norm = checks.one_of("norm", norm, checks.NORMS)
        method = checks.one_of("method", method, checks.METHODS)
        multiple_of = checks.positive_integer("multiple_of", multiple_of)
        crop = checks.truth("crop", crop, True)
        hard = checks.truth("hard", hard, False)
        checks.hard_crops(hard, crop)
        vars(self).update(
            ndim=ndim,
            axes=distinct,
            smoothness=width,
            ramp=ramp,
            norm=norm,
            shared=checks.truth("shared", shared, False),
            lower=least,
            upper=most,
            crop=crop,
            multiple_of=multiple_of,
            method=method,
            channels_last=channels_last,
            hard=hard,
        )

    def start(self, strides: tuple[float, ...]) -> tuple[float, ...]:
        """Return a parameter's first entries, of one initial stride an axis, or refuse these."""
        check_initial(strides, self.lower, self.upper)
        if not self.shared:
            return strides
        if len(set(strides)) > 1:
            remedy = f"write strides={strides[0]}, or shared=False"
            got = f"{strides} with shared=True"
            checks.refuse(ValueError, "strides", got, "equal strides", remedy)
        return strides[:1]

    def check_successor(self, settings: "StrideSettings") -> None:
        """Refuse settings under which a layer's parameter would need another shape."""
        for name in ("ndim", "shared"):
            present, wanted = getattr(self, name), getattr(settings, name)
            if wanted != present:
                allowed = f"{present}, which gave the layer's parameter its shape"
                remedy = f"make another layer with {name}={wanted}"
                checks.refuse(ValueError, name, wanted, allowed, remedy)

    def axes_in(self, ndim: int) -> tuple[int, ...]:
        """Return the axes of an array with ``ndim`` dimensions, counted from 0."""
        return _layer_axes(self.axes, ndim)

    def per_axis(self, entries: Sequence[float]) -> tuple[float, ...]:
        """Return one stride an axis, of a parameter's entries."""
        return tuple(entries) * (self.ndim if self.shared else 1)

    def clip(
        self, entries: Sequence[float], reach: Sequence[float] | None = None
    ) -> tuple[float, ...]:
        """Bring a parameter's entries inside the bounds, and below the ``reach`` of each."""
        raised = map(max, entries, repeat(self.lower))
        return tuple(map(min, raised, reach or repeat(math.inf), repeat(self.upper)))

    def bounds(self, sizes: Sequence[int]) -> tuple[tuple[float, ...], ...]:
        """Return ``lower`` and ``upper`` of each axis, and what of them acts on these sizes."""
        ranges = [stride_range(size, self.smoothness, self.ramp) for size in sizes]
        high = tuple([min(most, self.upper) for _, most in ranges])
        low = tuple([max(least, self.lower) for least, _ in ranges])
        own = (self.lower,) * self.ndim, (self.upper,) * self.ndim
        return *own, tuple(map(min, low, high)), high

    def plan(self, shape: Sequence[int], strides: Sequence[float]) -> Plan:
        """Plan for an input's shape, whatever its batch, and one stride an axis.

        As `spectral_stride.make_plan`, but the settings were checked long ago. Strides have to be
        finite, and no planned axis empty.
        """
        check_rank(self, shape)
        axes = self.axes_in(len(shape))
        return self.plan_of_sizes(shape, self.out_sizes(shape, axes, strides))

    def out_sizes(
        self, shape: Sequence[int], axes: Sequence[int], strides: Sequence[float]
    ) -> tuple[int, ...]:
        """Samples that are left along each of the given axes."""
        return planned_sizes(
            shape,
            axes,
            strides,
            smoothness=self.smoothness,
            ramp=self.ramp,
            crop=self.crop,
            multiple_of=self.multiple_of,
        )

    def plan_of_sizes(self, shape: Sequence[int], out_sizes: tuple[int, ...]) -> Plan:
        """Plan for output sizes that are known; a compiler can trace this."""
        axes = self.axes_in(len(shape))
        shape = with_batch_of_one(shape, axes)
        return sized_plan(
            shape, axes, out_sizes, self.smoothness, self.ramp, self.norm, self.method, self.hard
        )

    def out_size(self, size: int, stride: float) -> int:
        """Samples that are left of ``size`` along an axis."""
        return self.out_sizes((size,), (0,), (stride,))[0]


@dataclass(frozen=True, init=False)
class PoolSettings:
    """All that a layer with a hard crop of the spectrum knows: fixed strides or sizes, and how.

    Frozen and hashable. `dataclasses.replace` gives other settings, checked as these were.

    Parameters
    ----------
    strides : float or sequence of float, optional
        Input samples per output sample; a number stands for ``ndim`` equal ones, 2 by default.
    out_sizes : sequence of int, optional
        Samples of the output along each axis, in place of strides.
    norm, method : optional
        As of `spectral_stride.make_plan`.
    axes, channels_last : optional
        As of `StrideSettings`.
    ndim : int, optional
        How many axes are resampled.

    Raises
    ------
    ValueError, TypeError
        For a setting that is out of its range, and for both or neither of ``strides`` and
        ``out_sizes``.

    Examples
    --------
    >>> from spectral_stride.layer_settings import PoolSettings
    >>> PoolSettings(2.5).sizes_of((8, 3, 32, 30))
    (13, 12)
    """

    strides: tuple[float, ...] | None
    out_sizes: tuple[int, ...] | None
    norm: str
    axes: tuple[int, ...]
    method: str
    ndim: int
    channels_last: bool

    def __init__(
        self,
        strides: float | Sequence[float] | None = None,
        out_sizes: Sequence[int] | None = None,
        norm: str = "forward",
        *,
        axes: Sequence[int] | None = None,
        method: str = "auto",
        ndim: int | None = None,
        channels_last: bool = False,
    ) -> None:
        if (strides is None) == (out_sizes is None):
            got = "neither" if strides is None else "both"
            allowed = "exactly one of strides and out_sizes"
            checks.refuse(ValueError, "strides", got, allowed, "write SpectralPool(strides=2.0)")
        values = sizes = None
        if strides is None:
            sizes = checks.sizes("out_sizes", out_sizes)
            _check_count("out_sizes", len(sizes), _axis_count(ndim))
        else:
            values = strides_per_axis(strides, ndim)
            check_initial(values, 1.0, math.inf)
        count = len(values or sizes or ())
        distinct = _distinct_axes(axes, count, channels_last)
        norm = checks.one_of("norm", norm, checks.NORMS)
        method = checks.one_of("method", method, checks.METHODS)
        vars(self).update(
            strides=values,
            out_sizes=sizes,
            norm=norm,
            axes=distinct,
            method=method,
            ndim=count,
            channels_last=channels_last,
        )

    def sizes_of(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Samples of the output along each axis: those that are set, or ceil(N/s)."""
        check_rank(self, shape)
        # Not from the cache: a compiler that traces this warns of each that it sees.
        axes = _layer_axes.__wrapped__(self.axes, len(shape))
        if self.strides is None:
            assert self.out_sizes is not None
            return self.out_sizes
        return tuple(map(strided_size, map(shape.__getitem__, axes), self.strides))


@dataclass(frozen=True, init=False)
class UpSettings:
    """All that a layer which goes back knows; what it goes back to it is told at each call.

    Frozen and hashable. `dataclasses.replace` gives other settings, checked as these were.

    Parameters
    ----------
    norm, method : optional
        As of `spectral_stride.spectral_resize`.
    axes : sequence of int, optional
        Of arrays, the axes whose sizes are taken. Two by default: the last ones, or with
        ``channels_last`` those before the last one. A layer has its own.
    channels_last : bool, optional
        What the framework's default axes are.

    Raises
    ------
    ValueError, TypeError
        For a setting that is out of its range.

    Examples
    --------
    >>> from spectral_stride.layer_settings import UpSettings
    >>> UpSettings().like_array((8, 64, 16, 13), (8, 3, 32, 30))
    ((-2, -1), (32, 30))
    """

    norm: str
    axes: tuple[int, ...] | None
    method: str
    channels_last: bool

    def __init__(
        self,
        norm: str = "forward",
        *,
        axes: Sequence[int] | None = None,
        method: str = "auto",
        channels_last: bool = False,
    ) -> None:
        count = len(checks.integers(axes) or (0,))
        vars(self).update(
            norm=checks.one_of("norm", norm, checks.NORMS),
            axes=None if axes is None else _distinct_axes(axes, count, channels_last),
            method=checks.one_of("method", method, checks.METHODS),
            channels_last=channels_last,
        )

    def like_array(
        self, shape: Sequence[int], wanted: Sequence[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Axes of an array of this shape, and the sizes that another one has along them."""
        if len(shape) != len(wanted):
            got = f"an array with {len(wanted)} dimensions for one with {len(shape)}"
            checks.refuse(ValueError, "like", got, "as many dimensions", "pass like=x[None]")
        axes = _distinct_axes(None, 2, self.channels_last) if self.axes is None else self.axes
        if min(axes) < 0 and len(shape) <= len(axes):
            got = f"an array with {len(shape)} dimensions"
            allowed = f"{len(axes)} that are resampled, and one more for a batch or channels"
            checks.refuse(ValueError, "y", got, allowed, "pass y[None], or set other axes")
        if len(axes) > len(shape):
            got = f"{checks.shown(axes)} for an array with {len(shape)} dimensions"
            remedy = "leave axes out, or pass an array with more dimensions"
            checks.refuse(ValueError, "axes", got, "at most one axis per dimension", remedy)
        places = checks.axes(axes, len(axes), len(shape))
        return axes, tuple([wanted[place] for place in places])

    def like_layer(
        self, ndim: int, name: str, axes: tuple[int, ...], sizes: tuple[int, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Axes and sizes that a layer of this name saw; none where it has not run."""
        if not sizes:
            checks.refuse(
                ValueError,
                "like",
                f"a {name} of which no forward pass is known here",
                "a layer that has run, and not in a compiled part of its own",
                "call it first, y = down(x), or pass an array that has the sizes: like=x",
            )
        if self.axes is not None:
            own, others = ({axis % ndim for axis in each} for each in (self.axes, axes))
            if own != others:
                got, allowed = f"{self.axes} for a {name} along {axes}", "the axes of that layer"
                checks.refuse(ValueError, "axes", got, allowed, "leave axes out")
        return axes, sizes


Settings = TypeVar("Settings", StrideSettings, PoolSettings, UpSettings)


def _setting(name: str, *, instead_of: str = "") -> Any:
    """Make an attribute of a layer that is one of its settings; whoever sets it is checked.

    Of two that exclude each other, setting one takes the place of the other.
    """

    def read(layer: Any) -> Any:
        return getattr(layer.settings, name)

    def change(layer: Any, value: Any) -> None:
        with checks.named(type(layer).__name__):
            given = {name: value}
            if instead_of and value is not None:
                given[instead_of] = None
            layer.settings = replace(layer.settings, **given)

    return property(read, change, doc=f"The ``{name}`` of the layer's settings; it may be set.")


class HasStrideSettings:
    """The attributes of a layer that has `StrideSettings`, in any framework."""

    settings: StrideSettings

    axes: tuple[int, ...] = _setting("axes")
    smoothness: float = _setting("smoothness")
    ramp: str = _setting("ramp")
    norm: str = _setting("norm")
    shared: bool = _setting("shared")
    lower: float = _setting("lower")
    upper: float = _setting("upper")
    crop: bool = _setting("crop")
    multiple_of: int = _setting("multiple_of")
    method: str = _setting("method")
    hard: bool = _setting("hard")


class HasPoolSettings:
    """The attributes of a layer that has `PoolSettings`, in any framework."""

    settings: PoolSettings

    strides: tuple[float, ...] | None = _setting("strides", instead_of="out_sizes")
    out_sizes: tuple[int, ...] | None = _setting("out_sizes", instead_of="strides")
    norm: str = _setting("norm")
    axes: tuple[int, ...] = _setting("axes")
    method: str = _setting("method")


class HasUpSettings:
    """The attributes of a layer that has `UpSettings`, in any framework."""

    settings: UpSettings

    norm: str = _setting("norm")
    axes: tuple[int, ...] | None = _setting("axes")
    method: str = _setting("method")


def popped(kind: type[Settings], state: dict[str, Any], **more: Any) -> Settings:
    """Take the settings out of the state of a layer that had each as an attribute of its own."""
    names = {field.name for field in fields(kind)} & state.keys()
    return kind(**{name: state.pop(name) for name in names}, **more)


def strides_per_axis(value: Any, ndim: int | None) -> tuple[float, ...]:
    """Return one stride per axis; a scalar stands for ``ndim`` equal ones, 2 by default."""
    ndim = _axis_count(ndim)
    if isinstance(value, Real) and not isinstance(value, bool):
        value = (value,) * (2 if ndim is None else ndim)
    if not hasattr(value, "dtype") and (
        isinstance(value, checks.TEXT) or not isinstance(value, Sequence)
    ):
        got = f"{checks.shown(value)} ({type(value).__name__})"
        allowed = "a number, or a sequence of numbers, one per axis"
        checks.refuse(TypeError, "strides", got, allowed, "write strides=2.0")
    values = host_numbers("strides", value)
    _check_count("strides", len(values), ndim)
    return values


def check_initial(strides: Sequence[float], lower: float, upper: float) -> None:
    """Refuse initial strides of a layer that are not finite, or outside its own bounds."""
    for position, stride in enumerate(strides):
        if not (math.isfinite(stride) and lower <= stride <= upper):
            span = f"of at least {lower:g}" if math.isinf(upper) else f"from {lower:g} to {upper:g}"
            bounded = (lower, upper) != (1.0, math.inf)
            checks.refuse(
                ValueError,
                "strides",
                f"{stride:g} at position {position}",
                f"finite numbers {span} (input samples per output sample)",
                f"write {max(lower, min(2.0, upper)):g}{', or change the bounds' * bounded}",
            )


def check_rank(settings: StrideSettings | PoolSettings, shape: Sequence[int]) -> None:
    """Refuse an input that has no dimension beside axes that are counted from the end.

    Such axes are those of one sample: one of them would be the batch, or the channels.
    """
    if len(shape) <= settings.ndim and min(settings.axes) < 0:
        checks.one_more_dimension(tuple(shape), settings.ndim, settings.channels_last)


def check_learned(
    strides: Sequence[float], rate: str = "a smaller stride_lr in param_groups"
) -> None:
    """Refuse a parameter that training has made infinite or NaN; a smaller ``rate`` would not."""
    if not all(map(math.isfinite, strides)):
        checks.refuse(
            ValueError,
            "strides",
            f"the parameter {strides}",
            "finite numbers",
            f"look for NaN in the loss and its gradients; {rate}, or clipped gradients, keep "
            "strides finite",
        )


def largest_stride(size: int) -> float:
    """Return the largest stride that an axis can use, whatever its ramp: hi of `stride_bounds`."""
    return max(size / 2, 1.0)


def roundest_stride(stride: float, most: float, fits: Callable[[float], bool]) -> float:
    """Return the number with the fewest binary digits in the interval around ``stride`` that fits.

    It names the interval: every stride in it leads to the same number, because of two neighbouring
    multiples of a step one is a multiple of twice the step. No stride may be above ``most``.
    """
    step = 2.0 ** math.ceil(math.log2(most))
    while True:
        for count in (math.floor(stride / step), math.ceil(stride / step)):
            if count > 0 and fits(count * step):
                return count * step
        step /= 2


@lru_cache(maxsize=4096)
def _layer_axes(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Return axes of an array with ``ndim`` dimensions, counted from 0, or refuse them."""
    return checks.axes(axes, len(axes), ndim)


def _distinct_axes(value: Any, ndim: int, channels_last: bool) -> tuple[int, ...]:
    """Return the axes that a layer resamples, as given, or refuse them."""
    if value is None:
        behind = int(channels_last)
        return tuple(range(-ndim - behind, -behind))
    found = checks.integers(value) or ()
    if len(set(found)) != ndim or len(found) != ndim:
        allowed = f"{ndim} different integers, one axis per stride"
        remedy = f"write axes={tuple(range(1, ndim + 1))} for channels last"
        checks.refuse(ValueError, "axes", checks.shown(value), allowed, remedy)
    return found


def _axis_count(ndim: Any) -> int | None:
    """Return how many axes a layer resamples where that is said, or refuse it."""
    return None if ndim is None else checks.positive_integer("ndim", ndim, most=checks.MOST_AXES)


def _check_count(name: str, count: int, ndim: int | None) -> None:
    """Refuse a number of strides or sizes that is 0, or contradicts the number of axes."""
    if ndim is not None and count != ndim:
        remedy = f"leave ndim out, or write {name}={(2,) * ndim}"
        checks.refuse(
            ValueError, name, f"{count} numbers and ndim={ndim}", "as many as ndim", remedy
        )
    if count == 0:
        remedy = f"write {name}=(2,) for the last axis"
        checks.refuse(ValueError, name, "()", "one number per axis, 1 or more", remedy)


def _bounds(lower: Any, upper: Any) -> tuple[float, float]:
    """Return a layer's bounds on its strides as floats, or refuse them."""
    least = 1.0 if lower is None else checks.real_number(lower)
    most = math.inf if upper is None else checks.real_number(upper)
    if not 1.0 <= least <= most or math.isinf(least):
        checks.refuse(
            ValueError,
            "lower, upper",
            f"{checks.shown(lower)} and {checks.shown(upper)}",
            "1 <= lower <= upper",
            "leave both out, or write lower=1.0 and upper=8.0",
        )
    return least, most
