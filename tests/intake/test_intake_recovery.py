"""After something went wrong intake goes on at once: it does not wait for the next periodic scan."""

from __future__ import annotations

import sqlite3

import structlog

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
        assert intake.first_scan_done.is_set()
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
        intake.stop()
