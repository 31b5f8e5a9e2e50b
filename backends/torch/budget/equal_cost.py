"""The surface of equal cost in the space of log strides: along it, and back onto it."""

from collections.abc import Callable

import torch

# Relative error of the cost on the surface, and how many corrections are made for it at most.
PRECISION, CORRECTIONS = 1e-4, 8
# Largest correction of a stride, in its logarithm.
LARGEST = 0.5

Vector = torch.Tensor
# Log strides to log cost, and to their bounds.
LogCost = Callable[[Vector], torch.Tensor]
Bounds = Callable[[Vector], tuple[Vector, Vector]]


class EqualCost:
    """Moves of log strides theta with respect to log cost.

    Parameters
    ----------
    log_cost, bounds : callable
        Of theta.
    alike : Tensor of int
        A number for each stride; those with one number move alike.
    moving : Tensor of bool
        Which strides move at all.
    """

    def __init__(self, log_cost: LogCost, bounds: Bounds, alike: Vector, moving: Vector) -> None:
        self._log_cost, self._bounds = log_cost, bounds
        self._alike, self._moving = alike, moving
        self._count = int(alike.max()) + 1

    def summed(self, each: Vector) -> Vector:
        """Sum over strides that move alike."""
        return each.new_zeros(self._count).index_add(0, self._alike, each * self._moving)

    def averaged(self, each: Vector) -> Vector:
        """Average over strides that move alike."""
        return self.summed(each) / self.summed(torch.ones_like(each)).clamp(min=1)

    def along(self, theta: Vector, move: Vector) -> Vector:
        """Move by the part of ``move``, one number for what moves alike, that changes no cost."""
        _, normal = self._cost_and_normal(theta)
        free = self._free(theta, move[self._alike])
        normal = self.summed(normal * free)
        move = move * (self.summed(free.double()) > 0)
        length = normal.dot(normal)
        if length > 0:
            move = move - move.dot(normal) / length * normal
        return self._moved(theta, move)

    def onto(self, theta: Vector, goal: float) -> Vector:
        """Move to where log cost is ``goal``, or as near as bounds allow, by Newton's method."""
        for _ in range(CORRECTIONS):
            log_cost, normal = self._cost_and_normal(theta)
            error = float(log_cost) - goal
            if abs(error) < PRECISION:
                break
            normal = self.summed(normal * self._free(theta, -error * normal))
            length = float(normal.dot(normal))
            if length == 0:
                break
            move = -error / length * normal
            theta = self._moved(theta, move * min(1.0, LARGEST / float(move.abs().max())))
        return theta

    def _cost_and_normal(self, theta: Vector) -> tuple[torch.Tensor, Vector]:
        """Return log cost, and its gradient."""
        with torch.enable_grad():
            theta = theta.detach().requires_grad_()
            log_cost = self._log_cost(theta)
            (normal,) = torch.autograd.grad(log_cost, theta)
        return log_cost.detach(), normal

    def _free(self, theta: Vector, move: Vector) -> Vector:
        """Tell which strides a move takes nowhere out of their bounds."""
        low, high = self._bounds(theta)
        return self._moving & ~((theta <= low) & (move < 0)) & ~((theta >= high) & (move > 0))

    def _moved(self, theta: Vector, move: Vector) -> Vector:
        """Move, and stay within the bounds."""
        moved = theta + move[self._alike]
        low, high = self._bounds(moved)
        return torch.where(self._moving, torch.minimum(torch.maximum(moved, low), high), theta)
