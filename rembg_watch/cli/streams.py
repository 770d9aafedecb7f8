"""stdin, stdout and stderr as a command finds them: closed, on a full disk, or with a reader that is gone."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

closed: set[int] = set()
"""The numbers of the streams that were closed when the command began."""

_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))
_PRINTERS = ("click.", "rich.", "rembg_watch.cli.")
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def complete() -> None:
    """Put /dev/null where a stream is closed: the next file that is opened must not get its number, and its output."""
    for number, name, mode in _STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            closed.add(number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good


def is_unwritable(error: OSError) -> bool:
    """Say whether this came from writing to stdout or stderr, by who wrote; other rooms write to files."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    writer = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return error.errno in _UNWRITABLE and writer.startswith(_PRINTERS)


def settle() -> None:
    """Let go of what a stream does not take; else Python tells of it at the very end, by an exit code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
