"""What people ask of the job table, and what they may change: retry, cancel, prune."""

from __future__ import annotations

import pytest

from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Arrival, Charge, State, Tidy, Version
from rembg_watch.jobs.queue import Accepted


@pytest.fixture
def fail(table):
    """Make a failed job, with everything that an attempt leaves in its row."""

    def _fail(path="shoe.jpg", *, now=1000.0, tidy=None, **more):
        job = table.add(path, **more)
        end = (table.send(job, now), AttemptEnd(Charge.NOT_CHARGED, "image", 400, "not a picture"))
        told = {"code": "image", "message": "not a picture", "hint": "look", "tidy": tidy}
        table.queue.end(job, State.FAILED, now, attempt=end, counted=True, **told)
        return job

    return _fail


def test_a_retried_job_starts_afresh(fail, table):
    """Nothing of the earlier run is left but its attempts in the ledger."""
    job = fail(tidy=Tidy.MOVE_FAILED)
    assert table.queries.retry(ids=[job.id], now=2000.0) == [job.id]
    again = table.queries.get(job.id)
    assert (again.state, again.attempts, again.crashes, again.forced) == (State.QUEUED, 0, 0, False)
    assert (again.code, again.message, again.hint, again.finished_at, again.tidy) == (None,) * 5
    assert again.retried_at == 2000.0
    assert [attempt.code for attempt in table.queries.attempts(job.id)] == ["image"]


def test_a_retried_done_job_is_forced(table):
    """Its result exists and is not what was asked for; a second result ends that."""
    job = table.add()
    table.deliver(job)
    table.queries.retry(ids=[job.id], now=2000.0)
    (again,) = table.ready()
    assert (again.forced, again.result_hash, again.how) == (True, None, None)
    table.deliver(again)
    assert not table.queries.get(job.id).forced


def test_a_retried_waiting_job_is_due_at_once(table):
    """It need not wait any longer."""
    job = table.add()
    table.queue.end(job, State.WAITING, 1000.0, not_before=9000.0)
    assert table.ready() == []
    table.queries.retry(ids=[job.id], now=1001.0)
    assert [again.id for again in table.ready()] == [job.id]


def test_all_failed_jobs_of_one_inbox_are_retried(fail, table):
    """Only failed jobs, and only of that inbox."""
    job = fail("a.jpg")
    fail("b.jpg", folder="/srv/other")
    table.deliver(table.add("c.jpg"))
    assert table.queries.retry(failed=True, folder="/srv/inbox", now=2000.0) == [job.id]


def test_retry_leaves_paid_answers_and_older_versions_alone(fail, table):
    """What is sent or to be delivered is not sent twice; of a changed file only the newest version is worth a credit."""
    older = fail("a.jpg")
    running, received = table.add("a.jpg", 2), table.add("b.jpg")
    table.send(running)
    table.receive(received, table.send(received))
    assert table.queries.retry(ids=[older.id, running.id, received.id], now=2000.0) == []


def test_retry_and_cancel_of_nothing_do_nothing(fail, table):
    """An empty list is not everything."""
    fail()
    table.add("b.jpg")
    assert table.queries.retry(now=1.0) == []
    assert table.queries.cancel(now=1.0) == []


def test_any_number_of_jobs_can_be_named(table):
    """More than the parameters that SQLite takes in one statement."""
    table.add()
    assert table.queries.cancel(ids=range(1, 100_000), now=1.0) == [1]
    assert table.queries.retry(ids=range(1, 100_000), now=1.0) == [1]


def test_cancel_stops_what_was_not_sent(table):
    """Queued and waiting jobs end; the next scan does not queue the same files again."""
    waiting = table.add("a.jpg")
    table.queue.end(waiting, State.WAITING, 1000.0, not_before=2000.0)
    table.add("b.jpg")
    assert table.queries.cancel(folder="/srv/inbox", now=1002.0) == [1, 2]
    assert {job.state for job in table.queries.select()} == {State.CANCELLED}
    assert table.ready(now=3000.0) == []
    assert table.arrive("a.jpg") is Accepted.KNOWN


def test_cancel_spares_what_may_be_paid(table):
    """A job that was sent, or whose answer is to be delivered, has cost its credit."""
    running, received = table.add("a.jpg"), table.add("b.jpg")
    table.send(running)
    table.receive(received, table.send(received))
    assert table.queries.cancel(ids=[running.id, received.id], now=1004.0) == []


def test_select_returns_the_newest_first(table):
    """With a limit, a state and a folder."""
    for number in range(5):
        table.add(f"{number}.jpg", folder=f"/srv/{number % 2}")
    table.queries.cancel(ids=[5], now=1.0)
    assert [job.id for job in table.queries.select(limit=3)] == [5, 4, 3]
    assert [job.id for job in table.queries.select(state=State.QUEUED, folder="/srv/0")] == [3, 1]


def test_times_sent_counts_the_attempts_of_many_jobs(table):
    """In one query, for any number of jobs; those never sent are left out."""
    once, twice, never = (table.add(name) for name in ("once.jpg", "twice.jpg", "never.jpg"))
    table.deliver(once)
    table.deliver(twice)
    table.queries.retry(ids=[twice.id], now=1005.0)
    table.deliver(twice)
    assert table.queries.times_sent([once, never] + [twice] * 100_000) == {once.id: 1, twice.id: 2}


def test_counts_by_folder(table):
    """What ``status`` adds up, with folders by their names on the disk."""
    odd = "/srv/back\\slash"
    table.deliver(table.add("a.jpg", folder=odd), 1003.0)
    table.add("b.jpg", folder=odd)
    waiting, running = table.add("c.jpg"), table.add("d.jpg")
    table.queue.end(waiting, State.WAITING, 1000.0, not_before=2000.0)
    table.send(running)
    queries = table.queries
    assert queries.counts() == {
        odd: {State.DONE: 1, State.QUEUED: 1},
        "/srv/inbox": {State.WAITING: 1, State.RUNNING: 1},
    }
    assert queries.unsent() == {(odd, "white-fp"): 1, ("/srv/inbox", "white-fp"): 1}
    assert (queries.done_since(1000.0), queries.done_since(1004.0)) == (1, 0)
    assert queries.folders() == sorted([odd, "/srv/inbox"])
    assert [job.id for job in table.queue.running()] == [running.id]


def test_last_failures_are_the_latest_that_ended(fail, table):
    """By the time of their end, not by their number."""
    for path, now in (("a.jpg", 3000.0), ("b.jpg", 2000.0), ("c.jpg", 2500.0)):
        fail(path, now=now)
    assert [job.path for job in table.queries.last_failures(2)] == ["a.jpg", "c.jpg"]


def test_prune_keeps_the_rows_of_files_that_are_still_there(table):
    """The row keeps its file from being sent again; the ledger keeps its rows."""
    for path in ("gone.jpg", "there.jpg", "new.jpg"):
        table.deliver(table.add(path), 9000.0 if path == "new.jpg" else 1001.0)
    assert table.queries.prune(5000.0, lambda _folder, path: path == "there.jpg") == 1
    assert {job.path for job in table.queries.select()} == {"there.jpg", "new.jpg"}
    assert table.ledger.totals() == (3, 0)


def test_prune_deletes_older_versions_and_spares_open_and_untidy_jobs(table):
    """Only what has ended completely is deleted."""
    table.deliver(table.add("a.jpg", 1))
    newer = table.add("a.jpg", 2)
    table.add("b.jpg")
    table.deliver(newer, tidy=Tidy.ARCHIVE)
    assert table.queries.prune(5000.0, lambda *_: True) == 1
    assert table.queries.prune(5000.0, lambda *_: False) == 0
    assert len(table.queries.select()) == 2


def test_prune_goes_through_many_batches(table):
    """With rows in between that stay, the newest one among them."""
    arrivals = [Arrival("/srv/inbox", f"{number}.jpg", Version(10, 1), "fp", "p") for number in range(1200)]
    table.queue.enqueue(arrivals, 1.0)
    table.queries.cancel(folder="/srv/inbox", now=2000.0)
    assert table.queries.prune(5000.0, lambda _folder, path: path.startswith("7")) == 1200 - 111 - 1
    assert len(table.queries.select(limit=2000)) == 111 + 1


def test_a_number_is_never_used_twice(table):
    """The ledger's rows outlive their jobs: a new job of the same number would seem to have been paid for."""
    job = table.add("a.jpg")
    table.deliver(job)
    table.queries.prune(5000.0, lambda *_: False)
    other = table.add("b.jpg")
    assert other.id > job.id
    assert table.queries.attempts(other.id) == []


def test_outputs_are_found_by_path_source_and_key(table):
    """The newest first; a path that is delivered again has its new owner."""
    first, second = table.add("a.jpg"), table.add("b.jpg")
    table.deliver(first)
    table.deliver(second)
    one, other = table.output(first), table.output(second)
    assert table.outputs.at([one.path, other.path, "/out/none"]) == {one.path: one, other.path: other}
    assert table.outputs.of("/srv/inbox", "a.jpg") == [one]
    assert table.outputs.with_keys([table.key(second)]) == {table.key(second): [other]}
    again = table.add("a.jpg", 2)
    table.deliver(again)
    assert [output.job_id for output in table.outputs.of("/srv/inbox", "a.jpg")] == [again.id]
