"""Wrong implementations, each with one mistake that people make: the suite has to reject them all.

Each is a function that returns keyword arguments of `check_implementation`, on NumPy.
"""

from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

import numpy as np

import spectral_stride as ss
from spectral_stride import axis, dft, mask, operator
from spectral_stride.testing.known import planned

CORE = {
    "asarray": np.asarray,
    "forward": ss.diffstride,
    "vjp": ss.vjp,
    "jvp": ss.jvp,
    "resize": ss.spectral_resize,
}


def with_pullback(change):
    """The core, with ``change(dx, ds, x, strides, plan)`` in place of both gradients."""

    def vjp(x, strides, **options):
        y, pullback = ss.vjp(x, strides, **options)
        plan = planned(x, strides, options)
        return y, lambda g: change(*pullback(g), x, strides, plan)

    return CORE | {"vjp": vjp}


def patched(name, *modules, by):
    """The core, with a function of it replaced in ``modules`` while it runs."""

    def replaced(function):
        def run(*arguments, **options):
            with ExitStack() as stack:
                for module in modules:
                    stack.enter_context(patch.object(module, name, by))
                return function(*arguments, **options)

        return run

    def vjp(x, strides, **options):
        y, pullback = replaced(ss.vjp)(x, strides, **options)
        return y, replaced(pullback)

    return CORE | {"forward": replaced(ss.diffstride), "vjp": vjp, "jvp": replaced(ss.jvp)}


def wrong_corner_subgradient():
    """The left derivative on corners: u_k = 0 counts and u_k = 1 does not."""

    def vjp(x, strides, **options):
        plan = planned(x, strides, options)
        y, _ = ss.vjp(x, strides, plan=plan)
        left = np.nextafter(strides, 0, dtype=strides.dtype)
        _, pullback = ss.vjp(x, left, plan=plan)
        dx = ss.vjp(x, strides, plan=plan)[1]
        return y, lambda g: (dx(g)[0], pullback(g)[1])

    return CORE | {"vjp": vjp}


def mask_off_by_one_bin():
    """A ramp that lies one bin too high."""
    span = mask.ramp_span

    def shifted(*arguments):
        foot, edge, width = span(*arguments)
        return foot + 1, edge + 1, width

    return patched("ramp_span", mask, by=shifted)


def missing_factor_at_the_nyquist_bin():
    """Bin n/2 counted twice, like the bins that have a conjugate twin."""

    def weights(bins, out_size, dtype):
        return 2 - (bins == 0).astype(dtype)

    return patched("bin_weights", axis, operator, by=weights)


def published_vertical_asymmetry():
    """Along the first axis of two, negative frequencies get the mask of the next bin."""

    def forward(x, strides, **options):
        y = ss.diffstride(x, strides, **options)
        plan = planned(x, strides, options)
        if len(plan.axes) < 2 or plan.methods[0] == "fft":
            return y
        axis, n = plan.axes[0], plan.out_sizes[0]
        spectrum = np.fft.fft(y, axis=axis)
        negative = np.arange(n) > n // 2
        shape = [1] * x.ndim
        shape[axis] = n
        levels = ss.soft_mask(plan.sizes[0], strides[0], smoothness=plan.smoothness, ramp=plan.ramp)
        k = np.minimum(np.arange(n), n - np.arange(n))
        ratio = np.where(
            negative,
            levels[np.maximum(k - 1, 0)] / np.maximum(levels[np.minimum(k, len(levels) - 1)], 0.1),
            1.0,
        )
        return np.fft.ifft(spectrum * ratio.reshape(shape), axis=axis).real.astype(x.dtype)

    return CORE | {"forward": forward}


def dropped_conjugate():
    """The input gradient by the transform of g instead of its conjugate: reversed in time."""

    def reverse(dx, ds, x, strides, plan):
        return np.roll(np.flip(dx, plan.axes), 1, plan.axes), ds

    return with_pullback(reverse)


def norm_swapped():
    """The gain of "backward" for "forward", and the other way round."""
    swap = {"forward": "backward", "backward": "forward", "ortho": "ortho"}
    gain = dft.gain

    def swapped(norm, size, out_size):
        return gain(swap[norm], size, out_size)

    return patched("gain", axis, operator, by=swapped)


def stride_gradient_of_the_other_axis():
    """The stride gradients in reversed order."""
    return with_pullback(lambda dx, ds, x, strides, plan: (dx, ds[::-1]))


def float32_where_float64_was_asked():
    """Everything computed in single precision, and converted at the end."""

    def forward(x, strides, **options):
        options = {"plan": planned(x, strides, options)}
        return ss.diffstride(x.astype("float32"), strides, **options).astype(x.dtype)

    return CORE | {"forward": forward}


def write_to_the_input():
    """The output is right, and the input is gone."""

    def forward(x, strides, **options):
        y = np.array(ss.diffstride(x, strides, **options))
        x *= 0.5
        return y

    return CORE | {"forward": forward}


def gradient_dead_at_a_bound():
    """No stride gradient where the stride is clamped, as a clip has it."""

    def dead(dx, ds, x, strides, plan):
        bounds = [
            ss.stride_bounds(size, smoothness=plan.smoothness, ramp=plan.ramp)
            for size in plan.sizes
        ]
        alive = [low < stride < high for stride, (low, high) in zip(strides, bounds, strict=True)]
        return dx, np.where(alive, ds, 0).astype(ds.dtype)

    return with_pullback(dead)


def tangent_without_the_strides():
    """A forward mode that knows the input alone."""

    def jvp(x, strides, dx, dstrides, **options):
        return ss.jvp(x, strides, dx, None, **options)

    return CORE | {"jvp": jvp}


def a_size_that_forgets_the_clamp():
    """NaN where the stride is out of its bounds."""

    def forward(x, strides, **options):
        y = ss.diffstride(x, strides, **options)
        return np.where(np.min(strides) < 1, np.nan, y).astype(x.dtype)

    return CORE | {"forward": forward}


def memory_read_in_its_own_order():
    """The entries as they lie in memory, which is not always the order of the axes."""

    def forward(x, strides, **options):
        return ss.diffstride(x.ravel(order="K").reshape(x.shape), strides, **options)

    return CORE | {"forward": forward}


def gaps_in_memory_forgotten():
    """Axes in whatever order they lie in memory, but as if each entry followed the one before."""

    def forward(x, strides, **options):
        order = np.argsort(x.strides)[::-1]
        shape = [x.shape[axis] for axis in order]
        dense = np.lib.stride_tricks.as_strided(x, shape, np.empty(shape, x.dtype).strides)
        return ss.diffstride(dense.transpose(np.argsort(order)), strides, **options)

    return CORE | {"forward": forward}


def write_to_a_broadcast_input():
    """In place where the memory is shared, and in a copy elsewhere."""

    def forward(x, strides, **options):
        y = np.array(ss.diffstride(x, strides, **options))
        if 0 in x.strides:
            x *= 0.5
        return y

    return CORE | {"forward": forward}


def gradient_summed_where_memory_is_shared():
    """The gradient of the memory, in place of that of the entries which share it."""

    def shared(dx, ds, x, strides, plan):
        axes = tuple(axis for axis, step in enumerate(x.strides) if step == 0)
        return np.broadcast_to(dx.sum(axes, keepdims=True), dx.shape), ds

    return with_pullback(shared)


def stride_gradient_slightly_wrong_on_long_axes():
    """1 % too much above 64 samples, as a sum in blocks may have it."""

    def change(dx, ds, x, strides, plan):
        return dx, (ds * np.where(np.array(plan.sizes) > 64, 1.01, 1)).astype(ds.dtype)

    return with_pullback(change)


def output_slightly_wrong_on_very_long_axes():
    """1 % too much above 256 samples."""

    def forward(x, strides, **options):
        y = ss.diffstride(x, strides, **options)
        return y * y.dtype.type(1.01 if max(planned(x, strides, options).sizes) > 256 else 1)

    return CORE | {"forward": forward}


def softened(x, strides, options):
    """The plan of a call, without its hard crop."""
    return replace(planned(x, strides, options), hard=False)


def with_soft(use_dx, use_ds):
    """The core, with one of the soft map's gradients where a hard crop was asked for."""

    def vjp(x, strides, **options):
        y, pullback = ss.vjp(x, strides, **options)
        _, soft = ss.vjp(x, strides, plan=softened(x, strides, options))

        def pulled(g):
            both = pullback(g), soft(g)
            return both[use_dx][0], both[use_ds][1]

        return y, pulled

    return CORE | {"vjp": vjp}


def soft_where_a_hard_crop_was_asked():
    """The network sees the ramp."""

    def forward(x, strides, **options):
        return ss.diffstride(x, strides, plan=softened(x, strides, options))

    return CORE | {"forward": forward}


def hard_crop_with_the_input_gradient_of_the_soft_map():
    """A pullback that is not the adjoint of what was computed."""
    return with_soft(True, False)


def hard_crop_whose_other_axes_are_soft_for_the_strides():
    """The stride gradient of the soft map as a whole."""
    return with_soft(False, True)


def hard_crop_without_a_stride_gradient():
    """That of spectral pooling, from which no stride learns."""

    def dead(dx, ds, x, strides, plan):
        return dx, ds * (not plan.hard)

    return with_pullback(dead)


def zeros_behind_the_spectrum_and_the_last_bin_doubled():
    """What two transforms of a library give as they are: bin N/2 gets a twin that it never had."""

    def resize(x, sizes, *, axes, norm, method):
        y = ss.spectral_resize(x, sizes, axes=axes, norm=norm, method=method)
        if len(sizes) > 1 or norm != "forward":
            return y
        spectrum = np.fft.rfft(x, axis=axes[0], norm="forward")
        return np.fft.irfft(spectrum, sizes[0], axis=axes[0], norm="forward").astype(x.dtype)

    return CORE | {"resize": resize}


def enlarged_without_the_gain():
    """A constant keeps its value under every norm."""

    def resize(x, sizes, *, axes, norm, method):
        return ss.spectral_resize(x, sizes, axes=axes, method=method)

    return CORE | {"resize": resize}


MUTANTS = [
    wrong_corner_subgradient,
    mask_off_by_one_bin,
    missing_factor_at_the_nyquist_bin,
    published_vertical_asymmetry,
    dropped_conjugate,
    norm_swapped,
    stride_gradient_of_the_other_axis,
    float32_where_float64_was_asked,
    write_to_the_input,
    gradient_dead_at_a_bound,
    tangent_without_the_strides,
    a_size_that_forgets_the_clamp,
    memory_read_in_its_own_order,
    gaps_in_memory_forgotten,
    write_to_a_broadcast_input,
    gradient_summed_where_memory_is_shared,
    stride_gradient_slightly_wrong_on_long_axes,
    output_slightly_wrong_on_very_long_axes,
    soft_where_a_hard_crop_was_asked,
    hard_crop_with_the_input_gradient_of_the_soft_map,
    hard_crop_whose_other_axes_are_soft_for_the_strides,
    hard_crop_without_a_stride_gradient,
    zeros_behind_the_spectrum_and_the_last_bin_doubled,
    enlarged_without_the_gain,
]
