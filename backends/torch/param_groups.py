"""What an optimizer has to know about strides: their own learning rate, and no weight decay."""

from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from spectral_stride import checks
from spectral_stride.torch.layers.diffstride import DiffStride


@checks.known_options
def param_groups(
    model: nn.Module, lr: float, weight_decay: float, stride_lr: float | None = None
) -> list[dict[str, Any]]:
    """Split a model's parameters into weights and strides, for any PyTorch optimizer.

    Weight decay would silently pull every stride to 1: strides get none.

    Parameters
    ----------
    model : Module
        Holding any number of `DiffStride` layers, parametrized or not.
    lr, weight_decay : float
        For everything but strides.
    stride_lr : float, optional
        Learning rate of the strides, in input samples per output sample and step; ``lr`` by
        default.

    Returns
    -------
    list of dict
        The group of weights, then that of strides; a group without parameters is left out.
        Parameters that do not require gradients belong to neither.

    Raises
    ------
    TypeError
        For anything but a module, such as its parameters.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import DiffStride, param_groups
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), DiffStride(2.0))
    >>> groups = param_groups(model, lr=0.1, weight_decay=5e-4, stride_lr=0.01)
    >>> [(len(group["params"]), group["lr"], group["weight_decay"]) for group in groups]
    [(2, 0.1, 0.0005), (1, 0.01, 0.0)]
    """
    if not isinstance(model, nn.Module):
        remedy = "write param_groups(model, ...), not model.parameters()"
        checks.refuse(TypeError, "model", type(model).__name__, "a torch.nn.Module", remedy)
    layers = [layer for layer in model.modules() if isinstance(layer, DiffStride)]
    strides = {id(one) for layer in layers for one in _stride_parameters(layer)}
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {
            "params": [parameter for parameter in learned if id(parameter) not in strides],
            "lr": lr,
            "weight_decay": weight_decay,
        },
        {
            "params": [parameter for parameter in learned if id(parameter) in strides],
            "lr": lr if stride_lr is None else stride_lr,
            "weight_decay": 0.0,
        },
    ]
    return [group for group in groups if group["params"]]


def _stride_parameters(layer: DiffStride) -> list[nn.Parameter]:
    """Return a layer's strides, or the parameters that a parametrization makes them of."""
    if not parametrize.is_parametrized(layer, "strides"):
        return [layer.strides]
    assert isinstance(layer.parametrizations, nn.ModuleDict)
    return list(layer.parametrizations["strides"].parameters())
