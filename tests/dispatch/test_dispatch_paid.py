"""Answers that are paid for and lie somewhere: none is lost, taken for another one, delivered late or left behind."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
from dispatch_killed import corner, keep, kill, leftovers, red_from_now_on
from PIL import Image

from rembg_watch.api.options import Options
from rembg_watch.config.model import Profile
from rembg_watch.delivery import open_temp
from rembg_watch.dispatch.answer import Sink, spool_file
from rembg_watch.dispatch.report import Ended
from rembg_watch.dispatch.steps import Step
from rembg_watch.errors import TargetError
from rembg_watch.jobs.model import State


def test_an_answer_to_the_options_of_before_is_not_taken_for_one_to_todays(bench, pic):
    """Killed with an answer there, then with new options, and killed again as soon as these are noted: sent anew."""
    bench.arrive("a.jpg", pic())
    kill(bench, Step.ANSWERED)
    red_from_now_on(bench)
    kill(bench, Step.READ)
    assert bench.work().ended is Ended.DONE
    assert corner(bench) == (255, 0, 0, 255)
    assert bench.ledger.totals() == (1, 1)
    assert not leftovers(bench)


def test_nor_where_the_file_is_told_of_again(bench, pic):
    """A file that comes back as it was takes on the new options; what came of the old ones does not."""
    bench.arrive("a.jpg", pic())
    kill(bench, Step.ANSWERED)
    red_from_now_on(bench)
    bench.arrive("a.jpg")
    assert bench.work().ended is Ended.DONE
    assert corner(bench) == (255, 0, 0, 255)
    assert not leftovers(bench)


def test_a_kept_answer_stays_one_to_the_options_it_was_asked_with(bench, pic):
    """It is delivered as it was asked for, and no photo of the same bytes gets it for the new options."""
    keep(bench, pic)
    before = bench.job("a.jpg").fingerprint
    red_from_now_on(bench)
    bench.arrive("a.jpg")
    bench.work()
    assert bench.outputs.at(str(bench.outbox / "a.png"))[str(bench.outbox / "a.png")].fingerprint == before
    bench.work("b.jpg", pic())
    assert corner(bench, "b.png") == (255, 0, 0, 255)
    assert bench.sandbox.charged == 2


def test_a_kept_answer_keeps_its_extension_in_another_outbox(bench, pic):
    """Outbox and format are others by now: the picture has the name of what it is."""
    keep(bench, pic)
    bench.outbox = bench.root / "new"
    bench.outbox.mkdir()
    profile = Profile("plain", Options(format="webp"))
    bench.folder = replace(bench.folder, profile=profile, outbox=bench.outbox)
    bench.config = replace(bench.config, folders=(bench.folder,), profiles={"plain": profile})
    assert bench.work().ended is Ended.DONE
    assert [path.name for path in bench.outbox.iterdir()] == ["a.png"]


def test_a_kept_answer_to_other_options_goes_with_the_older_version(bench, pic):
    """A newer version with new options can't use it: it is delivered as it was asked for, and then replaced."""
    keep(bench, pic)
    red_from_now_on(bench)
    os.utime(bench.inbox / "a.jpg", (1, 1))
    bench.arrive("a.jpg")
    bench.work()
    bench.work()
    assert corner(bench) == (255, 0, 0, 255)
    assert not leftovers(bench)


def test_a_claim_that_is_taken_over_while_an_answer_is_copied_loses_nothing(bench, pic):
    """The end of the daemon gives the job back while its kept answer is copied: the next run finds it, unpaid."""
    keep(bench, pic)
    job = bench.claim()

    def at(step):
        if step is Step.COPIED:
            bench.store.end(job, State.QUEUED, bench.now, keep_answer=True)

    bench.at = at
    assert bench.worker.run(job).ended is Ended.LOST
    bench.at = lambda _step: None
    assert bench.work().ended is Ended.DONE
    assert bench.sandbox.charged == 1
    assert not leftovers(bench)


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
    keep(bench, pic)
    job = bench.claim()
    bench.arrive("a.jpg", pic("blue", (90, 70)))
    bench.store.end(job, State.WAITING, bench.now, not_before=bench.now + 60, keep_answer=True)
    assert bench.work().ended is Ended.DONE
    bench.now += 61
    assert bench.work().ended is Ended.REFUSED
    with Image.open(bench.outbox / "a.png") as result:
        assert result.size == (90, 70)
    assert not leftovers(bench)


def test_a_version_that_was_placed_gives_its_name_to_the_newer_one(bench, pic):
    """Killed with the answer in its place, and replaced before that was written down: one output, of the newer bytes."""
    bench.arrive("a.jpg", pic())
    kill(bench, Step.PLACED)
    bench.arrive("a.jpg", pic("blue", (90, 70)))
    while bench.store.ready():
        assert bench.work().ended is Ended.DONE
    assert [path.name for path in bench.outbox.iterdir()] == ["a.png"]
    with Image.open(bench.outbox / "a.png") as result:
        assert result.size == (90, 70)


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
    assert not leftovers(bench)
