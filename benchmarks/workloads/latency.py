"""Measure the time from a photo's rename into the inbox, or its closing, to the first byte of its upload."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from benchmarks import photos
from benchmarks.processes import wait_for
from benchmarks.runners import DAEMON, Runner
from benchmarks.suite import SMALL
from benchmarks.table import Row, at_most, middle, percentile, row

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.runners import Workspace
    from benchmarks.suite import Suite

_SETTLE = 500.0
"""Milliseconds: the default of the daemon's ``settle``."""
_PAUSE = (0.05, 0.09)
"""Seconds between two drops: shorter than the daemon's work on one, so that it is busy with the one before."""


def _first_bytes(workspace: Workspace, skip: int) -> list[float]:
    uploads, _ = workspace.service.log()
    return sorted(first / 1e9 for first, _, _ in uploads)[skip:]


def _delays(begun: list[float], arrived: list[float]) -> list[float]:
    """Return the milliseconds between each drop and the upload with the same rank."""
    return [1000 * (there - here) for here, there in zip(begun, arrived, strict=True)]


def _drop_one_by_one(staged: Iterable[Path], inbox: Path) -> list[float]:
    begun = []
    for path in staged:
        begun.append(time.monotonic())
        path.rename(inbox / path.name)
        time.sleep(random.uniform(*_PAUSE))
    return begun


def _singles(suite: Suite, *, move_out: bool = False, archive: bool = False) -> list[float]:
    """Return the delays of single drops; ``move_out`` moves one done photo out of the inbox each 20 ms meanwhile."""
    count = suite.scale.drops
    stock = suite.photos(2 * count, SMALL)
    folder: dict[str, object] = {"on_success": "archive", "archive": str(suite.root / "archive")} if archive else {}
    with suite.workspace(folder=folder) as workspace:
        staged = photos.stage(stock, workspace.root / "staged")
        with Runner(DAEMON, workspace) as daemon:
            daemon.wait_ready()
            before = staged[count:] if move_out else staged[count : count + 1]
            photos.drop(before, workspace.inbox)
            daemon.wait_outputs(len(before), 60)
            stop = threading.Event()

            def take_away() -> None:
                away = workspace.root / "away"
                away.mkdir()
                for path in before:
                    (workspace.inbox / path.name).rename(away / path.name)
                    if stop.wait(0.02):
                        return

            mover = threading.Thread(target=take_away) if move_out else None
            if mover:
                mover.start()
            begun = _drop_one_by_one(staged[:count], workspace.inbox)
            stop.set()
            if mover:
                mover.join()
            daemon.wait_outputs(len(before) + count, 60)
            return _delays(begun, _first_bytes(workspace, len(before)))


def _written(suite: Suite) -> list[float]:
    """Return the delays of photos that are written into the inbox in two halves, less the settle time."""
    count = suite.scale.writes
    stock = suite.photos(count, SMALL)
    with suite.workspace() as workspace, Runner(DAEMON, workspace) as daemon:
        daemon.wait_ready()
        closed = []
        for path in stock:
            content = path.read_bytes()
            with (workspace.inbox / path.name).open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                time.sleep(0.02)
                file.write(content[len(content) // 2 :])
            closed.append(time.monotonic())
            time.sleep(random.uniform(*_PAUSE))
        wait_for(lambda: len(_first_bytes(workspace, 0)) >= count, "uploads of written photos")
        return [delay - _SETTLE for delay in _delays(closed, _first_bytes(workspace, 0))]


def latency(suite: Suite) -> list[Row]:
    """Drop single photos into a quiet inbox, during move-outs and during archiving; then write some in place."""
    rows = []
    for what, measure, goal in (
        ("moved in -> first byte, p50", lambda: _singles(suite), at_most(40)),
        ("the same while others are moved out", lambda: _singles(suite, move_out=True), at_most(40)),
        ("the same while others are archived", lambda: _singles(suite, archive=True), at_most(40)),
        ("closed after writing -> first byte, less settle, p50", lambda: _written(suite), at_most(20)),
    ):
        delays = measure()
        note = f" (p95 {percentile(delays, 0.95):.0f})"
        suite.progress(f"{what}: {middle(delays):.1f} ms{note}")
        rows.append(row("latency", what, middle(delays), " ms", goal, note))
    return rows
