"""How fast to send: the highest rate that the service bears is found by itself and shared by all workers.

Additive increase, multiplicative decrease, as TCP does it, with one thing more: the rate at which the service last
said "too fast" is remembered. Below it the rate climbs quickly, near it slowly, so that a long run stays just below
the limit and is seldom refused. As long as nothing was ever refused there is no limit but the number of workers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MIN_RATE = 0.02
"""Requests a second below which the rate never falls: one in 50 s."""
DECREASE = 0.93
"""What remains of the rate after a refusal."""
QUICK = 0.05
"""Growth a second, as a part of the ceiling, while well below it."""
SLOW = 0.002
"""Growth a second near the ceiling and above it."""
NEAR = 0.96
WINDOW = 10.0
"""Seconds over which the accepted requests are counted."""


@dataclass
class Pace:
    """The rate and its state. Not safe for threads: its owner holds a lock. Times are monotonic seconds."""

    upper: float | None = None
    """The config's ``max_per_second``, or None."""
    rate: float | None = None
    """Requests a second, or None while no limit is known."""
    ceiling: float | None = None
    """The rate at which the service last refused."""
    next_slot: float = 0.0
    _grown_at: float = 0.0
    _cut_at: float = -1e9
    _accepted: deque[float] = field(default_factory=deque)

    def limit(self) -> float | None:
        """Give the rate that is in force: the lower one of what was found and what the config allows."""
        known = [rate for rate in (self.rate, self.upper) if rate is not None]
        return min(known) if known else None

    def take(self, now: float) -> float:
        """Take the next place in the line of requests, if it is free: 0.0, else the seconds until it will be."""
        if now < self.next_slot:
            return self.next_slot - now
        self._grow(now)
        if limit := self.limit():
            # A place that was left unused is not made up for by a burst, but a late wake-up is.
            self.next_slot = max(self.next_slot, now - 1.0 / limit) + 1.0 / limit
        return 0.0

    def accepted(self, now: float) -> None:
        """Note a request that the service did not refuse for its pace."""
        self._accepted.append(now)
        while self._accepted and self._accepted[0] < now - WINDOW:
            self._accepted.popleft()

    def refused(self, now: float, sent_at: float, retry_after: float | None) -> None:
        """Note a "too fast". Refusals of requests that were sent before the last cut say nothing new."""
        if retry_after is not None:
            self.next_slot = max(self.next_slot, now + retry_after)
        if sent_at < self._cut_at:
            return
        observed = self._observed(now)
        current = self.rate if self.rate is not None else max(observed, MIN_RATE)
        self.ceiling = current
        self.rate = max(MIN_RATE, current * DECREASE)
        self._cut_at = self._grown_at = now
        self.next_slot = max(self.next_slot, now + 1.0 / self.rate)

    def _observed(self, now: float) -> float:
        recent = [at for at in self._accepted if at >= now - WINDOW]
        if not recent:
            return 1.0
        return len(recent) / max(1.0, now - recent[0])

    def _grow(self, now: float) -> None:
        if self.rate is None or self.ceiling is None:
            return
        passed = max(0.0, min(now - self._grown_at, 5.0))  # a long idle time is no proof of anything
        self._grown_at = now
        step = QUICK if self.rate < NEAR * self.ceiling else SLOW
        self.rate += step * max(self.ceiling, 0.2) * passed
        self.ceiling = max(self.ceiling, self.rate)
