"""What may be there already, and can only not be read or told yet, is not paid for again."""

from __future__ import annotations

import errno
import os

import pytest
from dispatch_killed import keep, kill, leftovers
from PIL import Image

from rembg_watch.dispatch.report import Ended
from rembg_watch.dispatch.steps import Step
from rembg_watch.jobs.model import State


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
@pytest.mark.parametrize("blind", ["a.jpg", "a.png", ".part"])
def test_what_can_not_be_read_for_now_is_not_paid_for_again(bench, pic, monkeypatch, blind, number):
    """The photo, its output or its kept answer can't be read when the work goes on: it waits, and no answer is lost."""
    bench.arrive("a.jpg", pic())
    kill(bench, {"a.jpg": Step.SYNCED, "a.png": Step.PLACED, ".part": Step.MARKED_RECEIVED}[blind])

    opens = os.open

    def fail(path, *arguments, **more):
        if str(path).endswith(blind) and more.get("dir_fd") is None:
            raise OSError(number, os.strerror(number))
        return opens(path, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr("rembg_watch.delivery.files.os.open", fail)
        assert bench.work().ended is Ended.REFUSED
    assert bench.job("a.jpg").state is State.WAITING
    bench.now += 61
    assert bench.work().ended is Ended.DONE
    assert bench.sandbox.charged == 1
    assert not leftovers(bench)


def test_a_kept_answer_on_a_disk_that_is_away_is_not_paid_for_again(bench, pic):
    """The outbox is gone as the answer is to be delivered: it waits for it, as everything does."""
    bench.arrive("a.jpg", pic())
    kill(bench, Step.MARKED_RECEIVED)
    away = bench.outbox.rename(bench.root / "away")
    report = bench.work()
    assert (report.ended, report.target.code) == (Ended.TARGET, "missing")
    away.rename(bench.outbox)
    assert bench.work().ended is Ended.DONE
    assert bench.sandbox.charged == 1


def test_a_spooled_answer_that_can_not_be_read_for_now_is_not_paid_for_again(bench, pic, monkeypatch):
    """Likewise where nobody had the time to write down that it is there."""
    place = keep(bench, pic)
    bench.database.write(lambda db: db.execute("UPDATE jobs SET result_hash = NULL, result_size = NULL"))
    opens = os.open

    def fail(path, *arguments, **more):
        if path == place:
            raise OSError(errno.EACCES, "Permission denied")
        return opens(path, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr("rembg_watch.delivery.files.os.open", fail)
        assert bench.work().ended is Ended.REFUSED
    bench.now += 61
    assert bench.work().ended is Ended.DONE
    assert bench.sandbox.charged == 1


@pytest.mark.parametrize("step", [Step.ANSWERED, Step.SYNCED, Step.MARKED_RECEIVED, Step.PLACED])
@pytest.mark.parametrize("told", ["before the kill", "before the claim", "after the claim"])
def test_a_touch_around_a_crash_costs_nothing(bench, pic, step, told):
    """The same bytes with a newer time: the answer to them is found by whichever version comes first, and named as ever."""
    bench.arrive("a.jpg", pic())

    def touch():
        os.utime(bench.inbox / "a.jpg", (1, 1))
        bench.arrive("a.jpg")

    kill(bench, step, touch if told == "before the kill" else lambda: None)
    if told == "before the claim":
        touch()
    if told == "after the claim":
        os.utime(bench.inbox / "a.jpg", (1, 1))
        assert bench.work().ended is Ended.DONE
        bench.arrive("a.jpg")
    while bench.store.ready():
        assert bench.work().ended is Ended.DONE
    assert [path.name for path in bench.outbox.iterdir()] == ["a.png"]
    assert bench.sandbox.charged == 1
    assert not leftovers(bench)


def test_what_came_of_other_bytes_is_not_taken_for_an_answer(bench, pic):
    """The photo was replaced while the one before was sent, and the process killed: it is sent as it is now."""
    bench.arrive("a.jpg", pic())
    kill(bench, Step.SYNCED)
    (bench.inbox / "a.jpg").write_bytes(pic("blue", (90, 70)))
    assert bench.work().ended is Ended.REFUSED
    bench.arrive("a.jpg")
    assert bench.work().ended is Ended.DONE
    with Image.open(bench.outbox / "a.png") as result:
        assert result.size == (90, 70)
    assert not leftovers(bench)


def test_a_fault_of_ours_is_not_paid_for_again_and_again(bench, pic):
    """A photo whose answer we can't take in, for a mistake of our own, fails when it was paid for twice."""

    def crash(step):
        if step is Step.ANSWERED:
            raise KeyError("a bug")

    bench.at = crash
    bench.work("a.jpg", pic())
    bench.now += 601
    report = bench.work()
    assert (report.sent, report.spent, report.failed) == (True, True, True)
    job = bench.job("a.jpg")
    assert (job.state, job.code) == (State.FAILED, "internal")
    assert f"jobs retry {job.id}" in job.hint
    assert bench.ledger.totals() == (0, 2)
