"""A cost that the user measured: the time that each size behind a layer takes."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from spectral_stride import checks
from spectral_stride.torch.budget.probe import Axis, Call

Table = Mapping[str, Mapping[int | tuple[int, ...], float]]
_ALLOWED = "for each layer two sizes or more with their times: {'stage2': {8: 1.3, 16: 4.1}}"


class Latency:
    """The sum of what a table has for the sizes behind layers, linear between its entries.

    What lies between two entries is read at the number of samples: an entry for 8 is one for 8 x 8.
    Below the smallest entry its time stays, above the largest one the last slope goes on.
    """

    def __init__(self, table: Table, axes: list[Axis], calls: list[Call]) -> None:
        self._places: list[tuple[list[int], torch.Tensor, torch.Tensor]] = []
        of_layer: dict[str, list[int]] = {}
        for call in calls:
            if call.axes:
                of_layer.setdefault(call.layer, list(call.axes))
        if not isinstance(table, Mapping) or not table:
            remedy = "write cost='macs', or measure two sizes"
            checks.refuse(ValueError, "cost", checks.shown(table), _ALLOWED, remedy)
        for name, entries in table.items():
            if not isinstance(entries, Mapping):
                got, remedy = f"{checks.shown(entries)} for {name!r}", "write {8: 1.3, 16: 4.1}"
                checks.refuse(ValueError, "cost", got, _ALLOWED, remedy)
            if name not in of_layer:
                remedy = f"choose among {list(of_layer)}"
                checks.refuse(ValueError, "cost", f"a table for {name!r}", _ALLOWED, remedy)
            chosen = of_layer[name]
            points = sorted(_point(name, size, time, len(chosen)) for size, time in entries.items())
            if len({count for count, _ in points}) < 2:
                got = f"{len(points)} sizes for {name!r}"
                checks.refuse(ValueError, "cost", got, _ALLOWED, "measure one more")
            counts, times = torch.tensor(points, dtype=torch.float64).unbind(-1)
            self._places.append((chosen, counts.contiguous(), times))

    def __call__(self, sizes: torch.Tensor) -> torch.Tensor:
        """Time at sizes of shape (..., axes)."""
        cost = sizes.new_zeros(sizes.shape[:-1])
        for axes, counts, times in self._places:
            count = sizes[..., axes].prod(-1)
            right = torch.searchsorted(counts, count.detach()).clamp(1, len(counts) - 1)
            slope = (times[right] - times[right - 1]) / (counts[right] - counts[right - 1])
            beyond = count.clamp(min=float(counts[0])) - counts[right - 1]
            cost = cost + times[right - 1] + slope * beyond
        return cost


def _point(name: str, size: Any, time: Any, ndim: int) -> tuple[float, float]:
    """Read one entry: samples, and what they take."""
    sizes = (size,) * ndim if isinstance(size, int) else checks.integers(size) or ()
    if len(sizes) != ndim or min(sizes) < 1:
        got, remedy = f"{checks.shown(size)} for {name!r}", "write one size, or one an axis"
        checks.refuse(ValueError, "cost", got, _ALLOWED, remedy)
    count = math.prod(sizes)
    number = checks.real_number(time)
    if not 0 < number < math.inf:
        got, remedy = f"the time {checks.shown(time)} for {name!r}", "measure it"
        checks.refuse(ValueError, "cost", got, _ALLOWED, remedy)
    return float(count), number
