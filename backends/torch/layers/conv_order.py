"""What a convolution becomes when it is resampled: the same numbers, in the cheaper order."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from spectral_stride import checks
from spectral_stride.dft import gain
from spectral_stride.fast.taps import Taps
from spectral_stride.plan import Plan
from spectral_stride.torch import dispatch
from spectral_stride.torch.map_cache import Strides

# A convolution of images at stride 1: a `torch.nn.Conv2d`, or what has its attributes.
Convolution = Any


# Of a convolution: its words for how much to pad, and with what.
PADDINGS, PADDING_MODES = ("same", "valid"), ("zeros", "reflect", "replicate", "circular")

# What a multiply-accumulate costs, in those of a convolution at stride 1: in the resampling, with
# its gradients to the strides, and in a convolution with its taps far apart. Fitted to the times of
# both orders, forward and backward in float32 with 2 threads on an AMD EPYC, for 11 layers (up to
# 5 x 5, 3 to 256 channels onto 64 to 512, 8 to 112 samples) at strides 1.2 to 2.6. The ratios of
# these times are 0.25 to 6.5, and each of the 44 choices is the faster one.
RESAMPLING, DILATED = 2.75, 2.45


def pads_of(conv: Convolution) -> tuple[tuple[int, int], tuple[int, int]]:
    """Samples that are padded before and after, of height and of width.

    As `nn.Conv2d` finds them when it is called: zeros by its attributes of then.
    """
    if conv.padding_mode != "zeros":
        left, right, top, bottom = conv._reversed_padding_repeated_twice
        return (top, bottom), (left, right)
    padding = (conv.padding,) * 2 if isinstance(conv.padding, str) else each_axis(conv.padding)
    height, width = map(_zeros, padding, conv.kernel_size, each_axis(conv.dilation))
    return height, width


def each_axis(value: int | Sequence[int], ndim: int = 2) -> tuple[int, ...]:
    """Return the entry of every axis; a single one is for all, as in PyTorch."""
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    # A number of NumPy's has the range of its dtype.
    return tuple([int(one) for one in values]) * (ndim if len(values) == 1 else 1)


def _zeros(padding: int | str, kernel: int, dilation: int) -> tuple[int, int]:
    """Zeros before and after one axis; of an odd number the larger half is after it."""
    if padding == "same":
        both = dilation * (kernel - 1)
        return both // 2, both - both // 2
    each = 0 if isinstance(padding, str) else padding
    return each, each


def convolved_shape(conv: Convolution, x: torch.Tensor) -> tuple[int, ...]:
    """Shape of the convolution of x."""
    if x.ndim not in (3, 4) or x.shape[-3] != conv.in_channels:
        allowed = f"(N, {conv.in_channels}, H, W) or ({conv.in_channels}, H, W)"
        checks.refuse(ValueError, "x", f"shape {tuple(x.shape)}", allowed, "check the channels")
    pads = pads_of(conv)
    # A sample of the input is repeated, but for those of zeros and of an edge once at most.
    beyond = {"reflect": 1, "circular": 0}.get(conv.padding_mode)
    if beyond is not None:
        for size, both in zip(x.shape[-2:], pads, strict=True):
            if max(both) > size - beyond:
                mode = conv.padding_mode
                got, allowed = f"{max(both)} of {size} samples", f"at most {size - beyond}"
                remedy = "pad less, or write padding_mode='zeros'"
                checks.refuse(ValueError, "padding", f"{got} by {mode!r}", allowed, remedy)
    sizes = [
        size + sum(both) - dilation * (kernel - 1)
        for size, both, dilation, kernel in zip(
            x.shape[-2:], pads, each_axis(conv.dilation), conv.kernel_size, strict=True
        )
    ]
    if min(sizes) < 1:
        got = f"{tuple(x.shape[-2:])} samples for a kernel of {tuple(conv.kernel_size)}"
        allowed = "at least one position of the dilated kernel inside of the padded input"
        checks.refuse(ValueError, "x", got, allowed, "use a larger input or more padding")
    return (*x.shape[:-3], conv.out_channels, *sizes)


def resampled_convolution(
    conv: Convolution, x: torch.Tensor, strides: Strides, plan: Plan, *, may_wait: bool = False
) -> torch.Tensor:
    """Convolve and resample, in the cheaper order; ``may_wait`` as in `dispatch.resample`."""
    pads = pads_of(conv)
    if conv.padding_mode != "zeros":
        x = functional.pad(x, (*pads[1], *pads[0]), mode=conv.padding_mode)
        pads = (0, 0), (0, 0)
    if not resamples_first(conv, x, plan):
        # nn.Conv2d pads unevenly in the same way.
        if conv.padding_mode == "zeros" and any(before != after for before, after in pads):
            x, pads = functional.pad(x, (*pads[1], *pads[0])), ((0, 0), (0, 0))
        padding = pads[0][0], pads[1][0]
        c = functional.conv2d(x, conv.weight, conv.bias, 1, padding, conv.dilation, conv.groups)
        return dispatch.resample(c, strides, plan, may_wait=may_wait)
    taps = tuple(
        Taps(kernel, dilation, before, size)
        for kernel, dilation, (before, _), size in zip(
            conv.kernel_size, each_axis(conv.dilation), pads, x.shape[-2:], strict=True
        )
    )
    bias = conv.bias
    if bias is not None:
        # A constant passes A as the norm has it.
        pairs = zip(plan.sizes, plan.out_sizes, strict=True)
        bias = bias * math.prod([gain(plan.norm, *pair) for pair in pairs])

    def convolve_taps(z: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        # The taps of each axis lie one after the other, as many samples apart as the output has.
        return functional.conv2d(z, conv.weight, bias, dilation=plan.out_sizes, groups=conv.groups)

    if learns_behind(conv, x, plan):
        return dispatch.resample_then_convolve(
            x, strides, plan, taps, convolve_taps, bias, may_wait=may_wait
        )
    return convolve_taps(dispatch.resample(x, strides, plan, taps, may_wait=may_wait), bias)


def resamples_first(conv: Convolution, x: torch.Tensor, plan: Plan) -> bool:
    """Whether that order is the faster one, by counted and weighted multiply-accumulates."""
    if "fft" in plan.methods or 1 in plan.sizes or list(plan.axes) != [x.ndim - 2, x.ndim - 1]:
        return False
    counts = order_counts(conv, x.shape[-2:], plan.sizes, plan.out_sizes, plan.hard)
    found: bool = is_faster_first(conv, *counts)
    return found


def order_counts(
    conv: Convolution,
    before: Sequence[Any],
    sizes: Sequence[Any],
    out_sizes: Sequence[Any],
    hard: bool,
) -> tuple[Any, Any, Any, Any]:
    """Multiply-accumulates of both orders for one image, each in products and in the convolution.

    From the sizes of the input, of the convolved map and of the resampled one. All that is taken
    may be integers, or tensors of real numbers.
    """
    (height, width), (tall, wide), (rows, columns) = before, sizes, out_sizes
    k_h, k_w = conv.kernel_size
    mixing: int = conv.out_channels * (conv.in_channels // conv.groups) * k_h * k_w
    # Last axis first, as the core does it.
    first = conv.in_channels * (height * width + height * k_h * rows) * k_w * columns
    # Behind the convolution a hard crop leaves an axis that keeps its size as it is.
    lines = tall * wide * ((columns < wide) | (not hard))
    lines = lines + tall * rows * ((rows < tall) | (not hard))
    after = conv.out_channels * lines * columns
    return first, mixing * rows * columns, after, mixing * tall * wide


def is_faster_first(
    conv: Convolution, first: Any, first_mixing: Any, after: Any, after_mixing: Any
) -> Any:
    """Compare the counts of both orders by the time that each takes."""
    # A kernel of one sample has no taps to be apart, and any multiply-accumulate takes as long: by
    # count alone the choices for 14 such layers, measured like the others, are the faster ones.
    has_taps = math.prod(conv.kernel_size) > 1
    product, spread = 1 + has_taps * (RESAMPLING - 1), 1 + has_taps * (DILATED - 1)
    return product * first + spread * first_mixing < product * after + after_mixing


def learns_behind(conv: Convolution, x: torch.Tensor, plan: Plan) -> bool:
    """Whether the stride gradient takes fewer multiply-accumulates behind the convolution.

    Counted per row of a ramp: behind it two products for each axis, in front of it what the taps
    make of them.
    """
    height, width = x.shape[-2:]
    (rows, columns), (k_h, k_w) = plan.out_sizes, conv.kernel_size
    behind: int = conv.out_channels * 4 * rows * columns
    wide = k_w * columns
    front: int = conv.in_channels * (
        height * width * k_w + height * wide * k_h + k_h * rows * wide + height * wide
    )
    return behind < front


def check_convolution(conv: Any) -> None:
    """Refuse what is no convolution of images at stride 1."""
    if not isinstance(conv, nn.Conv2d):
        checks.refuse(TypeError, "conv", type(conv).__name__, "a torch.nn.Conv2d", "leave it out")
    if each_axis(conv.stride) != (1, 1):
        remedy = "write stride=1: the layer has the stride"
        checks.refuse(ValueError, "conv", f"stride {conv.stride}", "stride 1", remedy)
    if len(conv.kernel_size) != 2 or min(conv.kernel_size) < 1:
        allowed = "one or two integers of at least 1"
        checks.refuse(ValueError, "kernel_size", conv.kernel_size, allowed, "write kernel_size=3")
    checks.one_or_two("padding", conv.padding, 0, 1, PADDINGS)
    checks.one_or_two("dilation", conv.dilation, 1, 1)


def is_plain(conv: nn.Conv2d) -> bool:
    """Whether calling a convolution does what its parameters say, and nothing else.

    Hooks, as those of pruning and of layers whose parameters are still to come, and a method of
    another kind, in a class or in this one module, need the call itself. Hooks on all modules at
    once do not count: those of counters and trackers, which look on, would make every network slow.
    """
    hooks = (conv._forward_pre_hooks, conv._forward_hooks)
    backward = (conv._backward_pre_hooks, conv._backward_hooks)
    return not (
        any((*hooks, *backward))
        or "forward" in conv.__dict__
        or "_conv_forward" in conv.__dict__
        or type(conv).__call__ is not nn.Conv2d.__call__
        or type(conv).forward is not nn.Conv2d.forward
        or type(conv)._conv_forward is not nn.Conv2d._conv_forward
    )
