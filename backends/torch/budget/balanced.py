"""Where strides may begin whatever they were: sizes at which all operations cost about the same."""

import torch

from spectral_stride.torch.budget.equal_cost import EqualCost, Vector
from spectral_stride.torch.budget.network_cost import NetworkCost

# How far strides go in a step of the search, as a share of the slope. How many steps it has at
# most, and the move, in log strides, at which it ends.
RATE, STEPS, STILL = 0.3, 100, 5e-4
# How often the cost of operations is chosen anew, for all that costs beside them.
PASSES = 4


def balanced(surface: EqualCost, network: NetworkCost, theta: Vector, goal: float) -> Vector:
    """Move to where log cost is ``goal`` and the costs c of operations are as equal as they can be.

    There the sum of sqrt(c) is the largest that the sum of c allows: where nothing is in the way
    all c are equal, as in the usual networks of half the sizes and twice the channels. Operations
    that cost little count little. For costs that grow with the areas of maps there is one such
    place, whatever the start.
    """

    def logs(theta: Vector) -> tuple[torch.Tensor, torch.Tensor]:
        each, many = network.operations(network.sizes(theta.exp()))
        return each.sum().log(), 2 * (many * each).sqrt().sum().log()

    operations = surface.of(lambda theta: logs(theta)[0])
    wanted = float(logs(theta)[0] + goal - surface.log_cost(theta))
    for _ in range(PASSES):
        theta = operations.onto(theta, wanted)
        for _ in range(STEPS):
            asked = theta.clone().requires_grad_()
            (slope,) = torch.autograd.grad(logs(asked)[1], asked)
            before, theta = theta, operations.along(theta, RATE * surface.summed(slope))
            theta = operations.onto(theta, wanted)
            if float((theta - before).abs().max()) < STILL:
                break
        wanted += goal - float(surface.log_cost(theta))
    return surface.onto(theta, goal)
