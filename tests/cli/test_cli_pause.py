"""``pause`` and ``resume``."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from pathlib import Path

import pytest

from rembg_watch.jobs.board import PAUSE
from rembg_watch.jobs.lock import StateLock
from rembg_watch.jobs.model import Hold


def test_pause_and_resume(place):
    """They say what they did; status has it on its first line; twice is no error."""
    told = place.run("pause", "--reason", "new lamps")
    assert (told.code, told.out.split(".")[0]) == (0, "Paused: new lamps")
    assert re.match(r"PAUSED for \d+ s: new lamps\n  goes on: rembg-watch resume\n", place.run("status").out)
    told = place.run("resume")
    assert told.out.splitlines()[0] == "Resumed."
    assert place.board.holds() == []
    assert place.run("resume").out.splitlines()[0] == "Nothing was paused."


def test_pause_survives_restarts(place):
    """It stands in the database, from before the first run of a daemon on."""
    place.run("pause")
    with StateLock(place.root / "state"):
        (hold,) = place.board.holds()
    assert (hold.scope, hold.kind) == PAUSE


def test_pausing_twice_keeps_the_beginning(place):
    """A new reason replaces the old one; none keeps it."""
    place.run("pause", "--reason", "one")
    since = place.board.holds()[0].since
    assert place.run("pause").out.startswith("Paused already since")
    assert place.board.holds()[0].message == "one"
    assert "now with this reason: two" in place.run("pause", "--reason", "two").out
    (hold,) = place.board.holds()
    assert (hold.message, hold.since) == ("two", since)


def test_resume_says_what_still_holds(place):
    """Other reasons to wait are not ended by it, and not kept quiet."""
    place.board.hold(Hold("all", "credits", "0 credits are left", "buy credits", time.time() - 60))
    place.run("pause")
    told = place.run("resume").out
    assert re.search(r"Still held for \d+ s: everything: 0 credits are left", told)
    assert "goes on: buy credits" in told
    assert "No daemon is running" in told
    assert [hold.kind for hold in place.board.holds()] == ["credits"]


def test_resume_before_anything_ran(place):
    """Nothing to end, and nothing made."""
    told = place.run("resume")
    assert (told.code, told.out) == (0, "Nothing was paused.\n")
    assert not (place.root / "state").exists()


def test_reason_is_shown_safely(place):
    """A reason is a text like any other."""
    assert "\x1b" not in place.run("pause", "--reason", "a\x1b[31mb\nc").out
    assert re.match(r"PAUSED for \d+ s: a\\x1b\[31mb c", place.run("status").out)


@contextlib.contextmanager
def nobody():
    """As a user without rights, where we are root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("command", [("pause",), ("jobs", "retry", "--failed"), ("jobs", "cancel", "1")])
def test_state_that_can_not_be_written(place, command):
    """Exit 73 and what to do, not a traceback."""
    place.arrive("a.jpg")
    place.database.close()
    with tempfile.TemporaryDirectory(prefix="rembg-watch-test-") as made:
        state = Path(made, "state")
        state.mkdir()
        (place.root / "state" / "jobs.db").rename(state / "jobs.db")
        config = Path(made, "config.yaml")
        config.write_text(place.config.read_text().replace(f"{place.root}/state", str(state)))
        (state / "jobs.db").chmod(0o444)
        for path, mode in ((state, 0o555), (config, 0o644), (Path(made), 0o755)):
            path.chmod(mode)
        place.config = config
        with nobody():
            told = place.run(*command)
        state.chmod(0o755)
    assert told.code == 73
    assert "writable" in told.err
    assert told.out == ""
