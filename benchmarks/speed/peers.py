"""What else could stand where the layer stands.

Every peer is a step that returns its output and its gradients; all of it is timed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.signal
import torch
from torch.nn import functional

from benchmarks.speed.cases import STRIDE, Array, Case
from benchmarks.speed.memory import numpy_peak, torch_peak
from spectral_stride.plan import Plan
from spectral_stride.torch import diffstride, map_cache

OURS = "ours"
PUBLISHED = "published algorithm"
FIXED = "ours, fixed strides"
BY_FFT = "ours, by FFT"


@dataclass(frozen=True)
class Peer:
    """One way of downsampling.

    Attributes
    ----------
    name : str
        Unique among the peers of a case.
    framework : str
        The library that runs it.
    step : callable or None
        Returns the arrays ``of`` which it computes; None if it cannot run here.
    peak : callable
        Returns the peak memory of a step in bytes.
    to_numpy : callable
        Turns one of these arrays into a NumPy array.
    exact : callable
        Returns the same arrays, computed in float64.
    of : tuple of str
        Names of what ``step`` returns.
    note : str
        What a reader has to know, or why it cannot run.
    """

    name: str
    framework: str
    step: Callable[[], Sequence[Any]] | None
    peak: Callable[[], int]
    to_numpy: Callable[[Any], Array]
    exact: Callable[[], Sequence[Array]]
    of: tuple[str, ...]
    note: str = ""


def soft_mask(stride: torch.Tensor, size: int, plan: Plan) -> torch.Tensor:
    """The soft mask on the bins 0 .. N//2, left to autograd; for strides inside their bounds."""
    c = (size / (2 * stride)).clamp(1.0, size / 2)
    width = torch.full_like(c, plan.smoothness)
    edge = c + plan.smoothness + 1
    if plan.ramp == "inside":
        # Not clamp: on the corner at c = 2 it would take the slope on the other side.
        half = torch.where(c > 2, c / 2, torch.ones_like(c))
        width = torch.where(half <= plan.smoothness, half, width)
        edge = c + 0.5
    bins = torch.arange(size // 2 + 1, dtype=stride.dtype, device=stride.device)
    return ((edge - bins) / width).clamp(0.0, 1.0)


def cropped(spectrum: torch.Tensor, axis: int, out_size: int) -> torch.Tensor:
    """Keep the bins of both signs that fit ``out_size`` samples."""
    size, half = spectrum.shape[axis], out_size // 2
    if size == out_size:
        return spectrum
    low = spectrum.narrow(axis, 0, half + 1)
    high = spectrum.narrow(axis, size - (out_size - half - 1), out_size - half - 1)
    if out_size % 2 == 0:
        # Both signs of the last bin meet in one.
        twin = spectrum.narrow(axis, size - half, 1)
        last = (low.narrow(axis, half, 1) + twin) / 2
        return torch.cat([low.narrow(axis, 0, half), last, high], axis)
    return torch.cat([low, high], axis)


def published(x: torch.Tensor, strides: torch.Tensor, plan: Plan) -> torch.Tensor:
    """The published algorithm, plainly: transform all axes, mask, crop, transform back.

    With the library's sizes, masks and norm, so that the outputs are equal.
    """
    spectrum = torch.fft.rfftn(x, dim=plan.axes, norm="forward")
    for position, axis in enumerate(plan.axes):
        size = plan.sizes[position]
        mask = soft_mask(strides[position], size, plan)
        if axis != plan.axes[-1]:
            mask = torch.cat([mask, mask[1 : (size + 1) // 2].flip(0)])
        shape = [1] * x.ndim
        shape[axis] = -1
        spectrum = spectrum * mask.reshape(shape)
    for axis, out_size in zip(plan.axes[:-1], plan.out_sizes[:-1], strict=True):
        spectrum = cropped(spectrum, axis, out_size)
    spectrum = spectrum.narrow(plan.axes[-1], 0, plan.out_sizes[-1] // 2 + 1)
    y: torch.Tensor = torch.fft.irfftn(spectrum, s=plan.out_sizes, dim=plan.axes, norm="forward")
    return y


def to_torch(values: Array, dtype: str, device: str) -> torch.Tensor:
    """A tensor of given values."""
    kind: torch.dtype = getattr(torch, dtype)
    return torch.from_numpy(values).to(device=device, dtype=kind)


def from_torch(tensor: torch.Tensor) -> Array:
    """Return a tensor's values; NumPy has no bfloat16."""
    values: Array = tensor.detach().to("cpu", torch.float64).numpy()
    return values


def as_if_moved() -> None:
    """Forget what was built for these strides: training moves them at every step, a timing not."""
    map_cache.learned.clear()


# A map of the input and of the one thing that is learned: strides, or a kernel.
Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def torch_step(
    forward: Forward, case: Case, learned: torch.Tensor, dtype: str
) -> Callable[[], Sequence[torch.Tensor]]:
    """A forward and a backward pass to the input, and to ``learned`` if it requires gradients."""
    device = learned.device.type
    x = to_torch(case.draw(case.shape), dtype, device).requires_grad_()
    wanted = (x, learned) if learned.requires_grad else (x,)
    g = to_torch(case.draw(tuple(forward(x, learned).shape)), dtype, device)

    def step() -> Sequence[torch.Tensor]:
        y = forward(x, learned)
        found = y, *torch.autograd.grad(y, wanted, g)
        as_if_moved()
        return found

    return step


def torch_peer(
    name: str,
    step: Callable[[], Sequence[torch.Tensor]],
    exact: Callable[[], Sequence[Array]],
    device: str,
    of: tuple[str, ...],
    note: str = "",
) -> Peer:
    """A step of PyTorch."""
    return Peer(name, "torch", step, partial(torch_peak, step, device), from_torch, exact, of, note)


def absent_peer(name: str, note: str) -> Peer:
    """A row that says why a peer of PyTorch is not measured."""
    return Peer(name, "torch", None, lambda: 0, from_torch, tuple, (), note)


def spectral_step(
    name: str, case: Case, device: str, method: str = "auto", *, learns: bool = True
) -> Callable[[], Sequence[torch.Tensor]]:
    """A step of ours by one method, or of the published algorithm."""
    # Parameters stay in full precision, as under autocast.
    strides = to_torch(np.asarray(case.strides), "float32", device).requires_grad_(learns)
    plan = case.plan(method)
    if name == PUBLISHED:
        return torch_step(lambda x, s: published(x, s, plan), case, strides, case.dtype)
    return torch_step(lambda x, s: diffstride(x, s, plan=plan), case, strides, case.dtype)


def spectral_peer(
    name: str, case: Case, device: str, method: str = "auto", *, learns: bool = True
) -> Peer:
    """Ours by one method, or the published algorithm; exact is the core in float64."""
    step = spectral_step(name, case, device, method, learns=learns)
    of = ("y", "dx", "dstrides") if learns else ("y", "dx")
    return torch_peer(name, step, lambda: case.exact[: len(of)], device, of)


def plain_peer(
    name: str, forward: Forward, case: Case, device: str, kernel: Array | None = None
) -> Peer:
    """Another operator of PyTorch; exact is the same operator in float64."""

    def step_in(dtype: str, device: str) -> Callable[[], Sequence[torch.Tensor]]:
        values = np.zeros(0) if kernel is None else kernel
        learned = to_torch(values, dtype, device).requires_grad_(kernel is not None)
        return torch_step(forward, case, learned, dtype)

    def exact() -> Sequence[Array]:
        return [from_torch(tensor) for tensor in step_in("float64", "cpu")()]

    of = ("y", "dx") if kernel is None else ("y", "dx", "dkernel")
    try:
        step = step_in(case.dtype, device)
        step()
    except NotImplementedError as error:  # not every operator has every dtype on every device
        return absent_peer(name, str(error))
    return torch_peer(name, step, exact, device, of, "another operator")


def image_peers(case: Case, device: str) -> list[Peer]:
    """What networks use on images: interpolation to the same size, pooling, strided convolution."""
    sizes, stride, channels = case.plan().out_sizes, int(STRIDE), case.shape[1]

    def interpolate(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(x, size=sizes, mode="bilinear", antialias=True)

    def pool(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(x, stride)

    def depthwise(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, kernel, stride=stride, padding=1, groups=channels)

    def convolution(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, kernel, stride=stride, padding=1)

    one, all_channels = case.draw((channels, 1, 3, 3)), case.draw((channels, channels, 3, 3))
    return [
        plain_peer("F.interpolate, antialias", interpolate, case, device),
        plain_peer("avg_pool2d", pool, case, device),
        plain_peer("strided conv, depthwise", depthwise, case, device, one),
        plain_peer("strided conv", convolution, case, device, all_channels),
    ]


def scipy_peer(case: Case) -> Peer:
    """`scipy.signal.resample` to the same sizes; it knows no gradients."""
    x, plan = case.draw(case.shape), case.plan()

    def resampled(values: Array) -> Sequence[Array]:
        for axis, out_size in zip(plan.axes, plan.out_sizes, strict=True):
            values = scipy.signal.resample(values, out_size, axis=axis)
        return (values,)

    step = partial(resampled, x)
    exact = partial(resampled, x.astype(np.float64))
    peak, note = partial(numpy_peak, step), "another operator, forward only"
    return Peer("scipy.signal.resample", "numpy", step, peak, np.asarray, exact, ("y",), note)
