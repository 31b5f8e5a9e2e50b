"""Where the loss wants strides to go: the average of its gradients, over its own size."""

import math
from typing import Any

import torch

from spectral_stride.torch.budget.network_cost import real

# How long gradients, and the squares of their size, are remembered.
MEMORY, SQUARES = 0.9, 0.99


class Direction:
    """The average m of gradients g over v, the root of their mean square.

    m <- 0.9 m + 0.1 g and v^2 <- 0.99 v^2 + 0.01 mean(g^2), both without their bias to 0. The size
    v is one number for all strides.

    Parameters
    ----------
    count : int
        Numbers in a gradient.
    """

    def __init__(self, count: int) -> None:
        self._average, self._square, self._averaged = real([0.0] * count), 0.0, 0

    def follow(self, gradient: torch.Tensor) -> torch.Tensor:
        """Take a gradient in, and return the direction.

        One that is not finite, as under a scaler of gradients, is left out.
        """
        if gradient.isfinite().all():
            self._average = MEMORY * self._average + (1 - MEMORY) * gradient
            self._square = SQUARES * self._square + (1 - SQUARES) * float(gradient.square().mean())
            self._averaged += 1
        if self._square == 0:
            return torch.zeros_like(self._average)
        average = self._average / (1 - MEMORY**self._averaged)
        return average / math.sqrt(self._square / (1 - SQUARES**self._averaged))

    def state_dict(self) -> dict[str, Any]:
        """Return all that is remembered, as numbers and lists."""
        return {
            "average": self._average.tolist(),
            "square": self._square,
            "averaged": self._averaged,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember what another one has remembered."""
        self._average = real(state["average"])
        self._square, self._averaged = state["square"], state["averaged"]
