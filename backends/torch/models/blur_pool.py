"""Average pooling whose windows overlap: a rival of spectral pooling, at whole strides."""

import torch
from torch.nn import functional

from spectral_stride.torch.models.constants import Constants


def _triangle(stride: int) -> torch.Tensor:
    """Return (s - |j|) / s^2 for j from -(s - 1) to s - 1: a box of s samples with itself."""
    return (stride - torch.arange(1 - stride, stride).abs()) / stride**2


class BlurPool(Constants):
    """Average over a triangle of 2s - 1 samples along each axis, every s samples.

    y[i] = sum_j (s - |j|) / s^2 x[s i + j], with x continued by its border samples. It leaves
    ceil(N/s) samples. At s = 2 the weights are 1/4, 1/2, 1/4.

    Parameters
    ----------
    strides : pair of int
        (height, width), in input samples per output sample.

    Notes
    -----
    Source: Zhang, "Making convolutional networks shift-invariant again", ICML 2019, whose "Tri-3"
    has these weights at s = 2. In the networks here it stands directly behind the convolution.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch.models.blur_pool import BlurPool
    >>> BlurPool((2, 3))(torch.ones(1, 4, 9, 9)).shape
    torch.Size([1, 4, 5, 3])
    """

    kernel: torch.Tensor

    def __init__(self, strides: tuple[int, int]) -> None:
        super().__init__()
        self.strides = strides
        self.register_constants()

    def constants(self) -> dict[str, torch.Tensor]:
        """Return the weights along both axes."""
        height, width = (_triangle(stride) for stride in self.strides)
        return {"kernel": height[:, None] * width}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Average maps of shape (batch, channels, height, width)."""
        above, left = (stride - 1 for stride in self.strides)
        around = functional.pad(x, (left, left, above, above), mode="replicate")
        channels = x.shape[1]
        weight = self.kernel.to(x.dtype).expand(channels, 1, *self.kernel.shape)
        return functional.conv2d(around, weight, stride=self.strides, groups=channels)
