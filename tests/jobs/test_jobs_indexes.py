"""The partial indexes are used by the queries they are for: without them a claim costs 100 times more."""

from __future__ import annotations

import pytest

from rembg_watch.jobs.model import Arrival, Version
from rembg_watch.jobs.steering import Steering
from rembg_watch.jobs.store import JobStore


@pytest.fixture
def plans(database):
    """Give the query plans of every statement on the jobs table that a piece of work runs."""

    def _plans(work):
        seen: list[str] = []
        for connection in (database._writer, database._reader):
            connection.set_trace_callback(seen.append)
        work()
        for connection in (database._writer, database._reader):
            connection.set_trace_callback(None)
        statements = [sql for sql in seen if sql.startswith(("SELECT", "UPDATE", "WITH", "DELETE")) and "jobs" in sql]
        assert statements
        return "\n".join(row[3] for sql in statements for row in database.read("EXPLAIN QUERY PLAN " + sql))

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
    assert "jobs_leased" in plan
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
