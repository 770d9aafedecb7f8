"""Mounting by the system calls themselves: the command waits for a lock that others on the machine may hold for long."""

from __future__ import annotations

import ctypes
import os

READ_ONLY, REMOUNT, BIND = 1, 32, 4096
"""Flags of mount(2)."""
_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def _call(function, *arguments):
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def mount(source, where, kind=None, flags=0, data=None):
    """Make the system call; raises OSError."""
    texts = [None if text is None else os.fsencode(text) for text in (source, where, kind, data)]
    _call(_libc.mount, texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])


def unmount(where):
    """Take a mount off at once; what has it open keeps it."""
    _call(_libc.umount2, os.fsencode(where), _DETACH)
