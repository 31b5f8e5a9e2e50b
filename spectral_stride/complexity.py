"""What a network's strides cost: the paper's complexity penalty."""

import math
from collections.abc import Iterable
from typing import Any

from array_api_compat import array_namespace, is_array_api_obj

from spectral_stride import checks


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
        library.

    Raises
    ------
    ValueError, TypeError
        If there is no layer, a layer's strides are no finite positive numbers, or the cost is
        beyond what a float holds. The values of arrays are not read.

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
    relative_size: Any = 1.0
    total: Any = 0.0
    remedy = "pass the strides of every layer, for example [(2.0, 2.0)]"
    layers = checks.entries(strides_per_layer)
    if layers is None:
        got, allowed = checks.shown(strides_per_layer), "an iterable of each layer's strides"
        checks.refuse(TypeError, "strides_per_layer", got, allowed, remedy)
    if not layers:
        checks.refuse(ValueError, "strides_per_layer", "no layer", "1 layer or more", remedy)
    for strides in layers:
        if is_array_api_obj(strides):
            checks.stride_array(
                "strides_per_layer", tuple(strides.shape), strides.dtype, remedy=remedy
            )
            relative_size = relative_size / array_namespace(strides).prod(strides)
        else:
            values = checks.numbers("strides_per_layer", strides, remedy=remedy)
            checks.strides(values)
            product = math.prod(values)
            relative_size = relative_size / product if product else math.inf
        total = total + relative_size
        if not is_array_api_obj(total) and not math.isfinite(total):
            allowed = "strides that leave the network a size below 1e308"
            checks.refuse(ValueError, "strides_per_layer", checks.shown(strides), allowed, remedy)
    return total
