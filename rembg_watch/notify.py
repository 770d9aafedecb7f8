"""sd_notify: what systemd wants to know, in the ten lines that it takes. Without systemd nothing happens.

Source: sd_notify(3). A datagram to the socket that ``$NOTIFY_SOCKET`` names; ``@`` stands for the abstract namespace.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

FEED_SECONDS = 2.0
"""How often the watchdog is fed at most; a unit's WatchdogSec should be ten times that, or more."""
SEND_SECONDS = 1.0
LONGEST_STATUS = 400
"""Letters of a status line: ``systemctl status`` cuts longer ones at the terminal's edge anyway."""

log = structlog.get_logger()


def notify(**variables: object) -> bool:
    """Send ``NAME=value`` lines, such as ``READY=1`` or ``STATUS="..."``; False where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    text = "\n".join(f"{name}={_one_line(value)}" for name, value in variables.items())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(SEND_SECONDS)  # a service manager that is stuck itself must not hold up the work
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(text.encode("utf-8", "replace"))
        return True
    return False


def _one_line(value: object) -> str:
    text = " ".join(str(value).splitlines())
    return text if len(text) <= LONGEST_STATUS else text[: LONGEST_STATUS - 3] + "..."


def reloading() -> bool:
    """Say that the config is being read anew; ``READY=1`` ends it. The time is needed by newer systemds."""
    return notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def extend(seconds: float) -> bool:
    """Ask for that much more time to start or to stop, counted from now, where the unit's own limit is shorter."""
    return notify(EXTEND_TIMEOUT_USEC=int(seconds * 1e6))


def watchdog_seconds() -> float | None:
    """Give the time within which systemd wants a sign of life from this process, or None."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None


class Watchdog:
    """Feeds systemd's watchdog from the loops that do the work, for as long as every one of them is well.

    There is no timer thread: each loop calls ``feed`` as it turns. One loop that is well never speaks for another one
    that is not: ``unwell`` is asked about all of them, and gives what is wrong, or None. When it says something, that
    is logged, and systemd, hearing nothing any more, ends and restarts the process.
    """

    def __init__(self, unwell: Callable[[], str | None]) -> None:
        self._unwell = unwell
        self._next = 0.0
        self.reason: str | None = None
        """What is wrong, as of the last look; None while all are well."""

    def feed(self) -> None:
        """Look at all loops, and tell systemd if they are well. To be called at every turn of a loop; it is cheap."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + min(FEED_SECONDS, (watchdog_seconds() or FEED_SECONDS * 4) / 4)
        reason = self._unwell()
        if reason is None:
            if self.reason is not None:
                log.warning("watchdog.well_again", was=self.reason)
            self.reason = None
            notify(WATCHDOG=1)
            return
        if self.reason is None:
            log.critical("watchdog.unwell", reason=reason, hint="systemd restarts the service unless it gets well")
            notify(STATUS=f"not well: {reason}")
        self.reason = reason
