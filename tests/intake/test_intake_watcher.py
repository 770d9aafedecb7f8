"""What is asked of watchdog and what is done without, each with the failure that it prevents."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from pathlib import Path

import pytest

from rembg_watch.intake.inbox import Inbox
from rembg_watch.intake.watcher import Watcher, What


class Heard(deque):
    def __init__(self):
        super().__init__()
        self.overflows = self.ended = 0

    def end(self):
        self.ended += 1

    def overflow(self):
        self.overflows += 1

    def paths(self, what=None):
        return [news.path for news in list(self) if what in (None, news.what)]


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
    """Events behind a move out of the tree come at once, and not each of them after watchdog's half second."""
    watching(inbox)
    late = []
    while not late or (min(late) > 0.4 and len(late) < 30):  # once in time is enough: a busy machine has its pauses
        number = len(late)
        (inbox / f"done{number}.jpg").write_bytes(b"x")
        until(lambda name=f"done{number}.jpg": name in heard.paths())
        (inbox / f"done{number}.jpg").rename(elsewhere / f"done{number}.jpg")
        began = time.monotonic()
        (inbox / f"new{number}.jpg").write_bytes(b"x")
        until(lambda name=f"new{number}.jpg": name in heard.paths())
        late.append(time.monotonic() - began)
    assert min(late) < 0.4


def test_the_target_of_a_rename_knows_its_source(heard, inbox, elsewhere, watching, until):
    """Inside the tree a move has its source; what comes in from elsewhere has none, whatever moved out before it."""
    (inbox / "sub").mkdir()
    watching(inbox)
    for number in range(100):
        (inbox / f"{number}.part").write_bytes(b"x")
        (inbox / f"{number}.part").rename(inbox / "sub" / f"{number}.jpg")
        (inbox / "sub" / f"{number}.jpg").rename(elsewhere / "out.jpg")
        (elsewhere / "out.jpg").rename(inbox / f"{number}.jpg")
    until(lambda: len(heard.paths(What.MOVED)) == 200)
    moved = [(news.source, news.path) for news in list(heard) if news.what is What.MOVED]
    assert moved[::2] == [(f"{number}.part", f"sub/{number}.jpg") for number in range(100)]
    assert moved[1::2] == [("", f"{number}.jpg") for number in range(100)]


def test_what_is_in_a_moved_folder_is_told(heard, inbox, elsewhere, watching, until):
    """Files in a folder that is moved in, or renamed, are told of one by one, and the folder is watched from then on."""
    (elsewhere / "a/b").mkdir(parents=True)
    (elsewhere / "a/b/photo.jpg").write_bytes(b"x")
    watching(inbox)
    (elsewhere / "a").rename(inbox / "a")
    until(lambda: "a/b/photo.jpg" in heard.paths(What.WRITTEN))
    (inbox / "a").rename(inbox / "c")
    until(lambda: "c/b/photo.jpg" in heard.paths(What.WRITTEN))
    (inbox / "c/b/more.jpg").write_bytes(b"x")
    until(lambda: "c/b/more.jpg" in heard.paths(What.WRITTEN))
    assert [(news.source, news.path) for news in list(heard) if news.what is What.MOVED] == [("", "a"), ("a", "c")]


def test_a_move_in_is_told_from_a_creation(heard, inbox, move_in, watching, until):
    """A file that was moved in comes as a move without a source, one that is written as a creation."""
    watching(inbox)
    move_in(b"x", inbox / "moved.jpg")
    (inbox / "written.jpg").write_bytes(b"x")
    until(lambda: heard.paths(What.WRITTEN))
    assert heard.paths(What.MOVED) == ["moved.jpg"]
    assert set(heard.paths(What.WRITTEN)) == {"written.jpg"}


def test_reading_makes_no_events(heard, inbox, watching, until):
    """What we do ourselves, opening and reading and closing, never comes back as an event."""
    (inbox / "photo.jpg").write_bytes(b"x" * 100)
    watching(inbox)
    for _ in range(50):
        (inbox / "photo.jpg").read_bytes()
        list(os.scandir(inbox))
    (inbox / "last.jpg").write_bytes(b"x")
    until(lambda: "last.jpg" in heard.paths())
    assert set(heard.paths()) == {"last.jpg"}


def test_a_linked_root_is_watched_where_it_leads(heard, inbox, tmp_path, watching, until):
    """An inbox that is given as a link is resolved first, as a watched link gives no events."""
    (tmp_path / "link").symlink_to(inbox)
    _, place = watching(tmp_path / "link")
    assert place.root == str(inbox)
    (inbox / "photo.jpg").write_bytes(b"x")
    until(lambda: "photo.jpg" in heard.paths())


def test_every_folder_is_watched_and_counted(inbox, watching, until):
    """The kernel's own list names the inode of every folder, also of those made later."""
    (inbox / "a/b/c").mkdir(parents=True)
    watcher, _ = watching(inbox)
    wanted = {folder.stat().st_ino for folder in (inbox, inbox / "a", inbox / "a/b", inbox / "a/b/c")}
    assert watcher.watched_inodes() == wanted
    (inbox / "d/e").mkdir(parents=True)
    until(lambda: (inbox / "d/e").stat().st_ino in watcher.watched_inodes())


def test_a_deleted_root_is_not_heard(inbox, watching, until):
    """When the root is deleted its watch ends, which is noticed although the reader is alive."""
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
        for number in range(limit // 2):  # half as much again: it may have taken a few thousand at once
            path = inbox / f"{number}"
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            os.unlink(path)
    until(lambda: heard.overflows)
    heard.clear()
    (inbox / "after.jpg").write_bytes(b"x")
    until(lambda: "after.jpg" in heard.paths())
    assert watcher.alive


def test_its_end_is_told_when_it_counts_as_dead():
    """Whoever is woken by the end of the reader, and looks at once, sees it dead: there is no second call."""
    seen = []
    watcher = Watcher(lambda _: None, lambda: None, lambda: seen.append(watcher.alive))
    watcher.start()
    assert watcher.alive
    watcher.stop()
    assert seen == [False]


def test_what_cannot_be_watched_is_an_error(inbox, watching):
    """A root that is not there can't be watched, and that is said."""
    watcher, place = watching(inbox)
    inbox.rmdir()
    with pytest.raises(OSError, match=re.escape("No such file")):
        watcher.watch(place)
