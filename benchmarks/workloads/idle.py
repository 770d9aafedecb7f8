"""What the daemon costs when nothing happens: CPU and wake-ups between two rescans."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.contestants import DAEMON, Contestant
from benchmarks.table import Row, at_most, middle
from rembg_watch.dispatch.rest import CALM_AFTER

if TYPE_CHECKING:
    from benchmarks.course import Course

CPU = 0.01
"""Percent of one core."""
WAKE_UPS = 1.0
"""A second."""


def idle(course: Course) -> list[Row]:
    """Watch many folders in which nothing happens."""
    folders, seconds = course.scale.idle_folders, course.scale.idle_seconds
    with course.arena(folder={"rescan": 3600}) as arena:
        for number in range(folders):
            (arena.inbox / f"{number // 100:03d}" / f"{number % 100:02d}").mkdir(parents=True)
        with Contestant(DAEMON, arena) as daemon:
            daemon.wait_ready(120)
            # At the full scale until it has come to rest; in a shorter run the pace is still that of the minute before.
            time.sleep(min(CALM_AFTER + 5, 1.5 * seconds))
            shares, wakes = [], []
            for _ in range(course.scale.repeats):
                cpu, woken, start = processes.cpu(daemon.pid), processes.wake_ups(daemon.pid), time.monotonic()
                time.sleep(seconds)
                passed = time.monotonic() - start
                shares.append(100 * (processes.cpu(daemon.pid) - cpu) / passed)
                wakes.append((processes.wake_ups(daemon.pid) - woken) / passed)
                course.say(f"{folders} folders: {shares[-1]:.4f}% CPU, {wakes[-1]:.2f} wake-ups/s")
    return [
        at_most("idle", f"idle, {folders:,} folders: CPU", middle(shares), CPU, "%"),
        at_most("idle", f"idle, {folders:,} folders: wake-ups a second", middle(wakes), WAKE_UPS, ""),
    ]
