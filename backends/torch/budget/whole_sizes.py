"""Whole sizes whose cost is within a budget, near real ones or as near to them as can be."""

from collections.abc import Callable

import torch

from spectral_stride.torch.budget.network_cost import LEAST, NetworkCost

# Of the target: what a settled network may cost.
WITHIN = 0.98, 1.005
# Combinations that are kept, the nearest ones, while axis after axis is added.
_KEPT = 4096
# Whole sizes that are tried around a real one, from the one below it.
_AROUND = -1, 0, 1, 2
# Where none of these fits: how many layers get any size whatever, one after the other, and from how
# many combinations on either side of the target. About how many sizes stand for all, and how far
# from its own all are tried.
_LAYERS, _EITHER, _ANY, _NEAR = 3, 8, 24, 3

# What of the target a map is worth whose axes are apart by a square of 1 in the logarithm.
_SHAPE = 0.05

Cost = Callable[[torch.Tensor], torch.Tensor]


def nearest(
    network: NetworkCost, cost: Cost, strides: torch.Tensor, steps: torch.Tensor, target: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return whole sizes and their costs, the best first.

    Those within the target come first, by their distance in log size. Behind them come those whose
    cost is nearest to the target from below, then from above.

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
    sizes : Tensor of shape (combinations, axes)
    costs : Tensor of shape (combinations,)
    """
    real = network.sizes(strides)
    sizes = _around(network, real, steps)
    costs = cost(sizes)
    for _ in range(_LAYERS):
        if (outside(costs / target) == 0).any():
            break
        # On both sides of a leap, from where another layer may make good what is missing.
        order, below = (costs - target).abs().argsort(), costs <= target
        ends = [order[side[order]][:_EITHER] for side in (below, ~below)]
        sizes = _with_any_layer(network, sizes[torch.cat(ends)], steps)
        costs = cost(sizes)
    distances, away = (
        (sizes / real).log().square().sum(-1),
        misfit(network, real, sizes, costs / target),
    )
    # What lies within has a distance below all others'.
    order = (distances + (away > 0) * 1e6 * (1 + away)).argsort()
    return sizes[order], costs[order]


def misfit(
    network: NetworkCost, real: torch.Tensor, sizes: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """Tell how badly whole sizes fit that cost this share of the target; 0 is within.

    A stretched map weighs against a cost that is nearer.
    """
    moves = (sizes / real).log()
    names = [axis.layer for axis in network.axes]
    layer = torch.tensor([names.index(name) for name in names])
    sums = torch.zeros_like(moves).index_add(-1, layer, moves)
    means = sums / layer.bincount(minlength=len(names)).clamp(min=1)
    unlike = (moves - means[..., layer]).square().sum(-1)
    away = outside(share)
    return (away > 0) * (away + _SHAPE * unlike)


def outside(share: torch.Tensor) -> torch.Tensor:
    """Tell how far outside of the budget a share of the target is; 0 is within.

    A budget is not to be exceeded: what costs too much is farther off than all that costs less.
    """
    least, most = WITHIN
    away: torch.Tensor = (least - share).clamp(min=0) + (share > most) * (1 + share - most)
    return away


def _around(network: NetworkCost, real: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Combine whole sizes around the real ones."""
    found, distances = real[None], real.new_zeros(1)
    around = torch.tensor(_AROUND, dtype=real.dtype)
    for number, first in enumerate(_first_axes(network)):
        if first == number:
            wanted = ((real[number] / steps[number]).floor() + around) * steps[number]
            count = len(around)
            distances = distances.repeat_interleave(count)
            wanted = wanted.repeat(len(found))
            found = found.repeat_interleave(count, 0)
            found[:, number] = wanted
        _fit(network, found, number, first, steps)
        distances = distances + (found[:, number] / real[number]).log().square()
        found, places = torch.unique(found, dim=0, return_inverse=True)
        distances = distances.new_zeros(len(found)).scatter(0, places, distances)
        distances, kept = distances.topk(min(_KEPT, len(found)), largest=False)
        found = found[kept]
    return found


def _with_any_layer(network: NetworkCost, rows: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Return combinations, and these with other sizes of one layer.

    They are the size that it had, in any ratio, and those around its own; one axis may keep a
    sample more.
    """
    firsts, layers = _first_axes(network), dict[str, list[int]]()
    for number, axis in enumerate(network.axes):
        if firsts[number] == number:
            layers.setdefault(axis.layer, []).append(number)
    found = [rows]
    for numbers in layers.values():
        most = rows.new_tensor([network.axes[number].before for number in numbers])
        ratios = torch.logspace(0, float((LEAST / most.max()).log2()), _ANY, 2, dtype=rows.dtype)
        own = rows[:, None, numbers] + torch.arange(-_NEAR, _NEAR + 1)[:, None]
        alike = torch.cat([own, (ratios[:, None] * most).round().expand(len(rows), -1, -1)], 1)
        for more in [most * 0, *torch.eye(len(numbers), dtype=rows.dtype)]:
            chosen = rows[:, None].repeat(1, alike.shape[1], 1)
            chosen[:, :, numbers] = alike + more
            found.append(chosen.flatten(0, 1))
    sizes = torch.unique(torch.cat(found), dim=0)
    for number, first in enumerate(firsts):
        sizes[:, number] = (sizes[:, number] / steps[number]).ceil() * steps[number]
        _fit(network, sizes, number, first, steps)
    whole: torch.Tensor = torch.unique(sizes, dim=0)
    return whole


def _first_axes(network: NetworkCost) -> list[int]:
    """Find for each axis the first one with the same stride: that is where it is chosen."""
    first: dict[int, int] = {}
    return [first.setdefault(axis.entry, number) for number, axis in enumerate(network.axes)]


def _fit(
    network: NetworkCost, rows: torch.Tensor, number: int, first: int, steps: torch.Tensor
) -> None:
    """Bring the sizes on one axis to what can be, where those before it are right already."""
    before = network.before(rows).round()
    if first != number:  # the stride is chosen: ceil(N/s)
        stride = before[:, first] / rows[:, first]
        rows[:, number] = (before[:, number] / stride / steps[number] - 1e-6).ceil() * steps[number]
    least = network.least[number]
    rows[:, number] = torch.minimum(rows[:, number].clamp(min=float(least)), before[:, number])
