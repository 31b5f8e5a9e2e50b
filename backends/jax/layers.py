"""Flax NNX layers whose stride is a number, learned or fixed, and the layer that goes back."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import get_opaque_trace_state

from spectral_stride import checks
from spectral_stride.jax.functional import as_array, diffstride, spectral_pool, spectral_resize
from spectral_stride.layer_settings import (
    HasPoolSettings,
    HasStrideSettings,
    HasUpSettings,
    PoolSettings,
    StrideSettings,
    UpSettings,
    check_initial,
    check_rank,
    popped,
    strides_per_axis,
)
from spectral_stride.plan import Plan, with_batch_of_one


class FixedStrides(nnx.Variable[jax.Array]):
    """Strides that are saved with a model and that ``wrt=nnx.Param`` leaves out."""


class _Layer(nnx.Module):
    """A layer with properties that can be set, which Flax would count among its attributes."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)


# Of each layer the axes and sizes of its last call, and under which transform that was. Not in the
# layer: it would be another one for `nnx.jit` with each size.
_seen: WeakKeyDictionary[nnx.Module, tuple[Any, tuple[int, ...], tuple[int, ...]]] = (
    WeakKeyDictionary()
)


def _note(layer: nnx.Module, x: jax.Array, axes: tuple[int, ...]) -> None:
    """Keep the sizes that a layer sees, for `SpectralUp`."""
    _seen[layer] = _transform(), axes, tuple([x.shape[axis] for axis in axes])


def _transform() -> Any:
    """Return what is equal for calls under the same transform, and for eager ones."""
    return get_opaque_trace_state(convention="nnx")  # type: ignore[no-untyped-call]


class DiffStride(HasStrideSettings, _Layer):
    r"""Downsampling with learnable strides.

    Along each axis, with X = rfft(x) and the soft mask m that the stride sets, y = irfft(m X, n):
    see `spectral_stride.diffstride`. The layer's rank is its number of strides.

    Channels come last, as everywhere in Flax: the axes *before* the last one are resampled.

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
        As in `jax.numpy.fft`; by default a constant keeps its value.
    shared : bool, optional
        One stride for all axes.
    trainable : bool, optional
        Whether ``strides`` is an `nnx.Param`. If not, it is a `FixedStrides`, which neither
        `nnx.grad` nor an optimizer with ``wrt=nnx.Param`` touches.
    lower, upper : float, optional
        Bounds on the strides, inside the bounds that an input's size sets; 1 and none by default.
    crop : bool, optional
        If False the mask is applied and sizes stay.
    multiple_of : int, optional
        Round output sizes up to a multiple, so that they change rarely while strides move.
    ndim : int, optional
        Number of axes where ``strides`` is a single number; 2 by default.
    axes : sequence of int, optional
        Axes to resample. By default those before the last one: (-3, -2) for images of shape
        (batch, height, width, channels). With channels first, write (-2, -1).
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.
    hard : bool, optional
        Crop hard to the same sizes, as `SpectralPool` does, while the strides learn from the ramp
        that the output does not have: a straight-through estimate, and no derivative of the output
        (see `spectral_stride.vjp`). Not together with ``crop=False``.
    param_dtype : dtype, optional
        Of the parameter; real floating point.

    Attributes
    ----------
    strides : nnx.Param or FixedStrides of shape (ndim,), or (1,) if shared
        The learned strides. After an optimizer step they may lie outside what is feasible: a call
        uses the nearest feasible strides, with straight-through gradients, and `replan` brings the
        parameter itself back.
    planned : tuple of float
        The strides that sizes follow, one per axis: the constructor's, until `replan`.
    settings : StrideSettings
        What the layer was constructed with, but for the strides. Each is an attribute of its own
        too, as ``ramp`` and ``lower`` are, and all but ``shared`` may be set: it acts from the next
        call on, and `nnx.jit` compiles again. ``planned`` comes within the bounds of then.
        ``layer.settings = dataclasses.replace(layer.settings, lower=3, upper=4)`` sets several.

    Raises
    ------
    ValueError, TypeError
        From the constructor, and when a setting is set, for what is out of range; nothing has
        changed then. From a call for inputs that
        `spectral_stride.jax.diffstride` refuses.

    Notes
    -----
    Shapes are constants under `nnx.jit`, where strides are traced. So a call resamples with the
    present ``strides`` onto the sizes that ``planned`` gives, eagerly just as under `nnx.jit`, and
    `replan` moves ``planned`` between the steps of training. ``planned`` is a static attribute:
    `nnx.jit` compiles again exactly when it changes, which is when a size changes. While sizes are
    held, the stride moves inside the canvas; what outgrows it is cut at its Nyquist bin.

    Restoring other strides (`nnx.update`, a checkpoint) does not restore ``planned``: call `replan`
    after it. Keep weight decay away from strides (`optax.masked`): it would pull every stride to 1.
    A stack of layers made by `nnx.vmap` shares one ``planned``, which `replan` refuses to move.

    Put a nonlinearity between this layer and a global mean: the mean sees DC alone, which the mask
    never touches, and the strides would get no gradient.

    Source: Riad et al., "Learning strides in convolutional neural networks", ICLR 2022.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spectral_stride.jax import DiffStride
    >>> DiffStride(2.0)(jnp.ones((8, 32, 32, 3))).shape
    (8, 16, 16, 3)
    >>> DiffStride((2.0,))(jnp.ones((8, 400, 16))).shape
    (8, 200, 16)
    >>> DiffStride(2.0, axes=(-2, -1))(jnp.ones((8, 3, 32, 32))).shape
    (8, 3, 16, 16)
    """

    @checks.known_options
    @checks.named("DiffStride")
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
        param_dtype: Any = jnp.float32,
    ) -> None:
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
            channels_last=True,
            hard=hard,
        )
        entries = self._settings.start(initial)
        dtype = _parameter_dtype(param_dtype)
        largest = float(jnp.finfo(dtype).max)  # type: ignore[no-untyped-call]
        check_initial(initial, self.lower, largest)
        # As the parameter holds them. Kept, so that sizes that were seen first are planned for with
        # the same numbers when they are seen again.
        self.initial = tuple(float(dtype.type(stride)) for stride in initial)
        self.planned = self.initial
        kind = nnx.Param if checks.truth("trainable", trainable, True) else FixedStrides
        self.strides: nnx.Variable[jax.Array] = kind(jnp.asarray(entries, dtype=dtype))
        # Told the input sizes of every call, while `replan` looks on.
        self.observer: Callable[[tuple[int, ...]], None] | None = None

    @property
    def settings(self) -> StrideSettings:
        """The options of the layer, as they are now; may be set. See the class's docstring."""
        return self._settings

    @settings.setter
    def settings(self, settings: StrideSettings) -> None:
        self._settings.check_successor(settings)
        self._settings = settings
        self.planned = settings.clip(self.planned)

    @checks.named("DiffStride")
    def __call__(self, x: jax.Array) -> jax.Array:
        """Resample ``x``; its shape follows the planned strides, its values the present ones."""
        x = as_array(x)
        check_rank(self._settings, x.shape)
        axes = self._settings.axes_in(x.ndim)
        checks.spectral_sizes(x.shape, axes)
        if self.observer is not None:
            self.observer(tuple(x.shape[axis] for axis in axes))
        _note(self, x, self._settings.axes)
        # One plan for every batch size, also for one that an export leaves open.
        plan = self.plan(with_batch_of_one(x.shape, axes), self.planned)
        return diffstride(x, self.effective_strides(), plan=plan)

    def effective_strides(self) -> jax.Array:
        """Return the strides that the next call will use, one per axis, differentiable.

        They lie within ``lower`` and ``upper``; an input's size may bound them further.
        """
        strides = self.strides[...]
        fixed = jax.lax.stop_gradient(strides)
        # Straight through: the slope is 1 also where the clamp holds. In this order, because the
        # second term is exactly zero.
        settings = self._settings
        strides = jnp.clip(fixed, settings.lower, settings.upper) + (strides - fixed)
        return jnp.broadcast_to(strides, (settings.ndim,)) if settings.shared else strides

    def plan(
        self, shape: Sequence[int], strides: Sequence[float], axes: Sequence[int] | None = None
    ) -> Plan:
        """Plan a call of this layer: `spectral_stride.make_plan` with the layer's settings."""
        settings = self._settings if axes is None else replace(self._settings, axes=tuple(axes))
        return settings.plan(shape, strides)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state; of a layer that was saved with each setting by itself, too."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if "_settings" not in state:
            ndim = len(state["axes"])
            self._settings = popped(StrideSettings, vars(self), ndim=ndim, channels_last=True)


def _parameter_dtype(param_dtype: Any) -> Any:
    """Return the dtype that a parameter will have, refusing what is not real floating point."""
    try:
        dtype = jax.dtypes.canonicalize_dtype(param_dtype)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        remedy = "write param_dtype=jnp.float32"
        got = checks.shown(param_dtype) if dtype is None else dtype
        checks.refuse(TypeError, "param_dtype", got, "a real floating-point dtype", remedy)
    return dtype


class SpectralPool(HasPoolSettings, _Layer):
    """Downsampling by a hard crop of the spectrum, to sizes that are fixed or follow fixed strides.

    y = irfft(X[0 .. n//2], n) along each axis: see `spectral_stride.spectral_pool`.

    Channels come last, as everywhere in Flax: the axes *before* the last one are resampled.

    Parameters
    ----------
    strides : float or sequence of float, optional
        Strides of at least 1, in input samples per output sample: n = ceil(N/s), as of a strided
        convolution. One per axis, or one number for ``ndim`` equal ones.
    out_sizes : sequence of int, optional
        Output sizes, in place of strides.
    norm : {"forward", "ortho", "backward"}, optional
        As in `jax.numpy.fft`; by default a constant keeps its value.
    ndim : int, optional
        Number of axes where ``strides`` is a single number; 2 by default.
    axes : sequence of int, optional
        Axes to resample. By default those before the last one; with channels first, write (-2, -1)
        for images.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Attributes
    ----------
    settings : PoolSettings
        What the layer was constructed with. Each is an attribute of its own too, and may be set: it
        acts from the next call on, and `nnx.jit` compiles again.

    Raises
    ------
    ValueError, TypeError
        For arguments and settings out of range, for both or neither of ``strides`` and
        ``out_sizes``, and for inputs that `spectral_stride.jax.spectral_pool` refuses.

    Notes
    -----
    Source: Rippel, Snoek, Adams, "Spectral representations for convolutional neural networks",
    NeurIPS 2015.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spectral_stride.jax import SpectralPool
    >>> SpectralPool(2.5)(jnp.ones((8, 32, 32, 3))).shape
    (8, 13, 13, 3)
    >>> SpectralPool(out_sizes=(8, 6))(jnp.ones((8, 32, 32, 3))).shape
    (8, 8, 6, 3)
    """

    @checks.known_options
    @checks.named("SpectralPool")
    def __init__(
        self,
        strides: float | Sequence[float] | None = None,
        out_sizes: Sequence[int] | None = None,
        norm: str = "forward",
        *,
        ndim: int | None = None,
        axes: Sequence[int] | None = None,
        method: str = "auto",
    ) -> None:
        self.settings = PoolSettings(
            strides, out_sizes, norm, ndim=ndim, axes=axes, method=method, channels_last=True
        )

    @checks.named("SpectralPool")
    def __call__(self, x: jax.Array) -> jax.Array:
        """Resample ``x`` to ``out_sizes``, or to ceil(N/s) samples."""
        x = as_array(x)
        settings = self.settings
        sizes = settings.sizes_of(x.shape)
        _note(self, x, settings.axes)
        return spectral_pool(
            x, sizes, axes=settings.axes, norm=settings.norm, method=settings.method
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state; of a layer that was saved with each setting by itself, too."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if "settings" not in state:
            self.settings = popped(PoolSettings, vars(self), channels_last=True)


class SpectralUp(HasUpSettings, _Layer):
    """Upsampling to exactly the sizes that another layer has shrunk: zeros beyond the spectrum.

    y = irfft(X, n) along each axis, with the sizes n of ``like``: see
    `spectral_stride.spectral_resize`.

    Parameters
    ----------
    norm : {"forward", "ortho", "backward"}, optional
        As in `jax.numpy.fft`; by default a constant keeps its value.
    axes : sequence of int, optional
        Of an array ``like``, the axes whose sizes are taken; by default the two before the last
        one. A layer has its own.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Attributes
    ----------
    settings : UpSettings
        What the layer was constructed with. Each is an attribute of its own too, and may be set.

    Raises
    ------
    ValueError, TypeError
        For settings out of range, for a ``like`` that has not run under the same transform or is
        neither a layer nor an array, and for inputs that `spectral_stride.jax.spectral_resize`
        refuses.

    Notes
    -----
    ``like=down`` takes the sizes that ``down`` saw in its last call, whatever its strides have
    become. Both have to be called side by side: both eagerly, or both in the function that
    `nnx.jit`, `nnx.grad` or another transform is given. Where ``down`` is in a transform of its
    own, JAX runs its code once and not at each call: pass the array that it took, ``like=x``.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spectral_stride.jax import DiffStride, SpectralUp
    >>> down, up = DiffStride(2.4), SpectralUp()
    >>> y = down(jnp.ones((8, 33, 30, 3)))
    >>> y.shape, up(y, like=down).shape
    ((8, 14, 13, 3), (8, 33, 30, 3))
    >>> up(y, like=jnp.ones((8, 20, 21, 16))).shape
    (8, 20, 21, 3)
    """

    @checks.known_options
    @checks.named("SpectralUp")
    def __init__(
        self, norm: str = "forward", *, axes: Sequence[int] | None = None, method: str = "auto"
    ) -> None:
        self.settings = UpSettings(norm, axes=axes, method=method, channels_last=True)

    @checks.named("SpectralUp")
    def __call__(self, y: jax.Array, like: nnx.Module | jax.Array) -> jax.Array:
        """Resample ``y`` to the sizes that ``like`` saw, or to those of an array."""
        y, settings = as_array(y), self.settings
        if isinstance(like, DiffStride | SpectralPool):
            where, *seen = _seen.get(like, (None, (), ()))
            if where != _transform():
                seen = [(), ()]
            axes, sizes = settings.like_layer(y.ndim, type(like).__name__, *seen)
        elif isinstance(shape := getattr(like, "shape", None), tuple):
            axes, sizes = settings.like_array(y.shape, shape)
        else:
            allowed = "a DiffStride or SpectralPool, or an array"
            remedy = "write up(y, like=down)"
            checks.refuse(TypeError, "like", type(like).__name__, allowed, remedy)
        return spectral_resize(y, sizes, axes=axes, norm=settings.norm, method=settings.method)
