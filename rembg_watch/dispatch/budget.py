"""How many photos the credits and the limits allow, and the only thread that asks the account.

What is left follows from two readings of the account and the ledger's rows, by pure functions. A reading says what the
account had at one instant. A request that was under way then, or ended shortly before, may be in it or not: it counts
against the reading until the account's own count shows it. So the sum can be too careful by what was in flight, and
never too bold.

The credits are read before each batch of ``credits.batch_size`` images, while the batch before is still being sent.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from rembg_watch import clock
from rembg_watch.api.verdict import About
from rembg_watch.dispatch.holds import ACCOUNT_KINDS, ALL, INBOX
from rembg_watch.dispatch.outcome import UNREACHABLE
from rembg_watch.errors import ApiError, StateError
from rembg_watch.jobs.ledger import UsageCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_watch.api.usage import MembershipUsage
    from rembg_watch.api.verdict import Verdict
    from rembg_watch.config.model import Config, CreditsConfig
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.dispatch.runtime import Components, Runtime
    from rembg_watch.jobs.ledger import Ledger
    from rembg_watch.jobs.model import Hold, Job
    from rembg_watch.jobs.status_table import StatusTable
    from rembg_watch.systemd import Heartbeats

BATCH_SECONDS = 60.0
"""A reading serves one batch, and no photo after this time."""
NOTE_SECONDS = 5.0
"""A reading is stored at most this often: fast batches would write more than they send."""

log = structlog.get_logger()


# -- pure


@dataclass(frozen=True, slots=True)
class Reading:
    """What the account said. ``at`` is when it was asked, in Unix seconds; the rest are images."""

    account: str
    at: float
    available: int
    api_usage: int
    prepaid: int
    period_start: float | None = None
    recent: int = 0
    """Images of ours that it may not show: in flight then, or ended shortly before. Known as of the reading."""
    missing: int = 0
    """How many of them it does not show, at most."""


@dataclass(frozen=True, slots=True)
class Grant:
    """How many images may be sent now. Where none may, ``kind`` and ``message`` say why, ``release`` what ends it."""

    count: int
    kind: str = ""
    message: str = ""
    release: str = ""


def day_start(now: float) -> float:
    """Return the start of the UTC day, in Unix seconds."""
    return datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def month_start(now: float) -> float:
    """Return the start of the UTC month, in Unix seconds."""
    return datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def not_shown(newer: Reading, older: Reading | None, *, between: int, recent: int) -> int:
    """Return how many images of ours count against ``newer`` although the account does not show them yet.

    The account's count has grown by what it shows of ours, and by what others use: their use can hide only what the
    count grew by between these two readings.

    Args:
        newer: the reading in question.
        older: the reading before it; None where there is none.
        between: images of ours that were or may have been charged and that ``older`` does not show, at most: those
            missing there, and those sent after it and before ``newer``.
        recent: images of ours that were in flight at ``newer``, or ended so shortly before that a charge may still
            come; never more than these can be missing.
    """
    if older is None or older.period_start != newer.period_start:
        return recent
    shown = max(0, newer.api_usage - older.api_usage) + max(0, older.prepaid - newer.prepaid)
    return min(recent, max(0, between - shown))


def allowed(left: int, limits: CreditsConfig, *, today: int, month: int) -> Grant:
    """Return how many more images may be sent.

    Args:
        left: credits that are surely left.
        limits: from the config.
        today: images that were or may have been charged in this UTC day, those in flight included.
        month: likewise in this UTC month.
    """
    reserve = f", the reserve is {limits.reserve}" if limits.reserve else ""
    most = [
        (
            left - limits.reserve,
            "credits",
            f"{max(0, left)} credits are left{reserve}",
            "buy credits, wait for the renewal, or lower credits.reserve; it is looked at every 30 s",
        )
    ]
    for limit, used, name in ((limits.daily_limit, today, "day"), (limits.monthly_limit, month, "month")):
        if limit is not None:
            kind = {"day": "daily", "month": "monthly"}[name]
            most.append(
                (
                    limit - used,
                    f"{kind}-limit",
                    f"the {kind} limit of {limit} images is reached",
                    f"a new UTC {name}, or a higher limit in the config",
                )
            )
    count, kind, message, release = min(most)
    return Grant(count) if count > 0 else Grant(0, kind, message, release)


# -- the state


class Budget:
    """What the last reading and the ledger allow. Changed only under the lock of the live runtime."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.reading: Reading | None = None
        self._not_shown = 0
        self._spent = 0
        """Images sent since the reading, less those that were surely not charged."""
        self._batch_left = 0
        self.failed_at: float | None = None
        """When the last usage call failed, in seconds of the scheduling clock; None after one that succeeded."""
        self._read_at = 0.0

    @property
    def left(self) -> int | None:
        """What is surely left, in images; None before the first reading."""
        return None if self.reading is None else self.reading.available - self._not_shown - self._spent

    @property
    def is_cautious(self) -> bool:
        """Whether a new reading could show more than this one."""
        return self._not_shown > 0 or self._spent > 0

    def renew(self, reading: Reading, missing: int, batch: int) -> None:
        """Start a batch with a new reading. ``missing``: images of ours that it does not show."""
        self.reading = reading
        self._not_shown = missing
        self._spent = self._ledger.spent_since(reading.at)
        self._batch_left = max(0, self._batch_left) + batch
        self._read_at, self.failed_at = clock.now(), None

    def go_on(self, config: Config) -> bool:
        """Start a batch with the last reading, because the usage call failed; return False where it is too old."""
        self.failed_at = clock.now()
        if self.reading is None or clock.now() - self._read_at > config.credits.max_staleness:
            return False
        self._batch_left = max(self._batch_left, config.credits.batch_size)
        return True

    def forget(self) -> None:
        """Drop the reading: it is of another account."""
        self.reading, self._batch_left, self.failed_at = None, 0, None

    def is_about(self, runtime: Runtime) -> bool:
        """Return whether there is a reading of the account of ``runtime``."""
        return self.reading is not None and self.reading.account == runtime.account

    def needs_reading(self, runtime: Runtime, retry: float) -> bool:
        """Return whether no photo may be sent before the account was asked again."""
        if not self.is_about(runtime) or self._batch_left <= 0:
            return True
        if self.failed_at is not None:
            return clock.now() - self.failed_at >= retry
        return clock.now() - self._read_at > BATCH_SECONDS

    def runs_short(self, runtime: Runtime, retry: float, claimed: int) -> bool:
        """Return whether it is time to ask for the next batch; ``claimed`` photos are about to be sent by this one."""
        if self.failed_at is not None and clock.now() - self.failed_at < retry:
            return False
        return self._batch_left - claimed < min(runtime.config.workers, runtime.config.credits.batch_size)

    def grant(self, config: Config, now: float) -> Grant:
        """Return how many images may be sent by this reading. ``now`` is the wall clock, in Unix seconds."""
        limits = config.credits
        today = self._ledger.spent_in_period(day_start(now), now) if limits.daily_limit is not None else 0
        month = self._ledger.spent_in_period(month_start(now), now) if limits.monthly_limit is not None else 0
        grant = allowed(self.left or 0, limits, today=today, month=month)
        return Grant(min(grant.count, self._batch_left)) if grant.count > 0 else grant

    def take(self, config: Config, jobs: Sequence[Job], now: float) -> tuple[list[Job], list[Job]]:
        """Return the jobs that may be sent now, and those whose folder has reached its own limit.

        ``now`` is the wall clock. A job in neither list waits for the next batch.
        """
        count = self.grant(config, now).count
        allowed_jobs: list[Job] = []
        over: list[Job] = []
        new: Counter[str] = Counter()
        for job in jobs:
            folder = config.folder(job.folder)
            if folder is not None and folder.daily_limit is not None:
                spent = self._ledger.spent_in_period(day_start(now), now, job.folder)
                if spent + new[job.folder] >= folder.daily_limit:
                    over.append(job)
                    continue
            if len(allowed_jobs) < count:
                allowed_jobs.append(job)
                new[job.folder] += 1
        return allowed_jobs, over

    def sent(self, count: int) -> None:
        """Count images that are marked as sent."""
        self._spent += count
        self._batch_left -= count

    def not_charged(self, sent_at: float) -> None:
        """Subtract an image that was surely not charged. ``sent_at`` is as in the ledger."""
        if self.reading is not None and sent_at >= self.reading.at:
            self._spent -= 1
        else:
            self._not_shown = max(0, self._not_shown - 1)


def folder_over_limit(holds: Holds, folder: str, limit: int) -> None:
    """Hold an inbox that has reached its own daily limit."""
    holds.hold(
        f"{INBOX}{folder}",
        "daily-limit",
        f"the folder's daily limit of {limit} images is reached",
        "a new UTC day, or a higher daily_limit",
        check_in=holds.timings.check,
    )


# -- the thread


class Account:
    """The thread that asks the account: for the next batch, and as the free probe of holds on everything."""

    def __init__(self, parts: Components, table: StatusTable, heartbeats: Heartbeats) -> None:
        self._live = parts.live
        self._budget = parts.budget
        self._holds = parts.holds
        self._ledger = parts.ledger
        self._producer = parts.wake_producer
        self._table = table
        self._heartbeats = heartbeats
        self._wake = threading.Event()
        self._wanted = False
        self._looking = False
        self._stopped = threading.Event()
        self._warned = False
        self._noted_at = float("-inf")
        self._last: Reading | None = None
        """The newest reading of this account; the next one is compared with it."""
        self._periods: list[tuple[str, int]] = []
        """Earlier accounts, each with the newest attempt that was made with it; empty for any, before the start."""
        self._thread = threading.Thread(target=self._run, name="account", daemon=True)

    def start(self) -> None:
        self._periods = [("", self._ledger.last_attempt())]
        self._thread.start()

    def stop(self) -> None:
        """Ask nothing any more; a call under way is not waited for."""
        self._stopped.set()
        self._wake.set()

    def set(self) -> None:
        """Wake the thread, which looks at the holds again."""
        self._wake.set()

    def want(self) -> None:
        """Ask the account soon, because photos wait for it."""
        if not self._wanted:
            self._wanted = True
            self._wake.set()

    def look(self) -> None:
        """Ask the account unless a photo has done so: a wrong key is reported before the first photo comes."""
        self._looking = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._heartbeats.clear("account")  # it may sleep for months
            at = self._holds.next_check(ALL)
            self._wake.wait(None if at is None else max(0.01, at - clock.now()))
            self._wake.clear()
            self._heartbeats.beat("account", within=longest_call(self._live.config))
            try:
                self._turn()
            except StateError as error:
                if not self._stopped.is_set():
                    log.error("state.trouble", reason=error.message, hint=error.hint)
            except Exception:
                log.exception("account.failed", hint="it goes on")

    def _turn(self) -> None:
        due = [hold for hold, _ in self._holds.due(ALL) if hold.kind in ACCOUNT_KINDS]
        wanted = self._wanted and not self._holds.is_open(ALL)
        looking = self._looking and not self._budget.is_about(self._live.current)
        self._wanted = self._looking = False
        if not (wanted or looking or due) or self._stopped.is_set():
            return
        error = self._ask()
        if self._stopped.is_set():
            return
        with self._live.lock:
            config = self._live.config
            usable = error is None or (wanted and self._budget.go_on(config)) or self._usable(config)
            grant = self._budget.grant(config, time.time()) if self._budget.reading is not None else Grant(0)
        for hold in due:
            self._probed(hold, error, grant, usable=usable)
        if error is not None:
            self._failed(error.verdict, usable=usable, needed=wanted)
        self._producer.set()

    def _usable(self, config: Config) -> bool:
        reading = self._budget.reading
        return reading is not None and time.time() - reading.at <= config.credits.max_staleness

    def _ask(self) -> ApiError | None:
        """Read the account in force; return the error where that failed."""
        while True:
            runtime = self._live.current
            if self._budget.reading is not None and self._budget.reading.account != runtime.account:
                with self._live.lock:
                    self._periods.append((self._budget.reading.account, self._ledger.last_attempt()))
                    self._budget.forget()
                self._last = None
            at = time.time()
            try:
                usage = runtime.client.membership_usage(billing_cycle=True)
            except ApiError as error:
                if runtime.account == self._live.current.account:
                    return error
            else:
                if runtime.account == self._live.current.account:
                    self._take(runtime, usage, at)
                    return None
            # A reload came in between: what was said is about the account before it.

    def _take(self, runtime: Runtime, usage: MembershipUsage, at: float) -> None:
        config, ledger = runtime.config, self._ledger
        reading = Reading(
            runtime.account, at, usage.available, usage.api_usage, usage.prepaid_credits, usage.period_start
        )
        window = config.api.connect_timeout + config.api.read_timeout
        older = self._last or self._stored(reading, window)
        with self._live.lock:  # no photo is marked as sent between the ledger's numbers and the new batch
            recent = self._unsettled(reading.account, at - window, at)
            between = recent
            if older is not None:
                unsettled = self._unsettled(reading.account, older.at - window, older.at)
                free = older.recent - unsettled  # not charged, as is known by now
                between = max(0, older.missing - free) + sum(ledger.totals(older.at, at))
            missing = not_shown(reading, older, between=between, recent=recent)
            self._last = replace(reading, recent=recent, missing=missing)
            self._wanted = False  # it serves photos that came meanwhile as well; later ones are for the next batch
            self._budget.renew(self._last, missing, config.credits.batch_size)
        if abs(at - self._noted_at) >= NOTE_SECONDS:
            self._noted_at = at
            self._note(reading, usage)
        self._warn(usage.available)

    def _unsettled(self, account: str, since: float, before: float) -> int:
        """Count the images sent with ``account`` before ``before`` that ended at ``since`` or later, or not yet."""
        count, first = 0, 0
        for owner, last in [*self._periods, (account, None)]:
            if owner in ("", account):
                count += self._ledger.unsettled(since, before, first=first, last=last)
            first = (last or 0) + 1
        return count

    def _stored(self, reading: Reading, window: float) -> Reading | None:
        """Return the last stored reading of the account, from before a restart, or None."""
        stored = self._ledger.last_usage_check(reading.account, reading.at)
        if stored is None:
            return None
        recent = self._unsettled(reading.account, stored.at - window, stored.at)
        return Reading(
            reading.account,
            stored.at,
            stored.available,
            stored.api_usage,
            stored.prepaid,
            stored.period_start,
            recent,
            missing=recent,
        )

    def _note(self, reading: Reading, usage: MembershipUsage) -> None:
        """Store the reading: for ``status``, for the report, and for the comparison after a restart."""
        charged, possibly = self._ledger.running_totals(reading.at)
        self._ledger.note_usage(
            UsageCheck(
                reading.at,
                usage.available,
                usage.api_usage,
                usage.app_usage,
                usage.period_start,
                usage.period_end,
                charged,
                possibly,
                usage.prepaid_credits,
                reading.account,
            )
        )
        self._table.set_fact(
            "credits",
            {
                "available": usage.available,
                "at": reading.at,
                "membership": usage.membership,
                "source": "billing" if usage.enforced else "calendar",
                "period_end": usage.period_end,
                "reserve": self._live.config.credits.reserve,
            },
            reading.at,
        )

    def _warn(self, available: int) -> None:
        threshold = self._live.config.credits.warn_below
        if available >= threshold:
            self._warned = False
        elif not self._warned:
            self._warned = True
            log.warning(
                "credits.low", available=available, warn_below=threshold, hint="buy credits before they run out"
            )

    def _probed(self, hold: Hold, error: ApiError | None, grant: Grant, *, usable: bool) -> None:
        """End or continue a hold on everything whose probe this call was."""
        check = self._holds.timings.check
        if error is not None and not (usable and grant.count > 0 and _ends_unread(hold.kind, error.verdict)):
            verdict = error.verdict
            if hold.kind in {"service", "usage"} and not is_refusal(verdict):
                message = f"the credits can't be read: {verdict.message}" if hold.kind == "usage" else verdict.message
                self._holds.hold(ALL, hold.kind, message, verdict.hint, check_in=check)
            else:
                self._holds.postpone(ALL, hold.kind, check)
        elif hold.kind in {"credits", "daily-limit", "monthly-limit"} and grant.count <= 0:
            if grant.kind == hold.kind:
                self._holds.hold(ALL, grant.kind, grant.message, grant.release, check_in=check)
            else:
                self._holds.release(ALL, hold.kind)
        elif hold.kind in {"daily-limit", "monthly-limit", "pace"}:
            self._holds.release(ALL, hold.kind)
        else:
            self._holds.half_open(ALL, hold.kind)

    def _failed(self, verdict: Verdict, *, usable: bool, needed: bool) -> None:
        """Draw the conclusions from a usage call that brought no reading."""
        if is_refusal(verdict):
            hold_account(self._holds, verdict)
        elif usable or not needed:
            hint = verdict.hint if needed else "It is asked again with the next photo."
            log.warning("credits.unreadable", reason=verdict.message, hint=hint)
        else:
            check = max(self._holds.timings.usage_check, min(self._holds.timings.check, verdict.retry_after or 0.0))
            message = f"the credits can't be read: {verdict.message}"
            self._holds.hold(ALL, "usage", message, verdict.hint, check_in=check)


def longest_call(config: Config) -> float:
    """Return the seconds after which a usage call counts as hung: a host may have several addresses to try."""
    return 60.0 + 2 * (4 * config.api.connect_timeout + 2 * min(config.api.read_timeout, 30.0))


def is_refusal(verdict: Verdict) -> bool:
    """Return whether the account itself refused: its key, or for its credits."""
    return verdict.about in (About.ACCOUNT, About.CREDITS)


def hold_account(holds: Holds, verdict: Verdict) -> None:
    """Hold everything for what the account said."""
    kind = "credits" if verdict.about is About.CREDITS else "key"
    release = f"{verdict.hint} It is looked at every {holds.timings.check:.0f} s; that costs nothing."
    holds.hold(ALL, kind, verdict.message, release, check_in=holds.timings.check)


def _ends_unread(kind: str, verdict: Verdict) -> bool:
    """Return whether a hold may end although the usage call failed, because the last reading allows to send.

    A service that did answer the call may well take a photo: one goes first, as a trial. Where nobody answered, that
    is the same trouble. A refused key, or credits that were used up, are newer than the last reading.
    """
    if is_refusal(verdict) or kind in {"key", "credits"}:
        return False
    return kind != "service" or (verdict.status is not None and verdict.code not in UNREACHABLE)
