"""The words of the command line: what can be asked for, and what is then done."""

import inspect
import os
from collections.abc import Callable
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import spectral_stride
from spectral_stride.torch.training.config import BUDGETED, DIGITS, OPTIONS, RUN, has_effect
from spectral_stride.torch.training.files import write_whole
from spectral_stride.torch.training.options import Choice, Integer, Option, flag_of
from spectral_stride.torch.training.recipes import RECIPES
from spectral_stride.torch.training.refusal import PartlyDoneError, refuse
from spectral_stride.torch.training.words import parse

if TYPE_CHECKING:
    from spectral_stride.torch.training.trained import LoadedRun

app = typer.Typer(
    add_completion=False, help="Train networks that learn their strides, and use them."
)


def _option(help_text: str, metavar: str, panel: str | None = None) -> Any:
    """Describe an option whose word stays text: what is wrong is refused in one form."""
    return typer.Option(help=help_text, metavar=metavar, rich_help_panel=panel)


Out = Annotated[
    str | None,
    _option("New or empty folder for the results; without it one under runs.", "FOLDER", RUN),
]
Resume = Annotated[
    str | None,
    _option("Go on with the run in this folder, after its last whole epoch.", "FOLDER", RUN),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spectral-stride {spectral_stride.__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
]


@app.callback(invoke_without_command=True)
def _tool(context: typer.Context, version: Version = False) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _by_recipe(name: str, one: Option) -> str:
    """Say what an option is by each recipe; nothing where all have the same."""
    values = {each: recipe.defaults.get(name, one.default) for each, recipe in RECIPES.items()}
    if len(set(values.values())) == 1:
        return ""
    said: dict[Any, str] = {True: "yes", False: "no"} if one.is_switch else {}
    numbers = [f"{said.get(value, value)} {recipe}" for recipe, value in values.items()]
    return f" By the recipe: {', '.join(numbers)}."


def _in_the_demo(name: str, one: Option) -> str:
    """Say what an option is for the built-in digits, where that is something else."""
    if one.demo is MISSING:
        return ""
    free = " or ".join(each for each, recipe in RECIPES.items() if name not in recipe.defaults)
    return f" Without it {one.default:g}; for --data {DIGITS} by the recipe {free} {one.demo:g}."


def _parameter(name: str, one: Option) -> inspect.Parameter:
    """Write an option of the table as a parameter of a command, from which Typer reads it.

    Words stay text: `words.parse` refuses all values in one form.
    """
    flag, by_recipe = flag_of(name), _by_recipe(name, one)
    words = one.help + by_recipe + _in_the_demo(name, one)
    about: dict[str, Any] = {"help": words, "rich_help_panel": one.panel}
    if one.is_switch:
        kind: Any = Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", **about)]
    else:
        kind = Annotated[str | None, typer.Option(flag, metavar=one.kind.metavar, **about)]
    # A default that is not always the same is for `words.parse` to fill in.
    varies = by_recipe or one.demo is not MISSING or one.default in (None, "")
    shown = None if varies else one.default if one.is_switch else str(one.default)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=kind)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Put every option of the table in the place of a command's ``**words``."""
    context, *own, _ = inspect.signature(command).parameters.values()
    table = [_parameter(name, one) for name, one in OPTIONS.items()]
    parameters = [context, *table, *own]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


@app.command()
@_with_options
def train(context: typer.Context, *, out: Out = None, resume: Resume = None, **words: Any) -> None:
    """Train a network that learns its strides, and show what they became and what they cost.

    Without options a demo: band-limited digits, and a narrow residual network that starts at poor
    strides, beside the same one with fixed strides.
    """
    given = [name for name in context.params if _was_given(context, name)]
    if resume is not None and given != ["resume"]:
        others = " and ".join(flag_of(name) for name in given if name != "resume")
        refuse("--resume", f"{others} too", "no other option", "write --resume FOLDER alone")
    config = parse({name: word for name, word in words.items() if name in given})
    idle = [name for name in given if name in OPTIONS and not has_effect(name, config.downsampling)]
    why = f"the strides of --downsampling {config.downsampling} are not learned"
    if not idle and not config.budget:
        idle, why = [name for name in given if name in BUDGETED], "there is no budget"
    if idle:
        typer.echo(f"without effect, as {why}: {', '.join(map(flag_of, idle))}", err=True)
    # Only now: Lightning takes seconds to import, and a wrong value has been refused by here.
    from spectral_stride.torch.training.fit import run_job
    from spectral_stride.torch.training.run_folder import resumed

    if resume is not None:
        config = resumed(resume)
    run_job(config, out, Console(), resume=resume)


def _was_given(context: typer.Context, name: str) -> bool:
    """Whether the user wrote an option, and it is not there by default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


SWEEPS = Path("sweeps")
MOST_WORKERS = 1024

Grid = Annotated[
    str,
    typer.Argument(
        help="YAML: options of train, each with a value or a list; or a list of such grids.",
        metavar="GRID",
    ),
]
SweepOut = Annotated[
    str | None,
    typer.Option(
        help="Folder of the sweep, which may hold what it has finished; without it one under "
        "sweeps, named after the grid.",
        metavar="FOLDER",
    ),
]
Workers = Annotated[
    str | None,
    _option("Processes on this machine, each with one training at a time; without it 1.", "N"),
]
Scheduler = Annotated[
    str | None,
    _option(
        "Train on the Dask cluster that runs there, in place of processes on this machine. Its "
        "workers share the folder of the sweep.",
        "tcp://HOST:PORT",
    ),
]
Runs = Annotated[list[str], typer.Argument(help="Folders of runs or of sweeps.", metavar="RUNS...")]
ReportOut = Annotated[str, typer.Option("--out", help="Folder for the report.", metavar="FOLDER")]


@app.command()
def sweep(
    grid: Grid, out: SweepOut = None, workers: Workers = None, scheduler: Scheduler = None
) -> None:
    """Train every point of a grid, once, on a cluster of Dask.

    Start it again to go on after an interruption: what is done stays, what was broken off goes on
    after its last whole epoch, what has failed is tried again. A trial whose worker dies
    is tried again by itself, three times at most.
    """
    from spectral_stride.torch.training.sweep.grid import read_grid

    points = read_grid(Path(grid))
    if workers is not None and scheduler is not None:
        refuse(
            "--workers", "--scheduler too", "one of them", "start the workers of a cluster there"
        )
    count = workers or "1"
    if not count.isdecimal() or not 1 <= int(count) <= MOST_WORKERS:
        allowed = f"a whole number from 1 to {MOST_WORKERS}"
        refuse("--workers", repr(workers), allowed, "write --workers 2")
    # Only now: these take seconds to import, and a wrong grid has been refused by here.
    from spectral_stride.torch.training.device import find_device
    from spectral_stride.torch.training.sweep.cluster import local_cluster, running_cluster
    from spectral_stride.torch.training.sweep.run import run_sweep

    if scheduler is None:
        for device in {point.config.device for point in points}:
            find_device(device)
        cluster = local_cluster(int(count))
    else:
        cluster = running_cluster(scheduler)
    folder = SWEEPS / Path(grid).stem if out is None else Path(out)
    if not run_sweep(points, folder, cluster, Console()):
        raise typer.Exit(1)


@app.command()
def report(runs: Runs, out: ReportOut = "report") -> None:
    """Write report.md, with pictures beside it, and report.html, with pictures inside it."""
    from spectral_stride.torch.training.report.document import write_report

    markdown, html = write_report([Path(run) for run in runs], Path(out))
    typer.echo(f"Markdown  {markdown}")
    typer.echo(f"HTML      {html}")


Run = Annotated[
    str,
    typer.Argument(help="Folder of a run, or of one of the trainings in it.", metavar="RUN"),
]
Files = Annotated[
    list[str],
    typer.Argument(
        help="Images or recordings, as the run was trained on; or folders, for all such files in "
        "them.",
        metavar="FILES...",
    ),
]
Top = Annotated[str, _option("Classes to show of each file, the likeliest first.", "N")]
AsCsv = Annotated[
    bool,
    typer.Option("--csv", help="Print CSV; without it a table, and CSV where is no terminal."),
]


def _loaded(folder: str) -> "LoadedRun":
    """Load a run, and say on the side what is not known of it."""
    from spectral_stride.torch.training.trained import read_run

    run = read_run(Path(folder))
    for note in run.notes:
        typer.echo(note, err=True)
    return run


@app.command()
def predict(run: Run, files: Files, top: Top = "1", csv: AsCsv = False) -> None:
    """Name the classes of images or recordings by a trained network.

    A file that cannot be read is named at the end, and the others are predicted all the same.
    """
    count = Integer(1).check("--top", top, 1)
    # Only now: PyTorch and Lightning take seconds to import.
    from spectral_stride.torch.training.predict import predict_files, write

    faults: list[str] = []
    loaded = _loaded(run)
    rows = predict_files(loaded, files, count, faults.append)
    write(rows, list(loaded.classes), Console(), as_csv=csv)
    if faults:
        raise PartlyDoneError(*faults)


Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="Of the file: ONNX, or a program of PyTorch's for torch.export.load.",
        metavar="onnx|pt2",
    ),
]
ExportedOut = Annotated[
    str | None, _option("File to write; without it net.onnx or net.pt2 in the run.", "FILE")
]


@app.command()
def export(run: Run, form: Format = "onnx", out: ExportedOut = None) -> None:
    """Write a trained network as one file, with the names of its classes, and try the file."""
    from spectral_stride.torch.training.export import FORMATS, INPUT, export_run

    Choice(FORMATS).check("--format", form, "onnx")
    loaded = _loaded(run)
    target = _new_file(out or os.path.join(run, f"net.{form}"))
    exported = export_run(loaded, form)
    write_whole(target, exported.content)
    shape = ", ".join(map(str, loaded.transform.sample_shape))
    typer.echo(f"File        {target}")
    typer.echo(f"Input       {INPUT}: float32 (batch, {shape})")
    for name, names in zip(exported.outputs, loaded.classes.values(), strict=True):
        typer.echo(f"Output      {name}: float32 (batch, {len(names)})")
    costs = f"{exported.macs:,} per sample, {exported.macs_learned:,} in the network that learned"
    typer.echo(f"MACs        {costs}")
    typer.echo(f"Difference  {exported.difference:.1e} from the network, on samples of noise")


Model = Annotated[
    str,
    typer.Argument(
        help="Folder or config.json of a model of transformers, a downloaded id of the hub, a "
        "model type of transformers such as resnet, or a name of timm such as resnet18. Nothing "
        "is downloaded.",
        metavar="MODEL",
    ),
]
Pixels = Annotated[
    str, _option("Height and width of the images; 0 is what the model says, or else 224.", "PIXELS")
]
Include = Annotated[
    list[str] | None, _option("Convert this place alone; may come again, and have a *.", "NAME")
]
Exclude = Annotated[
    list[str] | None, _option("Leave this place as it is; may come again, and have a *.", "NAME")
]
ConvertedOut = Annotated[
    str | None,
    _option("Save the converted network there; torch.load(..., weights_only=False)", "FILE"),
]


@app.command()
def convert(
    model: Model,
    size: Pixels = "0",
    include: Include = None,
    exclude: Exclude = None,
    out: ConvertedOut = None,
) -> None:
    """Show which strides of a network of transformers or timm can be learned; save it converted."""
    one = OPTIONS["size"]
    pixels = one.kind.check("--size", size, one.default)
    target = None if out is None else _new_file(out)
    from spectral_stride.torch.training.foreign import convert_network, find_network

    found = find_network(model)
    table = convert_network(found, pixels, include or [], exclude or [], target)
    typer.echo(f"{type(found.net).__name__}, weights: {found.weights}\n{table}")
    if target is not None:
        typer.echo(f"Saved  {target}")


def _new_file(out: str) -> Path:
    """Refuse a file that is there already: nothing is written over."""
    if os.path.lexists(out):
        allowed = "a new file in a folder that exists"
        refuse("--out", f"{out!r}, which is there already", allowed, "write --out with another one")
    if not os.path.isdir(os.path.dirname(out) or "."):
        got = f"{out!r}, whose folder is not there"
        refuse("--out", got, "a new file in a folder that exists", "make the folder first")
    return Path(out)
