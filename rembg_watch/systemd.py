"""What systemd is told: sd_notify, the watchdog, and the heartbeats behind it. Without systemd nothing is sent.

Source: sd_notify(3). A datagram to the socket that ``$NOTIFY_SOCKET`` names; ``@`` stands for the abstract namespace.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
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
    """Send ``NAME=value`` lines, such as ``READY=1`` or ``STATUS="..."``; return False where nobody listens."""
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
    """Report that the config is being reloaded; ``READY=1`` ends it. Newer versions of systemd need the time."""
    return notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def extend(seconds: float) -> bool:
    """Ask for that many seconds more, from now, to start or to stop, where the unit's own limit is shorter."""
    return notify(EXTEND_TIMEOUT_USEC=int(seconds * 1e6))


def watchdog_seconds() -> float | None:
    """Return the seconds within which systemd wants a sign of life from this process, or None."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None


class Heartbeats:
    """The deadlines of the loops that do the work. Safe for threads.

    Each loop says with ``beat`` by when it will be back, and with ``clear`` that it waits for as long as it takes.
    """

    def __init__(self) -> None:
        self._deadlines: dict[str, tuple[float, float]] = {}

    def beat(self, name: str, *, within: float) -> None:
        """Promise the next beat of a loop within so many seconds."""
        now = time.monotonic()
        self._deadlines[name] = (now, now + within)

    def clear(self, name: str) -> None:
        """Expect no beat of a loop: it waits."""
        self._deadlines.pop(name, None)

    def late(self) -> str | None:
        """Return what hangs, or None."""
        now = time.monotonic()
        for name, (since, deadline) in self._deadlines.copy().items():
            if now > deadline:
                return f"the {name} hangs: it has been at one turn for {now - since:.0f} s"
        return None


class Watchdog:
    """Feeds systemd's watchdog for as long as every loop is healthy. Safe for threads.

    The main loop and the producer both call ``feed``: one may wait for a slow disk for minutes, in a reload or because
    the database is full, and what hangs is then logged by the other. No loop speaks for another one: ``unhealthy``
    returns what is wrong with any of them, or None. When something is wrong, systemd hears nothing any more, ends the
    process and starts it again.
    """

    def __init__(self, unhealthy: Callable[[], str | None]) -> None:
        self._unhealthy = unhealthy
        self._lock = threading.Lock()
        self._next = 0.0
        self.reason: str | None = None
        """What is wrong, as of the last look; None while all is well."""

    def feed(self) -> None:
        """Check all loops and report to systemd, at most every two seconds; call it at every turn of a loop."""
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + min(FEED_SECONDS, (watchdog_seconds() or FEED_SECONDS * 4) / 4)
            reason = self._unhealthy()
            if reason is None:
                if self.reason is not None:
                    log.warning("watchdog.well_again", was=self.reason)
                notify(WATCHDOG=1)
            elif self.reason is None:
                log.critical("watchdog.unwell", reason=reason, hint="systemd restarts the service unless it gets well")
                notify(STATUS=f"not well: {reason}")
            self.reason = reason
