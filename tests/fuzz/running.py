"""How targets are run for a time: by turns, on what Hypothesis draws, and told in a table."""

import ctypes
import faulthandler
import math
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

# Above this many bytes what JAX has compiled is dropped.
MOST_HELD = 4 * 2**30
# Cases that are drawn in one go, from one seed: few, so that a line to paste finds its fault soon.
TURN = 20


class Fault(AssertionError):  # noqa: N818  # what it is, in one word
    """What the library must not do."""


@dataclass
class Target:
    """One thing that is tried, and what has come of it so far.

    Attributes
    ----------
    name : str
    try_one : callable
        ``try_one(data, counts)`` draws one case from ``data`` and tries it. It raises `Fault`, and
        counts what it has done: "calls", "refused", "values".
    share : float
        Of the time.
    shrinks : bool
        Whether a smaller case is looked for. Of one number that all follows from, none is smaller.
    """

    name: str
    try_one: Callable[[st.DataObject, Counter], None]
    share: float = 1.0
    shrinks: bool = True
    counts: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    fault: str = ""

    def take_turn(self, seed: int, count: int = TURN) -> None:
        """Try some cases. What goes wrong is kept, as the smallest case that shows it."""

        def check(data):
            self.try_one(data, self.counts)

        chosen = settings(
            max_examples=count,
            database=None,
            derandomize=False,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if self.shrinks else [Phase.generate],
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,
        )
        begun = time.perf_counter()
        try:
            hypothesis.seed(seed)(chosen(given(st.data())(check)))()
        except Exception as error:  # also what the target itself gets wrong
            notes = "\n".join(getattr(error, "__notes__", ()))
            frames = "".join(traceback.format_exception(error.__cause__ or error)[-4:])
            self.fault = f"{type(error).__name__}: {error}\n{notes}\n{frames}"
        self.seconds += time.perf_counter() - begun


def forget_compiled() -> None:
    """Give back what JAX has compiled: it keeps that of every size."""
    if "jax" in sys.modules and held() > MOST_HELD:
        sys.modules["jax"].clear_caches()
        with suppress(OSError, AttributeError, TypeError):  # another system has no such library
            ctypes.CDLL(None).malloc_trim(0)


def held() -> int:
    """Return the bytes that this process has in memory; 0 where the system does not say."""
    pages = Path("/proc/self/statm")
    if not pages.is_file():
        return 0
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(
    targets: list[Target], seconds: float, seed: int, turns: int | None = None, count: int = TURN
) -> list[Target]:
    """Run targets by turns until the time is over, those with a large share more often.

    Each has one turn at least; ``turns`` says how many each has, whatever the time. One that has
    shown a fault gets no further turn. Returns those.
    """
    end = time.monotonic() + seconds
    had = dict.fromkeys((one.name for one in targets), 0)

    def wants_more(one):
        late = had[one.name] >= turns if turns else had[one.name] and time.monotonic() > end
        return not one.fault and not late

    while waiting := [one for one in targets if wants_more(one)]:
        target = min(waiting, key=lambda one: one.seconds / one.share)
        # kill -USR1 shows where it is. Each time, because a training of Lightning undoes it.
        if hasattr(signal, "SIGUSR1"):
            faulthandler.register(signal.SIGUSR1, file=sys.__stderr__)
        target.take_turn(seed, count)
        if target.fault:
            again = f"make fuzz ARGS='--only \"{target.name}\" --seed {seed} --turns 1'"
            print(f"FAULT in {target.name}: {target.fault}\nOnce more: {again}\n", flush=True)
        had[target.name] += 1
        seed += 1
        forget_compiled()
    return [one for one in targets if one.fault]


def table(targets: list[Target]) -> str:
    """Say what has been done, a line for each target, and in all."""
    width = max(len(one.name) for one in targets)
    heads = ("calls", "refused", "values", "calls/s")
    lines = [f"{'':{width}}" + "".join(f"{head:>12}" for head in heads)]
    rows = [(one.name, one.counts, one.seconds) for one in targets]
    rows.append(
        (
            "all",
            sum((one.counts for one in targets), Counter()),
            math.fsum(one.seconds for one in targets),
        )
    )
    for name, counts, seconds in rows:
        numbers = [counts["calls"], counts["refused"], counts["values"]]
        rate = counts["calls"] / seconds if seconds else 0.0
        lines.append(f"{name:{width}}" + "".join(f"{n:12,}" for n in numbers) + f"{rate:12.1f}")
    return "\n".join(lines)
