"""What the walking thread sleeps on."""

from __future__ import annotations

import os
import select
import weakref
from contextlib import suppress

from rembg_watch.intake.filesystems import MOUNTINFO


class Bell:
    """Rings when it is asked to, and by itself when anything is mounted or unmounted. To be rung from any thread."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._cord = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._cord, select.POLLIN)
        # Closed with the last reference and not before: a late ring must not write into somebody else's file.
        weakref.finalize(self, os.close, self._cord)
        with suppress(OSError):  # no /proc: then mounts are seen only when somebody looks
            # A file of its own, as each open one tells of a change once, by POLLERR and POLLPRI, to who asks first.
            mounts = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
            self._poll.register(mounts, select.POLLPRI)
            weakref.finalize(self, os.close, mounts)

    def ring(self) -> None:
        """End the wait that is under way, or the next one."""
        os.eventfd_write(self._cord, 1)

    def wait(self, seconds: float) -> None:
        """Sleep until it rings, ``seconds`` at most."""
        self._poll.poll(seconds * 1000)
        with suppress(BlockingIOError):
            os.eventfd_read(self._cord)
