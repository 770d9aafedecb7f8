"""The seats at which photos are worked at on this machine: read, hashed and named, then checked and delivered.

While the service works on a photo, its worker leaves its seat to another one. Whoever comes back with an answer takes a
seat at once, whoever begins a new photo waits for a free one: what is paid for is finished before more is begun. There
are as many seats as processors: more workers than these would only hand the interpreter around among them, which costs
more than all the rest where service and disk are fast.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LAPSE = 0.01
"""Seconds after which a seat does not count any more: who has it most likely waits for a disk, perhaps for one that
hangs, and must not keep the others from working."""
SHORT = 0.01
"""Seconds of absence for which nobody else is let in: with a service that answers at once, that would be in vain."""


class Desk:
    """Safe for threads. Each thread has at most one seat."""

    def __init__(self, seats: int | None = None) -> None:
        self._seats = seats or len(os.sched_getaffinity(0))
        self._first = threading.Lock()
        """Held by the one who waits for a seat: the others wait for it without looking again and again."""
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._since: dict[int, float] = {}
        """By thread: the monotonic time at which it sat down."""
        self._short = False
        """Whether the last absence was a short one."""

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Wait for a free seat, and have it until the end of the block."""
        with self._first, self._lock:
            while self._taken() >= self._seats:
                self._freed.wait(LAPSE)
            self._sit_down()
        try:
            yield
        finally:
            with self._lock:
                self._get_up()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Leave the seat to others until the end of the block, and then have one again without a wait."""
        began, left = time.monotonic(), not self._short
        if left:
            with self._lock:
                self._get_up()
        try:
            yield
        finally:
            self._short = time.monotonic() - began < SHORT
            if left:
                with self._lock:
                    self._sit_down()

    def _sit_down(self) -> None:
        self._since[threading.get_ident()] = time.monotonic()

    def _get_up(self) -> None:
        del self._since[threading.get_ident()]
        self._freed.notify()

    def _taken(self) -> int:
        if len(self._since) < self._seats:
            return len(self._since)
        latest = time.monotonic() - LAPSE
        return sum(since > latest for since in self._since.values())
