"""Sizes that follow learned strides, between the compiled steps of training."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from spectral_stride import checks
from spectral_stride.jax.layers import DiffStride
from spectral_stride.layer_settings import check_learned, largest_stride, roundest_stride
from spectral_stride.plan import host_numbers

Sizes = tuple[int, ...]


def replan(model: nnx.Module, *inputs: Any, **options: Any) -> bool:
    """Let the output sizes of every `DiffStride` in a model follow its present strides.

    Call it between training steps, outside of `nnx.jit`. Where the strides s of a layer give other
    sizes n(s) than its ``planned`` strides, these move, and a function under `nnx.jit` compiles
    again; where all sizes stay, so does ``planned``, and nothing compiles. Sizes that were there
    before come back with the same ``planned`` strides: in all there is one compilation for each
    distinct set of sizes.

    Parameters
    ----------
    model : nnx.Module
        With any number of `DiffStride` layers, nested or shared.
    *inputs
        Positional arguments of the model: arrays, or `jax.ShapeDtypeStruct`, of any shape that the
        model takes. Only shapes and dtypes matter.
    **options
        Keyword arguments of the model, passed on as they are.

    Returns
    -------
    bool
        Whether any output size changed.

    Raises
    ------
    TypeError
        If ``model`` is no `nnx.Module`, or its strides are traced.
    ValueError
        If a stride is NaN or infinite, or the model fails on the inputs. Nothing has changed then.

    Notes
    -----
    The model is run abstractly, as a copy in eval mode: nothing is computed, and neither batch
    statistics nor random counters change. This shows what sizes each layer meets, after the new
    sizes of the layers before it. A layer that meets several sizes changes if its output changes
    for any of them. A layer that the model does not call keeps its plan.

    The strides themselves (input samples per output sample) are brought back to ``lower`` and
    ``upper`` where an optimizer has thrown them out, and to the largest stride that any of the
    layer's inputs can use.

    A function made by `nnx.cached_partial` keeps the sizes that it was made with: make it again
    where `replan` returns True.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spectral_stride.jax import DiffStride, replan
    >>> x, layer = jnp.ones((8, 32, 32, 3)), DiffStride(2.0)
    >>> layer.strides[...] += 0.6  # what an optimizer does
    >>> layer(x).shape, replan(layer, x), layer(x).shape
    ((8, 16, 16, 3), True, (8, 13, 13, 3))
    >>> layer.strides[...] += 0.01
    >>> replan(layer, x)
    False
    """
    if not isinstance(model, nnx.Module):
        remedy = "write replan(model, x)"
        checks.refuse(TypeError, "model", type(model).__name__, "an nnx.Module", remedy)
    layers = _layers(model)
    present = [_present(layer) for layer in layers]
    met = _sizes_met(model, present, inputs, options)
    changed = [_follow(*each) for each in zip(layers, present, met, strict=True)]
    return any(changed)


def _layers(model: nnx.Module) -> list[DiffStride]:
    """Find every layer with learnable strides, in an order that a copy of the model has too."""
    return [module for _, module in nnx.iter_modules(model) if isinstance(module, DiffStride)]


@checks.named("DiffStride")
def _present(layer: DiffStride) -> tuple[float, ...]:
    """Return the entries of a layer's parameter, within the layer's own bounds."""
    if isinstance(layer.strides[...], jax.core.Tracer):
        checks.refuse(
            TypeError,
            "strides",
            "a traced parameter",
            "a model outside of nnx.jit, nnx.grad and other transforms",
            "call replan(model, x) between the steps of training",
        )
    entries = host_numbers("strides", layer.strides[...])
    check_learned(entries, "a smaller learning rate")
    return layer.settings.clip(entries)


def _sizes_met(
    model: nnx.Module, present: Sequence[tuple[float, ...]], inputs: Any, options: dict[str, Any]
) -> list[list[Sizes]]:
    """Return the input sizes of each layer's calls, when all are planned by their present strides.

    A copy of the model is run abstractly.
    """
    graph, state = nnx.split(model)
    met: list[list[Sizes]] = [[] for _ in present]

    def run(state: Any, inputs: Any) -> None:
        copy: Any = nnx.merge(graph, state)
        copy.eval()
        for layer, entries, calls in zip(_layers(copy), present, met, strict=True):
            layer.planned = layer.settings.per_axis(entries)
            layer.observer = calls.append
        copy(*inputs, **options)

    try:
        jax.eval_shape(run, state, inputs)
    except Exception as error:
        got = f"some on which the model fails ({checks.first_line(error)})"
        allowed = "arrays or jax.ShapeDtypeStruct that it takes"
        remedy = "pass what the model is called on, replan(model, x)"
        raise ValueError(f"inputs: got {got}; allowed: {allowed}; instead: {remedy}") from error
    return met


def _follow(layer: DiffStride, entries: tuple[float, ...], calls: list[Sizes]) -> bool:
    """Move the planned strides of one layer where a size changes, and bring its parameter back."""
    if not calls:
        _bring_back(layer, [layer.upper] * len(entries))
        return False
    met = list(zip(*calls, strict=True))
    most = [max(layer.lower, *map(largest_stride, sizes)) for sizes in met]
    strides = layer.settings.per_axis(entries)
    planned = tuple(
        _planned(layer, position, min(strides[position], most[position]), most[position], sizes)
        for position, sizes in enumerate(met)
    )
    changed = planned != layer.planned
    layer.planned = planned
    _bring_back(layer, [max(most)] if layer.shared else most)
    return changed


def _planned(layer: DiffStride, position: int, stride: float, most: float, sizes: Sizes) -> float:
    """Return a stride that maps an axis' sizes as ``stride`` does: the same for the same sizes."""

    def out_sizes(stride: float) -> list[int]:
        return [layer.settings.out_size(size, stride) for size in sizes]

    wanted = out_sizes(stride)
    for known in (layer.planned[position], layer.initial[position]):
        if out_sizes(known) == wanted:
            return known
    return roundest_stride(stride, most, lambda other: out_sizes(other) == wanted)


def _bring_back(layer: DiffStride, most: Sequence[float]) -> None:
    """Clamp a layer's parameter to its bounds, and to the largest strides that inputs can use."""
    strides = layer.strides[...]
    limits = jnp.minimum(layer.upper, jnp.asarray(most, dtype=strides.dtype))
    layer.strides[...] = jnp.clip(strides, layer.lower, limits)
