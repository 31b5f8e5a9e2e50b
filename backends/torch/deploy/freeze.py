"""Freezing: a copy of a network in which strides are constants, for what a sample shows of it."""

import copy
from typing import Any

import torch
from torch import nn

from spectral_stride import checks
from spectral_stride.torch.adopt.places import (
    Sample,
    check_not_empty,
    copied,
    evaluating,
    refusing_the_sample,
    run,
    watched,
)
from spectral_stride.torch.adopt.resampled import Resampled, resampled_no_more
from spectral_stride.torch.deploy.frozen import Frozen, close, stand_still, stand_still_as_place


@checks.known_options
def freeze(network: nn.Module, sample: Sample) -> nn.Module:
    """Make the strides of a network constants: the way to other runtimes.

    Each place becomes y = P_h x P_w^T with two constant matrices, or a convolution of such
    products, whichever is counted as the fastest for its size. All of it is plain tensor code
    without FFT: `torch.export`, ONNX, AOTInductor, quantization and half precision take it.

    Parameters
    ----------
    network : Module
        Holding any number of `DiffStride`, `DiffStrideConv2d`, `SpectralPool` and `SpectralUp`
        layers, and places of `convert`. It is not touched.
    sample : Tensor, tuple or dict
        What the network is called on: a tensor, a tuple of arguments, a dict of named ones. Its
        sizes are those that the frozen network takes, for any batch.

    Returns
    -------
    Module
        A copy in eval mode without gradients, whose outputs are those of ``network.eval()`` to
        rounding. Parameters keep their names, but the strides, which are no parameters any more;
        the matrices are buffers. What resamples is the same object in all places that know it. A
        hard place that `convert` made and whose strides are 1 is the operation alone again.

    Raises
    ------
    TypeError
        If ``network`` is no module, or has a layer whose class overrides ``forward``.
    ValueError
        If the network is frozen already, cannot be copied, or fails on the sample. From the frozen
        network for an input of another size, and for ``train()``, which change nothing.

    See Also
    --------
    convert : the way in, for a network that has strides.

    Notes
    -----
    The choice is made by counts, weighted as profiles of onnxruntime suggest, and not by a clock,
    so that freezing twice gives the same network. Fold a batch norm into its convolution before or
    leave it to the runtime: both work.

    A matrix has n N numbers for an axis of N samples. For axes of many thousand samples, where the
    layers take FFTs, that is much memory.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from spectral_stride.torch import DiffStride, freeze
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), DiffStride(2.4), nn.ReLU())
    >>> frozen = freeze(net, torch.ones(1, 3, 32, 32))
    >>> frozen(torch.ones(5, 3, 32, 32)).shape
    torch.Size([5, 8, 14, 14])
    >>> [name for name, _ in frozen.named_parameters()]
    ['0.weight', '0.bias']
    """
    _check(network)
    frozen = copied(network)
    check_not_empty(sample)
    names = {module: name for name, module in frozen.named_modules()}
    for module, name in names.items():
        stand_still(module, name)
    extended = set()
    places: dict[Any, list[tuple[int, ...]]] = {
        module: [] for module in names if isinstance(module, Resampled)
    }

    def note(place: Any, arguments: tuple[Any, ...], _: Any) -> None:
        operation, (x, *_) = place._operation, arguments
        places[place].append(tuple([x.shape[axis] for axis in operation.axes]))
        if operation.extended(x) is not x:
            extended.add(place)

    with (
        refusing_the_sample(),
        evaluating(frozen),
        watched(list(places), note),
        torch.random.fork_rng([]),
    ):
        run(frozen, copy.deepcopy(sample))
    # What goes back behind a place asks it for sizes.
    undone = {one for module in frozen.modules() for one in getattr(module, "places_undone", ())}
    for place, met in places.items():
        layer: Any = place.shared_resampling
        is_its_operation = layer.live[0].hard and set(layer.strides) == {1.0}
        if is_its_operation and place not in undone and place not in extended:
            resampled_no_more(place)
        else:
            stand_still_as_place(place, names[place], dict.fromkeys(met))
    close(frozen)
    return frozen


def _check(network: Any) -> None:
    """Refuse what is no network, or is frozen already."""
    if not isinstance(network, nn.Module):
        allowed = "a torch.nn.Module"
        checks.refuse(TypeError, "network", type(network).__name__, allowed, "pass the network")
    if any(isinstance(module, Frozen) for module in network.modules()):
        remedy = "freeze the network that it was frozen from"
        checks.refuse(ValueError, "network", "one that is frozen", "one that is not", remedy)
