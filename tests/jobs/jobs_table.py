"""The job table through its public classes, with short ways to take a job through its steps; facts as simple rows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from rembg_watch.jobs.ledger import AttemptEnd, Ledger
from rembg_watch.jobs.model import Arrival, Charge, How, Key, Output, Version
from rembg_watch.jobs.outputs import Outputs
from rembg_watch.jobs.queries import Queries
from rembg_watch.jobs.queue import Queue, Received, Sending

INBOX = "/srv/inbox"
NOW = 1000.0


class Table:
    """The job table through its public classes. Everything happens at ``NOW`` unless a time is given."""

    def __init__(self, database):
        self.database = database
        self.queue = Queue(database)
        self.queries = Queries(database)
        self.ledger = Ledger(database)
        self.outputs = Outputs(database)

    def arrive(self, path="shoe.jpg", mtime=1, *, folder=INBOX, profile="white", now=NOW, **more):
        """Queue one file; return what became of the arrival."""
        arrival = Arrival(folder, path, Version(10, mtime), f"{profile}-fp", profile, **more)
        return self.queue.enqueue([arrival], now)[0]

    def add(self, path="shoe.jpg", mtime=1, **more):
        """Queue one file; return its job."""
        self.arrive(path, mtime, **more)
        return self.queries.select(limit=1)[0]

    def ready(self, *profiles, now=NOW, limit=9, at_hand=(), folder=INBOX):
        """Return the jobs that may be sent."""
        fingerprints = [f"{profile}-fp" for profile in profiles or ("white",)]
        return self.queue.ready(folder, fingerprints, now, limit, at_hand)

    def key(self, job):
        return Key(f"picture of {job.path}", job.fingerprint)

    def output(self, job):
        return Output(
            f"/out/{job.path}.webp", job.id, job.folder, job.path, *self.key(job), "result", 20, job.created_at
        )

    def send(self, job, now=NOW, **changes):
        """Mark a job as sent; return the number of its attempt."""
        return self.queue.mark_sent([replace(self.sending(job), **changes)], now, now)[0]

    def sending(self, job):
        """Return a job's photo as it is about to be sent."""
        return Sending(job, self.key(job), 640, 480, self.output(job).path)

    def receive(self, job, attempt=None, now=NOW, *, charge=Charge.CHARGED, how=None):
        """Mark the answer of a job as received: of an attempt, or one that is reused."""
        end = None if attempt is None else AttemptEnd(charge, status=200, bytes_in=10)
        how = how or (How.REUSED if attempt is None else How.SENT)
        output = self.output(job)
        answer = Received(job, self.key(job), output.path, output.hash, output.size, how, attempt, end)
        return self.queue.mark_received([answer], now)[0]

    def finish(self, job, now=NOW, *, how=How.SENT, tidy=None):
        """Mark a job as done."""
        self.queue.mark_done([(job, self.output(job), how, tidy)], now)

    def deliver(self, job, now=NOW, **more):
        """Take a job all the way: sent, received, done."""
        assert self.receive(job, self.send(job, now), now)
        self.finish(job, now, **more)

    def state(self, job):
        """Return the state of a job as it is now."""
        return self.queries.get(job.id).state


def put(key):
    """Return a function that inserts one fact."""
    return lambda connection: connection.execute("INSERT INTO facts VALUES (?, '1', 0)", (key,))


def facts(database):
    """Return the keys of all facts that tests inserted, the oldest first."""
    return [key for (key,) in database.read("SELECT key FROM facts WHERE key <> 'instance' ORDER BY rowid")]


def python(code, *args, **more):
    """Start a Python process."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )
