"""The surface of equal cost in the space of log strides: along it, and back onto it."""

from collections.abc import Callable

import torch

# Relative error of the cost on the surface, and how many corrections are made for it at most.
PRECISION, CORRECTIONS = 1e-4, 16
# Largest correction of a stride, in its logarithm, and by how much too much it may change the cost.
LARGEST, LEAP = 0.5, 1.2

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

    Attributes
    ----------
    log_cost, bounds : callable
        As they were given.
    """

    def __init__(self, log_cost: LogCost, bounds: Bounds, alike: Vector, moving: Vector) -> None:
        self.log_cost, self.bounds = log_cost, bounds
        self._alike, self._moving = alike, moving
        self._count = int(alike.max()) + 1

    def of(self, log_cost: LogCost) -> "EqualCost":
        """Return the surface of another cost, for the same strides."""
        return EqualCost(log_cost, self.bounds, self._alike, self._moving)

    def summed(self, each: Vector) -> Vector:
        """Sum over strides that move alike."""
        return each.new_zeros(self._count).index_add(0, self._alike, each * self._moving)

    def averaged(self, each: Vector) -> Vector:
        """Average over strides that move alike."""
        return self.summed(each) / self.summed(torch.ones_like(each)).clamp(min=1)

    def evened(self, theta: Vector) -> Vector:
        """Give strides that move alike their average, where they move."""
        return theta.where(~self._moving, self.averaged(theta)[self._alike])

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
        """Move to where log cost is ``goal``, or as near as bounds allow, by Newton's method.

        Where a cost leaps, as at the size from which a convolution comes first, a goal may lie
        within. Then a stride that leaps a second time stays on the cheap side, and others take up
        what is left.
        """
        held = leapt = torch.zeros(self._count, dtype=torch.bool)
        for _ in range(CORRECTIONS):
            log_cost, normal = self._cost_and_normal(theta)
            error = float(log_cost) - goal
            if abs(error) < PRECISION:
                break
            normal = self.summed(normal * self._free(theta, -error * normal)) * ~held
            length = float(normal.dot(normal))
            if length == 0:
                break
            move = -error / length * normal
            move = move * min(1.0, LARGEST / float(move.abs().max()))
            moved = self._moved(theta, move)
            if error < 0 and self._rise(theta, moved) > -LEAP * error:
                each = [self._moved(theta, move * one) for one in torch.eye(self._count)]
                leaps = torch.tensor([self._rise(theta, one) > -LEAP * error for one in each])
                held, again = held | (leaps & leapt), leaps & leapt
                leapt = leapt | leaps
                if again.any():
                    continue
            theta = moved
        return theta

    @torch.no_grad()
    def _rise(self, theta: Vector, moved: Vector) -> float:
        """By how much log cost is larger behind a move."""
        return float(self.log_cost(moved) - self.log_cost(theta))

    def _cost_and_normal(self, theta: Vector) -> tuple[torch.Tensor, Vector]:
        """Return log cost, and its gradient."""
        with torch.enable_grad():
            theta = theta.detach().requires_grad_()
            log_cost = self.log_cost(theta)
            (normal,) = torch.autograd.grad(log_cost, theta)
        return log_cost.detach(), normal

    def _free(self, theta: Vector, move: Vector) -> Vector:
        """Tell which strides a move takes nowhere out of their bounds."""
        low, high = self.bounds(theta)
        return self._moving & ~((theta <= low) & (move < 0)) & ~((theta >= high) & (move > 0))

    def _moved(self, theta: Vector, move: Vector) -> Vector:
        """Move, and stay within the bounds."""
        moved = theta + move[self._alike]
        low, high = self.bounds(moved)
        return torch.where(self._moving, torch.minimum(torch.maximum(moved, low), high), theta)
