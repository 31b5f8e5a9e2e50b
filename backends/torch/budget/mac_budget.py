"""Training that ends at a cost: strides move where the cost is equal, and settle on whole sizes."""

import copy
import math
import warnings
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from spectral_stride import checks
from spectral_stride.torch.adopt.places import Sample
from spectral_stride.torch.budget.all_strides import AllStrides
from spectral_stride.torch.budget.balanced import balanced
from spectral_stride.torch.budget.counted import counted
from spectral_stride.torch.budget.direction import Direction
from spectral_stride.torch.budget.equal_cost import EqualCost
from spectral_stride.torch.budget.latency import Latency, Table
from spectral_stride.torch.budget.network_cost import NetworkCost, real
from spectral_stride.torch.budget.schedule import Schedule
from spectral_stride.torch.budget.settling import Settling
from spectral_stride.torch.budget.whole_sizes import WITHIN

COSTS = "macs", "memory"
PRESENT, BALANCED = BEGINNINGS = "present", "balanced"


def _counted(cost: float) -> str:
    """Write a count with all of its digits, and a time that was measured with some."""
    return f"{cost:,.0f}" if cost >= 1000 else f"{cost:.6g}"


class MacBudget:
    r"""Training of a network that ends at a given cost.

    The strides s leave n = N/s of N samples, and the cost is a function of all n: convolutions,
    products and what the layers take themselves. In the space of log strides theta, every step goes
    against the loss along the surface of equal cost, and then back onto it:

        d <- d - (d.c / c.c) c,  theta <- theta - rate d,  with c the gradient of log cost.

    Here d is the averaged gradient of the loss in theta, divided by its own size. No penalty is
    needed, and nothing is tuned. From the present strides the cost goes to the target within the
    first fifth of the steps. At ``settle_at`` sizes become whole numbers within the budget, strides
    stand still, layers crop hard, and the weights adapt to what is shipped.

    Parameters
    ----------
    model : Module
        With `DiffStride` layers: a network that `convert` made, for example. Where it is compiled
        or data-parallel, the network inside of that is taken.
    sample : Tensor, tuple or dict
        What the network is called on. Its costs are counted on this sample, so pass a batch of one.
    target : float
        A share in (0, 1] of the present cost, or a larger number: the cost itself.
    steps : int, optional
        Steps of the whole training. Without it call `settle`.
    cost : {"macs", "memory"} or dict, optional
        Multiply-accumulates as `torch.utils.flop_counter` counts them; bytes that autograd keeps
        for the backward pass; or times that were measured, ``{layer: {size: time}}``. Between its
        entries such a table is linear in the number of samples.
    begin : {"present", "balanced"}, optional
        Where strides begin: where they are; or at the target at once, with sizes at which
        operations take about as many multiply-accumulates as one another, as near to that as bounds
        allow, and height and width alike. Then it plays no part what the strides were, but that a
        share of the present cost is one of theirs. "balanced" is for networks that are trained from
        their first weights on.
    shared : bool, optional
        Whether all axes of a layer move alike. Apart, height and width walk at random.
    settle_at : float, optional
        Share of the steps after which sizes settle.
    rate : float, optional
        Of the first step, in log strides: it falls to 0 as a cosine. By default 5.8 over the number
        of steps.

    Attributes
    ----------
    target : float
        The cost to be reached.
    steps_done : int

    Raises
    ------
    ValueError, TypeError
        For a model without learnable strides, a sample that it does not take, a network that does
        something else at other sizes, and a target that no strides within their bounds reach, or
        none with which the network runs. The model is unchanged then.

    Warns
    -----
    UserWarning
        From `settle`, where no whole sizes are found that cost between 2 % less and 0.5 % more than
        the target. Then those are taken that are nearest to it from below, of those that stretch no
        map much.

    Notes
    -----
    The model's optimizer may have the strides among its parameters or not: `step` writes them
    itself. Gradients are those of the strides after ``backward()``, so call it before
    ``zero_grad()``.

    A copy of the network runs twice for each axis when the budget is made, and more often where it
    does not run with two samples left of each. Processes of a
    data-parallel training see equal gradients, and so agree without a word.

    A network that was settled has ``hard=True`` in all of its layers.

    `state_dict` and `load_state_dict` let a training go on. Make the budget first, of the model as
    it was at its start: the target is a share of its cost then. Load the model, then the budget.

    The recipe was tried on residual networks of CIFAR-10 only; see the page on budgets.

    Examples
    --------
    >>> import torch
    >>> from spectral_stride.torch import MacBudget, resnet18
    >>> net, x = resnet18(width=8, strides=(1, 2, 2, 2, 1)), torch.randn(2, 3, 32, 32)
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> budget = MacBudget(net, x[:1], 0.5, steps=10)
    >>> for _ in range(10):
    ...     net(x).square().mean().backward()
    ...     optimizer.step()
    ...     budget.step()
    ...     optimizer.zero_grad()
    >>> budget.settled, 0.98 < budget.cost() / budget.target < 1.005
    (True, True)
    """

    @checks.known_options
    def __init__(
        self,
        model: nn.Module,
        sample: Sample,
        target: float,
        *,
        steps: int | None = None,
        cost: str | Table = "macs",
        begin: str = PRESENT,
        shared: bool = True,
        settle_at: float = 0.6,
        rate: float | None = None,
    ) -> None:
        self._model = _inner(model)
        # A part of a larger batch keeps the memory of all of it.
        self._sample = tree_map_only(torch.Tensor, torch.clone, sample)
        self._strides = AllStrides(self._model)
        begin = checks.one_of("begin", begin, BEGINNINGS)
        self._schedule = Schedule(steps, settle_at, rate)
        shared = checks.truth("shared", shared, True)
        self._table = None if isinstance(cost, str) else cost
        self._kind = "macs" if self._table is not None else checks.one_of("cost", cost, COSTS)
        self._origin = self._strides.read().tolist()
        self._probe()
        acting = {axis.entry for axis in self._network.axes if axis.before > 1}
        trainable = self._strides.trainable().tolist()
        moving = torch.tensor([one and entry in acting for entry, one in enumerate(trainable)])
        if not moving.any():
            got, allowed = "one that no learned stride acts on", "an input that a layer resamples"
            remedy = (
                "pass a sample that reaches a DiffStride, with more than one sample on its axes"
            )
            checks.refuse(ValueError, "sample", got, allowed, remedy)
        self._surface = EqualCost(
            lambda theta: self._at(theta).log(),
            lambda theta: self._strides.bounds(self._network, self._sizes(theta)),
            self._strides.numbered(by_layer=shared),
            moving,
        )
        self._log_strides = real(self._origin).log()
        self._direction = Direction(len(self._surface.summed(self._log_strides)))
        self.steps_done = 0
        self._first_cost = float(self._at(self._log_strides))
        # Once they are settled: whole sizes, and what they cost.
        self._whole: tuple[list[float], float] | None = None
        self.target = self._checked(target, moving)
        if begin == BALANCED:
            self._balance(moving)

    @property
    def settled(self) -> bool:
        """Whether sizes are whole and stand still."""
        return self._whole is not None

    def cost(self) -> float:
        """Cost at the present strides: of real sizes, and of whole ones once they are settled."""
        return self._whole[1] if self._whole else float(self._at(self._log_strides))

    def sizes(self) -> dict[str, tuple[float, ...]]:
        """Present sizes N/s behind the first call of each layer, by its name."""
        sizes = self._whole[0] if self._whole else self._sizes(self._log_strides).tolist()
        found: dict[str, tuple[float, ...]] = {}
        for call in self._network.calls:
            if call.axes:
                found.setdefault(call.layer, tuple([sizes[axis] for axis in call.axes]))
        return found

    def step(self) -> None:
        """Move the strides by one step; call it after ``optimizer.step()``.

        Raises
        ------
        ValueError
            If no layer has a gradient.
        """
        if not self.settled:
            gradient = self._strides.take_gradients() * self._log_strides.exp()
            direction = self._direction.follow(self._surface.averaged(gradient))
            move = -self._schedule.rate(self.steps_done) * direction
            self._log_strides = self._surface.along(self._log_strides, move)
        self.steps_done += 1
        if not self.settled:
            self._log_strides = self._surface.onto(self._log_strides, self._goal())
            if self._schedule.is_time_to_settle(self.steps_done):
                self.settle()
        self._write()

    def settle(self) -> None:
        """Settle: whole sizes within the budget, strides that stand still, layers that crop hard.

        By itself `step` does it at its share of the steps.
        """
        if self.settled:
            return
        theta = self._surface.onto(self._log_strides, math.log(self.target))
        search = Settling(self._model, self._sample, self._network, self._cost)
        found = search.best(self._surface, theta, self.target)
        self._log_strides, self._whole = found.log_strides, (found.sizes, found.cost)
        self._write()
        self._strides.freeze()
        least, most = WITHIN
        share = self.cost() / self.target
        if not least <= share <= most:
            above = (
                f"; the next ones cost about {found.above:.1%}" if found.above < math.inf else ""
            )
            warnings.warn(
                f"MacBudget: no whole sizes were found that cost {least:.1%} to {most:.1%} of the "
                f"target, where the cost leaps: it settled at {self.cost():,.6g}, {share:.1%} of it"
                + above,
                stacklevel=2,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what a training that goes on needs, as numbers and lists."""
        return {
            "steps_done": self.steps_done,
            "target": self.target,
            "start": self._first_cost,
            "log_strides": self._log_strides.tolist(),
            "whole": self._whole,
            "origin": self._origin,
            **self._direction.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`, and bring the model's strides where they were.

        Raises
        ------
        ValueError
            For the state of another network, and for anything else. Nothing has changed then.
        """
        own = self.state_dict()
        if not isinstance(state, dict) or own.keys() - state.keys():
            got = type(state).__name__ if not isinstance(state, dict) else f"one with {[*state]}"
            allowed = "what state_dict() returned, a dict with " + ", ".join(own)
            checks.refuse(ValueError, "state", got, allowed, "pass the state of a budget")
        count = len(state["log_strides"])
        if count != len(self._log_strides) or len(state["average"]) != len(own["average"]):
            allowed = f"that of a network with {len(self._log_strides)} strides"
            remedy = "make the budget of the model that was trained"
            checks.refuse(ValueError, "state", f"one with {count} strides", allowed, remedy)
        if state["origin"] != self._origin:
            # The cost is to be the same function: it was found around other sizes.
            self._origin = list(state["origin"])
            self._strides.write(self._origin)
            self._probe()
        self.steps_done, self.target, self._first_cost = (
            state[name] for name in ("steps_done", "target", "start")
        )
        self._log_strides = real(state["log_strides"])
        self._direction.load_state_dict(state)
        self._whole = tuple(state["whole"]) if state["whole"] else None
        self._write()
        if self.settled:
            self._strides.freeze()

    def __repr__(self) -> str:
        """The cost, the target and how far it is."""
        steps = self._schedule.steps or "any"
        done = "settled" if self.settled else f"{self.steps_done} of {steps} steps"
        return f"MacBudget(cost={self.cost():,.6g}, target={self.target:,.6g}, {done})"

    def _probe(self) -> None:
        """Find how the cost follows from sizes, around those that the network has."""
        self._network = NetworkCost(self._model, self._sample, self._kind)
        self._cost: Any = self._network
        if self._table is not None:
            self._cost = Latency(self._table, self._network.axes, self._network.calls)

    def _balance(self, moving: torch.Tensor) -> None:
        """Begin at the target, where operations cost about the same."""
        network = self._network
        if self._kind != "macs":
            network = NetworkCost(self._model, self._sample, "macs")
        surface = EqualCost(
            self._surface.log_cost, self._surface.bounds, self._strides.numbered(True), moving
        )
        goal = math.log(self.target)
        theta = balanced(surface, network, self._log_strides, goal)
        self._log_strides = self._surface.onto(theta, goal)
        self._first_cost = self.target
        self._write()
        self._strides.hold_anew()

    def _write(self) -> None:
        self._strides.write(self._log_strides.exp().tolist())

    def _sizes(self, log_strides: torch.Tensor) -> torch.Tensor:
        return self._network.sizes(log_strides.exp())

    def _at(self, log_strides: torch.Tensor) -> torch.Tensor:
        cost: torch.Tensor = self._cost(self._sizes(log_strides))
        return cost

    def _checked(self, target: Any, moving: torch.Tensor) -> float:
        """Return the target as a cost, or refuse one that no strides reach."""
        given, theta = checks.real_number(target), self._log_strides
        bounds = self._strides.own_bounds()
        low, high = (torch.where(moving, bound, theta) for bound in bounds)
        # Without strides the network may cost less than now: what keeps its size is not resampled.
        most, least = max(float(self._at(low)), self._first_cost), float(self._at(high))
        if self._cost is self._network:
            # As counted: what a network pads to costs more than its real sizes say.
            least = max(least, self._network.least_cost)
        present = self._first_cost
        if self._cost is self._network:
            copied = copy.deepcopy(self._model)
            present = float(sum(counted(copied, self._sample, self._kind)))
        found = min(given * present, most) if 0 < given <= 1 else given
        if not least <= found * WITHIN[1] <= most * WITHIN[1] ** 2:
            smallest = math.ceil(100 * least / present) / 100
            share = f"a share from {smallest:g} to 1 of the present cost, {_counted(present)}; or "
            allowed = (
                f"{share if smallest <= 1 else ''}a cost from {_counted(least)} to "
                f"{_counted(most)}, which the bounds of the strides allow"
            )
            remedy = f"write {max(0.5, smallest):g}" if smallest <= 1 else f"write {least:.4g}"
            checks.refuse(ValueError, "target", checks.shown(target), allowed, remedy)
        return found

    def _goal(self) -> float:
        """Log cost of now: it goes to the target's linearly."""
        start, end = math.log(self._first_cost), math.log(self.target)
        return start + self._schedule.way(self.steps_done) * (end - start)


def _inner(model: Any) -> nn.Module:
    """Return the network in what a compiler or a data-parallel training has made of it."""
    if not isinstance(model, nn.Module):
        allowed = "a torch.nn.Module, compiled, data-parallel or plain"
        checks.refuse(TypeError, "model", type(model).__name__, allowed, "pass the network")
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            network: nn.Module = model
            return network
