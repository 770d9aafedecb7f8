"""What was spent and does not show in the service's own count yet. Pure arithmetic; it asks nobody.

A usage call may tell what was true some seconds ago, and a request that we gave up may be charged after that. In both
cases a reading looks richer than the account is. The service's count of its use gives it away: it must grow by what we
spent. What it lacks counts against the reading, for as long as it may still come.
"""

from __future__ import annotations

from collections import deque


class Unseen:
    """Compares what we spent with what the service counted. Not safe for threads: its owner holds a lock."""

    def __init__(self) -> None:
        self._ended: deque[float] = deque()
        self._spent = 0
        """Images spent since the last good reading began."""
        self._lack = 0
        """What the count lacked then; below 0 where it was ahead of us by what was in flight."""
        self._counted: tuple[int, int] | None = None
        self._reading = (0, 0)

    def spend(self, now: float) -> None:
        """Note the end of an image that was charged, or may be. Unix seconds."""
        self._spent += 1
        self._ended.append(now)

    def begin_reading(self, in_flight: int) -> None:
        """Note the state when a usage call starts: the service may have counted what is in flight."""
        self._reading = (self._spent, in_flight)

    def end_reading(self, used: int, prepaid: int, since: float) -> int:
        """Give how many images count against a good reading, though it does not show them.

        Args:
            used: what the service has counted, in images; where a new period begins it falls, which shows nothing.
            prepaid: the prepaid balance; what it pays for is in no count, and where it rises it was topped up.
            since: Unix seconds; what ended before is not waited for any more.
        """
        spent, in_flight = self._reading
        if self._counted is not None:
            shown = max(0, used - self._counted[0]) + max(0, self._counted[1] - prepaid)
            # What others use hides a lack. It must not hide later ones: never further ahead than by what is in flight.
            self._lack = max(-in_flight, self._lack + spent - shown)
        while self._ended and self._ended[0] < since:
            self._ended.popleft()
        self._lack = min(self._lack, len(self._ended))
        self._counted = (used, prepaid)
        self._spent -= spent
        return max(0, self._lack)

    def shift(self, seconds: float) -> None:
        """Follow a jump of the clock."""
        self._ended = deque(at + seconds for at in self._ended)
