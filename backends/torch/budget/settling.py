"""Which whole sizes a network settles at: what it costs with them is counted in a copy of it."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from spectral_stride import checks
from spectral_stride.torch.adopt.places import Sample
from spectral_stride.torch.budget.all_strides import AllStrides
from spectral_stride.torch.budget.counted import counted
from spectral_stride.torch.budget.equal_cost import EqualCost
from spectral_stride.torch.budget.network_cost import NetworkCost, real
from spectral_stride.torch.budget.whole_sizes import WITHIN, misfit, nearest, outside
from spectral_stride.torch.layers.whole_network import release_sizes

# How many combinations of whole sizes are counted in the network, and for how many of these one
# stands where none is expected to fit.
TRIED, TRIED_IN_VAIN = 24, 4
# How far off, of the target, a count is that no sizes around the present ones can make good.
FAR = 0.05


@dataclass(frozen=True)
class Settled:
    """Whole sizes, the strides that leave them, and what they cost.

    Attributes
    ----------
    log_strides : Tensor of shape (entries,)
    sizes : list of float
    cost : float
    above : float
        Share of the target that the cheapest others cost which are above the budget, about.
    """

    log_strides: torch.Tensor
    sizes: list[float]
    cost: float
    above: float


class Settling:
    """The search for whole sizes with which a network costs what it should.

    Parameters
    ----------
    model, sample
        What is counted.
    network : NetworkCost
    cost : callable
        Of sizes: ``network``, or what was measured.
    """

    def __init__(
        self,
        model: nn.Module,
        sample: Sample,
        network: NetworkCost,
        cost: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self._model, self._sample = copy.deepcopy(model), sample
        self._network, self._cost = network, cost
        self._strides = AllStrides(self._model)
        self._failed: Exception | None = None
        release_sizes(self._model)
        self._strides.freeze()
        self._steps = real([self._strides.layers[axis.layer].multiple_of for axis in network.axes])

    def best(self, surface: EqualCost, log_strides: torch.Tensor, target: float) -> Settled:
        """Return the whole sizes near these strides that fit the target, or fit it best.

        Where the cost of real sizes errs, as where a network pads odd sizes, the search goes on for
        what that has to be.
        """
        best: tuple[float, Settled] | None = None
        present = self._network.sizes(log_strides.exp())
        for settled in self._tried(surface, log_strides, target):
            share = real(settled.cost / target)
            away = float(misfit(self._network, present, real(settled.sizes), share))
            if best is None or away < best[0]:
                best = away, settled
            if away == 0:
                break
        if best is None:
            got = "no whole sizes at which it runs"
            got += f" ({checks.first_line(self._failed)})" if self._failed else ""
            allowed, remedy = "some near the present ones", "set upper in its layers"
            raise ValueError(
                f"model: got {got}; allowed: {allowed}; instead: {remedy}"
            ) from self._failed
        return best[1]

    def _tried(
        self, surface: EqualCost, log_strides: torch.Tensor, target: float
    ) -> Iterator[Settled]:
        """Count one combination after the other."""
        wanted, near, tried, left = target, log_strides, set(), TRIED
        while left > 0:
            found, costs = nearest(self._network, self._cost, near.exp(), self._steps, wanted)
            shares = costs / wanted
            left -= TRIED_IN_VAIN if outside(shares[0]) else 1
            sizes = next((one for one in found.tolist() if tuple(one) not in tried), None)
            if sizes is None:
                break
            tried.add(tuple(sizes))
            try:
                sizes, before = self._left(sizes)
                strides = self._strides_of(sizes, before, log_strides.exp())
                expected = cost = float(self._cost(real(sizes)))
                if self._cost is self._network:
                    self._strides.write(strides.tolist())
                    cost = float(sum(counted(self._model, self._sample, self._network.kind)))
            except Exception as error:  # with so few samples a network fails in its own way
                self._failed = error
                continue
            above = float(shares.where(shares > WITHIN[1], math.inf).amin())
            yield Settled(strides.log(), sizes, cost, above)
            wanted = target * expected / cost
            if not 1 - FAR < cost / target < 1 + FAR:
                near = surface.onto(log_strides, math.log(wanted))

    def _left(self, sizes: list[float]) -> tuple[list[float], list[int]]:
        """Return sizes as the network leaves them, no more than layers see; and what these see."""
        while True:
            before = self._network.probe.again([round(size) for size in sizes]).before
            left = [min(size, float(seen)) for size, seen in zip(sizes, before, strict=True)]
            if left == sizes:
                return sizes, before
            sizes = left

    def _strides_of(
        self, sizes: Sequence[float], before: Sequence[int], strides: torch.Tensor
    ) -> torch.Tensor:
        """Return the strides that leave whole sizes of what layers see then."""
        triples = list(zip(self._network.axes, before, sizes, strict=True))
        for axis, seen, size in reversed(triples):  # of several axes the first one decides
            strides[axis.entry] = seen / size
        return strides
