"""What the table of PLAN.md says: its rows, their differences and its claims, from raw results.

::

    python -m benchmarks.accuracy.claims report/trainings.csv --picture headline.png

It reads files that `spectral-stride report` writes, one line a training, and nothing else.
"""

import argparse
import csv
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from spectral_stride.torch.training.report.markdown import table
from spectral_stride.torch.training.report.paired import FEWEST, mean_and_interval
from spectral_stride.torch.training.report.plots import COLOURS

Line = dict[str, str]

BUDGETS = (8.87e6, 4.46e6, 2.22e6)
# A row may cost so much more than its budget; what costs less than the second is marked.
MOST, LEAST = 1.005, 0.95
YES, NO, OPEN, FEW = "yes", "no", "not resolved", "too few seeds"
# Points: how far the interval of a level row reaches at most, and what strided rows are to lose by.
LEVEL, GAIN = 1.5, 3.0

STRIDED, SMALLER = "strided, whole strides", "strided, smaller images"
BLURPOOL, MAXPOOL = "BlurPool", "MaxPool"
HAND, SEARCH = "spectral, sizes by hand", "spectral, sizes by random search"
POOR, GOOD, RANDOM = "learned, poor start", "learned, good start", "learned, random starts"
BALANCED = "learned, balanced start"
MORE_LAYERS = "learned, balanced start, a layer in stage 1"
DEFAULT, SOFT = "learned, poor start, moving for 60 %", "learned, poor start, soft ramp"
PENALTY, FIXED = "learned, the paper's penalty", "spectral, sizes that the poor start found"

BY_HAND = ("32/30,1,30/14,2,7/3", "32/21,1,21/10,2,5/2", "32/14,1,14/6,2,3/2")
# What eight trainings for each budget found best on held-out images.
SEARCHED = ("32/21,1,21/16,16/8,8/4", "32/29,1,29/7,7/4,4/2", "32/19,1,19/4,4/2,1")
POOR_STRIDES = "1,1,3,2,3"
STARTS = {POOR_STRIDES: POOR, "1,1,2,2,2": GOOD, "random": RANDOM}
BALANCED_STARTS = {"1,1,2,2,2": BALANCED, "random": MORE_LAYERS}
PENALTIES = ("0.01", "0.03", "0.1")
SIZES = {"0": 0, "21": 1, "16": 2}
POOLED_SIZES = {"26": 0, "18": 1, "12": 2}


@dataclass
class Row:
    """One way at one budget: accuracies in % and costs, by seed."""

    accuracies: dict[int, float]
    costs: dict[int, float]

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return statistics.mean(self.accuracies.values())

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds."""
        values = self.accuracies.values()
        return statistics.stdev(values) if len(values) > 1 else 0.0

    @property
    def cost(self) -> float:
        """Mean cost."""
        return statistics.mean(self.costs.values())


def places_of(line: Line) -> list[tuple[str, int]]:
    """Find the rows, and the number of its budget in each, to which a training belongs."""
    kind, strides, size = line["downsampling"], line["strides"], line["size"]
    if kind == "strided":
        if strides == "1,1,2,2,2":
            return [(SMALLER, SIZES[size]), *([(STRIDED, 0)] if size == "0" else [])]
        return [(STRIDED, 1 if strides == "1,1,4,2,2" else 2)]
    if kind in ("blurpool", "maxpool"):
        name = BLURPOOL if kind == "blurpool" else MAXPOOL
        return [(name, POOLED_SIZES.get(size, 2))]
    if kind == "spectral":
        if strides in BY_HAND:
            return [(HAND, BY_HAND.index(strides))]
        if strides in SEARCHED:
            return [(SEARCH, SEARCHED.index(strides))]
        return [(FIXED, _nearest(float(line["macs"])))]
    if float(line["penalty"]):
        return [(PENALTY, PENALTIES.index(line["penalty"]))]
    budget = _nearest(float(line["budget"]))
    # Earlier trainings could begin at their strides alone.
    begins_balanced = line.get("begin") == "balanced"
    if float(line["settle_at"]) == 0.3:
        starts = BALANCED_STARTS if begins_balanced else STARTS
        if strides in starts:
            return [(starts[strides], budget)]
    elif strides == POOR_STRIDES and not begins_balanced:
        return [(DEFAULT if line["hard"] == "True" else SOFT, budget)]
    raise ValueError(f"no row of the plan has the training in {line.get('folder')!r}")


def _nearest(cost: float) -> int:
    """Find the budget that is nearest to a cost."""
    return min(range(len(BUDGETS)), key=lambda number: abs(BUDGETS[number] - cost))


def rows_of(lines: Sequence[Line]) -> dict[tuple[str, int], Row]:
    """Sort trainings into the rows of the plan."""
    rows: dict[tuple[str, int], Row] = {}
    for line in lines:
        for place in places_of(line):
            row = rows.setdefault(place, Row({}, {}))
            seed = int(line["seed"])
            if seed in row.accuracies:
                raise ValueError(f"{place} has seed {seed} twice")
            row.accuracies[seed] = 100 * float(line["accuracy"])
            row.costs[seed] = float(line["macs"])
    return rows


def difference(first: Row, second: Row) -> tuple[float, float, float] | None:
    """Return the mean difference of two rows, paired by seed, and the ends of its interval.

    None where fewer than three seeds are in both.
    """
    seeds = sorted(first.accuracies.keys() & second.accuracies.keys())
    if len(seeds) < FEWEST:
        return None
    return mean_and_interval([(first.accuracies[s], second.accuracies[s]) for s in seeds])


def verdict(low: float, high: float) -> str:
    """Say what an interval means, in the words of the plan."""
    if low > 0:
        return "wins"
    if high < 0:
        return "loses"
    return "level" if max(-low, high) <= LEVEL else OPEN


def accuracy_table(rows: dict[tuple[str, int], Row]) -> str:
    """Write accuracies and costs of all rows, a column a budget."""
    names = list(dict.fromkeys(name for name, _ in rows))

    def cell(name: str, number: int) -> str:
        row = rows.get((name, number))
        if row is None:
            return "-"
        share = row.cost / BUDGETS[number]
        mark = f", {100 * share:.0f} % of it" if not LEAST <= share <= MOST else ""
        spread = f"{row.mean:.2f} ± {row.deviation:.2f}"
        return f"{spread} ({len(row.accuracies)}) at {row.cost / 1e6:.2f} M{mark}"

    lines = [[name, *[cell(name, number) for number in range(len(BUDGETS))]] for name in names]
    return table(["", *[f"{budget / 1e6:.2f} M" for budget in BUDGETS]], lines)


def difference_table(rows: dict[tuple[str, int], Row], firsts: Sequence[str]) -> str:
    """Write what each of some rows is above every other one, at each budget: each pair once."""
    names = list(dict.fromkeys(name for name, _ in rows))
    lines = []
    for place, first in enumerate(firsts):
        for second in names:
            if second in firsts[:place]:
                continue
            cells = []
            for number in range(len(BUDGETS)):
                pair = rows.get((first, number)), rows.get((second, number))
                if first == second or pair[0] is None or pair[1] is None:
                    cells.append("-")
                elif found := difference(pair[0], pair[1]):
                    mean, low, high = found
                    cells.append(f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] {verdict(low, high)}")
                else:
                    cells.append(FEW)
            if any(cell != "-" for cell in cells):
                lines.append([f"{first} less {second}", *cells])
    return table(["", *[f"{budget / 1e6:.2f} M" for budget in BUDGETS]], lines)


def claims(
    rows: dict[tuple[str, int], Row], starts: Sequence[str] = (POOR, GOOD, RANDOM)
) -> list[str]:
    """Say of each claim of the plan at which budgets it holds for all of some starts."""

    def near(number: int) -> str:
        some = [rows[name, number] for name in starts]
        if min(len(row.accuracies) for row in some) < FEWEST:
            return FEW
        means = [row.mean for row in some]
        return YES if max(means) - min(means) <= min(row.deviation for row in some) else NO

    def compared(name: str, judge: Callable[[float, float], str]) -> Callable[[int], str]:
        def holds(number: int) -> str:
            found = [difference(rows[start, number], rows[name, number]) for start in starts]
            answers = [judge(each[1], each[2]) if each else FEW for each in found]
            return next(worst for worst in (NO, FEW, OPEN, YES) if worst in answers)

        return holds

    def at_least(low: float, high: float) -> str:
        said = verdict(low, high)
        return {"wins": YES, "level": YES, "loses": NO}.get(said, OPEN)

    def above(points: float) -> Callable[[float, float], str]:
        return lambda low, high: YES if low > points else NO if high < points else OPEN

    asked = {
        "they lie within one standard deviation of each other": near,
        "each is level with sizes by hand, or wins": compared(HAND, at_least),
        "each is level with the random search, or wins": compared(SEARCH, at_least),
        f"each is {GAIN:g} points above strided convolutions": compared(STRIDED, above(GAIN)),
        "each is above smaller images": compared(SMALLER, above(0.0)),
    }
    said = []
    for claim, holds in asked.items():
        answers = []
        for number, budget in enumerate(BUDGETS):
            try:
                answer = holds(number)
            except KeyError:
                answer = "not trained"
            answers.append(f"{budget / 1e6:.2f} M: {answer}")
        said.append(f"{claim}: {'; '.join(answers)}")
    return said


def draw(rows: dict[tuple[str, int], Row], path: Path) -> None:
    """Draw accuracy over cost: means and standard deviations over seeds."""
    figure = Figure(figsize=(5.5, 4.4), layout="constrained")
    axes = figure.subplots()
    shown = {
        STRIDED: "strided convolutions",
        MAXPOOL: "maximum pooling",
        HAND: "spectral pooling, sizes by hand",
        BALANCED: "learned from a balanced start",
        GOOD: "learned from usual strides",
        POOR: "learned from poor strides",
        RANDOM: "learned from random strides",
    }
    for colour, (name, label) in zip(COLOURS, shown.items(), strict=False):
        some = [rows[name, n] for n in range(len(BUDGETS)) if (name, n) in rows]
        if some:
            axes.errorbar(
                [row.cost / 1e6 for row in some],
                [row.mean for row in some],
                [row.deviation for row in some],
                color=colour,
                marker="o",
                markersize=4,
                capsize=3,
                label=label,
            )
    axes.set_xscale("log")
    ticks = [budget / 1e6 for budget in BUDGETS]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("million multiply-accumulates of an image")
    axes.set_ylabel("test accuracy in %")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main(words: list[str] | None = None) -> None:
    """Print the tables and the claims, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trainings", type=Path, nargs="+", help="trainings.csv of reports")
    parser.add_argument("--picture", type=Path, help="PNG file for accuracy over cost")
    asked = parser.parse_args(words)
    lines: list[Line] = []
    for path in asked.trainings:
        with path.open(newline="") as file:
            lines += csv.DictReader(file)
    rows = rows_of(lines)
    print(accuracy_table(rows) + "\n")
    print(difference_table(rows, (BALANCED, MORE_LAYERS, GOOD, POOR, RANDOM)) + "\n")
    print("Of the good, the poor and the random starts:\n")
    for line in claims(rows):
        print(f"* {line}")
    print("\nOf two networks from the balanced start, without a layer in stage 1 and with one:\n")
    for line in claims(rows, (BALANCED, MORE_LAYERS)):
        print(f"* {line}")
    if asked.picture:
        draw(rows, asked.picture)


if __name__ == "__main__":
    main()
