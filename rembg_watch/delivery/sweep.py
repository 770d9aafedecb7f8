"""Clearing away what a crash left behind: temporary files, and photos that were set aside to be deleted."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rembg_watch.delivery.aside import SUFFIX as ASIDE
from rembg_watch.delivery.aside import restore
from rembg_watch.delivery.files import PREFIX, SUFFIX, lock
from rembg_watch.delivery.folders import open_below

if TYPE_CHECKING:
    from collections.abc import Callable

_OLD = 3600.0
"""Seconds without a write after which a temporary file is stale where there are no locks to tell."""


def sweep_temps(root: str, keep: Callable[[str], bool] = lambda _: False) -> list[str]:
    """Remove stale temporary files everywhere below ``root`` and put back photos set aside; gives the paths dealt with.

    A temporary file that a living process has open (of this daemon, or of another one with the same outbox) stays, and
    so does every one for whose name ``keep`` says so: a paid result that is still to be placed, say. Links are not
    followed. Never raises: what can't be read or removed now is left for the next time.
    """
    done: list[str] = []
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        parts = waiting.pop()
        with suppress(OSError):
            found, below = _sweep(root, parts, keep)
            done += found
            waiting += [(*parts, name) for name in below]
    return done


def sweep_folder(path: str, keep: Callable[[str], bool] = lambda _: False) -> list[str]:
    """Do the same in one folder alone."""
    with suppress(OSError):
        return _sweep(path, (), keep)[0]
    return []


def _sweep(root: str, parts: tuple[str, ...], keep: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    done: list[str] = []
    below: list[str] = []
    folder = open_below(root, parts)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_dir(follow_symlinks=False):
                    if name.startswith(PREFIX) and name.endswith(ASIDE):
                        with suppress(OSError):
                            done += [os.path.join(root, *parts, back) for back in restore(name, folder)]
                    else:
                        below.append(name)
                elif name.startswith(PREFIX) and name.endswith(SUFFIX) and not keep(name):
                    with suppress(OSError):
                        if _remove_if_stale(name, folder):
                            done.append(os.path.join(root, *parts, name))
    finally:
        os.close(folder)
    return done, below


def _remove_if_stale(name: str, folder: int) -> bool:
    descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return False
        locked = lock(descriptor)
        if locked is False or (locked is None and time.time() - status.st_mtime < _OLD):
            return False
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(descriptor)
    return True
