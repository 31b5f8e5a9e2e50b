"""The core registered with JAX: one rule in forward mode, from which JAX derives reverse mode."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack, get_args

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

import spectral_stride as core
from spectral_stride import checks
from spectral_stride.arrays import cast, check_every_entry, working_dtype
from spectral_stride.axis import resampling
from spectral_stride.functional import prepare
from spectral_stride.gradients import PerAxis, forward, push
from spectral_stride.plan import Plan, PlanOptions


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _resample(x: jax.Array, strides: jax.Array, y: jax.Array | None, plan: Plan) -> jax.Array:
    """A(s) x with the core's derivatives; its value is y where that is known already."""
    return core.diffstride(x, strides, plan=plan) if y is None else y


@partial(_resample.defjvp, symbolic_zeros=True)
def _resample_jvp(plan: Plan, primals: Any, tangents: Any) -> tuple[jax.Array, Any]:
    """A dx + (dA/ds ds) x, of which only the terms that are asked for are computed."""
    x, strides, y = primals
    dx, ds = (None if isinstance(dz, SymbolicZero) else dz for dz in tangents[:2])
    # Plain array code and not the custom function again: a reverse pass transposes it.
    op = resampling(strides, plan, learn=ds is not None, stop=jax.lax.stop_gradient)
    q: PerAxis = [None] * len(plan.axes)
    if ds is not None:
        # The value comes with the coefficients. Computed by itself, XLA would not see that it is
        # the same, and take 1.1 to 1.8 times as long for forward and backward on a CPU.
        value, q = forward(op, x)
        y = jax.lax.stop_gradient(value)
    dy, _ = push(op, dx, ds, q)
    y = _resample(x, strides, y, plan)
    return y, jnp.zeros_like(y) if dy is None else dy


def as_array(x: Any) -> jax.Array:
    """Return an array of JAX's, NumPy's or a Flax variable as one of JAX's; refuse all else."""
    if not (isinstance(x, get_args(ArrayLike)) or hasattr(x, "__jax_array__")):
        remedy = "convert it first: jnp.asarray(x)"
        checks.refuse(TypeError, "x", type(x).__name__, "a jax.Array or a numpy.ndarray", remedy)
    check_every_entry("x", x)
    try:
        return jnp.asarray(x)
    # JAX has no words, dates, objects and larger integers, some of which Python does not write.
    except (TypeError, ValueError, OverflowError):
        checks.dtype("x", getattr(x, "dtype", type(x).__name__), checks.DTYPES)


def diffstride(
    x: ArrayLike,
    strides: ArrayLike | Sequence[float],
    *,
    plan: Plan | None = None,
    **options: Unpack[PlanOptions],
) -> jax.Array:
    """Resample an array by a soft crop of its spectrum, differentiably in input and strides.

    `spectral_stride.diffstride`, registered with JAX: y = A(s) x has the tangent
    dy = A dx + (dA/ds ds) x. Forward and reverse mode of any order, `vmap`, `jit`, `checkpoint`,
    `scan` and sharding follow from it.

    Parameters
    ----------
    x : array
        Real floating-point input; any batch shape. A NumPy array is converted.
    strides : array of shape (len(axes),), or sequence of float
        Input samples per output sample. An array's dtype need not be x's.
    plan : Plan, optional
        From `make_plan`, made outside of `jit` and constant in it: then ``strides`` may be traced.
        The batch size may differ from the plan's. Without one the strides are read on the host.
    **options
        Keyword arguments of `make_plan`, where no plan is given.

    Returns
    -------
    jax.Array
        Of x's dtype and device; shapes and dtypes as of `spectral_stride.diffstride`.

    Raises
    ------
    ValueError, TypeError
        As `spectral_stride.diffstride`; for strides that are traced where no plan is given, the
        message shows the corrected call.

    Notes
    -----
    A new plan is a new constant, so `jit` compiles once per set of sizes and never because a stride
    moved. The stride gradient follows the rules of `spectral_stride.vjp` on corners and bounds. A
    reverse pass keeps for it the ramp's bins of x and not x; it computes two skinny products and no
    (n x N) cotangent. Derivatives of a gradient in the strides are those of the smooth
    pieces, and for a stride outside its bounds those at the bound.

    Of an input that is sharded over its batch no activation is gathered in the matmul form. XLA
    gathers the input of every FFT (openxla/xla #24); for sharded axes that are long, write
    ``method="matmul"``, or map the call over the shards by `jax.shard_map`.

    Axes are the last ones by default, as everywhere in this package. For images with channels last
    write ``axes=(1, 2)``.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from spectral_stride import make_plan
    >>> from spectral_stride.jax import diffstride
    >>> x = jnp.cos(2 * jnp.pi * 6 * jnp.arange(32) / 32)
    >>> plan = make_plan(x.shape, (4.0,))
    >>> energy = jax.jit(lambda strides: (diffstride(x, strides, plan=plan) ** 2).sum())
    >>> bool(jax.grad(energy)(jnp.array([4.0]))[0] < 0)  # a larger stride passes less of this wave
    True
    """
    x = as_array(x)
    if hasattr(strides, "__jax_array__"):
        strides = jnp.asarray(strides)  # a Flax variable, which may be traced
    _, vector, plan = prepare(x, strides, plan, options)
    return _resample(x, cast(vector, working_dtype(jnp, x.dtype)), None, plan)


@checks.known_options
def spectral_pool(
    x: ArrayLike,
    out_sizes: Sequence[int],
    *,
    axes: Sequence[int] | None = None,
    norm: str = "forward",
    method: str = "auto",
) -> jax.Array:
    """Resample an array to given sizes by a hard crop of its spectrum.

    Along each axis y = irfft(X[0 .. n//2], n) with X = rfft(x), as `spectral_stride.spectral_pool`.
    The map is linear, so JAX's own derivatives of it are exact.

    Parameters
    ----------
    x : array
        Real floating-point input; any batch shape. A NumPy array is converted.
    out_sizes : sequence of int
        Samples of the output, 1 to N along each axis; constants under `jit`.
    axes : sequence of int, optional
        The axes to resample; the last ``len(out_sizes)`` by default.
    norm : {"forward", "ortho", "backward"}, optional
        As in `jax.numpy.fft`: a constant keeps its value, grows by sqrt(N/n), or by N/n.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Returns
    -------
    jax.Array
        Of x's dtype and device.

    Raises
    ------
    ValueError, TypeError
        As `spectral_stride.spectral_pool`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spectral_stride.jax import spectral_pool
    >>> spectral_pool(jnp.ones((8, 32, 32, 3)), (16, 16), axes=(1, 2)).shape
    (8, 16, 16, 3)
    """
    y: jax.Array = core.spectral_pool(as_array(x), out_sizes, axes=axes, norm=norm, method=method)
    return y


@checks.known_options
def spectral_resize(
    x: ArrayLike,
    sizes: Sequence[int],
    *,
    axes: Sequence[int] | None = None,
    norm: str = "forward",
    method: str = "auto",
) -> jax.Array:
    """Resample an array to given sizes, fewer or more: crop its spectrum, or put zeros behind it.

    `spectral_stride.spectral_resize`. The map is linear, so JAX's own derivatives of it are exact.

    Parameters
    ----------
    x : array
        Real floating-point input; any batch shape. A NumPy array is converted.
    sizes : sequence of int
        Samples n of the output, 1 or more along each axis; constants under `jit`.
    axes : sequence of int, optional
        The axes to resample; the last ``len(sizes)`` by default.
    norm : {"forward", "ortho", "backward"}, optional
        As in `jax.numpy.fft`: a constant keeps its value, is multiplied by sqrt(N/n), or by N/n.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Returns
    -------
    jax.Array
        Of x's dtype and device.

    Raises
    ------
    ValueError, TypeError
        As `spectral_stride.spectral_resize`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spectral_stride.jax import spectral_resize
    >>> spectral_resize(jnp.ones((8, 16, 13, 3)), (32, 32), axes=(1, 2)).shape
    (8, 32, 32, 3)
    """
    y: jax.Array = core.spectral_resize(as_array(x), sizes, axes=axes, norm=norm, method=method)
    return y
