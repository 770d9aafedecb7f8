"""Each query uses the index that was made for it, and costs the same however many jobs are done."""

from __future__ import annotations

import pytest

from rembg_watch.jobs.model import Arrival, Key, Version
from rembg_watch.jobs.queue import Queue


@pytest.fixture
def plan(database, statements):
    """Return the query plans of a function's statements, without inserts."""

    def _plan(work):
        ran = [sql for sql in statements(work) if not sql.startswith(("INSERT", "COMMIT"))]
        return [row[3] for sql in ran for row in database.read("EXPLAIN QUERY PLAN " + sql)]

    return _plan


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda t: t.ready(), "SEARCH jobs USING INDEX jobs_ready (folder=? AND fingerprint=?)"),
        (
            lambda t: t.ready(),
            "SEARCH jobs USING INDEX jobs_waiting (folder=? AND fingerprint=? AND not_before<?)",
        ),
        (lambda t: t.ready(), "SEARCH other USING INDEX jobs_busy (folder=? AND dir=? AND name=?)"),
        (lambda t: t.queue.known_versions("/in", "a"), "SEARCH jobs USING INDEX jobs_known (folder=? AND dir=?)"),
        (lambda t: t.arrive(), "SEARCH jobs USING INDEX jobs_known (folder=? AND dir=? AND name=?)"),
        (lambda t: t.queue.received(["/in"], 1.0, 5), "SEARCH jobs USING INDEX jobs_state (state=? AND folder=?)"),
        (lambda t: t.queue.next_due(), "SEARCH jobs USING INDEX jobs_due"),
        (lambda t: t.queue.open_count(), "SEARCH jobs USING COVERING INDEX jobs_state (state=?)"),
        (lambda t: t.queue.needed_results(), "SCAN jobs USING INDEX jobs_busy"),
        (lambda t: t.queue.untidy(["/in"]), "SEARCH jobs USING INDEX jobs_untidy (folder=? AND id>?)"),
        (lambda t: t.queue.running(), "SEARCH jobs USING INDEX jobs_state (state=?)"),
        (lambda t: t.queue.mend_waiting(1.0), "SEARCH jobs USING INDEX jobs_state (state=?)"),
        (lambda t: t.queue.refresh_profiles(lambda *_: ("x", "x")), "SEARCH jobs USING INDEX jobs_state (state=?)"),
        (lambda t: t.queries.counts(), "SCAN jobs USING COVERING INDEX jobs_state"),
        (lambda t: t.queries.unsent(), "SCAN jobs USING INDEX jobs_ready"),
        (
            lambda t: t.queries.times_sent(t.queries.select()),
            "SEARCH attempts USING COVERING INDEX attempts_job (job_id=?)",
        ),
        (
            lambda t: t.ledger.wasted([(Key("a", "b"), None)]),
            "SEARCH attempts USING INDEX attempts_wasted (content_hash=? AND fingerprint=?)",
        ),
        (
            lambda t: t.ledger.spent_since(1.0, "/in", 9.0),
            "SEARCH attempts USING COVERING INDEX attempts_sent (sent_at>? AND sent_at<?)",
        ),
        (
            lambda t: t.outputs.with_keys([Key("a", "b")]),
            "SEARCH of USING INDEX outputs_content (content_hash=? AND fingerprint=?)",
        ),
        (lambda t: t.outputs.of("/in", "a"), "SEARCH outputs USING INDEX outputs_source (folder=? AND source=?)"),
    ],
)
def test_queries_use_their_index(plan, table, work, expected):
    """By the plan of SQLite; without the index a look for work reads every job that was ever done."""
    table.add()
    steps = plan(lambda: work(table))
    # Whether a partial index counts as covering depends on the version of SQLite.
    assert expected.replace("COVERING ", "") in [step.replace("COVERING ", "") for step in steps]


def test_ready_neither_sorts_nor_scans(plan, table):
    """The oldest jobs come out of the index in their order."""
    steps = plan(table.ready)
    assert not [step for step in steps if "TEMP B-TREE" in step or step.startswith("SCAN jobs")]


def test_ready_costs_the_same_with_100_000_done_jobs(database, table):
    """Counted in steps of SQLite's virtual machine."""

    def steps():
        count = [0]

        def tick():
            count[0] += 1

        database._reader.set_progress_handler(tick, 1)
        jobs = table.ready(limit=8, folder="/in")
        database._reader.set_progress_handler(None, 1)
        return [job.path for job in jobs], count[0]

    def add(paths):
        Queue(database).enqueue([Arrival("/in", path, Version(1, 1), "white-fp", "white") for path in paths], 1.0)

    add(f"new/{number}.jpg" for number in range(20))
    steps()  # the first run prepares the statements
    before = steps()
    add(f"done/{number}.jpg" for number in range(100_000))
    database.write(
        lambda connection: connection.execute("UPDATE jobs SET state = 'done', finished_at = 1 WHERE dir = 'done'")
    )
    assert steps() == before


def test_a_batch_is_written_in_as_many_statements_as_one_photo(table, statements):
    """Each statement gives up the interpreter's lock: a batch of sixteen photos costs as many of them as one."""

    def ran(jobs):
        queue, sent = table.queue, [table.sending(job) for job in jobs]
        return statements(lambda: queue.mark_sent(sent, 1000.0, 1000.0))

    alone = ran([table.add("alone.jpg")])
    together = ran([table.add(f"{number}.jpg") for number in range(16)])
    assert len(together) == len(alone)
