"""The entry point of ``spectral-stride``: one line for whatever goes wrong, and an exit code."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

NAME = "spectral-stride"

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

# What the extra installs, by the names to import.
_NEEDED = ("lightning", "matplotlib", "rich", "scipy", "sklearn", "tensorboard", "torch", "typer")


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())
    print(f"{NAME}: error: {line}", file=sys.stderr)
    return code


def main(words: Sequence[str] | None = None) -> int:
    """Run the tool.

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
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        remedy = f"install them with: python -m pip install '{NAME}[train]'"
        return _fail(f"the training tools are missing ({', '.join(missing)}); {remedy}", FAILED)
    try:
        return _run(words)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)


def _run(words: Sequence[str] | None) -> int:
    # Not at the top: these need the extra.
    import typer

    from spectral_stride.torch.training.commands import app
    from spectral_stride.torch.training.config import RefusedError

    command = typer.main.get_command(app)
    try:
        code = command.main(
            None if words is None else list(words), prog_name=NAME, standalone_mode=False
        )
    except (typer.TyperException, RefusedError) as error:
        message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        return _fail(message, WRONG_USAGE)
    except OSError as error:
        return _fail(str(error), FAILED)
    if code == INTERRUPTED:  # Typer has caught it
        raise KeyboardInterrupt
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
