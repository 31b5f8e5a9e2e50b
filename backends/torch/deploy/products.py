"""Products with constant matrices along axes: which chain of them costs least, and its module."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from spectral_stride.torch.deploy.matrices import Matrix, factors

# An axis, counted from the end, and its matrix (m, N).
Along = tuple[int, Matrix]

# What it costs to write or read a number, in multiply-accumulates of a large product, what one
# costs in a product of many small matrices, and what a call costs. Chosen by profiles of
# onnxruntime 1.32 on one thread of an AMD EPYC (29 to 36 of them in a nanosecond, and 19 to 25
# where matrices are small).
MOVED, SMALL, CALL = 16.0, 1.35, 3e5
# Numbers in one matrix for both axes up to which it is considered.
LARGEST_AT_ONCE = 2**17


class Step(NamedTuple):
    """One product: along an axis, or along the last two at once, which then have ``sizes``."""

    axes: tuple[int, ...]
    matrix: Matrix
    sizes: tuple[int, ...]


class Chain(NamedTuple):
    """Products one after the other, and what they cost for one entry of the batch."""

    steps: tuple[Step, ...]
    cost: float


def cheapest(maps: Sequence[Along], shape: Sequence[int], *, repeats: bool = False) -> Chain:
    """Choose the order, the factors, or one product for all, for a shape without its batch.

    Factors are looked for where matrices repeat what they say, as those with taps do.
    """
    chains = (_costed(steps, shape) for steps in _chains(maps, repeats))
    return min(chains, key=lambda chain: chain.cost)


def _chains(maps: Sequence[Along], repeats: bool) -> Iterator[list[Step]]:
    """Every chain that comes to the same map."""
    split = [factors(matrix) if repeats else None for _, matrix in maps]
    for chosen in product(*[(None,) if pair is None else (None, pair) for pair in split]):
        first, then = [], []
        for (axis, matrix), pair in zip(maps, chosen, strict=True):
            if pair is None:
                first.append(_step(axis, matrix))
            else:
                first.append(_step(axis, pair[1]))
                then.append(_step(axis, pair[0]))
        for one, other in product((1, -1), (1, -1) if len(then) > 1 else (1,)):
            yield [*first[::one], *then[::other]]
    if [axis for axis, _ in maps] == [-2, -1]:
        (_, rows), (_, columns) = maps
        if rows.numel() * columns.numel() <= LARGEST_AT_ONCE:
            sizes = rows.shape[0], columns.shape[0]
            yield [Step((-2, -1), torch.kron(rows.contiguous(), columns.contiguous()), sizes)]


def _step(axis: int, matrix: Matrix) -> Step:
    return Step((axis,), matrix, (matrix.shape[0],))


def _costed(steps: Sequence[Step], shape: Sequence[int]) -> Chain:
    """Count what a chain costs."""
    sizes, cost = list(shape), 0.0
    for axes, matrix, found in steps:
        before = math.prod(sizes)
        for axis, size in zip(axes, found, strict=True):
            sizes[axis] = size
        after = math.prod(sizes)
        weight = 1.0 if axes[-1] == -1 else SMALL
        cost += weight * after * matrix.shape[1] + MOVED * (before + after) + CALL
    return Chain(tuple(steps), cost)


class Product(nn.Module):
    """One step as a module: what an exporter sees as one product with a constant."""

    matrix: torch.Tensor

    def __init__(self, step: Step, like: torch.Tensor) -> None:
        super().__init__()
        self.axes, self.sizes = step.axes, step.sizes
        self.register_buffer("matrix", step.matrix.to(like).contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply along the axes."""
        axis = self.axes[0]
        if len(self.axes) == 2:
            y = functional.linear(x.flatten(-2), self.matrix)
            return y.reshape(*y.shape[:-1], *self.sizes)
        if axis == -1:
            return functional.linear(x, self.matrix)
        if axis == -2:
            return torch.matmul(self.matrix, x)
        return functional.linear(x.movedim(axis, -1), self.matrix).movedim(-1, axis)

    def extra_repr(self) -> str:
        """Axes and sizes."""
        return f"axes={self.axes}, {self.matrix.shape[1]} onto {self.matrix.shape[0]}"


def built(chain: Chain, like: torch.Tensor) -> nn.Sequential:
    """Make the modules of a chain, in the dtype and on the device of a tensor."""
    return nn.Sequential(*[Product(step, like) for step in chain.steps])
