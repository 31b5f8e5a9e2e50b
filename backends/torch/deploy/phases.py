"""A place whose ratios are whole as its phases: the operation at these strides, and what joins it.

Where N/n is a whole number r and the spectrum is cropped and no more, each r-th sample passes the
map of an axis as it is, and the others pass as if moved to where these are:

    A c = g (c_0 + S_1 c_1 + ... + S_{r-1} c_{r-1}),    c_p = every r-th sample of c from p on.

With c what an operation returns at stride 1, a phase is what it returns at stride r. No sample is
computed that is not one of a phase, and of r products along an axis one is none.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from spectral_stride.torch.deploy.matrices import Matrix, Shifts
from spectral_stride.torch.deploy.operations import Operation, Phases
from spectral_stride.torch.deploy.products import CALL, MOVED, SMALL

# An axis whose ratio is 1: all of it is one phase.
WHOLE = Shifts(1.0, (torch.ones(()),))


class JoinPhases(nn.Module):
    """The phases of an operation along height and width, joined; then the products that are left.

    ``sizes`` are those of a phase.
    """

    def __init__(
        self,
        axes: tuple[Shifts, Shifts],
        sizes: tuple[int, int],
        rest: nn.Sequential,
        operation: Operation,
        x: torch.Tensor,
    ) -> None:
        super().__init__()
        (height, width), self.sizes, self.rest = axes, sizes, rest
        self.ratios = len(height.matrices), len(width.matrices)
        self.gain = height.gain * width.gain
        phases = Phases(operation, x, self.ratios, sizes)
        earlier = not isinstance(operation, nn.MaxPool2d)
        for p, matrix in enumerate(height.matrices[1:], 1):
            tall = _among(matrix, phases.starting(p, 0).shape[-2], earlier)
            self.register_buffer(f"tall_{p}", tall.to(x).contiguous())
        for q, matrix in enumerate(width.matrices[1:], 1):
            wide = _among(matrix, phases.starting(0, q).shape[-1], earlier)
            self.register_buffer(f"wide_{q}", wide.T.to(x).contiguous())

    def forward(self, x: torch.Tensor, operation: Operation) -> torch.Tensor:
        """Join phases along the width, then along the height."""
        phases = Phases(operation, x, self.ratios, self.sizes)
        tall, wide = self.ratios
        y = self._line(phases, 0)
        for p in range(1, tall):
            y = y + torch.matmul(getattr(self, f"tall_{p}"), self._line(phases, p))
        joined: torch.Tensor = self.rest(y if wide > 1 else y * self.gain)
        return joined

    def _line(self, phases: Phases, p: int) -> torch.Tensor:
        """The rows of a phase, joined, with the gain of both axes."""
        y, gain = phases.starting(p, 0), self.gain
        for q in range(1, self.ratios[1]):
            other, wide = phases.starting(p, q), getattr(self, f"wide_{q}")
            # Added within the product: no map is written twice.
            rows = torch.addmm(
                y.reshape(-1, y.shape[-1]),
                other.reshape(-1, other.shape[-1]),
                wide,
                beta=gain if q == 1 else 1.0,
                alpha=gain,
            )
            y = rows.reshape(y.shape)
        return y


def _among(matrix: Matrix, columns: int, earlier: bool) -> Matrix:
    """Put zeros where a phase has more samples than are asked for, one of them in front."""
    more = columns - matrix.shape[1]
    return functional.pad(matrix, (1, more - 1) if earlier else (0, more))


def join_cost(axes: Sequence[Shifts], sizes: Sequence[int], channels: int) -> float:
    """Count the products and sums for phases of these sizes."""
    (rows, columns), (tall, wide) = sizes, [len(one.matrices) for one in axes]
    numbers = channels * math.prod(sizes)
    along_width, along_height = tall * (wide - 1), tall - 1
    cost = along_width * (columns + 3 * MOVED) * numbers
    cost += along_height * (SMALL * rows + 5 * MOVED) * numbers
    # A call for each phase but one, which is that of the operation itself.
    return cost + (tall * wide - 1 + along_width + 2 * along_height) * CALL
