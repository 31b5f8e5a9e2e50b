"""Run `pip install` in few words: what is large and fetched, what is installed, what went wrong.

    python .ci/install.py ARGUMENT...    # the arguments of `pip install`

With --quiet pip says nothing for minutes, and without it hundreds of lines. This needs no terminal.
"""

import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from threading import Thread
from typing import TextIO

# Python compiles a module at its first import. To compile all of them here takes two minutes, and
# most are never imported.
FLAGS = ("--disable-pip-version-check", "--progress-bar=off", "--no-compile")
PIP = (sys.executable, "-m", "pip", "install", *FLAGS)

# From 10 MB on. What is smaller has arrived before its line is read.
FETCHED = re.compile(r"\s*(?:Downloading|Using cached) (?:\S*/)?(\S+) \((\d\d+\.\d MB)\)")
INSTALLED = re.compile(r"Installing collected packages: (.+)")
# pip says this of each package that an index in a folder does not hold.
USUAL = re.compile(r"WARNING: Location '.*' is ignored: it is neither a file nor a directory\.")


def progress(line: str) -> str:
    """Find the progress in a line of pip's output; most lines hold none.

    >>> progress("  Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (190.5 MB)")
    '    fetching torch-2.13.0-cp311-cp311-linux_x86_64.whl (190.5 MB)'
    >>> progress("  Downloading mdurl-0.1.2-py3-none-any.whl (10.0 kB)")
    ''
    """
    if match := FETCHED.match(line):
        return f"    fetching {match[1]} ({match[2]})"
    if match := INSTALLED.match(line):
        return textwrap.fill(
            f"installing {match[1]}",
            width=96,
            initial_indent=" " * 4,
            subsequent_indent=" " * 8,
            break_on_hyphens=False,
        )
    return ""


def warn(lines: TextIO) -> None:
    """Pass on what pip warns of, apart from what is usual."""
    for line in lines:
        if not USUAL.match(line):
            print(line, end="", file=sys.stderr, flush=True)


def run(command: Sequence[str]) -> int:
    """Run pip, and return its exit status."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, errors="replace") as pip:
        assert pip.stdout is not None
        assert pip.stderr is not None
        warnings = Thread(target=warn, args=(pip.stderr,))
        warnings.start()
        for line in pip.stdout:
            if said := progress(line):
                print(said, flush=True)
        warnings.join()
    return pip.returncode


if __name__ == "__main__":
    sys.exit(run([*PIP, *sys.argv[1:]]))
