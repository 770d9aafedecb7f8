"""What people ask of the queue, and change in it."""

from __future__ import annotations

import pytest

from rembg_watch.jobs.arrivals import Accepted
from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Arrival, Charge, State, Tidy, Version
from rembg_watch.jobs.overview import Overview


@pytest.fixture
def fail(arrive, claim, store):
    """Make a failed job, with everything a run leaves behind."""

    def _fail(path="shoe.jpg", *, folder="/srv/inbox", now=1001.0, tidy=None):
        arrive(path, folder=folder)
        (job,) = claim()
        attempt = store.mark_sent(job, "hash", "/o/x.webp", "/o/.x.part", now)
        end = AttemptEnd(Charge.NOT_CHARGED, "image", 400, "not a picture")
        store.end(
            job,
            State.FAILED,
            now,
            code="image",
            message="not a picture",
            hint="look",
            tidy=tidy,
            attempt=(attempt, end),
        )
        return job.id

    return _fail


def test_retry_of_a_failed_job_starts_afresh(fail, steering):
    """Nothing of the earlier run is left that could be taken for this one's; its attempts stay in the ledger."""
    number = fail(tidy=Tidy.MOVE_FAILED)
    assert steering.retry(ids=[number], now=2000.0) == [number]
    job = steering.get(number)
    assert (job.state, job.attempts, job.forced, job.tidy) == (State.QUEUED, 0, False, None)
    assert (job.code, job.message, job.hint, job.finished_at) == (None, None, None, None)
    assert (job.temp, job.api_sent_at, job.result_hash) == (None, None, None)
    assert len(steering.attempts(number)) == 1


def test_retry_of_a_done_job_forces_the_work(arrive, claim, deliver, steering):
    """A result of the same bytes exists, and is not what was asked for."""
    arrive()
    deliver(*claim())
    steering.retry(ids=[1], now=2000.0)
    (job,) = claim(now=2001.0)
    assert job.forced
    assert job.result_hash is None


def test_retry_of_a_waiting_job_keeps_what_is_paid(arrive, claim, store, steering):
    """Impatience costs nothing: an answer that waits for its outbox is still there."""
    arrive()
    (job,) = claim()
    attempt = store.mark_sent(job, "hash", "/o/x.webp", "/o/.x.part", 1001.0)
    store.mark_received(job, attempt, AttemptEnd(Charge.CHARGED), "answer", 20, "/o/.x.part", 1002.0)
    store.end(job, State.WAITING, 1003.0, not_before=9000.0, keep_answer=True)
    assert steering.retry(ids=[job.id], now=1004.0) == [job.id]
    (again,) = claim(now=1005.0)
    assert (again.temp, again.result_hash) == ("/o/.x.part", "answer")


def test_retry_all_failed_of_one_inbox(fail, steering):
    """Only failed jobs, and only of that inbox."""
    one = fail("a.jpg")
    fail("b.jpg", folder="/srv/other")
    assert steering.retry(failed=True, folder="/srv/inbox", now=2000.0) == [one]
    assert [job.state for job in steering.select()] == [State.FAILED, State.QUEUED]


def test_retry_and_cancel_of_nothing_named_do_nothing(fail, arrive, steering):
    """An empty list is not everything."""
    fail()
    arrive("b.jpg")
    assert steering.retry(now=1.0) == []
    assert steering.cancel(now=1.0) == []


def test_retry_leaves_running_and_older_versions_alone(arrive, claim, fail, steering):
    """What is being sent is not sent twice; of a changed file only the newest version is worth a credit."""
    number = fail("a.jpg")
    arrive("a.jpg", 2)
    (running,) = claim()
    assert steering.retry(ids=[number, running.id], now=2000.0) == []


def test_cancel_stops_what_was_not_sent(arrive, claim, store, steering):
    """Queued and waiting jobs end as cancelled; the same file is not taken in again by the next scan."""
    arrive("a.jpg")
    arrive("b.jpg")
    (job,) = claim()
    store.end(job, State.WAITING, 1001.0, not_before=2000.0)
    assert steering.cancel(folder="/srv/inbox", now=1002.0) == [1, 2]
    assert {job.state for job in steering.select()} == {State.CANCELLED}
    assert claim(now=3000.0) == []
    assert arrive("a.jpg") is Accepted.KNOWN


def test_cancel_spares_what_is_paid(arrive, claim, store, steering):
    """A job that is being sent, or whose answer waits for its outbox, has cost its credit."""
    arrive("a.jpg")
    arrive("b.jpg")
    sent, received = claim(2)
    attempt = store.mark_sent(received, "hash", "/o/x.webp", "/o/.x.part", 1001.0)
    store.mark_received(received, attempt, AttemptEnd(Charge.CHARGED), "answer", 20, "/o/.x.part", 1002.0)
    store.end(received, State.WAITING, 1003.0, not_before=9000.0, keep_answer=True)
    assert steering.cancel(ids=[sent.id, received.id], now=1004.0) == []


def test_select_gives_the_newest_first(arrive, steering):
    """With a limit, a state and a folder."""
    for number in range(5):
        arrive(f"{number}.jpg", folder=f"/srv/{number % 2}")
    steering.cancel(ids=[5], now=1.0)
    assert [job.id for job in steering.select(limit=3)] == [5, 4, 3]
    assert [job.id for job in steering.select(state=State.QUEUED, folder="/srv/0")] == [3, 1]


def test_times_sent_of_many_jobs(arrive, claim, deliver, steering, store):
    """In one question, for as many as one likes; who was never sent is not there."""
    for name in ("once.jpg", "twice.jpg", "never.jpg"):
        arrive(name)
    once, twice, never = claim(3)
    for job in (once, twice):
        deliver(job)
    steering.retry(ids=[twice.id], now=1005.0)
    deliver(*claim())
    assert steering.times_sent([once, never] + [twice] * 100_000) == {once.id: 1, twice.id: 2}


def test_counts_by_folder_and_state(arrive, claim, deliver, steering, database):
    """What status adds up, with the names of folders as they are on disk."""
    odd = "/srv/back\\slash"
    arrive("a.jpg", folder=odd)
    arrive("b.jpg", folder=odd)
    arrive("c.jpg")
    deliver(*claim())
    assert steering.counts() == {odd: {State.DONE: 1, State.QUEUED: 1}, "/srv/inbox": {State.QUEUED: 1}}
    overview = Overview(database)
    assert overview.queued() == {(odd, "white-fp"): 1, ("/srv/inbox", "white-fp"): 1}
    assert (overview.done_since(1000.0), overview.done_since(1004.0)) == (1, 0)
    assert overview.spent_by_folder(0.0) == {odd: 1}
    assert overview.folders() == sorted([odd, "/srv/inbox"])


def test_last_failures_are_the_latest_that_ended(fail, database):
    """By the time of their end, not by their number."""
    fail("a.jpg", now=3000.0)
    fail("b.jpg", now=2000.0)
    fail("c.jpg", now=2500.0)
    assert [job.path for job in Overview(database).last_failures(2)] == ["a.jpg", "c.jpg"]


def test_prune_keeps_the_rows_of_files_that_are_still_there(arrive, claim, deliver, steering, ledger):
    """A row is what keeps its file from being sent again; ledger rows stay whatever becomes of their job."""
    for path in ("gone.jpg", "there.jpg", "new.jpg"):
        arrive(path)
        deliver(*claim(), now=9000.0 if path == "new.jpg" else 1001.0)
    assert steering.prune(5000.0, lambda _folder, path: path == "there.jpg") == 1
    assert {job.path for job in steering.select()} == {"there.jpg", "new.jpg"}
    assert ledger.totals() == (3, 0)


def test_prune_forgets_older_versions_and_spares_what_is_open_or_untidy(arrive, claim, deliver, steering, store):
    """Only what has ended, in whole, is forgotten."""
    arrive("a.jpg", 1)
    deliver(*claim())
    arrive("a.jpg", 2)
    arrive("b.jpg")
    jobs = claim(2)
    deliver(jobs[0], tidy=Tidy.ARCHIVE)
    assert steering.prune(5000.0, lambda *_: True) == 1
    assert steering.prune(5000.0, lambda *_: False) == 0
    assert len(steering.select()) == 2


def test_prune_goes_through_many(store, steering):
    """More than one batch, with survivors in between."""
    store.enqueue([Arrival("/srv/inbox", f"{number}.jpg", Version(10, 1), "fp", "p") for number in range(1200)], 1.0)
    steering.cancel(folder="/srv/inbox", now=2000.0)
    assert steering.prune(5000.0, lambda _folder, path: path.startswith("7")) == 1200 - 111 - 1
    assert len(steering.select(limit=2000)) == 111 + 1


def test_a_number_is_never_given_twice(steering, arrive, claim, deliver):
    """The ledger's rows outlive their jobs: a new job of the same number would seem to have been paid for."""
    arrive("a.jpg")
    (job,) = claim()
    deliver(job)
    steering.prune(5000.0, lambda *_: False)
    arrive("b.jpg")
    (other,) = claim()
    assert other.id > job.id
    assert not steering.attempts(other.id)


def test_cancel_spares_what_may_be_paid(arrive, claim, store, steering):
    """After a crash the answer of a photo that was sent may be there: the next claim looks for it."""
    arrive("a.jpg")
    (job,) = claim()
    store.mark_sent(job, "hash", "/o/x.webp", "/o/.x.part", 1001.0)
    store.take_back(1002.0)
    assert steering.cancel(ids=[job.id], now=1003.0) == []
    (again,) = claim()
    store.end(again, State.WAITING, 1004.0, not_before=9000.0, keep_answer=True)  # it looked, and a fault of ours came
    assert steering.cancel(ids=[job.id], now=1005.0) == [job.id]
