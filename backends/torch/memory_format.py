"""How tensors lie in memory, and whose it is.

A channels-last tensor is a contiguous one whose axes are named otherwise.
"""

from collections.abc import Callable

import torch

from spectral_stride.plan import Plan, permuted_plan

# Logical axes in the order in which torch.channels_last and torch.channels_last_3d store them.
_CHANNELS_LAST = {4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}


def stored_order(x: torch.Tensor) -> tuple[int, ...] | None:
    """Return the axes in memory order if ``x`` is channels-last; None if it is anything else.

    Where both orders are the same, as with one channel, it counts as contiguous.
    """
    order = _CHANNELS_LAST.get(x.ndim)
    # The permuted view is asked, not the memory format: vmap has no rule for the latter.
    if order is None or x.is_contiguous() or not x.permute(order).is_contiguous():
        return None
    return order


def logical_order(y: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """Undo ``permute(order)``; the result is stored in that order."""
    back = tuple(order.index(axis) for axis in range(len(order)))
    return y.contiguous().permute(back)


def owned(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return y, which was made of x, as a tensor that whoever gets it may change in place.

    That is neither x itself, where there was nothing to do, nor a view of what nobody else has,
    which autograd would guard.
    """
    if y is x:
        return x.clone()
    if torch.compiler.is_compiling() or not y._is_view():
        return y
    same: torch.Tensor = torch.ops.aten._unsafe_view(y, y.shape)
    return same


def as_stored(
    x: torch.Tensor, plan: Plan, order: tuple[int, ...] | None
) -> tuple[torch.Tensor, Plan]:
    """Return x with its axes in memory order, and the plan for that; both as they are for None."""
    return (x, plan) if order is None else (x.permute(order), permuted_plan(plan, order))


def in_stored_order(
    x: torch.Tensor, plan: Plan, apply: Callable[[torch.Tensor, Plan], torch.Tensor]
) -> torch.Tensor:
    """Apply what follows a plan to x with its axes as they lie in memory."""
    order = stored_order(x)
    y = apply(*as_stored(x, plan, order))
    return y if order is None else logical_order(y, order)
