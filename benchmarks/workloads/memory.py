"""Measure memory with many large photos in flight at once, over that of the idle process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import photos, processes
from benchmarks.runners import DAEMON, Runner
from benchmarks.table import Row, at_least, at_most, row

if TYPE_CHECKING:
    from benchmarks.suite import Suite

_MOST = {16: 40, 64: 60}
"""MB over idle, by the number in flight."""
_LATENCY = 3.0
"""Seconds: long enough for all photos to be in flight at the same time."""


def _peak(suite: Suite, name: str, count: int) -> tuple[float, float]:
    """Return the peak over idle in MB, and how many uploads the service held at once."""
    stock = suite.photos(count, suite.scale.memory_bytes)
    with suite.workspace(latency=_LATENCY, workers=count) as workspace:
        staged = photos.stage(stock, workspace.root / "staged")
        with Runner(name, workspace) as runner:
            runner.wait_ready()
            idle, _ = processes.memory(runner.pid)
            photos.drop(staged, workspace.inbox)
            runner.wait_outputs(count, 120 + count)
            _, peak = processes.memory(runner.pid)
        uploads, _ = workspace.service.log()
    most = max(sum(first <= moment < answer for first, _, answer in uploads) for moment, _, _ in uploads)
    return (peak - idle) / 1e6, float(most)


def memory(suite: Suite) -> list[Row]:
    """Drop as many photos as there are workers."""
    rows = []
    size = suite.scale.memory_bytes // 1024**2
    for count in suite.scale.memory:
        peaks, held = [], []
        for _ in range(suite.scale.repeats):
            peak, most = _peak(suite, DAEMON, count)
            peaks.append(peak)
            held.append(most)
            suite.progress(f"{count} x {size} MB: {peak:.1f} MB over idle, {most:.0f} in flight at once")
        what = f"{count} x {size} MB"
        rows.append(row("memory", f"{what}: peak memory over idle", peaks, " MB", at_most(_MOST.get(count, 40))))
        all_at_once = at_least(count) if count <= 16 else None
        rows.append(row("memory", f"{what}: in flight at once", min(held), "", all_at_once))
    count = min(suite.scale.memory)
    peak, _ = _peak(suite, "naive", count)
    rows.append(row("memory", f"- naive, {count} x {size} MB", peak, " MB"))
    return rows
