"""Measure how near the daemon comes to N requests in flight divided by the seconds of an image."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks import photos
from benchmarks.runners import DAEMON, Runner
from benchmarks.suite import SMALL
from benchmarks.table import Row, at_least, row

if TYPE_CHECKING:
    from benchmarks.suite import Suite


def _busy(uploads: list[tuple[int, int, int]], workers: int) -> float:
    """Return the part of the time in which a worker had a request with the service, in percent.

    The time ends with the last request: later there is no work for all.
    """
    begin, end = min(first for first, _, _ in uploads), max(first for first, _, _ in uploads)
    held = sum(min(answer, end) - first for first, _, answer in uploads)
    return 100 * held / (workers * (end - begin))


def bound(suite: Suite) -> list[Row]:
    """Drop photos into a slow service's inbox, credit checks included."""
    rows = []
    workers = suite.scale.workers
    for latency, count in suite.scale.bound:
        stock = suite.photos(count, SMALL)
        shares, busy, checks = [], [], 0
        for _ in range(suite.scale.repeats):
            with suite.workspace(latency=latency) as workspace:
                staged = photos.stage(stock, workspace.root / "staged")
                with Runner(DAEMON, workspace) as daemon:
                    daemon.wait_ready()
                    photos.drop(staged, workspace.inbox)
                    daemon.wait_outputs(count, 60 + 4 * count * latency / workers)
                uploads, checks = workspace.service.log()
            seconds = (max(answer for _, _, answer in uploads) - min(first for first, _, _ in uploads)) / 1e9
            # The service's own latency: its timer is late by some tenths of a millisecond.
            held = statistics.median(answer - last for _, last, answer in uploads) / 1e9
            shares.append(100 * -(-count // workers) * held / seconds)
            busy.append(_busy(uploads, workers))
            suite.progress(f"{latency:g} s: {shares[-1]:.1f}% of N/L, workers busy {busy[-1]:.1f}%, {checks} checks")
        what = f"API-bound, {latency * 1000:.0f} ms, {workers} in flight, {count} images, {checks} credit checks"
        if latency < 1:
            rows.append(row("api-bound", f"{what}: of N/L", shares, "%", at_least(98), busy=busy))
        else:
            rows.append(row("api-bound", f"{what}: workers busy", busy, "%", at_least(99), share=shares))
    return rows
