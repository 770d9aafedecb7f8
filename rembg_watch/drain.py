"""The daemon's work done once: everything that is in the inboxes now, and then the end. For cron and CI."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from rembg_watch import clock
from rembg_watch.errors import (
    EXIT_CANT_WRITE,
    EXIT_KEY_REFUSED,
    EXIT_OK,
    EXIT_SOME_FAILED,
    EXIT_UNAVAILABLE,
)
from rembg_watch.intake.adoption import Adoption
from rembg_watch.intake.survey import drain_folders
from rembg_watch.jobs.model import OPEN, State

if TYPE_CHECKING:
    import threading

    from rembg_watch.daemon import Daemon
    from rembg_watch.intake.survey import Drained
    from rembg_watch.jobs.model import Hold

SERVICE_PATIENCE = 20.0
"""Seconds for which a drain waits for a service that is down before it gives up."""
PACE_PATIENCE = 300.0
"""Seconds for which it waits where the service asked to wait."""
_LOOK = 0.2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Result:
    """What a drain came to. ``left_open`` jobs stay in the queue, for the reason that ``holds`` give."""

    drained: Drained
    done: int
    failed: int
    left_open: int
    holds: tuple[Hold, ...]
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """0: everything is done. Else the reason why something is left, or 1 if a job failed."""
        if self.failed:
            return EXIT_SOME_FAILED
        if self.drained.lost:
            return EXIT_SOME_FAILED
        if not self.left_open and not self.interrupted:
            return EXIT_OK
        kinds = {hold.kind for hold in self.holds if hold.scope == "all"}
        if "key" in kinds:
            return EXIT_KEY_REFUSED
        if kinds & {"service", "usage"}:
            return EXIT_UNAVAILABLE
        if any(hold.scope.startswith("outbox:") for hold in self.holds):
            return EXIT_CANT_WRITE
        return EXIT_SOME_FAILED


def blocking(holds: list[Hold], now: float) -> bool:
    """Return whether a drain need not wait any longer, because a hold on everything will not end soon by itself."""
    for hold in holds:
        if hold.scope != "all":
            continue
        patience = {"service": SERVICE_PATIENCE, "usage": SERVICE_PATIENCE, "pace": PACE_PATIENCE}.get(hold.kind, 0.0)
        if now - hold.since >= patience:
            return True
    return False


def _totals(daemon: Daemon) -> Counter[State]:
    totals: Counter[State] = Counter()
    for by_state in daemon.queries.counts().values():
        totals.update(by_state)
    return totals


def drain(daemon: Daemon, stop: threading.Event) -> Result:
    """Run a daemon that was not started until its inboxes are done or nothing can go on; then stop it.

    Raises:
        StateError: the job table can't be written.
    """
    daemon.start()
    try:
        before = _totals(daemon)
        drained = drain_folders(daemon.config.folders, daemon.queue, daemon.take_in, adopt=Adoption(daemon.outputs))
        while not stop.wait(_LOOK):
            daemon.turn()
            if daemon.database.fatal is not None:
                raise daemon.database.fatal
            if daemon.idle() and not daemon.open_work():
                break
            if blocking(daemon.holds.all(), clock.now()) and daemon.idle():
                break
        holds = daemon.holds.all()
    finally:
        daemon.finish()
        try:
            after = _totals(daemon)  # with what was in flight when it was interrupted
        finally:
            daemon.close()
    return Result(
        drained,
        after[State.DONE] - before[State.DONE],
        after[State.FAILED] - before[State.FAILED],
        sum(after[state] for state in OPEN),
        tuple(holds),
        stop.is_set(),
    )
