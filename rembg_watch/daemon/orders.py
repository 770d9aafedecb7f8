"""What the main thread is told to do: by signals, and by the loops that do the work."""

from __future__ import annotations

import os
import queue
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rembg_watch.notify import watchdog_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

ORDER_SECONDS = 300.0
"""What carrying out an order, such as a reload, may take at most."""


class Orders:
    """A queue whose reader is woken by signals also. ``on_wait`` is called before each wait, several times a minute
    where systemd's watchdog is on.
    """

    def __init__(self, on_wait: Callable[[], None]) -> None:
        self._on_wait = on_wait
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        """Rings for each order and each signal. Never closed: a late signal must not ring elsewhere."""
        self.beat = float("inf")
        """When the order that is being carried out was taken, in monotonic seconds; infinite while there is none."""

    def listen(self, on_stop: Callable[[int, FrameType | None], None]) -> None:
        """Take signals as orders: SIGHUP to reload; SIGTERM and SIGINT call ``on_stop``. For the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_stop)
        signal.signal(signal.SIGHUP, lambda *_: self.give("reload"))
        signal.set_wakeup_fd(self._bell[1], warn_on_full_buffer=False)

    def give(self, what: str) -> None:
        """Add an order. Safe for threads and for signals."""
        self._queue.put(what)
        with suppress(OSError):  # full: it rings already
            os.write(self._bell[1], b"!")

    def next(self) -> str:
        """Wait for the next order, for as long as it takes."""
        while True:
            try:
                order = self._queue.get_nowait()
            except queue.Empty:
                pass
            else:
                self.beat = time.monotonic()
                return order
            self.beat = float("inf")  # it may wait for months
            self._on_wait()
            limit = watchdog_seconds()
            # Not on the queue itself: a signal that comes right before such a wait is only seen after it.
            select.select([self._bell[0]], [], [], None if limit is None else limit / 4)
            with suppress(BlockingIOError):
                os.read(self._bell[0], 4096)

    def unwell(self) -> str | None:
        """Say that an order is not got done with, or None."""
        seconds = time.monotonic() - self.beat
        return f"a reload hangs for {seconds:.0f} s" if seconds > ORDER_SECONDS else None
