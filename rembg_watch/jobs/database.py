"""The SQLite file: how it is opened, and how concurrent writes share a commit.

WAL with ``synchronous=FULL``: under NORMAL a power cut loses the last commits, and a lost ``done`` is paid for twice.
Threads that want to write while another one commits are committed together by the next one, so they share its fsync.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from rembg_watch.errors import StateError
from rembg_watch.fsutil import network_type
from rembg_watch.jobs import schema

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from sqlite3 import Connection
else:
    # The choice that sqlite_utils makes as well; importing that takes as long as a whole command that only reads.
    try:
        sqlite3 = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        import sqlite3

T = TypeVar("T")
__all__ = ["Damaged", "Database", "from_sqlite", "sqlite3"]

BUSY_SECONDS = 30
CHECK_ALWAYS_BELOW = 64 * 1024 * 1024
"""Bytes up to which the database is checked at every start; a larger one only after an unclean end."""
RETRY_SECONDS = 1.0
"""Between two tries of a write that the disk does not take."""
CANNOT_WRITE, CANNOT_READ = "state.cannot_write", "state.cannot_read"
RESTORE = (
    "Stop rembg-watch and restore jobs.db from a backup, or save what can be saved with "
    "'sqlite3 jobs.db .recover'. If you move the file away, outputs already in place are adopted and not paid again."
)


class Damaged(StateError):
    """The database file is damaged: no retry helps."""


class Unavailable(StateError):
    """The disk or a lock keeps the database from being read or written now: a retry may help."""


def from_sqlite(error: Exception, path: Path) -> StateError:
    """Translate an exception of sqlite3 into our tree."""
    text = str(error)
    if "lock" in text or "busy" in text:
        return Unavailable(f"{path} is locked by another program", "Close whatever has it open for writing.")
    if "full" in text:
        return Unavailable(f"no room left to write {path}", "Free some disk space; nothing was lost.")
    if "I/O error" in text:
        return Unavailable(f"the disk fails to read or write {path}", "Look for disk errors with 'dmesg'.")
    if "readonly" in text or "unable to open" in text:
        return Unavailable(f"can't open or write {path}: {text}", "Make the state directory writable for rembg-watch.")
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return Damaged(f"{path} is damaged: {text}", RESTORE)
    return StateError(f"{path}: {text}", "This is unexpected; please report it with the log.")


class _Write(Generic[T]):
    """One function that waits to be run in a transaction."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.done = False
        self.result: T | None = None
        self.error: Exception | None = None

    def end(self, error: Exception | None) -> None:
        self.error = error
        self.done = True


class Database:
    """The open job database. Safe for threads: one connection writes, one reads, each behind a lock.

    ``readonly`` needs an existing file and never changes it. ``guest`` is for a process that writes beside a running
    daemon: it neither checks nor migrates the file.

    Raises:
        StateError: the file can't be opened, is damaged, belongs to another version, or is on a network filesystem.
    """

    def __init__(self, path: Path, *, readonly: bool = False, guest: bool = False) -> None:
        self.path = path
        self.is_new = False
        """Whether this process created the tables."""
        self.fatal: Damaged | None = None
        """Set once the file turns out to be damaged."""
        self._blocked: set[str] = set()
        self._patient = False
        self._change = -1
        self._closing = threading.Event()
        self._waiting: deque[_Write[Any]] = deque()
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._open: list[Connection] = []
        try:
            if readonly:
                self._writer = self._reader = self._connect(readonly=True)
                schema.require_current(self._reader, path)
                return
            _create(path)
            self._writer = self._connect(readonly=False)
            self._prepare(guest=guest)
            self._reader = self._connect(readonly=True)
        except BaseException as error:
            self._close()
            if isinstance(error, sqlite3.Error):
                raise from_sqlite(error, path) from error
            raise

    def _connect(self, *, readonly: bool) -> Connection:
        mode = "ro" if readonly else "rw"
        if readonly and not os.access(self.path.parent, os.W_OK, effective_ids=True) and not _has_log(self.path):
            # A WAL database can't be read without its shared-memory file, which can't be made here. No process writes.
            mode = "ro&immutable=1"
        connection: Connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
        )
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
            schema.require_current(self._writer, self.path)
            return
        if self.path.stat().st_size <= CHECK_ALWAYS_BELOW or not self._ended_cleanly():
            (verdict,) = self._writer.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise Damaged(f"{self.path} is damaged: {verdict}", RESTORE)
        self.is_new = not schema.applied(self._writer)
        schema.migrate(self._writer, self.path)

    def _ended_cleanly(self) -> bool:
        try:
            row = self._writer.execute("SELECT value FROM facts WHERE key = 'clean'").fetchone()
        except sqlite3.OperationalError:
            return False
        return row is not None and row[0] == "true"

    def commit_or_block(self) -> None:
        """From now on retry what the disk does not take (full, locked, I/O error) until the database closes."""
        self._patient = True

    @property
    def blocked(self) -> bool:
        """Whether a read or a write is waiting for the disk right now."""
        return bool(self._blocked)

    def fail_at_once(self) -> None:
        """From now on raise for reads and writes that the disk does not take, those that are waiting included."""
        self._patient = False
        self._closing.set()

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a write transaction; return its result once the commit is on the disk.

        ``work`` may share its transaction with others; if it raises, only its own changes are undone. It may run
        again after its changes were undone, so it must do nothing but talk to the database.

        Raises:
            StateError: the database can't be written; nothing of ``work`` was kept.
        """
        mine = _Write(work)
        self._waiting.append(mine)
        with self._writing:  # the first of the waiting threads commits for all of them
            if not mine.done:
                batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
                try:
                    self._commit(batch)
                except BaseException:  # an interrupt of this thread; the others must not take it for a commit
                    for write in batch:
                        if not write.done:
                            write.end(StateError("the write was interrupted", "Start rembg-watch again."))
                    raise
        if mine.error is not None:
            raise mine.error
        return cast("T", mine.result)

    def _commit(self, batch: list[_Write[Any]]) -> None:
        """Commit ``batch`` in one transaction or, if one of it raises, each in a transaction of its own."""
        if not self._commit_together(batch):
            for write in batch:
                self._commit_together([write])

    def _commit_together(self, batch: list[_Write[Any]]) -> bool:
        """Run ``batch`` in one transaction; return False, with nothing changed, if one of several raises."""
        error: Exception | None = None
        while True:
            try:
                self._transact(batch)
            except sqlite3.Error as raised:
                error = self._known(raised)
                if self._wait_to_retry(error, CANNOT_WRITE):
                    continue
            except Exception as raised:  # noqa: BLE001 - the thread that waits for it raises it
                error = raised
            else:
                error = None
            break
        self._blocked.discard(CANNOT_WRITE)
        if error is not None and len(batch) > 1 and not isinstance(error, Unavailable | Damaged):
            return False
        for write in batch:
            write.end(error)
        return True

    def _transact(self, batch: list[_Write[Any]]) -> None:
        connection = self._writer
        connection.execute("BEGIN IMMEDIATE")
        try:
            for write in batch:
                write.result = write.work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _known(self, error: Exception) -> StateError:
        known = from_sqlite(error, self.path)
        if isinstance(known, Damaged):
            self.fatal = known
        return known

    def _wait_to_retry(self, error: StateError, event: str) -> bool:
        """Wait a moment and return True if a retry may help; log ``event`` once for all tries."""
        may = isinstance(error, Unavailable) and self._patient and self.fatal is None and not self._closing.is_set()
        if may:
            if event not in self._blocked:
                self._blocked.add(event)
                _log_error(event, error)
            self._closing.wait(RETRY_SECONDS)
        return may

    def read(self, sql: str, values: Sequence[object] | dict[str, object] = ()) -> list[tuple[Any, ...]]:
        """Run one query on the reading connection and return all rows. Never waits for a writer.

        Raises:
            StateError: the database can't be read.
        """
        while True:
            try:
                with self._reading:
                    rows = self._reader.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                known = self._known(error)
                if not self._wait_to_retry(known, CANNOT_READ):
                    self._blocked.discard(CANNOT_READ)
                    raise known from error
            else:
                self._blocked.discard(CANNOT_READ)
                return rows

    def changed(self) -> int:
        """Return a number that differs whenever another process has written to the database.

        Raises:
            StateError: the database can't be read.
        """
        if self._writing.acquire(blocking=False):  # only the writing connection tells our own writes apart
            try:
                (self._change,) = self._writer.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error as error:
                raise self._known(error) from error
            finally:
                self._writing.release()
        return self._change

    def close(self) -> None:
        """Close both connections; the last one to close empties the write-ahead log."""
        self._closing.set()
        with self._writing, self._reading:
            self._close()

    def _close(self) -> None:
        while self._open:
            self._open.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _log_error(event: str, error: StateError) -> None:
    import structlog  # noqa: PLC0415 - takes as long as a whole command that only reads

    structlog.get_logger().error(event, reason=error.message, hint=error.hint)


def _create(path: Path) -> None:
    """Create an empty database file that only its owner can read, unless it exists.

    Raises:
        StateError: the state directory is missing, can't be written, or is on a network filesystem.
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


def _has_log(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False
