"""What a job is, which states it passes, and the values that travel in and out of the job table.

    queued -> running -> done
                |-> waiting (until a time, then claimed again)    |-> failed    |-> cancelled    |-> superseded

A job is one version of one file with one set of options. ``superseded`` means that the file changed before the work
was done; the newer version is a job of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rembg_watch.errors import Charge as Charge  # noqa: PLC0414 - the ledger is read with it


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


OPEN = (State.QUEUED, State.RUNNING, State.WAITING)
"""The states from which a job still goes on by itself."""


class How(StrEnum):
    """How a finished job came to its output."""

    SENT = "sent"
    REUSED = "reused"
    """Copied from a paid result of the same bytes and options."""
    ADOPTED = "adopted"
    """An output that was already in its place and that no row knew."""


class Tidy(StrEnum):
    """What is still to be done with the source after the job ended."""

    ARCHIVE = "archive"
    DELETE = "delete"
    MOVE_FAILED = "move-failed"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a file, by what stat says: ``size`` in bytes, ``mtime_ns`` in nanoseconds since the epoch."""

    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A finished file that intake hands over.

    ``folder`` is the inbox's resolved path, ``path`` is relative to it (with surrogate escapes where the name is not
    UTF-8). ``refusal`` is set where the local preflight says that the API would refuse the file; then the job starts
    and ends as failed and costs nothing. ``adopt`` is the absolute path of an output that already stands in place.
    """

    folder: str
    path: str
    version: Version
    fingerprint: str
    profile: str
    priority: int = 0
    refusal: Refusal | None = None
    adopt: str | None = None
    tidy: Tidy | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file is not sent: ``code`` is one word, ``message`` and ``hint`` are for people."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the job table. Times are Unix seconds, sizes bytes."""

    id: int
    folder: str
    path: str
    version: Version
    fingerprint: str
    profile: str
    state: State
    priority: int
    attempts: int
    forced: bool
    created_at: float
    updated_at: float
    finished_at: float | None
    not_before: float | None
    lease: str | None
    content_hash: str | None
    output: str | None
    temp: str | None
    api_sent_at: float | None
    result_hash: str | None
    result_size: int | None
    how: How | None
    code: str | None
    message: str | None
    hint: str | None
    tidy: Tidy | None


@dataclass(frozen=True, slots=True)
class Output:
    """One delivered file: whose it is, and the hash by which it is recognised."""

    path: str
    job_id: int
    folder: str
    source: str
    content_hash: str | None
    fingerprint: str
    hash: str
    size: int
    created_at: float


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason for which work waits.

    ``scope`` is what is held: ``all``, ``profile:NAME``, ``outbox:PATH``, ``inbox:PATH``. ``kind`` is one word
    (``credits``, ``key``, ``service``, ``pause``, ``options``, ``full``...), ``release`` says what ends it.
    """

    scope: str
    kind: str
    message: str
    release: str
    since: float
    next_check: float | None = None


@dataclass(frozen=True, slots=True)
class Unready:
    """A file in an inbox that is not a job (yet): ``state`` is ``settling``, ``incomplete`` or ``ignored``."""

    folder: str
    path: str
    state: str
    reason: str
    since: float
