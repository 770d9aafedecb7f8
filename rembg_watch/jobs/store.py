"""The queue: what comes in, who claims it, and what is still to do after its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_watch.jobs import names
from rembg_watch.jobs.arrivals import Accepted, accept, hand_on_answers
from rembg_watch.jobs.claimed import ClaimedJobs
from rembg_watch.jobs.model import Arrival, Job, Version
from rembg_watch.jobs.rows import COLUMNS, job_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from sqlite3 import Connection


LONGEST_WAIT = 86_400.0
"""Seconds; the largest ``retry.max_delay``."""


_SAME_FILE = " other.name = jobs.name AND other.dir = jobs.dir AND other.folder = jobs.folder)"
_NONE_RUNNING = (
    " AND NOT EXISTS (SELECT 1 FROM jobs AS other INDEXED BY jobs_state WHERE other.state = 'running' AND" + _SAME_FILE
)


class JobStore(ClaimedJobs):
    """The queue in the database, with the steps of what was claimed from it."""

    # -- what comes in

    def known_versions(self, folder: str, directory: str) -> dict[str, Version]:
        """Give the versions that are known of the files directly in one folder of an inbox, by name."""
        rows = self._db.read(
            "SELECT name, size, mtime_ns FROM jobs WHERE folder = ? AND dir = ? AND current = 1",
            (names.to_text(folder), names.to_text(directory)),
        )
        return {names.from_text(name): Version(size, mtime_ns) for name, size, mtime_ns in rows}

    def known_version(self, folder: str, path: str) -> Version | None:
        """Give the version that is known of one file, or None. For single files: a folder of a million stays cheap."""
        rows = self._db.read(
            "SELECT size, mtime_ns FROM jobs WHERE folder = ? AND dir = ? AND name = ? AND current = 1",
            (names.to_text(folder), *names.split(path)),
        )
        return Version(*rows[0]) if rows else None

    def enqueue(self, arrivals: Sequence[Arrival], now: float) -> list[Accepted]:
        """Take in finished files. The same version of a file never makes a second row; a newer one replaces it."""
        return self._db.write(lambda connection: [accept(connection, arrival, now) for arrival in arrivals])

    # -- claims

    def claim(
        self,
        limit: int,
        now: float,
        lease_seconds: float,
        *,
        folders: Collection[str] = (),
        profiles: Collection[str] = (),
        only: str | None = None,
    ) -> list[Job]:
        """Claim up to ``limit`` jobs that are due, the highest priority first, then the oldest.

        Jobs of the ``folders`` and option fingerprints (``profiles``) that are named are left out: they are held. So
        are newer versions of a file of which one is still worked on, or paid for and to be delivered: the older answer
        must not arrive last. ``only`` claims jobs of this fingerprint alone, to try whether a profile is taken again.
        """

        def work(connection: Connection) -> list[Job]:
            wake_due(connection, now)
            held = _without(folders, profiles)
            if only is not None:
                held += " AND fingerprint = ?"
            rows = connection.execute(
                "UPDATE jobs SET state = 'running', lease = lower(hex(randomblob(8))), lease_until = ?, updated_at = ?"
                " WHERE id IN (SELECT id FROM jobs INDEXED BY jobs_ready WHERE state = 'queued'"
                + held
                + _NONE_RUNNING
                + " AND NOT EXISTS (SELECT 1 FROM jobs AS other INDEXED BY jobs_kept WHERE other.state = 'queued'"
                " AND other.result_hash IS NOT NULL AND other.id < jobs.id AND"
                + _SAME_FILE
                + f" ORDER BY priority DESC, id LIMIT ?) RETURNING {COLUMNS}",
                (now + lease_seconds, now, *map(names.to_text, folders), *profiles, *([only] if only else []), limit),
            ).fetchall()
            return sorted(map(job_of, rows), key=lambda job: (-job.priority, job.id))

        return self._db.write(work)

    def claim_kept(self, limit: int, now: float, lease_seconds: float, *, folders: Collection[str] = ()) -> list[Job]:
        """Claim up to ``limit`` queued jobs whose paid answer is here already and only wants to be delivered."""

        def work(connection: Connection) -> list[Job]:
            rows = connection.execute(
                "UPDATE jobs SET state = 'running', lease = lower(hex(randomblob(8))), lease_until = ?, updated_at = ?"
                " WHERE id IN (SELECT id FROM jobs INDEXED BY jobs_kept"
                " WHERE state = 'queued' AND result_hash IS NOT NULL"
                + _without(folders, ())
                + _NONE_RUNNING
                + f" ORDER BY id LIMIT ?) RETURNING {COLUMNS}",
                (now + lease_seconds, now, *map(names.to_text, folders), limit),
            ).fetchall()
            return sorted(map(job_of, rows), key=lambda job: job.id)

        return self._db.write(work) if self._has_kept() else []

    def _has_kept(self) -> bool:
        return bool(
            self._db.read(
                "SELECT 1 FROM jobs INDEXED BY jobs_kept WHERE state = 'queued' AND result_hash IS NOT NULL LIMIT 1"
            )
        )

    def next_due(self) -> float | None:
        """Give the time at which the next waiting job is due, or None."""
        rows = self._db.read("SELECT min(not_before) FROM jobs INDEXED BY jobs_waiting WHERE state = 'waiting'")
        return None if rows[0][0] is None else float(rows[0][0])

    def shift_waiting(self, seconds: float, since: float, now: float) -> None:
        """Follow a jump of the clock: what waits goes on waiting for as long as it had to.

        What was written between ``since`` and ``now``, on the clock as it is now, knew of the jump already.
        """
        self._db.write(
            lambda connection: connection.execute(
                "UPDATE jobs SET not_before = not_before + ? WHERE state = 'waiting'"
                " AND NOT updated_at BETWEEN ? AND ?",
                (seconds, since, now),
            )
        )

    def mend_waiting(self, now: float) -> None:
        """Put off from now on what was put off by a clock that went ahead of the one that goes now."""
        self._db.write(
            lambda connection: connection.execute(
                "UPDATE jobs SET not_before = ? + (not_before - updated_at), updated_at = ?"
                " WHERE state = 'waiting' AND updated_at > ?",
                (now, now, now),
            )
        )

    def asked_with(self, fingerprint: str) -> list[tuple[int, str, str]]:
        """Give number, inbox and path of the jobs that are still to be sent, with these options as things stand."""
        rows = self._db.read(
            "SELECT id, folder, dir, name FROM jobs WHERE state IN ('queued', 'waiting') AND fingerprint = ?"
            " AND result_hash IS NULL",
            (fingerprint,),
        )
        return [(number, names.from_text(folder), names.join(*path)) for number, folder, *path in rows]

    def change_options(self, changes: Sequence[tuple[int, str, str]]) -> None:
        """Give jobs that are still to be sent other options: number, fingerprint and profile of each.

        What may have come of the options of before is forgotten: it is no answer to these.
        """
        values = [(fingerprint, profile, number) for number, fingerprint, profile in changes]
        self._db.write(
            lambda connection: connection.executemany(
                "UPDATE jobs SET fingerprint = ?, profile = ?, api_sent_at = NULL WHERE id = ?"
                " AND state IN ('queued', 'waiting') AND result_hash IS NULL",
                values,
            )
        )

    def ready(self) -> bool:
        """Tell whether any job is queued."""
        return bool(self._db.read("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1"))

    def folders(self) -> list[str]:
        """Give every inbox that jobs are known of, those that the config has no longer included."""
        # A step from one folder to the next on the index, where DISTINCT would read all of it.
        rows = self._db.read(
            "WITH RECURSIVE each(folder) AS (SELECT min(folder) FROM jobs WHERE current = 1 UNION ALL"
            " SELECT (SELECT min(folder) FROM jobs WHERE current = 1 AND folder > each.folder) FROM each"
            " WHERE each.folder IS NOT NULL) SELECT folder FROM each WHERE folder IS NOT NULL"
        )
        return [names.from_text(folder) for (folder,) in rows]

    def open_count(self, *, folders: Collection[str] = (), profiles: Collection[str] = (), able: bool = False) -> int:
        """Count the jobs that still go on by themselves, less those of the held ``folders`` and ``profiles``.

        ``able``: those that wait for something outside (a file that can't be read) are left out as well.
        """
        stuck = " AND coalesce(code, '') NOT IN ('unreadable', 'folder', 'internal', 'place')" if able else ""
        rows = self._db.read(
            "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running', 'waiting')"
            + stuck
            + _without(folders, profiles),
            (*map(names.to_text, folders), *profiles),
        )
        return int(rows[0][0])

    def running(self) -> list[Job]:
        """Give the jobs that are claimed. After the start of a daemon these are a dead process's."""
        return [job_of(row) for row in self._db.read(f"SELECT {COLUMNS} FROM jobs WHERE state = 'running' ORDER BY id")]

    def temps(self) -> list[str]:
        """Give the paths of temporary files that jobs know of: paid answers among them."""
        return [names.from_text(temp) for (temp,) in self._db.read("SELECT temp FROM jobs WHERE temp IS NOT NULL")]

    # -- after the end

    def untidy(self, after: int = 0, limit: int = 100) -> list[Job]:
        """Give ended jobs whose source is still to be archived, deleted or moved, with numbers above ``after``."""
        rows = self._db.read(
            f"SELECT {COLUMNS} FROM jobs WHERE tidy IS NOT NULL AND id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [job_of(row) for row in rows]

    def tidied(self, job: Job) -> None:
        """Commit that the job's source has left the inbox: should the same file come back, it is a new job."""
        self._db.write(
            lambda connection: connection.execute("UPDATE jobs SET tidy = NULL, current = 0 WHERE id = ?", (job.id,))
        )

    def leave_source(self, job: Job) -> None:
        """Commit that the job's source stays in the inbox after all: it is known there, and no new job."""
        self._db.write(lambda connection: connection.execute("UPDATE jobs SET tidy = NULL WHERE id = ?", (job.id,)))

    def take_back(self, now: float) -> list[Job]:
        """Queue the jobs that a dead process had claimed, and give them as they were found.

        What they had written down about a sent photo and its answer stays: the next claim looks for that answer first.
        """

        def work(connection: Connection) -> list[Job]:
            rows = connection.execute(f"SELECT {COLUMNS} FROM jobs WHERE state = 'running' ORDER BY id").fetchall()
            hand_on_answers(connection, now)
            connection.execute(
                "UPDATE jobs SET state = 'queued', lease = NULL, lease_until = NULL, updated_at = ?"
                " WHERE state = 'running'",
                (now,),
            )
            # Nothing waits for longer than this; a later time was written by a clock that has been set back since.
            latest = now + LONGEST_WAIT
            connection.execute(
                "UPDATE jobs SET not_before = ? WHERE state = 'waiting' AND not_before > ?", (latest, latest)
            )
            return [job_of(row) for row in rows]

        return self._db.write(work)


def _without(folders: Collection[str], profiles: Collection[str]) -> str:
    """Give the condition that leaves out what is held; the values follow in this order."""
    return "".join(
        f" AND {column} NOT IN ({', '.join('?' * len(values))})"
        for column, values in (("folder", folders), ("fingerprint", profiles))
        if values
    )


def wake_due(connection: Connection, now: float) -> None:
    """Queue the waiting jobs whose time has come. Two states, not a time filter in the claim: that does not scale."""
    connection.execute(
        "UPDATE jobs INDEXED BY jobs_waiting SET state = 'queued', not_before = NULL"
        " WHERE state = 'waiting' AND not_before <= ?",
        (now,),
    )
