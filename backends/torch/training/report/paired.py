"""How far apart two ways are that cost the same: the difference of runs with the same seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from spectral_stride.torch.training.report.comparison import Cost, SeedGroup

# Costs of two trainings are equal where the dearer one is no more than this share above the other.
EQUAL = 0.05
# Of the interval around a mean difference.
CONFIDENCE = 0.95
# An interval from two seeds is as good as none: Student's t is 12.7 there.
FEWEST = 3

VERDICTS = ("above", "below", "not told apart")


@dataclass(frozen=True, slots=True)
class Difference:
    """Accuracy of one group less that of another, over the seeds that both have.

    Attributes
    ----------
    first, second : SeedGroup
        The first one learns its strides.
    mean, low, high : float
        The mean difference and its 95 % interval, by Student's t.
    seeds : int
    """

    first: SeedGroup
    second: SeedGroup
    mean: float
    low: float
    high: float
    seeds: int

    @property
    def verdict(self) -> str:
        """Which of the two is better, where the interval says so."""
        above, below, unclear = VERDICTS
        if self.low > 0:
            return above
        return below if self.high < 0 else unclear


def differences(groups: list[SeedGroup], cost: Cost) -> Iterator[Difference]:
    """Compare learned strides with every other group, at the seeds where both cost the same.

    The same is within 5 %. Groups with fewer than three such seeds are left out.

    Yields
    ------
    Difference
    """
    for second, first in combinations(groups, 2):
        if not first.learns:
            first, second = second, first
        pairs = _pairs(first, second, cost)
        if first.learns and len(pairs) >= FEWEST:
            yield Difference(first, second, *mean_and_interval(pairs), len(pairs))


def mean_and_interval(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the mean of differences, and the ends of its 95 % interval by Student's t.

    Examples
    --------
    >>> from spectral_stride.torch.training.report.paired import mean_and_interval
    >>> [round(float(x), 3) for x in mean_and_interval([(3, 2), (5, 3), (4, 1)])]
    [2.0, -0.484, 4.484]
    """
    apart = np.subtract(*np.transpose(pairs))
    reach = stats.sem(apart) * stats.t.ppf((1 + CONFIDENCE) / 2, len(apart) - 1)
    mean = apart.mean()
    return float(mean), float(mean - reach), float(mean + reach)


def _pairs(first: SeedGroup, second: SeedGroup, cost: Cost) -> list[tuple[float, float]]:
    """Return the accuracies of both at each seed that both have, at equal cost."""
    others = {run.config["seed"]: run for run in second.runs}
    return [
        (run.accuracy, others[run.config["seed"]].accuracy)
        for run in first.runs
        if run.config["seed"] in others and _is_equal(cost(run), cost(others[run.config["seed"]]))
    ]


def _is_equal(one: float, other: float) -> bool:
    return max(one, other) <= (1 + EQUAL) * min(one, other)
