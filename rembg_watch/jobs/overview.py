"""The sums that a picture of the whole queue is made of. Reading only; all of them stay fast with a million jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_watch.jobs.model import State
from rembg_watch.jobs.names import from_text
from rembg_watch.jobs.rows import COLUMNS, job_of

if TYPE_CHECKING:
    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.model import Job


class Overview:
    """Counts over the job table. Times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def folders(self) -> list[str]:
        """Give the inboxes that have jobs. One step of the index for each, however many jobs they have."""
        found: set[str] = set()
        for state in State:
            last = ""
            while True:
                sql = "SELECT min(folder) FROM jobs INDEXED BY jobs_state WHERE state = ? AND folder > ?"
                (after,) = self._db.read(sql, (state.value, last))[0]
                if after is None:
                    break
                last = after
                found.add(from_text(after))
        return sorted(found)

    def queued(self) -> dict[tuple[str, str], int]:
        """Count the queued jobs by (folder, fingerprint of the options)."""
        rows = self._db.read(
            "SELECT folder, fingerprint, count(*) FROM jobs WHERE state = 'queued' GROUP BY folder, fingerprint"
        )
        return {(from_text(folder), fingerprint): count for folder, fingerprint, count in rows}

    def waiting(self) -> dict[tuple[str, str], int]:
        """Count the waiting jobs by (folder, fingerprint of the options)."""
        rows = self._db.read(
            "SELECT folder, fingerprint, count(*) FROM jobs WHERE state = 'waiting' GROUP BY folder, fingerprint"
        )
        return {(from_text(folder), fingerprint): count for folder, fingerprint, count in rows}

    def done_since(self, since: float) -> int:
        """Count the jobs that were done since then with a result of their own or a copied one."""
        rows = self._db.read(
            "SELECT count(*) FROM jobs WHERE finished_at >= ? AND +state = 'done' AND how <> 'adopted'", (since,)
        )
        return int(rows[0][0])

    def last_failures(self, limit: int) -> list[Job]:
        """Give the jobs that failed last, the latest first."""
        rows = self._db.read(
            f"SELECT {COLUMNS} FROM jobs WHERE state = 'failed' ORDER BY +finished_at DESC, id DESC LIMIT ?", (limit,)
        )
        return [job_of(row) for row in rows]

    def spent_by_folder(self, since: float) -> dict[str, int]:
        """Count the images that were or may have been charged since then, by folder."""
        rows = self._db.read(
            "SELECT folder, count(*) FROM attempts WHERE sent_at >= ? AND charge <> 'not charged' GROUP BY folder",
            (since,),
        )
        return {from_text(folder): count for folder, count in rows}
