"""The line of requests: so many in flight at most, at the pace that the service bears, and none while sending is held.

More workers stand in it than it lets through: a photo that is read, hashed and named goes out as soon as an answer is
in, while that answer is still being checked and forced to the disk.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rembg_watch.dispatch.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOOK_AGAIN = 0.5
"""Seconds; short, as a hold or a new config may change what is waited for."""


class RequestLine:
    """Hands out ``places`` to the workers, one at a time. Safe for threads. Times are monotonic seconds."""

    def __init__(self, upper: float | None, places: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace(upper)
        self._places = places
        self._in_flight = 0
        self._lock = threading.Lock()
        self._first = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._stopping = False

    @contextmanager
    def place(self, may_send: Callable[[], bool]) -> Iterator[None]:
        """Wait for the caller's turn to send, and count the request as in flight until the end of the block.

        ``may_send`` is asked under the lock of the line: it must not come back to it.

        Raises:
            InterruptedError: nothing may be sent any more.
        """
        with self._first:
            while True:
                # Held from the look to the wait: a place that is freed between, or a hold that begins, would be missed.
                with self._lock:
                    if self._stopping or not may_send():
                        raise InterruptedError
                    if (wait := self._take()) <= 0:
                        break
                    self._freed.wait(wait)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1
                self._freed.notify()

    def _take(self) -> float:
        """Take a place if one is free and it is time; else give the seconds to the next look. Under the lock."""
        if self._in_flight >= self._places:
            return _LOOK_AGAIN
        delay = self._pace.take(self._clock())
        if delay <= 0:
            self._in_flight += 1
        return min(delay, _LOOK_AGAIN)

    def accepted(self, sent_at: float) -> None:
        """Note that a request that went out at ``sent_at`` was not refused for its pace."""
        with self._lock:
            self._pace.accepted(self._clock(), sent_at)

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """Note a "too fast" to a request that went out at ``sent_at``."""
        with self._lock:
            self._pace.refused(self._clock(), sent_at, retry_after)

    def reload(self, upper: float | None, places: int) -> None:
        """Take over ``api.max_per_second`` and ``workers`` from a new config."""
        with self._lock:
            self._pace.upper = upper
            self._places = places
            self._freed.notify()

    def limit(self) -> float | None:
        """Give the rate that is in force, in requests a second; None while no limit is known."""
        with self._lock:
            return self._pace.limit()

    def close(self) -> None:
        """Let nobody through any more."""
        with self._lock:
            self._stopping = True
            self._freed.notify()
