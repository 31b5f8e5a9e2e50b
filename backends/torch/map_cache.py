"""How the small arrays of a map are built for PyTorch, and how long they are kept."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import torch

from spectral_stride.arrays import working_dtype
from spectral_stride.factors import Factors, all_pass, factors, settle, with_sources
from spectral_stride.plan import Plan, single_plan
from spectral_stride.taps import Taps

# Strides as a tensor, or as numbers that the host knows.
Strides = torch.Tensor | tuple[float, ...]

# Largest axis for which NumPy builds the rows of a CPU tensor's map: its calls take half as long as
# PyTorch's (a layer of two axes, forward and backward, 0.9 in place of 1.7 ms for 32 samples, 2.3
# in place of 3.3 for 224). The products are PyTorch's: NumPy would wake threads of its own.
LONGEST_ON_HOST = 256
# Numbers in the arrays of all maps that are kept, some 16 MiB: of feature maps, more than a network
# has layers.
MOST_KEPT = 2**22


class Recent:
    """The maps that were asked for last, as many as fit into `MOST_KEPT` numbers."""

    def __init__(self) -> None:
        self._maps: OrderedDict[Hashable, tuple[Factors, int]] = OrderedDict()
        self._total = 0
        self._lock = Lock()

    def get(self, key: Hashable, numbers: int, build: Callable[[], Factors]) -> Factors:
        """Return what is kept for a key, or what is built now, whose arrays have these numbers."""
        with self._lock:
            if key in self._maps:
                self._maps.move_to_end(key)
                return self._maps[key][0]
        parts = build()
        with self._lock:
            if key not in self._maps and numbers <= MOST_KEPT:
                self._maps[key] = parts, numbers
                self._total += numbers
            while self._total > MOST_KEPT:
                self._total -= self._maps.popitem(last=False)[1][1]
        return parts

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._maps.clear()
            self._total = 0

    def __len__(self) -> int:
        return len(self._maps)


# Maps that strides learn from move with them: they are not to push out those that stand still.
learned, fixed = Recent(), Recent()


def _numbers(plan: Plan, taps: tuple[Taps, ...] | None) -> int:
    """Numbers in the arrays of a map: the matrix of each axis, and the rows of its ramp."""
    rows = 2 * (int(plan.smoothness) + 2)
    total = 0
    for position, (size, out_size) in enumerate(zip(plan.sizes, plan.out_sizes, strict=True)):
        samples = size if taps is None else taps[position].kernel * taps[position].size
        matrix = out_size * samples if plan.methods[position] == "matmul" else out_size
        total += matrix + rows * (samples + 2 * out_size)
    return total


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
    hold_output: bool = False,
) -> Factors:
    """Build what these strides make of each axis, without history, for learning.

    On a CPU, for strides that have not moved since, as in eval mode or while gradients are
    accumulated, it is what was built for them.

    With ``hold_output`` what is kept is taken from the output, where that can be decided without
    waiting for a device; not where coefficients come with a spectrum that is there anyway.
    """
    point = strides.detach()
    if not nothing_interferes() or type(point) is not torch.Tensor or point.device.type != "cpu":
        return factors(point, plan, taps)
    plan = single_plan(plan)
    key = tuple(point.numpy().tolist()), plan, taps, point.dtype, hold_output
    return learned.get(
        key, _numbers(plan, taps), lambda: _built(point, plan, taps, True, hold_output)
    )


def _built(
    point: torch.Tensor, plan: Plan, taps: tuple[Taps, ...] | None, learn: bool, hold_output: bool
) -> Factors:
    """Build a map for strides on a CPU, short axes by NumPy."""
    hold_output = hold_output and "fft" not in plan.methods
    if "fft" not in plan.methods and max(plan.sizes) <= LONGEST_ON_HOST:
        parts = factors(point.numpy(), plan, taps, learn=learn)
        if hold_output:
            settle(parts)
        return tuple(part and part.placed(torch.from_numpy) for part in parts)
    # Tensors that were made in inference mode could not serve in training later.
    with torch.inference_mode(False), torch.no_grad():
        parts = factors(point, plan, taps, learn=learn)
        if hold_output:
            on_host = factors(point.numpy(), plan, taps, learn=learn)
            settle(on_host)
            parts = with_sources(parts, on_host)
    return parts


def kept(strides: Strides, plan: Plan, taps: tuple[Taps, ...] | None, x: torch.Tensor) -> Factors:
    """Return the same for strides that nothing is asked of: once for each of their values.

    Strides in a tensor are known by their values where reading them waits for no device.
    """
    dtype = working_dtype(torch, x.dtype)
    if isinstance(strides, torch.Tensor):
        point = strides.detach()
        if (
            not nothing_interferes()
            or type(point) is not torch.Tensor
            or strides.device.type != "cpu"
        ):
            return factors(strides, plan, taps, learn=False)
        strides = tuple(strides.tolist())
    elif not nothing_interferes():
        point = torch.tensor(strides, dtype=dtype, device=x.device)
        return factors(point, plan, taps, learn=False)
    values, plan = strides, single_plan(plan)

    def build() -> Factors:
        point = torch.tensor(values, dtype=dtype, device=x.device)
        if x.device.type == "cpu":
            return _built(point, plan, taps, False, False)
        return factors(point, plan, taps, learn=False)

    return _once_for_all(("strides", values, plan, taps, dtype, x.device), plan, taps, build)


def cropped(plan: Plan, x: torch.Tensor) -> Factors:
    """Return the factors of a hard crop: once for each plan."""
    if not nothing_interferes() or type(x) not in (torch.Tensor, torch.nn.Parameter):
        return all_pass(x, plan)
    plan = single_plan(plan)
    key = "crop", plan, working_dtype(torch, x.dtype), x.device
    return _once_for_all(key, plan, None, lambda: all_pass(x, plan))


def _once_for_all(
    key: Hashable, plan: Plan, taps: tuple[Taps, ...] | None, build: Callable[[], Factors]
) -> Factors:
    def complete() -> Factors:
        # Tensors that were made in inference mode could not serve in training later.
        with torch.inference_mode(False), torch.no_grad():
            parts = build()
            for part, method in zip(parts, plan.methods, strict=True):
                if part is not None and method == "matmul":
                    part.matrix()
        return parts

    return fixed.get(key, _numbers(plan, taps), complete)
