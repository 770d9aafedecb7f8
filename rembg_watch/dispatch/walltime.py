"""Jumps of the clock. What waits "until ten past" must not wait an hour longer because somebody set the clock back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

JUMP_SECONDS = 5.0
"""Smaller steps are the work of NTP and of busy machines."""


class ClockWatch:
    """Compares the wall clock with one that nobody sets (and that goes on while the machine sleeps)."""

    def __init__(self, wall: float, steady: float) -> None:
        self._offset = wall - steady
        self._wall = wall
        self.since = wall
        """On the clock as it is now: the last look before the jump. What was written after that knew of the jump."""

    def look(self, wall: float, steady: float) -> float:
        """Give the seconds that the wall clock was set forward (negative: back) since the last look, or 0.0."""
        jump = wall - steady - self._offset
        self._offset += jump
        self.since, self._wall = self._wall + jump, wall
        return jump if abs(jump) >= JUMP_SECONDS else 0.0


def read_clocks(wall_clock: Callable[[], float]) -> tuple[float, float]:
    """Give the wall clock and the steady one as of one moment: a thread may stand still between two readings."""
    while True:
        before, wall, after = steady_clock(), wall_clock(), steady_clock()
        if after - before < JUMP_SECONDS / 5:
            return wall, before


def steady_clock() -> float:
    """Give seconds since the machine was started, those of its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
