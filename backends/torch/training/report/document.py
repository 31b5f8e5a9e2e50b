"""The report on many runs: Markdown with pictures beside it, and one HTML file that holds all."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt

from spectral_stride.torch.training.files import PART, write_whole
from spectral_stride.torch.training.refusal import refuse
from spectral_stride.torch.training.report.comparison import sections
from spectral_stride.torch.training.report.markdown import code, escaped, table
from spectral_stride.torch.training.report.plots import plain_text
from spectral_stride.torch.training.report.runs import gather
from spectral_stride.torch.training.report.section import PREFIX, conclusions, shown, titles_of
from spectral_stride.torch.training.report.spreadsheet import csv_of

MARKDOWN, HTML, TABLE = "report.md", "report.html", "trainings.csv"


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
    return name in (MARKDOWN, HTML, TABLE) or (name.startswith(PREFIX) and name.endswith(".png"))


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
    titles = titles_of(compared)
    with plain_text():
        described = [
            shown(section, title, number, pictures)
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
            conclusions=conclusions(compared, titles),
            sections=described,
            unfinished=table(["run", "what is known"], unfinished) if unfinished else "",
            repeats=table(["run", "the same as in"], repeats) if repeats else "",
        )
    )
    markdown = f"{text.rstrip()}\n"
    page = _html(markdown, pictures, _templates(autoescape=True))
    files = pictures | {MARKDOWN: markdown.encode(), HTML: page.encode()}
    files[TABLE] = csv_of(gathered.runs).encode(errors="backslashreplace")
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
