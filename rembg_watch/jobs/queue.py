"""The job queue: what comes in, what may be sent next, and each step of a job until its source is put away.

One process owns the queue (jobs/lock.py). So a claim needs no row of its own: it lives in that process's memory, and
the first write is ``mark_sent``. Every later step asks for the state that it follows, so a step that comes too late
changes nothing and reports that.

Order of the writes of one photo, each committed before the next step begins:

1. ``mark_sent``: what is sent, and where the result will go, before the first byte goes out.
2. ``mark_received``: the verified answer is on the disk, before it gets its final name.
3. ``mark_done``: the output and its folder are on the disk, before the source is put away.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rembg_watch.jobs import names
from rembg_watch.jobs.ledger import AttemptEnd, begin_attempts, end_attempts
from rembg_watch.jobs.model import COLUMNS, Arrival, How, Job, Key, Output, State, Tidy, Version
from rembg_watch.jobs.outputs import record_outputs
from rembg_watch.jobs.schema import BUSY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from sqlite3 import Connection

    from rembg_watch.jobs.database import Database

LONGEST_WAIT = 86_400.0
"""Seconds; the largest ``retry.max_delay``."""
_UNSENT = "(state = 'queued' OR state = 'waiting')"
_SENDABLE = f"(current = 1 AND {_UNSENT} AND fingerprint = json_extract(value, '$[1]'))"
"""Neither cancelled nor replaced, and still with the options that the photo was prepared with."""
_NO_OLDER_BUSY = (
    f" AND NOT EXISTS (SELECT 1 FROM jobs AS other INDEXED BY jobs_busy WHERE {BUSY.replace('state', 'other.state')}"
    " AND other.folder = jobs.folder AND other.dir = jobs.dir AND other.name = jobs.name)"
)
"""A newer version waits until the answer to the older one is delivered: the older one must not arrive last."""
_TIDY = "tidy = iif(current, ?, NULL)"
"""The source of an older version is gone: the file with its name is another one, and must not be moved or deleted."""


class Accepted(StrEnum):
    """What became of an arrival."""

    NEW = "new"
    CHANGED = "changed"
    """The file was known; this is a newer version of it."""
    KNOWN = "known"
    REFUSED = "refused"
    ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class Sending:
    """A photo that is about to be sent: its key, its size in pixels, and the path of its output."""

    job: Job
    key: Key
    width: int
    height: int
    output: str


@dataclass(frozen=True, slots=True)
class Received:
    """A verified answer. ``attempt`` and ``end`` are None for a result that was not sent for."""

    job: Job
    key: Key
    output: str
    result_hash: str
    result_size: int
    how: How
    attempt: int | None = None
    end: AttemptEnd | None = None


class Queue:
    """The job table. Safe for threads; each method is one transaction; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def _jobs(self, tail: str, values: Sequence[object] = ()) -> list[Job]:
        # As one value: sqlite3 gives up the interpreter's lock for every row and column that it reads.
        sql = f"SELECT json_group_array(json(one)) FROM (SELECT json_array({COLUMNS}) AS one FROM jobs {tail})"
        return [Job.from_row(row) for row in json.loads(self._db.read(sql, values)[0][0])]

    # -- what comes in

    def known_versions(self, folder: str, directory: str) -> dict[str, Version]:
        """Return the known versions of the files directly in one folder of an inbox, by name."""
        rows = self._db.read(
            "SELECT name, size, mtime_ns FROM jobs WHERE folder = ? AND dir = ? AND current = 1",
            (names.to_text(folder), names.to_text(directory)),
        )
        return {names.from_text(name): Version(size, mtime_ns) for name, size, mtime_ns in rows}

    def known_version(self, folder: str, path: str) -> Version | None:
        """Return the known version of one file, or None; cheap in a folder of a million files, too."""
        rows = self._db.read(
            "SELECT size, mtime_ns FROM jobs WHERE folder = ? AND dir = ? AND name = ? AND current = 1",
            (names.to_text(folder), *names.split(path)),
        )
        return Version(*rows[0]) if rows else None

    def enqueue(self, arrivals: Sequence[Arrival], now: float) -> list[Accepted]:
        """Queue finished files. The same version of a file never makes a second row; a newer one replaces it."""

        def work(connection: Connection) -> list[Accepted]:
            if len({(arrival.folder, arrival.path) for arrival in arrivals}) == len(arrivals):
                return _accept(connection, arrivals, now)
            return [found for arrival in arrivals for found in _accept(connection, [arrival], now)]

        return self._db.write(work)

    # -- what may be sent

    def ready(
        self, folder: str, fingerprints: Collection[str], now: float, limit: int, at_hand: Collection[int] = ()
    ) -> list[Job]:
        """Return up to ``limit`` jobs of one inbox that are due, the oldest first, and change nothing.

        Left out are jobs ``at_hand``, and newer versions of a file with an older one that is sent or to be delivered.
        """
        found: list[Job] = []
        skip = json.dumps(list(at_hand))
        for fingerprint in fingerprints:
            for index, due in (
                ("jobs_ready", "state = 'queued'"),
                ("jobs_waiting", "state = 'waiting' AND not_before <= ?"),
            ):
                order = "id" if index == "jobs_ready" else "not_before"
                found += self._jobs(
                    f"INDEXED BY {index} WHERE folder = ? AND fingerprint = ? AND {due}"
                    f" AND id NOT IN (SELECT value FROM json_each(?)){_NO_OLDER_BUSY} ORDER BY {order} LIMIT ?",
                    (names.to_text(folder), fingerprint, *([now] if index == "jobs_waiting" else []), skip, limit),
                )
        return sorted(found, key=lambda job: job.id)[:limit]

    def received(self, folders: Collection[str], now: float, limit: int, at_hand: Collection[int] = ()) -> list[Job]:
        """Return up to ``limit`` jobs of these inboxes whose paid answer is to be delivered, the oldest first."""
        return self._jobs(
            "INDEXED BY jobs_state WHERE state = 'received'"
            " AND folder IN (SELECT value FROM json_each(?)) AND coalesce(not_before, 0) <= ?"
            " AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?",
            (json.dumps([names.to_text(folder) for folder in folders]), now, json.dumps(list(at_hand)), limit),
        )

    def next_received(self, folders: Collection[str], now: float) -> float | None:
        """Return when the next paid answer of these inboxes that was put off is to be delivered, or None."""
        rows = self._db.read(
            "SELECT min(not_before) FROM jobs INDEXED BY jobs_state WHERE state = 'received'"
            " AND folder IN (SELECT value FROM json_each(?)) AND not_before > ?",
            (json.dumps([names.to_text(folder) for folder in folders]), now),
        )
        return None if rows[0][0] is None else float(rows[0][0])

    def next_due(self) -> float | None:
        """Return the time at which the next waiting job is due, or None."""
        rows = self._db.read(
            "SELECT min(due) FROM (SELECT min(not_before) AS due FROM jobs INDEXED BY jobs_due"
            " WHERE state = 'waiting' UNION ALL SELECT min(not_before) FROM jobs INDEXED BY jobs_state"
            " WHERE state = 'received')"
        )
        return None if rows[0][0] is None else float(rows[0][0])

    def open_count(
        self, folders: Collection[str] | None = None, *, held_profiles: Collection[str] = (), able: bool = False
    ) -> int:
        """Count the open jobs of these inboxes, or of all: they go on without help.

        ``able`` leaves out those that wait for something outside, such as a file that can't be read.
        """
        where, values = "", list[object]()
        if folders is not None:
            where += " AND folder IN (SELECT value FROM json_each(?))"
            values.append(json.dumps([names.to_text(folder) for folder in folders]))
        if held_profiles:
            where += " AND (state = 'received' OR fingerprint NOT IN (SELECT value FROM json_each(?)))"
            values.append(json.dumps(list(held_profiles)))
        if able:
            where += " AND coalesce(code, '') NOT IN ('unreadable', 'internal', 'place')"
        rows = self._db.read(
            f"SELECT count(*) FROM jobs WHERE state IN ('queued', 'running', 'waiting', 'received'){where}", values
        )
        return int(rows[0][0])

    def refresh_profiles(self, profile_of: Callable[[str, str], tuple[str, str] | None]) -> None:
        """Set the options of every unsent job to those that the config has for it now.

        ``profile_of`` returns the fingerprint and the profile's name for an inbox and a path in it, or None for an
        inbox that the config does not have.
        """
        lanes = self._db.read(f"SELECT DISTINCT folder, dir, fingerprint, profile FROM jobs WHERE {_UNSENT}")
        changes = []
        for folder, directory, fingerprint, profile in lanes:
            wanted = profile_of(names.from_text(folder), names.join(directory, "any"))
            if wanted is not None and wanted != (fingerprint, profile):
                changes.append((*wanted, folder, directory, fingerprint, profile))
        if changes:
            self._db.write(
                lambda connection: connection.executemany(
                    "UPDATE jobs SET fingerprint = ?, profile = ? WHERE folder = ? AND dir = ? AND fingerprint = ?"
                    f" AND profile = ? AND {_UNSENT}",
                    changes,
                )
            )

    def needed_results(self) -> set[str]:
        """Return the keys, as text, of the answers that open jobs need."""
        rows = self._db.read(
            f"SELECT content_hash || '-' || fingerprint FROM jobs INDEXED BY jobs_busy WHERE {BUSY}"
            " AND content_hash IS NOT NULL"
        )
        return {key for (key,) in rows}

    # -- the steps of a job

    def mark_sent(self, photos: Sequence[Sending], now: float, wall: float) -> list[int | None]:
        """Commit, before their bodies go out, what is sent and where the results will go.

        Return the number of each attempt, or None where the job may not be sent any more: it was cancelled, replaced
        by a newer version, or given other options.
        """

        def work(connection: Connection) -> list[int | None]:
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()
            sent = [(photo.job, photo.key, last + place) for place, photo in enumerate(photos, 1)]
            rows = [_sent_row(photo, number) for photo, (_, _, number) in zip(photos, sent, strict=True)]
            marked = {photo.job.id for photo in photos}
            if connection.execute(_MARK_SENT, (wall, now, json.dumps(rows))).rowcount < len(rows):
                found = connection.execute(
                    "SELECT id FROM jobs WHERE attempt > ? AND id IN (SELECT value FROM json_each(?))",
                    (last, json.dumps(list(marked))),
                )
                marked = {number for (number,) in found}
            begin_attempts(connection, [each for each in sent if each[0].id in marked], wall)
            return [number if job.id in marked else None for job, _, number in sent]

        return self._db.write(work)

    def mark_received(self, answers: Sequence[Received], now: float) -> list[bool]:
        """Commit that verified answers are on the disk: they are never sent for again.

        Return False where a result that was not sent for is not wanted any more: its job was cancelled, replaced by a
        newer version, or given other options.
        """

        def work(connection: Connection) -> list[bool]:
            end_attempts(
                connection,
                [(one.attempt, one.end) for one in answers if one.attempt is not None and one.end is not None],
                now,
            )
            numbers = [one.job.id for one in answers]
            rows = json.dumps([_received_row(one) for one in answers])
            if connection.execute(_MARK_RECEIVED, (now, rows)).rowcount == len(answers):
                return [True] * len(answers)
            found = connection.execute(
                "SELECT id FROM jobs WHERE state = 'received' AND id IN (SELECT value FROM json_each(?))",
                (json.dumps(numbers),),
            )
            marked = {number for (number,) in found}
            return [number in marked for number in numbers]

        return self._db.write(work)

    def mark_done(self, done: Sequence[tuple[Job, Output, How, Tidy | None]], now: float) -> None:
        """Commit that outputs are in their places. ``Tidy`` says what is left to do with the source.

        Only a job that is marked as received, or sent, can become done.
        """

        def work(connection: Connection) -> None:
            rows = [_done_row(job, output, how, tidy) for job, output, how, tidy in done]
            connection.execute(_MARK_DONE, (now, now, json.dumps(rows)))
            record_outputs(connection, [output for _, output, _, _ in done])

        self._db.write(work)

    def end(
        self,
        job: Job,
        state: State,
        now: float,
        *,
        code: str | None = None,
        message: str | None = None,
        hint: str | None = None,
        counted: bool = False,
        not_before: float | None = None,
        tidy: Tidy | None = None,
        attempt: tuple[int, AttemptEnd] | None = None,
        forget: bool = False,
    ) -> bool:
        """Commit that a job goes on without an answer: queued, waiting, failed, or superseded.

        A job that was replaced by a newer version is not sent again: it is superseded instead of queued or waiting.
        ``counted`` adds one to the attempts that ``retry.max_attempts`` limits; ``not_before`` goes with waiting.
        ``forget``: the file as it was is gone; should exactly it come back, it is a new job. Return False where the
        job is not open any more.
        """
        again = state in (State.QUEUED, State.WAITING)

        def work(connection: Connection) -> bool:
            if attempt is not None:
                end_attempts(connection, [attempt], now)
            return _update(
                connection,
                "state = iif(? AND NOT current, 'superseded', ?), finished_at = iif(? AND current, NULL, ?),"
                " attempts = attempts + ?, not_before = ?, code = ?, message = ?, hint = ?, result_hash = NULL,"
                f" result_size = NULL, how = NULL, crashes = 0, {_TIDY}, updated_at = ?"
                + (", current = 0" if forget else ""),
                "id = ? AND state IN ('queued', 'waiting', 'running', 'received')",
                (
                    *(again, state.value, again, now, int(counted), not_before, code, message, hint),
                    *(tidy and tidy.value, now, job.id),
                ),
            )

        return self._db.write(work)

    def put_off(self, job: Job, not_before: float | None, code: str, message: str, hint: str, now: float) -> None:
        """Commit why a paid answer can't be delivered yet, and when that is tried again."""
        self._db.write(
            lambda connection: _update(
                connection,
                "not_before = ?, code = ?, message = ?, hint = ?, updated_at = ?",
                "id = ? AND state = 'received'",
                (not_before, code, message, hint, now, job.id),
            )
        )

    # -- the source, after the end

    def untidy(self, folders: Collection[str], after: int = 0, limit: int = 100) -> list[Job]:
        """Return ended jobs of these inboxes whose source is to be put away, with numbers above ``after``."""
        return self._jobs(
            "INDEXED BY jobs_untidy WHERE tidy IS NOT NULL"
            " AND folder IN (SELECT value FROM json_each(?)) AND id > ? ORDER BY id LIMIT ?",
            (json.dumps([names.to_text(folder) for folder in folders]), after, limit),
        )

    def tidied(self, job: Job) -> None:
        """Commit that the job's source has left the inbox: should the same file come back, it is a new job.

        A job that was queued again by hand stays the current version; the attempt to read it ends it.
        """
        self._db.write(
            lambda connection: _update(connection, "tidy = NULL, current = 0", "id = ? AND tidy IS NOT NULL", (job.id,))
        )

    def leave_source(self, job: Job) -> None:
        """Commit that the job's source stays in the inbox after all."""
        self._db.write(lambda connection: _update(connection, "tidy = NULL", "id = ?", (job.id,)))

    # -- the start

    def running(self) -> list[Job]:
        """Return the jobs that are sent and have no answer; at a start, those that the process before had sent."""
        return self._jobs("WHERE state = 'running' ORDER BY id")

    def forget_crashes(self) -> None:
        """Commit that unsent jobs were not at hand in the last crash: theirs were not in a row."""
        self._db.write(
            lambda connection: connection.execute(f"UPDATE jobs SET crashes = 0 WHERE {_UNSENT} AND crashes > 0")
        )

    def count_crash(self, job: Job) -> None:
        """Commit that the process has crashed once more while this job was at hand."""
        self._db.write(lambda connection: _update(connection, "crashes = crashes + 1", "id = ?", (job.id,)))

    def requeue_interrupted(self, job: Job, now: float, crashes: int) -> None:
        """Queue an interrupted job again; a version that was replaced meanwhile is superseded. Its attempt ends.

        ``crashes``: how often in a row the process crashed while the job was at hand.
        """

        def work(connection: Connection) -> None:
            if job.attempt is not None:
                connection.execute(
                    "UPDATE attempts SET ended_at = ?, code = 'interrupted', counted = 1, message = ? WHERE id = ?"
                    " AND ended_at IS NULL",
                    (now, "rembg-watch ended before the answer came", job.attempt),
                )
            connection.execute(
                "UPDATE jobs SET state = iif(current, 'queued', 'superseded'), finished_at = iif(current, NULL, ?),"
                " crashes = ?, updated_at = ? WHERE id = ? AND state = 'running'",
                (now, crashes, now, job.id),
            )

        self._db.write(work)

    def mend_waiting(self, now: float) -> None:
        """Correct times of a clock that was set back since: no job and no answer waits longer than it was meant to."""
        self._db.write(
            lambda connection: connection.execute(
                "UPDATE jobs SET not_before = min(? + (not_before - updated_at), ?), updated_at = ?"
                " WHERE state IN ('waiting', 'received') AND (updated_at > ? OR not_before > ?)",
                (now, now + LONGEST_WAIT, now, now, now + LONGEST_WAIT),
            )
        )


def _update(connection: Connection, assignments: str, condition: str, values: tuple[object, ...]) -> bool:
    return connection.execute(f"UPDATE jobs SET {assignments} WHERE {condition}", values).rowcount == 1


# One statement for a whole batch: each statement gives up the interpreter's lock, which costs more than its own work.
# NOT INDEXED leaves the planner one way: from each row of the batch to the job by its number.

_MARK_SENT = f"""
    UPDATE jobs NOT INDEXED SET state = 'running', api_sent_at = ?, updated_at = ?, result_hash = NULL,
        result_size = NULL, not_before = NULL, code = NULL, message = NULL, hint = NULL,
        content_hash = json_extract(value, '$[2]'), width = json_extract(value, '$[3]'),
        height = json_extract(value, '$[4]'), output = json_extract(value, '$[5]'),
        attempt = json_extract(value, '$[6]')
    FROM json_each(?)
    WHERE jobs.id = json_extract(value, '$[0]') AND {_SENDABLE}"""


def _sent_row(photo: Sending, attempt: int) -> tuple[object, ...]:
    return (
        *(photo.job.id, photo.key.fingerprint, photo.key.content, photo.width, photo.height),
        *(names.to_text(photo.output), attempt),
    )


_MARK_RECEIVED = f"""
    UPDATE jobs NOT INDEXED SET state = 'received', updated_at = ?, not_before = NULL, crashes = 0, code = NULL,
        message = NULL, hint = NULL, content_hash = json_extract(value, '$[3]'),
        output = json_extract(value, '$[4]'), result_hash = json_extract(value, '$[5]'),
        result_size = json_extract(value, '$[6]'), how = json_extract(value, '$[7]')
    FROM json_each(?)
    WHERE jobs.id = json_extract(value, '$[0]') AND ({BUSY} OR (json_extract(value, '$[2]') AND {_SENDABLE}))"""


def _received_row(answer: Received) -> tuple[object, ...]:
    is_reused = answer.attempt is None  # only such a job may still be unsent
    return (
        *(answer.job.id, answer.key.fingerprint, int(is_reused), answer.key.content, names.to_text(answer.output)),
        *(answer.result_hash, answer.result_size, answer.how.value),
    )


_MARK_DONE = f"""
    UPDATE jobs NOT INDEXED SET state = 'done', finished_at = ?, updated_at = ?, code = NULL, message = NULL,
        hint = NULL, not_before = NULL, forced = 0, crashes = 0, how = json_extract(value, '$[1]'),
        content_hash = json_extract(value, '$[2]'), output = json_extract(value, '$[3]'),
        tidy = iif(current, json_extract(value, '$[4]'), NULL)
    FROM json_each(?)
    WHERE jobs.id = json_extract(value, '$[0]') AND {BUSY}"""


def _done_row(job: Job, output: Output, how: How, tidy: Tidy | None) -> tuple[object, ...]:
    return (job.id, how.value, output.content_hash, names.to_text(output.path), tidy and tidy.value)


def _place(arrival: Arrival) -> tuple[str, str, str]:
    return (names.to_text(arrival.folder), *names.split(arrival.path))


def _accept(connection: Connection, arrivals: Sequence[Arrival], now: float) -> list[Accepted]:
    """Queue arrivals of different files."""
    rows = connection.execute(
        "SELECT folder, dir, name, jobs.id, state, size, mtime_ns, fingerprint FROM json_each(?) CROSS JOIN jobs"
        " ON folder = json_extract(value, '$[0]') AND dir = json_extract(value, '$[1]')"
        " AND name = json_extract(value, '$[2]') AND current = 1",
        (json.dumps([_place(arrival) for arrival in arrivals]),),
    )
    known = {tuple(row[:3]): row[3:] for row in rows}
    found = [_replace(connection, known.get(_place(arrival)), arrival, now) for arrival in arrivals]
    new = [arrival for arrival, accepted in zip(arrivals, found, strict=True) if accepted is not Accepted.KNOWN]
    connection.execute(_INSERT, (now, now, json.dumps([_new_row(arrival, now) for arrival in new])))
    record_outputs(connection, [_adopted(connection, arrival, now) for arrival in new if arrival.adopt])
    return found


def _replace(
    connection: Connection, known: tuple[int, str, int, int, str] | None, arrival: Arrival, now: float
) -> Accepted:
    """Replace the version that an arrival makes old; return what becomes of the arrival."""
    if known is not None:
        number, state, size, mtime_ns, fingerprint = known
        is_unsent = state in (State.QUEUED, State.WAITING)
        if Version(size, mtime_ns) == arrival.version:
            if is_unsent and fingerprint != arrival.fingerprint:
                _update(
                    connection,
                    "fingerprint = ?, profile = ?",
                    "id = ?",
                    (arrival.fingerprint, arrival.profile, number),
                )
            return Accepted.KNOWN
        _update(connection, "current = 0, tidy = NULL", "id = ?", (number,))
        if is_unsent:  # what was sent goes on to its delivery, before the newer version
            _update(
                connection,
                "state = 'superseded', finished_at = ?, updated_at = ?, not_before = NULL, code = 'changed',"
                " message = 'the file changed before it was sent', hint = NULL",
                "id = ?",
                (now, now, number),
            )
    if arrival.refusal:
        return Accepted.REFUSED
    if arrival.adopt:
        return Accepted.ADOPTED
    return Accepted.NEW if known is None else Accepted.CHANGED


_INSERT_COLUMNS = (
    "folder, dir, name, size, mtime_ns, fingerprint, profile, priority, state, finished_at, output, how, code, message,"
    " hint, tidy"
)
_INSERT_VALUES = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(16))
_INSERT = (
    f"INSERT INTO jobs (created_at, updated_at, {_INSERT_COLUMNS}) SELECT ?, ?, {_INSERT_VALUES} FROM json_each(?)"
)


def _new_row(arrival: Arrival, now: float) -> tuple[object, ...]:
    refusal = arrival.refusal
    state = State.FAILED if refusal else State.DONE if arrival.adopt else State.QUEUED
    return (
        *(*_place(arrival), arrival.version.size, arrival.version.mtime_ns, arrival.fingerprint, arrival.profile),
        *(arrival.priority, state.value, None if state is State.QUEUED else now),
        *(arrival.adopt and names.to_text(arrival.adopt), How.ADOPTED.value if arrival.adopt else None),
        *((refusal.code, refusal.message, refusal.hint) if refusal else (None, None, None)),
        arrival.tidy and arrival.tidy.value,
    )


def _adopted(connection: Connection, arrival: Arrival, now: float) -> Output:
    assert arrival.adopt is not None
    (number,) = connection.execute(
        "SELECT id FROM jobs WHERE folder = ? AND dir = ? AND name = ? AND current = 1", _place(arrival)
    ).fetchone()
    # Without hashes: it stands for its own source, but it is never copied for another one.
    return Output(arrival.adopt, number, arrival.folder, arrival.path, None, arrival.fingerprint, "", 0, now)
