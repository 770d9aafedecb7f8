"""One snapshot of everything: the queue, what is being sent, the credits, what is held and why.

A snapshot is taken from the database alone, so that it is the same from any process, with a daemon or without one. The
daemon publishes there what only it knows: holds, files that are not jobs yet, the health of its inboxes.
``docs/json.md`` describes the snapshot as ``status --json`` prints it.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rembg_watch import __version__, clock
from rembg_watch.dispatch.budget import day_start, month_start
from rembg_watch.dispatch.results import SHORTAGE, Shortage
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.lock import running_pid
from rembg_watch.jobs.model import OPEN, State
from rembg_watch.jobs.queries import Queries
from rembg_watch.jobs.queue import Queue
from rembg_watch.jobs.status_table import StatusTable
from rembg_watch.systemd import notify

if TYPE_CHECKING:
    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.runtime import Components
    from rembg_watch.intake.intake import Intake
    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.model import Hold, Unready

FAILURES_SHOWN = 5
UNREADY_SHOWN = 20
MOST_UNREADY = 2000
"""Files that are not jobs (yet) and are published one by one; all of them are counted."""
RATE_SECONDS = 60.0
WEEK = 7 * 86400.0


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
    received: int
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
    """A job that is being sent; ``interrupted`` where its daemon is gone, and the next one recovers it."""

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
    unsent: int
    """Jobs that are still to be sent, for a credit each at most."""
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
    results_short: Shortage | None = None
    """Paid results had to be deleted soon after their last use."""

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as ``status --json`` prints it."""
        return asdict(self)


def snapshot(config: Config, database: Database | None, now: float) -> Snapshot:
    """Take a snapshot at ``now`` (Unix seconds). Without a database it is empty, but complete.

    Raises:
        StateError: the database can't be read.

    """
    pid = running_pid(config.state_dir)
    if database is None:
        return Snapshot(
            at=now,
            database=False,
            daemon=None if pid is None else Daemon(pid),
            holds=(),
            folders=_folders(config, {}, {}, [], {}),
            running=(),
            throughput=Throughput(0, 0, 0, None),
            credits=None,
            spent=Spent(0, config.credits.daily_limit, 0, config.credits.monthly_limit),
            not_ready=(),
            not_ready_count=0,
        )
    table, ledger, queries = StatusTable(database), Ledger(database), Queries(database)
    fact = (table.fact("daemon") or {}) if pid is not None else {}
    counts = queries.counts()
    unready = sorted(table.unready(), key=lambda file: _UNREADY_ORDER.get(file.state, 0))
    unsent = queries.unsent()
    received = {inbox: numbers[State.RECEIVED] for inbox, numbers in counts.items() if State.RECEIVED in numbers}
    holds = [_in_words(hold, config, unsent, received) for hold in table.holds()]
    held = sum(n for lane, n in unsent.items() if any(touches(hold.scope, lane, config) for hold in holds))
    held += sum(n for inbox, n in received.items() if any(_keeps_results(hold.scope, inbox, config) for hold in holds))
    open_jobs = sum(numbers.get(state, 0) for numbers in counts.values() for state in OPEN)
    today = ledger.spent_by_folder(day_start(now))
    return Snapshot(
        at=now,
        database=True,
        daemon=None if pid is None else _daemon(pid, fact, table.fact("started") or {}),
        holds=tuple(holds),
        folders=_folders(config, counts, fact, unready, today),
        running=tuple(
            Running(job.id, job.folder, job.path, job.api_sent_at or job.updated_at, pid is None)
            for job in Queue(database).running()
        ),
        throughput=_throughput(queries, open_jobs, held, now),
        credits=_credits(table, ledger, config, sum(unsent.values()), now),
        spent=Spent(
            sum(today.values()),
            config.credits.daily_limit,
            ledger.spent_since(month_start(now)),
            config.credits.monthly_limit,
        ),
        not_ready=tuple(NotReady(f.folder, f.path, f.state, f.reason, f.since) for f in unready[:UNREADY_SHOWN]),
        not_ready_count=max(len(unready), sum((fact.get("unready") or {}).values())),
        failures=tuple(
            Failure(job.id, job.folder, job.path, job.finished_at, job.code, job.message, job.hint)
            for job in queries.last_failures(FAILURES_SHOWN)
        ),
        results_short=Shortage.from_fact(
            table.fact(SHORTAGE), None if config.results is None else config.results.max, now
        ),
    )


_UNREADY_ORDER = {"incomplete": 0, "settling": 1, "ignored": 2}
"""What needs somebody comes first; ignored files are many, and meant to be."""
_Lanes = dict[tuple[str, str], int]
"""Unsent jobs by folder and fingerprint."""


def _daemon(pid: int, fact: dict[str, Any], started: dict[str, Any]) -> Daemon:
    if fact.get("pid") != pid:  # an earlier one's; this one has not published yet
        return Daemon(pid)
    return Daemon(
        pid,
        fact.get("version"),
        started.get("at") if started.get("pid") == pid else None,
        fact.get("updated_at"),
        fact.get("per_second"),
        fact.get("found_by_rescan") or 0,
    )


def touches(scope: str, lane: tuple[str, str], config: Config) -> bool:
    """Return whether a hold's scope keeps back the jobs of one inbox with one fingerprint."""
    folder, fingerprint = lane
    kind, _, name = scope.partition(":")
    if kind == "outbox":
        known = config.folder(folder)
        return known is not None and str(known.outbox) == name
    return scope == "all" or name == {"inbox": folder, "profile": fingerprint}.get(kind)


def _keeps_results(scope: str, inbox: str, config: Config) -> bool:
    """Return whether a hold's scope keeps paid results of an inbox from their delivery: that of its outbox alone."""
    return scope.startswith("outbox:") and touches(scope, (inbox, ""), config)


def _in_words(hold: Hold, config: Config, lanes: _Lanes, received: dict[str, int]) -> Held:
    kind, _, name = hold.scope.partition(":")
    what = "everything" if kind == "all" else f"{kind} {name}"
    if kind == "profile":
        named = {profile.name for profile in config.profiles.values() if profile.options.fingerprint == name}
        what = f"profile {' and '.join(sorted(named)) or name}"
    jobs = sum(count for lane, count in lanes.items() if touches(hold.scope, lane, config))
    jobs += sum(count for inbox, count in received.items() if _keeps_results(hold.scope, inbox, config))
    return Held(hold.scope, hold.kind, what, hold.message, hold.release, hold.since, hold.next_check, jobs)


def _folders(
    config: Config,
    counts: dict[str, dict[State, int]],
    fact: dict[str, Any],
    unready: list[Unready],
    today: dict[str, int],
) -> tuple[FolderQueue, ...]:
    roots = {root.get("inbox"): root for root in fact.get("roots") or ()}
    configured = [str(folder.inbox) for folder in config.folders]
    rows = []
    for inbox in (*configured, *sorted(set(counts) - set(configured))):
        folder, numbers, root = config.folder(inbox), counts.get(inbox, {}), roots.get(inbox, {})
        here = [file for file in unready if file.folder == inbox]
        rows.append(
            FolderQueue(
                inbox=inbox,
                profile=None if folder is None else folder.profile.name,
                configured=folder is not None,
                **{state.value: numbers.get(state, 0) for state in State},
                not_ready=sum(file.state != "ignored" for file in here),
                ignored=sum(file.state == "ignored" for file in here),
                spent_today=today.get(inbox, 0),
                daily_limit=None if folder is None else folder.daily_limit,
                health=root.get("health"),
                mode=root.get("mode"),
                message=root.get("message") or None,
            )
        )
    return tuple(rows)


def _throughput(queries: Queries, open_jobs: int, held: int, now: float) -> Throughput:
    done = queries.done_since(now - RATE_SECONDS)
    moving = open_jobs - held
    seconds = moving / done * RATE_SECONDS if done and moving > 0 else None
    return Throughput(open_jobs, held, done, seconds)


def _credits(table: StatusTable, ledger: Ledger, config: Config, unsent: int, now: float) -> Credits | None:
    fact = table.fact("credits")
    if not fact or fact.get("available") is None:
        return None
    at = fact.get("at") or 0.0
    left = max(0, fact["available"] - ledger.spent_since(at))
    reserve = config.credits.reserve
    spendable = max(0, left - reserve)
    week = ledger.spent_since(now - WEEK)
    return Credits(
        available=fact["available"],
        at=at,
        left=left,
        reserve=reserve,
        spendable=spendable,
        unsent=unsent,
        enough=spendable >= unsent,
        days_left=spendable / (week / 7) if week else None,
        membership=fact.get("membership"),
        source=fact.get("source"),
        period_end=fact.get("period_end"),
    )


class Publisher:
    """Writes what only the daemon knows into the status table, where it has changed, and tells systemd."""

    def __init__(self, parts: Components, intake: Intake, table: StatusTable, queries: Queries) -> None:
        self._parts = parts
        self._intake = intake
        self._table = table
        self._queries = queries
        self._published: tuple[object, ...] = ()
        self._told = ""

    def publish_holds(self) -> None:
        """Replace the holds in the table."""
        self._parts.holds.changed = False  # before it is read: a change after that is published again
        self._table.publish_holds(self._parts.holds.all())

    def publish(self, *, last: bool = False) -> bool:
        """Write what has changed; return whether anything had. ``last``: as the daemon ends."""
        now = time.time()
        unready = self._intake.unready()[:MOST_UNREADY]
        facts = {
            "pid": os.getpid(),
            "version": __version__,
            "per_second": self._parts.rate.limit(),
            "roots": [status._asdict() for status in self._intake.roots()],
            "found_by_rescan": self._intake.found_by_rescan,
            "unready": self._intake.counts(),
        }
        listed = [(file.folder, file.path, file.state, file.reason) for file in unready]
        if not last and self._published == (facts, listed):
            return False
        if not self._published or self._published[1] != listed:
            self._table.publish_unready(unready)
        self._published = (facts, listed)
        self._table.set_fact("daemon", {**facts, "updated_at": now}, now)
        return True

    def tell_systemd(self, unhealthy: str | None, refused: str) -> None:
        """Send one status line; ``refused``: why the config of the last reload was not taken over, or empty."""
        if not os.environ.get("NOTIFY_SOCKET"):
            return
        summary = self._summary(unhealthy, refused)
        if summary != self._told and notify(STATUS=summary):
            self._told = summary

    def _summary(self, unhealthy: str | None, refused: str) -> str:
        """Return one line, what is wrong first: ``systemctl status`` shows it."""
        left = self._parts.budget.left
        words = [f"not well: {unhealthy}"] if unhealthy else []
        words += [f"new config refused: {refused}"] if refused else []
        words += [
            f"{root.inbox} is {root.health}: {root.message}" for root in self._intake.roots() if root.health != "ok"
        ]
        words += [f"held: {hold.message}" for hold in self._parts.holds.all()]
        words += [
            f"{self._parts.queue.open_count()} to do",
            f"{self._queries.done_since(clock.now() - RATE_SECONDS)} done in the last minute",
            "credits unknown" if left is None else f"{left} credits",
        ]
        return "; ".join(words)
