"""What the account says it used beside what we say we used. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_watch.jobs.ledger import UsageCheck


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The difference between the first and the last reading. Counts are images.

    ``account`` is the growth of the account's use by API keys, ``editor`` that of the web editor; ``ours`` is what we
    counted as charged in the same time and ``possibly`` what we could not tell. ``others`` is what the account used
    and we did not: another program or person with the account, or images of ours that were possibly charged.
    ``uncounted`` is what we counted as charged and the account does not show (yet).
    """

    readings: int
    first_at: float | None
    last_at: float | None
    account: int
    editor: int
    ours: int
    possibly: int
    others: int
    uncounted: int


def reconcile(checks: Sequence[UsageCheck]) -> Reconciliation:
    """Compare readings of the account, oldest first, with our own count beside them.

    Only readings of one billing period are compared with each other: the account's count begins anew with each. Within
    a period the account's count may lag behind ours, so that only its whole growth says something, not each step's.
    """
    account = editor = ours = others = uncounted = 0
    for stretch in _stretches(checks):
        first, last = stretch[0], stretch[-1]
        api, charged = last.api_usage - first.api_usage, last.charged - first.charged
        account += api
        editor += last.app_usage - first.app_usage
        ours += charged
        others += max(0, api - charged)
        uncounted += max(0, charged - api)
    return Reconciliation(
        readings=len(checks),
        first_at=checks[0].at if checks else None,
        last_at=checks[-1].at if checks else None,
        account=account,
        editor=editor,
        ours=ours,
        possibly=max(0, checks[-1].possibly - checks[0].possibly) if checks else 0,
        others=others,
        uncounted=uncounted,
    )


def _stretches(checks: Sequence[UsageCheck]) -> list[list[UsageCheck]]:
    """Part the readings where the account's count began anew: at a new period, or where it went back."""
    stretches = [[check] for check in checks[:1]]
    for before, check in pairwise(checks):
        anew = (
            check.period_start != before.period_start
            or check.api_usage < before.api_usage
            or check.app_usage < before.app_usage
        )
        if anew:
            stretches.append([check])
        else:
            stretches[-1].append(check)
    return stretches
