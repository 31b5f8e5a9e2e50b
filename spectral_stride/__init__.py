"""Learnable strides: a soft crop of the spectrum, for any array library, with exact gradients."""

from spectral_stride.complexity import complexity
from spectral_stride.gradients import jvp, vjp
from spectral_stride.mask import soft_mask
from spectral_stride.plan import Plan, make_plan, stride_bounds
from spectral_stride.transform import diffstride, spectral_pool

__all__ = [
    "Plan",
    "complexity",
    "diffstride",
    "jvp",
    "make_plan",
    "soft_mask",
    "spectral_pool",
    "stride_bounds",
    "vjp",
]

__version__ = "0.1.0"
