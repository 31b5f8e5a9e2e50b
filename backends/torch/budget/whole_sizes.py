"""Whole sizes near real ones, whose cost is within a budget."""

from collections.abc import Callable

import torch

from spectral_stride.torch.budget.network_cost import LEAST, NetworkCost

# Of the target: what a settled network may cost.
WITHIN = 0.98, 1.005
# Combinations that are kept, the nearest ones, while axis after axis is added.
_KEPT = 4096
# Whole sizes that are tried around a real one, from the one below it.
_AROUND = -1, 0, 1, 2


def nearest(
    network: NetworkCost,
    cost: Callable[[torch.Tensor], torch.Tensor],
    strides: torch.Tensor,
    steps: torch.Tensor,
    target: float,
) -> torch.Tensor:
    """Return whole sizes, the best first: those within the target, by their distance in log size.

    Behind them those whose cost is nearest to the target from below, then from above.

    Parameters
    ----------
    network : NetworkCost
        Which sizes lie behind which.
    cost : callable
        Of sizes.
    strides : Tensor of shape (entries,)
    steps : Tensor of shape (axes,)
        Of what the size on each axis has to be a multiple, unless the axis keeps its size.
    target : float

    Returns
    -------
    Tensor of shape (combinations, axes)
    """
    sizes, distances = _combinations(network, strides, steps)
    away = outside(cost(sizes) / target)
    # What lies within has a distance below all others'.
    return sizes[(distances + (away > 0) * (1e6 * (1 + away))).argsort()]


def outside(share: torch.Tensor) -> torch.Tensor:
    """Tell how far outside of the budget a share of the target is; 0 is within.

    A budget is not to be exceeded: what costs too much is farther off than all that costs less.
    """
    least, most = WITHIN
    return (least - share).clamp(min=0) + (share > most) * (1 + share - most)


def _combinations(
    network: NetworkCost, strides: torch.Tensor, steps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Combine whole sizes around the real ones; return them, and their distances."""
    real = network.sizes(strides)
    found, distances = real[None], real.new_zeros(1)
    first: dict[int, int] = {}
    around = torch.tensor(_AROUND, dtype=real.dtype)
    for number, axis in enumerate(network.axes):
        before = network.before(found)[:, number].round()
        step = steps[number]
        if axis.entry in first:
            # The stride is chosen: ceil(N/s).
            other = first[axis.entry]
            stride = network.before(found)[:, other].round() / found[:, other]
            sizes = (before / stride / step - 1e-6).ceil()[:, None] * step
        else:
            first[axis.entry] = number
            sizes = ((real[number] / step).floor() + around).expand(len(found), -1) * step
        sizes = torch.minimum(sizes.clamp(min=LEAST), before[:, None])
        away = (sizes / real[number]).log().square()
        total = (distances[:, None] + away).flatten()
        rows = found.repeat_interleave(sizes.shape[1], 0)
        rows[:, number] = sizes.flatten()
        rows, places = torch.unique(rows, dim=0, return_inverse=True)
        distances = total.new_zeros(len(rows)).scatter(0, places, total)
        distances, kept = distances.topk(min(_KEPT, len(rows)), largest=False)
        found = rows[kept]
    return found, distances
