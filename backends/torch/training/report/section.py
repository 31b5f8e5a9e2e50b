"""One section of the report: its title, its conclusion, its tables and its pictures."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from spectral_stride.torch.training.report.comparison import MeanAndDeviation, Section, SeedGroup
from spectral_stride.torch.training.report.figures import (
    COSTS,
    draw_costs,
    draw_histories,
    draw_responses,
    macs_in_millions,
)
from spectral_stride.torch.training.report.markdown import Markdown, code, code_block, table
from spectral_stride.torch.training.report.paired import FEWEST, VERDICTS, differences
from spectral_stride.torch.training.report.plots import png
from spectral_stride.torch.training.report.run_table import pair
from spectral_stride.torch.training.report.runs import TrainedRun

# The names of pictures begin with it, so that a new report finds those of the old one.
PREFIX = "section-"

_DPI = 110
_NOTHING = Markdown("-")
# What of a section's setting its title says, and what stands elsewhere in it.
_IN_TITLE = ("model", "data")
_ELSEWHERE = ("machine", "threads", "tasks")


def _accuracy_table(section: Section, accuracy: Callable[[TrainedRun], float]) -> Markdown:
    rows = []
    for label in dict.fromkeys(group.label for group in section.groups):
        groups = {group.start: group for group in section.groups if group.label == label}
        texts = [
            MeanAndDeviation.of([accuracy(run) for run in groups[start].runs]).text(100)
            if start in groups
            else _NOTHING
            for start in section.starts
        ]
        rows.append([label, *texts])
    return table(["downsampling", *(f"start {start}" for start in section.starts)], rows)


def _final_strides(group: SeedGroup) -> str:
    """Write the strides that the runs ended with, one list of layers a run."""
    lists = [" ".join(pair(layer["stride"]) for layer in run.layers_after) for run in group.runs]
    return "; ".join(dict.fromkeys(lists))


def _strides_table(section: Section) -> Markdown:
    rows = [[group.label, group.start, _final_strides(group)] for group in section.groups]
    return table(["trained", "start", "final strides, by seed"], rows)


def _cost_table(section: Section) -> Markdown:
    header = ["downsampling", "start", "accuracy", "M MACs", "step (ms)", "samples/s"]
    header += ["training (s)", "parameters"]
    rows = []
    for group in section.groups:
        parameters = ", ".join(dict.fromkeys(str(run.parameters) for run in group.runs))
        costs = [group.cost(cost).text(1) for cost in COSTS.values()]
        speed = f"{group.cost(lambda run: run.samples_per_second).mean:.0f}"
        seconds = f"{group.cost(lambda run: run.seconds).mean:.0f}"
        result = [group.accuracy.text(100), *costs, speed, seconds, parameters]
        rows.append([group.label, group.start, *result])
    return table(header, rows)


def _equal_table(section: Section, name: str) -> Markdown:
    cost = COSTS[name]
    header = ["measured", "start", "cost", "accuracy", *(c.label for c in section.curves)]
    rows = []
    for group in sorted(section.groups, key=lambda group: group.cost(cost).mean):
        at, measured = group.cost(cost).mean, group.accuracy.mean
        texts = []
        for curve in section.curves:
            other = None if group in curve.groups else curve.accuracy_at(cost, at)
            if other is None:
                texts.append("itself" if group in curve.groups else _NOTHING)
            else:
                better = f"{100 * (measured - other):+.2f}".replace("-", "−")
                texts.append(f"{100 * other:.2f} ({better})")
        rows.append([group.label, group.start, f"{at:.2f}", f"{100 * measured:.2f}", *texts])
    return table(header, rows)


def _paired_table(section: Section) -> Markdown:
    """Write the differences of learned strides from all that costs the same, if there are any."""
    rows = [
        [
            one.first.name,
            one.second.name,
            f"{100 * one.mean:+.2f} ({100 * one.low:+.2f} to {100 * one.high:+.2f})",
            one.seeds,
            one.verdict,
        ]
        for one in differences(section.groups, macs_in_millions)
    ]
    header = ["learned", "beside", "points (95 % interval)", "seeds", "learned is"]
    return table(header, rows) if rows else Markdown("")


def conclusions(compared: Sequence[Section], titles: Sequence[str]) -> list[str]:
    """Say in a sentence a section how learned strides came out at equal cost."""
    lines = []
    for section, title in zip(compared, titles, strict=True):
        if not any(group.learns for group in section.groups):
            continue
        verdicts = [
            one.verdict
            for one in differences(section.groups, macs_in_millions)
            if not one.second.learns
        ]
        found = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in VERDICTS)
        if not verdicts:
            found = f"no comparison, as none has both equal cost and {FEWEST} seeds in common"
        lines.append(
            f"{title}, accuracy of learned strides beside fixed ones at equal "
            f"multiply-accumulates: {found}."
        )
    return lines


def titles_of(compared: Sequence[Section]) -> list[str]:
    """Name each section after its network and data, and what else tells it from the others."""
    names = dict.fromkeys(name for section in compared for name in section.setting)
    varied = [
        name
        for name in names
        if name not in (*_IN_TITLE, "tasks")
        and len({section.setting.get(name) for section in compared}) > 1
    ]
    titles = [_title(section, varied) for section in compared]
    if len(set(titles)) < len(titles):
        return [_title(section, [*varied, "tasks"]) for section in compared]
    return titles


def _title(section: Section, varied: Sequence[str]) -> str:
    setting = section.setting
    parts = [f"{name.replace('_', ' ')} {setting.get(name)}" for name in varied]
    return ", ".join([f"{setting['model']} on {setting['data']}", *parts])


def shown(section: Section, title: str, number: int, pictures: dict[str, bytes]) -> dict[str, Any]:
    """Write what the template shows of one section, and draw it into ``pictures``, by name."""
    prefix = f"{PREFIX}{number}"
    runs = section.runs

    def save(figure: Figure, name: str) -> str:
        pictures[name] = png(figure, _DPI)
        return name

    tasks = list(runs[0].accuracies)
    setting = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in section.setting.items()
        if name not in (*_IN_TITLE, *_ELSEWHERE) and value != ""
    ]
    sizes = {run.config["size"] for run in runs}
    if len(sizes) == 1:
        setting.insert(0, f"size {sizes.pop()}")
    learned = " and ".join(f"{n.replace('_', ' ')} {v}" for n, v in section.learned.items())

    def of(task: str) -> Callable[[TrainedRun], float]:
        return lambda run: run.accuracies[task]

    responses = [
        (group.name, f"{prefix}-responses-{i}.png")
        for i, group in enumerate(section.groups, 1)
        if group.runs[0].config["downsampling"] != "maxpool"
    ]
    histories = [
        save(figure, f"{prefix}-strides-{i}.png")
        for i, figure in enumerate(draw_histories(section), 1)
    ]
    drawn = dict(responses)
    for group in section.groups:
        if group.name in drawn:
            save(draw_responses(group), drawn[group.name])
    return {
        "title": title,
        "setting": ", ".join(setting),
        "learned": learned,
        "machine": code(runs[0].machine),
        "versions": "; or ".join(dict.fromkeys(run.versions for run in runs)),
        "threads": ", ".join(str(n) for n in sorted({run.threads for run in runs})),
        "accuracy": _accuracy_table(section, lambda run: run.accuracy),
        "tasks": {t: _accuracy_table(section, of(t)) for t in tasks} if len(tasks) > 1 else {},
        "costs_picture": save(draw_costs(section), f"{prefix}-costs.png"),
        "costs": _cost_table(section),
        "strides": _strides_table(section),
        "equal": {name: _equal_table(section, name) for name in COSTS},
        "paired": _paired_table(section),
        "histories": histories,
        "responses": responses,
        "commands": {code(run.folder): code_block(run.command, "sh") for run in runs},
    }
