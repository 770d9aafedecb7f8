"""Which folders are watched when folders come, go, and take each other's names: exactly those that are there."""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest

from rembg_watch.intake.inbox import Inbox, Mode
from rembg_watch.intake.roots import Rounds
from rembg_watch.intake.watcher import Watcher

RARE = Rounds(health=60, calm=60, made_folder=60)
"""Nobody looks by the clock: what is heard was told."""


def watcher_of(intake):
    return intake._patrol._roots._watcher


@pytest.fixture
def watched(inbox, until):
    """Wait until exactly these folders are watched, and the inbox itself."""

    def wait(intake, *folders):
        wanted = {os.fstat(folder).st_ino if isinstance(folder, int) else folder.stat().st_ino for folder in folders}
        until(lambda: watcher_of(intake).watched_inodes() == wanted | {inbox.stat().st_ino})

    return wait


@contextmanager
def as_nobody():
    """Be a user without any rights for a while: to root, nothing is closed."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def watcher():
    watcher = Watcher(lambda _: None, lambda: None, lambda: None)
    watcher.start()
    yield watcher
    watcher.stop()


def test_a_folder_that_was_moved_out_is_not_watched(desk, inbox, elsewhere, running, watched, pic, until):
    """What happens in it there is nobody's business here, however deep; one that comes back is watched again."""
    (inbox / "batch/deep").mkdir(parents=True)
    with running(inbox, rounds=RARE) as intake:
        watched(intake, inbox / "batch", inbox / "batch/deep")
        (inbox / "batch").rename(elsewhere / "batch")
        watched(intake)
        (elsewhere / "batch").rename(inbox / "again")
        watched(intake, inbox / "again", inbox / "again/deep")
        (inbox / "again").rename(inbox / "renamed")
        (inbox / "renamed/deep/photo.jpg").write_bytes(pic())
        until(lambda: desk.of("renamed/deep/photo.jpg"))
        watched(intake, inbox / "renamed", inbox / "renamed/deep")


def test_the_next_folder_of_a_name_is_watched_too(desk, inbox, elsewhere, running, watched, pic, until):
    """Made under the name of one that was moved out, and renamed before anybody could look: it is heard all the same."""
    (inbox / "upload").mkdir()
    with running(inbox, rounds=RARE) as intake:
        (inbox / "upload").rename(elsewhere / "done")
        with watcher_of(intake)._inotify._lock:  # the reader is busy elsewhere
            (inbox / "upload").mkdir()
            (inbox / "upload").rename(inbox / "batch")
        watched(intake, inbox / "batch")
        (inbox / "batch/photo.jpg").write_bytes(pic())
        until(lambda: desk.of("batch/photo.jpg"))
        assert intake.roots()[0].mode is Mode.EVENTS


def test_watches_that_end_in_any_order_end_no_hearing(desk, inbox, running, watched, pic, until):
    """A deleted folder that somebody has open ends later than the next one of its name: the reader lives on."""
    with running(inbox, rounds=RARE) as intake:
        reader = watcher_of(intake)._inotify
        (inbox / "batch").mkdir()
        watched(intake, inbox / "batch")
        opened = os.open(inbox / "batch", os.O_RDONLY)
        try:
            (inbox / "batch").rmdir()
            (inbox / "batch").mkdir()
            watched(intake, opened, inbox / "batch")
            (inbox / "batch").rmdir()
            watched(intake, opened)
        finally:
            os.close(opened)
        watched(intake)
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.of("photo.jpg"))
        assert reader.is_alive()


def test_a_folder_that_was_renamed_unheard_leaves_its_name_to_the_next(inbox, folder_for, watcher):
    """A rename in a folder that is not watched is told by nobody; a scan watches who has the name now."""
    place, one, other = Inbox(folder_for(inbox)), inbox / "unwatched/one", inbox / "unwatched/other"
    one.mkdir(parents=True)
    watcher.watch(place)
    watcher.watch_folder(place, str(one))
    one.rename(other)
    watcher.watch_folder(place, str(other))
    one.mkdir()
    watcher.watch_folder(place, str(one))
    assert watcher.watched_inodes() == {folder.stat().st_ino for folder in (inbox, one, other)}


def test_a_folder_that_could_not_be_read_is_watched_when_it_can(open_inbox, folder_for, watcher):
    """The next scan asks for it again: that it was not to be had before is no reason."""
    place, closed = Inbox(folder_for(open_inbox)), open_inbox / "closed"
    closed.mkdir(mode=0)
    watcher.watch(place)
    with as_nobody():
        watcher.watch_folder(place, str(closed))
    assert watcher.watched_inodes() == {open_inbox.stat().st_ino}
    watcher.watch_folder(place, str(closed))
    assert watcher.watched_inodes() == {open_inbox.stat().st_ino, closed.stat().st_ino}


def test_a_root_that_cannot_be_read_is_an_error(open_inbox, folder_for, watcher):
    """It is not watched, and whoever takes it for watched would hear nothing when it can be read."""
    closed = open_inbox / "closed"
    closed.mkdir(mode=0)
    with as_nobody(), pytest.raises(PermissionError):
        watcher.watch(Inbox(folder_for(closed)))
