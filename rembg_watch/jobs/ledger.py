"""The credit ledger: one row for each attempt, and what the account said beside it.

A row is written as "possibly charged" before the body goes out and corrected when the answer is in. What stays
"possibly charged" is an attempt whose answer never came: the service may have counted it or not.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rembg_watch.jobs.model import Charge
from rembg_watch.jobs.names import from_text, to_text

if TYPE_CHECKING:
    from sqlite3 import Connection

    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.model import Job

RECENT_SECONDS = 3600.0
"""Longer than any attempt takes from its sending to its end."""
Grouping = Literal["folder", "profile", "day"]
_GROUPS = {"folder": "folder", "profile": "profile", "day": "strftime('%Y-%m-%d', sent_at, 'unixepoch')"}
_JOB_GROUPS = {"folder": "folder", "profile": "profile", "day": "strftime('%Y-%m-%d', finished_at, 'unixepoch')"}


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How an attempt ended. ``bytes_in`` went to the API, ``bytes_out`` came back; ``api_ms`` is milliseconds."""

    charge: Charge
    code: str | None = None
    status: int | None = None
    message: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    api_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent under one heading: images, as credits."""

    key: str
    charged: int
    possibly: int
    saved: int
    """Jobs that were done with a result that was paid for before, or was already in its place."""


@dataclass(frozen=True, slots=True)
class UsageCheck:
    """One reading of the account beside our own count. ``at`` is Unix seconds, the rest are images."""

    at: float
    available: int
    api_usage: int
    app_usage: int
    period_start: float | None
    period_end: float | None
    charged: int
    possibly: int


def begin_attempt(connection: Connection, job: Job, now: float) -> int:
    """Write the attempt down, before its body goes out, and give its number."""
    cursor = connection.execute(
        "INSERT INTO attempts (job_id, folder, profile, sent_at, charge) VALUES (?, ?, ?, ?, 'possibly charged')",
        (job.id, to_text(job.folder), job.profile, now),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def end_attempt(connection: Connection, attempt: int, end: AttemptEnd, now: float) -> None:
    """Write down how the attempt ended."""
    connection.execute(
        "UPDATE attempts SET ended_at = ?, charge = ?, code = ?, status = ?, message = ?, bytes_in = ?, bytes_out = ?,"
        " api_ms = ? WHERE id = ?",
        (
            *(now, end.charge.value, end.code, end.status, end.message),
            *(end.bytes_in, end.bytes_out, end.api_ms, attempt),
        ),
    )


class Ledger:
    """The questions that are asked of the ledger."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._lock = threading.Lock()
        self._older = (0.0, 0, 0)

    def spent_since(self, since: float, folder: str | None = None) -> int:
        """Count the images that were or may have been charged since ``since`` (Unix seconds)."""
        sql = "SELECT count(*) FROM attempts WHERE sent_at >= ? AND charge <> 'not charged'"
        values: tuple[object, ...] = (since,)
        if folder is not None:
            sql, values = sql + " AND folder = ?", (since, to_text(folder))
        return int(self._db.read(sql, values)[0][0])

    def spent_between(self, since: float, before: float) -> int:
        """Count the images sent before ``before`` that were, or may have been, charged at ``since`` or later.

        Unix seconds. One without an end counts by when it was sent; the service may count either kind only now.
        """
        sql = (
            "SELECT count(*) FROM attempts WHERE sent_at >= ? AND sent_at < ? AND charge <> 'not charged'"
            " AND coalesce(ended_at, sent_at) >= ?"
        )
        return int(self._db.read(sql, (since - RECENT_SECONDS, before, since))[0][0])

    def totals(self, since: float = 0.0, before: float = float("inf")) -> tuple[int, int]:
        """Count what was charged and what was possibly charged from ``since`` until ``before`` (Unix seconds)."""
        rows = dict(
            self._db.read(
                "SELECT charge, count(*) FROM attempts WHERE sent_at >= ? AND sent_at < ? GROUP BY charge",
                (since, before),
            )
        )
        return int(rows.get(Charge.CHARGED.value, 0)), int(rows.get(Charge.POSSIBLY.value, 0))

    def running_totals(self, now: float) -> tuple[int, int]:
        """Give :meth:`totals` of all time, counting only the last hours anew: older attempts have their end."""
        with self._lock:
            until, charged, possibly = self._older
            if not until or now - until > 2 * RECENT_SECONDS or now < until:
                until = now - RECENT_SECONDS
                self._older = (until, *self.totals(before=until))
                _, charged, possibly = self._older
        recent = self.totals(since=until)
        return charged + recent[0], possibly + recent[1]

    def report(self, by: Grouping, since: float = 0.0) -> list[Spent]:
        """Sum up what was spent and saved since ``since`` (Unix seconds), grouped and sorted by the heading."""
        paid = self._db.read(
            f"SELECT {_GROUPS[by]}, sum(charge = 'charged'), sum(charge = 'possibly charged') FROM attempts"
            " WHERE sent_at >= ? GROUP BY 1",
            (since,),
        )
        saved = self._db.read(
            f"SELECT {_JOB_GROUPS[by]}, count(*) FROM jobs WHERE finished_at >= ? AND how IN ('reused', 'adopted')"
            " GROUP BY 1",
            (since,),
        )
        rows: dict[str, list[int]] = {key: [charged, possibly, 0] for key, charged, possibly in paid}
        for key, count in saved:
            rows.setdefault(key, [0, 0, 0])[2] = count
        return [Spent(from_text(key) if by == "folder" else key, *numbers) for key, numbers in sorted(rows.items())]

    def note_usage(self, check: UsageCheck) -> None:
        """Remember a reading of the account; readings older than 400 days are forgotten."""

        def work(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO usage_checks (at, available, api_usage, app_usage, period_start, period_end, charged,"
                " possibly) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(check.at, check.available, check.api_usage, check.app_usage),
                    *(check.period_start, check.period_end, check.charged, check.possibly),
                ),
            )
            connection.execute("DELETE FROM usage_checks WHERE at < ?", (check.at - 400 * 86400,))

        self._db.write(work)

    def usage_checks(self, since: float = 0.0) -> list[UsageCheck]:
        """Give the readings since ``since`` (Unix seconds), oldest first."""
        rows = self._db.read(
            "SELECT at, available, api_usage, app_usage, period_start, period_end, charged, possibly FROM usage_checks"
            " WHERE at >= ? ORDER BY at, id",
            (since,),
        )
        return [UsageCheck(*row) for row in rows]
