"""What the running daemon publishes for other processes: holds, files that are not jobs yet, and single facts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rembg_watch.jobs.model import Hold, Unready
from rembg_watch.jobs.names import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from rembg_watch.jobs.database import Database

PAUSE = ("all", "pause")
"""Scope and kind of the hold that ``rembg-watch pause`` sets."""
TOO_MANY = "too-many"
"""The kind of the hold on an inbox with more new photos than ``hold_above``; ``resume --folder`` ends it."""
COMMAND_KINDS = (PAUSE[1], TOO_MANY)
"""The kinds of the holds that commands end: the daemon reads them, and never deletes them."""


class StatusTable:
    """Reads and writes what ``status`` shows."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def holds(self) -> list[Hold]:
        """Return all holds, the oldest first."""
        rows = self._db.read("SELECT scope, kind, message, release, since, next_check FROM holds ORDER BY since")
        return [Hold(from_text(scope), *rest) for scope, *rest in rows]

    def hold(self, hold: Hold) -> None:
        """Set a hold, or renew its text and next check; ``since`` of one that is set is kept."""
        self._db.write(lambda connection: _hold(connection, hold))

    def publish_holds(self, holds: Sequence[Hold]) -> None:
        """Replace all holds but those that commands end: one that was just resumed must not come back."""

        def work(connection: Connection) -> None:
            connection.execute("DELETE FROM holds WHERE kind NOT IN (?, ?)", COMMAND_KINDS)
            for hold in holds:
                if hold.kind not in COMMAND_KINDS:
                    _hold(connection, hold)

        self._db.write(work)

    def release(self, scope: str, kind: str) -> bool:
        """Delete a hold; return False where there was none."""
        return self._db.write(
            lambda connection: (
                connection.execute("DELETE FROM holds WHERE scope = ? AND kind = ?", (to_text(scope), kind)).rowcount
                > 0
            )
        )

    def unready(self) -> list[Unready]:
        """Return the files that are not jobs (yet), the oldest first."""
        rows = self._db.read("SELECT folder, path, state, reason, since FROM unready ORDER BY since, path")
        return [Unready(from_text(folder), from_text(path), *rest) for folder, path, *rest in rows]

    def publish_unready(self, files: Sequence[Unready]) -> None:
        """Replace the list of files that are not jobs (yet)."""

        def work(connection: Connection) -> None:
            connection.execute("DELETE FROM unready")
            connection.executemany(
                "INSERT OR REPLACE INTO unready VALUES (?, ?, ?, ?, ?)",
                [(to_text(f.folder), to_text(f.path), f.state, f.reason, f.since) for f in files],
            )

        self._db.write(work)

    def fact(self, key: str) -> Any | None:
        """Return one fact, as it was stored, or None."""
        rows = self._db.read("SELECT value FROM facts WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def set_fact(self, key: str, value: object, now: float) -> None:
        """Store one fact; anything that JSON can hold."""
        self._db.write(lambda connection: _set_fact(connection, key, value, now))


def _set_fact(connection: Connection, key: str, value: object, now: float) -> None:
    connection.execute(
        "INSERT INTO facts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value,"
        " updated_at = excluded.updated_at",
        (key, json.dumps(value), now),
    )


def _hold(connection: Connection, hold: Hold) -> None:
    connection.execute(
        "INSERT INTO holds (scope, kind, message, release, since, next_check) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET message = excluded.message, release = excluded.release,"
        " next_check = excluded.next_check",
        (to_text(hold.scope), hold.kind, hold.message, hold.release, hold.since, hold.next_check),
    )
