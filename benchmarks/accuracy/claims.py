"""What the tables of PLAN.md say: their rows, differences and claims, from raw results.

::

    python -m benchmarks.accuracy.claims report/trainings.csv --picture headline.png
    python -m benchmarks.accuracy.claims report/trainings.csv --plan audio

It reads files that `spectral-stride report` writes, one line a training, and nothing else.
"""

import argparse
import csv
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from spectral_stride.torch.training.report.markdown import table
from spectral_stride.torch.training.report.paired import FEWEST, mean_and_interval
from spectral_stride.torch.training.report.plots import COLOURS

Line = dict[str, str]
# A row costs at most so much more than its budget; what costs less than the second is marked.
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


@dataclass(frozen=True)
class Plan:
    """One table of the plan: by which options a training belongs to a row.

    Attributes
    ----------
    model : str
        The network.
    hold_out : float
        Share of the training samples that test: a choice's trainings have another one.
    budgets : tuple of float
        Multiply-accumulates of its columns.
    fixed : dict
        Of each row without learning its downsampling, and strides and image size at each budget;
        None where the row has none.
    learned : dict
        Of each row that learns to a budget: strides, begin, settle_at, hard.
    penalties : tuple of str
        Beside the budgets, of the row that the paper's penalty has.
    compared : dict
        Starts whose claims are judged together, by what they are called.
    """

    model: str
    hold_out: float
    budgets: tuple[float, ...]
    fixed: dict[str, tuple[str, tuple[tuple[str, str] | None, ...]]]
    learned: dict[str, tuple[str, str, float, bool]]
    penalties: tuple[str, ...] = ()
    compared: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def places_of(self, line: Line) -> list[tuple[str, int]]:
        """Find the rows, and the number of its budget in each, to which a training belongs."""
        if line["model"] != self.model or float(line["hold_out"]) != self.hold_out:
            return []
        if line["downsampling"] != "diffstride":
            asked = line["strides"], line["size"]
            return [
                (name, settings.index(asked))
                for name, (kind, settings) in self.fixed.items()
                if kind == line["downsampling"] and asked in settings
            ]
        # The earliest trainings could begin at their strides alone.
        begin = line.get("begin") or "present"
        way = line["strides"], begin, float(line["settle_at"]), line["hard"] == "True"
        if float(line["penalty"]):
            paper = line["strides"] == self.learned[POOR][0] and line["hard"] == "False"
            known = paper and line["penalty"] in self.penalties
            return [(PENALTY, self.penalties.index(line["penalty"]))] if known else []
        return [
            (name, self.budgets.index(float(line["budget"])))
            for name, asked in self.learned.items()
            if asked == way and float(line["budget"]) in self.budgets
        ]


def _learned(usual: str, poor: str) -> dict[str, tuple[str, str, float, bool]]:
    """Return the learned rows that each table has."""
    return {
        GOOD: (usual, "present", 0.3, True),
        POOR: (poor, "present", 0.3, True),
        BALANCED: (usual, "balanced", 0.3, True),
    }


def _at_full_size(*strides: str) -> tuple[tuple[str, str], ...]:
    """Return strides at each budget, for images as they are."""
    return tuple((each, "0") for each in strides)


def _smaller(strides: str, *sizes: str) -> tuple[tuple[str, str], ...]:
    """Return image sizes at each budget, for the same strides."""
    return tuple((strides, size) for size in sizes)


USUAL, POOR_STRIDES = "1,1,2,2,2", "1,1,3,2,3"
_THREE_STARTS = {"the good, the poor and the balanced start": (GOOD, POOR, BALANCED)}
PLANS = {
    "resnet18": Plan(
        model="resnet18",
        hold_out=0.0,
        budgets=(8.87e6, 4.46e6, 2.22e6),
        fixed={
            STRIDED: ("strided", _at_full_size(USUAL, "1,1,4,2,2", "2,1,2,2,2")),
            SMALLER: ("strided", _smaller(USUAL, "0", "21", "16")),
            BLURPOOL: ("blurpool", _smaller(USUAL, "26", "18", "12")),
            MAXPOOL: ("maxpool", (*_smaller(USUAL, "26", "18"), ("1,2,4,2,2", "0"))),
            HAND: (
                "spectral",
                _at_full_size("32/30,1,30/14,2,7/3", "32/21,1,21/10,2,5/2", "32/14,1,14/6,2,3/2"),
            ),
            # What eight trainings for each budget found best on held-out images.
            SEARCH: (
                "spectral",
                _at_full_size(
                    "32/21,1,21/16,16/8,8/4", "32/29,1,29/7,7/4,4/2", "32/19,1,19/4,4/2,1"
                ),
            ),
        },
        learned=_learned(USUAL, POOR_STRIDES)
        | {
            RANDOM: ("random", "present", 0.3, True),
            MORE_LAYERS: ("random", "balanced", 0.3, True),
            DEFAULT: (POOR_STRIDES, "present", 0.6, True),
            SOFT: (POOR_STRIDES, "present", 0.6, False),
        },
        penalties=("0.01", "0.03", "0.1"),
        compared={
            "the good, the poor and the random starts": (POOR, GOOD, RANDOM),
            "two networks from the balanced start, without a layer in stage 1 and with one": (
                BALANCED,
                MORE_LAYERS,
            ),
        },
    ),
    "resnet56": Plan(
        model="resnet56",
        hold_out=0.0,
        budgets=(7.96e6, 4.35e6, 1.99e6),
        fixed={
            STRIDED: ("strided", _at_full_size("1,1,2,2", "1,1,4,2", "2,1,2,2")),
            SMALLER: ("strided", _smaller("1,1,2,2", "0", "23", "16")),
            MAXPOOL: ("maxpool", _smaller("1,1,2,2", "30", "22", "15")),
            HAND: (
                "spectral",
                _at_full_size("32/30,1,2,15/7", "32/23,1,23/11,11/5", "32/15,1,15/8,8/3"),
            ),
        },
        learned=_learned("1,1,2,2", "1,3,2,3"),
        compared=_THREE_STARTS,
    ),
    "audio": Plan(
        model="audio",
        hold_out=0.5,
        budgets=(5.93e6, 3.00e6, 1.82e6),
        fixed={
            STRIDED: ("strided", _at_full_size("2,2,1,1,1,2", "2,2,1,2,1,2", "2,2,2,2,1,2")),
            MAXPOOL: ("maxpool", _at_full_size("2,1,2,2,1,2", "2,2,2,2,1,2", "4,3,1,2,1,2")),
            HAND: ("spectral", _at_full_size("2,2,1,2,1,2", "3.6,2,1,2,1,2", "6,3,1,2,1,2")),
        },
        learned=_learned("2,2,1,2,1,2", "1,1,3,2,1,3"),
        compared=_THREE_STARTS,
    ),
    "digits": Plan(
        model="resnet18",
        hold_out=0.0,
        budgets=(8.73e6, 4.40e6, 2.24e6),
        fixed={
            STRIDED: ("strided", _at_full_size(USUAL, "1,1,4,2,2", "2,1,2,2,2")),
            MAXPOOL: ("maxpool", (None, None, ("1,2,4,2,2", "0"))),
            HAND: (
                "spectral",
                _at_full_size("32/30,1,30/14,2,7/3", "32/22,1,2,11/5,5/2", "32/15,1,15/7,7/3,3/2"),
            ),
        },
        learned=_learned(USUAL, POOR_STRIDES),
        compared=_THREE_STARTS,
    ),
}


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


Rows = dict[tuple[str, int], Row]


def rows_of(lines: Sequence[Line], plan: Plan) -> Rows:
    """Sort trainings into the rows of a plan.

    Fixed sizes that no row names are those that the poor start found with the same seed, or are
    refused.
    """
    rows: Rows = {}
    found: dict[tuple[str, str], set[int]] = {}
    unknown = []

    def take(line: Line, place: tuple[str, int]) -> None:
        row, seed = rows.setdefault(place, Row({}, {})), int(line["seed"])
        if seed in row.accuracies:
            raise ValueError(f"{place} has seed {seed} twice")
        row.accuracies[seed] = 100 * float(line["accuracy"])
        row.costs[seed] = float(line["macs"])

    for line in lines:
        places = plan.places_of(line)
        for place in places:
            take(line, place)
            if place[0] == POOR:
                found.setdefault((line["seed"], line["final_sizes"]), set()).add(place[1])
        if not places:
            unknown.append(line)
    for line in unknown:
        numbers = found.get((line["seed"], line["final_sizes"]), set())
        if line["downsampling"] != "spectral" or not numbers:
            raise ValueError(
                f"no row of the plan has the training in {line.get('folder')!r}, and the poor "
                f"start did not find its sizes with seed {line['seed']}"
            )
        for number in sorted(numbers):
            take(line, (FIXED, number))
    order = [*plan.fixed, FIXED, *plan.learned, PENALTY]
    return dict(sorted(rows.items(), key=lambda each: (order.index(each[0][0]), each[0][1])))


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


def _in_millions(budgets: Sequence[float]) -> list[str]:
    """Write budgets."""
    return [f"{budget / 1e6:.2f} M" for budget in budgets]


def accuracy_table(rows: Rows, budgets: Sequence[float]) -> str:
    """Write accuracies and costs of all rows, a column a budget."""
    names = list(dict.fromkeys(name for name, _ in rows))

    def cell(name: str, number: int) -> str:
        row = rows.get((name, number))
        if row is None:
            return "-"
        share = row.cost / budgets[number]
        mark = f", {100 * share:.0f} % of it" if not LEAST <= share <= MOST else ""
        spread = f" ± {row.deviation:.2f}" if len(row.accuracies) > 1 else ""
        return f"{row.mean:.2f}{spread} ({len(row.accuracies)}) at {row.cost / 1e6:.2f} M{mark}"

    lines = [[name, *[cell(name, number) for number in range(len(budgets))]] for name in names]
    return table(["", *_in_millions(budgets)], lines)


def difference_table(rows: Rows, budgets: Sequence[float], pairs: Sequence[tuple[str, str]]) -> str:
    """Write what the first row of each pair is above the second, at each budget."""
    lines = []
    for first, second in pairs:
        cells = []
        for number in range(len(budgets)):
            pair = rows.get((first, number)), rows.get((second, number))
            if pair[0] is None or pair[1] is None:
                cells.append("-")
            elif found := difference(pair[0], pair[1]):
                mean, low, high = found
                cells.append(f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] {verdict(low, high)}")
            else:
                cells.append(FEW)
        if any(cell != "-" for cell in cells):
            lines.append([f"{first} less {second}", *cells])
    return table(["", *_in_millions(budgets)], lines)


def pairs_of(plan: Plan) -> list[tuple[str, str]]:
    """Say which rows of a plan are compared: starts with what is fixed, and some with others."""
    starts = [name for name in (BALANCED, MORE_LAYERS, GOOD, POOR, RANDOM) if name in plan.learned]
    pairs = [(start, fixed) for start in starts for fixed in (*plan.fixed, FIXED)]
    pairs += [(FIXED, fixed) for fixed in plan.fixed]
    pairs += [(HAND, MAXPOOL), (BALANCED, GOOD), (BALANCED, POOR), (GOOD, POOR)]
    return [*pairs, (POOR, DEFAULT), (DEFAULT, SOFT), (POOR, PENALTY)]


def claims(rows: Rows, budgets: Sequence[float], starts: Sequence[str]) -> list[str]:
    """Say of each claim of the plan at which budgets it holds for all of some starts.

    Claims on rows that a plan does not have are left out.
    """

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
        "each is level with maximum pooling, or wins": compared(MAXPOOL, at_least),
    }
    said = []
    for claim, holds in asked.items():
        answers = []
        for number, budget in enumerate(_in_millions(budgets)):
            try:
                answers.append(f"{budget}: {holds(number)}")
            except KeyError:
                answers.append(f"{budget}: not trained")
        if not all(answer.endswith("not trained") for answer in answers):
            said.append(f"{claim}: {'; '.join(answers)}")
    return said


def draw(rows: Rows, budgets: Sequence[float], path: Path) -> None:
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
        some = [rows[name, n] for n in range(len(budgets)) if (name, n) in rows]
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
    ticks = [budget / 1e6 for budget in budgets]
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
    parser.add_argument("--plan", choices=PLANS, default="resnet18", help="which table of PLAN.md")
    parser.add_argument("--picture", type=Path, help="PNG file for accuracy over cost")
    asked = parser.parse_args(words)
    plan = PLANS[asked.plan]
    lines: list[Line] = []
    for path in asked.trainings:
        with path.open(newline="") as file:
            lines += csv.DictReader(file)
    rows = rows_of(lines, plan)
    print(accuracy_table(rows, plan.budgets) + "\n")
    print(difference_table(rows, plan.budgets, pairs_of(plan)))
    for name, starts in plan.compared.items():
        print(f"\nOf {name}:\n")
        for line in claims(rows, plan.budgets, starts) or ["not all of them were trained"]:
            print(f"* {line}")
    if asked.picture:
        draw(rows, plan.budgets, asked.picture)


if __name__ == "__main__":
    main()
