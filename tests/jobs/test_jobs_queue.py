"""What comes into the queue, who claims it, and how each claim ends."""

from __future__ import annotations

import os
import threading

import pytest

from rembg_watch.jobs.arrivals import Accepted
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Arrival, Charge, How, Output, Refusal, State, Tidy, Version
from rembg_watch.jobs.store import JobStore


def test_same_version_makes_one_job(arrive, steering):
    """However often a scan reports a file, it is one job."""
    assert [arrive(), arrive(), arrive()] == [Accepted.NEW, Accepted.KNOWN, Accepted.KNOWN]
    assert len(steering.select()) == 1


def test_changed_file_replaces_a_queued_job(arrive, steering):
    """A file that changed before it was sent is sent once, in its newest version."""
    arrive(mtime=1)
    assert arrive(mtime=2) is Accepted.CHANGED
    newer, older = steering.select()
    assert (newer.state, newer.version.mtime_ns) == (State.QUEUED, 2)
    assert older.state is State.SUPERSEDED
    assert "changed" in older.message


def test_changed_file_after_it_was_done_is_a_new_job(arrive, claim, deliver, steering):
    """The earlier job stays done: it was paid for and delivered."""
    arrive(mtime=1)
    deliver(*claim())
    assert arrive(mtime=2) is Accepted.CHANGED
    assert [job.state for job in steering.select()] == [State.QUEUED, State.DONE]


def test_known_versions_of_a_folder(arrive, store):
    """A scan learns with one query what of a folder is known, the current versions only, subfolders apart."""
    arrive("a/one.jpg", 1)
    arrive("a/one.jpg", 2)
    arrive("a/b/two.jpg")
    arrive("a/one.jpg", folder="/srv/other")
    raw = os.fsdecode(b"a/\xff.jpg")
    arrive(raw, 5)
    assert store.known_versions("/srv/inbox", "a") == {
        "one.jpg": Version(10, 2),
        os.fsdecode(b"\xff.jpg"): Version(10, 5),
    }


def test_changed_profile_reaches_what_is_still_queued(arrive, claim):
    """After a reload a job that was not sent yet is sent with the new options."""
    arrive(profile="white")
    assert arrive(profile="blue") is Accepted.KNOWN
    (job,) = claim()
    assert (job.profile, job.fingerprint) == ("blue", "blue-fp")


def test_changed_profile_does_not_pay_again_for_what_is_done(arrive, claim, deliver):
    """A done job of the same file stays done whatever the profile says now."""
    arrive(profile="white")
    deliver(*claim())
    assert arrive(profile="blue") is Accepted.KNOWN
    assert claim() == []


def test_refused_file_is_a_failed_job_that_costs_nothing(arrive, claim, steering, ledger):
    """What preflight refuses is visible as a job, with the reason, and is never claimed."""
    refusal = Refusal("empty", "the file is empty", "copy it again")
    assert arrive(refusal=refusal, tidy=Tidy.MOVE_FAILED) is Accepted.REFUSED
    (job,) = steering.select()
    assert (job.state, job.code, job.hint, job.tidy) == (State.FAILED, "empty", "copy it again", Tidy.MOVE_FAILED)
    assert claim() == []
    assert ledger.spent_since(0) == 0


def test_adopted_output_is_known_but_never_copied(arrive, steering, database):
    """An output that lay there already stands for its own source, and serves no other one: nobody knows its bytes."""
    assert arrive(adopt="/srv/outbox/shoe.webp") is Accepted.ADOPTED
    (job,) = steering.select()
    assert (job.state, job.how) == (State.DONE, How.ADOPTED)
    (output,) = steering.outputs(job)
    assert output.content_hash is None


def test_claim_takes_the_highest_priority_then_the_oldest(arrive, claim):
    """A batch comes in the order of its worth, and so does the next one."""
    for path, priority in (("c.jpg", 0), ("a.jpg", 5), ("d.jpg", 0), ("b.jpg", 5), ("e.jpg", -1)):
        arrive(path, priority=priority)
    assert [job.path for job in claim(3)] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [job.path for job in claim(9)] == ["d.jpg", "e.jpg"]


def test_held_lanes_are_left_out(arrive, claim):
    """Held inboxes and profiles wait, and hold nobody else up, whatever their priority."""
    arrive("held.jpg", folder="/srv/held", priority=9)
    arrive("odd.jpg", profile="odd", priority=9)
    arrive("fine.jpg")
    assert [job.path for job in claim(9, folders=["/srv/held"], profiles=["odd-fp"])] == ["fine.jpg"]
    assert {job.path for job in claim(9)} == {"held.jpg", "odd.jpg"}


def test_newer_version_waits_for_the_older_one_to_end(arrive, claim, deliver):
    """Two versions of one file are never worked on at once: the older answer could arrive last and stay."""
    arrive(mtime=1)
    (older,) = claim()
    arrive(mtime=2)
    arrive("other.jpg")
    assert [job.path for job in claim(9)] == ["other.jpg"]
    deliver(older)
    assert [job.version.mtime_ns for job in claim(9)] == [2]


def test_waiting_job_is_claimed_when_its_time_has_come(arrive, claim, store):
    """A job that waits is not seen before its time, and comes by itself after it."""
    arrive()
    (job,) = claim()
    assert store.end(job, State.WAITING, 1001.0, counted=True, not_before=1050.0)
    assert store.next_due() == 1050.0
    assert claim(now=1049.0) == []
    (again,) = claim(now=1050.0)
    assert (again.id, again.attempts, again.not_before) == (job.id, 1, None)
    assert store.next_due() is None


@pytest.mark.parametrize("step", ["sent", "received", "finish", "end", "profile"])
def test_late_worker_changes_nothing(arrive, claim, store, steering, step):
    """Once a claim was taken back, what its worker still says about the job is refused, step by step."""
    arrive()
    (late,) = claim()
    store.take_back(1002.0)
    (now,) = claim(now=1003.0)
    assert now.lease != late.lease
    before = steering.get(now.id)
    output = Output("/srv/outbox/x.webp", late.id, late.folder, late.path, "h", late.fingerprint, "r", 1, 1.0)
    said = {
        "sent": lambda: store.mark_sent(late, "h", "/o", "/t", 1004.0),
        "received": lambda: store.mark_received(late, None, AttemptEnd(Charge.CHARGED), "r", 1, "/out/.temp", 1004.0),
        "finish": lambda: store.finish(late, output, How.SENT, None, 1004.0),
        "end": lambda: store.end(late, State.FAILED, 1004.0),
        "profile": lambda: store.use_profile(late, "x", "x"),
    }[step]()
    assert not said
    assert steering.get(now.id) == before
    assert steering.attempts(now.id) == []
    assert steering.outputs(now) == []


def test_no_job_is_claimed_twice_by_many_threads(tmp_path):
    """Eight threads on two connections claim 400 jobs: each job once."""
    with Database(tmp_path / "jobs.db") as one, Database(tmp_path / "jobs.db", guest=True) as other:
        JobStore(one).enqueue(
            [Arrival("/in", f"{i}.jpg", Version(1, 1), "fp", "p", priority=i % 3) for i in range(400)], 1.0
        )
        claimed: list[int] = []

        def work(database):
            store = JobStore(database)
            while jobs := store.claim(7, 2.0, 60.0):
                claimed.extend(job.id for job in jobs)

        threads = [threading.Thread(target=work, args=((one, other)[i % 2],)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(claimed) == sorted(set(claimed))
    assert len(claimed) == 400


def test_done_job_has_its_output_and_its_charge(arrive, claim, deliver, steering, ledger):
    """The whole way of one photo: what was delivered, what it cost, and nothing left of the claim."""
    arrive("a/shoe.jpg")
    (job,) = claim()
    output = deliver(job)
    done = steering.get(job.id)
    assert (done.state, done.how, done.lease, done.temp) == (State.DONE, How.SENT, None, None)
    assert steering.outputs(done) == [output]
    (attempt,) = steering.attempts(job.id)
    assert (attempt.charge, attempt.status) == (Charge.CHARGED, 200)
    assert ledger.totals() == (1, 0)


def test_crash_after_sending_is_possibly_charged(arrive, claim, store, ledger, steering):
    """An attempt whose answer never came stays in the ledger as possibly charged; the job goes on by itself."""
    arrive()
    (job,) = claim()
    store.mark_sent(job, "hash", "/srv/outbox/shoe.webp", "/srv/outbox/.shoe.part", 1001.0)
    assert ledger.totals() == (0, 1)
    (found,) = store.take_back(1010.0)
    assert (found.temp, found.api_sent_at) == ("/srv/outbox/.shoe.part", 1001.0)
    assert steering.get(job.id).state is State.QUEUED


def test_tidying_is_remembered_until_it_is_done(arrive, claim, deliver, store, steering):
    """What is still to be done with a source survives a crash; afterwards the same file coming back is a new job."""
    arrive()
    (job,) = claim()
    deliver(job, tidy=Tidy.ARCHIVE)
    (untidy,) = store.untidy()
    assert untidy.tidy is Tidy.ARCHIVE
    store.tidied(untidy)
    assert store.untidy() == []
    assert arrive() is Accepted.NEW


@pytest.mark.parametrize("when", ["before the end", "after the end"])
def test_newer_version_is_never_tidied_for_the_older_one(arrive, claim, deliver, store, when):
    """A photo that changed meanwhile is not archived or deleted: what lies there now was not sent yet."""
    arrive(mtime=1)
    (job,) = claim()
    if when == "before the end":
        arrive(mtime=2)
    deliver(job, tidy=Tidy.DELETE)
    if when == "after the end":
        arrive(mtime=2)
    assert store.untidy() == []


def test_paid_answer_is_kept_for_the_next_claim(arrive, claim, store, steering):
    """Where the outbox is full, the answer in its temporary file waits with the job and is not bought again."""
    arrive()
    (job,) = claim()
    attempt = store.mark_sent(job, "hash", "/o/x.webp", "/o/.x.part", 1001.0)
    store.mark_received(job, attempt, AttemptEnd(Charge.CHARGED), "answer", 20, "/s/x.part", 1002.0)
    store.end(job, State.WAITING, 1003.0, not_before=1004.0, keep_answer=True)
    (again,) = claim(now=1004.0)
    assert (again.temp, again.result_hash, again.result_size) == ("/s/x.part", "answer", 20)


@pytest.mark.parametrize(("profile", "sent"), [("white", 1001.0), ("blue", None)])
def test_a_newer_version_gets_what_a_dead_process_may_have_left(arrive, claim, store, steering, profile, sent):
    """The file was told of anew while it was sent: its answer may be there, unless other options are asked for now."""
    arrive(mtime=1)
    (job,) = claim()
    store.mark_sent(job, "hash", "/o/x.webp", "/o/.x.part", 1001.0)
    arrive(mtime=2, profile=profile)
    store.take_back(1010.0)
    newer, older = steering.select()
    assert (newer.state, newer.temp, newer.api_sent_at) == (State.QUEUED, "/o/.x.part" if sent else None, sent)
    assert (older.state, older.temp) == ((State.SUPERSEDED, None) if sent else (State.QUEUED, "/o/.x.part"))
    assert older.lease is None


def test_a_paid_answer_stays_with_its_version_and_goes_first(arrive, claim, store, steering):
    """The file changed while its answer waits: that one may stand in its place already, and is not forgotten."""
    arrive(mtime=1)
    (job,) = claim()
    attempt = store.mark_sent(job, "hash", "/o/x.webp", "/o/.x.part", 1001.0)
    store.mark_received(job, attempt, AttemptEnd(Charge.CHARGED), "answer", 20, "/o/.x.part", 1002.0)
    store.take_back(1010.0)
    arrive(mtime=2)
    assert [one.state for one in steering.select()] == [State.QUEUED, State.QUEUED]
    (first,) = claim(9)
    assert (first.id, first.result_hash) == (job.id, "answer")


def test_what_is_open(arrive, claim, store, deliver):
    """Open jobs are those that go on by themselves."""
    assert (store.ready(), store.open_count()) == (False, 0)
    arrive("a.jpg")
    arrive("b.jpg")
    (job,) = claim()
    assert (store.ready(), store.open_count()) == (True, 2)
    assert [running.id for running in store.running()] == [job.id]
    deliver(job)
    assert store.open_count() == 1
