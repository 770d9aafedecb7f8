"""What the picture of everything is made of. ``docs/json.md`` describes it as ``status --json`` prints it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Daemon:
    """The running daemon, as it describes itself. Times are Unix seconds; ``per_second`` is its pace limit now."""

    pid: int
    version: str | None = None
    started_at: float | None = None
    updated_at: float | None = None
    per_second: float | None = None
    found_by_rescan: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """One hold in words: ``what`` is held, ``why``, what ``release`` ends it; ``jobs`` that wait for it now."""

    scope: str
    kind: str
    what: str
    why: str
    release: str
    since: float
    next_check: float | None
    jobs: int


@dataclass(frozen=True, slots=True)
class FolderQueue:
    """The jobs of one inbox by state, and the health of its watch."""

    inbox: str
    profile: str | None
    configured: bool
    queued: int
    running: int
    waiting: int
    done: int
    failed: int
    cancelled: int
    superseded: int
    not_ready: int
    ignored: int
    spent_today: int
    daily_limit: int | None
    health: str | None
    mode: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Running:
    """A job that is being worked on; ``interrupted`` where its daemon is gone, and the next one goes on with it."""

    job: int
    folder: str
    path: str
    since: float
    interrupted: bool


@dataclass(frozen=True, slots=True)
class Throughput:
    """``open`` jobs are to do, ``held`` of them can't go on; ``seconds_to_empty`` is None where nothing can be said."""

    open: int
    held: int
    done_last_minute: int
    seconds_to_empty: float | None


@dataclass(frozen=True, slots=True)
class Credits:
    """The last good reading of the account, and what it means. Counts are images.

    ``left`` is the reading less what was sent since; ``spendable`` is that less the reserve; ``days_left`` is how long
    it lasts at the mean of the last seven days.
    """

    available: int
    at: float
    left: int
    reserve: int
    spendable: int
    enough: bool
    days_left: float | None
    membership: str | None
    source: str | None
    period_end: float | None


@dataclass(frozen=True, slots=True)
class Spent:
    """Images that were or may have been charged in this UTC day and month, beside the limits of the config."""

    today: int
    daily_limit: int | None
    month: int
    monthly_limit: int | None


@dataclass(frozen=True, slots=True)
class NotReady:
    """A file that is not a job (yet): ``state`` is ``settling``, ``incomplete`` or ``ignored``."""

    folder: str
    path: str
    state: str
    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that failed, with the reason and what to do."""

    job: int
    folder: str
    path: str
    at: float | None
    code: str | None
    message: str | None
    hint: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one instant, ``at`` (Unix seconds)."""

    at: float
    database: bool
    daemon: Daemon | None
    holds: tuple[Held, ...]
    folders: tuple[FolderQueue, ...]
    running: tuple[Running, ...]
    throughput: Throughput
    credits: Credits | None
    spent: Spent
    not_ready: tuple[NotReady, ...]
    not_ready_count: int
    failures: tuple[Failure, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Give the snapshot as ``status --json`` prints it."""
        return asdict(self)
