"""Read CPU, memory and wake-ups of a process from /proc, and end it with its children."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class TimedOut(Exception):
    """A process did not do something in time."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60.0, pause: float = 0.01) -> None:
    """Wait until the condition holds.

    Raises:
        TimedOut: it did not within ``seconds``.

    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimedOut(f"{what}: not within {seconds:g} s")
        time.sleep(pause)


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, IndexError, ValueError):
                parent = int(Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    return children


def tree(pid: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    children = _children()
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def _own_cpu(pid: int) -> float:
    """Return the CPU seconds of a living process, from the clock of clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process and its children, ended ones included."""
    total = 0.0
    for one in tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_bytes().rpartition(b")")[2].split()
            total += _own_cpu(one) + (int(fields[13]) + int(fields[14])) / TICK
    return total


def _status(path: str) -> Iterator[tuple[str, int]]:
    with suppress(OSError):
        for line in Path(path).read_text().splitlines():
            name, _, value = line.partition(":")
            number = value.split()[0] if value.split() else ""
            if number.isdigit():
                yield name, int(number)


def memory(pid: int) -> tuple[int, int]:
    """Return the bytes that a process holds now and held at most (VmRSS and VmHWM)."""
    status = dict(_status(f"/proc/{pid}/status"))
    return status["VmRSS"] * 1024, status["VmHWM"] * 1024


def wake_ups(pid: int) -> int:
    """Count the voluntary context switches of all threads: each ends in a wake-up."""
    return sum(
        dict(_status(f"/proc/{pid}/task/{thread}/status")).get("voluntary_ctxt_switches", 0)
        for thread in os.listdir(f"/proc/{pid}/task")
    )


def has_inotify(pid: int) -> bool:
    """Return whether the process or a child has an inotify watch."""
    for one in tree(pid):
        with suppress(OSError):
            for descriptor in os.listdir(f"/proc/{one}/fdinfo"):
                with suppress(OSError):
                    if "inotify wd:" in Path(f"/proc/{one}/fdinfo/{descriptor}").read_text():
                        return True
    return False


def end(process: subprocess.Popen[bytes], seconds: float = 15.0) -> None:
    """End a process and its children by SIGTERM, after ``seconds`` by SIGKILL."""
    family = tree(process.pid)
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stdin, process.stderr):
        if stream is not None:
            stream.close()
