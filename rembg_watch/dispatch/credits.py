"""How many images may be sent now. Pure arithmetic on the last reading of the account; nothing here asks the API.

A reading says what the account had at one instant. Requests that were under way then may be in it or not, so each of
them counts against it, as does every permit given since; one that turns out not to have been charged is given back.
So the sum can be too careful by what was in flight, and never too bold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Balance:
    """The account at the last good reading. ``at`` is Unix seconds; ``given`` are permits that count against it."""

    available: int
    at: float
    given: int = 0
    period_end: float | None = None

    @property
    def left(self) -> int:
        """What is surely left, in images."""
        return self.available - self.given


@dataclass(frozen=True, slots=True)
class Limits:
    """What the config allows, in images; ``max_staleness`` in seconds."""

    reserve: int = 0
    daily: int | None = None
    monthly: int | None = None
    max_staleness: float = 600.0


@dataclass(frozen=True, slots=True)
class Grant:
    """How many images may be sent now. Where none may, ``kind`` and ``message`` say why, ``release`` what ends it."""

    count: int
    kind: str = ""
    message: str = ""
    release: str = ""
    until: float | None = None
    """Unix seconds at which it ends by itself, where that is known."""


def day_start(now: float) -> float:
    """Give the start of the UTC day, in Unix seconds."""
    return datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def next_day(now: float) -> float:
    """Give the start of the next UTC day, in Unix seconds."""
    return day_start(now) + 86400


def month_start(now: float) -> float:
    """Give the start of the UTC month, in Unix seconds."""
    return datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def next_month(now: float) -> float:
    """Give the start of the next UTC month, in Unix seconds."""
    start = datetime.fromtimestamp(month_start(now), UTC) + timedelta(days=32)
    return start.replace(day=1).timestamp()


def permits(balance: Balance | None, limits: Limits, *, now: float, today: int, month: int, unsent: int) -> Grant:
    """Give how many more images may be sent.

    Args:
        balance: the last good reading, or None where there has been none.
        limits: from the config.
        now: Unix seconds.
        today: images charged or possibly charged in this UTC day, those in flight included.
        month: likewise in this UTC month.
        unsent: permits that were given and whose image has not been sent yet.
    """
    if balance is None or now - balance.at > limits.max_staleness:
        return Grant(
            0, "usage", "the credits can't be read", "it is tried again by itself; see the service's state", now + 30
        )
    most = [
        (
            balance.left - limits.reserve,
            "credits",
            f"{max(0, balance.left)} credits are left"
            + (f", the reserve is {limits.reserve}" if limits.reserve else ""),
            "buy credits, wait for the renewal, or lower credits.reserve; it is looked at every 30 s",
            balance.period_end,
        ),
    ]
    if limits.daily is not None:
        left = limits.daily - today - unsent
        most.append((left, "daily-limit", f"the daily limit of {limits.daily} images is reached", "", next_day(now)))
    if limits.monthly is not None:
        left = limits.monthly - month - unsent
        text = f"the monthly limit of {limits.monthly} images is reached"
        most.append((left, "monthly-limit", text, "", next_month(now)))
    count, kind, message, release, until = min(most)
    if count > 0:
        return Grant(count)
    if not release:
        assert until is not None
        release = f"a new UTC {'day' if kind == 'daily-limit' else 'month'}, or a higher limit in the config"
    return Grant(0, kind, message, release, until)


class Purse:
    """The balance and the permits that are out. Not safe for threads: its owner holds a lock."""

    def __init__(self) -> None:
        self.balance: Balance | None = None
        self.outstanding = 0
        """Permits that were given and have not ended."""
        self.unsent = 0
        """Those among them whose image has not been sent yet."""
        self._reading: int | None = None

    def begin_reading(self) -> None:
        """Note what is out when the usage call starts: all of it counts against what the call will say."""
        self._reading = self.outstanding

    def end_reading(self, available: int, at: float, period_end: float | None) -> None:
        """Take over a good reading that was begun with :meth:`begin_reading`."""
        given = self._reading if self._reading is not None else self.outstanding
        self.balance = Balance(available, at, max(0, given), period_end)
        self._reading = None

    def fail_reading(self) -> None:
        """Go on with the reading before, less what was given since."""
        self._reading = None

    def give(self, count: int) -> None:
        """Count permits that were given."""
        self.outstanding += count
        self.unsent += count
        self._count(count)

    def sent(self) -> None:
        """Count an image that is on its way: from here on the ledger knows it."""
        self.unsent -= 1

    def end(self, *, spent: bool, was_sent: bool) -> None:
        """Count the end of a permit; one that was not ``spent`` (surely not charged) can be given again."""
        self.outstanding -= 1
        if not was_sent:
            self.unsent -= 1
        if not spent:
            self._count(-1)

    def shift(self, seconds: float, now: float = float("inf")) -> None:
        """Follow a jump of the clock, so that the reading keeps its age; none is of the future."""
        if self.balance is not None:
            self.balance = replace(self.balance, at=min(self.balance.at + seconds, now))

    def _count(self, change: int) -> None:
        if self._reading is not None:
            self._reading += change
        if self.balance is not None:
            self.balance = replace(self.balance, given=max(0, self.balance.given + change))
