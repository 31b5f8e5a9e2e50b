"""A layer whose stride is a fixed number, and need not be a whole one."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from spectral_stride import checks
from spectral_stride.layer_settings import strides_or_sizes, strides_per_axis
from spectral_stride.plan import strided_size
from spectral_stride.torch.functional import check_tensor, spectral_pool


class SpectralPool(nn.Module):
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

    Raises
    ------
    ValueError, TypeError
        For arguments out of range, for both or neither of ``strides`` and ``out_sizes``, and for
        inputs that `spectral_stride.torch.spectral_pool` refuses. Every message begins with
        "SpectralPool: ".

    Notes
    -----
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
    """

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
            self._settle(strides, out_sizes, norm, ndim, axes, method)

    def _settle(
        self,
        strides: float | Sequence[float] | None,
        out_sizes: Sequence[int] | None,
        norm: str,
        ndim: int | None,
        axes: Sequence[int] | None,
        method: str,
    ) -> None:
        """Check and keep the arguments."""
        strides_or_sizes(strides, out_sizes)
        self.strides = None if strides is None else strides_per_axis(strides, ndim)
        if self.strides is not None:
            checks.layer_strides(self.strides, 1.0, math.inf)
        self.out_sizes = None if out_sizes is None else checks.sizes("out_sizes", out_sizes)
        count = len(self.strides or self.out_sizes or ())
        checks.layer_ndim("out_sizes" if self.strides is None else "strides", count, ndim)
        self.axes = checks.layer_axes(axes, count)
        checks.one_of("norm", norm, checks.NORMS)
        checks.one_of("method", method, checks.METHODS)
        self.norm = norm
        self.method = method

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Resample ``x`` to ``out_sizes``, or to ceil(N/s) samples."""
        with checks.named("SpectralPool"):
            check_tensor(x)
            sizes = self.out_sizes or self._strided_sizes(tuple(x.shape))
            return spectral_pool(x, sizes, axes=self.axes, norm=self.norm, method=self.method)

    def _strided_sizes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        assert self.strides is not None
        planned = checks.axes(self.axes, len(self.axes), len(shape))
        return tuple(
            strided_size(shape[axis], stride)
            for axis, stride in zip(planned, self.strides, strict=True)
        )

    def extra_repr(self) -> str:
        """Strides or sizes, and every setting."""
        what = f"out_sizes={self.out_sizes}" if self.strides is None else f"strides={self.strides}"
        return f"{what}, norm={self.norm!r}, axes={self.axes}, method={self.method!r}"
