"""Processes of their own for tests, which do not import everything again.

Importing what a training needs takes longer than a small training. A server imports it once, and
each process is forked from it: with its own output and exit code, and its own death. Only where
there is no fork, as on Windows, does a process import everything itself.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import time
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

ROOT = Path(__file__).parents[2]
# As it is before any test runs: a command that a test runs in this process leaves variables behind.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
CONTEXT = multiprocessing.get_context(METHOD)
if METHOD == "forkserver":
    # What the commands import when they begin, and what a training imports on its way, here or
    # as one of several ranks.
    tool = "spectral_stride.torch.training"
    parts = "cli", "fit", "report.run_picture", "sweep.cluster", "sweep.run"
    later = "torch._dynamo", "torch.utils.tensorboard", "sklearn.datasets", "typer._adapters"
    ranks = "torch.distributed.fsdp", "torch.distributed.optim"
    CONTEXT.set_forkserver_preload([*(f"{tool}.{part}" for part in parts), *later, *ranks])


class Process:
    """A function in a process of its own, whose output goes into two files.

    Parameters
    ----------
    function : callable
        Of a module, so that the process can import it; what it returns is the exit code.
    *words : str or Path
        What it is called with.
    folder : Path
        Where the files of its output are, and where it works.
    environment : dict, optional
        Variables that it has besides those of the tests.
    """

    def __init__(self, function, *words, folder, environment=None):
        self.files = _files(folder)
        for file in self.files:
            file.touch()
        self.process = CONTEXT.Process(
            target=_begin,
            args=(function, words, folder, ENVIRONMENT | (environment or {}), self.files),
        )
        self.process.start()
        self.pid = self.process.pid

    @property
    def out(self):
        return self.files[0].read_text("utf-8")

    @property
    def err(self):
        return self.files[1].read_text("utf-8")

    def wait(self, seconds=240):
        """Wait for its end, and return its exit code: minus the signal that has killed it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"it still runs after {seconds} s: {self.err}"
        return self.process.exitcode

    def wait_for(self, condition, seconds=240):
        """Wait for something that it does."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.exitcode is None, self.err
            assert time.monotonic() < deadline, f"not after {seconds} s: {self.err}"
            time.sleep(0.01)


@contextmanager
def started(function, *words, folder, environment=None):
    """Start a process, and leave none behind: what still runs after the block is killed."""
    process = Process(function, *words, folder=folder, environment=environment)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.join()


def result(function, *words, folder, environment=None):
    """Run a function to its end in a process of its own, and return what it has printed."""
    folder.mkdir(parents=True, exist_ok=True)
    with started(function, *words, folder=folder, environment=environment) as process:
        code = process.wait()
        assert code == 0, process.out[-4000:] + process.err[-4000:]
        return process.out


def command(*words):
    """Do what ``python -m spectral_stride`` does with these words."""
    # Of these Lightning makes the command with which it starts further processes of a run.
    sys.argv[1:] = map(str, words)
    module = sys.modules["__main__"] = importlib.import_module("spectral_stride.__main__")
    return module.main()


def _files(folder):
    return [folder / f"{name}.txt" for name in ("out", "err")]


def execute(code):
    """Do what ``python -c`` does, where all of the tool is imported already."""
    exec(code, {})


def _begin(function, words, folder, variables, files):
    """Make of a forked process what one would be that had been started by a command line."""
    for stream, file in zip((1, 2), files, strict=True):
        written = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(written, stream)
        os.close(written)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(variables)
    # These two have read the variables of the server when they were imported.
    importlib.import_module("dask").config.refresh()
    rank = importlib.import_module("lightning.fabric.utilities.rank_zero")
    rank.rank_zero_only.rank = rank._get_rank() or 0
    # A forked process would start others as it was started itself. So kept alive by a server of
    # their own, processes that read samples would outlive a training that is killed.
    multiprocessing.set_start_method(None, force=True)
    os.chdir(folder)
    # As a terminal leaves it: what is started in the background ignores it, tests too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(os, "setsid"):
        os.setsid()  # as a terminal does it: a process and all that it starts are one group
    # A new process has none yet; this one knows that of the server.
    resource_tracker._resource_tracker._fd = None
    importlib.import_module("torch").set_num_threads(1)
    fit = importlib.import_module("spectral_stride.torch.training.fit")
    fit.draw = lambda folder, summary: None  # as the tests' own process does
    sys.exit(function(*words))
