"""How a file is read that anybody may have made, and how one is written so that none is half one.

What is read is a regular file of a bounded size: a pipe never ends, nor does a device, and a link
may lead to either, or to somebody's secrets. What is written stands beside its place until all of
it is on the disk.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

# Far above what a training writes of itself, and far below what fills a memory.
LARGEST_TEXT = 4 * 2**20
# What a file is called until all of it is written: its name, and this.
PART = ".part"

# Without it the system waits for somebody who writes into a pipe. (Windows has neither.)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)


class UnreadableError(ValueError):
    """A file that cannot be read, or holds something else. Its message is the reason, one line."""


@contextmanager
def opened(path: Path, within: Path | None = None, most: int | None = None) -> Iterator[BinaryIO]:
    """Open a regular file to read it.

    Parameters
    ----------
    path : Path
    within : Path, optional
        A folder that no link may lead out of; without it links lead anywhere.
    most : int, optional
        Bytes that it may have at most.

    Raises
    ------
    UnreadableError
        Also for what goes wrong in the block while the file is read.
    """
    if within is not None and not leads_into(path, within):
        raise UnreadableError("a link that leads out of the folder")
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _AT_ONCE)) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise UnreadableError("no regular file")
            if most is not None and about.st_size > most:
                raise UnreadableError(f"{about.st_size} bytes, of at most {most}")
            yield file
    except OSError as error:
        raise UnreadableError(f"{type(error).__name__}: {error.strerror or error}") from error


def leads_into(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder once all links have been followed."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links that lead to each other
        return False


def read_text(path: Path, within: Path | None = None, errors: str = "strict") -> str:
    """Read a file of UTF-8; see `opened`."""
    with opened(path, within, LARGEST_TEXT) as file:
        content = file.read(LARGEST_TEXT)
    try:
        return content.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"no UTF-8 at byte {error.start}") from error


def read_json(path: Path, within: Path | None = None) -> Any:
    """Read a file that `write_json` wrote; see `opened`."""
    text = read_text(path, within)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise UnreadableError("too many brackets in each other") from error
    except ValueError as error:  # also for a whole number of thousands of digits
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file: all of it or nothing, whenever the process or the machine stops.

    What was there before stays until the new content is on the disk. What an earlier process has
    left of its own attempt is written over; a link is replaced, not followed. An error of the
    system names the file, which a full disk does not.
    """
    part = path.with_name(path.name + PART)
    try:
        part.unlink(missing_ok=True)
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    # Now its name too: a machine that stops may forget it. (Windows opens no folders, and some
    # file systems know no such wish; they are no worse off than before.)
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that a person can read too; see `write_whole`."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
