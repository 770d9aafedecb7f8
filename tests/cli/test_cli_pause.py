"""``pause`` and ``resume``."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from pathlib import Path

import pytest

from rembg_watch.jobs.lock import StateLock
from rembg_watch.jobs.model import Hold
from rembg_watch.jobs.status_table import PAUSE, TOO_MANY


def test_pause_and_resume(place):
    """They say what they did; status has it on its first line; twice is no error."""
    told = place.run("pause", "--reason", "new lamps")
    assert (told.code, told.out.split(".")[0]) == (0, "Paused: new lamps")
    assert re.match(r"PAUSED for \d+ s: new lamps\n  goes on: rembg-watch resume\n", place.run("status").out)
    told = place.run("resume")
    assert told.out.splitlines()[0] == "Resumed."
    assert place.table.holds() == []
    assert place.run("resume").out.splitlines()[0] == "Not paused."


def test_pause_survives_restarts(place):
    """It stands in the database, from before the first run of a daemon on."""
    place.run("pause")
    with StateLock(place.root / "state"):
        (hold,) = place.table.holds()
    assert (hold.scope, hold.kind) == PAUSE


def test_pausing_twice_keeps_the_beginning(place):
    """A new reason replaces the old one; none keeps it."""
    place.run("pause", "--reason", "one")
    since = place.table.holds()[0].since
    assert place.run("pause").out.startswith("Paused already since")
    assert place.table.holds()[0].message == "one"
    assert "now with this reason: two" in place.run("pause", "--reason", "two").out
    (hold,) = place.table.holds()
    assert (hold.message, hold.since) == ("two", since)


def test_resume_says_what_still_holds(place):
    """Other reasons to wait are not ended by it, and not kept quiet."""
    place.table.hold(Hold("all", "credits", "0 credits are left", "buy credits", time.time() - 60))
    place.run("pause")
    told = place.run("resume").out
    assert re.search(r"Still held for \d+ s: everything: 0 credits are left", told)
    assert "goes on: buy credits" in told
    assert "No daemon is running" in told
    assert [hold.kind for hold in place.table.holds()] == ["credits"]


def too_many(place, inbox=None):
    """Hold an inbox with two photos, as the daemon does."""
    inbox = inbox or place.shoes
    place.arrive("a.jpg", "b.jpg", inbox=inbox, now=5000.0)
    told = "2001 new photos came within 10 minutes, which would cost up to 2001 credits (hold_above is 2000)"
    release = f"rembg-watch resume --folder {inbox}"
    place.table.hold(Hold(f"inbox:{inbox}", TOO_MANY, told, release, time.time() - 90))


def test_resume_of_an_inbox_with_too_many_photos(place):
    """It says what is sent and what that costs at most."""
    too_many(place)
    place.table.set_fact("credits", {"available": 500, "at": 1.0}, 1.0)
    told = place.run("resume", "--folder", "shoes").out.splitlines()
    assert told[0] == f"Resumed: 2 photos in {place.shoes} will be sent now, for up to 2 credits (you have 500)."
    assert place.table.holds() == []
    told = place.run("resume", "--folder", "shoes").out
    assert told.startswith(f"The inbox {place.shoes} holds no photos back.\n")


def test_resume_of_one_inbox_leaves_the_other_and_the_pause(place):
    """And says that they still hold; each inbox has its own time."""
    too_many(place)
    too_many(place, place.bags)
    place.run("pause", "--reason", "lunch")
    told = place.run("resume", "--folder", place.bags).out
    assert "2 photos in" in told
    assert "will be sent once nothing else holds them, for up to 2 credits." in told
    assert re.search(r"Still held for \d+ s: everything: lunch\n  goes on: rembg-watch resume\n", told)
    assert sorted(hold.kind for hold in place.table.holds()) == ["pause", TOO_MANY]
    place.run("resume", "--folder", place.shoes)
    assert [hold.kind for hold in place.table.holds()] == ["pause"]


def test_plain_resume_names_what_too_many_photos_hold(place):
    """It ends the pause alone, and says how the rest goes on."""
    too_many(place)
    place.run("pause")
    told = place.run("resume").out
    assert told.startswith("Resumed.\nStill held for 90 s: inbox ")
    assert f"goes on: rembg-watch resume --folder {place.shoes}\n" in told
    assert [hold.kind for hold in place.table.holds()] == [TOO_MANY]


def test_resume_of_an_unknown_inbox_is_wrong_usage(place):
    """Exit 2, and nothing is resumed."""
    place.run("pause")
    assert place.run("resume", "--folder", "nowhere").code == 2
    assert [hold.kind for hold in place.table.holds()] == ["pause"]


def test_resume_before_anything_ran(place):
    """Nothing to end, and nothing made."""
    told = place.run("resume")
    assert (told.code, told.out) == (0, "Not paused.\n")
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
