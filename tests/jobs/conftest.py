"""A job database in a fresh directory, and short words for what happens in it."""

from __future__ import annotations

import pytest

from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import AttemptEnd, Ledger
from rembg_watch.jobs.model import Arrival, Charge, How, Output, Version
from rembg_watch.jobs.steering import Steering
from rembg_watch.jobs.store import JobStore

INBOX = "/srv/inbox"


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / "jobs.db") as opened:
        yield opened


@pytest.fixture
def store(database):
    return JobStore(database)


@pytest.fixture
def steering(database):
    return Steering(database)


@pytest.fixture
def ledger(database):
    return Ledger(database)


@pytest.fixture
def arrive(store):
    """Enqueue one file and give what became of it."""

    def _arrive(path="shoe.jpg", mtime=1, *, folder=INBOX, profile="white", now=1000.0, size=10, **more):
        arrival = Arrival(folder, path, Version(size, mtime), f"{profile}-fp", profile, **more)
        return store.enqueue([arrival], now)[0]

    return _arrive


@pytest.fixture
def claim(store):
    """Claim jobs at 1000 s, for 60 s."""

    def _claim(limit=1, now=1000.0, **more):
        return store.claim(limit, now, 60.0, **more)

    return _claim


@pytest.fixture
def deliver(store):
    """Take a claimed job the whole way: sent, received, its output in place."""

    def _deliver(job, now=1001.0, charge=Charge.CHARGED, tidy=None):
        target = f"/srv/outbox/{job.path}.webp"
        attempt = store.mark_sent(job, f"hash-{job.path}", target, target + ".part", now)
        assert store.mark_received(
            job, attempt, AttemptEnd(charge, status=200, bytes_in=10), "answer", 20, "/out/.temp", now + 1
        )
        output = Output(
            target, job.id, job.folder, job.path, f"hash-{job.path}", job.fingerprint, "answer", 20, now + 1
        )
        assert store.finish(job, output, How.SENT, tidy, now + 2)
        return output

    return _deliver
