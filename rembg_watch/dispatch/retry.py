"""What follows from an error: pure decisions, as values.

The rule behind the table: the job pays for its own faults, and for the service's only while the service works for
others. Pace, credits, key and options are nobody's fault; they make work wait, not fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_watch.api.verdict import About, Charge, Verdict

if TYPE_CHECKING:
    from rembg_watch.config.model import RetryConfig

UNREACHABLE = frozenset({"dns", "refused", "tls", "unreachable", "proxy", "url", "redirect", "wrong-url"})
"""Verdict codes that say: nobody was reached who could look at the photo. No job is to blame for these."""
MAX_PAID_TRIES = 2
"""How often a job is paid for an answer that is a picture, but not the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The job ends as failed."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The job is tried again at ``not_before`` (Unix seconds). ``counted``: it used up one of its attempts."""

    not_before: float
    counted: bool


@dataclass(frozen=True, slots=True)
class Requeue:
    """The job goes back to the queue, where a hold or a slower pace makes it wait."""


Decision = Fail | Wait | Requeue


def backoff(attempts: int, base: float, most: float, jitter: float) -> float:
    """Give the seconds before the next try: full jitter, which spreads the retries of many jobs best.

    Args:
        attempts: how often the job was tried, this time included; 1 or more.
        base: seconds; the ceiling of the first delay.
        most: seconds; the ceiling of every delay.
        jitter: a random number in 0..1.
    """
    # The exponent is bounded so that a large count can't overflow the float.
    return min(most, base * 2.0 ** min(max(attempts, 1) - 1, 60)) * jitter


def decide(
    verdict: Verdict, attempts: int, retry: RetryConfig, *, now: float, jitter: float, healthy: bool
) -> Decision:
    """Decide what becomes of the job after a verdict.

    Args:
        verdict: on the attempt that just ended.
        attempts: those that were counted before this one.
        retry: from the config.
        now: Unix seconds.
        jitter: a random number in 0..1.
        healthy: whether the service works for others at this time (the circuit breaker is closed).
    """
    match verdict.about:
        case About.IMAGE:
            return Fail()
        case About.PROFILE | About.ACCOUNT | About.CREDITS | About.PACE:
            return Requeue()
        case About.SERVICE if verdict.code in UNREACHABLE and verdict.charge is Charge.NOT_CHARGED:
            return Requeue()
        case About.SERVICE | About.UNKNOWN:
            wrong_picture = verdict.about is About.UNKNOWN and verdict.charge is not Charge.NOT_CHARGED
            most = min(retry.max_attempts, MAX_PAID_TRIES) if wrong_picture else retry.max_attempts
            counted = healthy or wrong_picture or _worked_on(verdict)
            tried = attempts + counted
            if tried >= most:
                return Fail()
            delay = backoff(max(1, tried), retry.base_delay, retry.max_delay, jitter)
            return Wait(now + max(delay, verdict.retry_after or 0.0), counted)


def _worked_on(verdict: Verdict) -> bool:
    """Tell whether the service itself answered with something useless, which may cost a credit each time."""
    paid = verdict.charge is not Charge.NOT_CHARGED
    return paid and (verdict.status == 200 or verdict.code == "redirect") and verdict.code != "proxy-page"
