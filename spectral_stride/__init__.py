"""Learnable strides: a soft crop of the spectrum, for any array library, with exact gradients."""

from spectral_stride.complexity import complexity
from spectral_stride.functional import (
    diffstride,
    jvp,
    make_plan,
    soft_mask,
    spectral_pool,
    spectral_resize,
    stride_bounds,
    vjp,
)
from spectral_stride.plan import Plan

__all__ = [
    "Plan",
    "complexity",
    "diffstride",
    "jvp",
    "make_plan",
    "soft_mask",
    "spectral_pool",
    "spectral_resize",
    "stride_bounds",
    "vjp",
]

__version__ = "0.1.0"
