"""A layer whose stride is a fixed number, and need not be a whole one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from spectral_stride import checks
from spectral_stride.functional import pool_plan
from spectral_stride.layer_settings import HasPoolSettings, PoolSettings, popped
from spectral_stride.plan import Plan
from spectral_stride.torch.dispatch import crop
from spectral_stride.torch.functional import check_tensor
from spectral_stride.torch.layers.conv_order import (
    Convolution,
    check_convolution,
    convolved_shape,
    is_plain,
    resampled_convolution,
)
from spectral_stride.torch.layers.seen_sizes import SeenSizes
from spectral_stride.torch.layers.symbolic import as_node, is_symbol


class SpectralPool(HasPoolSettings, nn.Module):
    """Downsampling by a hard crop of the spectrum, to sizes that are fixed or follow fixed strides.

    y = irfft(X[0 .. n//2], n) along each axis: see `spectral_stride.spectral_pool`.

    Parameters
    ----------
    strides : float or sequence of float, optional
        Strides of at least 1, in input samples per output sample: n = ceil(N/s), as of a strided
        convolution. One per axis, or one number for ``ndim`` equal ones.
    out_sizes : sequence of int, optional
        Output sizes, in place of strides.
    norm : {"forward", "ortho", "backward"}, optional
        As in `torch.fft`; by default a constant keeps its value.
    ndim : int, optional
        Number of axes where ``strides`` is a single number; 2 by default.
    axes : sequence of int, optional
        Axes to resample. The last ones by default (channels first); (1, 2) for images with channels
        last.
    method : {"auto", "matmul", "fft"}, optional
        How an axis is computed.

    Attributes
    ----------
    settings : PoolSettings
        What the layer was constructed with. Each is an attribute of its own too, and may be set: it
        acts from the next forward pass on, and a compiled network compiles again.

    Raises
    ------
    ValueError, TypeError
        For arguments and settings out of range, for both or neither of ``strides`` and
        ``out_sizes``, and for inputs that `spectral_stride.torch.spectral_pool` refuses. Every
        message begins with "SpectralPool: ".

    Notes
    -----
    Called with a convolution, ``pool(x, conv)`` is ``pool(conv(x))`` in less time, as
    `DiffStrideConv2d` is: the input is resampled first where that is cheaper.

    `torch.compile` and `torch.export` take it as it is, with any batch size.

    Source: Rippel, Snoek, Adams, "Spectral representations for convolutional neural networks",
    NeurIPS 2015.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import SpectralPool
    >>> SpectralPool(2.5)(torch.ones(8, 3, 32, 32)).shape
    torch.Size([8, 3, 13, 13])
    >>> SpectralPool(out_sizes=(8, 6))(torch.ones(8, 3, 32, 32)).shape
    torch.Size([8, 3, 8, 6])
    >>> conv = torch.nn.Conv2d(3, 16, 3, padding=1)
    >>> SpectralPool(2.5)(torch.ones(8, 3, 32, 32), conv).shape
    torch.Size([8, 16, 13, 13])
    """

    @checks.known_options
    def __init__(
        self,
        strides: float | Sequence[float] | None = None,
        out_sizes: Sequence[int] | None = None,
        norm: str = "forward",
        *,
        ndim: int | None = None,
        axes: Sequence[int] | None = None,
        method: str = "auto",
    ) -> None:
        super().__init__()
        with checks.named("SpectralPool"):
            self.settings = PoolSettings(
                strides, out_sizes, norm, ndim=ndim, axes=axes, method=method
            )
        self._seen = SeenSizes()

    def forward(self, x: torch.Tensor, conv: Convolution | None = None) -> torch.Tensor:
        """Resample ``x`` to ``out_sizes``, or to ceil(N/s) samples.

        With a convolution at stride 1, which stays the caller's: resample ``conv(x)``, at about the
        price that the convolution has with a stride.
        """
        if is_symbol(x):
            return as_node(self, x, conv)
        with checks.named("SpectralPool"):
            if conv is not None:
                check_convolution(conv)
        if conv is not None and not is_plain(conv):
            y: torch.Tensor = self.resampled(conv(x))
            self._seen.note(x, self.settings.axes)
            return y
        return self.resampled(x, conv)

    def resampled(self, x: torch.Tensor, conv: Convolution | None = None) -> torch.Tensor:
        """Resample ``x``, or its convolution by what was found to be a plain one at stride 1."""
        with checks.named("SpectralPool"):
            _, plan = self._planned(x, conv)
            y = crop(x, plan) if conv is None else resampled_convolution(conv, x, None, plan)
            self._seen.note(x, self.settings.axes)
            return y

    def _planned(self, x: torch.Tensor, conv: Convolution | None) -> tuple[None, Plan]:
        """Decide onto which sizes a call computes; there are no strides that learn."""
        check_tensor(x)
        settings, shape = self.settings, tuple(x.shape)
        if conv is not None:
            shape = convolved_shape(conv, x)
        return None, pool_plan(
            shape,
            settings.sizes_of(shape),
            axes=settings.axes,
            norm=settings.norm,
            method=settings.method,
        )

    def extra_repr(self) -> str:
        """Strides or sizes, and every setting."""
        settings = self.settings
        what = (
            f"out_sizes={settings.out_sizes}"
            if settings.strides is None
            else f"strides={settings.strides}"
        )
        return f"{what}, norm={settings.norm!r}, axes={settings.axes}, method={settings.method!r}"

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state; of a layer that was saved with each setting by itself, too."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if "settings" not in state:
            self.settings = popped(PoolSettings, vars(self))
        vars(self).setdefault("_seen", SeenSizes())
