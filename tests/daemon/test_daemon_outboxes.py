"""Outboxes that are full, read-only or gone: held with a reason, nothing lost, nothing paid in vain, and on by itself."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import replace

import pytest
from daemon_photos import number_in, photo

from rembg_watch.errors import SourceError


@pytest.fixture
def tmpfs(mount_at):
    """Mount a tmpfs on a folder, with these options."""
    return lambda where, options: mount_at(where, "-t", "tmpfs", "-o", options, "rembg-watch-test")


def _fill_up(path):
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass


def _held(place, kind):
    return place.wait_until(lambda: place.holds().get(("outbox", kind)), what=place.holds)


def test_a_read_only_outbox_is_held(place, sandbox, impatient, tmpfs):
    """No photo is sent while its result could not be written; another outbox goes on; then work resumes by itself."""
    tmpfs(place.outbox, "size=8m")
    other, other_out = place.add_folder("other")
    with place.daemon():
        place.drop("a.jpg", photo(0))
        place.settled(1)
        subprocess.run(["mount", "-o", "remount,ro", place.outbox], check=True)
        place.drop("b.jpg", photo(1))
        hold = _held(place, "readonly")
        assert str(place.outbox) in hold.message
        assert hold.release
        place.drop("c.jpg", photo(2), other)
        place.wait_until((other_out / "c.png").exists)
        assert place.states()["b.jpg"] == "queued"
        assert sandbox.charged == 2
        subprocess.run(["mount", "-o", "remount,rw", place.outbox], check=True)
        place.settled(3)
        place.wait_until(lambda: not place.holds())
    assert number_in(place.outbox / "b.png") == 1
    assert place.ledger() == (3, 0)


def test_a_full_outbox_is_held(place, sandbox, impatient, tmpfs):
    """A full disk holds its outbox; with room again work resumes, and nothing was paid for twice."""
    tmpfs(place.outbox, "size=4m")
    with place.daemon():
        place.drop("a.jpg", photo(3))
        place.settled(1)
        _fill_up(place.outbox / "filler")
        place.drop("b.jpg", photo(4))
        assert "full" in _held(place, "full").message
        (place.outbox / "filler").unlink()
        place.settled(2)
    assert number_in(place.outbox / "b.png") == 4
    assert sandbox.charged == 2
    assert place.ledger() == (2, 0)


def test_a_disk_that_fills_up_under_way_loses_no_paid_answer(place, sandbox, impatient, tmpfs):
    """The answer that no longer fits is kept elsewhere and delivered later: it is paid for once."""
    tmpfs(place.outbox, "size=4m")
    sandbox.latency = 3600
    with place.daemon():
        place.drop("a.jpg", photo(5, size=(1500, 1100)))
        place.wait_until(lambda: sandbox.working)
        _fill_up(place.outbox / "filler")
        sandbox.latency = 0
        _held(place, "full")
        assert place.states() == {"a.jpg": "received"}
        (place.outbox / "filler").unlink()
        place.settled(1)
    assert number_in(place.outbox / "a.png") == 5
    assert sandbox.charged == 1
    assert place.ledger() == (1, 0)
    assert not place.leftovers()


def test_a_missing_outbox_is_held_and_not_made_anew(place, sandbox, impatient):
    """An outbox that was there and is gone is an unmounted disk: nothing is written beside it, all waits for it."""
    with place.daemon():
        place.drop("a.jpg", photo(6))
        place.settled(1)
        place.outbox.rename(place.root / "unmounted")
        place.drop("b.jpg", photo(7))
        _held(place, "missing")
        assert not place.outbox.exists()
        assert sandbox.charged == 1
        (place.root / "unmounted").rename(place.outbox)
        place.settled(2)
    assert place.outputs() == ["a.png", "b.png"]
    assert sandbox.charged == 2


def test_an_unmounted_outbox_is_held(place, sandbox, impatient, tmpfs):
    """The bare folder under an unmounted disk is not written to."""
    tmpfs(place.outbox, "size=8m")
    with place.daemon():
        place.drop("a.jpg", photo(8))
        place.settled(1)
        subprocess.run(["umount", place.outbox], check=True)
        place.drop("b.jpg", photo(9))
        _held(place, "missing")
        assert list(place.outbox.iterdir()) == []
        assert sandbox.charged == 1


def test_one_bad_place_in_an_outbox_does_not_hold_the_others(place, sandbox, impatient):
    """Where a link or a file stands in the place of one subfolder, only the photos of that subfolder wait."""
    place.settings["workers"] = 1
    (place.root / "outside").mkdir()
    place.outbox.mkdir()
    (place.outbox / "linked").symlink_to(place.root / "outside")
    (place.outbox / "file").write_bytes(b"a file where a folder should be")
    with place.daemon():
        place.drop("linked/a.jpg", photo(10))
        place.drop("file/b.jpg", photo(11))
        for number in range(4):
            place.drop(f"good{number}.jpg", photo(12 + number))
        place.wait_until(lambda: sum(state == "done" for state in place.states().values()) == 4)
        place.wait_until(lambda: set(place.states().values()) == {"done", "waiting"})
        assert not place.holds()
        jobs = place.jobs()
        assert "link" in jobs["linked/a.jpg"].message
        assert jobs["file/b.jpg"].message
    assert sandbox.charged == 4
    assert list((place.root / "outside").iterdir()) == []


def test_an_archive_that_is_gone_keeps_the_source(place, sandbox, impatient):
    """The output is delivered and counted; the source stays until the archive can take it."""
    place.timings = replace(place.timings, tidy=0.3)
    place.folder.update(on_success="archive", archive=str(place.root / "archive"))
    with place.daemon():
        source = place.drop("a.jpg", photo(20))
        place.wait_until(lambda: not source.exists())
        (place.root / "archive").rename(place.root / "away")
        source = place.drop("b.jpg", photo(21))
        place.settled(2)
        assert source.exists()
        (place.root / "away").rename(place.root / "archive")
        place.wait_until(lambda: not source.exists())
    assert sorted(path.name for path in (place.root / "archive").iterdir()) == ["a.jpg", "b.jpg"]
    assert sandbox.charged == 2


@pytest.mark.parametrize("now", ["keep", "delete"])
def test_a_new_wish_for_sources_counts_for_those_that_wait(place, sandbox, impatient, now):
    """What waited for an archive is done as the folder says after a reload, and never stops the photos that come."""
    place.timings = replace(place.timings, tidy=0.05)
    place.folder.update(on_success="archive", archive=str(place.root / "archive"))
    with place.daemon() as daemon:
        (place.root / "archive").rename(place.root / "away")
        source = place.drop("a.jpg", photo(22))
        place.settled(1)
        place.wait_until(lambda: daemon.queue.untidy([str(place.inbox)]))
        del place.folder["archive"]
        place.folder["on_success"] = now
        place.reload(daemon)
        place.drop("b.jpg", photo(23))
        place.settled(2)
        place.wait_until(lambda: not daemon.queue.untidy([str(place.inbox)]))
        assert source.exists() == (now == "keep")
    assert sandbox.charged == 2


def test_what_was_to_be_deleted_and_is_to_stay_by_now_stays(place, sandbox, monkeypatch):
    """A deletion that had to wait is not made up for after the config says that photos are kept."""
    place.timings = replace(place.timings, tidy=0.05)
    monkeypatch.setattr("rembg_watch.delivery.tidy.delete", _not_now)
    place.folder["on_success"] = "delete"
    with place.daemon() as daemon:
        source = place.drop("a.jpg", photo(24))
        place.settled(1)
        place.folder["on_success"] = "keep"
        place.reload(daemon)
        place.wait_until(lambda: not daemon.queue.untidy([str(place.inbox)]))
        monkeypatch.undo()
        assert source.exists()
        daemon.intake.rescan_now()
        place.drop("b.jpg", photo(25))
        place.settled(2)
    assert sandbox.charged == 2


@pytest.mark.parametrize("ends", ["done", "failed"])
def test_a_source_stays_where_that_is_wanted_by_the_time_its_photo_is_done(place, sandbox, ends):
    """What was to be deleted or moved as its photo was sent is kept after a reload that says so."""
    failed = place.root / "failed"
    failed.mkdir()
    place.folder.update(on_success="delete", on_failure="move", failed=str(failed))
    place.settings["retry"]["max_attempts"] = 1
    sandbox.latency = 3600
    if ends == "failed":
        sandbox.next("garbage")
    with place.daemon() as daemon:
        source = place.drop("a.jpg", photo(26))
        place.wait_until(lambda: sandbox.working == 1)
        place.folder.update(on_success="keep", on_failure="keep")
        place.reload(daemon)
        sandbox.latency = 0
        place.settled(1)
        place.wait_until(daemon.idle)
    assert place.states() == {"a.jpg": ends}
    assert source.exists()
    assert list(failed.iterdir()) == []


def _not_now(*_, **__):
    raise SourceError("the inbox does not allow it", "Let this user write there.")
