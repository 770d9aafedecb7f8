"""What follows from an attempt that brought no picture: one pure decision for each verdict.

The rule behind the table: a job pays for its own faults, and for the service's only while the service works for
others. Pace, credits, key and options are no job's fault: they make work wait, and never fail it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_watch.api.verdict import About, Charge, Verdict
from rembg_watch.jobs.model import State

if TYPE_CHECKING:
    from rembg_watch.config.model import RetryConfig
    from rembg_watch.jobs.ledger import Wasted

UNREACHABLE = frozenset({"dns", "refused", "tls", "unreachable", "proxy", "url", "redirect", "wrong-url"})
"""Codes of verdicts where no service was reached that could look at the photo. No job is to blame for these."""
MAX_WRONG_PICTURES = 2
"""How many complete answers that are not the picture that was asked for are paid for, with one picture and options."""
LONG_WAIT = 30.0
"""Seconds of a ``Retry-After`` from which on the wait is shown as a hold."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a job, and what its end says about the service."""

    state: State
    """Failed, waiting (until ``not_before``), or queued, where a hold or a slower pace makes it wait."""
    not_before: float | None = None
    counted: bool = False
    """Whether it used up one of ``retry.max_attempts``."""
    accepted: bool | None = None
    """Whether the pace was accepted (True) or refused (False); None where nothing is known."""
    fault: bool = False
    """Whether it is a fault of the service, for its circuit breaker."""
    answered: bool = False
    """Whether the service did what it should: it refused this one photo."""


def backoff(attempts: int, base: float, most: float, jitter: float) -> float:
    """Return the seconds before the next try: full jitter, which spreads the retries of many jobs best.

    Args:
        attempts: how often the job was tried, this time included; 1 or more.
        base: seconds; the ceiling of the first delay.
        most: seconds; the ceiling of every delay.
        jitter: a random number in 0..1.
    """
    # The exponent is bounded so that a large count can't overflow the float.
    return min(most, base * 2.0 ** min(max(attempts, 1) - 1, 60)) * jitter


def decide(
    verdict: Verdict,
    attempts: int,
    wasted: Wasted,
    retry: RetryConfig,
    *,
    now: float,
    jitter: float,
    healthy: bool,
) -> Outcome:
    """Decide what becomes of the job after a verdict.

    Args:
        verdict: on the attempt that just ended.
        attempts: those of the job that were counted before this one.
        wasted: earlier attempts with the same picture and options, of any job, that may have cost a credit in vain.
        retry: from the config.
        now: scheduling time, in Unix seconds.
        jitter: a random number in 0..1.
        healthy: whether the service works for others at this time (its hold is closed).
    """
    match verdict.about:
        case About.IMAGE:
            return Outcome(State.FAILED, accepted=True, answered=True)
        case About.PACE:
            return Outcome(State.QUEUED, accepted=False)
        case About.PROFILE:
            return Outcome(State.QUEUED, accepted=True)
        case About.ACCOUNT | About.CREDITS:
            return Outcome(State.QUEUED)
        case About.SERVICE if verdict.code in UNREACHABLE and verdict.charge is Charge.NOT_CHARGED:
            return Outcome(State.QUEUED, fault=True)
        case About.SERVICE | About.UNKNOWN:
            paid = verdict.charge is not Charge.NOT_CHARGED
            wrong_picture = verdict.about is About.UNKNOWN and paid
            counted = healthy or wrong_picture or _was_worked_on(verdict)
            tried = attempts + counted
            enough = tried >= retry.max_attempts
            if wrong_picture:
                enough = enough or wasted.complete + 1 >= MAX_WRONG_PICTURES
            if paid and counted:
                enough = enough or wasted.lost + 1 >= retry.max_attempts
            if enough:
                return Outcome(State.FAILED, counted=counted, fault=True)
            delay = backoff(max(1, tried), retry.base_delay, retry.max_delay, jitter)
            return Outcome(State.WAITING, now + max(delay, verdict.retry_after or 0.0), counted, fault=True)


def _was_worked_on(verdict: Verdict) -> bool:
    """Return whether the service itself answered with something useless, which may cost a credit each time."""
    paid = verdict.charge is not Charge.NOT_CHARGED
    return paid and (verdict.status == 200 or verdict.code == "redirect") and verdict.code != "proxy-page"


def is_spent(wasted: Wasted, retry: RetryConfig) -> bool:
    """Return whether a picture with these options was paid for in vain so often that it is not sent again."""
    return wasted.complete >= MAX_WRONG_PICTURES or wasted.lost >= retry.max_attempts
