"""How times are compared on a machine that has other work to do.

Peers take turns: in every round each runs once, so that a busy moment hits all of them. A ratio is
taken within a round, and what is reported is the median of the rounds with both quartiles.
"""

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

# One timed piece of work; what it returns is not looked at.
Step = Callable[[], Any]


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds until the time is spent, within bounds.

    A step that is shorter than ``shortest`` seconds is called several times in a row and the time
    divided, so that the clock, and on a device the wait for it, do not count.
    """

    seconds: float = 5.0
    least_rounds: int = 5
    most_rounds: int = 31
    shortest: float = 1e-3


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of some numbers."""
    low, median, high = np.quantile(np.asarray(values), (0.25, 0.5, 0.75)).tolist()
    return Spread(median, low, high)


def ratios(times: Sequence[float], reference: Sequence[float]) -> Spread:
    """Return the spread of one peer's times over another's, round by round."""
    return spread([one / other for one, other in zip(times, reference, strict=True)])


def _timed(step: Step, calls: int, wait: Callable[[], None]) -> float:
    """Seconds for one call, of several in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        step()
    wait()
    return (time.perf_counter() - start) / calls


def interleave(
    steps: Mapping[str, Step], effort: Effort, wait: Callable[[], None]
) -> dict[str, list[float]]:
    """Time steps in turns, and return the seconds of each in every round.

    ``wait`` returns when the device has done all that it was given. Every round begins with
    another peer, so that none always follows the same one.
    """
    calls, round_seconds = {}, 0.0
    for name, step in steps.items():
        _timed(step, 1, wait)  # plans, caches and pages
        once = _timed(step, 1, wait)
        calls[name] = max(1, math.ceil(effort.shortest / once))
        round_seconds += calls[name] * once
    rounds = int(effort.seconds / round_seconds)
    rounds = min(max(rounds, effort.least_rounds), effort.most_rounds)
    names, times = list(steps), {name: list[float]() for name in steps}
    gc.collect()
    gc.disable()  # it would fall on whoever runs when it is due
    try:
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                times[name].append(_timed(steps[name], calls[name], wait))
    finally:
        gc.enable()
    return times
