"""spectral_stride for PyTorch: functions, layers, and networks that learn their strides."""

from spectral_stride import checks

with checks.needed("spectral_stride.torch", "torch", extra="torch"):
    from spectral_stride.torch.adopt.conversion import conversion, convert
    from spectral_stride.torch.adopt.recalibrate import recalibrate
    from spectral_stride.torch.budget.mac_budget import MacBudget
    from spectral_stride.torch.deploy.freeze import freeze
    from spectral_stride.torch.functional import diffstride, spectral_pool, spectral_resize
    from spectral_stride.torch.layers.diffstride import DiffStride
    from spectral_stride.torch.layers.diffstride_conv import DiffStrideConv2d
    from spectral_stride.torch.layers.spectral_pool import SpectralPool
    from spectral_stride.torch.layers.spectral_up import SpectralUp
    from spectral_stride.torch.layers.whole_network import (
        hold_sizes,
        project_strides,
        release_sizes,
    )
    from spectral_stride.torch.models.audio_net import audio_net
    from spectral_stride.torch.models.efficientnet import efficientnet_b0
    from spectral_stride.torch.models.mel import LogMel
    from spectral_stride.torch.models.resnet import (
        ResNet,
        resnet18,
        resnet18_imagenet,
        resnet50,
        resnet56,
    )
    from spectral_stride.torch.param_groups import param_groups
    from spectral_stride.torch.renamed import register_old_names

__all__ = [
    "DiffStride",
    "DiffStrideConv2d",
    "LogMel",
    "MacBudget",
    "ResNet",
    "SpectralPool",
    "SpectralUp",
    "audio_net",
    "conversion",
    "convert",
    "diffstride",
    "efficientnet_b0",
    "freeze",
    "hold_sizes",
    "param_groups",
    "project_strides",
    "recalibrate",
    "release_sizes",
    "resnet18",
    "resnet18_imagenet",
    "resnet50",
    "resnet56",
    "spectral_pool",
    "spectral_resize",
]

register_old_names()
