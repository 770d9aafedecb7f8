"""The one SQLite file: how it is opened, and how writes are gathered into few commits.

WAL with ``synchronous=FULL``: under NORMAL a power cut loses the last commits, and a lost ``done`` is paid for twice.
The price of the fsync is shared: threads that want to write while another one commits are committed together by the
next one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from rembg_watch.errors import StateError
from rembg_watch.jobs import migrations
from rembg_watch.jobs.sqlite import RESTORE, connect, create, from_sqlite, sqlite3

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from sqlite3 import Connection

T = TypeVar("T")

CHECK_ALWAYS_BELOW = 64 * 1024 * 1024
"""Bytes up to which the database is checked at every start; larger ones only after an unclean end."""


class _Write(Generic[T]):
    """One piece of work that waits to be committed."""

    __slots__ = ("done", "error", "result", "turn", "work")

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.turn = threading.Lock()
        """Held until the work is done, or until it is its thread's turn to commit."""
        self.turn.acquire()
        self.done = False
        self.result: T | None = None
        self.error: BaseException | None = None


class Database:
    """The open job database. Safe for threads: one connection writes, one reads, each behind a lock.

    ``readonly`` needs an existing file and never changes it. ``guest`` is for a process that writes beside a running
    daemon: it neither checks nor migrates what the daemon has open.

    Raises:
        StateError: it can't be opened, is damaged, belongs to another version, or lies on a network file system.

    """

    def __init__(self, path: Path, *, readonly: bool = False, guest: bool = False) -> None:
        self.path = path
        self._waiting: list[_Write[Any]] = []
        self._queue = threading.Lock()
        self._committing = False
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._open: list[Connection] = []
        try:
            if readonly:
                self._writer = self._reader = self._connect(readonly=True)
                migrations.require_current(self._reader, path)
                return
            create(path)
            self._writer = self._connect(readonly=False)
            self._prepare(guest=guest)
            self._reader = self._connect(readonly=True)
        except BaseException as error:
            self._close()
            if isinstance(error, sqlite3.Error):
                raise from_sqlite(error, path) from error
            raise

    def _connect(self, *, readonly: bool) -> Connection:
        connection = connect(self.path, readonly=readonly)
        self._open.append(connection)
        return connection

    def _prepare(self, *, guest: bool) -> None:
        (mode,) = self._writer.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StateError(
                f"{self.path} can't use a write-ahead log (SQLite says: {mode})",
                "Set state_dir to a directory on a local disk.",
            )
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute("PRAGMA journal_size_limit = 67108864")
        if guest:
            migrations.require_current(self._writer, self.path)
            return
        if self.path.stat().st_size <= CHECK_ALWAYS_BELOW or not self._ended_cleanly():
            (verdict,) = self._writer.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise StateError(f"{self.path} is damaged: {verdict}", RESTORE)
        migrations.migrate(self._writer, self.path)

    def _ended_cleanly(self) -> bool:
        try:
            row = self._writer.execute("SELECT value FROM facts WHERE key = 'clean'").fetchone()
        except sqlite3.OperationalError:
            return False
        return row is not None and row[0] == "true"

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a write transaction and return when it is on the disk.

        ``work`` may be run together with others' in one transaction; if it raises, only its own changes are undone. It
        may be run twice, the first time in vain, when another's failed: it must do nothing but talk to the database.

        Raises:
            StateError: the database can't be written; nothing of ``work`` was kept.

        """
        mine = _Write(work)
        with self._queue:
            self._waiting.append(mine)
            wait, self._committing = self._committing, True
        if wait:
            mine.turn.acquire()
        if not mine.done:
            self._commit_waiting(mine)
        if mine.error is not None:
            raise mine.error
        return cast("T", mine.result)

    def _commit_waiting(self, mine: _Write[Any]) -> None:
        """Commit for all that wait by now, wake each of them once, and leave what came meanwhile to the first of it."""
        with self._queue:
            batch, self._waiting = self._waiting, []
        try:
            with self._writing:
                self._run(batch)
        finally:
            with self._queue:
                heir = self._waiting[0] if self._waiting else None
                self._committing = heir is not None
            for write in batch:
                if write is not mine:
                    write.turn.release()
            if heir is not None:
                heir.turn.release()

    def _run(self, batch: list[_Write[Any]]) -> None:
        try:
            try:
                self._commit_together(batch)
            except Exception:
                if len(batch) == 1:
                    raise
                self._commit_apart(batch)
        except BaseException as error:
            known = from_sqlite(error, self.path) if isinstance(error, sqlite3.Error) else error
            for write in batch:
                write.error = write.error or known
            if not isinstance(error, Exception):
                raise
        finally:
            for write in batch:
                write.done = True

    def _commit_together(self, batch: list[_Write[Any]]) -> None:
        """Do all in one transaction: the usual case, in which nothing fails."""

        def together(connection: Connection) -> None:
            for write in batch:
                write.result = write.work(connection)

        self._transact(together)

    def _commit_apart(self, batch: list[_Write[Any]]) -> None:
        """Do all in one transaction, of which a work that fails takes back its own changes only."""

        def apart(connection: Connection) -> None:
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

        self._transact(apart)

    def _transact(self, work: Callable[[Connection], None]) -> None:
        connection = self._writer
        connection.execute("BEGIN IMMEDIATE")
        try:
            work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

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
            with self._writing:
                (version,) = self._writer.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path) from error
        return int(version)

    def close(self) -> None:
        """Close both connections; the last one to close empties the write-ahead log."""
        with self._writing, self._reading:
            self._close()

    def _close(self) -> None:
        while self._open:
            self._open.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
