"""The command ``spectral-stride``: it starts the tool, or says which packages the tool needs."""

import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec

# What the extra "train" installs, by the names to import.
NEEDED = (
    "torch",
    "bokeh",
    "dask",
    "datasets",
    "distributed",
    "filelock",
    "jinja2",
    "lightning",
    "markdown_it",
    "matplotlib",
    "PIL",
    "rich",
    "scipy",
    "sklearn",
    "soundfile",
    "tensorboard",
    "typer",
    "yaml",
)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line, which lives with the framework that it trains on.

    Parameters
    ----------
    words : sequence of str, optional
        The command line behind the program's name; that of the process by default.

    Returns
    -------
    int
        Exit code: 0, 1 where something is missing or fails, 2 for a wrong value, 130 for an
        interrupt.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        remedy = "install them, in a checkout, with: python -m pip install -e '.[train]'"
        what = f"the training tools are missing ({', '.join(missing)}); {remedy}"
        print(f"spectral-stride: error: {what}", file=sys.stderr)
        return 1
    try:
        code: int = importlib.import_module("spectral_stride.torch.training.cli").run(words)
    except KeyboardInterrupt:
        print("spectral-stride: error: interrupted", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
