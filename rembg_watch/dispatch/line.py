"""The line of requests: one at a time takes its place, at the pace that the service bears, unless sending is held."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from rembg_watch.dispatch.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable


class RequestLine:
    """Hands out places to the workers. Safe for threads. Times are monotonic seconds."""

    def __init__(self, upper: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace(upper)
        self._lock = threading.Lock()
        self._first = threading.Lock()
        self._stop = threading.Event()

    def wait(self, may_send: Callable[[], bool]) -> None:
        """Return when it is the caller's turn to send.

        Raises:
            InterruptedError: nothing may be sent any more.
        """
        with self._first:
            while True:
                if self._stop.is_set() or not may_send():
                    raise InterruptedError
                with self._lock:
                    delay = self._pace.take(self._clock())
                if delay <= 0:
                    return
                self._stop.wait(min(delay, 0.5))  # short, as a hold or a new config may change what is waited for

    def accepted(self, sent_at: float) -> None:
        """Note that a request that went out at ``sent_at`` was not refused for its pace."""
        with self._lock:
            self._pace.accepted(self._clock(), sent_at)

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """Note a "too fast" to a request that went out at ``sent_at``."""
        with self._lock:
            self._pace.refused(self._clock(), sent_at, retry_after)

    def set_upper(self, upper: float | None) -> None:
        """Take over ``api.max_per_second`` from a new config."""
        with self._lock:
            self._pace.upper = upper

    def limit(self) -> float | None:
        """Give the rate that is in force, in requests a second; None while no limit is known."""
        with self._lock:
            return self._pace.limit()

    def close(self) -> None:
        """Let nobody through any more."""
        self._stop.set()
