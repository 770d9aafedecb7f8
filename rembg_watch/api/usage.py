"""The membership and credit usage, as typed values that were looked at before they are believed.

Source of the rules: the public API documentation of RemBG.com, "membership usage". Money hangs on these numbers, so
whatever is no whole number from 0 to a trillion is nonsense and raises; nothing is guessed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rembg_watch.api.error_body import clean
from rembg_watch.api.verdict import About, Charge, Verdict, error_for, hint_for
from rembg_watch.errors import Refused

MOST = 10**12
"""The largest number that is believed, of credits and of Unix seconds."""


@dataclass(frozen=True, slots=True)
class BillingCycle:
    """One billing window. Times are Unix seconds; ``period_end`` is the instant just before the next renewal.

    ``app_usage`` is use in the web editor, ``api_usage`` use with an API key, both in images of this window. The rest
    is None in the list of cycles, which does not tell it.
    """

    period_start: int
    period_end: int
    app_usage: int
    api_usage: int
    included_credits: int | None = None
    prepaid_credits: int | None = None
    used_included: int | None = None
    remaining_included: int | None = None
    synced: bool | None = None
    """True: the window that the image API enforces. False: the service fell back to the UTC month."""


@dataclass(frozen=True, slots=True)
class MembershipUsage:
    """What the account has and has used.

    ``credits`` is the plan's allowance, not what is left; ``prepaid_credits`` a bought balance that does not renew;
    ``month_app_usage`` and ``month_api_usage`` are those of the asked calendar month, or of the asked period.
    """

    membership: str
    credits: int
    prepaid_credits: int
    month_app_usage: int
    month_api_usage: int
    billing_cycle: BillingCycle | None = None

    @property
    def enforced(self) -> BillingCycle | None:
        """The billing window that the image API enforces; None where it was not asked for or is not synced."""
        cycle = self.billing_cycle
        return cycle if cycle is not None and cycle.synced else None

    @property
    def available(self) -> int:
        """How many images can be sent now.

        In a synced window what remains of the included credits, else the allowance less the month's use; prepaid ones
        on top. Where the service contradicts itself, the smaller number counts. Says nothing about now where another
        month or period was asked for.
        """
        cycle = self.enforced
        if cycle is None or cycle.remaining_included is None:
            return max(0, self.credits - self.month_app_usage - self.month_api_usage) + self.prepaid_credits
        remaining = cycle.remaining_included
        if cycle.included_credits is not None:
            remaining = min(remaining, max(0, cycle.included_credits - cycle.app_usage - cycle.api_usage))
        prepaid = self.prepaid_credits if cycle.prepaid_credits is None else cycle.prepaid_credits
        return remaining + min(prepaid, self.prepaid_credits)

    @property
    def api_usage(self) -> int:
        """Images sent with an API key in the window that counts: the enforced one, else the calendar month."""
        return self.enforced.api_usage if self.enforced else self.month_api_usage

    @property
    def app_usage(self) -> int:
        """Images made in the web editor in the same window."""
        return self.enforced.app_usage if self.enforced else self.month_app_usage

    @property
    def period_end(self) -> int | None:
        """When the window ends, in Unix seconds: the instant before the renewal. None where no cycle was asked for."""
        return self.billing_cycle.period_end if self.billing_cycle else None

    @property
    def period_start(self) -> int | None:
        """When the window began, in Unix seconds. None where no cycle was asked for."""
        return self.billing_cycle.period_start if self.billing_cycle else None


class _Nonsense(Exception):
    pass


def parse_usage(body: bytes) -> MembershipUsage:
    """Read the answer of the usage call. Raises ApiError (about the service, ``nonsense``) where it makes no sense."""
    try:
        answer = _answer(body)
        cycle = answer.get("billingCycle")
        return MembershipUsage(
            membership=_name(answer.get("membership")),
            credits=_count(answer, "credits"),
            prepaid_credits=_count(answer, "prepaidCredits"),
            month_app_usage=_count(answer, "app_usage"),
            month_api_usage=_count(answer, "api_usage"),
            billing_cycle=None if cycle is None else _full_cycle(_object(cycle, "billingCycle")),
        )
    except _Nonsense as problem:
        raise error_for(_verdict(str(problem))) from None


def parse_cycles(body: bytes) -> list[BillingCycle]:
    """Read the list of billing cycles, newest first. Raises as :func:`parse_usage`."""
    try:
        cycles = _list(_answer(body).get("billingCycles"))
        found = [_cycle(_object(cycle, "a billing cycle")) for cycle in cycles]
    except _Nonsense as problem:
        raise error_for(_verdict(str(problem))) from None
    return sorted(found, key=lambda cycle: cycle.period_start, reverse=True)


def _verdict(problem: str) -> Verdict:
    message = clean(f"the usage call answered nonsense: {problem}")
    return Verdict(About.SERVICE, "nonsense", message, hint_for("nonsense"), Charge.NOT_CHARGED, 200)


def _answer(body: bytes) -> dict[str, Any]:
    values = _object(_json(body), "the answer")
    if values.get("error"):  # numbers beside it are not to be relied on
        raise _Nonsense("it is an error")
    return values


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise _Nonsense("it is no JSON") from None


def _name(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise _Nonsense("membership is no text")
    return clean(value or "", 100)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Nonsense("billingCycles is no list")
    return value


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Nonsense(f"{what} is no JSON object")
    return value


def _count(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
        shown = "absent" if name not in values else clean(repr(value)[:40], 40)
        raise _Nonsense(f"{name} is {shown}")
    return value


def _cycle(values: dict[str, Any]) -> BillingCycle:
    start, end = _count(values, "periodStartUnix"), _count(values, "periodEndUnix")
    if end < start:
        raise _Nonsense("a period ends before it starts")
    return BillingCycle(start, end, _count(values, "appUsage"), _count(values, "apiUsage"))


def _full_cycle(values: dict[str, Any]) -> BillingCycle:
    bare = _cycle(values)
    synced = values.get("stripeBillingSynced", False)
    if not isinstance(synced, bool):
        raise _Nonsense("stripeBillingSynced is neither true nor false")
    included = _count(values, "includedCredits")
    used = _count(values, "usedIncludedCredits") if "usedIncludedCredits" in values else bare.app_usage + bare.api_usage
    remaining = (
        _count(values, "remainingIncludedCredits") if "remainingIncludedCredits" in values else max(0, included - used)
    )
    prepaid = _count(values, "prepaidCredits") if "prepaidCredits" in values else None
    return BillingCycle(
        bare.period_start, bare.period_end, bare.app_usage, bare.api_usage, included, prepaid, used, remaining, synced
    )


def asked_period(year: int | None, month: int | None, period_start: int | None) -> dict[str, str]:
    """Give the parameters that ask for a period; None: not asked for. Raises Refused where there is no such one."""
    if period_start is not None and (year is not None or month is not None):
        raise Refused(
            "a billing period can't be asked for together with a year or month", "Give one or the other.", "period"
        )
    for name, value, most in (("year", year, 9999), ("month", month, 12)):
        if value is not None and not 1 <= value <= most:
            raise Refused(f"{name} must be 1 to {most}, not {value}", "Correct it.", "period")
    if period_start is not None and period_start < 0:
        raise Refused(f"a period can't start at {period_start}", "Give Unix seconds.", "period")
    asked = {"year": year, "month": month, "periodStartUnix": period_start}
    return {name: str(value) for name, value in asked.items() if value is not None}
