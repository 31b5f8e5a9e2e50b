"""Where strides may begin whatever they were: sizes at which all operations cost about the same."""

import torch

from spectral_stride.torch.budget.equal_cost import EqualCost, Vector
from spectral_stride.torch.budget.network_cost import NetworkCost

# How far strides go in a step of the search, as a share of the slope. How many steps it has at
# most, and the move, in log strides, at which it ends.
RATE, STEPS, STILL = 0.3, 100, 5e-4
# How often the cost of operations is chosen anew, for all that costs beside them, at most; and the
# error of the logarithm of the whole cost at which it is right.
PASSES, NEAR = 8, 1e-3
# How much faster or slower than that of operations the whole cost is taken to grow.
GROWTH = 0.2, 5.0


def balanced(surface: EqualCost, network: NetworkCost, theta: Vector, goal: float) -> Vector:
    """Move to where log cost is ``goal`` and the costs c of operations are as equal as they can be.

    There the sum of sqrt(c) is the largest that the sum of c allows: where nothing is in the way
    all c are equal, as in the usual networks of half the sizes and twice the channels. Operations
    that cost little count little. For costs that grow with the areas of maps there is one such
    place, whatever the start, if each stride matters for some operation. Where none does, nothing
    is balanced.
    """

    def logs(theta: Vector) -> tuple[torch.Tensor, torch.Tensor]:
        costs, roots = network.operations(network.sizes(theta.exp()))
        return costs.log(), 2 * roots.log()

    theta = surface.evened(theta)
    operations = surface.of(lambda theta: logs(theta)[0])
    wanted = float(operations.log_cost(theta))
    if wanted == -torch.inf:
        return surface.onto(theta, goal)
    before: tuple[float, float] | None = None
    growth = 1.0
    for _ in range(PASSES):
        cost = float(surface.log_cost(theta))
        if before and abs(wanted - before[0]) > NEAR:
            growth = (cost - before[1]) / (wanted - before[0])
            growth = min(max(growth, GROWTH[0]), GROWTH[1])
        if before and abs(goal - cost) < NEAR:
            break
        before = wanted, cost
        wanted += (goal - cost) / growth
        theta = operations.onto(theta, wanted)
        for _ in range(STEPS):
            asked = theta.clone().requires_grad_()
            (slope,) = torch.autograd.grad(logs(asked)[1], asked)
            last, theta = theta, operations.along(theta, RATE * surface.summed(slope))
            theta = operations.onto(theta, wanted)
            if float((theta - last).abs().max()) < STILL:
                break
    return surface.onto(theta, goal)
