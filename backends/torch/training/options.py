"""How an option of ``train`` is declared: the words that it takes, its help, where it matters."""

import math
from collections.abc import Collection
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Protocol, TypeVar

from spectral_stride.torch.training.refusal import refuse

# Nothing that makes sense is near it, and what is far beyond does not fit PyTorch's numbers.
LARGEST = 1_000_000

# What an option may be for; without one of these it is for every training.
LEARNED_STRIDES, IMAGES, SOUNDS = "learned strides", "images", "sounds"

Value = TypeVar("Value")


class Kind(Protocol):
    """The words that an option takes."""

    @property
    def metavar(self) -> str:
        """What stands for such a word in the help; empty where the option takes none."""

    def check(self, flag: str, word: Any, default: Any) -> Any:
        """Return a word's value, or refuse the word with ``default`` as the remedy.

        Parameters
        ----------
        flag : str
            The option as it is written: "--batch-size".
        word : str, number or bool
            From a command line, a grid or a ``config.json``.
        default : object
        """


@dataclass(frozen=True, slots=True)
class Text:
    """Any word."""

    metavar: str

    def check(self, flag: str, word: Any, default: Any) -> str:
        """Return the word."""
        return str(word)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    allowed: Collection[str]

    @property
    def metavar(self) -> str:
        """The allowed words, with a bar between them."""
        return "|".join(self.allowed)

    def check(self, flag: str, word: Any, default: Any) -> str:
        """Return the word, if it is one of them."""
        if word not in self.allowed:
            refuse(flag, repr(word), ", ".join(self.allowed), f"write {flag} {default}")
        return str(word)


@dataclass(frozen=True, slots=True)
class Switch:
    """Yes or no: the option is said, or denied."""

    metavar: str = ""

    def check(self, flag: str, word: Any, default: Any) -> bool:
        """Return the yes or the no."""
        if not isinstance(word, bool):
            refuse(flag, repr(word), "yes or no", f"write {flag}, or --no-{flag[2:]}")
        return word


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number in a range; ``why`` is added to what is allowed."""

    least: int
    most: int = LARGEST
    why: str = ""
    metavar: str = "N"

    def check(self, flag: str, word: Any, default: Any) -> int:
        """Return the number."""
        try:
            # A file may hold what the command line cannot: true is no 1, and 2.5 no 2.
            exact = not isinstance(word, bool) and int(word) == float(word)
            number = int(word) if exact else self.least - 1
        except (ValueError, TypeError, OverflowError):
            number = self.least - 1
        if not self.least <= number <= self.most:
            allowed = f"a whole number from {self.least} to {self.most}{self.why}"
            refuse(flag, repr(word), allowed, f"write {flag} {default}")
        return number


@dataclass(frozen=True, slots=True)
class Real:
    """A number from 0 on, or above it."""

    zero: bool = True
    metavar: str = "NUMBER"

    def check(self, flag: str, word: Any, default: Any) -> float:
        """Return the number."""
        try:
            number = math.nan if isinstance(word, bool) else float(word)
        except (ValueError, TypeError, OverflowError):
            number = math.nan
        if not 0.0 <= number <= LARGEST or (number == 0.0 and not self.zero):
            allowed = f"a number {'from' if self.zero else 'above'} 0 up to {LARGEST}"
            refuse(flag, repr(word), allowed, f"write {flag} {default:g}")
        return number


@dataclass(frozen=True, slots=True)
class Share:
    """A number from 0 up to, but not, 1."""

    metavar: str = "SHARE"

    def check(self, flag: str, word: Any, default: Any) -> float:
        """Return the number."""
        number = Real().check(flag, word, default)
        if number >= 1:
            allowed = "a share from 0 up to, but not, 1"
            refuse(flag, repr(word), allowed, f"write {flag} {default:g}")
        return number


@dataclass(frozen=True, slots=True)
class Option:
    """What the table says of an option.

    Attributes
    ----------
    default : object
        Its value where neither a user nor a recipe gives one.
    kind : Kind
        The words that it takes.
    help : str
        What it does, in a sentence or two.
    panel : str
        The heading that it stands under in the help.
    only : str
        What it is for, where it has no effect on other trainings: `LEARNED_STRIDES`, `IMAGES`
        or `SOUNDS`;
        empty where it acts on all.
    before : object
        Its value for runs that were made before there was the option: what repeats what they did.
        Without it every run folder has to name the option.
    demo : object
        Its value for the built-in digits, where that is another than ``default``.
    """

    default: Any
    kind: Kind
    help: str
    panel: str
    only: str
    before: Any
    demo: Any

    @property
    def is_switch(self) -> bool:
        """Whether it is said or denied, and takes no word."""
        return not self.kind.metavar


def option(
    default: Value,
    kind: Kind,
    help: str,
    *,
    panel: str,
    only: str = "",
    before: Any = MISSING,
    demo: Any = MISSING,
) -> Value:
    """Declare an option, as a field of a dataclass: see `Option`.

    Returns
    -------
    object
        For the type checker the default; in truth the field.
    """
    declared = Option(default, kind, help, panel, only, before, demo)
    return field(default=default, metadata={"option": declared})


def options_of(table: Any) -> dict[str, Option]:
    """Return what a dataclass declares, by the names of its fields and in their order."""
    return {one.name: one.metadata["option"] for one in fields(table)}


def flag_of(name: str) -> str:
    """Write the name of a field as on the command line.

    Examples
    --------
    >>> from spectral_stride.torch.training.options import flag_of
    >>> flag_of("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")
