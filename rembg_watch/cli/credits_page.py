"""How credits read. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_watch.cli.show import Block, Grid, Line, count, duration, moment, name, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_watch.api.usage import BillingCycle, MembershipUsage
    from rembg_watch.jobs.ledger import Reconciliation, Spent


def usage_page(usage: MembershipUsage, now: float, *, month: tuple[int, int] | None, period: int | None) -> list[Block]:
    """Lay out what the account has and has used."""
    membership = text(usage.membership) or "unknown"
    cycle = usage.billing_cycle
    if month is not None:
        return [
            Line(f"membership: {membership}"),
            Line(f"{month[0]:04}-{month[1]:02} (UTC): {_use(usage.month_api_usage, usage.month_app_usage)}"),
        ]
    if period is not None:
        window = "" if cycle is None else f" to {moment(cycle.period_end)}"
        return [
            Line(f"membership: {membership}"),
            Line(f"{moment(period)}{window}: {_use(usage.month_api_usage, usage.month_app_usage)}"),
        ]
    page: list[Block] = [
        Line(f"{count(usage.available, 'credit')} left", "good" if usage.available else "bad"),
        Line(f"  membership: {membership}, {usage.credits} included, {usage.prepaid_credits} prepaid"),
    ]
    if cycle is not None:
        page.append(Line(f"  cycle:      {moment(cycle.period_start)} to {moment(cycle.period_end)}"))
        if cycle.period_end > now:
            page.append(Line(f"  renewal:    in {duration(cycle.period_end - now)}"))
    page.append(Line(f"  used:       {_use(usage.api_usage, usage.app_usage)}"))
    if usage.enforced is None:
        page.append(Line("  The billing cycle is not synced: this is counted by the UTC calendar month.", "warn"))
    return page


def _use(api: int, app: int) -> str:
    return f"{count(api, 'image')} with API keys, {app} in the web editor"


def cycles_page(cycles: Sequence[BillingCycle]) -> list[Block]:
    """Lay out the list of billing cycles."""
    if not cycles:
        return [Line("No billing cycles.")]
    rows = [
        (
            moment(cycle.period_start),
            moment(cycle.period_end),
            str(cycle.api_usage),
            str(cycle.app_usage),
            str(cycle.period_start),
        )
        for cycle in cycles
    ]
    return [Grid(("from", "to", ">api", ">web editor", ">--period"), rows)]


def report_page(rows: Sequence[Spent], by: str, account: Reconciliation) -> list[Block]:
    """Lay out what was spent from here, and what the account says beside it."""
    if not rows:
        return [Line("Nothing was spent from here.")]
    table = [(name(row.key), str(row.charged), str(row.possibly), str(row.saved)) for row in rows]
    sums = [str(sum(numbers)) for numbers in zip(*((r.charged, r.possibly, r.saved) for r in rows), strict=True)]
    page: list[Block] = [Grid((by, ">charged", ">possibly charged", ">saved"), [*table, ("total", *sums)])]
    if any(row.possibly for row in rows):
        page.append(Line("possibly charged: sent, but the answer never came; the service may have counted it or not."))
    if account.first_at is None or account.last_at is None or account.readings < 2:
        return page
    page += [
        Line(),
        Line(f"the account from {moment(account.first_at)} to {moment(account.last_at)}", "title"),
        Line(f"  used with API keys:   {account.account}, from here {account.ours}"),
        Line(f"  used in the editor:   {account.editor}"),
    ]
    if account.others:
        ours = f" (or by the {account.possibly} possibly charged)" if account.possibly else ""
        page.append(Line(f"  used by somebody else: {account.others}{ours}", "warn"))
    if account.uncounted:
        page.append(Line(f"  thought charged here, but not (yet) counted by the account: {account.uncounted}"))
    return page
