"""What the tool cannot work with, said in one line."""

import os
import re
from pathlib import Path
from typing import NoReturn

from spectral_stride import checks

_SURROGATE = re.compile("[\ud800-\udfff]")
# Faults of one kind that are told at once.
MOST = 10


class RefusedError(ValueError):
    """What the tool cannot work with: the line that the user gets, or a line for each fault."""

    def __str__(self) -> str:
        return "\n".join(self.args)


class PartlyDoneError(RefusedError):
    """What of a list could not be worked with, a line for each, where all else has been done."""


def refuse(option: str, got: object, allowed: str, remedy: str) -> NoReturn:
    """Raise `RefusedError` with the message "option: got ...; allowed: ...; instead: ..."."""
    checks.refuse(RefusedError, option, got, allowed, remedy)


class Refusals:
    r"""Faults of one option, kept until all has been looked at, and then told together.

    Parameters
    ----------
    option : str

    Attributes
    ----------
    lines : list of str
        One for each fault.

    Examples
    --------
    >>> from spectral_stride.torch.training.refusal import Refusals
    >>> faults = Refusals("--data")
    >>> faults.tell()
    >>> faults.add("a.png", "files", "mend it")
    >>> faults.add("b.png", "files", "mend it")
    >>> print(*faults.lines, sep="\n")
    --data: got a.png; allowed: files; instead: mend it
    --data: got b.png; allowed: files; instead: mend it
    """

    def __init__(self, option: str) -> None:
        self.option = option
        self.lines: list[str] = []

    def add(self, got: object, allowed: str, remedy: str) -> None:
        """Keep one fault.

        Raises
        ------
        RefusedError
            With the tenth: who has so many mends those first.
        """
        self._keep(got, allowed, remedy)
        if len(self.lines) == MOST:
            self._keep(f"{MOST} faults, and looked no further", "none", "mend these first")
            self.tell()

    def _keep(self, got: object, allowed: str, remedy: str) -> None:
        try:
            refuse(self.option, got, allowed, remedy)
        except RefusedError as error:
            self.lines += error.args

    def tell(self) -> None:
        """Refuse what has been kept, a line for each fault; do nothing where there is none.

        Raises
        ------
        RefusedError
        """
        if self.lines:
            raise RefusedError(*self.lines)


def readable(name: str) -> str:
    r"""Write the name of a file so that it can be shown: bytes that are no UTF-8 as escapes.

    Examples
    --------
    >>> import os
    >>> from spectral_stride.torch.training.refusal import readable
    >>> print(readable(os.fsdecode(b"caf\xe9.png")))
    caf\xe9.png
    """
    return _SURROGATE.sub(lambda one: f"\\{_escape(ord(one[0]))}", name)


def _escape(code: int) -> str:
    """Write a surrogate: that of a byte as the byte, as `os.fsdecode` made it, others as codes."""
    byte = code - 0xDC00
    return f"x{byte:02x}" if 0x80 <= byte <= 0xFF else f"u{code:04x}"


def refuse_unreadable(faults: Refusals, path: str, name: str | None = None) -> None:
    """Keep it as a fault where a name is no UTF-8: tables of data, and notes, hold nothing else.

    Parameters
    ----------
    faults : Refusals
    path : str
    name : str, optional
        The part of the path that is looked at; without it all.
    """
    name = path if name is None else name
    if readable(name) != name:
        allowed = "names in UTF-8"
        remedy = "rename it, as `convmv -r -f latin1 -t utf8 --notest FOLDER` does"
        faults.add(f"{readable(path)}, whose name is no UTF-8", allowed, remedy)


def refuse_other_reading(option: str, path: Path) -> None:
    """Refuse a path that libraries read as another: they fill in variables, and split at "::".

    fsspec does so, through which `datasets` and Lightning reach files.
    """
    whole = str(path.absolute())
    if "::" in whole or os.path.expandvars(whole) != whole:
        allowed = "paths without '::' and without '$' before the name of a variable"
        refuse(option, repr(str(path)), allowed, "rename it, or name another one")
