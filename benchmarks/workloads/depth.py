"""Measure what a job costs the queue at several depths, in turns."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.table import Row, at_most, middle, row
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import AttemptEnd, Ledger
from rembg_watch.jobs.model import Charge, How, Key, Output
from rembg_watch.jobs.queue import Queue, Received, Sending

if TYPE_CHECKING:
    from pathlib import Path
    from sqlite3 import Connection

    from benchmarks.suite import Suite
    from rembg_watch.jobs.model import Job

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
        "INSERT INTO attempts (job_id, folder, profile, content_hash, fingerprint, sent_at, ended_at, charge, status,"
        " bytes_in, bytes_out, api_ms) SELECT id, folder, profile, content_hash, fingerprint, finished_at, finished_at,"
        " 'charged', 200, size, result_size, 1000 FROM jobs WHERE state = 'done'"
    )


class _Jobs:
    def __init__(self, path: Path, depth: int) -> None:
        self.depth = depth
        self.database = Database(path)
        self.database.write(lambda connection: fill(connection, _INBOX, "/srv/photos/outbox", depth))
        self.queue = Queue(self.database)
        self.ledger = Ledger(self.database)
        self.seconds: list[float] = []
        self.credits: list[float] = []
        self.look: list[float] = []

    def work(self) -> None:
        """Claim jobs and finish each, one after the other as for a service that takes its time; append the seconds."""
        now = time.time()
        start = time.perf_counter()
        jobs = []
        while len(jobs) < _BATCH and (ready := self.queue.ready(_INBOX, ["f"], now, 1)):
            self._finish(ready[0], now)
            jobs += ready
        self.seconds.append((time.perf_counter() - start) / len(jobs))
        self.ledger.running_totals(now)  # the first call sums up the old rows and keeps the sum
        start = time.perf_counter()
        self.ledger.running_totals(now)
        self.credits.append((time.perf_counter() - start) / len(jobs))
        start = time.perf_counter()
        self.queue.received([_INBOX], now, _BATCH)
        self.queue.ready(_INBOX, ["f"], now, _BATCH)
        self.queue.next_due()
        self.look.append((time.perf_counter() - start) / len(jobs))

    def _finish(self, job: Job, now: float) -> None:
        path, digest = f"/srv/photos/outbox/{job.id}.webp", f"{job.id:064x}"
        key = Key(f"p1{digest}", job.fingerprint)
        (attempt,) = self.queue.mark_sent([Sending(job, key, 640, 480, path)], now, now)
        assert attempt is not None
        end = AttemptEnd(Charge.CHARGED, status=200, bytes_in=70000, bytes_out=5000, api_ms=1000)
        assert self.queue.mark_received([Received(job, key, path, digest, 5000, How.SENT, attempt, end)], now) == [True]
        output = Output(path, job.id, job.folder, job.path, key.content, job.fingerprint, digest, 5000, now)
        self.queue.mark_done([(job, output, How.SENT, None)], now)


def depth(suite: Suite) -> list[Row]:
    """Claim and finish jobs in turns on databases of several depths."""
    rows = []
    with suite.folder("queues") as folder:
        filled = []
        for number in suite.scale.depths:
            filled.append(_Jobs(folder / f"jobs-{number}.db", number))
            suite.progress(f"{number} queued and {number} done jobs written")
        rounds = 1 if suite.scale.name == "tiny" else 12
        for _ in range(rounds):
            for jobs in filled:
                jobs.work()
        shallow = filled[0]
        for jobs in filled[1:]:
            for what, here, there, goal in (
                ("claim, mark sent, mark received and mark done", jobs.seconds, shallow.seconds, at_most(1.5)),
                ("the ledger's sums at a credit check, a job", jobs.credits, shallow.credits, None),
                ("the look for work, a job", jobs.look, shallow.look, None),
            ):
                ratio = middle(here) / middle(there)
                note = f" ({middle(here) * 1e6:.0f} us)"
                name = f"{what}, {jobs.depth:,} done and queued, x {shallow.depth:,}"
                suite.progress(f"{name}: {ratio:.2f} x{note}")
                rows.append(row("depth", name if goal else f"- {name}", ratio, " x", goal, note))
        for jobs in filled:
            jobs.database.close()
    return rows
