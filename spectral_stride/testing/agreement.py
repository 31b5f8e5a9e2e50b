"""Whether implementations agree with each other, pair by pair, in value and in both gradients."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectral_stride.testing.cases import ALWAYS, Case, cases, typical
from spectral_stride.testing.implementation import (
    Call,
    Implementation,
    Values,
    dtype_name,
    to_numpy,
)
from spectral_stride.testing.suite import Report, Row

DTYPES = ("float32", "float64")


def _outcome(implementation: Implementation, case: Case) -> list[tuple[str, Values]]:
    """The output and both gradients; who lacks the method of a case takes its own."""
    if case.method not in implementation.methods:
        case = replace(case, method="auto")
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    found = Call(implementation, case).vjp(x, g)
    return [(dtype_name(array), to_numpy(array)) for array in found]


def _limits(case: Case) -> list[float]:
    x, g = case.values(case.shape), case.values(case.out_shape, 1)
    return [2 * case.atol(), 2 * case.atol(), 2 * case.stride_atol(x, g)]


def _ratio(
    one: list[tuple[str, Values]], other: list[tuple[str, Values]], limits: list[float]
) -> float:
    """The largest difference over what is allowed; infinite for NaN, another shape or dtype."""
    largest = 0.0
    for (kind, a), (other_kind, b), limit in zip(one, other, limits, strict=True):
        if kind != other_kind or a.shape != b.shape:
            return float("inf")
        difference = float(np.max(np.abs(a - b), initial=0.0))
        if difference:  # a NaN counts as one
            largest = max(largest, difference / limit if difference <= limit else float("inf"))
    return largest


def check_agreement(
    implementations: Sequence[Implementation], examples: int, derandomize: bool = True
) -> Report:
    """Draw cases, and compare every pair of implementations in y, dx and dstrides.

    Two implementations may differ by twice what rounding allows each of them: by 16 eps sqrt(N_1
    ... N_d) times the gain of the norm in y and dx, over d axes of N_i samples, and by 32 eps times
    the sum of the magnitudes of its terms in a stride gradient.

    Parameters
    ----------
    implementations : sequence of Implementation
        Two or more, each with a vjp.
    examples : int
        Cases to draw in float32, and as many in float64: half of them of few sizes, for all, and
        half of any size, for those that are not compiled anew for each. All are compared on what
        they are always run on, too.
    derandomize : bool
        Whether the same cases are drawn each time.

    Returns
    -------
    Report
        A row for each pair and dtype that both have, "one and other in dtype": the largest
        difference over what is allowed, and for a pair that disagrees the first case that it was
        seen on.
    """
    pairs = list(combinations(implementations, 2))
    keys = [
        (one.name, other.name, dtype)
        for one, other in pairs
        for dtype in DTYPES
        if dtype in one.dtypes and dtype in other.dtypes
    ]
    largest, counts = dict.fromkeys(keys, 0.0), dict.fromkeys(keys, 0)
    failures: dict[tuple[str, str, str], str] = {}

    def compare(case: Case, some: Sequence[Implementation]) -> None:
        limits = _limits(case)
        some = [one for one in some if case.dtype in one.dtypes]
        outcomes = {one.name: _outcome(one, case) for one in some}
        for one, other in combinations(some, 2):
            key = one.name, other.name, case.dtype
            ratio = _ratio(outcomes[one.name], outcomes[other.name], limits)
            counts[key] += 1
            largest[key] = max(largest[key], ratio)
            if ratio > 1:
                failures.setdefault(key, f"{one.name} and {other.name} disagree on {case!r}")

    chosen = settings(
        max_examples=max(2, examples // 2),
        derandomize=derandomize,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    quick = [one for one in implementations if not one.few_sizes]
    for dtype in DTYPES:
        for some, few_sizes in ((implementations, True), (quick, False)):
            # A batch without entries agrees with everything.
            drawn = cases(few_sizes=few_sizes, dtype=dtype).filter(lambda case: 0 not in case.shape)
            chosen(given(drawn, st.just(some))(compare))()
        for one in ALWAYS:
            always = cases(dtype=dtype, strides=typical, **one)
            some = [each for each in implementations if one in each.always]
            settings(chosen, max_examples=1)(given(always, st.just(some))(compare))()
    return Report(
        "agreement",
        tuple(
            Row(
                f"{one} and {other} in {dtype}",
                counts[one, other, dtype],
                ratio,
                failures.get((one, other, dtype), ""),
                cause=f"{one} and {other}",
            )
            for (one, other, dtype), ratio in largest.items()
        ),
    )
