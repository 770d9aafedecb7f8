"""The seam to sqlite3: which module is used, how its connections are opened, and what its exceptions mean."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from rembg_watch.errors import StateError
from rembg_watch.fsutil import network_type

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path
    from sqlite3 import Connection
else:
    # The same choice as sqlite_utils makes; importing that takes as long as a whole command that only reads.
    try:
        sqlite3 = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        import sqlite3

__all__ = ["RESTORE", "connect", "create", "from_sqlite", "sqlite3"]

BUSY_SECONDS = 30

RESTORE = (
    "Stop rembg-watch and restore jobs.db from a backup, or save what can be saved with "
    "'sqlite3 jobs.db .recover'. If you move the file away, outputs already in place are adopted and not paid again."
)


def from_sqlite(error: Exception, path: Path) -> StateError:
    """Translate an exception of sqlite3 into our tree."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return StateError(f"{path} is locked by another program", "Close whatever has it open for writing.")
    if "full" in text:
        return StateError(f"no room left to write {path}", "Free some disk space; nothing was lost.")
    if "readonly" in text or "unable to open" in text:
        return StateError(f"can't open or write {path}: {text}", "Make the state directory writable for rembg-watch.")
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return StateError(f"{path} is damaged: {text}", RESTORE)
    return StateError(f"{path}: {text}", "This is unexpected; please report it with the log.")


def create(path: Path) -> None:
    """Make an empty database file that only its owner can read, unless there is one.

    Raises:
        StateError: the state directory is missing, can't be written, or lies on a network file system.

    """
    kind = network_type(path.parent)
    if kind is not None:
        raise StateError(
            f"{path.parent} is on a network file system ({kind}), where SQLite loses data",
            "Set state_dir to a local directory. Inboxes and outboxes may stay where they are.",
        )
    try:
        # Only where it is new: closing a file that SQLite has open in this process would drop SQLite's locks on it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise StateError(
            f"can't write {path}: {error.strerror}", "Create the state directory and make it writable for rembg-watch."
        ) from error


def connect(path: Path, *, readonly: bool) -> Connection:
    """Open a connection in autocommit mode that waits up to 30 s for another process's write."""
    mode = "ro" if readonly else "rw"
    if readonly and not os.access(path.parent, os.W_OK, effective_ids=True) and not _has_log(path):
        # Without its shared-memory file a WAL database can't be read, and here it can't be made. Nobody is writing.
        mode = "ro&immutable=1"
    connection: Connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
    )
    return connection


def _has_log(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False
