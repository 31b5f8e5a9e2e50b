"""Runs that may be compared, as the tables and curves of a report see them."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spectral_stride.torch.training.config import BUDGETED, LEARNED_ONLY, shown_value
from spectral_stride.torch.training.refusal import refuse
from spectral_stride.torch.training.report.runs import TrainedRun

Cost = Callable[[TrainedRun], float]


@dataclass(frozen=True, slots=True)
class MeanAndDeviation:
    """Mean and standard deviation over seeds.

    Attributes
    ----------
    mean : float
    deviation : float or None
        With n - 1 in the denominator; None for one seed.
    count : int
        The number n of seeds.
    """

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "MeanAndDeviation":
        """Summarize one or more numbers.

        Examples
        --------
        >>> from spectral_stride.torch.training.report.comparison import MeanAndDeviation
        >>> MeanAndDeviation.of([0.25, 0.75]).text(100.0)
        '50.00 ± 35.36 (2)'
        """
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))

    def text(self, scale: float) -> str:
        """Write scale * mean ± scale * deviation (n)."""
        mean = f"{scale * self.mean:.2f}"
        if self.deviation is None:
            return f"{mean} ({self.count})"
        return f"{mean} ± {scale * self.deviation:.2f} ({self.count})"


@dataclass(frozen=True, slots=True)
class SeedGroup:
    """Trainings that differ in their seed alone.

    Attributes
    ----------
    method : str
        The downsampling, with its ramp where it has one, and with what else the section varies.
    start : str
        The strides that it began with.
    price : str
        What makes it cost more or less at one start: smaller images, a budget, or a penalty.
    runs : list of TrainedRun
    """

    method: str
    start: str
    price: str
    runs: list[TrainedRun]

    @property
    def learns(self) -> bool:
        """Whether the strides were learned."""
        return self.runs[0].learns

    @property
    def name(self) -> str:
        """The label, with the strides at the start."""
        return f"{self.label}, start {self.start}"

    @property
    def accuracy(self) -> MeanAndDeviation:
        """Share of the test samples that are classified rightly."""
        return MeanAndDeviation.of([run.accuracy for run in self.runs])

    def cost(self, cost: Cost) -> MeanAndDeviation:
        """Summarize what the trainings cost."""
        return MeanAndDeviation.of([cost(run) for run in self.runs])

    @property
    def label(self) -> str:
        """The method, with its price if it has one."""
        return f"{self.method}, {self.price}" if self.price else self.method


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy over cost: groups of one method that differ in what their trainings cost.

    Attributes
    ----------
    method, label : str
    groups : list of SeedGroup
        Of different prices at one start, or of different starts.
    """

    method: str
    label: str
    groups: list[SeedGroup]

    def points(self, cost: Cost) -> tuple[list[float], list[float]]:
        """Return mean costs, rising and each once, and the mean accuracy at each."""
        at = defaultdict(list)
        for group in self.groups:
            at[group.cost(cost).mean].append(group.accuracy.mean)
        costs = sorted(at)
        return costs, [statistics.fmean(at[value]) for value in costs]

    def best(self, cost: Cost) -> tuple[list[float], list[float]]:
        """Return the means that no other equals or beats at up to the same cost; both rise."""
        costs: list[float] = []
        accuracies: list[float] = []
        means = ((group.cost(cost).mean, group.accuracy.mean) for group in self.groups)
        for value, accuracy in sorted(means, key=lambda mean: (mean[0], -mean[1])):
            if not accuracies or accuracy > accuracies[-1]:
                costs.append(value)
                accuracies.append(accuracy)
        return costs, accuracies

    def accuracy_at(self, cost: Cost, value: float) -> float | None:
        """Say what accuracy is to be had at up to a cost.

        Interpolated between the two nearest of the `best` groups, linearly in the logarithm of the
        cost; beyond the last of them, where what is dearer was measured and is no better, that one.

        Returns
        -------
        float or None
            None outside of the range that was measured, or where a single cost was.
        """
        measured, _ = self.points(cost)
        if len(measured) < 2 or not measured[0] <= value <= measured[-1]:
            return None
        costs, accuracies = self.best(cost)
        return float(np.interp(np.log(value), np.log(costs), accuracies))


@dataclass(frozen=True, slots=True)
class Section:
    """Trainings that differ in nothing but the downsampling, its options, the start and the seed.

    Attributes
    ----------
    setting : dict
        What they share.
    learned : dict
        What those that learn their strides share besides; ramp, penalty and budget are in the
        groups.
    groups : list of SeedGroup
    """

    setting: dict[str, Any]
    learned: dict[str, Any]
    groups: list[SeedGroup]

    @property
    def runs(self) -> list[TrainedRun]:
        """The runs of every group, in their order."""
        return [run for group in self.groups for run in group.runs]

    @property
    def starts(self) -> list[str]:
        """Strides at the start, in the order of their runs."""
        return list(dict.fromkeys(group.start for group in self.groups))

    @property
    def curves(self) -> list[Curve]:
        """Every group on one curve.

        Where a start was trained at several prices, these make the cost; else the starts do.
        """
        curves = []
        for method in dict.fromkeys(group.method for group in self.groups):
            own = [group for group in self.groups if group.method == method]
            rest = []
            for start in dict.fromkeys(group.start for group in own):
                groups = [group for group in own if group.start == start]
                if len(groups) > 1:
                    curves.append(Curve(method, f"{method} from {start}", groups))
                else:
                    rest += groups
            if rest:
                curves.append(Curve(method, method, rest))
        return curves


def _method(run: TrainedRun, varied: Sequence[str]) -> str:
    words = [run.config["downsampling"]]
    if run.learns:
        words.append(run.config["ramp"])
        words += [_in_words(option, run.config[option]) for option in varied]
    return " ".join(words)


def _in_words(option: str, value: Any) -> str:
    """Write a choice as briefly as may be: "hard", "budget 4.46M"."""
    name = option.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return f"{name} {shown_value(value)}"


def _price(run: TrainedRun, sizes: Collection[int]) -> str:
    """Write what makes a training of its method cost more or less."""
    words, size = [], run.config["size"]
    if len(sizes) > 1:
        words.append(f"at {size} pixels" if size else "at full size")
    budget, penalty = run.config["budget"], run.config["penalty"]
    if run.learns and budget:
        words.append(f"budget {budget / 1e6:.10g}M" if budget > 1 else f"budget {budget:.10g}")
    elif run.learns:
        words.append(f"penalty {penalty:g}")
    return ", ".join(words)


def _section(setting: dict[str, Any], runs: Sequence[TrainedRun]) -> Section:
    learned = [run for run in runs if run.learns]
    values = {
        option: {run.config[option] for run in learned}
        for option in LEARNED_ONLY
        if option not in ("ramp", "penalty", "budget")
    }
    if not any(run.config["budget"] for run in learned):
        for option in BUDGETED:  # no budget is told
            del values[option]
    varied = [option for option, used in values.items() if len(used) > 1]
    fixed = {option: used.pop() for option, used in values.items() if len(used) == 1}
    sizes = {run.config["size"] for run in runs}
    alike: dict[tuple[str, str, str], list[TrainedRun]] = defaultdict(list)
    for run in runs:
        alike[_method(run, varied), run.config["strides"], _price(run, sizes)].append(run)
    for own in alike.values():
        _check_layers(own)
    return Section(setting, fixed, [SeedGroup(*choices, own) for choices, own in alike.items()])


def _check_layers(runs: Sequence[TrainedRun]) -> None:
    """Refuse trainings of one network, from one start, that name other layers."""
    first, *others = runs
    names = [layer["name"] for layer in first.layers_after]
    for run in others:
        if [layer["name"] for layer in run.layers_after] != names:
            got = f"{str(run.folder)!r}, with other layers than {str(first.folder)!r}"
            allowed = "the same layers for the same network and strides"
            refuse("RUNS", got, allowed, "move one of them away")


def sections(runs: Sequence[TrainedRun]) -> list[Section]:
    """Sort runs into those that may be compared.

    Parameters
    ----------
    runs : sequence of TrainedRun
        From `runs.gather`.

    Returns
    -------
    list of Section
        In the order of their first runs.
    """
    comparable: dict[tuple[tuple[str, Any], ...], list[TrainedRun]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (_order(run), run.config["seed"])):
        comparable[run.setting].append(run)
    return [_section(dict(setting), own) for setting, own in comparable.items()]


def _order(run: TrainedRun) -> tuple[Any, ...]:
    """Plain strided convolutions first: they are what everything else is compared with."""
    kinds = ["strided", "blurpool", "maxpool", "spectral"]
    kind = run.config["downsampling"]
    options = [run.config[option] for option in LEARNED_ONLY]
    known = kinds.index(kind) if kind in kinds else len(kinds)
    which = run.config["ramp"] == "inside", *options, run.config["size"], run.config["strides"]
    return known, kind, *which
