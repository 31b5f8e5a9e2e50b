"""spectral_stride for PyTorch: functions, layers, and networks that learn their strides."""

from spectral_stride.torch.audio import audio_net
from spectral_stride.torch.conv import DiffStrideConv2d
from spectral_stride.torch.efficientnet import efficientnet_b0
from spectral_stride.torch.functional import diffstride, spectral_pool
from spectral_stride.torch.layers import DiffStride
from spectral_stride.torch.mel import LogMel
from spectral_stride.torch.optim import param_groups
from spectral_stride.torch.pool import SpectralPool
from spectral_stride.torch.resnet import ResNet, resnet18, resnet18_imagenet, resnet50, resnet56
from spectral_stride.torch.sizes import hold_sizes, release_sizes

__all__ = [
    "DiffStride",
    "DiffStrideConv2d",
    "LogMel",
    "ResNet",
    "SpectralPool",
    "audio_net",
    "diffstride",
    "efficientnet_b0",
    "hold_sizes",
    "param_groups",
    "release_sizes",
    "resnet18",
    "resnet18_imagenet",
    "resnet50",
    "resnet56",
    "spectral_pool",
]
