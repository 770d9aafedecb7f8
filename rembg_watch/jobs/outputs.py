"""What was delivered, whose it is, and which result can serve again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_watch.jobs.model import Output
from rembg_watch.jobs.names import from_text, to_text

if TYPE_CHECKING:
    from sqlite3 import Connection

    from rembg_watch.jobs.database import Database

_COLUMNS = "path, job_id, folder, source, content_hash, fingerprint, hash, size, created_at"


def record_output(connection: Connection, output: Output) -> None:
    """Write down a delivered file in the place of what was known of that path."""
    connection.execute(
        f"INSERT OR REPLACE INTO outputs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(to_text(output.path), output.job_id, to_text(output.folder), to_text(output.source)),
            *(output.content_hash, output.fingerprint, output.hash, output.size, output.created_at),
        ),
    )


class Outputs:
    """The questions that are asked of the delivered files."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def at(self, *paths: str) -> dict[str, Output]:
        """Give what we know of the files at these absolute paths: those that we know of, by path."""
        marks = ", ".join("?" * len(paths))
        rows = self._db.read(f"SELECT {_COLUMNS} FROM outputs WHERE path IN ({marks})", tuple(map(to_text, paths)))
        return {output.path: output for output in map(_output, rows)}

    def of(self, folder: str, source: str) -> list[Output]:
        """Give the outputs of one source, newest first."""
        rows = self._db.read(
            f"SELECT {_COLUMNS} FROM outputs WHERE folder = ? AND source = ? ORDER BY rowid DESC",
            (to_text(folder), to_text(source)),
        )
        return [_output(row) for row in rows]

    def with_content(self, content_hash: str, fingerprint: str) -> list[Output]:
        """Give the results of the same bytes with the same options, newest first; at most 20.

        Behind them come paid answers that wait for their delivery, as for room in their outbox, with where they stand:
        those of queued jobs, and of jobs that were claimed to be delivered.
        """
        kept = (
            " UNION ALL SELECT temp, id, folder, iif(dir = '', name, dir || '/' || name), content_hash, fingerprint,"
            " result_hash, result_size, updated_at FROM jobs INDEXED BY {} WHERE state = '{}'"
            " AND result_hash IS NOT NULL AND content_hash = ? AND fingerprint = ? AND temp IS NOT NULL"
        )
        waiting = kept.format("jobs_kept", "queued") + kept.format("jobs_state", "running")
        rows = self._db.read(
            f"SELECT * FROM (SELECT {_COLUMNS} FROM outputs WHERE content_hash = ? AND fingerprint = ?"
            f" ORDER BY rowid DESC LIMIT 20){waiting}",
            (content_hash, fingerprint) * 3,
        )
        return [_output(row) for row in rows]


def _output(row: tuple[object, ...]) -> Output:
    path, job_id, folder, source, *rest = row
    return Output(from_text(str(path)), job_id, from_text(str(folder)), from_text(str(source)), *rest)  # type: ignore[arg-type]
