"""One image, one straight line: with a real table, real files and the real sandbox."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import pytest
from PIL import Image

from rembg_watch.api.options import Options
from rembg_watch.config.model import Profile
from rembg_watch.dispatch.report import Ended
from rembg_watch.dispatch.steps import Step
from rembg_watch.dispatch.tidying import Tidying, tidy_source
from rembg_watch.errors import StateError
from rembg_watch.jobs.model import How, State, Tidy


def test_the_steps_come_in_their_order(bench, pic):
    """Sent is written down before the body goes out, received before the name is given, done after it is synced."""
    report = bench.work("sub/a.jpg", pic())
    assert report.ended is Ended.DONE
    assert (report.sent, report.spent) == (True, True)
    copied = {Step.MARKED_COPY, Step.COPIED, Step.TIDIED}
    assert bench.seen.steps == [step for step in Step if step not in copied]
    job = bench.job("sub/a.jpg")
    assert (job.state, job.how, job.temp) == (State.DONE, How.SENT, None)
    assert job.output == str(bench.outbox / "sub/a.png")
    assert bench.ledger.totals() == (1, 0)
    assert [path.name for path in (bench.outbox / "sub").iterdir()] == ["a.png"]


def test_before_the_body_goes_out_everything_is_written_down(bench, pic):
    """At the moment of sending the row has the attempt, the content's hash, the output's and the temporary file's path."""
    rows = {}

    def look(step):
        if step is Step.MARKED_SENT:
            rows["job"] = bench.job("a.jpg")
            rows["ledger"] = bench.ledger.totals()
            rows["requests"] = len(bench.sandbox.requests)

    bench.at = look
    bench.work("a.jpg", pic())
    assert rows["requests"] == 0
    assert rows["ledger"] == (0, 1)
    assert rows["job"].api_sent_at
    assert len(rows["job"].content_hash) == 64
    assert rows["job"].output == str(bench.outbox / "a.png")
    assert os.path.dirname(rows["job"].temp) == str(bench.outbox)


@pytest.mark.parametrize("step", [Step.CLAIMED, Step.READ])
@pytest.mark.parametrize("what", ["changed", "removed", "touched"])
def test_a_photo_that_changes_before_it_is_sent_costs_nothing(bench, pic, step, what):
    """The job is superseded, intake is told to look again, and no request is made."""

    def spoil(at):
        if at is step:
            file = bench.inbox / "a.jpg"
            if what == "changed":
                file.write_bytes(pic("blue"))
            elif what == "touched":
                os.utime(file, ns=(1, 1))
            else:
                file.unlink()

    bench.at = spoil
    report = bench.work("a.jpg", pic())
    assert (report.ended, report.sent) == (Ended.REFUSED, False)
    assert bench.job("a.jpg").state is State.SUPERSEDED
    assert bench.seen.again == ["a.jpg"]
    assert bench.sandbox.requests == []
    assert bench.ledger.totals() == (0, 0)


def test_a_photo_that_changes_while_it_is_sent_is_never_sent_whole(bench, pic):
    """A change after the first byte breaks the request off before its end: nothing is charged."""

    def spoil(at):
        if at is Step.MARKED_SENT:
            os.utime(bench.inbox / "a.jpg", ns=(5, 5))

    bench.at = spoil
    report = bench.work("a.jpg", pic(size=(900, 700)))
    assert report.ended is Ended.REFUSED
    assert bench.sandbox.charged == 0
    assert bench.job("a.jpg").state is State.SUPERSEDED
    assert not list(bench.outbox.iterdir())


def test_the_same_bytes_are_copied_and_an_edited_result_is_not(bench, pic):
    """A paid result serves for a copy of the photo, as long as it still is what was delivered."""
    bench.work("a.jpg", pic())
    assert bench.work("b.jpg", pic()).ended is Ended.DONE
    assert bench.job("b.jpg").how is How.REUSED
    for name in ("a.png", "b.png"):
        (bench.outbox / name).write_bytes(b"edited")
    bench.work("c.jpg", pic())
    assert bench.job("c.jpg").how is How.SENT
    assert bench.sandbox.charged == 2


def test_reuse_can_be_switched_off(bench, pic):
    """With ``reuse_results: false`` each copy of a photo is sent."""
    bench.folder = replace(bench.folder, reuse_results=False)
    bench.config = replace(bench.config, folders=(bench.folder,))
    bench.work("a.jpg", pic())
    bench.work("b.jpg", pic())
    assert bench.sandbox.charged == 2


def test_a_forced_job_is_sent_again_and_replaces_its_output(bench, pic):
    """``jobs retry`` of a done job pays once more, for the same place."""
    bench.work("a.jpg", pic())
    bench.steering.retry(ids=[bench.job("a.jpg").id], now=bench.now)
    report = bench.work()
    assert (report.ended, report.spent) == (Ended.DONE, True)
    assert bench.sandbox.charged == 2
    assert [path.name for path in bench.outbox.iterdir()] == ["a.png"]


def test_a_job_takes_the_options_of_the_config_as_it_is_now(bench, pic):
    """A profile that was changed since the photo came in is used as it is by now."""
    bench.arrive("a.jpg", pic())
    profile = Profile("plain", Options(format="jpeg", bg_color="#00ff00"))
    bench.folder = replace(bench.folder, profile=profile)
    bench.config = replace(bench.config, folders=(bench.folder,), profiles={"plain": profile})
    bench.work()
    with Image.open(bench.outbox / "a.jpg") as result:
        assert result.getpixel((0, 0))[1] > 240
    assert bench.job("a.jpg").fingerprint == profile.options.fingerprint


def test_the_line_that_is_held_gives_the_job_back(bench, pic):
    """A hold that began while the job waited for its turn costs nothing and no attempt."""

    def held(*_job):
        raise InterruptedError

    bench.worker._tools = replace(bench.worker._tools, turn=held)
    report = bench.work("a.jpg", pic())
    assert (report.ended, report.sent, report.spent) == (Ended.REFUSED, False, False)
    job = bench.job("a.jpg")
    assert (job.state, job.attempts) == (State.QUEUED, 0)


def test_a_fault_of_ours_keeps_the_permit_and_waits(bench, pic):
    """An unforeseen error after the photo was sent counts as spent, and the job does not spin."""

    def crash(step):
        if step is Step.ANSWERED:
            raise KeyError("a bug")

    bench.at = crash
    report = bench.work("a.jpg", pic())
    assert (report.sent, report.spent) == (True, True)
    job = bench.job("a.jpg")
    assert (job.state, job.code) == (State.WAITING, "internal")
    assert job.not_before > bench.now + 60
    assert bench.ledger.totals() == (0, 1)


def test_a_photo_behind_a_link_is_not_sent(bench, pic):
    """A folder that became a link after intake leads nowhere."""
    bench.arrive("sub/a.jpg", pic())
    (bench.inbox / "sub").rename(bench.root / "elsewhere")
    (bench.inbox / "sub").symlink_to(bench.root / "elsewhere")
    report = bench.work()
    assert report.ended is Ended.REFUSED
    assert bench.sandbox.requests == []


def test_what_the_api_would_refuse_fails_here(bench):
    """A file that is no picture any more than its name says fails without a request, to be moved where that is wished."""
    bench.folder = replace(bench.folder, on_failure="move", failed=bench.root / "failed")
    bench.config = replace(bench.config, folders=(bench.folder,))
    report = bench.work("a.jpg", b"\xff\xd8\xffnot really")
    assert (report.ended, report.failed) == (Ended.REFUSED, True)
    assert bench.job("a.jpg").state is State.FAILED
    assert bench.seen.tidied == [("a.jpg", Tidy.MOVE_FAILED)]
    assert bench.sandbox.requests == []


def test_two_workers_never_choose_one_place(bench, pic, in_thread, wait_until):
    """Two photos of one stem at the same time get an output each."""
    bench.sandbox.latency = 3600
    bench.arrive("a.jpg", pic("red"))
    bench.arrive("a.png", pic("blue", form="PNG"))
    jobs = bench.store.claim(2, bench.now, 100.0)
    threads = [in_thread(lambda job=job: bench.worker.run(job)) for job in jobs]
    wait_until(lambda: bench.sandbox.working == 2)
    bench.sandbox.latency = 0
    for thread in threads:
        thread.join(60)
    assert len({bench.job(name).output for name in ("a.jpg", "a.png")}) == 2
    assert len(list(bench.outbox.iterdir())) == 2


def test_copies_at_the_same_time_wait_for_one_answer(bench, pic, in_thread, wait_until):
    """While a photo is on its way its copies are parked, and come back when it is through."""
    bench.sandbox.latency = 3600
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        bench.arrive(name, pic())
    jobs = bench.store.claim(3, bench.now, 100.0)
    first = in_thread(lambda: bench.worker.run(jobs[0]))
    wait_until(lambda: bench.sandbox.working)
    assert [bench.worker.run(job).ended for job in jobs[1:]] == [Ended.PARKED, Ended.PARKED]
    bench.sandbox.latency = 0
    first.join(60)
    assert [job.path for job in bench.seen.unparked] == ["b.jpg", "c.jpg"]
    assert [bench.worker.run(job).ended for job in jobs[1:]] == [Ended.DONE, Ended.DONE]
    assert bench.sandbox.charged == 1


def test_a_table_that_fails_after_the_end_of_a_job_ends_no_worker(bench, monkeypatch):
    """The photo is in the failed folder, though nobody could write that down: it is told, and found there later."""

    def full(_job):
        raise StateError("no room left", "Free some.")

    monkeypatch.setattr(bench.store, "tidied", full)
    bench.folder = replace(bench.folder, on_failure="move", failed=bench.root / "failed")
    bench.folder.failed.mkdir()
    bench.config = replace(bench.config, folders=(bench.folder,))
    bench.worker._tools = replace(bench.worker._tools, tidy=partial(tidy_source, bench.store))
    assert bench.work("a.jpg", b"no picture").ended is Ended.STATE
    assert bench.job("a.jpg").state is State.FAILED
    assert (bench.inbox / "a.jpg").exists() is False
    monkeypatch.undo()
    Tidying(bench.store, lambda: bench.config).turn()
    assert not bench.store.untidy()
