"""What the daemon tells others through the database."""

from __future__ import annotations

import os

import pytest

from rembg_watch.jobs.board import PAUSE, Board
from rembg_watch.jobs.model import Hold, Unready


@pytest.fixture
def board(database):
    return Board(database)


def test_a_hold_that_is_renewed_keeps_its_beginning(board):
    """Its text and next check are the new ones; it is still held since then."""
    scope = os.fsdecode(b"outbox:/srv/\xff\\out")
    board.hold(Hold(scope, "full", "no room", "free space", 10.0, 40.0))
    board.hold(Hold(scope, "full", "still no room", "free space", 70.0, 100.0))
    board.hold(Hold(*PAUSE, "lunch", "resume", 5.0))
    assert board.holds() == [
        Hold(*PAUSE, "lunch", "resume", 5.0),
        Hold(scope, "full", "still no room", "free space", 10.0, 100.0),
    ]


def test_release_says_whether_there_was_a_hold(board):
    """Twice is not an error."""
    board.hold(Hold(*PAUSE, "lunch", "resume", 5.0))
    assert board.release(*PAUSE)
    assert not board.release(*PAUSE)
    assert board.holds() == []


def test_unready_files_are_replaced_as_a_whole(board):
    """The list is what intake saw last, with names of any bytes."""
    board.show_unready([Unready("/in", "old.jpg", "settling", "quiet for 0.1 s", 1.0)])
    odd = Unready("/in", os.fsdecode(b"a\n\xff.jpg"), "incomplete", "its end is missing", 3.0)
    first = Unready("/in", "b.jpg", "ignored", "a temporary name", 2.0)
    board.show_unready([odd, first])
    assert board.unready() == [first, odd]


def test_facts_are_any_json(board):
    """Stored and replaced by key."""
    assert board.fact("daemon") is None
    board.set_fact("daemon", {"pid": 1, "roots": [], "path": "caf\u00e9"}, 1.0)
    board.set_fact("daemon", {"pid": 2}, 2.0)
    assert board.fact("daemon") == {"pid": 2}
