"""sd_notify: what systemd wants to know, in the ten lines that it takes. Without systemd nothing happens.

Source: sd_notify(3). A datagram to the socket that ``$NOTIFY_SOCKET`` names; ``@`` stands for the abstract namespace.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time


def notify(**variables: object) -> bool:
    """Send ``NAME=value`` lines, such as ``READY=1`` or ``STATUS="..."``; False where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    text = "\n".join(f"{name}={str(value).replace(chr(10), ' ')}" for name, value in variables.items())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(text.encode())
        return True
    return False


def reloading() -> bool:
    """Say that the config is being read anew; ``READY=1`` ends it. The time is needed by newer systemds."""
    return notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def watchdog_seconds() -> float | None:
    """Give the time within which systemd wants a sign of life from this process, or None."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
