"""The credit ledger: one row for each attempt, and the account's own count beside ours.

A row is written as "possibly charged" before the body goes out and corrected once the answer is in. A row that stays
"possibly charged" is an attempt whose answer never came: the service may have counted it or not.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from rembg_watch.jobs.model import Charge
from rembg_watch.jobs.names import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.model import Job, Key

RECENT_SECONDS = 3600.0
"""Longer than any attempt takes: an attempt that was sent earlier has its final charge."""
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
    counted: bool = False
    """Whether it counts against ``retry.max_attempts``."""
    at: float | None = None
    """When it ended by the wall clock, in Unix seconds; None: when that is written."""


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
    prepaid: int = 0
    account: str | None = None
    """Which account was asked, as a hash."""


@dataclass(frozen=True, slots=True)
class Wasted:
    """Attempts with one key that may have cost a credit and brought nothing."""

    complete: int
    """Complete answers that were not the picture that was asked for."""
    lost: int
    """Attempts without a usable answer that count against ``retry.max_attempts``."""


WRONG_PICTURES = frozenset({"wrong-size", "wrong-format"})
"""Codes of complete answers that are not the picture that was asked for."""


def begin_attempts(connection: Connection, sent: Sequence[tuple[Job, Key, int]], now: float) -> None:
    """Insert attempts before their bodies go out, each with its number."""
    rows = [
        (number, job.id, to_text(job.folder), job.profile, key.content, key.fingerprint) for job, key, number in sent
    ]
    connection.execute(
        "INSERT INTO attempts (id, job_id, folder, profile, content_hash, fingerprint, sent_at, charge)"
        " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),"
        " json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'), ?,"
        " 'possibly charged' FROM json_each(?)",
        (now, json.dumps(rows)),
    )


def end_attempts(connection: Connection, ended: Sequence[tuple[int, AttemptEnd]], now: float) -> None:
    """Write how attempts ended, where that is not known already."""
    rows = [
        (
            *(number, end.charge.value, end.code, end.status, end.message),
            *(end.bytes_in, end.bytes_out, end.api_ms, int(end.counted), now if end.at is None else end.at),
        )
        for number, end in ended
    ]
    connection.execute(
        "UPDATE attempts SET charge = json_extract(value, '$[1]'), code = json_extract(value, '$[2]'),"
        " status = json_extract(value, '$[3]'), message = json_extract(value, '$[4]'),"
        " bytes_in = json_extract(value, '$[5]'), bytes_out = json_extract(value, '$[6]'),"
        " api_ms = json_extract(value, '$[7]'), counted = json_extract(value, '$[8]'),"
        " ended_at = json_extract(value, '$[9]')"
        " FROM json_each(?) WHERE attempts.id = json_extract(value, '$[0]') AND ended_at IS NULL",
        (json.dumps(rows),),
    )


class Ledger:
    """Queries on the ledger. Safe for threads; times are Unix seconds of the wall clock."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._lock = threading.Lock()
        self._older = (0.0, 0, 0)
        self._settled: dict[tuple[float, str | None], tuple[float, int]] = {}

    def spent_since(self, since: float, folder: str | None = None, before: float = float("inf")) -> int:
        """Count the images sent from ``since`` until ``before`` that were or may have been charged."""
        sql = "SELECT count(*) FROM attempts WHERE sent_at >= ? AND sent_at < ? AND charge <> 'not charged'"
        values: tuple[object, ...] = (since, before)
        if folder is not None:
            sql, values = sql + " AND folder = ?", (*values, to_text(folder))
        return int(self._db.read(sql, values)[0][0])

    def spent_in_period(self, since: float, now: float, folder: str | None = None) -> int:
        """Count as :meth:`spent_since` does, for a day or a month that is asked about again and again.

        Attempts from before the last hours have their final charge: they are counted once.
        """
        key = (since, folder)
        with self._lock:
            until, settled = self._settled.get(key, (since, 0))
        if now - until > 2 * RECENT_SECONDS or now < until:  # the clock may have been set back
            until = max(since, now - RECENT_SECONDS)
            settled = self.spent_since(since, folder, until)
            with self._lock:
                self._settled = {kept: value for kept, value in self._settled.items() if kept[0] >= since - 32 * 86400}
                self._settled[key] = (until, settled)
        return settled + self.spent_since(until, folder)

    def unsettled(self, since: float, before: float, *, first: int = 0, last: int | None = None) -> int:
        """Count the images sent before ``before`` that ended at ``since`` or later, or have not ended.

        Only those that were or may have been charged, and only attempts with the numbers ``first`` to ``last``. The
        service may show them in its count only later.
        """
        sql = (
            "SELECT count(*) FROM attempts WHERE sent_at >= ? AND sent_at < ? AND charge <> 'not charged'"
            " AND (ended_at IS NULL OR ended_at >= ?) AND id >= ? AND id <= coalesce(?, id)"
        )
        return int(self._db.read(sql, (since - RECENT_SECONDS, before, since, first, last))[0][0])

    def last_attempt(self) -> int:
        """Return the number of the newest attempt; 0 where there is none."""
        return int(self._db.read("SELECT coalesce(max(id), 0) FROM attempts")[0][0])

    def wasted(self, wanted: Sequence[tuple[Key, float | None]]) -> list[Wasted]:
        """Count the attempts that may have been charged in vain, for each key since the time beside it (or ever)."""
        rows = self._db.read(
            "SELECT content_hash, attempts.fingerprint, sent_at, code, counted FROM json_each(?)"
            " CROSS JOIN attempts INDEXED BY attempts_wasted ON content_hash = json_extract(value, '$[0]')"
            " AND attempts.fingerprint = json_extract(value, '$[1]')"
            " WHERE code IS NOT NULL AND charge <> 'not charged'",
            (json.dumps([key for key, _ in wanted]),),
        )
        found = []
        for key, since in wanted:
            codes = [(code, counted) for *of, at, code, counted in rows if tuple(of) == key and at >= (since or 0.0)]
            complete = sum(code in WRONG_PICTURES for code, _ in codes)
            found.append(Wasted(complete, sum(counted for code, counted in codes if code not in WRONG_PICTURES)))
        return found

    def totals(self, since: float = 0.0, before: float = float("inf")) -> tuple[int, int]:
        """Count what was charged and what was possibly charged from ``since`` until ``before``."""
        rows = dict(
            self._db.read(
                "SELECT charge, count(*) FROM attempts WHERE sent_at >= ? AND sent_at < ? GROUP BY charge",
                (since, before),
            )
        )
        return int(rows.get(Charge.CHARGED.value, 0)), int(rows.get(Charge.POSSIBLY.value, 0))

    def running_totals(self, now: float) -> tuple[int, int]:
        """Return :meth:`totals` of all time, reading only the last hours again."""
        with self._lock:
            until, charged, possibly = self._older
            if not until or now - until > 2 * RECENT_SECONDS or now < until:
                until = now - RECENT_SECONDS
                self._older = (until, *self.totals(before=until))
                _, charged, possibly = self._older
        recent = self.totals(since=until)
        return charged + recent[0], possibly + recent[1]

    def spent_by_folder(self, since: float) -> dict[str, int]:
        """Count the images that were or may have been charged since then, by folder."""
        rows = self._db.read(
            "SELECT folder, count(*) FROM attempts WHERE sent_at >= ? AND charge <> 'not charged' GROUP BY folder",
            (since,),
        )
        return {from_text(folder): count for folder, count in rows}

    def report(self, by: Grouping, since: float = 0.0) -> list[Spent]:
        """Sum up what was spent and saved since ``since``, grouped and sorted by the heading."""
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
        """Store a reading of the account; delete readings older than 400 days."""

        def work(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO usage_checks (at, account, available, api_usage, app_usage, prepaid, period_start,"
                " period_end, charged, possibly) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(check.at, check.account, check.available, check.api_usage, check.app_usage, check.prepaid),
                    *(check.period_start, check.period_end, check.charged, check.possibly),
                ),
            )
            connection.execute("DELETE FROM usage_checks WHERE at < ?", (check.at - 400 * 86400,))

        self._db.write(work)

    def usage_checks(self, since: float = 0.0) -> list[UsageCheck]:
        """Return the readings since ``since``, the oldest first."""
        rows = self._db.read(f"SELECT {_CHECK} FROM usage_checks WHERE at >= ? ORDER BY at, id", (since,))
        return [UsageCheck(*row) for row in rows]

    def last_usage_check(self, account: str, before: float) -> UsageCheck | None:
        """Return the newest reading of an account that is older than ``before``, or None."""
        rows = self._db.read(
            f"SELECT {_CHECK} FROM usage_checks WHERE account = ? AND at < ? ORDER BY at DESC, id DESC LIMIT 1",
            (account, before),
        )
        return UsageCheck(*rows[0]) if rows else None


_CHECK = "at, available, api_usage, app_usage, period_start, period_end, charged, possibly, prepaid, account"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The difference between the first and the last reading. Counts are images.

    ``account`` is the growth of the account's use by API keys, ``editor`` that of the web editor; ``ours`` is what we
    counted as charged in the same time and ``possibly`` what we could not tell. ``others`` is what the account used
    and we did not: another program or person with the account, or images of ours that were possibly charged.
    ``uncounted`` is what we counted as charged and the account does not show (yet).
    """

    readings: int
    first_at: float | None
    last_at: float | None
    account: int
    editor: int
    ours: int
    possibly: int
    others: int
    uncounted: int


def reconcile(checks: Sequence[UsageCheck]) -> Reconciliation:
    """Compare readings of the account, oldest first, with our own count beside them.

    Only readings of one billing period are compared with each other: the count starts again with each. Within
    a period the account's count may lag behind ours, so that only its whole growth says something, not each step's.
    """
    account = editor = ours = others = uncounted = 0
    for stretch in _stretches(checks):
        first, last = stretch[0], stretch[-1]
        api, charged = last.api_usage - first.api_usage, last.charged - first.charged
        account += api
        editor += last.app_usage - first.app_usage
        ours += charged
        others += max(0, api - charged)
        uncounted += max(0, charged - api)
    return Reconciliation(
        readings=len(checks),
        first_at=checks[0].at if checks else None,
        last_at=checks[-1].at if checks else None,
        account=account,
        editor=editor,
        ours=ours,
        possibly=max(0, checks[-1].possibly - checks[0].possibly) if checks else 0,
        others=others,
        uncounted=uncounted,
    )


def _stretches(checks: Sequence[UsageCheck]) -> list[list[UsageCheck]]:
    """Split the readings where the account's count starts again: at a new period, or where it went back."""
    stretches = [[check] for check in checks[:1]]
    for before, check in pairwise(checks):
        starts_again = (
            check.period_start != before.period_start
            or check.api_usage < before.api_usage
            or check.app_usage < before.app_usage
        )
        if starts_again:
            stretches.append([check])
        else:
            stretches[-1].append(check)
    return stretches
