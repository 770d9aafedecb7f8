"""What people ask of the queue, and what they change in it, while the daemon runs or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_watch.jobs import names
from rembg_watch.jobs.model import Charge, Job, State
from rembg_watch.jobs.outputs import Outputs
from rembg_watch.jobs.store import COLUMNS, job_of

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
        rows = self._db.read(
            f"SELECT {COLUMNS} FROM jobs WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?",
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

    def outputs(self, job: Job) -> list[Output]:
        """Give the files that the job's source has in the outbox."""
        return self._outputs.of(job.folder, job.path)

    def counts(self) -> dict[str, dict[State, int]]:
        """Count the jobs of each folder by state."""
        counts: dict[str, dict[State, int]] = {}
        for folder, state, count in self._db.read("SELECT folder, state, count(*) FROM jobs GROUP BY folder, state"):
            counts.setdefault(names.from_text(folder), {})[State(state)] = count
        return counts

    def retry(self, *, ids: Sequence[int] = (), failed: bool = False, folder: str | None = None) -> int:
        """Queue jobs again: those with the given numbers whatever their end, or all failed ones (of a folder).

        A job that was done is forced: it is sent again even though a result of the same bytes exists.
        """
        if ids:
            # Of a file that changed since, only the newest version is worth sending.
            condition = f"id IN ({', '.join('?' * len(ids))}) AND state NOT IN ('queued', 'running') AND current = 1"
            values: list[object] = list(ids)
        else:
            condition, values = "state = 'failed' AND current = 1", []
            if not failed:
                condition = "state IN ('failed', 'cancelled', 'done') AND current = 1"
        if folder is not None:
            condition, values = condition + " AND folder = ?", [*values, names.to_text(folder)]

        def work(connection: Connection) -> int:
            return connection.execute(
                "UPDATE jobs SET forced = (state = 'done'), state = 'queued', attempts = 0, not_before = NULL,"
                f" tidy = NULL, code = NULL, message = NULL, hint = NULL, finished_at = NULL, how = NULL WHERE {condition}",
                values,
            ).rowcount

        return self._db.write(work)

    def cancel(self, *, ids: Sequence[int] = (), folder: str | None = None, now: float) -> int:
        """Cancel jobs that wait for their turn: those with the given numbers, or all of a folder.

        A job that is being sent is not touched: its credit is spent, so its result is worth having.
        """
        condition, values = "state IN ('queued', 'waiting')", list[object]()
        if ids:
            condition, values = condition + f" AND id IN ({', '.join('?' * len(ids))})", list(ids)
        if folder is not None:
            condition, values = condition + " AND folder = ?", [*values, names.to_text(folder)]

        def work(connection: Connection) -> int:
            return connection.execute(
                "UPDATE jobs SET state = 'cancelled', not_before = NULL, finished_at = ?, updated_at = ?,"
                f" message = 'cancelled by hand' WHERE {condition}",
                (now, now, *values),
            ).rowcount

        return self._db.write(work)

    def prune(self, before: float, still_there: Callable[[str, str], bool]) -> int:
        """Forget jobs that ended before ``before`` (Unix seconds), and return how many.

        The row of a file that still lies in its inbox is what keeps the file from being sent again, so the newest
        version is only forgotten when ``still_there(folder, path)`` says that the file is gone. The ledger's rows are
        kept: they are what was paid.
        """
        forgotten, after = 0, 0
        while True:
            rows = self._db.read(
                f"SELECT current, {COLUMNS} FROM jobs WHERE finished_at < ? AND id > ? AND tidy IS NULL"
                " ORDER BY id LIMIT ?",
                (before, after, PRUNE_BATCH),
            )
            if not rows:
                return forgotten
            jobs = [(bool(row[0]), job_of(row[1:])) for row in rows]
            after = jobs[-1][1].id
            gone = [(job.id,) for current, job in jobs if not current or not still_there(job.folder, job.path)]

            def forget(connection: Connection, gone: list[tuple[int]] = gone) -> None:
                connection.executemany("DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'running')", gone)

            self._db.write(forget)
            forgotten += len(gone)
