"""What becomes of a file that arrives: a new job, a newer version of a known one, or nothing to do."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from rembg_watch.jobs import names
from rembg_watch.jobs.model import How, Output, State, Version
from rembg_watch.jobs.outputs import record_output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from rembg_watch.jobs.model import Arrival

_NO_ANSWER = (None, None, None)
"""Of what bytes, in which temporary file, and since when an answer may be there."""

_SUPERSEDE = (
    "UPDATE jobs SET state = 'superseded', finished_at = ?, updated_at = ?, not_before = NULL, temp = NULL,"
    " api_sent_at = NULL, lease = NULL, lease_until = NULL,"
    " message = 'the file changed before its result was delivered' WHERE id = ?"
)


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
        "SELECT id, state, size, mtime_ns, fingerprint, result_hash, content_hash, temp, api_sent_at FROM jobs"
        " WHERE folder = ? AND dir = ? AND name = ? AND current = 1",
        where,
    ).fetchone()
    answer: Sequence[object] = _NO_ANSWER
    if known is not None:
        number, state, size, mtime_ns, fingerprint, paid, *sent = known
        is_open = state in (State.QUEUED, State.WAITING)
        if Version(size, mtime_ns) == arrival.version:
            if is_open and fingerprint != arrival.fingerprint:
                # What may have come of the options of before is no answer to these; a paid one stays as it is.
                connection.execute(
                    "UPDATE jobs SET fingerprint = ?, profile = ?, api_sent_at = NULL"
                    " WHERE id = ? AND result_hash IS NULL",
                    (arrival.fingerprint, arrival.profile, number),
                )
            return Accepted.KNOWN
        connection.execute("UPDATE jobs SET current = 0, tidy = NULL WHERE id = ?", (number,))
        if is_open and paid is None:  # what is paid for is delivered, before this one, or stands in its place already
            connection.execute(_SUPERSEDE, (now, now, number))
            # Where only the file's time changed, the answer to the same bytes still serves; the worker looks. With
            # other options it does not: then the worker takes its file for a copy that was cut short, and removes it.
            answer = sent if fingerprint == arrival.fingerprint else (*sent[:2], None)
    refusal = arrival.refusal
    state = State.FAILED if refusal else State.DONE if arrival.adopt else State.QUEUED
    cursor = connection.execute(
        "INSERT INTO jobs (folder, dir, name, size, mtime_ns, fingerprint, profile, state, priority, created_at,"
        " updated_at, finished_at, output, how, code, message, hint, tidy, content_hash, temp, api_sent_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(*where, arrival.version.size, arrival.version.mtime_ns, arrival.fingerprint, arrival.profile),
            *(state.value, arrival.priority),
            *(now, now, None if state is State.QUEUED else now),
            *(arrival.adopt and names.to_text(arrival.adopt), How.ADOPTED.value if arrival.adopt else None),
            *((refusal.code, refusal.message, refusal.hint) if refusal else (None, None, None)),
            arrival.tidy and arrival.tidy.value,
            *(answer if state is State.QUEUED else _NO_ANSWER),
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


def hand_on_answers(connection: Connection, now: float) -> None:
    """Let newer versions have what may have come of older ones that a dead process was sending.

    Where only the file's time changed meanwhile, that is the answer to the same bytes.
    """
    sent = connection.execute(
        "SELECT id, content_hash, temp, api_sent_at, folder, dir, name, fingerprint FROM jobs"
        " WHERE state = 'running' AND current = 0 AND api_sent_at IS NOT NULL AND result_hash IS NULL"
    ).fetchall()
    for number, *answer_and_where in sent:
        newer = connection.execute(
            "UPDATE jobs SET content_hash = ?, temp = ?, api_sent_at = ? WHERE folder = ? AND dir = ? AND name = ?"
            " AND fingerprint = ? AND current = 1 AND state IN ('queued', 'waiting') AND temp IS NULL",
            answer_and_where,
        )
        if newer.rowcount:
            connection.execute(_SUPERSEDE, (now, now, number))
