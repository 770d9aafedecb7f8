"""The partial indexes are used by the queries they are for: without them a claim costs 100 times more."""

from __future__ import annotations

import pytest

from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Arrival, Charge, How, Output, Version
from rembg_watch.jobs.outputs import Outputs
from rembg_watch.jobs.steering import Steering
from rembg_watch.jobs.store import JobStore


@pytest.fixture
def statements(database):
    """Give every statement that a piece of work runs."""

    def _statements(work):
        seen: list[str] = []
        for connection in (database._writer, database._reader):
            connection.set_trace_callback(seen.append)
        work()
        for connection in (database._writer, database._reader):
            connection.set_trace_callback(None)
        return [sql for sql in seen if sql.startswith(("SELECT", "INSERT", "UPDATE", "WITH", "DELETE"))]

    return _statements


@pytest.fixture
def plans(database, statements):
    """Give the query plans of every statement on the jobs table that a piece of work runs."""

    def _plans(work):
        on_jobs = [sql for sql in statements(work) if "jobs" in sql and not sql.startswith("INSERT")]
        assert on_jobs
        return "\n".join(row[3] for sql in on_jobs for row in database.read("EXPLAIN QUERY PLAN " + sql))

    return _plans


@pytest.fixture
def filled(database):
    """A table that is mostly done, as it is in real life."""
    store = JobStore(database)
    store.enqueue([Arrival("/in", f"a/{i}.jpg", Version(1, 1), "fp", "p") for i in range(300)], 1.0)
    Steering(database).cancel(ids=list(range(1, 290)), now=1.0)
    return store


def test_claim(plans, filled):
    """Finds what is ready in order, without sorting and without a look at what is done; held lanes from the index."""
    plan = plans(lambda: filled.claim(8, 2.0, 60.0, folders=["/held"], profiles=["odd"]))
    assert "SCAN jobs USING INDEX jobs_ready" in plan or "SCAN jobs USING COVERING INDEX jobs_ready" in plan
    assert "jobs_waiting" in plan
    assert "SEARCH other USING INDEX jobs_state (state=? AND folder=?)" in plan
    assert "SCAN jobs\n" not in plan + "\n"
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    ("work", "index"),
    [
        (lambda store: store.known_versions("/in", "a"), "jobs_known"),
        (lambda store: store.enqueue([Arrival("/in", "a/1.jpg", Version(1, 2), "fp", "p")], 3.0), "jobs_known"),
        (lambda store: store.next_due(), "jobs_waiting"),
        (lambda store: store.ready(), "jobs_"),
        (lambda store: store.running(), "jobs_"),
        (lambda store: store.take_back(5.0), "jobs_"),
        (lambda store: store.untidy(), "jobs_untidy"),
        (lambda store: store.open_count(), "jobs_state"),
    ],
    ids=["known", "enqueue", "next_due", "ready", "running", "take_back", "untidy", "open"],
)
def test_daily_queries(plans, filled, work, index):
    """Each finds its rows by an index; none walks through the table."""
    plan = plans(lambda: work(filled))
    assert index in plan
    assert "SCAN jobs\n" not in plan + "\n"


def test_known_versions_of_a_folder_are_found_by_it(plans, filled):
    """A rescan of 50,000 files asks once for each folder, and each answer is one stretch of the index."""
    plan = plans(lambda: filled.known_versions("/in", "a"))
    assert plan == "SEARCH jobs USING INDEX jobs_known (folder=? AND dir=?)"


def test_counts_are_read_from_an_index(plans, filled, database):
    """Status does not walk through a million rows' photos."""
    assert "COVERING INDEX jobs_state" in plans(lambda: Steering(database).counts())


def test_times_sent_are_counted_in_an_index(filled, database, statements):
    """One query for the whole list, and no walk through the ledger."""
    steering = Steering(database)
    jobs = steering.select()
    (sql,) = statements(lambda: steering.times_sent(jobs))
    plan = str(database.read("EXPLAIN QUERY PLAN " + sql))
    assert "SEARCH attempts USING COVERING INDEX attempts_job (job_id=?)" in plan


def test_a_photo_builds_no_table_on_its_way(filled, database, statements):
    """Neither to check a value nor to sort: one that SQLite makes for a moment costs more than the row it is for."""
    (job,) = filled.claim(1, 2.0, 60.0)
    output = Output("/out/a.webp", job.id, job.folder, job.path, "hash", job.fingerprint, "answer", 20, 3.0)

    def work():
        Outputs(database).with_content("hash", job.fingerprint)
        attempt = filled.mark_sent(job, "hash", output.path, "/out/.temp", 2.0)
        filled.mark_received(job, attempt, AttemptEnd(Charge.CHARGED), "answer", 20, "/out/.temp", 2.5)
        assert filled.finish(job, output, How.SENT, None, 3.0)

    ran = statements(work)
    assert len(ran) == 7
    for sql in ran:
        assert "OpenEphemeral" not in [row[1] for row in database._writer.execute("EXPLAIN " + sql)], sql
