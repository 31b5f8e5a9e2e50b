"""The report on many runs: Markdown with pictures beside it, and one HTML file that holds all."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from spectral_stride.torch.training.refusal import readable, refuse
from spectral_stride.torch.training.report.comparison import (
    MeanAndDeviation,
    Section,
    SeedGroup,
    sections,
)
from spectral_stride.torch.training.report.figures import (
    COSTS,
    draw_costs,
    draw_histories,
    draw_responses,
)
from spectral_stride.torch.training.report.run_table import pair
from spectral_stride.torch.training.report.runs import TrainedRun, gather

MARKDOWN = "report.md"
HTML = "report.html"

_DPI = 110
_NOTHING = "-"
# The picture's names begin with it, so that a new report finds those of the old one.
_PREFIX = "section-"


def _code(text: object) -> str:
    """Write words that are no Markdown, on one line, so that a table's cell can hold them."""
    line = " ".join(str(text).split()).replace("`", "'").replace("|", "\\|")
    return f"`{line}`"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table: text in the first column, numbers in the others."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _accuracy_table(section: Section, accuracy: Callable[[TrainedRun], float]) -> str:
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
    return _table(["downsampling", *(f"start {start}" for start in section.starts)], rows)


def _final_strides(group: SeedGroup) -> str:
    """Write the strides that the runs ended with, one list of layers a run."""
    lists = [" ".join(pair(layer["stride"]) for layer in run.layers_after) for run in group.runs]
    return "; ".join(dict.fromkeys(lists))


def _cost_table(section: Section) -> str:
    header = ["downsampling", "start", "accuracy", "M MACs", "step (ms)", "samples/s"]
    header += ["training (s)", "parameters", "final strides, by seed"]
    rows = []
    for group in section.groups:
        parameters = ", ".join(dict.fromkeys(str(run.parameters) for run in group.runs))
        costs = [group.cost(cost).text(1) for cost in COSTS.values()]
        speed = f"{group.cost(lambda run: run.samples_per_second).mean:.0f}"
        seconds = f"{group.cost(lambda run: run.seconds).mean:.0f}"
        result = [
            group.accuracy.text(100),
            *costs,
            speed,
            seconds,
            parameters,
            _final_strides(group),
        ]
        rows.append([group.label, group.start, *result])
    return _table(header, rows)


def _equal_table(section: Section, name: str) -> str:
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
    return _table(header, rows)


def _titles(compared: Sequence[Section]) -> list[str]:
    """Name each section after its network and data, and what else tells it from the others."""
    names = dict.fromkeys(name for section in compared for name in section.setting)
    varied = [
        name
        for name in names
        if name not in ("model", "data")
        and len({section.setting.get(name) for section in compared}) > 1
    ]
    titles = []
    for section in compared:
        setting = section.setting
        parts = [f"{name.replace('_', ' ')} {setting.get(name)}" for name in varied]
        titles.append(", ".join([f"{setting['model']} on {setting['data']}", *parts]))
    return titles


def _save(figure: Figure, out: Path, name: str) -> str:
    figure.savefig(out / name, dpi=_DPI)
    return name


def _shown(section: Section, title: str, number: int, out: Path) -> dict[str, Any]:
    """Draw and write what the template shows of one section."""
    prefix = f"{_PREFIX}{number}"
    runs = section.runs
    tasks = list(runs[0].accuracies)
    setting = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in section.setting.items()
        if name not in ("model", "data", "machine", "threads") and value != ""
    ]
    learned = " and ".join(f"{n.replace('_', ' ')} {v}" for n, v in section.learned.items())

    def of(task: str) -> Callable[[TrainedRun], float]:
        return lambda run: run.accuracies[task]

    responses = [
        (f"{group.label}, start {group.start}", f"{prefix}-responses-{i}.png")
        for i, group in enumerate(section.groups, 1)
    ]
    histories = [
        _save(figure, out, f"{prefix}-strides-{i}.png")
        for i, figure in enumerate(draw_histories(section), 1)
    ]
    for group, (_, name) in zip(section.groups, responses, strict=True):
        _save(draw_responses(group), out, name)
    return {
        "title": title,
        "setting": ", ".join(setting),
        "learned": learned,
        "machine": _code(runs[0].machine),
        "versions": "; or ".join(dict.fromkeys(run.versions for run in runs)),
        "threads": ", ".join(str(n) for n in sorted({run.threads for run in runs})),
        "accuracy": _accuracy_table(section, lambda run: run.accuracy),
        "tasks": {t: _accuracy_table(section, of(t)) for t in tasks} if len(tasks) > 1 else {},
        "costs_picture": _save(draw_costs(section), out, f"{prefix}-costs.png"),
        "costs": _cost_table(section),
        "equal": {name: _equal_table(section, name) for name in COSTS},
        "histories": histories,
        "responses": responses,
        "commands": {_code(run.folder): run.command for run in runs},
    }


def _html(markdown: str, out: Path, templates: Environment) -> str:
    """Turn the Markdown into one page, with its pictures inside."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(markdown)
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                picture = base64.b64encode((out / str(child.attrs["src"])).read_bytes())
                child.attrs["src"] = f"data:image/png;base64,{picture.decode('ascii')}"
    body = reader.renderer.render(tokens, reader.options, {})
    title = markdown.partition("\n")[0].removeprefix("# ")
    return templates.get_template("report.html.j2").render(title=title, body=body)


def _prepare(out: Path) -> None:
    """Make the folder, or empty it of an earlier report."""
    remedy = f"write --out {out}-2"
    try:
        out.mkdir(parents=True, exist_ok=True)
        pictures = list(out.glob(f"{_PREFIX}*.png"))
        # An earlier report, or the beginning of one.
        if set(out.iterdir()) - {out / MARKDOWN, out / HTML, *pictures}:
            allowed = "a new or an empty folder, or one with nothing but an earlier report"
            refuse("--out", f"{str(out)!r}, which holds files", allowed, remedy)
        for old in pictures:
            old.unlink()
    except OSError as error:
        got = f"{str(out)!r} ({error.strerror or error})"
        refuse("--out", got, "a folder that can be written", remedy)


def write_report(folders: Sequence[Path], out: Path) -> tuple[Path, Path]:
    """Report on every run in some folders.

    Parameters
    ----------
    folders : sequence of Path
        Run folders, or folders of sweeps.
    out : Path
        New, empty, or with an earlier report, which is written over.

    Returns
    -------
    markdown, html : Path
        Markdown with its pictures beside it, and the same as one file with the pictures inside.

    Raises
    ------
    RefusedError
        For a folder without runs, a file of a run that cannot be read, or ``out``.
    """
    gathered = gather(folders)
    compared = sections(gathered.runs)
    _prepare(out)
    templates = Environment(
        loader=PackageLoader("spectral_stride.torch.training.report"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    titles = _titles(compared)
    shown = [
        _shown(section, title, number, out)
        for number, (section, title) in enumerate(zip(compared, titles, strict=True), 1)
    ]
    unfinished = [[_code(each.folder), _code(each.reason)] for each in gathered.unfinished]
    repeats = [[_code(folder), _code(first)] for folder, first in gathered.repeats]
    text = templates.get_template("report.md.j2").render(
        count=len(gathered.runs),
        sections=shown,
        unfinished=_table(["run", "what is known"], unfinished) if unfinished else "",
        repeats=_table(["run", "the same as in"], repeats) if repeats else "",
    )
    markdown = readable(text)  # folders of runs may have any name
    paths = out / MARKDOWN, out / HTML
    paths[0].write_text(f"{markdown.rstrip()}\n", encoding="utf-8")
    paths[1].write_text(_html(markdown, out, templates), encoding="utf-8")
    return paths
