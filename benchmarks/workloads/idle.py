"""Measure CPU and wake-ups of the daemon when nothing happens, between two rescans."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.runners import DAEMON, Runner
from benchmarks.table import Row, at_most, row

if TYPE_CHECKING:
    from benchmarks.suite import Suite

_CALM = 75.0
"""Seconds without news after which the daemon looks for work at its slowest pace."""


def idle(suite: Suite) -> list[Row]:
    """Watch many folders in which nothing happens."""
    folders, seconds = suite.scale.idle_folders, suite.scale.idle_seconds
    with suite.workspace(folder={"rescan": 3600}) as workspace:
        for number in range(folders):
            (workspace.inbox / f"{number // 100:03d}" / f"{number % 100:02d}").mkdir(parents=True)
        with Runner(DAEMON, workspace) as daemon:
            daemon.wait_ready(120)
            time.sleep(min(_CALM, 1.5 * seconds))  # a shorter run measures the pace of the first minute
            shares, wakes = [], []
            for _ in range(suite.scale.repeats):
                cpu, woken, start = processes.cpu(daemon.pid), processes.wake_ups(daemon.pid), time.monotonic()
                time.sleep(seconds)
                passed = time.monotonic() - start
                shares.append(100 * (processes.cpu(daemon.pid) - cpu) / passed)
                wakes.append((processes.wake_ups(daemon.pid) - woken) / passed)
                suite.progress(f"{folders} folders: {shares[-1]:.4f}% CPU, {wakes[-1]:.2f} wake-ups/s")
    return [
        row("idle", f"idle, {folders:,} folders: CPU", shares, "%", at_most(0.02)),
        row("idle", f"idle, {folders:,} folders: wake-ups a second", wakes, "", at_most(1)),
    ]
