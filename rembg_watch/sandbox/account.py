"""The account behind the key: its credits, its billing cycle, and who used them.

Pure: the time is handed in as Unix seconds. Rules, as the API documentation gives them: included credits are used
first and come back with each cycle; the prepaid balance comes next and does not; use that is paid from the prepaid
balance is in none of the usage counts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

CYCLE_SECONDS = 30 * 86_400
"""The length of a billing cycle here. The real ones are calendar months."""
USES = ("app", "api")
"""Where a credit went: the web editor, or a program with a key."""


@dataclass
class Account:
    """``included`` credits for each cycle, ``prepaid`` ones beside them; ``renewal`` is when the next cycle begins."""

    included: int
    prepaid: int
    renewal: int
    membership: str = "Sandbox"
    synced: bool = True
    reserved: int = 0
    charged: int = 0
    _used: Counter[tuple[int, str]] = field(default_factory=Counter)

    def cycle(self, now: float) -> tuple[int, int]:
        """Give the first and the last second of the cycle that ``now`` is in."""
        late = max(0, int((now - self.renewal) // CYCLE_SECONDS) + 1)
        start = self.renewal + (late - 1) * CYCLE_SECONDS
        return start, start + CYCLE_SECONDS - 1

    def renew(self, now: float) -> None:
        """Begin a new cycle now; all included credits are back."""
        self.renewal = int(now) + CYCLE_SECONDS
        # What was used in this very second would otherwise count in the new cycle too.
        for at, use in [key for key in self._used if key[0] >= int(now)]:
            self._used[int(now) - 1, use] += self._used.pop((at, use))

    def used(self, first: int, last: int) -> dict[str, int]:
        """Count the included credits used in a span of seconds, both ends in it, as ``{"app": n, "api": m}``."""
        counts = dict.fromkeys(USES, 0)
        for (at, use), number in self._used.items():
            if first <= at <= last:
                counts[use] += number
        return counts

    def included_left(self, now: float) -> int:
        return max(0, self.included - sum(self.used(*self.cycle(now)).values()))

    def left(self, now: float) -> int:
        return self.included_left(now) + self.prepaid

    def set_left(self, credits_left: int, now: float) -> None:
        """Change the allowance so that exactly this many included credits are left; the prepaid balance stays."""
        self.included = credits_left + sum(self.used(*self.cycle(now)).values())

    def reserve(self, now: float) -> bool:
        """Set one credit aside for an image that is being worked on; False if none is left."""
        if self.left(now) <= self.reserved:
            return False
        self.reserved += 1
        return True

    def settle(self, now: float, *, charge: bool, use: str = "api") -> None:
        """End a reservation: the credit is spent, or it is free again."""
        self.reserved -= 1
        if charge:
            self.charged += 1
            self._spend_one(now, use)

    def spend(self, number: int, now: float, use: str = "app") -> int:
        """Spend credits from elsewhere, as far as they go; give how many were spent."""
        number = max(0, min(number, self.left(now) - self.reserved))
        for _ in range(number):
            self._spend_one(now, use)
        return number

    def _spend_one(self, now: float, use: str) -> None:
        if self.included_left(now) > 0:
            self._used[int(now), use] += 1
        else:
            self.prepaid -= 1
