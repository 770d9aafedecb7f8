"""The one SQLite file: how it is opened, and how writes are gathered into few commits.

WAL with ``synchronous=FULL``: under NORMAL a power cut loses the last commits, and a lost ``done`` is paid for twice.
The price of the fsync is shared: threads that want to write while another one commits are committed together by the
next one. This module is the seam to sqlite3's exceptions.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import sqlite_utils
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined] # pysqlite3 where that is installed

from rembg_watch.errors import StateError
from rembg_watch.jobs.migrations import migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from sqlite3 import Connection

T = TypeVar("T")

BUSY_SECONDS = 30
CHECK_ALWAYS_BELOW = 64 * 1024 * 1024
"""Bytes up to which the database is checked at every start; larger ones only after an unclean end."""

_RESTORE = (
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
        return StateError(f"can't write {path}: {text}", "Make the state directory writable for rembg-watch.")
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return StateError(f"{path} is damaged: {text}", _RESTORE)
    return StateError(f"{path}: {text}", "This is unexpected; please report it with the log.")


class _Write(Generic[T]):
    """One piece of work that waits to be committed."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.done = False
        self.result: T | None = None
        self.error: BaseException | None = None


class Database:
    """The open job database. Safe for threads: one connection writes, one reads, each behind a lock.

    Raises:
        StateError: it can't be opened, is damaged, or lies on a network file system.

    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self._waiting: deque[_Write[Any]] = deque()
        self._commit = threading.Lock()
        self._reading = threading.Lock()
        try:
            if readonly:
                self._reader = self._connect(readonly=True)
                self._writer = self._reader
                return
            self._writer = self._connect()
            self._prepare()
            self._reader = self._connect(readonly=True)
        except sqlite3.Error as error:
            raise from_sqlite(error, path) from error

    def _connect(self, *, readonly: bool = False) -> Connection:
        if not readonly:
            # The database tells where every customer's photo lies: nobody else reads it.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection: Connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={'ro' if readonly else 'rw'}",
            uri=True,
            isolation_level=None,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
        )
        return connection

    def _prepare(self) -> None:
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute("PRAGMA journal_size_limit = 67108864")
        if self.path.stat().st_size <= CHECK_ALWAYS_BELOW or not self._ended_cleanly():
            (verdict,) = self._writer.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise StateError(f"{self.path} is damaged: {verdict}", _RESTORE)
        migrations.apply(sqlite_utils.Database(self._writer))

    def _ended_cleanly(self) -> bool:
        try:
            row = self._writer.execute("SELECT value FROM facts WHERE key = 'clean'").fetchone()
        except sqlite3.OperationalError:
            return False
        return row is not None and row[0] == "true"

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a write transaction and return when it is on the disk.

        ``work`` may be run together with others' in one transaction; if it raises, only its own changes are undone.

        Raises:
            StateError: the database can't be written; nothing of ``work`` was kept.

        """
        mine = _Write(work)
        self._waiting.append(mine)
        with self._commit:
            if not mine.done:
                batch = list(_drain(self._waiting))
                self._run(batch)
        if mine.error is not None:
            raise mine.error
        return cast("T", mine.result)

    def _run(self, batch: list[_Write[Any]]) -> None:
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            for write in batch:
                connection.execute("SAVEPOINT one")
                try:
                    write.result = write.work(connection)
                except Exception as error:
                    if not connection.in_transaction:  # SQLite itself gave up the whole transaction (disk full, I/O)
                        raise
                    connection.execute("ROLLBACK TO one")
                    write.error = from_sqlite(error, self.path) if isinstance(error, sqlite3.Error) else error
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            known = from_sqlite(error, self.path) if isinstance(error, sqlite3.Error) else error
            for write in batch:
                write.error = write.error or known
            if not isinstance(error, Exception):
                raise
        finally:
            for write in batch:
                write.done = True

    def read(self, sql: str, values: Sequence[object] | dict[str, object] = ()) -> list[tuple[Any, ...]]:
        """Run one query on the reading connection and give all its rows. Never waits for a writer.

        Raises:
            StateError: the database can't be read.

        """
        try:
            with self._reading:
                return self._reader.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path) from error

    def changed(self) -> int:
        """Give a number that differs whenever another process has written to the database."""
        try:
            with self._commit:
                (version,) = self._writer.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path) from error
        return int(version)

    def close(self) -> None:
        """Close both connections; the last one to close empties the write-ahead log."""
        with self._commit, self._reading:
            self._reader.close()
            self._writer.close()


def _drain(waiting: deque[_Write[Any]]) -> list[_Write[Any]]:
    taken = []
    while waiting:
        taken.append(waiting.popleft())
    return taken
