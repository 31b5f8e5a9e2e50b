"""What a network costs at its present strides: the size of its maps, and multiply-accumulates."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spectral_stride.torch.adopt.places import evaluating
from spectral_stride.torch.models.downsampling import Downsampling
from spectral_stride.torch.models.network import Network
from spectral_stride.torch.training.networks import layer_name

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Layer:
    """One place where a network gets smaller.

    Attributes
    ----------
    name : str
        "stem", "pool", "stage1", ...
    stride : tuple of float
        (height, width), in input samples per output sample; of sounds (time, frequency).
    size_in, size_out : tuple of int
        (height, width) of the map before and after, its convolution or pooling included.
    """

    name: str
    stride: tuple[float, float]
    size_in: tuple[int, int]
    size_out: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Survey:
    """A network's layers, and its multiply-accumulates for one sample."""

    layers: tuple[Layer, ...]
    macs: int
    complexity: float


def _transform_flops(shape: Sequence[int], dims: Sequence[int], per_butterfly: float) -> int:
    """Count per_butterfly N log2 N operations for each line of N samples along each of ``dims``."""
    return round(per_butterfly * math.prod(shape) * sum(math.log2(shape[dim]) for dim in dims))


def _r2c_flops(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return _transform_flops(shape, dims, 2.5)


def _c2r_flops(_: Any, dims: Sequence[int], *__: Any, out_shape: Sequence[int], **___: Any) -> int:
    return _transform_flops(out_shape, dims, 2.5)


def _c2c_flops(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return _transform_flops(shape, dims, 5.0)


# PyTorch counts an FFT as free. The usual figure is 5 N log2 N for a complex transform of N
# samples, and half of that for a real one.
_FFT_FLOPS: dict[Any, Callable[..., int]] = {
    aten._fft_r2c: _r2c_flops,
    aten._fft_c2r: _c2r_flops,
    aten._fft_c2c: _c2c_flops,
}


def _zeros(model: nn.Module, count: int, sample_shape: Sequence[int]) -> torch.Tensor:
    parameter = next(model.parameters())
    return torch.zeros(count, *sample_shape, dtype=parameter.dtype, device=parameter.device)


def multiply_accumulates(model: nn.Module, sample_shape: Sequence[int]) -> int:
    """Count the multiply-accumulates of a forward pass, per sample.

    Half the operations that `torch.utils.flop_counter` counts in convolutions and matrix products,
    and those of FFTs. The count for two samples less that for one: the resampling matrices, which a
    layer builds once a call, are not a cost per sample.

    Parameters
    ----------
    model : Module
        Taking a batch of samples. It has at least one parameter.
    sample_shape : sequence of int
        (channels, height, width) of an image, (samples,) of a waveform.

    Returns
    -------
    int
    """
    return _per_sample(model, sample_shape, _FFT_FLOPS)


def of_transforms(model: nn.Module, sample_shape: Sequence[int]) -> int:
    """Count what of `multiply_accumulates` is that of FFTs, which are free for PyTorch's counter.

    Parameters
    ----------
    model, sample_shape
        As for `multiply_accumulates`.

    Returns
    -------
    int
    """
    return multiply_accumulates(model, sample_shape) - _per_sample(model, sample_shape, {})


def _per_sample(
    model: nn.Module, sample_shape: Sequence[int], formulas: dict[Any, Callable[..., int]]
) -> int:
    """Count the multiply-accumulates of a sample more, with formulas beside those of PyTorch."""

    def flops(count: int) -> int:
        with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
            model(_zeros(model, count, sample_shape))
        total: int = counter.get_total_flops()
        return total

    with evaluating(model):
        return (flops(2) - flops(1)) // 2


def _sizes(
    model: Network, sample_shape: Sequence[int]
) -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
    """Run one sample through a network; (height, width) before and after each downsampling.

    A block passes both of its branches through the same layer, and both have these sizes.
    """
    sizes: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}

    def note(name: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def hook(_: nn.Module, arguments: Any, output: torch.Tensor) -> None:
            sizes[name] = _size(arguments[0]), _size(output)

        return hook

    with ExitStack() as hooks, evaluating(model):
        for name, down in model.downsamplings().items():
            hooks.callback(down.register_forward_hook(note(name)).remove)
        model(_zeros(model, 1, sample_shape))
    return sizes


def _size(maps: torch.Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]


def _strides(down: Downsampling) -> tuple[float, float]:
    strides = down.strides()
    height, width = strides.tolist() if isinstance(strides, torch.Tensor) else strides
    return height, width


def survey(model: Network, sample_shape: Sequence[int]) -> Survey:
    """Measure a network at its present strides.

    Parameters
    ----------
    model : Network
    sample_shape : sequence of int
        (channels, height, width) of an image, (samples,) of a waveform.

    Returns
    -------
    Survey
    """
    sizes = _sizes(model, sample_shape)
    layers = tuple(
        Layer(layer_name(name), _strides(down), *sizes[name])
        for name, down in model.downsamplings().items()
    )
    with torch.no_grad():
        complexity = float(model.complexity())
    return Survey(layers, multiply_accumulates(model, sample_shape), complexity)
