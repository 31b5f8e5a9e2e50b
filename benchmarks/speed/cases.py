"""What is computed: an input, a cotangent, a plan, and the exact answers in float64."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import spectral_stride as core
from spectral_stride.plan import Plan

Array = NDArray[Any]
STRIDE = 2.0


@dataclass(frozen=True)
class Case:
    """One shape, downsampled by two along every axis behind batch and channels."""

    shape: tuple[int, ...]
    ramp: str
    dtype: str = "float32"

    @property
    def strides(self) -> tuple[float, ...]:
        """Input samples per output sample."""
        return (STRIDE,) * (len(self.shape) - 2)

    @property
    def axes(self) -> tuple[int, ...]:
        """The resampled axes."""
        return tuple(range(2, len(self.shape)))

    def plan(self, method: str = "auto") -> Plan:
        """Sizes held for all runs, as a network holds them between its plans."""
        return core.make_plan(self.shape, self.strides, ramp=self.ramp, method=method)

    def draw(self, shape: tuple[int, ...]) -> Array:
        """Normal numbers, the same for each shape: those of the case's dtype, in float32.

        What a half-precision input has lost before the layer sees it is not the layer's error.
        """
        values = np.random.default_rng(math.prod(shape)).standard_normal(shape, dtype=np.float32)
        kind: torch.dtype = getattr(torch, self.dtype)  # NumPy has no bfloat16
        rounded: Array = torch.from_numpy(values).to(kind).float().numpy()
        return rounded

    @cached_property
    def exact(self) -> tuple[Array, Array, Array]:
        """Output and both gradients by the core in float64 on NumPy.

        Its FFT form, which the tests hold against dense matrices: these do not fit long axes.
        """
        x = self.draw(self.shape).astype(np.float64)
        y, pullback = core.vjp(x, self.strides, plan=self.plan("fft"))
        return y, *pullback(self.draw(tuple(y.shape)).astype(np.float64))


def distance(got: Array, exact: Array) -> float:
    """Largest error over the largest exact number."""
    return float(np.max(np.abs(got.astype(np.float64) - exact)) / np.max(np.abs(exact)))
