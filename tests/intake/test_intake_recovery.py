"""After something went wrong intake goes on at once: it does not wait for the next periodic scan."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack

import structlog
from intake_limited import run_limited

from rembg_watch.intake.inbox import Health, Mode
from rembg_watch.intake.intake import Intake
from rembg_watch.intake.roots import Rounds

RARE = Rounds(health=60, calm=60)
"""Nobody looks at the roots by the clock: what is noticed was told."""


def fail_once(owner, name, error):
    """Let the first call of a method raise; gives the list of the calls."""
    real, calls = getattr(owner, name), []

    def call(*args, **settings):
        calls.append(args)
        if len(calls) == 1:
            raise error
        return real(*args, **settings)

    setattr(owner, name, call)
    return calls


def test_a_scan_that_fails_is_made_again_at_once(desk, inbox, folder_for, running, pic, until):
    """A job table that is locked for a moment costs a moment, and not the time until the next periodic scan."""
    (inbox / "photo.jpg").write_bytes(pic())
    fail_once(desk.store, "known_versions", sqlite3.OperationalError("database is locked"))
    with (
        structlog.testing.capture_logs() as logs,
        running(folder_for(inbox, rescan=3600), rounds=RARE, wait=False) as intake,
    ):
        until(lambda: desk.of("photo.jpg"))
        until(intake.first_scan_done.is_set)
        assert intake.unwell() is None
    assert [line["event"] for line in logs].count("intake.patrol_failed") == 1


def test_a_first_round_that_fails_is_made_again(desk, inbox, folder_for, pic, until):
    """Even if nothing at all could be set up: there is no root then whose time could come."""
    (inbox / "photo.jpg").write_bytes(pic())
    intake = Intake([folder_for(inbox)], desk.store, desk.take, rounds=RARE)
    fail_once(intake._patrol._roots, "look", RuntimeError("something unforeseen"))
    intake.start()
    try:
        until(lambda: desk.of("photo.jpg"))
    finally:
        intake.stop(60)


def test_while_nobody_reads_events_everything_is_scanned(desk, inbox, running, pic, until):
    """The thread that reads events died soon after it was started: until it may be started again, scans find it all."""
    with running(inbox, rounds=Rounds(health=60, calm=60, revive=3600)) as intake:
        intake._patrol._roots._watcher._inotify.stop()
        until(lambda: intake.roots()[0].mode is Mode.SCAN)
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.of("photo.jpg"))
        assert intake.found_by_rescan == 0
        assert intake.unwell() is None


def test_a_root_that_can_be_read_again_is_heard(desk, open_inbox, folder_for, running, pic, until):
    """It could not be watched while it could not be read: it is as soon as it is read."""
    open_inbox.chmod(0)
    with ExitStack() as stack:
        os.seteuid(65534)  # to root, nothing is closed
        try:
            intake = stack.enter_context(running(folder_for(open_inbox, rescan=0.1)))
            assert intake.roots()[0].health is Health.UNREADABLE
        finally:
            os.seteuid(0)
        until(lambda: open_inbox.stat().st_ino in intake._patrol._roots._watcher.watched_inodes())
        until(lambda: intake.roots()[0][1:3] == (Health.OK, Mode.EVENTS))
        (open_inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.of("photo.jpg"))


def test_a_raised_limit_is_taken_up_by_a_reload(tmp_path):
    """An inbox that could not be watched tells which limit to raise; after that a reload is enough, without a restart."""
    done = run_limited("intake_raised_limit.py", tmp_path)
    assert "raise fs.inotify.max_user_watches" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
