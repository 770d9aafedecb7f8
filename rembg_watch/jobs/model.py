"""The values that go in and out of the job table.

    queued -> running -> received -> done
      ^ |        |-> waiting (until a time, then sent again)
      | |        `-> failed
      | `-> failed, cancelled, superseded
      `---- running, after a crash without an answer

A job is one version of one file with one set of options. ``running`` means sent: its attempt may be charged.
``received`` means that a verified answer is on the disk and only its delivery is left; a reused result goes there from
``queued``. ``superseded`` means that the file changed before its answer came; the newer version is a job of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from rembg_watch.errors import Charge as Charge  # noqa: PLC0414 - part of the ledger
from rembg_watch.jobs import names

if TYPE_CHECKING:
    from collections.abc import Sequence


class State(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    RECEIVED = "received"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


OPEN = (State.QUEUED, State.RUNNING, State.WAITING, State.RECEIVED)
"""The states from which a job goes on without help."""


class How(StrEnum):
    """How a job got its output."""

    SENT = "sent"
    REUSED = "reused"
    """Copied from a paid result of the same picture and options."""
    ADOPTED = "adopted"
    """The output was there already, and no job knew it."""


class Tidy(StrEnum):
    """What is left to do with the source of a job that ended."""

    ARCHIVE = "archive"
    DELETE = "delete"
    MOVE_FAILED = "move-failed"


class Key(NamedTuple):
    """What an answer belongs to: the picture hash of the photo and the fingerprint of the options."""

    content: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.content}-{self.fingerprint}"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a file, by stat: ``size`` in bytes, ``mtime_ns`` in nanoseconds since the epoch."""

    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A finished file that the watcher hands over.

    ``folder`` is the inbox's resolved path, ``path`` is relative to it (with surrogate escapes where the name is not
    UTF-8). ``refusal`` is set where the preflight says that the API would refuse the file: the job then starts as
    failed and costs nothing. ``adopt`` is the absolute path of an output that is already in place.
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


COLUMNS = (
    "id, folder, dir, name, size, mtime_ns, fingerprint, profile, state, priority, attempts, crashes, forced,"
    " created_at, updated_at, finished_at, not_before, content_hash, width, height, output, attempt,"
    " api_sent_at, result_hash, result_size, how, code, message, hint, tidy, retried_at"
)


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the job table. Times are Unix seconds, sizes bytes, ``width`` and ``height`` pixels."""

    id: int
    folder: str
    path: str
    version: Version
    fingerprint: str
    profile: str
    state: State
    priority: int
    attempts: int
    """Faults that count against ``retry.max_attempts``."""
    crashes: int
    """Crashes in a row in which the photo was sent and no answer was left behind."""
    forced: bool
    """Sent again by hand: no result is reused."""
    created_at: float
    updated_at: float
    finished_at: float | None
    not_before: float | None
    content_hash: str | None
    """The picture hash, by which a result is reused."""
    width: int | None
    height: int | None
    output: str | None
    attempt: int | None
    """The ledger's row of the newest attempt."""
    api_sent_at: float | None
    result_hash: str | None
    result_size: int | None
    how: How | None
    code: str | None
    message: str | None
    hint: str | None
    tidy: Tidy | None
    retried_at: float | None
    """When it was last queued again by hand: attempts before that do not count against it."""

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Job:
        """Build a job from a row of ``COLUMNS``."""
        number, folder, directory, name, size, mtime_ns, fingerprint, profile, state, priority, *rest = row
        attempts, crashes, forced, created, updated, finished, not_before, *rest = rest
        content, width, height, output, attempt, sent, result, length, *rest = rest
        how, code, message, hint, tidy, retried = rest
        return cls(
            number,
            names.from_text(folder),
            names.join(directory, name),
            Version(size, mtime_ns),
            fingerprint,
            profile,
            State(state),
            priority,
            attempts,
            crashes,
            bool(forced),
            created,
            updated,
            finished,
            not_before,
            content,
            width,
            height,
            None if output is None else names.from_text(output),
            attempt,
            sent,
            result,
            length,
            None if how is None else How(how),
            code,
            message,
            hint,
            None if tidy is None else Tidy(tidy),
            retried,
        )


@dataclass(frozen=True, slots=True)
class Output:
    """One delivered file: its source, and the hash by which it is recognised."""

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

    ``scope`` is what is held: ``all``, ``profile:FINGERPRINT``, ``outbox:PATH``, ``inbox:PATH``. ``kind`` is one word
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
