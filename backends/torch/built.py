"""How the small arrays of a map are built for PyTorch, and how long they are kept."""

from functools import lru_cache

import torch

from spectral_stride.arrays import working_dtype
from spectral_stride.factors import Factors, factors, settle, with_sources
from spectral_stride.plan import Plan, single_plan
from spectral_stride.taps import Taps

# Strides as a tensor, or as numbers that the host knows.
Strides = torch.Tensor | tuple[float, ...]

# Largest axis for which NumPy builds the rows of a CPU tensor's map: its calls take half as long as
# PyTorch's (a layer of two axes, forward and backward, 0.9 in place of 1.7 ms for 32 samples, 2.3
# in place of 3.3 for 224). The products are PyTorch's: NumPy would wake threads of its own.
LONGEST_ON_HOST = 256
# Maps whose arrays are kept, more than a network has layers; and the numbers in the matrices of one
# that is. Feature maps have less than 100 000, so that all are some MB.
KEPT = 64
LARGEST_KEPT = 2**18


def nothing_interferes() -> bool:
    """Whether a tensor that is made now is a plain one: under a transform or a mode it is not."""
    return not (
        torch.compiler.is_compiling()
        or transformed()
        or torch._C._len_torch_dispatch_stack() > 0  # a fake mode, for one
    )


def transformed() -> bool:
    """Whether a transform is active: they hide from each other what they will ask for."""
    return (
        torch.autograd.forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()
    )


def forward_mode_is_nested() -> bool:
    """Whether a forward-mode transform is inside of another one."""
    if not torch._C._are_functorch_transforms_active():
        return False
    stack = torch._C._functorch.get_interpreter_stack() or []
    return sum(level.key() == torch._C._functorch.TransformType.Jvp for level in stack) > 1


def build(
    strides: torch.Tensor,
    plan: Plan,
    taps: tuple[Taps, ...] | None,
    *,
    learn: bool = True,
    hold_output: bool = False,
) -> Factors:
    """Build what these strides make of each axis, without history.

    For strides that have not moved since, as in eval mode or while gradients are accumulated, it is
    what was built for them, where NumPy builds it.

    With ``hold_output`` what is kept is taken from the output, where that can be decided without
    waiting for a device; not where coefficients come with a spectrum that is there anyway.
    """
    point = strides.detach()
    if not nothing_interferes() or type(point) is not torch.Tensor or point.device.type != "cpu":
        return factors(point, plan, taps, learn=learn)
    by_fft = "fft" in plan.methods
    on_host = not by_fft and max(plan.sizes) <= LONGEST_ON_HOST
    if not on_host and (by_fft or not hold_output):
        return factors(point, plan, taps, learn=learn)
    if on_host:
        values = tuple(point.numpy().tolist())
        return _on_host(values, single_plan(plan), taps, point.dtype, learn, hold_output)
    parts = factors(point.numpy(), plan, taps, learn=learn)
    settle(parts)
    return with_sources(factors(point, plan, taps, learn=learn), parts)


@lru_cache(KEPT)
def _on_host(
    values: tuple[float, ...],
    plan: Plan,
    taps: tuple[Taps, ...] | None,
    dtype: torch.dtype,
    learn: bool,
    hold_output: bool,
) -> Factors:
    """Let NumPy build them."""
    parts = factors(torch.tensor(values, dtype=dtype).numpy(), plan, taps, learn=learn)
    if hold_output:
        settle(parts)
    return tuple(part and part.placed(torch.from_numpy) for part in parts)


def kept(strides: Strides, plan: Plan, taps: tuple[Taps, ...] | None, x: torch.Tensor) -> Factors:
    """Return the same for strides that nothing is asked of: once for each of their values.

    Strides in a tensor are known by their values where reading them waits for no device.
    """
    matrices = zip(plan.sizes, plan.out_sizes, plan.methods, strict=True)
    numbers = sum(size * out_size for size, out_size, method in matrices if method == "matmul")
    dtype = working_dtype(torch, x.dtype)
    if not nothing_interferes() or numbers > LARGEST_KEPT:
        if not isinstance(strides, torch.Tensor):
            strides = torch.tensor(strides, dtype=dtype, device=x.device)
        return factors(strides, plan, taps, learn=False)
    if isinstance(strides, torch.Tensor):
        if type(strides.detach()) is not torch.Tensor or strides.device.type != "cpu":
            return build(strides, plan, taps, learn=False)
        strides = tuple(strides.tolist())
    return _kept(strides, single_plan(plan), taps, dtype, x.device)


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
