"""The delivered files: the source of each, and which of them has a result that can be used again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rembg_watch.jobs.model import Key, Output
from rembg_watch.jobs.names import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from sqlite3 import Connection

    from rembg_watch.jobs.database import Database

_COLUMNS = "path, job_id, folder, source, content_hash, fingerprint, hash, size, created_at"


def record_outputs(connection: Connection, outputs: Sequence[Output]) -> None:
    """Insert delivered files, and replace what was known of their paths."""
    rows = [
        (
            *(to_text(one.path), one.job_id, to_text(one.folder), to_text(one.source)),
            *(one.content_hash, one.fingerprint, one.hash, one.size, one.created_at),
        )
        for one in outputs
    ]
    values = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(9))
    connection.execute(
        f"INSERT OR REPLACE INTO outputs ({_COLUMNS}) SELECT {values} FROM json_each(?)", (json.dumps(rows),)
    )


class Outputs:
    """Queries on the delivered files."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def at(self, paths: Collection[str]) -> dict[str, Output]:
        """Return what is known of the files at these absolute paths, by path."""
        rows = self._db.read(
            f"SELECT {_COLUMNS} FROM outputs WHERE path IN (SELECT value FROM json_each(?))",
            (json.dumps([to_text(path) for path in paths]),),
        )
        return {output.path: output for output in map(_output, rows)}

    def of(self, folder: str, source: str) -> list[Output]:
        """Return the outputs of one source, the newest first."""
        rows = self._db.read(
            f"SELECT {_COLUMNS} FROM outputs WHERE folder = ? AND source = ? ORDER BY rowid DESC",
            (to_text(folder), to_text(source)),
        )
        return [_output(row) for row in rows]

    def with_keys(self, keys: Sequence[Key]) -> dict[Key, list[Output]]:
        """Return the files with the results of these pictures and options, the newest first; at most 20 for each."""
        columns = ", ".join(f"outputs.{column}" for column in _COLUMNS.split(", "))
        rows = self._db.read(
            f"SELECT {columns} FROM json_each(?) CROSS JOIN outputs ON outputs.rowid IN ("
            " SELECT rowid FROM outputs AS of WHERE of.content_hash = json_extract(value, '$[0]')"
            " AND of.fingerprint = json_extract(value, '$[1]') ORDER BY rowid DESC LIMIT 20)"
            " ORDER BY outputs.rowid DESC",
            (json.dumps(keys),),
        )
        found: dict[Key, list[Output]] = {key: [] for key in keys}
        for output in map(_output, rows):
            found[Key(output.content_hash or "", output.fingerprint)].append(output)
        return found


def _output(row: tuple[object, ...]) -> Output:
    path, job_id, folder, source, *rest = row
    return Output(from_text(str(path)), job_id, from_text(str(folder)), from_text(str(source)), *rest)  # type: ignore[arg-type]
