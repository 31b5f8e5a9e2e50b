"""The words of the command line: what can be asked for, and what is then done."""

from typing import Annotated, Any

import typer
from rich.console import Console

import spectral_stride
from spectral_stride.checks import RAMPS
from spectral_stride.torch.resnet import DOWNSAMPLINGS
from spectral_stride.torch.training.config import DATA, DEVICES, WIDEST, Config, read
from spectral_stride.torch.training.models import MODELS

app = typer.Typer(add_completion=False, help="Train networks that learn their strides.")

_DEFAULT = Config()
_POOR = "; ".join(f"{kind.poor_strides} for {name}" for name, kind in MODELS.items())
_BASELINE = "--baseline/--no-baseline"


def _option(help_text: str, metavar: str, *names: str) -> Any:
    """Describe an option. It is read as text: `config.read` refuses all values in one form."""
    return typer.Option(*names, help=help_text, metavar=metavar)


def _choice(help_text: str, choices: tuple[str, ...]) -> Any:
    return _option(help_text, "|".join(choices))


Data = Annotated[str, _choice("Images to learn.", DATA)]
Model = Annotated[str, _choice("Network.", tuple(MODELS))]
Downsampling = Annotated[
    str, _choice("Learned strides, spectral pooling, or plain strided convolutions.", DOWNSAMPLINGS)
]
Strides = Annotated[
    str | None,
    _option(
        "Where the strides start: one for the stem and one for each stage, or height x width as "
        f"in 1,1,3x2,2,2. Without it a poor choice: {_POOR}.",
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
Penalty = Annotated[str, _option("Weight of the network's complexity in the loss.", "NUMBER")]
Epochs = Annotated[str, _option("Passes over the training images.", "N")]
BatchSize = Annotated[str, _option("Images in a step.", "N")]
Lr = Annotated[str, _option("Highest learning rate of the weights.", "NUMBER")]
StrideLr = Annotated[str, _option("Highest learning rate of the strides.", "NUMBER")]
WeightDecay = Annotated[str, _option("Of the weights; strides have none.", "NUMBER")]
Width = Annotated[str, _option(f"Channels of the stem, 1 to {WIDEST}.", "N")]
Seed = Annotated[str, _option("Of the first weights and the order of images.", "N")]
Device = Annotated[str, _choice("Where to compute.", DEVICES)]
Out = Annotated[
    str | None,
    _option("New or empty folder for the results; without it one under runs.", "FOLDER"),
]
Baseline = Annotated[
    bool | None,
    typer.Option(
        _BASELINE,
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
    model: Model = _DEFAULT.model,
    downsampling: Downsampling = _DEFAULT.downsampling,
    strides: Strides = None,
    ramp: Ramp = _DEFAULT.ramp,
    smoothness: Smoothness = str(_DEFAULT.smoothness),
    penalty: Penalty = str(_DEFAULT.penalty),
    epochs: Epochs = str(_DEFAULT.epochs),
    batch_size: BatchSize = str(_DEFAULT.batch_size),
    lr: Lr = str(_DEFAULT.lr),
    stride_lr: StrideLr = str(_DEFAULT.stride_lr),
    weight_decay: WeightDecay = str(_DEFAULT.weight_decay),
    width: Width = str(_DEFAULT.width),
    seed: Seed = str(_DEFAULT.seed),
    device: Device = _DEFAULT.device,
    out: Out = None,
    baseline: Baseline = None,
) -> None:
    """Train a network that learns its strides, and show what they became and what they cost.

    Without options: images of digits that hold nothing above an eighth of the sampling rate, and a
    residual network that starts at poor strides.
    """
    config = read({name: value for name, value in context.params.items() if name != "out"})
    # Only now: Lightning takes seconds to import, and a wrong value has been refused by here.
    from spectral_stride.torch.training import job

    job.run(config, out, Console())
