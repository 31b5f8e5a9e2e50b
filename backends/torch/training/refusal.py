"""What the tool cannot work with, said in one line."""

import os
from pathlib import Path
from typing import NoReturn

from spectral_stride import checks


class RefusedError(ValueError):
    """What the tool cannot work with. Its message is the one line that the user gets."""


def refuse(option: str, got: object, allowed: str, remedy: str) -> NoReturn:
    """Raise `RefusedError` with the message "option: got ...; allowed: ...; instead: ..."."""
    checks.refuse(RefusedError, option, got, allowed, remedy)


def refuse_other_reading(option: str, path: Path) -> None:
    """Refuse a path that libraries read as another: they fill in variables, and split at "::".

    fsspec does so, through which `datasets` and Lightning reach files.
    """
    whole = str(path.absolute())
    if "::" in whole or os.path.expandvars(whole) != whole:
        allowed = "paths without '::' and without '$' before the name of a variable"
        refuse(option, repr(str(path)), allowed, "rename it, or name another one")
