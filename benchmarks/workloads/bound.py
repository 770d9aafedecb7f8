"""Where the API is the limit: how near the daemon comes to N requests in flight divided by the seconds of an image."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks import photos
from benchmarks.contestants import DAEMON, Contestant
from benchmarks.table import Row, at_least, middle

if TYPE_CHECKING:
    from benchmarks.course import Course

GOALS = {0.2: 98.0, 2.0: 99.0}
"""Percent, by latency in seconds."""


def _busy(uploads: list[tuple[int, int, int]], workers: int) -> float:
    """Give the part of the time in which a worker's request was with the service, in percent.

    From the first request on until the last one came: after that there is no work for all.
    """
    begin, end = min(first for first, _, _ in uploads), max(first for first, _, _ in uploads)
    held = sum(min(answer, end) - first for first, _, answer in uploads)
    return 100 * held / (workers * (end - begin))


def bound(course: Course) -> list[Row]:
    """Drop what the workers can do in a while, credit checks included, and see how much of the time they waited."""
    rows = []
    workers = course.scale.workers
    for latency, count in course.scale.bound:
        stock = course.stock(count, course.scale.sizes[0].bytes)
        shares, busy, checks = [], [], 0
        for _ in range(course.scale.repeats):
            with course.arena(latency=latency) as arena:
                staged = photos.stage(stock, arena.root / "staged")
                with Contestant(DAEMON, arena) as daemon:
                    daemon.wait_ready()
                    photos.drop(staged, arena.inbox)
                    daemon.wait_outputs(count, 60 + 4 * count * latency / workers)
                uploads, checks = arena.service.log()
            seconds = (max(answer for _, _, answer in uploads) - min(first for first, _, _ in uploads)) / 1e9
            # L as the service kept it: its timer is late by some tenths of a millisecond.
            held = statistics.median(answer - last for _, last, answer in uploads) / 1e9
            shares.append(100 * -(-count // workers) * held / seconds)
            busy.append(_busy(uploads, workers))
            course.say(f"{latency:g} s: {shares[-1]:.1f}% of N/L, workers busy {busy[-1]:.1f}%, {checks} credit checks")
        share, worked = middle(shares), middle(busy)
        what = f"API-bound, {latency * 1000:.0f} ms, {workers} in flight, {count} images, {checks} credit checks"
        if latency < 1:
            rows.append(at_least("api-bound", f"{what}: of N/L", share, GOALS[latency], "%", busy=worked))
        else:
            rows.append(at_least("api-bound", f"{what}: workers busy", worked, GOALS[latency], "%", share=share))
    return rows
