"""How far a training under a budget is: the rate and the cost of each step, and when to settle."""

import math

from spectral_stride import checks

# Shares of the steps: until the target is reached, and until gradients move strides.
REACHED, WAITED = 0.2, 0.1
# The rate of the first step, in log strides, times the number of steps.
TRAVEL = 5.8
# Without a number of steps: the rate of each, and after how many the target is reached.
RATE, FIRST_STEPS = 0.005, 200


class Schedule:
    """What follows from how many steps are done.

    Parameters
    ----------
    steps : int, optional
        Of the whole training.
    settle_at : float
        Share of the steps after which sizes settle.
    rate : float, optional
        Of the first step, in log strides.
    """

    def __init__(self, steps: int | None, settle_at: float, rate: float | None) -> None:
        self.steps = None if steps is None else checks.positive_integer("steps", steps)
        self._settle_at = _number("settle_at", settle_at, REACHED, 1.0)
        by_default = TRAVEL / self.steps if self.steps else RATE
        self._rate = by_default if rate is None else _number("rate", rate, 0.0, 1.0)

    def rate(self, done: int) -> float:
        """Return the rate: none at first, then a cosine to 0 where sizes settle."""
        if not self.steps:
            return self._rate
        share = done / self.steps
        cosine = (1 + math.cos(math.pi * share / self._settle_at)) / 2
        return self._rate * (share >= WAITED) * cosine

    def way(self, done: int) -> float:
        """Return which part of the way to the target is to be behind: from 0 to 1."""
        return min(done / (REACHED * self.steps if self.steps else FIRST_STEPS), 1.0)

    def is_time_to_settle(self, done: int) -> bool:
        """Whether sizes settle now."""
        return self.steps is not None and done / self.steps >= self._settle_at


def _number(name: str, value: float, least: float, most: float) -> float:
    """Return a number between bounds, or refuse it."""
    found = checks.real_number(value)
    if not least < found <= most:
        allowed = f"a number above {least:g} and up to {most:g}"
        checks.refuse(ValueError, name, checks.shown(value), allowed, f"leave {name} out")
    return found
