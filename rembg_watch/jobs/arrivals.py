"""What becomes of a file that arrives: a new job, a newer version of a known one, or nothing to do."""

from __future__ import annotations

from dataclasses import astuple
from enum import StrEnum
from typing import TYPE_CHECKING

from rembg_watch.jobs import names
from rembg_watch.jobs.model import How, Output, State
from rembg_watch.jobs.outputs import record_output

if TYPE_CHECKING:
    from sqlite3 import Connection

    from rembg_watch.jobs.model import Arrival


class Accepted(StrEnum):
    """What became of an arrival."""

    NEW = "new"
    CHANGED = "changed"
    """The file was known; this is a newer version of it."""
    KNOWN = "known"
    REFUSED = "refused"
    ADOPTED = "adopted"


def accept(connection: Connection, arrival: Arrival, now: float) -> Accepted:
    where = (names.to_text(arrival.folder), *names.split(arrival.path))
    known = connection.execute(
        "SELECT id, state, size, mtime_ns, fingerprint FROM jobs"
        " WHERE folder = ? AND dir = ? AND name = ? AND current = 1",
        where,
    ).fetchone()
    if known is not None:
        number, state, *version, fingerprint = known
        if tuple(version) == astuple(arrival.version):
            if state in (State.QUEUED, State.WAITING) and fingerprint != arrival.fingerprint:
                connection.execute(
                    "UPDATE jobs SET fingerprint = ?, profile = ? WHERE id = ?",
                    (arrival.fingerprint, arrival.profile, number),
                )
            return Accepted.KNOWN
        connection.execute("UPDATE jobs SET current = 0, tidy = NULL WHERE id = ?", (number,))
        connection.execute(
            "UPDATE jobs SET state = 'superseded', finished_at = ?, updated_at = ?, not_before = NULL,"
            " message = 'the file changed before it was sent' WHERE id = ? AND state IN ('queued', 'waiting')",
            (now, now, number),
        )
    refusal = arrival.refusal
    state = State.FAILED if refusal else State.DONE if arrival.adopt else State.QUEUED
    cursor = connection.execute(
        "INSERT INTO jobs (folder, dir, name, size, mtime_ns, fingerprint, profile, state, priority, created_at,"
        " updated_at, finished_at, output, how, code, message, hint, tidy)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(*where, *astuple(arrival.version), arrival.fingerprint, arrival.profile, state.value, arrival.priority),
            *(now, now, None if state is State.QUEUED else now),
            *(arrival.adopt and names.to_text(arrival.adopt), How.ADOPTED.value if arrival.adopt else None),
            *((refusal.code, refusal.message, refusal.hint) if refusal else (None, None, None)),
            arrival.tidy and arrival.tidy.value,
        ),
    )
    if refusal:
        return Accepted.REFUSED
    if arrival.adopt:
        assert cursor.lastrowid is not None
        record_output(
            connection,
            # Without hashes: it may stand for its own source, but it is never copied for another one.
            Output(
                arrival.adopt, cursor.lastrowid, arrival.folder, arrival.path, None, arrival.fingerprint, "", 0, now
            ),
        )
        return Accepted.ADOPTED
    return Accepted.NEW if known is None else Accepted.CHANGED
