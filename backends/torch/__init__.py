"""spectral_stride for PyTorch: functions, layers, and networks that learn their strides."""

from spectral_stride.torch.functional import diffstride, spectral_pool
from spectral_stride.torch.layers import DiffStride, SpectralPool
from spectral_stride.torch.optim import param_groups
from spectral_stride.torch.resnet import ResNet, resnet18, resnet56

__all__ = [
    "DiffStride",
    "ResNet",
    "SpectralPool",
    "diffstride",
    "param_groups",
    "resnet18",
    "resnet56",
    "spectral_pool",
]
