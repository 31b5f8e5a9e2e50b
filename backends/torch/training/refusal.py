"""What the tool cannot work with, said in one line."""

from typing import NoReturn

from spectral_stride import checks


class RefusedError(ValueError):
    """What the tool cannot work with. Its message is the one line that the user gets."""


def refuse(option: str, got: object, allowed: str, remedy: str) -> NoReturn:
    """Raise `RefusedError` with the message "option: got ...; allowed: ...; instead: ..."."""
    checks.refuse(RefusedError, option, got, allowed, remedy)
