"""Memory with many large photos in flight at once, over that of the idle process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import photos, processes
from benchmarks.contestants import DAEMON, Contestant
from benchmarks.table import Row, at_most, middle

if TYPE_CHECKING:
    from benchmarks.course import Course

GOALS = {16: 40.0, 64: 60.0}
"""MB over idle, by the number in flight."""
_LATENCY = 3.0
"""Seconds: long enough for all photos to be in flight at the same time."""


def _peak(course: Course, name: str, count: int) -> tuple[float, int]:
    """Give the peak over idle in MB, and how many uploads the service held at once."""
    stock = course.stock(count, course.scale.memory_bytes)
    with course.arena(latency=_LATENCY, workers=count) as arena:
        staged = photos.stage(stock, arena.root / "staged")
        with Contestant(name, arena) as contestant:
            contestant.wait_ready()
            idle, _ = processes.memory(contestant.pid)
            photos.drop(staged, arena.inbox)
            contestant.wait_outputs(count, 120 + count)
            _, peak = processes.memory(contestant.pid)
        uploads, _ = arena.service.log()
    moments = sorted([(first, 1) for first, _, _ in uploads] + [(answer, -1) for _, _, answer in uploads])
    held = most = 0
    for _, step in moments:
        held += step
        most = max(most, held)
    return (peak - idle) / 1e6, most


def memory(course: Course) -> list[Row]:
    """As many photos as workers, all at once."""
    rows = []
    size = course.scale.memory_bytes // 1024**2
    for count in course.scale.memory:
        peaks, held = [], []
        for _ in range(course.scale.repeats):
            peak, most = _peak(course, DAEMON, count)
            peaks.append(peak)
            held.append(float(most))
            course.say(f"{count} x {size} MB: {peak:.1f} MB over idle, {most} in flight at once")
        what = f"peak memory over idle, {count} x {size} MB ({middle(held):.0f} in flight at once)"
        rows.append(at_most("memory", what, middle(peaks), GOALS.get(count, 40.0), " MB"))
    count = min(course.scale.memory)
    peak, _ = _peak(course, "naive", count)
    rows.append(Row("memory", f"- naive, {count} x {size} MB", f"{peak:.0f} MB"))
    return rows
