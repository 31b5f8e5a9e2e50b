"""How the small arrays of a map are built for PyTorch, and how long they are kept."""

from functools import lru_cache

import torch

from spectral_stride.arrays import working_dtype
from spectral_stride.factors import Factors, factors
from spectral_stride.plan import Plan, single_plan
from spectral_stride.taps import Taps

# Strides as a tensor, or as numbers that the host knows.
Strides = torch.Tensor | tuple[float, ...]

# Largest axis for which NumPy builds the arrays of a CPU tensor's map: its calls take half as long
# as PyTorch's (0.33 and 0.64 ms for two axes of 32 samples), but for the matrices of longer axes it
# would wake threads of its own beside PyTorch's.
LONGEST_ON_HOST = 64
# Maps whose arrays are kept: more than a network has layers, and at most a few MB.
KEPT = 64


def build(
    strides: torch.Tensor, plan: Plan, taps: tuple[Taps, ...] | None, *, learn: bool = True
) -> Factors:
    """Build what these strides make of each axis, without history."""
    point = strides.detach()
    if (
        type(point) is not torch.Tensor  # a fake one has no values
        or point.device.type != "cpu"
        or "fft" in plan.methods
        or max(plan.sizes) > LONGEST_ON_HOST
    ):
        return factors(point, plan, taps, learn=learn)
    parts = factors(point.numpy(), plan, taps, learn=learn)
    return tuple(part and part.placed(torch.from_numpy) for part in parts)


def kept(strides: Strides, plan: Plan, taps: tuple[Taps, ...] | None, x: torch.Tensor) -> Factors:
    """Return the same for strides that nothing is asked of: once for each of their values.

    Strides in a tensor are known by their values where reading them waits for no device.
    """
    if isinstance(strides, torch.Tensor):
        if torch.compiler.is_compiling() or type(strides.detach()) is not torch.Tensor:
            return factors(strides, plan, taps, learn=False)
        if strides.device.type != "cpu":
            return build(strides, plan, taps, learn=False)
        strides = tuple(strides.tolist())
    return _kept(strides, single_plan(plan), taps, working_dtype(torch, x.dtype), x.device)


@lru_cache(KEPT)
def _kept(
    values: tuple[float, ...],
    plan: Plan,
    taps: tuple[Taps, ...] | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Factors:
    # Tensors that were made in inference mode could not serve in training later.
    with torch.inference_mode(False), torch.no_grad():
        point = torch.tensor(values, dtype=dtype, device=device)
        parts = build(point, plan, taps, learn=False)
        for part, method in zip(parts, plan.methods, strict=True):
            if part is not None and method == "matmul":
                part.matrix()
    return parts
