"""The dispatcher's sleep between two turns: short while there is work, and deeper the longer nothing happens."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_SECONDS = 2.0
"""How often the dispatcher turns while there is work."""
IDLE_LOOK_SECONDS = 5.0
"""The same while there is nothing to do: an idle machine is woken less than once a second by all of us together."""
CALM_AFTER = 70.0
"""After so many seconds without news only the look for news is taken: what is told of the last minute has been told."""
CALM_SECONDS = 60.0
"""How often everything else is looked at then."""


class Rest:
    """One thread sleeps here; any thread may wake it. Times are seconds."""

    def __init__(self) -> None:
        self._bell = threading.Event()
        self._stirred = time.monotonic()

    def wake(self) -> None:
        """End the sleep now, or the next one."""
        self._bell.set()

    def stir(self) -> None:
        """Note that something goes on elsewhere; it ends a deep sleep, and no other."""
        calm = self._is_calm()
        self.stirred()
        if calm:
            self.wake()

    def stirred(self) -> None:
        """Note that there was something to do."""
        self._stirred = time.monotonic()

    def look_seconds(self, *, busy: bool) -> float:
        """Give how long to sleep where nothing is known to be due."""
        return LOOK_SECONDS if busy else CALM_SECONDS if self._is_calm() else IDLE_LOOK_SECONDS

    def sleep(self, seconds: float, has_news: Callable[[], bool] = lambda: False) -> None:
        """Sleep for so long, or until woken, or until ``has_news``, which is asked every few seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            woken = self._bell.wait(min(left, IDLE_LOOK_SECONDS))
            if has_news() or woken:
                self.stirred()
                break
        self._bell.clear()

    def _is_calm(self) -> bool:
        return time.monotonic() - self._stirred > CALM_AFTER
