"""Statistics of batch norms, estimated anew: a network whose maps were changed needs them."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from spectral_stride import checks
from spectral_stride.torch.adopt.places import Sample, check_not_empty, evaluating, run


@checks.known_options
def recalibrate(network: nn.Module, batches: Iterable[Sample]) -> int:
    """Estimate the statistics of every batch norm anew, as means over batches.

    mean = (1/B) sum_b mean_b and var = (1/B) sum_b var_b over B batches, each of which passes
    through layers that use its own statistics, as in training. Nothing else changes: no weight, no
    mode, and dropout stays off.

    Parameters
    ----------
    network : Module
        Changed in place.
    batches : iterable
        Inputs as the network takes them: a tensor, a tuple of arguments or a dict of named ones.
        Two thousand samples are enough; each batch should have as many as one in training.

    Returns
    -------
    int
        The number of batches.

    Raises
    ------
    ValueError
        If the network is frozen, there is no batch, an empty one, or one on which the network
        fails. The statistics are as they were then.
    TypeError
        If ``network`` is no module, or ``batches`` no iterable.

    Notes
    -----
    A converted network computes maps of other spectra than it was trained on. In one measurement,
    on CIFAR-10 (JPEG copy), a strided network of 51.4 % had 42.6 % after its conversion, and 49.6 %
    with new statistics from 2048 images, without any training.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from spectral_stride.torch import recalibrate
    >>> net = nn.Sequential(nn.BatchNorm1d(2), nn.ReLU())
    >>> recalibrate(net, [torch.tensor([[1.0, 4.0], [3.0, 8.0]])])
    1
    >>> net[0].running_mean
    tensor([2., 6.])
    """
    if not isinstance(network, nn.Module):
        allowed = "a torch.nn.Module"
        checks.refuse(TypeError, "network", type(network).__name__, allowed, "pass the network")
    if any(getattr(module, "is_frozen", False) for module in network.modules()):
        remedy = "recalibrate the network that it was frozen from, then freeze that again"
        checks.refuse(ValueError, "network", "one that is frozen", "one that can learn", remedy)
    try:
        if getattr(batches, "ndim", None) == 0:
            raise TypeError  # some have an iterator, which then fails
        some = iter(batches)
    except Exception:  # of an array without dimensions each library has an error of its own
        remedy = "pass a list of inputs, or a loader"
        checks.refuse(TypeError, "batches", type(batches).__name__, "an iterable of inputs", remedy)
    norms = [one for one in network.modules() if isinstance(one, _BatchNorm)]
    norms = [norm for norm in norms if norm.running_mean is not None]
    before: list[tuple[float | None, dict[str, Any]]] = [
        (norm.momentum, {name: one.clone() for name, one in norm.named_buffers()}) for norm in norms
    ]
    count, done = 0, False
    try:
        with evaluating(network):
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the mean of all batches
                norm.training = True
            for batch in some:
                check_not_empty(batch, "batches")
                _run(network, batch, count)
                count += 1
        done = count > 0
    finally:
        for norm, (momentum, buffers) in zip(norms, before, strict=True):
            norm.momentum = momentum
            for name, buffer in norm.named_buffers():
                if not done:
                    buffer.copy_(buffers[name])
    if not done:
        remedy = "pass a list of inputs, or a loader that was not used up"
        checks.refuse(ValueError, "batches", "none", "one batch or more", remedy)
    return count


def _run(network: nn.Module, batch: Sample, number: int) -> None:
    """Call a network on a batch, and say which one it fails on."""
    try:
        run(network, batch)
    except Exception as error:
        got = f"one, number {number}, on which the network fails ({checks.first_line(error)})"
        allowed = "tensors, tuples of arguments or dicts of named ones that it takes"
        remedy = "pass what the network is called on in training; [x] for one batch x"
        raise ValueError(f"batches: got {got}; allowed: {allowed}; instead: {remedy}") from error
