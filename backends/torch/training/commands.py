"""The words of the command line: what can be asked for, and what is then done."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import spectral_stride
from spectral_stride.checks import RAMPS
from spectral_stride.torch.models.downsampling import DOWNSAMPLINGS
from spectral_stride.torch.training.config import (
    DEVICES,
    LEARNED_ONLY,
    WIDEST,
    Config,
    has_effect,
    option_of,
    parse,
)
from spectral_stride.torch.training.networks import MODELS
from spectral_stride.torch.training.recipes import RECIPES
from spectral_stride.torch.training.refusal import refuse

app = typer.Typer(add_completion=False, help="Train networks that learn their strides.")

_NOT_CHOICES = ("out", "resume")

_DEFAULT = Config()
_POOR = "; ".join(f"{kind.poor_strides} for {name}" for name, kind in MODELS.items())
_WIDTHS = ", ".join(f"{kind.width} for {name}" for name, kind in MODELS.items())
_RECIPES = "; ".join(f"{name}: {recipe.about}" for name, recipe in RECIPES.items())


def _of_the_recipe(help_text: str, name: str) -> str:
    """Say what an option is where none is given."""
    values = {key: getattr(recipe, name) for key, recipe in RECIPES.items()}
    numbers = ", ".join(f"{value} {key}" for key, value in values.items() if value is not None)
    return f"{help_text} By the recipe: {numbers}."


def _option(help_text: str, metavar: str, *names: str) -> Any:
    """Describe an option. It is read as text: `config.parse` refuses all values in one form."""
    return typer.Option(*names, help=help_text, metavar=metavar)


def _choice(help_text: str, choices: tuple[str, ...]) -> Any:
    return _option(help_text, "|".join(choices))


Data = Annotated[
    str,
    _option(
        "What to learn: digits (built in), an id of the Hugging Face hub, a parquet file or a "
        "folder of them, a folder of images or of WAV or FLAC files in one folder for each class.",
        "digits|ID|PATH",
    ),
]
Input = Annotated[str | None, _option("Column of the images or recordings.", "COLUMN")]
Labels = Annotated[
    str | None, _option("Columns of the labels; each is a task of its own.", "COLUMN,...")
]
TestSplit = Annotated[
    str | None,
    _option(
        "Split to test on: without it test, or else validation, or else a fifth of the training "
        "samples.",
        "NAME",
    ),
]
Size = Annotated[str | None, _option("Bring images to this height and width.", "PIXELS")]
Seconds = Annotated[str | None, _option("Bring recordings to this length.", "NUMBER")]
Limit = Annotated[
    str | None, _option("At most so many samples of training and of test, evenly spread.", "N")
]
Recipe = Annotated[str, _choice(f"How to train: {_RECIPES}.", tuple(RECIPES))]
Model = Annotated[str, _choice("Network.", tuple(MODELS))]
Downsampling = Annotated[
    str, _choice("Learned strides, spectral pooling, or plain strided convolutions.", DOWNSAMPLINGS)
]
Strides = Annotated[
    str | None,
    _option(
        "Where the strides start: one for each place where the network gets smaller, or one of "
        "each axis, height x width or time x frequency, as in 1,1,3x2,2,2. "
        "At a stride of 1 the first stage of resnet18 and resnet18_imagenet begins with an "
        "identity, and learns none. "
        f"Without it a poor choice: {_POOR}.",
        "S,S,...",
    ),
]
Ramp = Annotated[
    str,
    _choice(
        "Soft edge of the mask: inside gives maps the size that a strided convolution gives, "
        "outside is as published and makes them larger.",
        RAMPS,
    ),
]
Smoothness = Annotated[str, _option("Width of that edge in DFT bins.", "BINS")]
Penalty = Annotated[
    str | None,
    _option(_of_the_recipe("Weight of the network's complexity in the loss.", "penalty"), "NUMBER"),
]
Epochs = Annotated[
    str | None, _option(_of_the_recipe("Passes over the training samples.", "epochs"), "N")
]
BatchSize = Annotated[
    str | None, _option(_of_the_recipe("Samples in a step, on each device.", "batch_size"), "N")
]
Lr = Annotated[
    str | None, _option(_of_the_recipe("Highest learning rate of the weights.", "lr"), "NUMBER")
]
StrideLr = Annotated[
    str | None,
    _option(_of_the_recipe("Highest learning rate of the strides.", "stride_lr"), "NUMBER"),
]
WeightDecay = Annotated[
    str | None,
    _option(_of_the_recipe("Of the weights; strides have none.", "weight_decay"), "NUMBER"),
]
LabelSmoothing = Annotated[
    str | None,
    _option(_of_the_recipe("Share of a target given to all classes.", "label_smoothing"), "SHARE"),
]
Mixup = Annotated[
    str | None,
    _option(_of_the_recipe("Mix pairs of samples, shares from Beta(A, A).", "mixup"), "A"),
]
Crop = Annotated[
    str | None,
    _option(
        _of_the_recipe(
            "Enlarge a random part of each image, of at least this share of its area (0.08 is "
            "usual for large images); 0 is none.",
            "crop",
        ),
        "SHARE",
    ),
]
Shift = Annotated[
    str | None,
    _option(_of_the_recipe("Move images by up to this share of their size.", "shift"), "SHARE"),
]
Flip = Annotated[
    bool | None,
    typer.Option("--flip/--no-flip", help=_of_the_recipe("Mirror half of the images.", "flip")),
]
Precision = Annotated[
    str | None,
    _option(_of_the_recipe("Of products; bf16 is autocast.", "precision"), "32|bf16"),
]
Width = Annotated[
    str | None,
    _option(
        _of_the_recipe(f"Channels of the stem, 1 to {WIDEST}.", "width")
        + f" With the other recipes as published: {_WIDTHS}.",
        "N",
    ),
]
Seed = Annotated[str, _option("Of the first weights and the order of images.", "N")]
Device = Annotated[str, _choice("Where to compute.", DEVICES)]
Devices = Annotated[str, _option("Processes on each machine, each on a device.", "N")]
Nodes = Annotated[
    str, _option("Machines; start the command on each, as Lightning's docs show.", "N")
]
Resume = Annotated[
    str | None,
    _option("Go on with the run in this folder, after its last whole epoch.", "FOLDER"),
]
Out = Annotated[
    str | None,
    _option("New or empty folder for the results; without it one under runs.", "FOLDER"),
]
Baseline = Annotated[
    bool | None,
    typer.Option(
        "--baseline/--no-baseline",
        help="Also train the same network with plain strided convolutions at the same strides. "
        "Without either: if these are whole numbers.",
    ),
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


@app.command()
def train(
    context: typer.Context,
    data: Data = _DEFAULT.data,
    input: Input = None,
    labels: Labels = None,
    test_split: TestSplit = None,
    size: Size = None,
    seconds: Seconds = None,
    limit: Limit = None,
    model: Model = _DEFAULT.model,
    downsampling: Downsampling = _DEFAULT.downsampling,
    strides: Strides = None,
    ramp: Ramp = _DEFAULT.ramp,
    smoothness: Smoothness = str(_DEFAULT.smoothness),
    recipe: Recipe = _DEFAULT.recipe,
    penalty: Penalty = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    stride_lr: StrideLr = None,
    weight_decay: WeightDecay = None,
    label_smoothing: LabelSmoothing = None,
    mixup: Mixup = None,
    crop: Crop = None,
    shift: Shift = None,
    flip: Flip = None,
    precision: Precision = None,
    width: Width = None,
    seed: Seed = str(_DEFAULT.seed),
    device: Device = _DEFAULT.device,
    devices: Devices = str(_DEFAULT.devices),
    nodes: Nodes = str(_DEFAULT.nodes),
    out: Out = None,
    resume: Resume = None,
    baseline: Baseline = None,
) -> None:
    """Train a network that learns its strides, and show what they became and what they cost.

    Without options: images of digits that hold nothing above an eighth of the sampling rate, and a
    residual network that starts at poor strides.
    """
    words = {name: value for name, value in context.params.items() if name not in _NOT_CHOICES}
    if resume is not None:
        given = [option_of(name) for name in context.params if _was_given(context, name)]
        if given != ["--resume"]:
            others = " and ".join(name for name in given if name != "--resume")
            refuse("--resume", f"{others} too", "no other option", "write --resume FOLDER alone")
    config = parse(words)
    idle = [name for name in LEARNED_ONLY if not has_effect(name, config.downsampling)]
    idle = [option_of(name) for name in idle if _was_given(context, name)]
    if idle:
        why = f"the strides of --downsampling {config.downsampling} are not learned"
        typer.echo(f"without effect, as {why}: {', '.join(idle)}", err=True)
    # Only now: Lightning takes seconds to import, and a wrong value has been refused by here.
    from spectral_stride.torch.training.fit import run_job
    from spectral_stride.torch.training.run_folder import resumed

    if resume is not None:
        config = resumed(resume)
    run_job(config, out, Console(), resume=resume)


def _was_given(context: typer.Context, name: str) -> bool:
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
    if not (workers or "1").isdecimal() or not 1 <= int(workers or "1") <= MOST_WORKERS:
        allowed = f"a whole number from 1 to {MOST_WORKERS}"
        refuse("--workers", repr(workers), allowed, "write --workers 2")
    # Only now: these take seconds to import, and a wrong grid has been refused by here.
    from spectral_stride.torch.training.device import find_device
    from spectral_stride.torch.training.sweep.cluster import local_cluster, running_cluster
    from spectral_stride.torch.training.sweep.run import run_sweep

    if scheduler is None:
        for device in {point.config.device for point in points}:
            find_device(device)
        cluster = local_cluster(int(workers or "1"))
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
    console = Console()
    console.print(f"Markdown  {markdown}", soft_wrap=True, highlight=False)
    console.print(f"HTML      {html}", soft_wrap=True, highlight=False)
