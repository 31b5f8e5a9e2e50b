"""The layer in JAX, jitted, beside the plain FFT form under JAX's own autodiff."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed.cases import Case
from benchmarks.speed.layer import RAMPS, SHAPES
from benchmarks.speed.memory import jax_peak
from benchmarks.speed.peers import BY_FFT, FIXED, OURS, Peer
from benchmarks.speed.rows import Row, Setting, measure
from spectral_stride.jax import diffstride
from spectral_stride.plan import Plan

QUESTION = "In JAX, jitted, what does the layer cost beside the plain FFT form?"
TINY = ((1, 2, 15),)
PLAIN = "plain FFT"


def soft_mask(stride: jax.Array, size: int, plan: Plan) -> jax.Array:
    """The mask on the bins 0 .. N//2, left to autodiff; for strides inside their bounds."""
    free = size / (2 * stride)
    c = jnp.where(free < 1.0, 1.0, jnp.where(free > size / 2, size / 2, free))
    width, edge = jnp.full_like(c, plan.smoothness), c + plan.smoothness + 1
    if plan.ramp == "inside":
        half = jnp.where(c > 2, c / 2, 1.0)
        width, edge = jnp.where(half <= plan.smoothness, half, plan.smoothness), c + 0.5
    u = (edge - jnp.arange(size // 2 + 1)) / width
    # Not clip: on a corner JAX would take half of the slope.
    return jnp.where(u > 1, 1.0, jnp.where(u > 0, u, 0.0))


def cropped(spectrum: jax.Array, axis: int, out_size: int) -> jax.Array:
    """Keep the bins of both signs that fit ``out_size`` samples."""
    size, half = spectrum.shape[axis], out_size // 2
    if size == out_size:
        return spectrum

    def part(start: int, stop: int) -> jax.Array:
        return jax.lax.slice_in_dim(spectrum, start, stop, axis=axis)

    high = part(size - (out_size - half - 1), size)
    if out_size % 2 == 0:
        # Both signs of the last bin meet in one.
        last = (part(half, half + 1) + part(size - half, size - half + 1)) / 2
        return jnp.concatenate([part(0, half), last, high], axis)
    return jnp.concatenate([part(0, half + 1), high], axis)


def plain(x: jax.Array, strides: jax.Array, plan: Plan) -> jax.Array:
    """Transform all axes, mask, crop, transform back."""
    spectrum = jnp.fft.rfftn(x, axes=plan.axes, norm="forward")
    for position, axis in enumerate(plan.axes):
        size = plan.sizes[position]
        mask = soft_mask(strides[position], size, plan)
        if axis != plan.axes[-1]:
            mask = jnp.concatenate([mask, mask[1 : (size + 1) // 2][::-1]])
        spectrum = spectrum * jnp.expand_dims(mask, range(1, x.ndim - axis))
    for axis, out_size in zip(plan.axes[:-1], plan.out_sizes[:-1], strict=True):
        spectrum = cropped(spectrum, axis, out_size)
    spectrum = spectrum[..., : plan.out_sizes[-1] // 2 + 1]
    return jnp.fft.irfftn(spectrum, s=plan.out_sizes, axes=plan.axes, norm="forward")


def jax_peer(
    name: str, forward: Callable[..., jax.Array], case: Case, *, learns: bool = True
) -> Peer:
    """A jitted forward and backward pass."""
    x, strides = jnp.asarray(case.draw(case.shape)), jnp.asarray(case.strides)
    g = jnp.asarray(case.draw(case.plan().out_shape))

    def both(x: jax.Array, strides: jax.Array, g: jax.Array) -> tuple[jax.Array, ...]:
        if learns:
            y, pullback = jax.vjp(forward, x, strides)
        else:
            y, pullback = jax.vjp(lambda x: forward(x, strides), x)
        return y, *pullback(g)

    compiled = jax.jit(both).lower(x, strides, g).compile()

    def step() -> Sequence[Any]:
        return jax.block_until_ready(compiled(x, strides, g))  # type: ignore[no-any-return, no-untyped-call]

    of = ("y", "dx", "dstrides") if learns else ("y", "dx")
    peak = partial(jax_peak, compiled)
    return Peer(name, "jax", step, peak, np.asarray, lambda: case.exact[: len(of)], of)


def run(setting: Setting) -> list[Row]:
    """Measure every shape of the layer's benchmark with both ramps."""
    rows = []
    kind = {"cpu": "cpu", "cuda": "gpu"}[setting.device]
    with jax.default_device(jax.devices(kind)[0]):
        for shape, ramp in product(TINY if setting.tiny else SHAPES, RAMPS):
            case = Case(shape, ramp)
            plan, by_fft = case.plan(), case.plan("fft")
            peers = [
                jax_peer(OURS, partial(diffstride, plan=plan), case),
                jax_peer(FIXED, partial(diffstride, plan=plan), case, learns=False),
                jax_peer(BY_FFT, partial(diffstride, plan=by_fft), case),
                jax_peer(PLAIN, partial(plain, plan=plan), case),
            ]
            rows += measure(peers, case, OURS, setting)
    return rows
