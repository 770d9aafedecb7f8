"""How many photos go out at once, and how fast.

``RateLimiter`` bounds the requests in flight and paces them. ``AdaptiveRate`` finds the highest rate that the service
accepts. Until something was refused there is no limit but the number of requests in flight. After the first "too fast":

- Each accepted request raises the rate by a tiny part (``GROWTH``), each refusal cuts it by ``CUT`` or more. In the
  long run about one request in 150 is refused, and the rate stays within a few percent of the limit. The longer nothing
  is refused, the faster it grows: a limit that was raised is found within minutes.
- A refusal soon after the last one cuts deeper: ten requests between them mean that the rate is about a tenth too high.
- After a refusal comes a pause, doubled while nothing is accepted: a service that counts by the minute accepts nothing
  for the rest of that minute.
- When such a gap ends, the requests accepted since the end of the gap before give the service's true rate: one look
  corrects a rate that was far too high.

A rate that is not used is not raised.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

MIN_RATE = 0.02
"""Requests a second below which the rate never falls: one in 50 s."""
CUT = 0.97
"""What remains of the rate after a refusal that comes alone."""
GROWTH = 0.0002
"""Growth for each accepted request, as a part of the rate: 0.03 / 0.0002 accepted ones outweigh one refusal."""
CALM = 60.0
"""Seconds without a refusal after which growth speeds up, with the square of the time."""
QUICK = 0.01
"""Growth a second at most, as a part of the rate; also after a deep cut, which may have been too deep."""
SEARCH = 0.05
"""Growth a second between the first and the second refusal ever, while next to nothing is known."""
GUESS = 4.0
"""Requests a second at which the search begins at least, halved by its first cut: one refusal alone says little."""
GAP = 6.0
"""Slots without an accepted request, around a refusal, that count as a gap."""
LONGEST_PAUSE = 30.0
RECENT = 10.0
"""Seconds over which the pace is measured that went before the very first refusal."""


@dataclass
class AdaptiveRate:
    """The rate and its state. Not safe for threads: its owner holds a lock. Times are monotonic seconds."""

    upper: float | None = None
    """The config's ``max_per_second``, or None."""
    rate: float | None = None
    """Requests a second, or None while no limit is known."""
    next_slot: float = 0.0
    _grown_at: float = 0.0
    _cut_at: float = float("-inf")
    _search: float = 0.0
    """Growth a second after a cut that may have been too deep, else 0."""
    _pause: float = 0.0
    _good: int = 0
    """Accepted among those that were sent after the last cut."""
    _gap_end: float | None = None
    _since_gap: int = 0
    """Accepted since the last gap ended."""
    _last_good: float = 0.0
    """When the newest accepted request was sent."""
    _sent: deque[float] = field(default_factory=lambda: deque(maxlen=1000))

    def limit(self) -> float | None:
        """Return the rate in force: the lower one of what was found and what the config allows."""
        known = [rate for rate in (self.rate, self.upper) if rate is not None]
        return min(known) if known else None

    def take(self, now: float) -> float:
        """Reserve the next slot if it is free and return 0.0; else return the seconds until it will be."""
        if now < self.next_slot:
            return self.next_slot - now
        self._grow(now)
        if self.rate is None:
            self._sent.append(now)
        if limit := self.limit():
            # A burst makes up for a late wake-up, but not for slots that were left unused.
            self.next_slot = max(self.next_slot, now - 1.0 / limit) + 1.0 / limit
        return 0.0

    def accepted(self, now: float, sent_at: float) -> None:
        """Count a request, sent at ``sent_at``, that the service did not refuse for its pace."""
        if self._gap_end is None:
            self._gap_end = self._last_good = sent_at
        if self.rate is not None and self._last_good < self._cut_at and sent_at - self._last_good > GAP / self.rate:
            seen = self._since_gap / (sent_at - self._gap_end)
            if seen < 0.9 * self.rate:
                self._search = QUICK
            self.rate = max(MIN_RATE, min(self.rate, max(seen, self.rate / 2)))
            self._gap_end, self._since_gap = sent_at, 0
        self._last_good = max(self._last_good, sent_at)
        self._since_gap += 1
        if sent_at >= self._cut_at:
            self._pause = 0.0
            self._good += 1

    def refused(self, now: float, sent_at: float, retry_after: float | None) -> None:
        """Count a "too fast". Refusals of requests that were sent before the last cut say nothing new."""
        if retry_after is not None:
            self.next_slot = max(self.next_slot, now + retry_after)
        if sent_at < self._cut_at:
            return
        if self.rate is None:
            recent = [at for at in self._sent if at >= now - RECENT] or [now]
            self.rate = 0.5 * max(GUESS, len(recent) / max(1.0, now - recent[0]))
            self._search = SEARCH
        else:
            part = min(CUT, 1.0 - 0.5 / (self._good + 1)) if self._good else CUT
            self.rate = max(MIN_RATE, self.rate * part)
            self._search = QUICK if part < 0.9 else 0.0
        self._pause = min(LONGEST_PAUSE, max(self._pause * 2.0, 2.0 / self.rate))
        self.next_slot = max(self.next_slot, now + self._pause)
        self._cut_at = self._grown_at = now
        self._good = 0

    def _grow(self, now: float) -> None:
        if self.rate is None:
            return
        passed = max(0.0, min(now - self._grown_at, max(5.0, 2.0 / self.rate)))
        self._grown_at = now
        if now - self.next_slot > max(0.5, 2.0 / self.rate):  # no request was waiting for this slot
            self._gap_end, self._since_gap = None, 0
            return
        calm = max(1.0, (now - self._cut_at) / CALM)
        growth = self._search or min(QUICK, GROWTH * self.rate * calm * calm)
        self.rate *= 1.0 + growth * passed


LOOK_AGAIN = 0.5
"""Seconds after which a waiting thread looks whether it may still send: a hold or a reload may have come."""


class RateLimiter:
    """Bounds the requests in flight to ``places``, at the pace that the service accepts. Safe for threads."""

    def __init__(self, places: int, upper: float | None) -> None:
        self._rate = AdaptiveRate(upper)
        self._places = places
        self._closed = False
        self._changed = threading.Condition()
        self.in_flight = 0

    def take(self, most: int) -> int:
        """Wait until a request may go out; take up to ``most`` places that are free and return how many.

        Return 0 after half a second, so that the caller looks again whether it may send, and at once when closed.
        """
        end = time.monotonic() + LOOK_AGAIN
        with self._changed:
            while not self._closed:
                taken, delay = 0, LOOK_AGAIN
                while taken < most and self.in_flight < self._places:
                    if (delay := self._rate.take(time.monotonic())) > 0:
                        break
                    self.in_flight += 1
                    taken += 1
                left = end - time.monotonic()
                if taken or left <= 0:
                    return taken
                self._changed.wait(min(delay, left))
        return 0

    def give_back(self, count: int = 1) -> None:
        """Free places: their requests have ended, or were not sent."""
        with self._changed:
            self.in_flight -= count
            self._changed.notify(count)

    def accepted(self, sent_at: float) -> None:
        """Count a request, sent at ``sent_at`` (monotonic seconds), that was not refused for its pace."""
        with self._changed:
            self._rate.accepted(time.monotonic(), sent_at)

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """Count a "too fast" to a request that was sent at ``sent_at`` (monotonic seconds)."""
        with self._changed:
            self._rate.refused(time.monotonic(), sent_at, retry_after)

    def reload(self, places: int, upper: float | None) -> None:
        """Apply ``workers`` and ``api.max_per_second`` of a new config."""
        with self._changed:
            self._rate.upper = upper
            self._places = places
            self._changed.notify_all()

    def limit(self) -> float | None:
        """Return the rate in force, in requests a second; None while no limit is known."""
        with self._changed:
            return self._rate.limit()

    def close(self) -> None:
        """Hand out no place any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
