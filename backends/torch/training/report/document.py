"""The report on many runs: Markdown with pictures beside it, and one HTML file that holds all."""

import base64
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from spectral_stride.torch.training.files import PART, write_whole
from spectral_stride.torch.training.refusal import refuse
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
    macs_in_millions,
)
from spectral_stride.torch.training.report.markdown import (
    Markdown,
    code,
    code_block,
    escaped,
    table,
)
from spectral_stride.torch.training.report.paired import FEWEST, VERDICTS, differences
from spectral_stride.torch.training.report.plots import plain_text, png
from spectral_stride.torch.training.report.run_table import pair
from spectral_stride.torch.training.report.runs import TrainedRun, gather

MARKDOWN, HTML, TABLE = "report.md", "report.html", "trainings.csv"

_DPI = 110
_NOTHING = Markdown("-")
# What of a section's setting its title says, and what stands elsewhere in it.
_IN_TITLE = ("model", "data")
_ELSEWHERE = ("machine", "threads", "tasks")
# The picture's names begin with it, so that a new report finds those of the old one.
_PREFIX = "section-"


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


def _conclusions(compared: Sequence[Section], titles: Sequence[str]) -> list[str]:
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


def _titles(compared: Sequence[Section]) -> list[str]:
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


def _shown(section: Section, title: str, number: int, pictures: dict[str, bytes]) -> dict[str, Any]:
    """Write what the template shows of one section, and draw it into ``pictures``, by name."""
    prefix = f"{_PREFIX}{number}"
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


def _csv(runs: Sequence[TrainedRun]) -> str:
    """Write one line a training: its choices, what came out, and the sizes that it ended with."""
    file = io.StringIO()
    lines: list[dict[str, Any]] = [
        {
            **run.config,
            "folder": code(run.folder).strip("`"),
            "machine": run.machine,
            "train_samples": run.samples[0],
            "test_samples": run.samples[1],
            "accuracy": run.accuracy,
            "macs": run.macs,
            "step_seconds": run.step_seconds,
            "training_seconds": run.seconds,
            "final_sizes": ",".join(pair(layer["size_out"]) for layer in run.layers_after),
        }
        for run in runs
    ]
    # Runs of other versions may have options that are none here.
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(_no_formula, names))
    writer.writerows([_no_formula(line.get(name, "")) for name in names] for line in lines)
    return file.getvalue()


def _no_formula(value: Any) -> Any:
    """Return a cell that no spreadsheet computes: a run folder may be anybody's."""
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value


def _html(markdown: str, pictures: Mapping[str, bytes], templates: Environment) -> str:
    """Turn the Markdown into one page, with the pictures of this report inside, and no others."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    # The document has none of these.
    reader.disable(["link", "autolink", "reference"])
    tokens = reader.parse(markdown)
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                picture = base64.b64encode(pictures.get(str(child.attrs["src"]), b""))
                child.attrs["src"] = f"data:image/png;base64,{picture.decode('ascii')}"
    body = reader.renderer.render(tokens, reader.options, {})
    title = markdown.partition("\n")[0].removeprefix("# ")
    return templates.get_template("report.html.j2").render(title=title, body=body)


def _is_of_a_report(path: Path) -> bool:
    name = path.name.removesuffix(PART)
    return name in (MARKDOWN, HTML, TABLE) or (name.startswith(_PREFIX) and name.endswith(".png"))


def _prepare(out: Path) -> None:
    """Make the folder, or refuse one that holds more than an earlier report."""
    remedy = f"write --out {out}-2"
    try:
        out.mkdir(parents=True, exist_ok=True)
        # An earlier report, or the beginning of one.
        if not all(map(_is_of_a_report, out.iterdir())):
            allowed = "a new or an empty folder, or one with nothing but an earlier report"
            refuse("--out", f"{str(out)!r}, which holds files", allowed, remedy)
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
        Markdown with its pictures beside it, and the same as one file with the pictures inside. A
        third file, ``trainings.csv``, has a line for each training.

    Raises
    ------
    RefusedError
        For a folder without runs, a file of a run that cannot be read, or ``out``.
    """
    gathered = gather(folders)
    compared = sections(gathered.runs)
    _prepare(out)
    pictures: dict[str, bytes] = {}
    titles = _titles(compared)
    with plain_text():
        shown = [
            _shown(section, title, number, pictures)
            for number, (section, title) in enumerate(zip(compared, titles, strict=True), 1)
        ]
    unfinished = [[code(each.folder), code(each.reason)] for each in gathered.unfinished]
    repeats = [[code(folder), code(first)] for folder, first in gathered.repeats]
    text = (
        _templates(finalize=escaped)
        .get_template("report.md.j2")
        .render(
            count=len(gathered.runs),
            failed=len(unfinished),
            conclusions=_conclusions(compared, titles),
            sections=shown,
            unfinished=table(["run", "what is known"], unfinished) if unfinished else "",
            repeats=table(["run", "the same as in"], repeats) if repeats else "",
        )
    )
    markdown = f"{text.rstrip()}\n"
    page = _html(markdown, pictures, _templates(autoescape=True))
    files = pictures | {MARKDOWN: markdown.encode(), HTML: page.encode()}
    files[TABLE] = _csv(gathered.runs).encode(errors="backslashreplace")
    # All at once, and only now: where a run is refused an earlier report stays as it was.
    for name, content in files.items():
        write_whole(out / name, content)
    for path in list(out.iterdir()):
        if path.name not in files and _is_of_a_report(path):
            path.unlink()
    return out / MARKDOWN, out / HTML


def _templates(**options: Any) -> Environment:
    return Environment(
        loader=PackageLoader("spectral_stride.torch.training.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        **options,
    )
