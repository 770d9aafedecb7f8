"""What people ask of the queue, and what they change in it, while the daemon runs or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_watch.jobs import names
from rembg_watch.jobs.model import Charge, Job, State
from rembg_watch.jobs.outputs import Outputs
from rembg_watch.jobs.rows import COLUMNS, job_of

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


class Steering:
    """Listing, retrying, cancelling and pruning of jobs."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._outputs = Outputs(database)

    def select(self, *, state: State | None = None, folder: str | None = None, limit: int = 50) -> list[Job]:
        """Give the newest jobs that match, at most ``limit``."""
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
        return [job_of(row) for row in rows]

    def get(self, number: int) -> Job | None:
        """Give one job by its number."""
        rows = self._db.read(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (number,))
        return job_of(rows[0]) if rows else None

    def attempts(self, number: int) -> list[Attempt]:
        """Give the attempts of one job, oldest first."""
        rows = self._db.read(
            "SELECT id, sent_at, ended_at, charge, code, status, message, bytes_in, bytes_out, api_ms FROM attempts"
            " WHERE job_id = ? ORDER BY id",
            (number,),
        )
        return [Attempt(number, sent, ended, Charge(charge), *rest) for number, sent, ended, charge, *rest in rows]

    def times_sent(self, jobs: Sequence[Job]) -> dict[int, int]:
        """Count the attempts of each of these jobs, by its number; those that were never sent are left out."""
        rows = self._db.read(
            "SELECT job_id, count(*) FROM attempts WHERE job_id IN (SELECT value FROM json_each(?)) GROUP BY job_id",
            (json.dumps([job.id for job in jobs]),),
        )
        return dict(rows)

    def outputs(self, job: Job) -> list[Output]:
        """Give the files that the job's source has in the outbox."""
        return self._outputs.of(job.folder, job.path)

    def counts(self) -> dict[str, dict[State, int]]:
        """Count the jobs of each folder by state."""
        counts: dict[str, dict[State, int]] = {}
        for folder, state, count in self._db.read("SELECT folder, state, count(*) FROM jobs GROUP BY folder, state"):
            counts.setdefault(names.from_text(folder), {})[State(state)] = count
        return counts

    def retry(
        self, *, ids: Sequence[int] = (), failed: bool = False, folder: str | None = None, now: float
    ) -> list[int]:
        """Queue jobs again: those with the given numbers whatever their end, or all failed ones (of a folder).

        A job that was done is forced: it is sent again even though a result of the same bytes exists. Gives the
        numbers of the jobs that were queued. Nothing named is nothing done.
        """
        if ids:
            # Of a file that changed or left since, only the version that lies there is worth sending.
            condition = f"id IN ({', '.join('?' * len(ids))}) AND state NOT IN ('queued', 'running') AND current = 1"
        else:
            condition = "state = 'failed' AND current = 1" if failed else "0"
        condition, values = _of_folder(condition, [*ids], folder)
        # A job that waits keeps what was paid for already; one that ended starts afresh.
        fresh = ", ".join(
            f"{column} = iif(state = 'waiting', {column}, NULL)"
            for column in ("temp", "api_sent_at", "result_hash", "result_size")
        )

        def work(connection: Connection) -> list[int]:
            rows = connection.execute(
                f"UPDATE jobs SET forced = max(forced, state = 'done'), {fresh}, state = 'queued', attempts = 0,"
                " not_before = NULL, tidy = NULL, code = NULL, message = NULL, hint = NULL, finished_at = NULL,"
                f" how = NULL, updated_at = ? WHERE {condition} RETURNING id",
                (now, *values),
            ).fetchall()
            return sorted(number for (number,) in rows)

        return self._db.write(work)

    def cancel(self, *, ids: Sequence[int] = (), folder: str | None = None, now: float) -> list[int]:
        """Cancel jobs that wait for their turn: those with the given numbers, or all of a folder; give their numbers.

        A job that is being sent, or whose answer is here (or may be, after a crash), is not touched: its credit is
        spent, so its result is worth having. Nothing named is nothing done.
        """
        condition = f"id IN ({', '.join('?' * len(ids))})" if ids else "0" if folder is None else "1"
        condition, values = _of_folder(
            "(state = 'waiting' OR (state = 'queued' AND api_sent_at IS NULL)) AND result_hash IS NULL"
            f" AND {condition}",
            [*ids],
            folder,
        )

        def work(connection: Connection) -> list[int]:
            rows = connection.execute(
                "UPDATE jobs SET state = 'cancelled', not_before = NULL, finished_at = ?, updated_at = ?, temp = NULL,"
                " code = 'cancelled', message = 'cancelled by hand', hint = 'rembg-watch jobs retry ' || id"
                f" WHERE {condition} RETURNING id",
                (now, now, *values),
            ).fetchall()
            return sorted(number for (number,) in rows)

        return self._db.write(work)

    def prune(self, before: float, still_there: Callable[[str, str], bool]) -> int:
        """Forget jobs that ended before ``before`` (Unix seconds), and return how many.

        The row of a file that still lies in its inbox is what keeps the file from being sent again, so the newest
        version is only forgotten when ``still_there(folder, path)`` says that the file is gone. The ledger's rows are
        kept: they are what was paid. So is the newest job of all, that its number is not given to another one.
        """
        forgotten, after = 0, 0
        while True:
            rows = self._db.read(
                f"SELECT current, {COLUMNS} FROM jobs WHERE finished_at < ? AND id > ? AND tidy IS NULL"
                " AND id < (SELECT max(id) FROM jobs) ORDER BY id LIMIT ?",
                (before, after, PRUNE_BATCH),
            )
            if not rows:
                return forgotten
            jobs = [(bool(row[0]), job_of(row[1:])) for row in rows]
            after = jobs[-1][1].id
            gone = [(job.id,) for current, job in jobs if not current or not still_there(job.folder, job.path)]

            def forget(connection: Connection, gone: list[tuple[int]] = gone) -> None:
                connection.executemany("DELETE FROM jobs WHERE id = ? AND finished_at IS NOT NULL", gone)

            self._db.write(forget)
            forgotten += len(gone)


def _of_folder(condition: str, values: list[object], folder: str | None) -> tuple[str, list[object]]:
    if folder is None:
        return condition, values
    return f"{condition} AND folder = ?", [*values, names.to_text(folder)]
