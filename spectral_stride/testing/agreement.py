"""Whether implementations agree with each other, pair by pair, in value and in both gradients."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from hypothesis import HealthCheck, given, settings

from spectral_stride.testing.cases import Case, cases
from spectral_stride.testing.implementation import Call, Implementation, Values, to_numpy
from spectral_stride.testing.suite import Report, Row

DTYPES = ("float32", "float64")


def _outcome(implementation: Implementation, case: Case) -> list[Values]:
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    return [to_numpy(array) for array in Call(implementation, case).vjp(x, g)]


def _limits(case: Case) -> list[float]:
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    return [2 * case.atol(), 2 * case.atol(), 2 * case.stride_atol(x, g)]


def _ratio(one: list[Values], other: list[Values], limits: list[float]) -> float:
    """The largest difference over what is allowed; infinite for a NaN or another shape."""
    largest = 0.0
    for a, b, limit in zip(one, other, limits, strict=True):
        if a.shape != b.shape:
            return float("inf")
        difference = float(np.max(np.abs(a - b), initial=0.0))
        if difference:  # a NaN counts as one
            largest = max(largest, difference / limit if difference <= limit else float("inf"))
    return largest


def check_agreement(implementations: Sequence[Implementation], examples: int) -> Report:
    """Draw cases, and compare every pair of implementations in y, dx and dstrides.

    Two implementations may differ by twice what rounding allows each of them: by 16 eps sqrt(N_1
    ... N_d) times the gain of the norm in y and dx, over d axes of N_i samples, and by 32 eps times
    the sum of the magnitudes of its terms in a stride gradient.

    Parameters
    ----------
    implementations : sequence of Implementation
        Two or more, each with a vjp.
    examples : int
        Cases to draw, in float32 and as many in float64.

    Returns
    -------
    Report
        A row for each pair and dtype, "one and other in dtype": the largest difference over what is
        allowed, and for a pair that disagrees the first case that it was seen on.
    """
    pairs = list(combinations(implementations, 2))
    largest = {(one.name, other.name, dtype): 0.0 for one, other in pairs for dtype in DTYPES}
    failures: dict[tuple[str, str, str], str] = {}
    counts = dict.fromkeys(DTYPES, 0)

    def compare(case: Case) -> None:
        counts[case.dtype] += 1
        limits = _limits(case)
        outcomes = {one.name: _outcome(one, case) for one in implementations}
        for one, other in pairs:
            key = one.name, other.name, case.dtype
            ratio = _ratio(outcomes[one.name], outcomes[other.name], limits)
            largest[key] = max(largest[key], ratio)
            if ratio > 1:
                failures.setdefault(key, f"{one.name} and {other.name} disagree on {case!r}")

    chosen = settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    for dtype in DTYPES:
        chosen(given(cases(few_sizes=True, dtype=dtype))(compare))()
    return Report(
        "agreement",
        tuple(
            Row(
                f"{one} and {other} in {dtype}",
                counts[dtype],
                ratio,
                failures.get((one, other, dtype), ""),
            )
            for (one, other, dtype), ratio in largest.items()
        ),
    )
