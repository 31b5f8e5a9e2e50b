"""Which whole sizes a network settles at: what it costs with them is counted in a copy of it."""

import copy
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
from spectral_stride.torch.budget.whole_sizes import nearest, outside
from spectral_stride.torch.layers.whole_network import release_sizes

# How many combinations of whole sizes are counted in the network.
TRIED = 24
# How far off, of the target, a count is that no sizes around the present ones can make good.
FAR = 0.05


@dataclass(frozen=True)
class Settled:
    """Whole sizes, the strides that leave them, and what they cost."""

    log_strides: torch.Tensor
    sizes: list[float]
    cost: float


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
        release_sizes(self._model)
        self._strides.freeze()
        self._steps = real([self._strides.layers[axis.layer].multiple_of for axis in network.axes])

    def best(self, surface: EqualCost, log_strides: torch.Tensor, target: float) -> Settled:
        """Return the whole sizes near these strides that fit the target, or fit it best.

        Where the cost of real sizes errs, as where a network pads odd sizes, the search goes on for
        what that has to be.
        """
        best: tuple[float, Settled] | None = None
        for settled, away in self._tried(surface, log_strides, target):
            if best is None or away < best[0]:
                best = away, settled
            if away == 0:
                break
        if best is None:
            got, allowed = "no whole sizes at which it runs", "some near the present ones"
            checks.refuse(ValueError, "model", got, allowed, "set upper in its layers")
        return best[1]

    def _tried(
        self, surface: EqualCost, log_strides: torch.Tensor, target: float
    ) -> Iterator[tuple[Settled, float]]:
        """Count one combination after the other, with how far each is outside of the budget."""
        wanted, near, tried = target, log_strides, set()
        for _ in range(TRIED):
            candidates = nearest(self._network, self._cost, near.exp(), self._steps, wanted)
            sizes = next((one for one in candidates.tolist() if tuple(one) not in tried), None)
            if sizes is None:
                break
            tried.add(tuple(sizes))
            try:
                strides = self._strides_of(sizes, log_strides.exp())
            except ValueError:  # with so few samples the network does not run
                continue
            expected = cost = float(self._cost(real(sizes)))
            if self._cost is self._network:
                self._strides.write(strides.tolist())
                cost = float(sum(counted(self._model, self._sample, self._network.kind)))
            away = float(outside(real(cost / target)))
            yield Settled(strides.log(), sizes, cost), away
            wanted = target * expected / cost
            if away > FAR:
                near = surface.onto(log_strides, float(real(wanted).log()))

    def _strides_of(self, sizes: Sequence[float], strides: torch.Tensor) -> torch.Tensor:
        """Return the strides that leave whole sizes of what layers see then."""
        before = self._network.probe.again([round(size) for size in sizes]).before
        triples = list(zip(self._network.axes, before, sizes, strict=True))
        for axis, seen, size in reversed(triples):  # of several axes the first one decides
            strides[axis.entry] = max(seen / size, 1.0)
        return strides
