"""How far apart two ways are that cost the same: the difference of runs with the same seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from spectral_stride.torch.training.report.comparison import Cost, SeedGroup

# Costs are equal where the dearer one is no more than this share above the other.
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
    """Compare learned strides with every other group whose mean cost is equal, within 5 %.

    Pairs with fewer than three seeds in common are left out.

    Yields
    ------
    Difference
    """
    for second, first in combinations(groups, 2):
        if not first.learns:
            first, second = second, first
        costs = sorted(group.cost(cost).mean for group in (first, second))
        pairs = _pairs(first, second)
        is_equal = costs[1] <= (1 + EQUAL) * costs[0]
        if first.learns and is_equal and len(pairs) >= FEWEST:
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


def _pairs(first: SeedGroup, second: SeedGroup) -> list[tuple[float, float]]:
    """Return the accuracies of both at each seed that both have."""
    of = {run.config["seed"]: run.accuracy for run in second.runs}
    return [
        (run.accuracy, of[run.config["seed"]]) for run in first.runs if run.config["seed"] in of
    ]
