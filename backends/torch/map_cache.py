"""How the small arrays of a map are built for PyTorch, and how long they are kept."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from spectral_stride.arrays import working_dtype
from spectral_stride.axis import Resampling, hard_crop, resampling
from spectral_stride.fast.from_output import FromOutput, choose
from spectral_stride.fast.handed_over import handed_over, sent
from spectral_stride.fast.taps import Taps, with_taps
from spectral_stride.plan import Plan, for_any_batch

# Strides as a tensor, or as numbers that the host knows; None where a hard crop asks for none.
Strides = torch.Tensor | tuple[float, ...] | None
# Of each axis the kernel of a convolution that comes before; None where there is none.
AllTaps = tuple[Taps, ...] | None
# A map, and how its strides learn where that is from its output.
LearnedMap = tuple[Resampling, FromOutput | None]

# Largest axis for which NumPy builds a map's rows, where the strides can be read. Its calls take
# half as long as PyTorch's on a CPU (a layer of two axes, forward and backward, 0.9 in place of 1.7
# ms for 32 samples, 2.3 in place of 3.3 for 224). The products are PyTorch's: NumPy would wake
# threads of its own.
LONGEST_ON_HOST = 256
# Numbers in the arrays of all maps that are kept, some 16 MiB: of feature maps, more than a network
# has layers.
MOST_KEPT = 2**22


class RecentMaps:
    """The maps that were asked for last, as many as fit into `MOST_KEPT` numbers."""

    def __init__(self) -> None:
        self._maps: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._total = 0
        self._lock = Lock()

    def find(self, key: Hashable) -> Any:
        """Return what is kept for a key; None if nothing is."""
        with self._lock:
            if key not in self._maps:
                return None
            self._maps.move_to_end(key)
            return self._maps[key][0]

    def keep(self, key: Hashable, numbers: int, built: Any) -> Any:
        """Keep what was built, whose arrays have these numbers, and return it."""
        with self._lock:
            if key not in self._maps and numbers <= MOST_KEPT:
                self._maps[key] = built, numbers
                self._total += numbers
            while self._total > MOST_KEPT:
                self._total -= self._maps.popitem(last=False)[1][1]
        return built

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._maps.clear()
            self._total = 0

    def __len__(self) -> int:
        return len(self._maps)


# Maps that strides learn from move with them: they are not to push out those that stand still.
learned, constant = RecentMaps(), RecentMaps()


def _array_entries(plan: Plan, taps: AllTaps) -> int:
    """Count the entries of the arrays of a map: each axis' matrix, and the rows of its ramp."""
    rows = 2 * (int(plan.smoothness) + 2)
    total = 0
    for position, (size, out_size) in enumerate(zip(plan.sizes, plan.out_sizes, strict=True)):
        samples = size if taps is None else taps[position].kernel * taps[position].size
        matrix = out_size * samples if plan.methods[position] == "matmul" else out_size
        total += matrix + rows * (samples + 2 * out_size)
    return total


def is_plain_eager() -> bool:
    """Whether a tensor that is made now is a plain one: under a transform or a mode it is not."""
    return not (
        torch.compiler.is_compiling()
        or is_transformed()
        or any(not _only_counts(mode) for mode in _dispatch_modes())
    )


def _dispatch_modes() -> list[Any]:
    """Return the modes that see every operation: a fake mode, for one."""
    # Asked first, because most calls see none.
    return _get_current_dispatch_mode_stack() if torch._C._len_torch_dispatch_stack() else []


def _only_counts(mode: Any) -> bool:
    """Whether a mode is PyTorch's own counter, which makes no tensors of its own.

    What it counts is to be what runs without it.
    """
    return type(mode).__module__ == "torch.utils.flop_counter"


def is_one_node() -> bool:
    """Whether a compiler traces, which may call our code; an exported program has to do without."""
    return (
        torch.compiler.is_compiling() and not torch.compiler.is_exporting() and not is_transformed()
    )


def is_transformed() -> bool:
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


def plain_map(
    strides: Any,
    plan: Plan,
    taps: AllTaps,
    *,
    learn: bool = True,
    stop: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Resampling:
    """Build a map by the strides' own library, whatever watches it; as `axis.resampling`."""
    op = resampling(strides, plan, learn=learn, stop=stop)
    return op if taps is None else with_taps(op, taps)


def learned_map(
    strides: torch.Tensor, plan: Plan, taps: AllTaps, *, from_output: bool, may_wait: bool = False
) -> LearnedMap:
    """Build a map without history that strides learn from.

    Of strides that can be read, as `is_readable` says, it is kept: while they do not move, as in
    eval mode or while gradients are accumulated, none is built anew. With ``from_output`` they
    learn on a CPU from the output where that is less; not where their coefficients come with a
    spectrum that is there anyway.
    """
    point = strides.detach()
    if not is_readable(point, may_wait):
        return plain_map(point, plan, taps), None
    plan, there = for_any_batch(plan), point.device
    if there.type != "cpu":
        point = point.cpu()
    key = tuple(point.numpy().tolist()), plan, taps, point.dtype, from_output, there
    found: LearnedMap | None = learned.find(key)
    if found is None:
        found = _built(point, plan, taps, there, from_output=from_output)
        _wait_until_built(there)
        learned.keep(key, _array_entries(plan, taps), found)
    return found


def is_readable(point: torch.Tensor, may_wait: bool) -> bool:
    """Whether the host can read these strides now: on another device only if it may wait for it."""
    plain = is_plain_eager() and type(point) is torch.Tensor and not point.is_meta
    return plain and (may_wait or point.device.type == "cpu")


def _built(
    point: torch.Tensor,
    plan: Plan,
    taps: AllTaps,
    there: torch.device,
    *,
    from_output: bool = False,
    learn: bool = True,
) -> LearnedMap:
    """Build a map for strides on the CPU: by NumPy, where all axes are short ones."""
    from_output = from_output and "fft" not in plan.methods and there.type == "cpu"
    by_numpy = "fft" not in plan.methods and max(plan.sizes) <= LONGEST_ON_HOST
    how = None
    if by_numpy or from_output:
        on_host = plain_map(point.numpy(), plan, taps, learn=learn)
    # Tensors that were made in inference mode could not serve in training later.
    with torch.inference_mode(False), torch.no_grad():
        if not by_numpy:
            op = plain_map(point.to(there), plan, taps, learn=learn)
        elif there.type == "cpu":
            op = handed_over(on_host, torch.from_numpy)
        else:
            op = sent(on_host, partial(_to_device, there))
    if from_output:
        # Where a convolution reads the output, its caller knows what is less.
        how = choose(on_host, always=taps is not None)
    if how is not None:
        how = how.converted(torch.from_numpy) if by_numpy else how.found_in(op)
    return op, how


def _to_device(there: torch.device, arrays: list[Any]) -> list[torch.Tensor]:
    """Bring many small arrays of NumPy to a device in one copy."""
    here = [torch.from_numpy(array).reshape(-1) for array in arrays]
    moved = torch.split(torch.cat(here).to(there), [one.numel() for one in here])
    return [one.view(array.shape) for one, array in zip(moved, arrays, strict=True)]


def constant_map(
    strides: Strides, plan: Plan, taps: AllTaps, x: torch.Tensor, *, may_wait: bool = False
) -> Resampling:
    """Build a map that nothing is asked of but its values, once for each value of the strides.

    Strides in a tensor are known by their values where they can be read, as `is_readable` says. A
    hard crop has one map for all of them.
    """
    if strides is None:
        return crop_map(plan, taps, x)
    dtype = working_dtype(torch, x.dtype)
    if isinstance(strides, torch.Tensor):
        if not is_readable(strides.detach(), may_wait):
            return plain_map(strides, plan, taps, learn=False)
        strides = tuple(strides.tolist())
    elif not is_plain_eager():
        point = torch.tensor(strides, dtype=dtype, device=x.device)
        return plain_map(point, plan, taps, learn=False)
    values = strides
    plan = for_any_batch(plan)

    def build() -> Resampling:
        point = torch.tensor(values, dtype=dtype, device="cpu")
        return _built(point, plan, taps, x.device, learn=False)[0]

    key = "strides", values, plan, taps, dtype, x.device
    return _once_for_all(key, plan, taps, build, x.device)


def crop_map(plan: Plan, taps: AllTaps, x: torch.Tensor) -> Resampling:
    """Build the map of a hard crop, once for each plan."""
    if not is_plain_eager() or type(x) not in (torch.Tensor, torch.nn.Parameter):
        return plain_crop(plan, taps, x)
    plan = for_any_batch(plan)
    key = "crop", plan, taps, working_dtype(torch, x.dtype), x.device
    return _once_for_all(key, plan, taps, lambda: plain_crop(plan, taps, x), x.device)


def plain_crop(plan: Plan, taps: AllTaps, x: torch.Tensor) -> Resampling:
    """Build the map of a hard crop by PyTorch, whatever watches it."""
    op = hard_crop(x, plan)
    return op if taps is None else with_taps(op, taps)


def _once_for_all(
    key: Hashable,
    plan: Plan,
    taps: AllTaps,
    build: Callable[[], Resampling],
    there: torch.device,
) -> Resampling:
    """Return the constant map of a key, built with its matrices when it is first asked for."""
    found: Resampling | None = constant.find(key)
    if found is None:
        # Tensors that were made in inference mode could not serve in training later.
        with torch.inference_mode(False), torch.no_grad(), no_dispatch():
            found = build()
            for axis_map, method in zip(found.maps, plan.methods, strict=True):
                if axis_map is not None and method == "matmul" and not axis_map.is_identity:
                    axis_map.matrix  # noqa: B018  # asked for, so that it is built
        if _is_recorded(there):
            return found  # its arrays hold nothing before the graph is replayed
        _wait_until_built(there)
        constant.keep(key, _array_entries(plan, taps), found)
    return found


def _is_recorded(there: torch.device) -> bool:
    """Whether a CUDA graph is being recorded, so that nothing is computed now."""
    return there.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _wait_until_built(there: torch.device) -> None:
    """Wait for a device's arrays, which are kept for all of its streams, and not this one alone."""
    if there.type == "cuda":
        torch.cuda.current_stream(there).synchronize()
