"""Which of PyTorch's kernels multiplies fastest along an axis, or along several at once."""

import functools
import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from spectral_stride.axis import Resampling
from spectral_stride.dft import transposed
from spectral_stride.operator import PLAIN, Products, along, gram
from spectral_stride.torch.map_cache import is_transformed

# Numbers in the input from which on a convolution is the faster one: below, its call costs more.
LEAST_INPUT = 2**18
# The same of the longer side of the matrix on the last axis but one: below, oneDNN spends more on
# bringing the input to its own layout than it gains.
LEAST_ROWS = 128
# Numbers in one matrix for all axes up to which that is the faster one.
LARGEST_AT_ONCE = 2**15
# Images from which on PyTorch hands a convolution to oneDNN on a single thread as well: there they
# take 0.4 to 0.5 of the time that one image takes, and with 2 threads the same.
LEAST_IMAGES = 16


def along_by_convolution(rows: torch.Tensor, x: torch.Tensor, axis: int) -> torch.Tensor:
    """`along`, on the last two axes as a convolution with a kernel of one sample.

    That is the same product, but PyTorch hands it to oneDNN and not to MKL. In float32, with 2
    threads on an AMD EPYC, it took this part of the time of matmul: along the last axis 0.28 for
    (131072, 16) onto 8 samples, 0.36 for (131072, 32) onto 8, 0.47 for (3584, 224) onto 112, but
    1.7 for (4096, 32) onto 16; along the one before 0.66 for (128, 224, 120) onto 120, 0.61 for
    (128, 112, 112) onto 224, but 1.4 for (2048, 56, 28) onto 28 and 1.7 for (2, 224, 120) onto 120.
    """
    y: torch.Tensor
    if x.numel() >= LEAST_INPUT:
        rows = rows.to(x.dtype)
        if axis == x.ndim - 1:
            return _samples_as_channels(rows, x)
        if axis == x.ndim - 2 and max(rows.shape) >= LEAST_ROWS:
            channels = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
            y = functional.conv1d(channels, rows[:, :, None])
            return y.reshape(*x.shape[:-2], *y.shape[-2:])
    y = along(rows, x, axis)
    return y


def _samples_as_channels(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Multiply along the last axis, by a convolution of images that are stored channels last."""
    found = functional.conv2d(_images(x.reshape(-1, x.shape[-1])), rows[:, :, None, None])
    return found.permute(0, 2, 3, 1).reshape(*x.shape[:-1], rows.shape[0])


def _images(rows: torch.Tensor) -> torch.Tensor:
    """View (b, n) as images of n channels, stored channels last."""
    count = LEAST_IMAGES if rows.shape[0] % LEAST_IMAGES == 0 else 1
    return rows.reshape(count, 1, -1, rows.shape[1]).permute(0, 3, 1, 2)


def gram_by_convolution(g: torch.Tensor, y: torch.Tensor, axis: int) -> torch.Tensor:
    """`gram`, as the gradient that a convolution has in its kernel.

    In float32, with 2 threads on an AMD EPYC, 0.4 of the time of matmul for (131072, 16) with
    itself along the last axis, 0.7 for (131072, 32). Along the one before, that of small images is
    taken with all samples against all, of which only those of equal columns are wanted: 0.7 ms for
    32768 of 8 x 8 samples, where 32768 products of 8 x 8 matrices take 2.
    """
    found: torch.Tensor
    last, numbers = axis == g.ndim - 1, (g.shape[-2:].numel(), y.shape[-2:].numel())
    if g.numel() < LEAST_INPUT or axis < g.ndim - 2:
        found = gram(g, y, axis)
    elif last:
        found = _gram_of_rows(g.reshape(-1, g.shape[-1]), y.reshape(-1, y.shape[-1]))
    elif math.prod(numbers) <= LARGEST_AT_ONCE:
        images = (one.reshape(-1, number) for one, number in zip((g, y), numbers, strict=True))
        found = _gram_of_rows(*images).view(*g.shape[-2:], *y.shape[-2:])
        found = found.diagonal(dim1=1, dim2=3).sum(-1)
    else:
        found = gram(g, y, axis)
    return found


def _gram_of_rows(g: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Multiply g^T y for (b, m) and (b, n)."""
    found: torch.Tensor
    images = [_images(one) for one in (g, y)]
    kernel = g.new_empty(g.shape[1], y.shape[1], 1, 1)
    ones, none, only = [1, 1], [0, 0], [False, True, False]
    _, found, _ = torch.ops.aten.convolution_backward(
        *images, kernel, None, ones, none, ones, False, none, 1, only
    )
    return found[:, :, 0, 0]


def all_axes(op: Resampling, x: torch.Tensor, adjoint: bool) -> torch.Tensor | None:
    """Multiply along all of several last axes at once, by the Kronecker product of their matrices.

    More multiply-accumulates, but all of them at the speed of a large product (420 GFLOPS on the
    machine of `along_by_convolution`), which is out of reach for matrices of 4 to 16 rows. There,
    forward and backward over both axes of images in 8 MB took this part of the time of axis by
    axis: 0.2 for 8 samples onto 4, 0.35 for 8 onto 8, 0.4 for 12 onto 6, 0.7 for 14 onto 11 and for
    16 onto 8, but 1.4 for 14 onto 14. None is returned where it is not the faster one, and where an
    axis stays as it is: numbers on it do not meet, so that one which is not finite spoils no other.
    """
    axes = op.plan.axes
    first = x.ndim - len(axes)
    if len(axes) < 2 or x.numel() < LEAST_INPUT or axes != tuple(range(first, x.ndim)):
        return None
    maps = [one for one in op.maps if one is not None and not one.is_identity]
    if "fft" in op.plan.methods or len(maps) < len(op.maps):
        return None
    matrices = [one.matrix for one in maps]
    if math.prod([one.numel() for one in matrices]) > LARGEST_AT_ONCE:
        return None
    if adjoint:
        matrices = [transposed(one) for one in matrices]
    matrices = [one.to(x.dtype).contiguous() for one in matrices]
    joint = functools.reduce(torch.kron, matrices)
    y = _samples_as_channels(joint, x.reshape(-1, joint.shape[1]))
    return y.reshape(*x.shape[:first], *[one.shape[0] for one in matrices])


def pair_at_once(p: torch.Tensor, q: torch.Tensor, _: Sequence[int]) -> torch.Tensor:
    """Sum of all products of two tensors, the batch's too, without the products in memory.

    That halves the time of a skinny product and its pairing. In float32 it loses a digit to
    `pair`, 1e-8 against 1e-9 of the sum of the products' sizes.
    """
    return torch.dot(p.reshape(-1), q.reshape(-1))


FAST = Products(along_by_convolution, pair_at_once, gram_by_convolution, all_axes)


def products_for(x: torch.Tensor | None) -> Products:
    """What multiplies where nothing but values is asked for.

    Under a transform, a compiler, or where the result is to be differentiated again, it is the
    core's own, for which every one of them has a rule.
    """
    if (
        x is not None
        and not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and not torch.is_grad_enabled()
        and not is_transformed()
    ):
        return FAST
    return PLAIN
