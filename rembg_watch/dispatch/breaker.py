"""The circuit breaker: a service that is down must not eat the jobs' attempts one after the other."""

from __future__ import annotations

from dataclasses import dataclass

OPENS_AFTER = 5
"""Faults of the service in a row, from any jobs."""
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0
LONGEST_PAID_PAUSE = 600.0
"""Where a try may cost a credit each time, though nothing comes of it."""


@dataclass
class Breaker:
    """Counts faults in a row. Pauses are seconds. Not safe for threads: its owner holds a lock."""

    faults: int = 0
    openings: int = 0
    """How often it opened since the service last answered well."""

    @property
    def closed(self) -> bool:
        """Whether the service works, as far as is known."""
        return self.openings == 0

    def fault(self, *, unreachable: bool = False, paid: bool = False) -> float | None:
        """Count a fault; gives the seconds to pause if it opens the breaker (again), else None.

        ``unreachable``: nobody was reached, which one fault proves. ``paid``: it may have cost a credit.
        """
        self.faults += 1
        if self.closed and self.faults < OPENS_AFTER and not unreachable:
            return None
        self.openings += 1
        return min(LONGEST_PAID_PAUSE if paid else LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.openings - 1, 10))

    def success(self) -> None:
        """Note that the service answered as it should, be it with a refusal of one image."""
        self.faults = 0
        self.openings = 0
