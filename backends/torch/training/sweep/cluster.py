"""Where trials are trained: by the workers of a local Dask cluster, or of one that runs already.

Dask hands out the tasks, notices the workers that die, gives their tasks out again, and shows all
of it on its dashboard.
"""

import asyncio
import logging
import os
import signal
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from pkgutil import resolve_name
from tempfile import NamedTemporaryFile
from typing import Any, NoReturn

import dask
import torch
from distributed import CancelledError, Client, Future, KilledWorker, LocalCluster, Security, wait
from distributed.comm.core import CommClosedError
from distributed.core import rpc
from distributed.utils import silence_logging_cmgr

from spectral_stride import __version__
from spectral_stride.torch.training.refusal import refuse
from spectral_stride.torch.training.sweep.grid import Point
from spectral_stride.torch.training.sweep.trials import LOCKED, Outcome, failure, run_trial

# Where a worker dies, its trial is tried again so many times at most.
RETRIES = 3
# Seconds to reach a scheduler, and to wait while it has no worker.
REACH = 10.0
NO_WORKER = 60.0
# Seconds between two looks at the cluster.
_PAUSE = 0.5


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """Start worker processes on this machine, which share its cores; end them with the block."""
    threads = max(1, torch.get_num_threads() // workers)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    settings: dict[str, Any] = {
        **{f"distributed.nanny.pre-spawn-environ.{name}": threads for name in names},
        # Dask has glibc give memory back from 64 KiB on. Each map of a training is larger: steps
        # take 1.3 to 1.4 times as long, for pages that come and go.
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
        "distributed.scheduler.allowed-failures": RETRIES,
        # A worker that died has so long to come back, which takes a while on a busy machine.
        "distributed.deploy.lost-worker-timeout": "10 minutes",
    }
    with dask.config.set(settings), _start(workers) as cluster, Client(cluster) as client:
        yield client


def _start(workers: int) -> LocalCluster:
    """Start the processes so that Ctrl-C, which a terminal sends to all, spares them.

    It is this process that ends them. They inherit the mask from the thread that starts them, now
    and whenever one has died.
    """
    resource_tracker.ensure_running()  # it would lift the mask
    masks = hasattr(signal, "pthread_sigmask")  # Windows has none
    if masks:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # by which Dask would kill a training; the system does if it must
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
    except RuntimeError as error:
        raise ConnectionError(f"Dask could not start {workers} workers: {error}") from error
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


@contextmanager
def running_cluster(address: str) -> Iterator[Client]:
    """Use a cluster that runs already, and leave it running.

    Raises
    ------
    RefusedError
        If there is no scheduler at the address.
    """
    try:
        kind = asyncio.run(_identity(address))["type"]
    except (OSError, TypeError, ValueError) as error:
        kind = " ".join(str(error).split()) or f"no answer in {REACH:g} s"
    if kind != "Scheduler":
        remedy = "start one with dask scheduler, and write --scheduler tcp://HOST:8786"
        refuse("--scheduler", f"{address!r} ({kind})", "the address of a Dask scheduler", remedy)
    with silence_logging_cmgr(logging.CRITICAL), Client(address) as client:
        yield client


async def _identity(address: str) -> dict[str, Any]:
    """Ask who is at an address. A client would wait forever for what listens and does not speak."""
    security = Security().get_connection_args("client")
    async with rpc(address, connection_args=security) as scheduler:
        identity: dict[str, Any] = await asyncio.wait_for(scheduler.identity(), REACH)
    return identity


def _ask(
    client: Client, workers: Collection[str], function: Callable[[str], Any], word: str
) -> dict[str, Any]:
    """Call a function in workers; None stands for an exception, and who has left is left out."""
    answers = client.run(function, word, workers=list(workers), on_error="return")
    return {
        worker: None if isinstance(answer, Exception) else answer
        for worker, answer in answers.items()
        if not isinstance(answer, OSError)
    }


def _check(client: Client, workers: Collection[str], folder: Path) -> set[str]:
    """Return the workers that answer; all of them train with this version, into this folder.

    Raises
    ------
    RefusedError
        For a worker that does not.
    """
    # Functions of the standard library, which every worker has.
    versions = _ask(client, workers, resolve_name, "spectral_stride:__version__")
    for worker, version in versions.items():
        if version != __version__:
            got = f"version {version} of spectral-stride on worker {worker}"
            remedy = f"install spectral-stride=={__version__} there, or stop that worker"
            refuse("--scheduler", got, f"{__version__}, as here", remedy)
    with NamedTemporaryFile(dir=folder, prefix=".sweep-") as file:
        sees = _ask(client, workers, os.path.isfile, file.name)
    for worker, it_does in sees.items():
        if not it_does:
            got = f"worker {worker}, which does not see {str(folder)!r}"
            remedy = "write --out with a folder on a file system that all machines share"
            refuse("--scheduler", got, "workers that see the sweep's folder", remedy)
    return versions.keys() & sees.keys()


def _outcome(future: "Future[Outcome]", folder: Path) -> Outcome:
    """Return what a task has returned, or why it could not."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        tries = error.allowed_failures + 1
        error = ChildProcessError(
            f"its worker died in each of {tries} tries: of too little memory?"
        )
    return failure(folder, error)


def train_all(client: Client, points: Sequence[Point], folder: Path) -> Iterator[Outcome]:
    """Train points, as many at a time as there are workers.

    Parameters
    ----------
    client : distributed.Client
    points : sequence of Point
    folder : Path
        Of the sweep, absolute.

    Yields
    ------
    Outcome
        Of a trial that has ended; or of one that another process trains, and that waits.

    Raises
    ------
    RefusedError
        For a worker that cannot take part, or where there is none.
    ConnectionError
        Where all workers, or the scheduler, are lost.
    """
    # Not all at once: of the tasks in a worker each is blamed for its death.
    waiting = deque(points)
    running: dict[Future[Outcome], Point] = {}
    known: set[str] = set()
    alive = time.monotonic()
    try:
        while waiting or running:
            workers = client.nthreads().keys()
            if workers:
                alive = time.monotonic()
            elif time.monotonic() > alive + NO_WORKER:
                _refuse_empty(client, known)
            if workers - known:
                known |= _check(client, workers - known, folder)
            while waiting and len(running) < len(workers):
                point = waiting.popleft()
                key = f"{point.name}-{uuid.uuid4().hex}"
                future = client.submit(run_trial, point.name, point.config, folder, key=key)
                running[future] = point
            for future in _done(running):
                point = running.pop(future)
                outcome = _outcome(future, folder / point.name)
                if outcome.state == LOCKED:
                    waiting.append(point)
                yield outcome
    except (CancelledError, CommClosedError) as error:
        raise ConnectionError("the scheduler is gone; start it, then the sweep again") from error


def _done(running: Collection["Future[Outcome]"]) -> Collection["Future[Outcome]"]:
    """Wait a moment for tasks to end."""
    try:
        if running:
            done: Collection[Future[Outcome]] = wait(list(running), _PAUSE, "FIRST_COMPLETED").done
            return done
        time.sleep(_PAUSE)
    except TimeoutError:
        pass
    return ()


def _refuse_empty(client: Client, known: Collection[str]) -> NoReturn:
    """Say that nobody is there to train."""
    address = client.scheduler_info()["address"]
    start = f"start workers with dask worker {address}, then the sweep again"
    if known:
        raise ConnectionError(f"no worker is left at {address} for {NO_WORKER:g} s; {start}")
    got = f"{address}, a cluster without a worker for {NO_WORKER:g} s"
    refuse("--scheduler", got, "a cluster with one worker or more", start)
