"""What people ask of the job table, and the three changes they may make: retry, cancel, prune.

Everything works while the daemon runs or not, and stays fast with a million jobs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_watch.jobs import names
from rembg_watch.jobs.model import COLUMNS, Charge, Job, State
from rembg_watch.jobs.outputs import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from sqlite3 import Connection

    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.model import Output

PRUNE_BATCH = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a job, as the ledger has it. Times are Unix seconds, ``api_ms`` milliseconds, sizes bytes."""

    id: int
    sent_at: float
    ended_at: float | None
    charge: Charge
    code: str | None
    status: int | None
    message: str | None
    bytes_in: int | None
    bytes_out: int | None
    api_ms: float | None
    content_hash: str | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What an attempt was made for. ``path`` is None where the job is forgotten."""

    job: int
    folder: str
    path: str | None
    profile: str


class Queries:
    """Lists, counts and changes of jobs. Times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._outputs = Outputs(database)

    # -- lists

    def select(self, *, state: State | None = None, folder: str | None = None, limit: int = 50) -> list[Job]:
        """Return the newest jobs that match, at most ``limit``."""
        conditions, values = ["1 = 1"], list[object]()
        if state is not None:
            conditions, values = [*conditions, "state = ?"], [*values, state.value]
        if folder is not None:
            conditions, values = [*conditions, "folder = ?"], [*values, names.to_text(folder)]
        # The numbers come from an index alone; only the rows that are shown are read whole.
        rows = self._db.read(
            f"SELECT {COLUMNS} FROM jobs WHERE id IN (SELECT id FROM jobs WHERE {' AND '.join(conditions)}"
            " ORDER BY id DESC LIMIT ?) ORDER BY id DESC",
            (*values, limit),
        )
        return [Job.from_row(row) for row in rows]

    def get(self, number: int) -> Job | None:
        """Return one job by its number."""
        rows = self._db.read(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (number,))
        return Job.from_row(rows[0]) if rows else None

    def attempts(self, number: int) -> list[Attempt]:
        """Return the attempts of one job, the oldest first."""
        rows = self._db.read(
            "SELECT id, sent_at, ended_at, charge, code, status, message, bytes_in, bytes_out, api_ms, content_hash,"
            " fingerprint FROM attempts"
            " WHERE job_id = ? ORDER BY id",
            (number,),
        )
        return [Attempt(number, sent, ended, Charge(charge), *rest) for number, sent, ended, charge, *rest in rows]

    def sent(self, attempts: Sequence[int]) -> dict[int, Sent]:
        """Return what these attempts were made for, by their numbers."""
        rows = self._db.read(
            "SELECT attempts.id, job_id, attempts.folder, dir, name, attempts.profile FROM attempts"
            " LEFT JOIN jobs ON jobs.id = job_id WHERE attempts.id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(attempts)),),
        )
        return {
            number: Sent(job, names.from_text(folder), None if name is None else names.join(directory, name), profile)
            for number, job, folder, directory, name, profile in rows
        }

    def times_sent(self, jobs: Sequence[Job]) -> dict[int, int]:
        """Count the attempts of each of these jobs, by its number; those that were never sent are left out."""
        rows = self._db.read(
            "SELECT job_id, count(*) FROM attempts WHERE job_id IN (SELECT value FROM json_each(?)) GROUP BY job_id",
            (json.dumps([job.id for job in jobs]),),
        )
        return dict(rows)

    def outputs(self, job: Job) -> list[Output]:
        """Return the files that the job's source has in the outbox."""
        return self._outputs.of(job.folder, job.path)

    def last_failures(self, limit: int) -> list[Job]:
        """Return the jobs that failed last, the latest first."""
        rows = self._db.read(
            f"SELECT {COLUMNS} FROM jobs WHERE state = 'failed' ORDER BY +finished_at DESC, id DESC LIMIT ?", (limit,)
        )
        return [Job.from_row(row) for row in rows]

    # -- counts

    def counts(self) -> dict[str, dict[State, int]]:
        """Count the jobs of each folder by state."""
        counts: dict[str, dict[State, int]] = {}
        for folder, state, count in self._db.read("SELECT folder, state, count(*) FROM jobs GROUP BY folder, state"):
            counts.setdefault(names.from_text(folder), {})[State(state)] = count
        return counts

    def unsent(self) -> dict[tuple[str, str], int]:
        """Count the jobs that are queued or waiting, by folder and fingerprint of the options."""
        rows = self._db.read(
            "SELECT folder, fingerprint, sum(n) FROM (SELECT folder, fingerprint, count(*) AS n FROM jobs"
            " INDEXED BY jobs_ready WHERE state = 'queued' GROUP BY folder, fingerprint"
            " UNION ALL SELECT folder, fingerprint, count(*) FROM jobs"
            " INDEXED BY jobs_waiting WHERE state = 'waiting' GROUP BY folder, fingerprint)"
            " GROUP BY folder, fingerprint"
        )
        return {(names.from_text(folder), fingerprint): count for folder, fingerprint, count in rows}

    def folders(self) -> list[str]:
        """Return the inboxes that have jobs: one step of the index for each, however many jobs they have."""
        found: set[str] = set()
        for state in State:
            last = ""
            while True:
                sql = "SELECT min(folder) FROM jobs INDEXED BY jobs_state WHERE state = ? AND folder > ?"
                (after,) = self._db.read(sql, (state.value, last))[0]
                if after is None:
                    break
                last = after
                found.add(names.from_text(after))
        return sorted(found)

    def done_since(self, since: float) -> int:
        """Count the jobs that were done since then with a result of their own or a copied one."""
        rows = self._db.read(
            "SELECT count(*) FROM jobs WHERE finished_at >= ? AND +state = 'done' AND how <> 'adopted'", (since,)
        )
        return int(rows[0][0])

    # -- changes

    def retry(
        self, *, ids: Sequence[int] = (), failed: bool = False, folder: str | None = None, now: float
    ) -> list[int]:
        """Queue jobs again: those with the given numbers, whatever their end, or all failed ones (of a folder).

        A job that was done is forced: it is sent again although its result exists. Earlier attempts do not count
        against a job that was asked for again. Return the numbers of the jobs that were queued.
        """
        # Of a file that changed or left since, only the version that is there is worth sending.
        if ids:
            condition, values = _of_ids(ids)
            condition += " AND current = 1 AND state NOT IN ('queued', 'running', 'received')"
        else:
            condition, values = "state = 'failed' AND current = 1" if failed else "0", []
        condition, values = _of_folder(condition, values, folder)

        def work(connection: Connection) -> list[int]:
            rows = connection.execute(
                "UPDATE jobs SET forced = max(forced, state = 'done'), state = 'queued', attempts = 0, crashes = 0,"
                " not_before = NULL, tidy = NULL, code = NULL, message = NULL, hint = NULL, finished_at = NULL,"
                " how = NULL, result_hash = NULL, result_size = NULL, updated_at = ?, retried_at = ?"
                f" WHERE {condition} RETURNING id",
                (now, now, *values),
            ).fetchall()
            return sorted(number for (number,) in rows)

        return self._db.write(work)

    def cancel(self, *, ids: Sequence[int] = (), folder: str | None = None, now: float) -> list[int]:
        """Cancel jobs that were not sent: those with the given numbers, or all of a folder; return their numbers."""
        if not ids and folder is None:
            return []
        condition, values = _of_ids(ids) if ids else ("1", [])
        condition, values = _of_folder(f"(state = 'queued' OR state = 'waiting') AND {condition}", values, folder)

        def work(connection: Connection) -> list[int]:
            rows = connection.execute(
                "UPDATE jobs SET state = 'cancelled', not_before = NULL, finished_at = ?, updated_at = ?,"
                " code = 'cancelled', message = 'cancelled by hand', hint = 'rembg-watch jobs retry ' || id"
                f" WHERE {condition} RETURNING id",
                (now, now, *values),
            ).fetchall()
            return sorted(number for (number,) in rows)

        return self._db.write(work)

    def prune(self, before: float, still_there: Callable[[str, str], bool]) -> int:
        """Delete jobs that ended before ``before``, and return how many.

        The row of a file that is still in its inbox keeps the file from being sent again, so the newest version is
        only deleted when ``still_there(folder, path)`` says that the file is gone. The ledger's rows stay, and so does
        the newest job of all: its number must not be given to another one.
        """
        deleted, after = 0, 0
        while True:
            rows = self._db.read(
                f"SELECT current, {COLUMNS} FROM jobs WHERE finished_at < ? AND id > ? AND tidy IS NULL"
                " AND id < (SELECT max(id) FROM jobs) ORDER BY id LIMIT ?",
                (before, after, PRUNE_BATCH),
            )
            if not rows:
                return deleted
            jobs = [(bool(row[0]), Job.from_row(row[1:])) for row in rows]
            after = jobs[-1][1].id
            gone = [(job.id,) for current, job in jobs if not current or not still_there(job.folder, job.path)]

            def delete(connection: Connection, gone: list[tuple[int]] = gone) -> None:
                connection.executemany("DELETE FROM jobs WHERE id = ? AND finished_at IS NOT NULL", gone)

            self._db.write(delete)
            deleted += len(gone)


def _of_ids(ids: Sequence[int]) -> tuple[str, list[object]]:
    return "id IN (SELECT value FROM json_each(?))", [json.dumps(list(ids))]


def _of_folder(condition: str, values: list[object], folder: str | None) -> tuple[str, list[object]]:
    if folder is None:
        return condition, values
    return f"{condition} AND folder = ?", [*values, names.to_text(folder)]
