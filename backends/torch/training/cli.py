"""The tool behind ``spectral-stride``: one line for what a user can mend, and an exit code."""

import errno
import sys
from collections.abc import Sequence

import typer

from spectral_stride.torch.training.commands import app
from spectral_stride.torch.training.refusal import (
    PartlyDoneError,
    Refusals,
    RefusedError,
    refuse_unreadable,
)

NAME = "spectral-stride"

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

# A disk, or somebody's share of it, that is full.
FULL = (errno.ENOSPC, errno.EDQUOT)
MAKE_ROOM = "; instead: make room, and go on: what is finished is kept"


def _fail(code: int, *messages: str) -> int:
    for message in messages:
        line = " ".join(message.split())
        print(f"{NAME}: error: {line}", file=sys.stderr)
    return code


def run(words: Sequence[str] | None) -> int:
    """Run a command line, without words that of the process, and return its exit code.

    KeyboardInterrupt is left to the caller.
    """
    command = typer.main.get_command(app)
    try:
        faults = Refusals("command line")
        for word in sys.argv[1:] if words is None else words:
            refuse_unreadable(faults, word)
        faults.tell()
        code = command.main(
            None if words is None else list(words), prog_name=NAME, standalone_mode=False
        )
    except typer.TyperException as error:
        return _fail(WRONG_USAGE, error.format_message())
    except PartlyDoneError as error:
        return _fail(FAILED, *error.args)
    except RefusedError as error:
        return _fail(WRONG_USAGE, *error.args)
    except OSError as error:
        return _fail(FAILED, f"{error}{MAKE_ROOM if error.errno in FULL else ''}")
    if code == INTERRUPTED:  # Typer has caught it
        raise KeyboardInterrupt
    return int(code or 0)
