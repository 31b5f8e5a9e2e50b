"""Where a sweep's queue lies: a journal file or a database, opened for many workers at once."""

import json
import time
import warnings
from pathlib import Path

from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy import Connection, event
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from spectral_stride.torch.training.refusal import refuse
from spectral_stride.torch.training.sweep import leases

JOURNAL = "journal.log"

_PAUSE = 0.3  # seconds
# What Optuna raises over lines that are JSON, but not its own.
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, AssertionError)


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Open the database at a URL; without one, the journal in a folder.

    Raises
    ------
    RefusedError
        For a journal that is broken, or a database that cannot be opened.
    """
    if url is not None:
        return _open_database(url)
    path = folder / JOURNAL
    # Optuna's lock is a link to this path, and of a link it cannot follow it never learns the age.
    full = str(path.absolute())
    lock = JournalFileSymlinkLock(full)
    try:
        if path.exists():
            _check_lines(path, lock)
        return JournalStorage(JournalFileBackend(full, lock))
    except _BROKEN as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        remedy = "remove the line that is broken, or sweep to another --out"
        refuse("--out", f"{str(path)!r} ({reason})", "a journal of Optuna", remedy)


def _check_lines(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Raise a ValueError for a journal whose last line is half or that holds a line of no JSON.

    Optuna lets the last line be broken, which another worker may be writing, and then appends to
    it. Under its lock nobody writes.
    """
    lock.acquire()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from error
                if not line.endswith(b"\n"):
                    raise ValueError(f"line {number}: it has no end")
    finally:
        lock.release()


def _open_database(url: str, attempts: int = 5) -> RDBStorage:
    """Open a database, which Optuna fills with its tables where they are missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # for the heartbeat
            storage = RDBStorage(
                url, heartbeat_interval=leases.HEARTBEAT, grace_period=leases.GRACE
            )
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        if isinstance(error, DatabaseError) and attempts > 1:
            # Of two workers that begin at once on an empty database, one finds tables where it
            # wanted to make them; soon they are complete.
            time.sleep(_PAUSE)
            return _open_database(url, attempts - 1)
        reason = str(error).strip().splitlines()[0]
        allowed = "a database that can be opened, as a URL that SQLAlchemy reads"
        refuse("--storage", f"{url!r} ({reason})", allowed, "write --storage sqlite:///sweep.db")
    if storage.engine.dialect.name == "sqlite":
        event.listen(storage.engine, "begin", _lock)
    return storage


def _lock(connection: Connection) -> None:
    """Lock SQLite's file before a transaction reads, and not only when it first writes.

    Optuna reads that a trial waits with SELECT ... FOR UPDATE and then marks it as running. SQLite
    knows no row locks and leaves FOR UPDATE out, so two workers could read before either wrote, and
    train the same trial.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")
