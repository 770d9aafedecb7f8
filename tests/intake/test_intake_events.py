"""Events that are lost, never come, or are not asked for: every photo is found all the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import structlog
from intake_limited import run_limited

from rembg_watch.intake.inbox import Mode
from rembg_watch.intake.roots import Rounds

BRISK = Rounds(health=0.1, calm=0.1, poll=0.3, made_folder=0.2, revive=0.2)
RARE = Rounds(health=60, calm=60)
"""Nobody looks at the roots by the clock: what is noticed was told."""


def test_after_an_overflow_everything_is_scanned(desk, inbox, running, pic, until):
    """When the kernel drops events for want of room, all files are found at once, without waiting for the rescan."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    if limit > 50_000:
        pytest.skip("the kernel's queue is too long to fill it here")
    with running(inbox) as intake:
        # The reader is held up until the kernel's queue is full, as a busy machine would do it.
        with intake._patrol._roots._watcher._inotify._lock:
            for number in range(limit // 2):  # half as much again: the reader may have taken a few thousand at once
                os.close(os.open(inbox / f"{number}.txt", os.O_CREAT | os.O_WRONLY))
                os.unlink(inbox / f"{number}.txt")
            for number in range(5):
                (inbox / f"{number}.jpg").write_bytes(pic(seed=number))
        until(lambda: len(desk.arrivals) == 5)
        assert intake.overflows >= 1
        assert intake.found_by_rescan == 0
        (inbox / "after.jpg").write_bytes(pic(seed=9))
        until(lambda: desk.of("after.jpg"))


def test_what_only_a_rescan_finds_is_counted_and_warned_of(desk, inbox, running, folder_for, pic, until):
    """If events are lost without a word the rescan finds the file, and says that it had to."""
    with running(folder_for(inbox, rescan=0.5), rounds=BRISK) as intake, structlog.testing.capture_logs() as logs:
        for group in intake._patrol._roots._watcher._groups.values():
            group._teller._post = lambda news: None
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.arrivals)
        until(lambda: intake.found_by_rescan == 1)
        until(lambda: any(line["event"] == "intake.found_by_rescan" for line in logs))


def test_a_watcher_that_dies_is_replaced_at_once(desk, inbox, running, pic, until):
    """The end of the thread that reads events is noticed without looking."""
    with running(inbox, rounds=Rounds(health=60, calm=60, revive=0)) as intake:
        dead = intake._patrol._roots._watcher._inotify
        dead.stop()
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.of("photo.jpg"))
        assert intake._patrol._roots._watcher._inotify is not dead


def test_a_dead_watcher_is_replaced(desk, inbox, running, pic, until):
    """If watchdog's reader thread ends, it is started anew and everything is scanned."""
    with running(inbox, rounds=BRISK) as intake:
        dead = intake._patrol._roots._watcher._inotify
        dead.stop()
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.of("photo.jpg"))
        (inbox / "next.jpg").write_bytes(pic(seed=1))
        until(lambda: desk.of("next.jpg"))
        assert intake._patrol._roots._watcher._inotify is not dead


def test_scanning_alone_is_enough(desk, inbox, running, folder_for, pic, until):
    """With ``watch: scan`` no event is used, and every file is found all the same."""
    with running(folder_for(inbox, watch="scan", rescan=0.2), rounds=BRISK) as intake:
        assert intake.roots()[0].mode is Mode.SCAN
        assert not intake._patrol._roots._watcher.watched_inodes()
        (inbox / "a/b").mkdir(parents=True)
        (inbox / "a/b/photo.jpg").write_bytes(pic())
        until(lambda: desk.of("a/b/photo.jpg"))
        assert intake.found_by_rescan == 0


def test_the_watch_limit_is_told_and_got_round(tmp_path):
    """Beyond the watch limit: the message names the sysctl, and files in unwatched folders are found by polling."""
    done = run_limited("intake_under_limit.py", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sysctl -w fs.inotify.max_user_watches=" in done.stdout


def test_every_scan_watches_what_is_not_watched(desk, inbox, running, move_in, pic, until):
    """A folder whose watch was lost is heard again from the next scan on."""
    (inbox / "a/b").mkdir(parents=True)
    with running(inbox, rounds=RARE) as intake:
        watcher = intake._patrol._roots._watcher
        (group,) = watcher._groups.values()
        lost = os.fsencode(inbox / "a/b")
        group._remove_callbacks([group._active_callbacks_by_path[lost]])
        assert len(watcher.watched_inodes()) == 2
        intake.rescan_now()
        until(lambda: len(watcher.watched_inodes()) == 3)
        move_in(pic(), inbox / "a/b/photo.jpg")
        until(lambda: desk.of("a/b/photo.jpg"))
    assert intake.found_by_rescan == 0
