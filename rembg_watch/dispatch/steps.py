"""The points that a photo passes between its claim and its end, in their order. A kill at any of them loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Step(StrEnum):
    """One point. A result that is reused passes no point from ``MARKED_SENT`` to ``VERIFIED``."""

    CLAIMED = "claimed"
    READ = "read"
    FOUND = "found"
    """Its result was looked for, and its output has a name."""
    MARKED_SENT = "marked-sent"
    OPENED = "opened"
    """The file that takes the answer is open; nothing was sent yet."""
    ANSWERED = "answered"
    VERIFIED = "verified"
    SYNCED = "synced"
    """The copy beside the output's place is on the disk."""
    MARKED_RECEIVED = "marked-received"
    PLACED = "placed"
    PLACE_SYNCED = "place-synced"
    FINISHED = "finished"
    TIDIED = "tidied"


Failpoint = Callable[[Step], None]
"""A function that is called at each point: where tests break things."""


def no_failpoint(_step: Step) -> None:
    """Do nothing."""
