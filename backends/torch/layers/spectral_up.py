"""The layer that goes back to the sizes that another one has shrunk."""

from collections.abc import Sequence

import torch
from torch import nn

from spectral_stride import checks
from spectral_stride.layer_settings import HasUpSettings, UpSettings
from spectral_stride.torch.functional import check_tensor, spectral_resize
from spectral_stride.torch.layers.seen_sizes import SeenSizes
from spectral_stride.torch.layers.symbolic import as_node, is_symbol


class SpectralUp(HasUpSettings, nn.Module):
    """Upsampling to exactly the sizes that another layer has shrunk: zeros beyond the spectrum.

    y = irfft(X, n) along each axis, with the sizes n of ``like``: see
    `spectral_stride.spectral_resize`.

    Parameters
    ----------
    norm : {"forward", "ortho", "backward"}, optional
        As in `torch.fft`; by default a constant keeps its value.
    axes : sequence of int, optional
        Of a tensor ``like``, the axes whose sizes are taken; the last two by default. A layer has
        its own.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Attributes
    ----------
    settings : UpSettings
        What the layer was constructed with. Each is an attribute of its own too, and may be set: it
        acts from the next forward pass on.

    Raises
    ------
    ValueError, TypeError
        For settings out of range, for a ``like`` that has not run or is neither a layer nor a
        tensor, and for inputs that `spectral_stride.torch.spectral_resize` refuses. Every message
        begins with "SpectralUp: ".

    See Also
    --------
    DiffStride, DiffStrideConv2d, SpectralPool : what ``like`` may be.

    Notes
    -----
    ``like=down`` takes the sizes that ``down`` saw in its last forward pass, of the input of its
    convolution where it has one. So a decoder follows an encoder whatever its strides have become,
    for odd sizes as well as for even ones. The sizes need not be larger: an axis may shrink, too.

    A `DiffStride` remembers one forward pass. Where it runs more than once before the way back, or
    in several threads, pass the tensor that it took: ``like=x``.

    `torch.compile` and `torch.export` take it as it is. Only where ``like`` is inside of a gradient
    checkpoint that is compiled, and the way back behind that whole graph, is the size not known:
    pass the tensor there.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import DiffStride, SpectralUp
    >>> down, up = DiffStride(2.4), SpectralUp()
    >>> y = down(torch.ones(8, 3, 33, 30))
    >>> y.shape
    torch.Size([8, 3, 14, 13])
    >>> up(y, like=down).shape
    torch.Size([8, 3, 33, 30])
    >>> up(y, like=torch.ones(8, 16, 20, 21)).shape
    torch.Size([8, 3, 20, 21])
    """

    @checks.known_options
    def __init__(
        self, norm: str = "forward", *, axes: Sequence[int] | None = None, method: str = "auto"
    ) -> None:
        super().__init__()
        with checks.named("SpectralUp"):
            self.settings = UpSettings(norm, axes=axes, method=method)

    def forward(self, y: torch.Tensor, like: nn.Module | torch.Tensor) -> torch.Tensor:
        """Resample ``y`` to the sizes that ``like`` saw, or to those of a tensor."""
        if is_symbol(y):
            return as_node(self, y, like)
        with checks.named("SpectralUp"):
            return self.resized(y, *self._wanted(y, like))

    def resized(self, y: torch.Tensor, axes: tuple[int, ...], sizes: Sequence[int]) -> torch.Tensor:
        """Resample ``y`` to sizes that are known."""
        settings = self.settings
        return spectral_resize(y, sizes, axes=axes, norm=settings.norm, method=settings.method)

    def _wanted(
        self, y: torch.Tensor, like: nn.Module | torch.Tensor
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Find the axes to resample and the sizes to go to."""
        check_tensor(y)
        seen = getattr(like, "_seen", None)
        if isinstance(seen, SeenSizes):
            return self.settings.like_layer(y.ndim, type(like).__name__, *seen.last())
        if isinstance(like, torch.Tensor):
            return self.settings.like_array(y.shape, like.shape)
        allowed = "a DiffStride, DiffStrideConv2d or SpectralPool, or a tensor"
        remedy = "write up(y, like=down)"
        checks.refuse(TypeError, "like", type(like).__name__, allowed, remedy)

    def extra_repr(self) -> str:
        """Every setting."""
        settings = self.settings
        return f"norm={settings.norm!r}, axes={settings.axes}, method={settings.method!r}"
