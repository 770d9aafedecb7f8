"""The settings that make watchdog usable, each with the failure that it prevents."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from pathlib import Path

import pytest
from watchdog.events import FileCreatedEvent, FileMovedEvent
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from rembg_watch.intake.inbox import Inbox
from rembg_watch.intake.watcher import Watcher, limit_advice, paths_of


class Heard(deque):
    def __init__(self):
        super().__init__()
        self.overflows = self.ended = 0

    def end(self):
        self.ended += 1

    def overflow(self):
        self.overflows += 1

    def paths(self, kind=None):
        return [paths_of(news.event) for news in list(self) if kind is None or isinstance(news.event, kind)]


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def watching(heard, folder_for):
    watchers = []

    def start(path, **settings):
        watcher = Watcher(heard.append, heard.overflow, heard.end)
        watcher.start()
        watchers.append(watcher)
        place = Inbox(folder_for(path, **settings))
        watcher.watch(place)
        for folder, _, _ in os.walk(path):  # as a scan comes by
            watcher.watch_folder(place, folder)
        return watcher, place

    yield start
    for watcher in watchers:
        watcher.stop()


def test_a_move_out_does_not_hold_up_what_comes_behind(heard, inbox, elsewhere, watching, until):
    """Events behind a move out of the tree come at once, and not after watchdog's half second."""
    watching(inbox)
    assert InotifyMoveEventGrouper.delay == 0.0
    late = []
    for number in range(5):
        (inbox / f"done{number}.jpg").write_bytes(b"x")
        until(lambda name=f"done{number}.jpg": any(name in source for source, _ in heard.paths()))
        (inbox / f"done{number}.jpg").rename(elsewhere / f"done{number}.jpg")
        began = time.monotonic()
        (inbox / f"new{number}.jpg").write_bytes(b"x")
        until(lambda name=f"new{number}.jpg": any(name in source for source, _ in heard.paths()))
        late.append(time.monotonic() - began)
    assert sorted(late)[2] < 0.2


def test_renames_still_pair_without_the_delay(heard, inbox, watching, until):
    """Both halves of a rename inside the tree come as one event, nearly always; a lone half still names the target."""
    watching(inbox)
    for number in range(100):
        (inbox / f"{number}.part").write_bytes(b"x")
        (inbox / f"{number}.part").rename(inbox / f"{number}.jpg")
    until(lambda: len({target for _, target in heard.paths(FileMovedEvent) if target}) == 100)
    paired = [source for source, target in heard.paths(FileMovedEvent) if source and target]
    assert len(paired) >= 50


def test_a_move_in_is_told_from_a_creation(heard, inbox, move_in, watching, until):
    """A file that was moved in comes as a move without a source, one that is written as a creation."""
    watching(inbox)
    move_in(b"x", inbox / "moved.jpg")
    (inbox / "written.jpg").write_bytes(b"x")
    until(lambda: heard.paths(FileCreatedEvent))
    assert ("", str(inbox / "moved.jpg")) in heard.paths(FileMovedEvent)
    assert (str(inbox / "written.jpg"), "") in heard.paths(FileCreatedEvent)


def test_reading_makes_no_events(heard, inbox, watching, until):
    """What we do ourselves, opening and reading and closing, never comes back as an event."""
    (inbox / "photo.jpg").write_bytes(b"x" * 100)
    watching(inbox)
    for _ in range(50):
        (inbox / "photo.jpg").read_bytes()
        list(os.scandir(inbox))
    (inbox / "last.jpg").write_bytes(b"x")
    until(lambda: any("last.jpg" in source for source, _ in heard.paths()))
    assert {os.path.basename(source) for source, _ in heard.paths()} == {"last.jpg"}


def test_a_linked_root_is_watched_where_it_leads(heard, inbox, tmp_path, watching, until):
    """An inbox that is given as a link is resolved first, as a watched link gives no events."""
    (tmp_path / "link").symlink_to(inbox)
    _, place = watching(tmp_path / "link")
    assert place.root == str(inbox)
    (inbox / "photo.jpg").write_bytes(b"x")
    until(lambda: any("photo.jpg" in source for source, _ in heard.paths()))


def test_every_folder_is_watched_and_counted(inbox, watching, until):
    """The kernel's own list names the inode of every folder, also of those made later."""
    (inbox / "a/b/c").mkdir(parents=True)
    watcher, _ = watching(inbox)
    wanted = {folder.stat().st_ino for folder in (inbox, inbox / "a", inbox / "a/b", inbox / "a/b/c")}
    assert watcher.watched_inodes() == wanted
    (inbox / "d/e").mkdir(parents=True)
    until(lambda: (inbox / "d/e").stat().st_ino in watcher.watched_inodes())


def test_a_deleted_root_is_not_heard(inbox, watching, until):
    """When the root is deleted its own thread ends, which is noticed although watchdog calls itself alive."""
    watcher, place = watching(inbox)
    assert watcher.hears(place)
    inbox.rmdir()
    until(lambda: not watcher.hears(place))
    assert watcher.alive
    inbox.mkdir()
    watcher.watch(place)
    assert watcher.hears(place)


def test_a_real_overflow_is_told(heard, inbox, watching, until):
    """When the kernel's queue overflows we are told, and the watches work again behind it."""
    watcher, _ = watching(inbox)
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    if limit > 50_000:
        pytest.skip("the kernel's queue is too long to fill it here")
    # The reader is held up for as long as it takes to fill the kernel's queue, as a busy machine would.
    with watcher._inotify._lock:
        for number in range(limit // 3 + 500):
            path = inbox / f"{number}"
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            os.unlink(path)
    until(lambda: heard.overflows, 20)
    heard.clear()
    (inbox / "after.jpg").write_bytes(b"x")
    until(lambda: any("after.jpg" in source for source, _ in heard.paths()))
    assert watcher.alive


def test_what_cannot_be_watched_is_an_error(inbox, watching):
    """A root that is not there can't be watched, and that is said."""
    watcher, place = watching(inbox)
    inbox.rmdir()
    with pytest.raises(OSError, match=re.escape("No such file")):
        watcher.watch(place)


def test_the_advice_names_the_setting():
    """Whoever runs into the watch limit is told the sysctl and a value that is enough."""
    advice = limit_advice(39_000, 40_000)
    assert "39000 of 40000" in advice
    assert "sysctl -w fs.inotify.max_user_watches=131072" in advice
