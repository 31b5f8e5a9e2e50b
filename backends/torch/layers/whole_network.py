"""What is done to all layers of a network: sizes held and let go, strides brought back."""

from collections.abc import Iterator

from torch import nn

from spectral_stride import checks
from spectral_stride.torch.layers.diffstride import DiffStride


def _layers(module: nn.Module) -> Iterator[DiffStride]:
    """Find every layer with learnable strides in a network."""
    if not isinstance(module, nn.Module):
        allowed = "a torch.nn.Module, compiled, data-parallel or plain"
        checks.refuse(TypeError, "module", type(module).__name__, allowed, "pass the network")
    return (layer for layer in module.modules() if isinstance(layer, DiffStride))


@checks.known_options
def hold_sizes(module: nn.Module) -> bool:
    """Hold the output size of every `DiffStride` in a network, until this is called again.

    Each layer reads its strides once, now: n = n(N, s), the rule of `make_plan`, with s as it is.
    From here on a forward pass reads nothing on the host, and `torch.compile` builds one graph that
    serves while strides move. Call it again, at an epoch's end for example, to plan anew.

    Parameters
    ----------
    module : Module
        Holding any number of `DiffStride` layers, none too; the network itself, what
        `torch.compile` made of it, or its `DistributedDataParallel`.

    Returns
    -------
    bool
        Whether, for an input size that a layer has met while sizes were held, the output size is
        another now. Only then does a compiled network compile again.

    Raises
    ------
    TypeError
        For anything but a module, and for strides that cannot be read, as in a batch of `vmap`.
    ValueError
        For strides that training has made infinite or NaN. Nothing has changed then.

    See Also
    --------
    release_sizes : back to sizes that follow the strides.

    Notes
    -----
    While sizes are held the strides still act and learn: the mask moves inside the held canvas. A
    stride that becomes so small that its bins outgrow the canvas is cut at the canvas' Nyquist bin
    until the next call. A parameter outside its bounds is used clamped, with a projected gradient,
    and brought back by the next call, as by `project_strides`.

    In a compiled graph each call of a layer is one node, ``spectral_stride::resample``, which
    computes as eager code does.

    ``load_state_dict`` does not move held sizes: call this after it. Changing one of a layer's
    settings, such as ``layer.lower = 2``, does so at once.

    Every change of sizes costs one compilation, and PyTorch stops after eight for one function:
    where more are to be expected, write ``torch.compile(net, recompile_limit=64)``.
    ``multiple_of`` makes changes rare.

    A layer on the meta device holds the sizes of the strides that it was constructed with.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import DiffStride, hold_sizes
    >>> layer = DiffStride(2.0)
    >>> hold_sizes(layer)
    False
    >>> x = torch.ones(8, 3, 32, 32)
    >>> with torch.no_grad():
    ...     _ = layer.strides.fill_(2.5)  # a step of training
    >>> layer(x).shape
    torch.Size([8, 3, 16, 16])
    >>> hold_sizes(layer)  # an epoch's end
    True
    >>> layer(x).shape
    torch.Size([8, 3, 13, 13])
    """
    layers = list(_layers(module))
    # All are read before one is changed: a broken stride leaves the network as it was.
    present = [layer.present_strides() for layer in layers]
    changed = [layer.hold_at(known) for layer, known in zip(layers, present, strict=True)]
    return any(changed)


@checks.known_options
def project_strides(module: nn.Module) -> None:
    """Bring every `DiffStride` of a network to the nearest feasible strides.

    s = min(max(s, lower), upper), and no larger than any input so far could use: N/2 for its size
    N. Call it after ``optimizer.step()`` where steps are so large that strides are thrown far
    beyond their bounds; where they are not, gradients alone keep strides near them.

    Parameters
    ----------
    module : Module
        As in `hold_sizes`.

    Returns
    -------
    None

    Raises
    ------
    TypeError
        For anything but a module.

    Notes
    -----
    It writes into the parameters, and reads none of them on the host. Where the processes of a
    data-parallel run see inputs of different sizes, set ``upper``: it makes the bound the same in
    all of them. Parametrized strides are left as they are.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import DiffStride, project_strides
    >>> layer = DiffStride(2.0, upper=4.0)
    >>> with torch.no_grad():
    ...     _ = layer.strides.copy_(torch.tensor([-3.0, 7.0]))  # a step that was too large
    >>> project_strides(layer)
    >>> layer.strides.tolist()
    [1.0, 4.0]
    """
    for layer in _layers(module):
        layer.project()


@checks.known_options
def release_sizes(module: nn.Module) -> None:
    """Let the output sizes of every `DiffStride` in a network follow its strides again.

    n = n(N, s), the rule of `make_plan`, at every forward pass: the default, undoing `hold_sizes`.

    Parameters
    ----------
    module : Module
        As in `hold_sizes`.

    Returns
    -------
    None

    Raises
    ------
    TypeError
        For anything but a module.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import DiffStride, hold_sizes, release_sizes
    >>> layer = DiffStride(2.0)
    >>> _ = hold_sizes(layer)
    >>> release_sizes(layer)
    >>> with torch.no_grad():
    ...     _ = layer.strides.fill_(2.5)
    >>> layer(torch.ones(8, 3, 32, 32)).shape
    torch.Size([8, 3, 13, 13])
    """
    for layer in _layers(module):
        layer.release_sizes()
