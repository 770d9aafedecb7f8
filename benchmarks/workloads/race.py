"""The race: the same photos through the daemon and through what one would write instead."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import photos, processes
from benchmarks.contestants import BACKLOG_ONLY, DAEMON, DROPS_ONLY, Contestant, missing
from benchmarks.processes import Waited
from benchmarks.scale import Size
from benchmarks.table import Row, at_least, at_most, middle

if TYPE_CHECKING:
    from benchmarks.course import Course

DROP, BACKLOG = "dropped", "backlog"
_CALM = 0.4
"""Seconds after the last output in which a contestant finishes its books, before its CPU time is read."""


@dataclass(frozen=True)
class Lap:
    """One run of one contestant: images a second, and CPU seconds an image."""

    pace: float
    cpu: float


@dataclass(frozen=True)
class Heat:
    """One setting in which all run."""

    size: Size
    way: str
    latency: float
    tls: bool

    @property
    def name(self) -> str:
        wire = "TLS" if self.tls else "HTTP"
        return f"{self.size.count} x {self.size.name} {self.way}, {self.latency * 1000:.0f} ms, {wire}"


def run(course: Course, name: str, heat: Heat) -> Lap:
    """Let one contestant do one heat."""
    count = heat.size.count
    stock = course.stock(count, heat.size.bytes)
    patience = 60.0 + count * (0.2 + heat.latency / course.scale.workers)
    with course.arena(latency=heat.latency, tls=heat.tls) as arena:
        staged = photos.stage(stock, arena.root / "staged")
        if heat.way == BACKLOG:
            photos.drop(staged, arena.inbox)
        start = time.time()
        with Contestant(name, arena) as contestant:
            before = 0.0
            if heat.way == DROP:
                contestant.wait_ready()
                time.sleep(_CALM)
                before = processes.cpu(contestant.pid)
                start = time.time()
                photos.drop(staged, arena.inbox)
            contestant.wait_outputs(count, patience)
            time.sleep(_CALM)
            spent = processes.cpu(contestant.pid) - before
        seconds = max(arena.last_output() - start, 0.001)
    return Lap(count / seconds, spent / count)


def compete(course: Course, heat: Heat, peers: tuple[str, ...]) -> tuple[dict[str, Lap], list[str]]:
    """Let everybody run, interleaved; gives each one's medians, and why somebody did not run."""
    skipped = {BACKLOG: DROPS_ONLY, DROP: BACKLOG_ONLY}[heat.way]
    names = [name for name in (DAEMON, *peers) if name not in skipped]
    absent = [f"{name}: {reason}" for name in names if (reason := missing(name))]
    names = [name for name in names if not missing(name)]
    laps: dict[str, list[Lap]] = defaultdict(list)
    for _ in range(course.scale.repeats):
        for name in list(names):
            try:
                lap = run(course, name, heat)
            except Waited as error:
                if name in {DAEMON, "naive"}:
                    raise
                absent.append(f"{name}: {str(error).splitlines()[0]}")
                names.remove(name)
                continue
            laps[name].append(lap)
            course.say(f"{heat.name}: {name}: {lap.pace:.1f} images/s, {lap.cpu * 1000:.2f} ms CPU an image")
    medians = {
        name: Lap(middle([lap.pace for lap in each]), middle([lap.cpu for lap in each])) for name, each in laps.items()
    }
    return medians, absent


def _rows(bench: str, heat: Heat, laps: dict[str, Lap], goals: dict[str, tuple[float, float]]) -> list[Row]:
    ours, naive = laps[DAEMON], laps["naive"]
    throughput, cpu = f"{heat.name}: throughput, x naive script", f"{heat.name}: CPU an image, x naive script"
    pace_ratio, cpu_ratio = ours.pace / naive.pace, ours.cpu / naive.cpu
    pace_note = f" ({ours.pace:.0f} images/s)"
    cpu_note = f" ({ours.cpu * 1000:.2f} ms)"
    figures = {name: {"images_per_second": lap.pace, "cpu_ms": lap.cpu * 1000} for name, lap in laps.items()}
    goal = goals.get(heat.size.name)
    if goal is None:
        rows = [
            Row(bench, throughput, f"{pace_ratio:.3g} x{pace_note}", figures={"value": pace_ratio, **figures}),
            Row(bench, cpu, f"{cpu_ratio:.3g} x{cpu_note}", figures={"value": cpu_ratio}),
        ]
    else:
        rows = [
            at_least(bench, throughput, pace_ratio, goal[0], " x", pace_note, **figures),
            at_most(bench, cpu, cpu_ratio, goal[1], " x", cpu_note),
        ]
    for name, lap in laps.items():
        if name not in {DAEMON, "naive"}:
            text = f"{lap.pace / naive.pace:.3g} x, CPU {lap.cpu / naive.cpu:.3g} x ({lap.cpu * 1000:.2f} ms)"
            rows.append(Row(bench, f"- {name}", text))
    return rows


GOALS = {"68 KB": (1.5, 0.75), "5 MB": (1.8, 0.6)}
"""By size: throughput and CPU an image against the naive script, with a service that answers at once."""
TLS_CPU = 0.15
"""CPU an image over TLS against the naive script, at 68 KB."""


def throughput(course: Course) -> list[Row]:
    """Everybody, over HTTP."""
    rows: list[Row] = []
    scale = course.scale
    for latency in scale.latencies:
        for size in scale.sizes:
            for way in (DROP, BACKLOG):
                heat = Heat(size, way, latency, tls=False)
                laps, absent = compete(course, heat, scale.peers)
                rows += _rows("throughput", heat, laps, GOALS if way == DROP and not latency else {})
                rows += [Row("throughput", f"- {text.partition(':')[0]}", f"skipped: {text}") for text in absent]
    return rows


def tls(course: Course) -> list[Row]:
    """The daemon and the scripts in Python, over TLS."""
    rows: list[Row] = []
    for size in course.scale.sizes:
        count = min(course.scale.tls_count, size.count)
        heat = Heat(Size(size.name, count, size.bytes), DROP, 0.0, tls=True)
        peers = tuple(name for name in course.scale.peers if name not in BACKLOG_ONLY)
        laps, absent = compete(course, heat, peers)
        found = _rows("tls", heat, laps, {})
        if size.name == "68 KB":
            ratio = laps[DAEMON].cpu / laps["naive"].cpu
            note = f" ({laps[DAEMON].cpu * 1000:.2f} ms)"
            found[1] = at_most("tls", found[1].what, ratio, TLS_CPU, " x", note)
        rows += found
        rows += [Row("tls", f"- {text.partition(':')[0]}", f"skipped: {text}") for text in absent]
    return rows
