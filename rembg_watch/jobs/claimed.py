"""The steps of a claimed job, from before its photo is sent to its end.

Each asks for the lease token of the claim: whoever comes late changes nothing, and is told so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_watch.jobs import names
from rembg_watch.jobs.ledger import AttemptEnd, begin_attempt, end_attempt
from rembg_watch.jobs.model import How, Job, Output, State, Tidy
from rembg_watch.jobs.outputs import record_output

if TYPE_CHECKING:
    from sqlite3 import Connection

    from rembg_watch.jobs.database import Database

_TIDY = "tidy = iif(current, ?, NULL)"
"""The source of an older version is not there any more: what is would be moved or deleted unseen."""


class ClaimedJobs:
    """What becomes of claimed jobs. Every method is one transaction; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def mark_sent(self, job: Job, content_hash: str, output: str, temp: str, now: float) -> int | None:
        """Commit, before the body goes out, what is sent and where its answer will stand; give the attempt's number."""

        def work(connection: Connection) -> int | None:
            if not _step(
                connection,
                job,
                "content_hash = ?, output = ?, temp = ?, api_sent_at = ?, result_hash = NULL, updated_at = ?",
                (content_hash, names.to_text(output), names.to_text(temp), now, now),
            ):
                return None
            return begin_attempt(connection, job, now)

        return self._db.write(work)

    def mark_copy(self, job: Job, content_hash: str, output: str, temp: str, now: float) -> bool:
        """Commit, before a paid result is copied, where the copy is written to.

        What was sent before is forgotten with it: after a crash, the copy must not be taken for the answer to that.
        """
        values = (content_hash, names.to_text(output), names.to_text(temp), now)
        return self._db.write(
            lambda connection: _step(
                connection,
                job,
                "content_hash = ?, output = ?, temp = ?, api_sent_at = NULL, updated_at = ?",
                values,
            )
        )

    def mark_received(
        self, job: Job, attempt: int | None, end: AttemptEnd, result_hash: str, result_size: int, temp: str, now: float
    ) -> bool:
        """Commit that a verified answer stands, synced, in the file ``temp``: it is never sent again.

        ``attempt`` is None where the ledger has its end already, as the answer only moved to another file.
        """

        def work(connection: Connection) -> bool:
            if attempt is not None:
                end_attempt(connection, attempt, end, now)
            values = (result_hash, result_size, names.to_text(temp), now)
            return _step(connection, job, "result_hash = ?, result_size = ?, temp = ?, updated_at = ?", values)

        return self._db.write(work)

    def open_attempt(self, job: Job) -> int | None:
        """Give the number of the job's newest attempt whose end is not written down: a crash came first."""
        rows = self._db.read("SELECT max(id) FROM attempts WHERE job_id = ? AND ended_at IS NULL", (job.id,))
        return None if rows[0][0] is None else int(rows[0][0])

    def finish(self, job: Job, output: Output, how: How, tidy: Tidy | None, now: float) -> bool:
        """Commit that the output stands in its place. ``tidy`` says what is still to be done with the source."""

        def work(connection: Connection) -> bool:
            if not _step(
                connection,
                job,
                f"state = 'done', how = ?, content_hash = ?, output = ?, temp = NULL, {_TIDY}, code = NULL,"
                " message = NULL, hint = NULL, lease = NULL, lease_until = NULL, finished_at = ?, updated_at = ?,"
                " forced = 0",
                (how.value, output.content_hash, names.to_text(output.path), tidy and tidy.value, now, now),
            ):
                return False
            record_output(connection, output)
            return True

        return self._db.write(work)

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
        keep_answer: bool = False,
        forget: bool = False,
    ) -> bool:
        """End a claim without an output: queued or waiting again, failed, cancelled or superseded.

        ``counted`` adds one to the attempts that ``retry.max_attempts`` limits; ``not_before`` goes with waiting.
        ``keep_answer``: a paid answer stands in the temporary file and is delivered by the next claim. ``forget``: the
        file as it was is gone; should exactly it come back, it is a new job.
        """
        kept = "" if keep_answer else " temp = NULL, result_hash = NULL, result_size = NULL, api_sent_at = NULL,"
        kept += " current = 0," if forget else ""

        def work(connection: Connection) -> bool:
            if attempt is not None:
                end_attempt(connection, *attempt, now)
            return _step(
                connection,
                job,
                f"state = ?, attempts = attempts + ?, not_before = ?, code = ?, message = ?, hint = ?, {_TIDY},"
                " finished_at = ?," + kept + " lease = NULL, lease_until = NULL, updated_at = ?",
                (
                    *(state.value, int(counted), not_before, code, message, hint, tidy and tidy.value),
                    *(now if state not in (State.QUEUED, State.WAITING) else None, now),
                ),
            )

        return self._db.write(work)

    def use_profile(self, job: Job, fingerprint: str, profile: str) -> bool:
        """Note that the job is done with other options than it came in with, as the config has changed since.

        What was sent before is forgotten with it, as with a copy: it is no answer to these options.
        """
        other = "api_sent_at = iif(fingerprint = ?, api_sent_at, NULL), fingerprint = ?, profile = ?"
        return self._db.write(lambda connection: _step(connection, job, other, (fingerprint, fingerprint, profile)))

    def forget_answer(self, job: Job) -> bool:
        """Note that the paid answer that was written down is nowhere to be found: the photo has to be sent anew."""
        lost = "result_hash = NULL, result_size = NULL, temp = NULL, api_sent_at = NULL"
        return self._db.write(lambda connection: _step(connection, job, lost, ()))


def _step(connection: Connection, job: Job, assignments: str, values: tuple[object, ...]) -> bool:
    cursor = connection.execute(
        f"UPDATE jobs SET {assignments} WHERE id = ? AND lease = ?",
        (*values, job.id, job.lease),
    )
    return cursor.rowcount == 1
