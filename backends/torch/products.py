"""Which of PyTorch's kernels multiplies fastest along an axis."""

import torch
from torch.nn import functional

from spectral_stride.operator import Product, apply_rows

# Samples from which on the convolution is the faster one.
SHORTEST = 24


def by_convolution(rows: torch.Tensor, x: torch.Tensor, axis: int) -> torch.Tensor:
    """`apply_rows`, on the last axis as a 1 x 1 convolution of a channels-last image.

    That is the same product, but PyTorch hands it to oneDNN and not to MKL. Forward and backward of
    the whole layer took, in float32 on one thread of an AMD EPYC, over the time with matmul: 0.8 at
    (64, 64, 32, 32), 0.8 at (32, 64, 56, 56), 0.7 at (16, 64, 112, 112) and (4, 32, 224, 224), but
    1.05 at (64, 128, 16, 16).
    """
    if axis != x.ndim - 1 or x.ndim < 2 or x.shape[-1] < SHORTEST:
        y: torch.Tensor = apply_rows(rows, x, axis)
        return y
    images = x.reshape(-1, x.shape[-2], 1, x.shape[-1]).permute(0, 3, 1, 2)
    found = functional.conv2d(images, rows.to(x.dtype)[:, :, None, None])
    return found.permute(0, 2, 3, 1).reshape(*x.shape[:-1], rows.shape[0])


def fastest(x: torch.Tensor | None) -> Product:
    """What to apply rows with where nothing but values is asked for.

    Under a transform, a compiler, or where the result is to be differentiated again, it is the
    plain product, for which every one of them has a rule.
    """
    if (
        x is not None
        and not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and not torch.is_grad_enabled()
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
    ):
        return by_convolution
    return apply_rows
