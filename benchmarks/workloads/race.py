"""Run the daemon and its peers on the same photos, in turns, and compare throughput and CPU."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import photos, processes
from benchmarks.processes import TimedOut
from benchmarks.runners import BACKLOG_ONLY, DAEMON, DROPS_ONLY, Runner, missing
from benchmarks.server import PNG_640, WEBP_64, WEBP_1000, Answer
from benchmarks.suite import LARGE, MB, SMALL
from benchmarks.table import Goal, Row, at_least, at_most, row, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.suite import Suite

_PAUSE = 0.4
"""Seconds after the last output in which a runner finishes its work, before its CPU time is read."""


@dataclass(frozen=True)
class Setting:
    """What is run: photos, how they arrive, the service, the peer to compare with, and the goals."""

    count: int
    size: int = SMALL
    backlog: bool = False
    latency: float = 0.0
    tls: bool = False
    answer: Answer = WEBP_64
    against: str = "naive"
    throughput: Goal | None = None
    cpu: Goal | None = None

    def __str__(self) -> str:
        size = f"{self.size // MB} MB" if self.size >= MB else f"{self.size // 1024} KB"
        text = f"{self.count:,} x {size} {'as a backlog' if self.backlog else 'dropped'}, {self.latency * 1000:.0f} ms"
        return text + (", TLS" if self.tls else "") + ("" if self.answer is WEBP_64 else f", {self.answer} answers")


@dataclass(frozen=True)
class Result:
    """What one run of one runner reached."""

    rate: float
    """Images a second."""
    cpu: float
    """CPU milliseconds an image."""


def measure(suite: Suite, name: str, setting: Setting) -> Result:
    """Run the daemon or a peer once."""
    stock = suite.photos(setting.count, setting.size)
    patience = 60.0 + setting.count * (0.2 + setting.latency / suite.scale.workers)
    with suite.workspace(latency=setting.latency, tls=setting.tls, answer=setting.answer) as workspace:
        staged = photos.stage(stock, workspace.root / "staged")
        if setting.backlog:
            photos.drop(staged, workspace.inbox)
        os.sync()  # what the run before wrote must not be written during this one
        start, before = time.time(), 0.0
        with Runner(name, workspace) as runner:
            if not setting.backlog:
                runner.wait_ready()
                time.sleep(_PAUSE)
                before = processes.cpu(runner.pid)
                start = time.time()
                photos.drop(staged, workspace.inbox)
            runner.wait_outputs(setting.count, patience)
            time.sleep(_PAUSE)
            spent = processes.cpu(runner.pid) - before
        seconds = max(workspace.last_output() - start, 0.001)
    return Result(setting.count / seconds, 1000 * spent / setting.count)


def compare(suite: Suite, bench: str, setting: Setting, peers: tuple[str, ...]) -> list[Row]:
    """Run all in turns, as often as the scale says, and return the rows of the setting.

    A ratio is of two runs of the same turn; the row shows the median of the ratios and their spread.
    """
    other = DROPS_ONLY if setting.backlog else BACKLOG_ONLY
    names = [name for name in dict.fromkeys((DAEMON, setting.against, *peers)) if name not in other]
    skipped = {name: reason for name in names if (reason := missing(name))}
    results: dict[str, list[Result]] = defaultdict(list)
    for turn in range(1, suite.scale.repeats + 1):
        for name in names:
            if name in skipped:
                continue
            try:
                result = measure(suite, name, setting)
            except TimedOut as error:
                if name in {DAEMON, setting.against}:
                    raise
                skipped[name] = str(error).splitlines()[0]
                continue
            results[name].append(result)
            suite.progress(
                f"{setting}: {turn} of {suite.scale.repeats}: {name}: {result.rate:.1f} images/s,"
                f" {result.cpu:.2f} ms CPU an image"
            )
    rows = _rows(bench, setting, {name: each for name, each in results.items() if name not in skipped})
    return rows + [Row(bench, f"- {name}", f"skipped: {reason}") for name, reason in skipped.items()]


def _rows(bench: str, setting: Setting, results: dict[str, list[Result]]) -> list[Row]:
    rates = {name: [result.rate for result in each] for name, each in results.items()}
    cpus = {name: [result.cpu for result in each] for name, each in results.items()}

    def ratios(figures: dict[str, list[float]], name: str) -> list[float]:
        return [mine / theirs for mine, theirs in zip(figures[name], figures[setting.against], strict=True)]

    rows = [
        row(
            *(bench, f"{setting}: throughput, x {setting.against}", ratios(rates, DAEMON), " x", setting.throughput),
            f", {spread(rates[DAEMON])} images/s",
            runs={name: {"images_per_second": rates[name], "cpu_ms": cpus[name]} for name in results},
        ),
        row(
            *(bench, f"{setting}: CPU an image, x {setting.against}", ratios(cpus, DAEMON), " x", setting.cpu),
            f", {spread(cpus[DAEMON])} ms",
        ),
    ]
    for name in results:
        if name != DAEMON:
            text = f"{spread(rates[name])} images/s, CPU {spread(cpus[name])} ms"
            if name != setting.against:
                text = f"{spread(ratios(rates, name), ' x')}, CPU {spread(ratios(cpus, name), ' x')}; {text}"
            rows.append(Row(bench, f"- {name}", text))
    return rows


def race(suite: Suite) -> Iterator[Row]:
    """Compare with the naive script, the session script beside it, in the settings that have goals."""
    scale = suite.scale
    settings = (
        Setting(scale.small, throughput=at_least(1.2, 1.5), cpu=at_most(0.85, 0.75)),
        Setting(scale.small, answer=WEBP_1000, against="naive-decode", throughput=at_least(1.0, 1.3)),
        Setting(scale.large, LARGE, throughput=at_least(1.6, 1.8), cpu=at_most(0.65, 0.6)),
        Setting(scale.small, backlog=True, throughput=at_least(1.0, 1.2)),
        Setting(scale.slow, latency=0.2, cpu=at_most(1.0, 0.8)),
    )
    for setting in settings:
        yield from compare(suite, "race", setting, ("session",))


def tls(suite: Suite) -> Iterator[Row]:
    """Compare with the naive script and the session script over TLS."""
    scale = suite.scale
    settings = (
        Setting(scale.tls, tls=True, cpu=at_most(0.15)),
        Setting(min(scale.tls, scale.large), LARGE, tls=True),
    )
    for setting in settings:
        yield from compare(suite, "tls", setting, ("session",))


def peers(suite: Suite) -> Iterator[Row]:
    """Compare all peers, for information."""
    scale = suite.scale
    settings = (
        Setting(scale.small),
        Setting(scale.small, backlog=True),
        Setting(scale.slow, latency=0.2),
        Setting(scale.large, LARGE),
        Setting(scale.large, LARGE, backlog=True),
        Setting(scale.large, LARGE, latency=0.2),
    )
    for setting in settings:
        yield from compare(suite, "peers", setting, scale.peers)
    yield from compare(suite, "peers", Setting(scale.slow, answer=PNG_640, against="naive-decode"), ("session",))
