"""What the daemon publishes for other processes."""

from __future__ import annotations

import os

import pytest

from rembg_watch.jobs.model import Hold, Unready
from rembg_watch.jobs.status_table import PAUSE, TOO_MANY, StatusTable

PAUSED = Hold(*PAUSE, "lunch", "resume", 5.0)


@pytest.fixture
def status(database):
    return StatusTable(database)


def test_a_renewed_hold_keeps_its_beginning(status):
    """Its text and next check are the new ones."""
    scope = os.fsdecode(b"outbox:/srv/\xff\\out")
    status.hold(Hold(scope, "full", "no room", "free space", 10.0, 40.0))
    status.hold(Hold(scope, "full", "still no room", "free space", 70.0, 100.0))
    status.hold(PAUSED)
    assert status.holds() == [PAUSED, Hold(scope, "full", "still no room", "free space", 10.0, 100.0)]


def test_published_holds_replace_all_but_those_that_commands_end(status):
    """A pause and a brake outlive the daemon that published the others."""
    too_many = Hold("inbox:/in", TOO_MANY, "3000 new photos", "resume --folder", 6.0)
    old, new = (Hold("all", kind, "", "", 7.0) for kind in ("credits", "key"))
    for hold in (PAUSED, too_many):
        status.hold(hold)
    status.publish_holds([old])
    status.publish_holds([new])
    assert status.holds() == [PAUSED, too_many, new]


def test_what_was_resumed_does_not_come_back(status):
    """The daemon publishes the holds that it read before the resume."""
    status.hold(PAUSED)
    read = status.holds()
    status.release(*PAUSE)
    status.publish_holds(read)
    assert status.holds() == []


def test_release_reports_whether_there_was_a_hold(status):
    """A second release is no error."""
    status.hold(PAUSED)
    assert status.release(*PAUSE)
    assert not status.release(*PAUSE)
    assert status.holds() == []


def test_unready_files_are_replaced_as_a_whole(status):
    """With names of any bytes, the oldest first."""
    status.publish_unready([Unready("/in", "old.jpg", "settling", "quiet for 0.1 s", 1.0)])
    odd = Unready("/in", os.fsdecode(b"a\n\xff.jpg"), "incomplete", "cut off", 3.0)
    first = Unready("/in", "b.jpg", "ignored", "a temporary name", 2.0)
    status.publish_unready([odd, first])
    assert status.unready() == [first, odd]


def test_facts_are_any_json(status):
    """Stored and replaced by key."""
    assert status.fact("daemon") is None
    status.set_fact("daemon", {"pid": 1, "roots": [], "path": "caf\u00e9"}, 1.0)
    status.set_fact("daemon", {"pid": 2}, 2.0)
    assert status.fact("daemon") == {"pid": 2}
