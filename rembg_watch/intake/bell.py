"""What the walking thread sleeps on: it is woken when something happens, instead of looking again and again."""

from __future__ import annotations

import os
import select
import weakref
from contextlib import suppress

from watchdog.observers.inotify_c import InotifyConstants, Mask, inotify_add_watch, inotify_init

from rembg_watch.fsutil import MOUNTINFO

_AWAY = Mask(InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_ONLYDIR)


class Bell:
    """Rings when it is asked to, by any thread, and by itself when anything is mounted or unmounted.

    Its files are closed with the last reference to it and not before: a late ring must not write into another's file.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._cord = self._listen(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC), select.POLLIN)
        self._inotify: int | None = None
        with suppress(OSError):  # no /proc: then mounts are seen only when somebody looks
            # A file of its own, as each open one tells of a change once, by POLLERR and POLLPRI, to who asks first.
            self._listen(os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC), select.POLLPRI)

    def _listen(self, descriptor: int, events: int) -> int:
        weakref.finalize(self, os.close, descriptor)
        self._poll.register(descriptor, events)
        return descriptor

    def heed(self, folder: str) -> bool:
        """Ring from now on when ``folder`` (absolute, links resolved), or one above it, is renamed or deleted.

        Only the kernel's own filesystems tell. False where a watch is not to be had: without the right to read a
        folder, or beyond the limits of inotify(7).
        """
        if self._inotify is None:
            if (descriptor := inotify_init()) < 0:
                return False
            os.set_blocking(descriptor, False)
            os.set_inheritable(descriptor, False)
            self._inotify = self._listen(descriptor, select.POLLIN)
        while inotify_add_watch(self._inotify, os.fsencode(folder), _AWAY) >= 0:
            if folder == "/":
                return True
            folder = os.path.dirname(folder)
        return False

    def ring(self) -> None:
        """End the wait that is under way, or the next one."""
        os.eventfd_write(self._cord, 1)

    def wait(self, seconds: float) -> bool:
        """Sleep until it rings, ``seconds`` at most; tell whether it rang."""
        for descriptor, _ in (rang := self._poll.poll(seconds * 1000)):
            if descriptor in (self._cord, self._inotify):
                with suppress(BlockingIOError):
                    os.read(descriptor, 65536)
        return bool(rang)
