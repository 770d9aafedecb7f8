"""What the end of one job means for all the others: holds, the pace, the breaker, and their ends."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from rembg_watch.api.verdict import About, Charge
from rembg_watch.dispatch.breaker import Breaker
from rembg_watch.dispatch.holds import ALL, LATEST_CHECK, LATEST_PROFILE_CHECK, outbox_scope, profile_scope
from rembg_watch.dispatch.report import Ended
from rembg_watch.dispatch.retry import UNREACHABLE
from rembg_watch.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.api.verdict import Verdict
    from rembg_watch.dispatch.account import Account
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.dispatch.line import RequestLine
    from rembg_watch.dispatch.outboxes import Outboxes
    from rembg_watch.dispatch.report import Report
    from rembg_watch.errors import TargetError
    from rembg_watch.jobs.model import Hold, Job

PROFILE_CHECK = 60.0
"""Seconds to the first try of a held profile; doubled each time it is refused again."""
OUTBOX_CHECK = 2.0
"""Seconds to the first look at a held outbox, which costs next to nothing; doubled up to ``LATEST_CHECK``."""
LONG_WAIT = 30.0
"""Seconds of a ``Retry-After`` from which on it is shown as a hold."""
USAGE_CHECK = 10.0
"""Seconds to the next try where the credits can't be read and nothing may be sent without."""

log = structlog.get_logger()


class Reactions:
    """Turns reports into holds and ends holds by probes. Safe for threads; times are Unix seconds.

    After a hold on everything ends by its free probe, one job goes first: sending is *on trial* until it is through.
    """

    def __init__(
        self,
        holds: Holds,
        account: Account,
        line: RequestLine,
        outboxes: Outboxes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._holds = holds
        self._account = account
        self._line = line
        self._outboxes = outboxes
        self._clock = clock
        self._lock = threading.Lock()
        self._breaker = Breaker()
        self.on_trial = False
        self.trials: dict[str, int | None] = {}
        """By the fingerprint of a held profile: the job that tries it, or None where it is still to be claimed."""
        self._profile_checks: dict[str, float] = {}

    def healthy(self) -> bool:
        """Tell whether the service works, as far as is known."""
        with self._lock:
            return self._breaker.closed

    # -- after a job

    def react(self, job: Job, report: Report) -> None:
        """Draw the conclusions from one report."""
        if report.ended is Ended.DONE and report.sent:
            self._worked(report)
        elif report.verdict is not None:
            self._judged(report.verdict, report)
        elif report.target is not None:
            self.hold_outbox(report.outbox, report.target)
        self.end_trial(job)

    def end_trial(self, job: Job) -> None:
        """Let another job try the profile that this one was to try, if it was."""
        for fingerprint, tries in list(self.trials.items()):
            if tries == job.id:
                self.trials.pop(fingerprint, None)

    def _worked(self, report: Report) -> None:
        fingerprint = report.fingerprint
        self._line.accepted(report.sent_at)
        with self._lock:
            self._breaker.success()
            self.on_trial = False
            self._profile_checks.pop(fingerprint, None)
        self._holds.release(ALL, "service")
        self._holds.release(profile_scope(fingerprint))

    def _judged(self, verdict: Verdict, report: Report) -> None:
        now = self._clock()
        match verdict.about:
            case About.PACE:
                self._line.refused(report.sent_at, verdict.retry_after)
                self._hold_pace(verdict, now)
            case About.IMAGE:
                self._line.accepted(report.sent_at)
                with self._lock:
                    self._breaker.success()
                    self.on_trial = False
            case About.PROFILE:
                self._line.accepted(report.sent_at)
                self._hold_profile(report.fingerprint, verdict, now)
            case About.ACCOUNT | About.CREDITS:
                self._hold_account(verdict, now)
            case About.SERVICE | About.UNKNOWN:
                self._fault(verdict, now)

    def _hold_pace(self, verdict: Verdict, now: float) -> None:
        """Show a long wait that the service asks for; a short one is the line's business alone."""
        wait = verdict.retry_after or 0.0
        if wait > LONG_WAIT:
            self._holds.hold(
                ALL, "pace", verdict.message, f"the service asked to wait {wait:.0f} s", now=now, check_in=wait
            )

    def _hold_profile(self, fingerprint: str, verdict: Verdict, now: float) -> None:
        fields = "; ".join(f"{error.field}: {error.message}" for error in verdict.fields)
        with self._lock:
            before = self._profile_checks.get(fingerprint)
            standing = self._holds.has(profile_scope(fingerprint))
            # Answers to requests that were under way when the hold began are the same refusal, not another one.
            if before is None or fingerprint in self.trials or not standing:
                before = PROFILE_CHECK if before is None else min(LATEST_PROFILE_CHECK, before * 2)
                self._profile_checks[fingerprint] = before
        self._holds.hold(
            profile_scope(fingerprint),
            "options",
            fields or verdict.message,
            "correct the profile in the config and reload; one photo is tried at each check",
            now=now,
            check_in=before,
        )

    def _hold_account(self, verdict: Verdict, now: float) -> None:
        kind = "credits" if verdict.about is About.CREDITS else "key"
        release = f"{verdict.hint} It is looked at every {LATEST_CHECK:.0f} s; that costs nothing."
        self._holds.hold(ALL, kind, verdict.message, release, now=now, check_in=LATEST_CHECK)

    def _fault(self, verdict: Verdict, now: float) -> None:
        if self._holds.has(ALL, "service"):
            return  # under way when the hold began: the same trouble, not another one
        paid = verdict.charge is not Charge.NOT_CHARGED
        with self._lock:
            pause = self._breaker.fault(unreachable=verdict.code in UNREACHABLE, paid=paid)
            self.on_trial = False
        if pause is not None:
            self._holds.hold(ALL, "service", verdict.message, verdict.hint, now=now, check_in=pause)

    def hold_outbox(self, outbox: str, error: TargetError) -> None:
        """Hold what goes to one outbox."""
        self._holds.hold(
            outbox_scope(outbox), error.code, error.message, error.hint, now=self._clock(), check_in=OUTBOX_CHECK
        )

    def look_failed(self, error: ApiError) -> None:
        """Draw the conclusions from a usage call that nothing waited for: only a refusal is a reason to hold."""
        verdict = error.verdict
        if _is_refusal(verdict):
            self._hold_account(verdict, self._clock())
        else:
            log.warning("credits.unreadable", reason=verdict.message, hint="It is asked again with the next photo.")

    def usage_failed(self, error: ApiError, *, usable: bool) -> None:
        """Draw the conclusions from a usage call that brought no reading; ``usable``: an older one still serves."""
        verdict, now = error.verdict, self._clock()
        if _is_refusal(verdict):
            self._hold_account(verdict, now)
        elif not usable:
            self._holds.hold(
                ALL,
                "usage",
                f"the credits can't be read: {verdict.message}",
                verdict.hint,
                now=now,
                check_in=max(USAGE_CHECK, min(LATEST_CHECK, verdict.retry_after or 0.0)),
            )
        else:
            log.warning("credits.unreadable", reason=verdict.message, hint=verdict.hint, since_last="still usable")

    # -- probes

    def probe(self) -> None:
        """Look at each hold whose time has come; a free probe that succeeds ends it."""
        now = self._clock()
        money = False
        for hold, interval in self._holds.due(now):
            if hold.scope == ALL:
                money = money or hold.kind != "pause"
            elif hold.scope.startswith("outbox:"):
                outbox = hold.scope.removeprefix("outbox:")
                if (error := self._outboxes.problem(outbox)) is None:
                    self._holds.release(hold.scope)
                else:
                    if error.code != hold.kind:
                        self._holds.release(hold.scope, hold.kind)
                    later = min(interval * 2, LATEST_CHECK)
                    self._holds.hold(hold.scope, error.code, error.message, error.hint, now=now, check_in=later)
            elif hold.scope.startswith("profile:"):
                self.trials.setdefault(hold.scope.removeprefix("profile:"), None)
                self._holds.postpone(hold.scope, hold.kind, now, interval)
            else:
                self._holds.release(hold.scope, hold.kind)
        if money and not self._account.is_looking_ahead():
            self._probe_account(now)

    def _probe_account(self, now: float) -> None:
        error = None
        try:
            self._account.read()
        except ApiError as failed:
            error = failed
        grant = self._account.grant()  # where the call failed: on the last reading, for as long as that serves
        for hold in self._holds.all():
            if hold.scope != ALL or hold.kind == "pause" or _is_not_over(hold, now):
                continue
            if error is not None and not (grant.count > 0 and _ends_unread(hold.kind, error.verdict)):
                self._still_held(hold, error.verdict, now)
            elif hold.kind in {"credits", "daily-limit", "monthly-limit"} and grant.count <= 0:
                self._holds.postpone(ALL, hold.kind, now, LATEST_CHECK)
            else:
                self._holds.release(ALL, hold.kind)
                self.on_trial = True
        if error is not None and _is_refusal(error.verdict):
            self._hold_account(error.verdict, now)

    def _still_held(self, hold: Hold, verdict: Verdict, now: float) -> None:
        """Go on with a hold whose probe failed; one on the service tells the newest trouble with it."""
        if hold.kind not in {"service", "usage"} or _is_refusal(verdict):
            self._holds.postpone(ALL, hold.kind, now, LATEST_CHECK)
            return
        message = f"the credits can't be read: {verdict.message}" if hold.kind == "usage" else verdict.message
        self._holds.hold(ALL, hold.kind, message, verdict.hint, now=now, check_in=LATEST_CHECK)


def _is_refusal(verdict: Verdict) -> bool:
    return verdict.about in (About.ACCOUNT, About.CREDITS)


def _is_not_over(hold: Hold, now: float) -> bool:
    """Tell whether this is a wait of its own length that goes on: the probe of another hold does not end it sooner."""
    return hold.kind in {"pace", "service"} and hold.next_check is not None and hold.next_check > now


def _ends_unread(kind: str, verdict: Verdict) -> bool:
    """Tell whether a hold may end though the usage call failed, as the last reading allows to send.

    A service that did answer the call may well take a photo: one goes first, as always. Where nobody answered, that is
    the same trouble still. A refused key, or credits that were used up, are newer than the last reading.
    """
    if _is_refusal(verdict) or kind in {"key", "credits"}:
        return False
    return kind != "service" or (verdict.status is not None and verdict.code not in UNREACHABLE)
