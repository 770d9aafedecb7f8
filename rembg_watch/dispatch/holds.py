"""Holds: what may not be sent or delivered for now, and why. A hold makes work wait; it never fails a job.

Each hold is a circuit breaker. *Open*: nothing passes. When its free probe succeeds it is *half-open*: one job passes,
as a trial. If the trial succeeds the hold is *closed* and gone; if not, it opens again. What is half-open is not shown
to people: its reason is most likely over.

``pause`` and ``too-many`` belong to commands: they are read from the status table, where every other hold is published.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import structlog

from rembg_watch import clock
from rembg_watch.jobs.model import Hold
from rembg_watch.jobs.status_table import COMMAND_KINDS, PAUSE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rembg_watch.jobs.status_table import StatusTable

ALL = "all"
PROFILE, OUTBOX, INBOX = "profile:", "outbox:", "inbox:"
"""What a scope begins with; behind it stands a fingerprint or a path."""
OPENS_AFTER = 5
"""Faults of the service in a row, of any jobs, that open its hold."""
ACCOUNT_KINDS = frozenset({"credits", "key", "usage", "service", "pace", "daily-limit", "monthly-limit"})
"""Kinds of holds on everything that the account thread probes."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds between two looks at what is held, and from which on something counts as late."""

    check: float = 30.0
    """Between two looks at what money, the clock or the network can end at any time."""
    profile_check: float = 60.0
    """To the first trial of a refused profile; doubled each time it is refused again."""
    longest_profile_check: float = 3600.0
    outbox_check: float = 2.0
    """To the first look at a held outbox; doubled up to ``check``."""
    usage_check: float = 10.0
    """To the next try where the credits can't be read and nothing may be sent without."""
    usage_retry: float = 15.0
    """Between two usage calls while they fail and the last reading still serves."""
    first_pause: float = 5.0
    """Of the service's circuit breaker; doubled up to ``longest_pause``."""
    longest_pause: float = 60.0
    longest_paid_pause: float = 600.0
    """Where a trial may cost a credit each time, though nothing comes of it."""
    tidy: float = 30.0
    """Between two tries to put away sources that could not be put away."""
    late: float = 30.0
    """For a read of an inbox, or a delivery into an outbox: then it is held, and others go on."""


class Settable(Protocol):
    """Something that a thread waits for."""

    def set(self) -> None:
        """Wake the thread."""
        ...


@dataclass
class _Breaker:
    hold: Hold
    interval: float
    half_open: bool = False
    trial: int | None = None
    """The job that is on trial."""


class Holds:
    """All holds in force. Safe for threads. Times are seconds of the scheduling clock."""

    def __init__(self, timings: Timings, *wake: Settable) -> None:
        self.timings = timings
        self._wake = wake
        self._lock = threading.Lock()
        self._breakers: dict[tuple[str, str], _Breaker] = {}
        self._faults = 0
        self._openings = 0
        self.changed = True
        """Whether the status table does not show the holds yet. Reset by the one who publishes them."""

    # -- from the status table

    def load(self, table: StatusTable) -> None:
        """Load the holds of the process before: pauses and refused profiles stay, others are found again."""
        now = clock.now()
        with self._lock:
            for hold in table.holds():
                if hold.scope.startswith(PROFILE):
                    at = min(hold.next_check or now, now + self.timings.longest_profile_check)
                    kept = replace(hold, next_check=at)
                    self._breakers[hold.scope, hold.kind] = _Breaker(kept, self.timings.profile_check)
        self.reload_commands(table)

    def reload_commands(self, table: StatusTable) -> None:
        """Read what ``pause`` and ``resume`` changed."""
        there = {(h.scope, h.kind): h for h in table.holds() if h.kind in COMMAND_KINDS}
        with self._lock:
            known = {key for key in self._breakers if key[1] in COMMAND_KINDS}
            for key in known - set(there):
                del self._breakers[key]
                log.info("resumed", scope=key[0])
            for key, hold in there.items():
                if key not in known:
                    log.info("paused" if key == PAUSE else "hold.begin", scope=key[0], kind=key[1], reason=hold.message)
                self._breakers[key] = _Breaker(hold, 0.0)
            if known != set(there):
                self._notify()

    # -- opening and closing

    def hold(self, scope: str, kind: str, message: str, release: str, *, check_in: float | None) -> None:
        """Open a hold, or renew it. ``check_in``: seconds to its probe; None where something else ends it.

        A trial that failed opens the hold again: an outbox or a profile is then looked at half as often.
        """
        now = clock.now()
        with self._lock:
            before = self._breakers.get((scope, kind))
            if before is not None and check_in is not None and scope.startswith((OUTBOX, PROFILE)):
                longest = self.timings.longest_profile_check if scope.startswith(PROFILE) else self.timings.check
                check_in = max(check_in, min(longest, before.interval * 2) if before.half_open else before.interval)
            since = before.hold.since if before is not None else now
            next_check = None if check_in is None else now + check_in
            hold = Hold(scope, kind, message, release, since, next_check)
            self._breakers[scope, kind] = _Breaker(hold, check_in or 0.0)
            if before is None or before.half_open:
                log.warning("hold.begin", scope=scope, kind=kind, reason=message, release=release)
            if before is None or before.half_open or before.hold != hold:
                self._notify()

    def release(self, scope: str, kind: str | None = None) -> None:
        """Close a hold, or every hold of a scope that no command set."""
        with self._lock:
            for key in [key for key in self._breakers if key[0] == scope and kind in (None, key[1])]:
                if key[1] not in COMMAND_KINDS:
                    self._close(key)

    def _close(self, key: tuple[str, str]) -> None:
        breaker = self._breakers.pop(key)
        if not breaker.half_open:
            log.info("hold.end", scope=key[0], kind=key[1])
        self._notify()

    def half_open(self, scope: str, kind: str) -> None:
        """Admit one job as a trial: the hold's probe found its reason gone."""
        with self._lock:
            breaker = self._breakers.get((scope, kind))
            if breaker is not None and not breaker.half_open:
                breaker.half_open, breaker.trial = True, None
                log.info("hold.end", scope=scope, kind=kind)
                self._notify()

    def postpone(self, scope: str, kind: str, seconds: float) -> None:
        """Set the time of the next probe: this one found that the reason still stands."""
        with self._lock:
            breaker = self._breakers.get((scope, kind))
            if breaker is not None:
                breaker.hold = replace(breaker.hold, next_check=clock.now() + seconds)
                breaker.interval = seconds
                self._notify()

    def drop_unused(self, used: Iterable[str]) -> None:
        """Close the holds on profiles, outboxes and inboxes that the config does not have: nothing would end them."""
        keep = set(used)
        with self._lock:
            for key in [key for key in self._breakers if key[0] != ALL and key[0] not in keep]:
                self._close(key)

    def check_now(self) -> None:
        """Set every free probe as due: a new config may have ended the reason."""
        with self._lock:
            for breaker in self._breakers.values():
                if breaker.hold.next_check is not None and not breaker.hold.scope.startswith(PROFILE):
                    breaker.hold = replace(breaker.hold, next_check=clock.now())
            self._notify()

    def _notify(self) -> None:
        self.changed = True
        for waiting in self._wake:
            waiting.set()

    # -- trials

    def admits(self, job: int, scopes: Iterable[str]) -> bool:
        """Return whether a job may pass all of ``scopes`` now; it becomes the trial of those that are half-open."""
        wanted = set(scopes)
        with self._lock:
            touched = [breaker for (scope, _), breaker in self._breakers.items() if scope in wanted]
            if any(not breaker.half_open or breaker.trial not in (None, job) for breaker in touched):
                return False
            for breaker in touched:
                breaker.trial = job
        return True

    def succeeded(self, *scopes: str) -> None:
        """Close the holds on a profile or an outbox: work passed there."""
        for scope in scopes:
            if any(key[0] == scope for key in list(self._breakers)):
                self.release(scope)

    def end_trial(self, job: int) -> None:
        """Release the trials that this job did not decide: another job may be the trial."""
        with self._lock:
            for breaker in self._breakers.values():
                if breaker.trial == job:
                    breaker.trial = None
                    self._notify()

    def is_trial(self, job: int, scope: str) -> bool:
        """Return whether this job is the trial of a hold on ``scope``."""
        return any(breaker.trial == job for key, breaker in list(self._breakers.items()) if key[0] == scope)

    # -- the service's own breaker

    @property
    def healthy(self) -> bool:
        """Whether the service works, as far as is known."""
        return self._openings == 0

    def service_answered(self) -> None:
        """Count that the service did what it should, be it that it refused one photo."""
        self._faults = self._openings = 0
        if self._breakers:
            with self._lock:
                for key, breaker in list(self._breakers.items()):
                    if key[0] == ALL and (breaker.half_open or key[1] == "service"):
                        self._close(key)

    def service_failed(self, message: str, release: str, *, unreachable: bool, paid: bool, job: int) -> None:
        """Count a fault of the service; it opens the hold when there were several in a row, or one trial.

        ``unreachable``: nobody was reached, which one fault proves. ``paid``: it may have cost a credit.
        """
        timings = self.timings
        with self._lock:
            breaker = self._breakers.get((ALL, "service"))
            if breaker is not None and breaker.trial != job:
                return  # it was under way when the hold began: the same trouble, not another one
            self._faults += 1
            if self.healthy and self._faults < OPENS_AFTER and not unreachable:
                return
            self._openings += 1
            longest = timings.longest_paid_pause if paid else timings.longest_pause
            pause = min(longest, timings.first_pause * 2.0 ** min(self._openings - 1, 10))
        self.hold(ALL, "service", message, release, check_in=pause)

    # -- questions

    def capacity(self, scopes: Iterable[str]) -> int | None:
        """Return how many jobs of these scopes may begin: 0 while held, 1 for a trial, None for any number."""
        wanted = set(scopes)
        with self._lock:
            touched = [breaker for (scope, _), breaker in self._breakers.items() if scope in wanted]
        if not touched:
            return None
        return 0 if any(not breaker.half_open or breaker.trial is not None for breaker in touched) else 1

    def has(self, scope: str, kind: str | None = None) -> bool:
        """Return whether a scope is held, be it half-open."""
        with self._lock:
            return any(key[0] == scope and kind in (None, key[1]) for key in self._breakers)

    def is_open(self, scope: str) -> bool:
        """Return whether nothing passes a scope, not even a trial."""
        with self._lock:
            return any(key[0] == scope and not breaker.half_open for key, breaker in self._breakers.items())

    def due(self, prefix: str) -> list[tuple[Hold, float]]:
        """Return the open holds whose probe is due, with their interval.

        ``prefix`` is a scope, or stands for all scopes of a kind, such as ``profile:``.
        """
        now = clock.now()
        with self._lock:
            return [
                (breaker.hold, breaker.interval)
                for breaker in self._breakers.values()
                if _is_below(breaker.hold.scope, prefix)
                and not breaker.half_open
                and breaker.hold.next_check is not None
                and breaker.hold.next_check <= now
            ]

    def next_check(self, prefix: str) -> float | None:
        """Return the time of the next probe; ``prefix`` as for :meth:`due`."""
        with self._lock:
            checks = [
                breaker.hold.next_check
                for breaker in self._breakers.values()
                if _is_below(breaker.hold.scope, prefix)
                and not breaker.half_open
                and breaker.hold.next_check is not None
            ]
        return min(checks, default=None)

    def scopes(self, prefix: str) -> list[str]:
        """Return what is held below a prefix such as ``profile:``, without the prefix; half-open ones left out."""
        with self._lock:
            return [
                scope.removeprefix(prefix)
                for (scope, _), breaker in self._breakers.items()
                if scope.startswith(prefix) and not breaker.half_open
            ]

    def all(self) -> list[Hold]:
        """Return all open holds, the oldest first."""
        with self._lock:
            shown = [breaker.hold for breaker in self._breakers.values() if not breaker.half_open]
        return sorted(shown, key=lambda hold: hold.since)


def _is_below(scope: str, prefix: str) -> bool:
    return scope == prefix or (prefix.endswith(":") and scope.startswith(prefix))
