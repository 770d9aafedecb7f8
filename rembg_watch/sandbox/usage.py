"""The answers of ``GET /api/membership-usage``, in every mode. Pure: account, query and time in, JSON out."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rembg_watch.sandbox.account import CYCLE_SECONDS, Account
from rembg_watch.sandbox.texts import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

CYCLES_LISTED = 3
_YES = ("1", "true")


def usage_answer(account: Account, query: Mapping[str, str], now: float) -> dict[str, object] | Refusal:
    """Answer one usage call. A refusal is about the query; the key was checked before."""
    if query.get("listBillingCycles", "").lower() in _YES:
        return {"billingCycles": _cycles(account, now)}
    window = _window(query, now)
    if isinstance(window, Refusal):
        return window
    used = account.used(*window)
    answer: dict[str, object] = {
        "membership": account.membership,
        "credits": account.included,
        "prepaidCredits": account.prepaid,
        "app_usage": used["app"],
        "api_usage": used["api"],
    }
    if _wants_cycle(query):
        answer["billingCycle"] = _billing_cycle(account, query, window, now)
    return answer


def month_window(year: int, month: int) -> tuple[int, int]:
    """Give the first and the last second of a UTC calendar month, as Unix time."""
    days = calendar.monthrange(year, month)[1]
    start = calendar.timegm((year, month, 1, 0, 0, 0))
    return start, start + days * 86_400 - 1


def _wants_cycle(query: Mapping[str, str]) -> bool:
    expanded = [part.strip() for part in query.get("expand", "").split(",")]
    return "billing_cycle" in expanded or query.get("includeBillingCycle", "").lower() in _YES


def _integer(query: Mapping[str, str], name: str, low: int, high: int, default: int) -> int | Refusal:
    text = query.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        return Refusal(400, f"'{name}' must be an integer, got: '{text}'", name)
    if not low <= value <= high:
        return Refusal(400, f"'{name}' must be between {low} and {high}, got: {value}", name)
    return value


def _window(query: Mapping[str, str], now: float) -> tuple[int, int] | Refusal:
    if "periodStartUnix" in query:
        if "year" in query or "month" in query:
            return Refusal(400, "Cannot use 'periodStartUnix' together with 'year' or 'month'.", "periodStartUnix")
        start = _integer(query, "periodStartUnix", 0, 253_402_300_799, 0)
        return start if isinstance(start, Refusal) else (start, start + CYCLE_SECONDS - 1)
    today = datetime.fromtimestamp(now, UTC)
    year = _integer(query, "year", 1, 9999, today.year)
    month = _integer(query, "month", 1, 12, today.month)
    if isinstance(year, Refusal):
        return year
    if isinstance(month, Refusal):
        return month
    return month_window(year, month)


def _billing_cycle(
    account: Account, query: Mapping[str, str], window: tuple[int, int], now: float
) -> dict[str, object]:
    if "periodStartUnix" not in query:
        today = datetime.fromtimestamp(now, UTC)
        window = account.cycle(now) if account.synced else month_window(today.year, today.month)
    used = account.used(*window)
    total = sum(used.values())
    return {
        "periodStartUnix": window[0],
        "periodEndUnix": window[1],
        "appUsage": used["app"],
        "apiUsage": used["api"],
        "includedCredits": account.included,
        "prepaidCredits": account.prepaid,
        "usedIncludedCredits": total,
        "remainingIncludedCredits": max(0, account.included - total),
        "stripeBillingSynced": account.synced,
    }


def _cycles(account: Account, now: float) -> list[dict[str, int]]:
    newest = account.cycle(now)[0]
    listed = []
    for back in range(CYCLES_LISTED):
        start = newest - back * CYCLE_SECONDS
        used = account.used(start, start + CYCLE_SECONDS - 1)
        listed.append(
            {
                "periodStartUnix": start,
                "periodEndUnix": start + CYCLE_SECONDS - 1,
                "appUsage": used["app"],
                "apiUsage": used["api"],
            }
        )
    return listed
