"""What a network's strides cost: the paper's complexity penalty."""

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from spectral_stride import checks
from spectral_stride.arrays import (
    Array,
    DType,
    Namespace,
    array_namespace,
    cast,
    check_every_entry,
    is_array,
    is_numpy,
)


@checks.known_options
def complexity(strides_per_layer: Iterable[Any]) -> Any:
    """Return the paper's cost of a network: the sum of its layers' relative feature-map sizes.

    J = sum_l prod_{i <= l} 1/(S_1^i S_2^i ...), over layers l in the order in which they are
    applied.

    Parameters
    ----------
    strides_per_layer : iterable of sequences of float, or of arrays of shape (axes,)
        The strides of each layer, first layer first, in input samples per output sample.

    Returns
    -------
    float, or array of shape ()
        An array where the strides are arrays, differentiable by whatever differentiates their
        library. Of several floating-point dtypes it has the widest; integers count as numbers do.

    Raises
    ------
    ValueError, TypeError
        If there is no layer, a layer's strides are no finite positive numbers, or the cost is
        beyond what a float holds. The values of arrays are not read, and a cost beyond their dtype
        is infinite. Arrays that leave entries out, masked or sparse, are refused.

    Notes
    -----
    Add ``lam * complexity(...)`` to a loss to pay for resolution; its gradient raises early strides
    first.

    Source: Riad et al., "Learning strides in convolutional neural networks", ICLR 2022.

    Examples
    --------
    >>> from spectral_stride import complexity
    >>> complexity([(2.0, 2.0), (2.0, 2.0)])
    0.3125
    """
    remedy = "pass the strides of every layer, for example [(2.0, 2.0)]"
    layers = checks.entries(strides_per_layer)
    if layers is None:
        got, allowed = checks.shown(strides_per_layer), "an iterable of each layer's strides"
        checks.refuse(TypeError, "strides_per_layer", got, allowed, remedy)
    if not layers:
        checks.refuse(ValueError, "strides_per_layer", "no layer", "1 layer or more", remedy)
    known, arrays = _of_one_library(layers, remedy)
    xp: Namespace = array_namespace(arrays[0]) if arrays else None
    relative_size: Any = 1.0
    total: Any = 0.0
    # NumPy warns of an infinite cost, where others just return it and have no such context.
    silence = getattr(xp, "errstate", None)
    with silence(all="ignore") if silence else nullcontext():
        for strides in known:
            if is_array(strides):
                relative_size = relative_size / xp.prod(cast(strides, _dtype(xp, arrays)))
            else:
                values = checks.numbers("strides_per_layer", strides, remedy=remedy)
                checks.strides(values)
                product = math.prod(values)
                relative_size = relative_size / product if product else math.inf
            total = total + relative_size
            if not is_array(total) and not math.isfinite(total):
                allowed = "strides that leave the network a size below 1e308"
                got = checks.shown(strides)
                checks.refuse(ValueError, "strides_per_layer", got, allowed, remedy)
    return total


def _of_one_library(layers: Sequence[Any], remedy: str) -> tuple[Sequence[Any], list[Array]]:
    """Return all layers, and those that are arrays, after checks.

    Beside arrays of another library those of NumPy become numbers.
    """
    arrays = [strides for strides in layers if is_array(strides)]
    for strides in arrays:
        check_every_entry("strides_per_layer", strides)
        checks.stride_array("strides_per_layer", tuple(strides.shape), strides.dtype, remedy)
    others = [strides for strides in arrays if not is_numpy(strides)]
    if not others:
        return layers, arrays
    for strides in others:
        if array_namespace(strides) is not array_namespace(others[0]):
            got = f"{type(others[0]).__name__} and {type(strides).__name__}"
            allowed = "arrays of one library, beside numbers and arrays of NumPy"
            checks.refuse(TypeError, "strides_per_layer", got, allowed, "convert them first")
    return [one.tolist() if is_numpy(one) else one for one in layers], others


def _dtype(xp: Namespace, arrays: Sequence[Array]) -> DType:
    """Return the dtype of a cost: nothing is left to promotion, which JAX can be told to refuse."""
    kinds = [array.dtype for array in arrays if xp.isdtype(array.dtype, "real floating")]
    if not kinds:
        return xp.asarray(1.0).dtype
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    return xp.float64 if xp.float64 in kinds else xp.float32
