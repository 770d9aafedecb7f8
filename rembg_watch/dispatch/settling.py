"""What follows when a job has left its worker: its permit, what it means for others, and what a reload made of that."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from rembg_watch.api.verdict import About
from rembg_watch.dispatch.renewal import end_gone_holds
from rembg_watch.dispatch.report import Ended
from rembg_watch.errors import StateError

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.account import Account
    from rembg_watch.dispatch.claims import Claims
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.dispatch.reactions import Reactions
    from rembg_watch.dispatch.report import Report
    from rembg_watch.jobs.model import Job

log = structlog.get_logger()


class Settling:
    """Settles what the workers report. Safe for threads."""

    def __init__(
        self,
        config: Callable[[], Config],
        account: Account,
        holds: Holds,
        reactions: Reactions,
        claims: Claims,
        orphans: deque[Job],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._account = account
        self._holds = holds
        self._reactions = reactions
        self._claims = claims
        self._orphans = orphans
        self._clock = clock
        self._renewed_at = 0.0

    def renewed(self) -> None:
        """Note that there is a new config: what was sent before may be told of something that is over."""
        self._renewed_at = time.monotonic()

    def drop(self, jobs: list[Job]) -> None:
        """Take back jobs and their permits before they were begun."""
        for job in jobs:
            self._account.end(spent=False, was_sent=False)
            self._reactions.end_trial(job)
            self._orphans.append(job)

    def settle(self, job: Job, report: Report) -> None:
        """Draw all conclusions from one report."""
        self._account.end(spent=report.spent, was_sent=report.sent)
        if report.ended is Ended.STATE:
            self._orphans.append(job)
        if self._config().folder(job.folder) is None:
            self._claims.leave_alone(job.folder)
        try:
            self._reactions.react(job, report)
            verdict = report.verdict
            if report.target is not None or (verdict is not None and verdict.about is About.PROFILE):
                end_gone_holds(self._config(), self._holds)
            if verdict is not None and report.sent_at < self._renewed_at:
                self._holds.look_now(self._clock())
        except StateError as error:  # the hold stands in memory; only people can't see it yet
            log.error("state.cannot_write", reason=error.message, hint=error.hint)
