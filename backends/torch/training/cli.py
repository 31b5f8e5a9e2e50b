"""The tool behind ``spectral-stride``: one line for what a user can mend, and an exit code."""

import sys
from collections.abc import Sequence

import typer

from spectral_stride.torch.training.commands import app
from spectral_stride.torch.training.refusal import RefusedError

NAME = "spectral-stride"

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())
    print(f"{NAME}: error: {line}", file=sys.stderr)
    return code


def run(words: Sequence[str] | None) -> int:
    """Run a command line, without words that of the process, and return its exit code.

    KeyboardInterrupt is left to the caller.
    """
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
