"""How text becomes Markdown: here alone, so that no name, title or command is more than text."""

import re
from collections.abc import Sequence

from spectral_stride.torch.training.refusal import readable

# Characters of a text that came from a file; what is longer says nothing more.
_LONGEST = 2000

# What begins something other than text within a line. The last two are addresses, of which some
# readers of Markdown make links by themselves.
_INLINE = re.compile(r"[\\`*_\[\]<>&|~$]|:(?=//)|(?<=www)\.", re.IGNORECASE)
# What begins a heading, a list or a line across at the start of a line, up to its last character.
_BLOCK = re.compile(r"(?:#+|[-+=]+|\d+[.)])(?=\s|$)")


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def one_line(text: object) -> str:
    """Write anything as one line of characters that can be seen, and not too many of them."""
    line = " ".join(readable(str(text)).split())
    shown = (one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line[:_LONGEST])
    return "".join(shown) + ("..." if len(line) > _LONGEST else "")


def escaped(text: object) -> Markdown:
    r"""Write text so that Markdown shows it as it is; what is Markdown already stays.

    Examples
    --------
    >>> from spectral_stride.torch.training.report.markdown import escaped
    >>> print(escaped("![x](/etc/passwd)"), escaped("# 1 <b>"))
    !\[x\](/etc/passwd) \# 1 \<b\>
    """
    if isinstance(text, Markdown):
        return text
    line = _INLINE.sub(r"\\\g<0>", one_line(text))
    begin = _BLOCK.match(line)
    if begin is not None:
        line = f"{line[: begin.end() - 1]}\\{line[begin.end() - 1 :]}"
    return Markdown(line)


def code(text: object) -> Markdown:
    """Write words as code on one line, so that a table's cell can hold them."""
    line = one_line(text).replace("`", "'").replace("|", "\\|")
    return Markdown(f"`{line or ' '}`")


def code_block(text: str, language: str) -> Markdown:
    """Write lines as code, in a fence that none of them can close."""
    lines = [one_line(line) for line in text.splitlines()]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown("\n".join([f"{fence}{language}", *lines, fence]))


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> Markdown:
    """Lay out a table of texts or Markdown: the first column to the left, the others right."""
    rule = [Markdown(":--"), *[Markdown("--:")] * (len(header) - 1)]
    lines = [f"| {' | '.join(map(escaped, line))} |" for line in [header, rule, *rows]]
    return Markdown("\n".join(lines))
