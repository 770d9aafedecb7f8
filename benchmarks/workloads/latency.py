"""How soon a photo is on the wire: from its rename into the inbox, or its closing, to the first byte of the upload."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from benchmarks import photos
from benchmarks.contestants import DAEMON, Contestant
from benchmarks.processes import wait_for
from benchmarks.table import Row, at_most, middle, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.contestants import Arena
    from benchmarks.course import Course

MOVED_IN = 40.0
"""Milliseconds, p50."""
OVER_SETTLE = 20.0
"""Milliseconds over the settle time, p50."""
_PAUSE = (0.05, 0.09)
"""Seconds between two drops: shorter than the daemon's work on one, so that it is busy with the one before."""


def _first_bytes(arena: Arena, skip: int) -> list[float]:
    uploads, _ = arena.service.log()
    return sorted(first / 1e9 for first, _, _ in uploads)[skip:]


def _delays(begun: list[float], arrived: list[float]) -> list[float]:
    """Pair them in their order, in milliseconds."""
    return [1000 * (there - here) for here, there in zip(begun, arrived, strict=True)]


def _drop_one_by_one(staged: Iterable[Path], inbox: Path) -> list[float]:
    begun = []
    for path in staged:
        begun.append(time.monotonic())
        path.rename(inbox / path.name)
        time.sleep(random.uniform(*_PAUSE))
    return begun


def _singles(course: Course, *, move_out: bool = False, archive: bool = False) -> list[float]:
    """Time single drops; ``move_out`` moves done photos out of the inbox meanwhile, one every 20 ms."""
    count = course.scale.drops
    stock = course.stock(2 * count, course.scale.sizes[0].bytes)
    folder: dict[str, object] = {"on_success": "archive", "archive": str(course.root / "archive")} if archive else {}
    with course.arena(folder=folder) as arena:
        staged = photos.stage(stock, arena.root / "staged")
        with Contestant(DAEMON, arena) as daemon:
            daemon.wait_ready()
            before = staged[count:] if move_out else staged[count : count + 1]
            photos.drop(before, arena.inbox)
            daemon.wait_outputs(len(before), 60)
            stop = threading.Event()

            def take_away() -> None:
                away = arena.root / "away"
                away.mkdir()
                for path in before:
                    (arena.inbox / path.name).rename(away / path.name)
                    if stop.wait(0.02):
                        return

            mover = threading.Thread(target=take_away) if move_out else None
            if mover:
                mover.start()
            begun = _drop_one_by_one(staged[:count], arena.inbox)
            stop.set()
            if mover:
                mover.join()
            daemon.wait_outputs(len(before) + count, 60)
            return _delays(begun, _first_bytes(arena, len(before)))


def _written(course: Course) -> tuple[list[float], float]:
    """Time photos that are written where they are, in two halves; gives the delays and the settle time, in ms."""
    count, settle = course.scale.writes, 0.5
    stock = course.stock(count, course.scale.sizes[0].bytes)
    with course.arena(folder={"settle": settle}) as arena, Contestant(DAEMON, arena) as daemon:
        daemon.wait_ready()
        closed = []
        for path in stock:
            content = path.read_bytes()
            with (arena.inbox / path.name).open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                time.sleep(0.02)
                file.write(content[len(content) // 2 :])
            closed.append(time.monotonic())
            time.sleep(random.uniform(*_PAUSE))
        wait_for(lambda: len(_first_bytes(arena, 0)) >= count, "uploads of written photos")
        return _delays(closed, _first_bytes(arena, 0)), 1000 * settle


def latency(course: Course) -> list[Row]:
    """Single photos, on a quiet inbox, during move-outs and during archiving; and photos that are written in place."""
    rows = []
    for what, delays in (
        ("moved in -> first byte, p50", _singles(course)),
        ("the same while others are moved out", _singles(course, move_out=True)),
        ("the same while others are archived", _singles(course, archive=True)),
    ):
        note = f" (p95 {percentile(delays, 0.95):.0f} ms)"
        course.say(f"{what}: {middle(delays):.1f} ms{note}")
        rows.append(at_most("latency", what, middle(delays), MOVED_IN, " ms", note))
    delays, settle = _written(course)
    over = [delay - settle for delay in delays]
    note = f" (p95 {percentile(over, 0.95):.0f} ms)"
    course.say(f"closed -> first byte: settle + {middle(over):.1f} ms{note}")
    rows.append(
        at_most(
            "latency", "closed after writing -> first byte, less settle, p50", middle(over), OVER_SETTLE, " ms", note
        )
    )
    return rows
