"""Answers that are paid for and lie somewhere: none is lost, taken for another one, delivered late or left behind."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from rembg_watch.api.options import Options
from rembg_watch.config.model import Profile
from rembg_watch.delivery import open_temp
from rembg_watch.dispatch import worker
from rembg_watch.dispatch.answer import Sink, spool_file
from rembg_watch.dispatch.contents import Contents
from rembg_watch.dispatch.report import Ended
from rembg_watch.dispatch.steps import Step
from rembg_watch.errors import TargetError
from rembg_watch.jobs.model import State

RED = Profile("plain", Options(format="png", bg_color="#ff0000"))


class Killed(BaseException):
    """The process ends here."""


def _kill(bench, step, meanwhile=lambda: None):
    """Let the process die at a step: nothing is tidied up, what is open is closed, the next run takes the job back."""

    def at(reached):
        if reached is Step.ANSWERED:
            meanwhile()
        if reached is step:
            raise Killed

    bench.at = at
    job = bench.claim()
    really, sinks = worker._open, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sink, "discard", lambda _sink: None)
        patch.setattr(worker, "_open", lambda *way: sinks.append(really(*way)) or sinks[-1])
        with pytest.raises(Killed):
            bench.worker.run(job)
    for sink in sinks:
        sink._temp.close()
    bench.at = lambda _step: None
    bench.worker._tools = replace(bench.worker._tools, contents=Contents())
    bench.store.take_back(bench.now)


def _keep(bench, pic, path="a.jpg"):
    """Have an answer that is written down, in the spool: its outbox had no room. Gives its file."""
    bench.arrive(path, pic())
    _kill(bench, Step.MARKED_RECEIVED)
    job = bench.job(path)
    place = spool_file(bench.state, "kept")
    (bench.state / "spool").mkdir()
    os.rename(job.temp, place)
    bench.database.write(lambda db: db.execute("UPDATE jobs SET temp = ? WHERE id = ?", (place, job.id)))
    return place


def _red_from_now_on(bench):
    bench.folder = replace(bench.folder, profile=RED)
    bench.config = replace(bench.config, folders=(bench.folder,), profiles={"plain": RED})


def _corner(bench, name="a.png"):
    with Image.open(bench.outbox / name) as result:
        return result.convert("RGBA").getpixel((0, 0))


def _leftovers(bench):
    spool = bench.state / "spool"
    return [*bench.outbox.rglob(".rembg-watch-*"), *(spool.iterdir() if spool.exists() else ())]


def test_an_answer_to_the_options_of_before_is_not_taken_for_one_to_todays(bench, pic):
    """Killed with an answer there, then with new options, and killed again as soon as these are noted: sent anew."""
    bench.arrive("a.jpg", pic())
    _kill(bench, Step.ANSWERED)
    _red_from_now_on(bench)
    _kill(bench, Step.READ)
    assert bench.work().ended is Ended.DONE
    assert _corner(bench) == (255, 0, 0, 255)
    assert bench.ledger.totals() == (1, 1)
    assert not _leftovers(bench)


def test_nor_where_the_file_is_told_of_again(bench, pic):
    """A file that comes back as it was takes on the new options; what came of the old ones does not."""
    bench.arrive("a.jpg", pic())
    _kill(bench, Step.ANSWERED)
    _red_from_now_on(bench)
    bench.arrive("a.jpg")
    assert bench.work().ended is Ended.DONE
    assert _corner(bench) == (255, 0, 0, 255)
    assert not _leftovers(bench)


def test_a_kept_answer_stays_one_to_the_options_it_was_asked_with(bench, pic):
    """It is delivered as it was asked for, and no photo of the same bytes gets it for the new options."""
    _keep(bench, pic)
    before = bench.job("a.jpg").fingerprint
    _red_from_now_on(bench)
    bench.arrive("a.jpg")
    bench.work()
    assert bench.outputs.at(str(bench.outbox / "a.png"))[str(bench.outbox / "a.png")].fingerprint == before
    bench.work("b.jpg", pic())
    assert _corner(bench, "b.png") == (255, 0, 0, 255)
    assert bench.sandbox.charged == 2


def test_a_kept_answer_keeps_its_extension_in_another_outbox(bench, pic):
    """Outbox and format are others by now: the picture has the name of what it is."""
    _keep(bench, pic)
    bench.outbox = bench.root / "new"
    bench.outbox.mkdir()
    profile = Profile("plain", Options(format="webp"))
    bench.folder = replace(bench.folder, profile=profile, outbox=bench.outbox)
    bench.config = replace(bench.config, folders=(bench.folder,), profiles={"plain": profile})
    assert bench.work().ended is Ended.DONE
    assert [path.name for path in bench.outbox.iterdir()] == ["a.png"]


def test_a_kept_answer_to_other_options_goes_with_the_older_version(bench, pic):
    """A newer version with new options can't use it: it is delivered as it was asked for, and then replaced."""
    _keep(bench, pic)
    _red_from_now_on(bench)
    os.utime(bench.inbox / "a.jpg", (1, 1))
    bench.arrive("a.jpg")
    bench.work()
    bench.work()
    assert _corner(bench) == (255, 0, 0, 255)
    assert not _leftovers(bench)


def test_a_claim_that_is_taken_over_while_an_answer_is_copied_loses_nothing(bench, pic):
    """The end of the daemon gives the job back while its kept answer is copied: the next run finds it, unpaid."""
    _keep(bench, pic)
    job = bench.claim()

    def at(step):
        if step is Step.COPIED:
            bench.store.end(job, State.QUEUED, bench.now, keep_answer=True)

    bench.at = at
    assert bench.worker.run(job).ended is Ended.LOST
    bench.at = lambda _step: None
    assert bench.work().ended is Ended.DONE
    assert bench.sandbox.charged == 1
    assert not _leftovers(bench)


def test_a_kept_answer_is_delivered_before_a_newer_version_is_begun(bench, pic):
    """The photo changed while its answer came in, for which there was no room: the newer one's stands in the end."""

    def at(step):
        if step is Step.SYNCED:
            bench.arrive("a.jpg", pic("blue", (90, 70)))
        if step is Step.MARKED_RECEIVED:
            raise TargetError("no room", "Free some.", "full")

    bench.at = at
    assert bench.work("a.jpg", pic()).ended is Ended.TARGET
    bench.at = lambda _step: None
    (older,) = bench.store.claim(9, bench.now, 100.0)
    assert older.result_hash is not None
    assert bench.store.claim(9, bench.now, 100.0) == []
    bench.worker.run(older)
    assert bench.work().ended is Ended.DONE
    with Image.open(bench.outbox / "a.png") as result:
        assert result.size == (90, 70)


def test_a_kept_answer_that_had_to_wait_does_not_replace_a_newer_one(bench, pic):
    """It was put off while the newer version went its way: it comes too late, and is cleared away."""
    _keep(bench, pic)
    job = bench.claim()
    bench.arrive("a.jpg", pic("blue", (90, 70)))
    bench.store.end(job, State.WAITING, bench.now, not_before=bench.now + 60, keep_answer=True)
    assert bench.work().ended is Ended.DONE
    bench.now += 61
    assert bench.work().ended is Ended.REFUSED
    with Image.open(bench.outbox / "a.png") as result:
        assert result.size == (90, 70)
    assert not _leftovers(bench)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
@pytest.mark.parametrize("blind", ["a.jpg", "a.png", ".part"])
def test_what_can_not_be_read_for_now_is_not_paid_for_again(bench, pic, monkeypatch, blind, number):
    """The photo, its output or its kept answer can't be read when the work goes on: it waits, and no answer is lost."""
    bench.arrive("a.jpg", pic())
    _kill(bench, {"a.jpg": Step.SYNCED, "a.png": Step.PLACED, ".part": Step.MARKED_RECEIVED}[blind])

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
    assert not _leftovers(bench)


def test_a_kept_answer_on_a_disk_that_is_away_is_not_paid_for_again(bench, pic):
    """The outbox is gone as the answer is to be delivered: it waits for it, as everything does."""
    bench.arrive("a.jpg", pic())
    _kill(bench, Step.MARKED_RECEIVED)
    away = bench.outbox.rename(bench.root / "away")
    report = bench.work()
    assert (report.ended, report.target.code) == (Ended.TARGET, "missing")
    away.rename(bench.outbox)
    assert bench.work().ended is Ended.DONE
    assert bench.sandbox.charged == 1


def test_a_spooled_answer_that_can_not_be_read_for_now_is_not_paid_for_again(bench, pic, monkeypatch):
    """Likewise where nobody had the time to write down that it is there."""
    place = _keep(bench, pic)
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

    _kill(bench, step, touch if told == "before the kill" else lambda: None)
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
    assert not _leftovers(bench)


def test_a_version_that_was_placed_gives_its_name_to_the_newer_one(bench, pic):
    """Killed with the answer in its place, and replaced before that was written down: one output, of the newer bytes."""
    bench.arrive("a.jpg", pic())
    _kill(bench, Step.PLACED)
    bench.arrive("a.jpg", pic("blue", (90, 70)))
    while bench.store.ready():
        assert bench.work().ended is Ended.DONE
    assert [path.name for path in bench.outbox.iterdir()] == ["a.png"]
    with Image.open(bench.outbox / "a.png") as result:
        assert result.size == (90, 70)


def test_what_came_of_other_bytes_is_not_taken_for_an_answer(bench, pic):
    """The photo was replaced while the one before was sent, and the process killed: it is sent as it is now."""
    bench.arrive("a.jpg", pic())
    _kill(bench, Step.SYNCED)
    (bench.inbox / "a.jpg").write_bytes(pic("blue", (90, 70)))
    assert bench.work().ended is Ended.REFUSED
    bench.arrive("a.jpg")
    assert bench.work().ended is Ended.DONE
    with Image.open(bench.outbox / "a.png") as result:
        assert result.size == (90, 70)
    assert not _leftovers(bench)


@pytest.mark.parametrize("copied", [True, False])
def test_an_answer_that_fits_nowhere_leaves_nothing_behind(bench, monkeypatch, copied):
    """Neither the outbox nor the state directory has room for it: a fault of the disk, and no half of it lies about."""
    bench.arrive("a.jpg", b"anything")
    temp = open_temp(str(bench.outbox), "a.png", "tag")
    sink = Sink(temp, spool_file(bench.state, "tag"))
    sink.write(b"first")

    def no_room(*_):
        raise TargetError("no room", "Free some.", "full")

    def no_room_either(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(temp.file, "write", no_room, raising=False)
    if not copied:
        monkeypatch.setattr("rembg_watch.dispatch.answer.os.pread", no_room_either)
    else:
        divert = sink._divert

        def full_by_then(trouble):
            divert(trouble)
            sink.file.close()
            sink.file = SimpleNamespace(write=no_room_either, close=lambda: None)

        monkeypatch.setattr(sink, "_divert", full_by_then)
    with pytest.raises(TargetError, match="no room"):
        sink.write(b"second")
    sink.discard()
    assert not _leftovers(bench)


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
