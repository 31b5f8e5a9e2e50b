"""Memory formats: a channels-last tensor is a contiguous one whose axes are named otherwise."""

import torch

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
