"""Whether a job costs the same at a million jobs: the queue's own statements, at several depths, interleaved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.table import Row, at_most, middle
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import AttemptEnd, Ledger
from rembg_watch.jobs.model import Charge, How, Output
from rembg_watch.jobs.store import JobStore

if TYPE_CHECKING:
    from pathlib import Path
    from sqlite3 import Connection

    from benchmarks.course import Course
    from rembg_watch.jobs.model import Job

GOAL = 1.5
_BATCH = 25
_INBOX = "/srv/photos/inbox"
_IN_A_FOLDER = 1000


def fill(connection: Connection, inbox: str, outbox: str, depth: int) -> None:
    """Write ``depth`` done jobs, with their outputs and attempts, and ``depth`` queued ones."""
    now = time.time() - 30 * 86400
    for state, first in (("done", 1), ("queued", depth + 1)):
        connection.executemany(
            "INSERT INTO jobs (id, folder, dir, name, size, mtime_ns, fingerprint, profile, state, created_at,"
            " updated_at, finished_at, content_hash, output, result_hash, result_size, how)"
            " VALUES (?, ?, ?, ?, 70000, 1, 'f', 'small', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    *(number, inbox, f"folder-{number // _IN_A_FOLDER}", f"photo-{number}.jpg", state, now, now),
                    *(
                        (now, f"{number:064x}", f"{outbox}/photo-{number}.webp", f"{number:064x}", 5000, "sent")
                        if state == "done"
                        else (None,) * 6
                    ),
                )
                for number in range(first, first + depth)
            ),
        )
    connection.execute(
        "INSERT INTO outputs SELECT output, id, folder, dir || '/' || name, content_hash, fingerprint, result_hash,"
        " result_size, finished_at FROM jobs WHERE state = 'done'"
    )
    connection.execute(
        "INSERT INTO attempts (job_id, folder, profile, sent_at, ended_at, charge, status, bytes_in, bytes_out, api_ms)"
        " SELECT id, folder, profile, finished_at, finished_at, 'charged', 200, size, result_size, 1000 FROM jobs"
        " WHERE state = 'done'"
    )


class _Queue:
    def __init__(self, path: Path, depth: int) -> None:
        self.depth = depth
        self.database = Database(path)
        self.database.write(lambda connection: fill(connection, _INBOX, "/srv/photos/outbox", depth))
        self.store = JobStore(self.database)
        self.ledger = Ledger(self.database)
        self.seconds: list[float] = []
        self.credits: list[float] = []
        self.look: list[float] = []

    def work(self) -> None:
        """Claim a batch and finish it as the workers do, one after the other; note the seconds a job."""
        now = time.time()
        start = time.perf_counter()
        jobs = self.store.claim(_BATCH, now, 60)
        for job in jobs:
            self._finish(job, now)
        self.seconds.append((time.perf_counter() - start) / len(jobs))
        self.ledger.running_totals(now)  # the first time it sums up what is old, and keeps the sum
        start = time.perf_counter()
        self.ledger.running_totals(now)
        self.credits.append((time.perf_counter() - start) / len(jobs))
        start = time.perf_counter()
        self.store.ready()
        self.store.next_due()
        self.look.append((time.perf_counter() - start) / len(jobs))

    def _finish(self, job: Job, now: float) -> None:
        path = f"/srv/photos/outbox/{job.id}.webp"
        attempt = self.store.mark_sent(job, f"{job.id:064x}", path, f"{path}.part", now)
        end = AttemptEnd(Charge.CHARGED, status=200, bytes_in=70000, bytes_out=5000, api_ms=1000)
        self.store.mark_received(job, attempt, end, f"{job.id:064x}", 5000, f"{path}.part", now)
        output = Output(path, job.id, job.folder, job.path, f"{job.id:064x}", "f", f"{job.id:064x}", 5000, now)
        self.store.finish(job, output, How.SENT, None, now)


def depth(course: Course) -> list[Row]:
    """Claim and finish in turns on databases of several depths."""
    rows = []
    with course.folder("queues") as folder:
        queues = []
        for number in course.scale.depths:
            queues.append(_Queue(folder / f"jobs-{number}.db", number))
            course.say(f"{number} queued and {number} done jobs written")
        rounds = 1 if course.scale.name == "tiny" else 12
        for _ in range(rounds):
            for queue in queues:
                queue.work()
        shallow = queues[0]
        for queue in queues[1:]:
            for what, here, there, goal in (
                ("claim, mark sent, mark received and finish", queue.seconds, shallow.seconds, GOAL),
                ("the ledger's sums at a credit check, a job", queue.credits, shallow.credits, None),
                ("the look for work, a job", queue.look, shallow.look, None),
            ):
                ratio = middle(here) / middle(there)
                note = f" ({middle(here) * 1e6:.0f} us)"
                name = f"{what}, {queue.depth:,} done and queued, x {shallow.depth:,}"
                course.say(f"{name}: {ratio:.2f} x{note}")
                if goal:
                    rows.append(at_most("depth", name, ratio, goal, " x", note))
                else:
                    rows.append(Row("depth", f"- {name}", f"{ratio:.3g} x{note}"))
        for queue in queues:
            queue.database.close()
    return rows
