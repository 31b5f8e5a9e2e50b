"""How tensors lie in memory, and whose it is.

A channels-last tensor is a contiguous one whose axes are named otherwise.
"""

import torch

from spectral_stride.plan import Plan, replanned

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


def in_order(plan: Plan, order: tuple[int, ...] | None) -> Plan:
    """Return the plan for ``x.permute(order)``, or as it is for None."""
    if order is None:
        return plan
    shape = [plan.shape[axis] for axis in order]
    return replanned(plan, shape=shape, axes=[order.index(axis) for axis in plan.axes])


def writable(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
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
