"""The layers: one file each, and what decides their sizes and the order they compute in."""

from spectral_stride.torch.layers.diffstride import DiffStride
from spectral_stride.torch.layers.diffstride_conv import DiffStrideConv2d
from spectral_stride.torch.layers.spectral_pool import SpectralPool
from spectral_stride.torch.layers.spectral_up import SpectralUp
from spectral_stride.torch.layers.whole_network import hold_sizes, project_strides, release_sizes

__all__ = [
    "DiffStride",
    "DiffStrideConv2d",
    "SpectralPool",
    "SpectralUp",
    "hold_sizes",
    "project_strides",
    "release_sizes",
]
