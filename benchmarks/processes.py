"""Processes of the race: started, watched from outside through /proc, and ended one by one by their own id."""

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


class Waited(Exception):
    """What was waited for did not come."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60.0, pause: float = 0.01) -> None:
    """Return as soon as the condition holds.

    Raises:
        Waited: it did not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Waited(f"{what}: not within {seconds:g} s")
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
    """Give a process and all that descend from it."""
    children = _children()
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def _own_cpu(pid: int) -> float:
    """Give the CPU time of a living process in seconds; its clock is the one that clock_getcpuclockid(3) makes."""
    return time.clock_gettime((~pid << 3) | 2)


def cpu(pid: int) -> float:
    """Give the CPU seconds of a process, its children, and those of them that have ended and were waited for."""
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
    """Give the bytes that a process holds now and held at most (VmRSS and VmHWM)."""
    status = dict(_status(f"/proc/{pid}/status"))
    return status["VmRSS"] * 1024, status["VmHWM"] * 1024


def wake_ups(pid: int) -> int:
    """Count how often a thread of the process went to sleep of its own will, and so was woken."""
    return sum(
        dict(_status(f"/proc/{pid}/task/{thread}/status")).get("voluntary_ctxt_switches", 0)
        for thread in os.listdir(f"/proc/{pid}/task")
    )


def has_inotify(pid: int) -> bool:
    """Tell whether the process or a child of it has an inotify watch in place."""
    for one in tree(pid):
        with suppress(OSError):
            for descriptor in os.listdir(f"/proc/{one}/fdinfo"):
                with suppress(OSError):
                    if "inotify wd:" in Path(f"/proc/{one}/fdinfo/{descriptor}").read_text():
                        return True
    return False


def end(process: subprocess.Popen[bytes], seconds: float = 15.0) -> None:
    """End a process, and after it what is left of its children; those that do not listen are killed."""
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
