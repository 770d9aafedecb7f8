"""The lock of the state directory: one daemon at a time works with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Self

from rembg_watch.errors import AlreadyRunning, StateError
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

ASKING_SECONDS = 2.0
"""How long to wait for a lock: a command that asks whether a daemon runs holds it for an instant."""


class StateLock:
    """An advisory lock on ``state_dir/lock``. The kernel releases it when the process dies, however it dies."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "lock"
        self._fd: int | None = None

    def acquire(self) -> Self:
        """Take the lock and write our process id into it.

        Raises:
            AlreadyRunning: another process holds it.
            StateError: the state directory can't be written.
        """
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(
                f"can't open {printable(str(self.path))}: {error.strerror}",
                "Create the state directory and make it writable.",
            ) from error
        try:
            _lock(fd)
        except OSError as error:
            owner = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise AlreadyRunning(
                f"another rembg-watch (process {owner}) already works with {printable(str(self.path.parent))}",
                "Stop it first, or give this one a state_dir of its own.",
            ) from error
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(fd)
            raise StateError(
                f"can't write {printable(str(self.path))}: {error.strerror}", "Make room for the state directory."
            ) from error
        self._fd = fd
        return self

    def release(self) -> None:
        """Release the lock. The file stays: removing it would let two daemons lock two different files."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock(fd: int) -> None:
    deadline = time.monotonic() + ASKING_SECONDS
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def running_pid(state_dir: Path) -> int | None:
    """Return the process id of the daemon that holds ``state_dir``, 0 if it is unknown, None if there is no daemon."""
    try:
        fd = os.open(state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # A shared lock is refused exactly while the daemon holds its exclusive one.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(ValueError):
            return int(os.read(fd, 32))
        return 0
    else:
        return None
    finally:
        os.close(fd)
