"""What comes into the queue, what may be sent next, and each step of a job."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobs_table import Table

from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Charge, How, Key, Refusal, State, Tidy, Version
from rembg_watch.jobs.queue import LONGEST_WAIT, Accepted

# -- what comes in


def test_the_same_version_makes_one_job(table):
    """However often a scan reports a file, it is one job."""
    assert [table.arrive() for _ in range(3)] == [Accepted.NEW, Accepted.KNOWN, Accepted.KNOWN]
    assert len(table.queries.select()) == 1


def test_a_changed_file_replaces_its_unsent_job(table):
    """A file that changed before it was sent is sent once, in its newest version."""
    waiting = table.add(mtime=1)
    table.queue.end(waiting, State.WAITING, 1000.0, code="unreadable", message="denied", hint="chmod", not_before=2e3)
    assert table.arrive(mtime=2) is Accepted.CHANGED
    newer, older = table.queries.select()
    assert (newer.state, newer.version.mtime_ns) == (State.QUEUED, 2)
    assert (older.state, older.code, older.hint) == (State.SUPERSEDED, "changed", None)


def test_a_changed_file_after_its_end_is_a_new_job(table):
    """The earlier job stays done: it was paid for and delivered."""
    table.deliver(table.add(mtime=1))
    assert table.arrive(mtime=2) is Accepted.CHANGED
    assert [job.state for job in table.queries.select()] == [State.QUEUED, State.DONE]


def test_known_versions_are_the_current_ones_of_one_folder(table):
    """A scan learns with one query what of a folder is known; subfolders and other inboxes are apart."""
    odd = os.fsdecode(b"\xff\\.jpg")
    for path, mtime, more in (
        ("a/one.jpg", 1, {}),
        ("a/one.jpg", 2, {}),
        ("a/b/two.jpg", 1, {}),
        ("a/one.jpg", 3, {"folder": "/srv/other"}),
        (f"a/{odd}", 5, {}),
    ):
        table.arrive(path, mtime, **more)
    assert table.queue.known_versions("/srv/inbox", "a") == {"one.jpg": Version(10, 2), odd: Version(10, 5)}
    assert table.queue.known_version("/srv/inbox", f"a/{odd}") == Version(10, 5)
    assert table.queue.known_version("/srv/inbox", "a/none.jpg") is None


def test_a_changed_profile_reaches_queued_jobs_and_not_done_ones(table):
    """A job that was not sent gets the new options; a done one is not paid for again."""
    table.deliver(table.add("done.jpg"))
    table.add("new.jpg")
    for path in ("done.jpg", "new.jpg"):
        assert table.arrive(path, profile="blue") is Accepted.KNOWN
    assert [(job.path, job.profile) for job in table.ready("white", "blue")] == [("new.jpg", "blue")]


def test_a_refused_file_is_a_failed_job_that_costs_nothing(table):
    """What the preflight refuses is a job with the reason, and is never ready."""
    refusal = Refusal("empty", "the file is empty", "copy it again")
    assert table.arrive(refusal=refusal, tidy=Tidy.MOVE_FAILED) is Accepted.REFUSED
    (job,) = table.queries.select()
    assert (job.state, job.code, job.hint, job.tidy) == (State.FAILED, "empty", "copy it again", Tidy.MOVE_FAILED)
    assert table.ready() == []
    assert table.ledger.spent_since(0) == 0


def test_an_adopted_output_serves_its_own_source_only(table):
    """An output that was in place already ends its job; it is never copied for another photo."""
    assert table.arrive(adopt="/out/shoe.webp") is Accepted.ADOPTED
    (job,) = table.queries.select()
    assert (job.state, job.how) == (State.DONE, How.ADOPTED)
    assert [output.content_hash for output in table.queries.outputs(job)] == [None]


# -- what may be sent


def test_ready_returns_the_oldest_due_jobs_that_are_not_at_hand(table):
    """Queued and due waiting jobs of the given profiles, by age, without those at hand."""
    jobs = [table.add(f"{number}.jpg", profile="blue" if number == 2 else "white") for number in range(6)]
    table.queue.end(jobs[0], State.WAITING, 1000.0, not_before=1050.0)
    table.queue.end(jobs[4], State.WAITING, 1000.0, not_before=1001.0)
    table.add("other.jpg", folder="/srv/other")

    def ready(now, *profiles, **more):
        return [job.path for job in table.ready(*profiles, now=now, **more)]

    assert ready(1000.0) == ["1.jpg", "3.jpg", "5.jpg"]
    assert ready(1000.0, "white", "blue") == ["1.jpg", "2.jpg", "3.jpg", "5.jpg"]
    assert ready(1049.0, limit=3) == ["1.jpg", "3.jpg", "4.jpg"]
    assert ready(1050.0) == ["0.jpg", "1.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert ready(1050.0, at_hand=[jobs[0].id, jobs[3].id], limit=2) == ["1.jpg", "4.jpg"]


def test_a_newer_version_waits_for_the_delivery_of_the_older_one(table):
    """While the older one is running or received it is not ready: the older output could arrive last and stay."""
    older = table.add(mtime=1)
    attempt = table.send(older)
    newer = table.add(mtime=2)
    table.add("other.jpg")
    assert [job.path for job in table.ready()] == ["other.jpg"]
    table.receive(older, attempt)
    assert [job.path for job in table.ready()] == ["other.jpg"]
    table.finish(older)
    assert [job.id for job in table.ready(limit=1)] == [newer.id]


def test_received_returns_answers_to_be_delivered(table):
    """Those of the given inboxes that are not put off and not at hand, the oldest first."""
    jobs = [table.add(f"{number}.jpg") for number in range(4)]
    for job in jobs:
        table.receive(job, table.send(job))
    table.queue.put_off(jobs[1], 1050.0, "place", "no such name", "rename", 1000.0)
    table.receive(elsewhere := table.add("x.jpg", folder="/srv/other"), table.send(elsewhere))
    assert [job.id for job in table.queue.received(["/srv/inbox"], 1000.0, 9, [jobs[0].id])] == [3, 4]
    assert [job.id for job in table.queue.received(["/srv/inbox"], 1050.0, 2)] == [1, 2]
    (later,) = table.queue.received(["/srv/inbox"], 1050.0, 1, [jobs[0].id])
    assert (later.code, later.result_hash, later.result_size) == ("place", "result", 20)


def test_next_due_is_the_earliest_time_of_a_waiting_job(table):
    """Waiting jobs and answers that are put off both count."""
    waiting, received = table.add("a.jpg"), table.add("b.jpg")
    assert table.queue.next_due() is None
    table.queue.end(waiting, State.WAITING, 1000.0, not_before=1050.0)
    assert table.queue.next_due() == 1050.0
    table.receive(received, table.send(received))
    table.queue.put_off(received, 1020.0, "place", "", "", 1000.0)
    assert table.queue.next_due() == 1020.0


def test_open_count_counts_what_goes_on_by_itself(table):
    """By inbox, without held profiles, and without jobs that wait for something outside."""
    for path, more in (("a.jpg", {}), ("b.jpg", {"profile": "blue"}), ("c.jpg", {"folder": "/srv/other"})):
        table.add(path, **more)
    unreadable, received, done = table.add("d.jpg"), table.add("e.jpg", profile="blue"), table.add("f.jpg")
    table.queue.end(unreadable, State.WAITING, 1000.0, code="unreadable", not_before=2000.0)
    table.receive(received, table.send(received))
    table.deliver(done)
    assert table.queue.open_count() == 5
    assert table.queue.open_count(["/srv/inbox"]) == 4
    assert table.queue.open_count(["/srv/inbox"], held_profiles=["blue-fp"], able=True) == 2
    table.send(unreadable)
    assert table.queue.open_count(["/srv/inbox"], held_profiles=["blue-fp"], able=True) == 3


def test_refresh_profiles_sets_the_options_of_unsent_jobs(table):
    """By inbox and subfolder; sent, ended and removed inboxes' jobs keep what they have."""
    for path in ("a.jpg", "sub/b.jpg", "sub/deep/c.jpg", "waits.jpg", "sent.jpg", "done.jpg"):
        table.add(path)
    table.add("d.jpg", folder="/srv/removed")
    waits, sent, done = (table.queries.get(number) for number in (4, 5, 6))
    table.queue.end(waits, State.WAITING, 1000.0, not_before=2000.0)
    table.send(sent)
    table.deliver(done)

    def profile_of(folder, path):
        if folder == "/srv/removed":
            return None
        return ("red-fp", "red") if path.startswith("sub/") else ("blue-fp", "blue")

    table.queue.refresh_profiles(profile_of)
    assert {job.path: job.fingerprint for job in table.queries.select()} == {
        "a.jpg": "blue-fp",
        "sub/b.jpg": "red-fp",
        "sub/deep/c.jpg": "red-fp",
        "waits.jpg": "blue-fp",
        "sent.jpg": "white-fp",
        "done.jpg": "white-fp",
        "d.jpg": "white-fp",
    }


def test_needed_results_are_those_of_jobs_with_a_paid_answer(table):
    """Cleaning the result store must spare them; what is not sent or is done needs none."""
    table.add("queued.jpg")
    table.send(table.add("running.jpg"))
    table.receive(received := table.add("received.jpg"), table.send(received))
    table.deliver(table.add("done.jpg"))
    assert table.queue.needed_results() == {"picture of running.jpg-white-fp", "picture of received.jpg-white-fp"}


# -- the steps


def test_a_sent_photo_goes_all_the_way(table):
    """Queued, running, received, done: what was delivered, and what it cost."""
    job = table.add("a/shoe.jpg")
    attempt = table.send(job)
    running = table.queries.get(job.id)
    assert (running.state, running.attempt, running.api_sent_at) == (State.RUNNING, attempt, 1000.0)
    assert (running.content_hash, running.width) == ("picture of a/shoe.jpg", 640)
    assert table.ledger.totals() == (0, 1)
    assert table.receive(job, attempt)
    assert table.ledger.totals() == (1, 0)
    table.finish(job, tidy=Tidy.ARCHIVE)
    done = table.queries.get(job.id)
    assert (done.state, done.how, done.tidy, done.finished_at) == (State.DONE, How.SENT, Tidy.ARCHIVE, 1000.0)
    assert table.queries.outputs(done) == [table.output(job)]


def test_a_reused_result_goes_from_queued_to_received_to_done(table):
    """Nothing is sent and nothing is charged."""
    job = table.add()
    assert table.receive(job)
    assert table.state(job) is State.RECEIVED
    table.finish(job, how=How.REUSED)
    done = table.queries.get(job.id)
    assert (done.state, done.how) == (State.DONE, How.REUSED)
    assert table.ledger.totals() == (0, 0)


def _cancel(table, job):
    table.queries.cancel(ids=[job.id], now=1000.0)


def _replace(table, job):
    table.arrive(job.path, job.version.mtime_ns + 1)


def _reload(table, job):
    table.queue.refresh_profiles(lambda *_: ("blue-fp", "blue"))


@pytest.mark.parametrize("change", [_cancel, _replace, _reload])
def test_a_job_that_changed_after_it_was_claimed_is_not_sent(table, change):
    """Cancelled, replaced, or with other options: None, no attempt, and the row stays; the others are sent."""
    job, other = table.add(), table.add("other.jpg", profile="blue")
    change(table, job)
    before = table.queries.get(job.id)
    assert table.send(job) is None
    assert table.queries.get(job.id) == before
    assert table.queries.attempts(job.id) == []
    assert table.send(other) is not None


@pytest.mark.parametrize("change", [_cancel, _replace, _reload])
def test_a_reused_result_that_comes_too_late_changes_nothing(table, change):
    """Neither as received, nor as done where its output is in place already."""
    job = table.add()
    change(table, job)
    before = table.queries.get(job.id)
    assert not table.receive(job)
    table.finish(job, how=How.REUSED)
    assert table.queries.get(job.id) == before


def test_a_job_is_sent_once(table):
    """A second mark of the same job is refused, and writes no attempt."""
    job = table.add()
    assert table.send(job) is not None
    assert table.send(job) is None
    assert len(table.queries.attempts(job.id)) == 1


def test_marking_as_received_twice_is_harmless(table):
    """Before and after the end of the job: one charge, and a done job stays done."""
    job = table.add()
    attempt = table.send(job)
    assert [table.receive(job, attempt), table.receive(job, attempt)] == [True, True]
    table.finish(job)
    done = table.queries.get(job.id)
    assert not table.receive(job, attempt, charge=Charge.NOT_CHARGED)
    assert table.queries.get(job.id) == done
    assert table.ledger.totals() == (1, 0)


@pytest.mark.parametrize("counted", [False, True])
def test_a_failed_attempt_waits_until_its_time(table, counted):
    """The attempt has its charge and its reason; the job is sent again when it is due, without that reason."""
    job = table.add()
    end = AttemptEnd(Charge.NOT_CHARGED, "service", 503, "down", counted=counted)
    again = {"code": "service", "message": "down", "not_before": 1050.0, "attempt": (table.send(job), end)}
    assert table.queue.end(job, State.WAITING, 1000.0, counted=counted, **again)
    (waiting,) = table.ready(now=1050.0)
    assert (waiting.state, waiting.attempts, waiting.code) == (State.WAITING, int(counted), "service")
    assert [attempt.code for attempt in table.queries.attempts(job.id)] == ["service"]
    assert table.send(waiting, 1050.0) is not None
    running = table.queries.get(job.id)
    assert (running.code, running.message, running.not_before) == (None, None, None)


@pytest.mark.parametrize("state", [State.QUEUED, State.WAITING])
def test_a_replaced_version_is_not_sent_again(table, state):
    """Its attempt failed and a newer version is there: it is superseded, and the newer one is ready."""
    older = table.add(mtime=1)
    table.send(older)
    newer = table.add(mtime=2)
    assert table.queue.end(older, state, 1000.0, code="service", not_before=1000.0)
    assert table.state(older) is State.SUPERSEDED
    assert [job.id for job in table.ready()] == [newer.id]
    assert table.queue.open_count() == 1


def test_a_lost_answer_is_sent_for_again(table):
    """An answer that is nowhere to be found leaves nothing of itself: neither a result nor a saving."""
    job = table.add()
    table.receive(job)
    assert table.queue.end(job, State.QUEUED, 1000.0)
    again = table.queries.get(job.id)
    assert (again.state, again.result_hash, again.how) == (State.QUEUED, None, None)


def test_an_ended_job_ends_once(table):
    """A step that comes too late is reported, and changes nothing."""
    job = table.add()
    assert table.queue.end(job, State.FAILED, 1000.0, code="image")
    before = table.queries.get(job.id)
    assert not table.queue.end(job, State.WAITING, 1001.0, not_before=2000.0)
    table.queue.put_off(job, 2000.0, "place", "", "", 1001.0)
    assert table.queries.get(job.id) == before


def test_a_file_that_changed_on_the_way_may_come_back(table):
    """The job of the version that is gone is superseded; the same version again is a new job."""
    job = table.add()
    table.queue.end(job, State.SUPERSEDED, 1000.0, code="changed", forget=True)
    assert table.arrive() is Accepted.NEW


# -- the source


def test_tidying_is_remembered_until_it_is_done(table):
    """What is left to do with a source survives a crash; afterwards the same file is a new job."""
    table.deliver(table.add(), tidy=Tidy.ARCHIVE)
    table.deliver(table.add("stays.jpg"), tidy=Tidy.DELETE)
    first, second = table.queue.untidy(["/srv/inbox"])
    assert table.queue.untidy(["/srv/other"]) == []
    assert table.queue.untidy(["/srv/inbox"], after=first.id) == [second]
    table.queue.tidied(first)
    table.queue.leave_source(second)
    assert table.queue.untidy(["/srv/inbox"]) == []
    assert table.arrive() is Accepted.NEW
    assert table.arrive("stays.jpg") is Accepted.KNOWN


@pytest.mark.parametrize("newer_first", [True, False])
def test_a_newer_version_is_never_tidied_for_the_older_one(table, newer_first):
    """The file that is there now was not sent yet: it is neither archived nor deleted."""
    older = table.add(mtime=1)
    attempt = table.send(older)
    for step in ("newer", "done") if newer_first else ("done", "newer"):
        if step == "newer":
            table.arrive(mtime=2)
        else:
            table.receive(older, attempt)
            table.finish(older, tidy=Tidy.DELETE)
    assert table.queue.untidy(["/srv/inbox"]) == []


def test_a_job_that_is_retried_while_its_source_is_put_away_stays_current(table):
    """It is still the job of its file: the same version makes no second one."""
    job = table.add()
    table.deliver(job, tidy=Tidy.ARCHIVE)
    (untidy,) = table.queue.untidy(["/srv/inbox"])
    table.queries.retry(ids=[job.id], now=1001.0)
    table.queue.tidied(untidy)
    assert table.arrive() is Accepted.KNOWN


# -- the start


def test_an_interrupted_job_is_queued_again_and_its_attempt_counts(table):
    """The answer never came: possibly charged, code interrupted, counted against the key."""
    job = table.add()
    table.send(job)
    (found,) = table.queue.running()
    table.queue.requeue_interrupted(found, 1010.0, 1)
    assert table.state(job) is State.QUEUED
    (attempt,) = table.queries.attempts(job.id)
    assert (attempt.code, attempt.charge, attempt.ended_at) == ("interrupted", Charge.POSSIBLY, 1010.0)
    assert table.ledger.wasted([(Key("picture of shoe.jpg", "white-fp"), None)])[0].lost == 1
    assert table.queue.running() == []


def test_an_interrupted_version_that_was_replaced_is_superseded(table):
    """Only the newest version is sent."""
    older = table.add(mtime=1)
    table.send(older)
    newer = table.add(mtime=2)
    (found,) = table.queue.running()
    table.queue.requeue_interrupted(found, 1010.0, 1)
    ended = table.queries.get(older.id)
    assert (ended.state, ended.finished_at) == (State.SUPERSEDED, 1010.0)
    assert [job.id for job in table.ready()] == [newer.id]


def test_crashes_are_counted_until_an_answer_comes(table):
    """Those in a row; an answer, or any other end of the attempt, starts over."""
    job = table.add()
    for crashes in (1, 2):
        attempt = table.send(job)
        table.queue.count_crash(job)
        assert table.queries.get(job.id).crashes == crashes
        table.queue.requeue_interrupted(job, 1010.0, crashes)
    attempt = table.send(job)
    table.receive(job, attempt)
    assert table.queries.get(job.id).crashes == 0


@settings(max_examples=30)
@given(put_off=st.booleans(), written=st.floats(0, 1e6), wait=st.floats(0, LONGEST_WAIT), now=st.floats(0, 1e6))
def test_nothing_waits_longer_than_it_was_meant_to(tmp_path_factory, put_off, written, wait, now):
    """Whatever the clock did between two starts: jobs and answers are due after their wait at the latest."""
    with Database(tmp_path_factory.mktemp("mend") / "jobs.db") as database:
        table = Table(database)
        job = table.add()
        if put_off:
            table.receive(job)
            table.queue.put_off(job, written + wait, "place", "", "", written)
        else:
            table.queue.end(job, State.WAITING, written, not_before=written + wait)
        table.queue.mend_waiting(now)
        assert table.queue.next_due() <= min(written, now) + wait + 0.001
