"""The account as the dispatcher sees it: readings of the usage call, and the permits that are given on them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from rembg_watch.dispatch.credits import Grant, Limits, Purse, day_start, month_start, permits
from rembg_watch.dispatch.unseen import Unseen
from rembg_watch.errors import ApiError
from rembg_watch.jobs.ledger import UsageCheck

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.api.client import RembgClient
    from rembg_watch.api.usage import MembershipUsage
    from rembg_watch.config.model import Config
    from rembg_watch.jobs.board import Board
    from rembg_watch.jobs.ledger import Ledger

BATCH_SECONDS = 60.0
"""A reading is good for one batch, and for no longer than this."""

NOTE_SECONDS = 5.0
"""A reading is written down at most this often: fast batches would write more than they send."""
AGAIN_SECONDS = 15.0
"""Between two usage calls while they fail and the last reading still serves."""

Whose = tuple[str, str, str | None]
"""What tells one account from another: where it is asked and sent to, and with which key."""

log = structlog.get_logger()


def whose(config: Config) -> Whose:
    """Say which account a config is for."""
    return config.api.url, config.api.usage_url, config.key


class Account:
    """Readings and permits. Safe for threads; times are Unix seconds."""

    def __init__(
        self,
        config: Callable[[], Config],
        client: Callable[[], RembgClient],
        ledger: Ledger,
        board: Board,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._client = client
        self._ledger = ledger
        self._board = board
        self._clock = clock
        self._lock = threading.Lock()
        self._purse = Purse()
        self._unseen = Unseen()
        self._batch_left = 0
        self._warned = False
        self._failed_at: float | None = None
        self._asked: Whose | None = None
        """Whose account the last usage call asked about, however it ended."""
        self._call = threading.Lock()
        self._ahead = False
        self._noted_at = 0.0
        self._born = clock()

    def left(self) -> int | None:
        """Give what is surely left, in images, or None before the first reading."""
        with self._lock:
            return None if self._purse.balance is None else self._purse.balance.left

    def outstanding(self) -> int:
        """Count the permits that are out."""
        with self._lock:
            return self._purse.outstanding

    def read(self) -> int:
        """Ask the API what is left (a free call), and begin a new batch; gives what is available, in images.

        Raises:
            ApiError: no reading was to be had; the one before stands.
        """
        with self._call:
            return self._read()

    def look_ahead(self) -> None:
        """Take the first reading with a new key before a photo needs it; nothing where that is done or under way.

        Raises:
            ApiError: no reading was to be had.
        """
        if self._asked == self._whose() or not self._call.acquire(blocking=False):
            return
        try:
            self._ahead = True
            self._read()
        finally:
            self._ahead = False
            self._call.release()

    def is_looking_ahead(self) -> bool:
        """Tell whether another thread reads at this moment: nobody else should, and wait for it."""
        return self._ahead

    def _whose(self) -> Whose:
        return whose(self._config())

    def _read(self) -> int:
        while True:
            asked = self._whose()
            try:
                available = self._read_of(asked)
            except ApiError:
                if asked == self._whose():
                    raise
            else:
                if asked == self._whose():
                    return available
            # A reload came in between: what was said of the account of before is nothing to this one.

    def _read_of(self, asked: Whose) -> int:
        with self._lock:
            if self._asked != asked:
                self._purse.balance, self._unseen = None, Unseen()
            self._asked = asked
            self._purse.begin_reading()
            self._unseen.begin_reading(self._purse.outstanding)
        at, client = self._clock(), self._client()
        try:
            usage = client.membership_usage(billing_cycle=True)
        except ApiError:
            with self._lock:
                self._purse.fail_reading()
                self._failed_at = self._clock()
            raise
        # What an earlier process sent, or we did, the service may be about to count.
        config = self._config()
        since = at - config.api.connect_timeout - config.api.read_timeout
        late = self._ledger.spent_between(since, self._born)
        with self._lock:
            late += self._unseen.end_reading(usage.api_usage, usage.prepaid_credits, since)
            self._purse.end_reading(usage.available - late, at, usage.period_end)
            self._batch_left = self._config().credits.batch_size
            self._failed_at = None
        if at - self._noted_at >= NOTE_SECONDS or at < self._noted_at:
            self._noted_at = at
            self._note(usage, at)
        self._warn(usage.available)
        return usage.available

    def _note(self, usage: MembershipUsage, at: float) -> None:
        """Write the reading down: for ``status``, and beside our own count for the reconciliation."""
        charged, possibly = self._ledger.running_totals(at)
        self._ledger.note_usage(
            UsageCheck(
                at,
                usage.available,
                usage.api_usage,
                usage.app_usage,
                usage.period_start,
                usage.period_end,
                charged,
                possibly,
            )
        )
        self._board.set_fact(
            "credits",
            {
                "available": usage.available,
                "at": at,
                "membership": usage.membership,
                "source": "billing" if usage.enforced else "calendar",
                "period_end": usage.period_end,
                "reserve": self._config().credits.reserve,
            },
            at,
        )

    def _warn(self, available: int) -> None:
        threshold = self._config().credits.warn_below
        if available >= threshold:
            self._warned = False
        elif not self._warned:
            self._warned = True
            log.warning(
                "credits.low", available=available, warn_below=threshold, hint="buy credits before they run out"
            )

    def needs_reading(self) -> bool:
        """Tell whether the batch is used up, its reading too old to begin another image on it, or of another key."""
        if self._asked != self._whose():
            return True
        with self._lock:
            balance = self._purse.balance
            if balance is not None and self._failed_at is not None and self._clock() - self._failed_at < AGAIN_SECONDS:
                return False  # a call that fails, perhaps slowly, must not hold up each batch that the last one allows
            return self._batch_left <= 0 or balance is None or self._clock() - balance.at > BATCH_SECONDS

    def is_cautious(self) -> bool:
        """Tell whether a new reading could show more: permits count against the last one that may be in it as well."""
        with self._lock:
            return self._purse.balance is not None and self._purse.balance.given > 0

    def grant(self) -> Grant:
        """Say how many images may be sent now, at most the rest of the batch."""
        now, settings = self._clock(), self._config().credits
        limits = Limits(settings.reserve, settings.daily_limit, settings.monthly_limit, settings.max_staleness)
        with self._lock:
            unsent = self._purse.unsent  # before the ledger: a photo that is sent in between counts twice, not never
        today = self._ledger.spent_since(day_start(now)) if limits.daily is not None else 0
        month = self._ledger.spent_since(month_start(now)) if limits.monthly is not None else 0
        with self._lock:
            grant = permits(self._purse.balance, limits, now=now, today=today, month=month, unsent=unsent)
            if grant.count <= 0:
                return grant
            # Where the usage call fails, the last good reading serves for one batch after the other.
            return Grant(min(grant.count, self._batch_left if self._batch_left > 0 else settings.batch_size))

    def shift(self, seconds: float) -> None:
        """Follow a jump of the clock."""
        with self._lock:
            self._purse.shift(seconds, self._clock())
            self._unseen.shift(seconds)
            self._failed_at = None

    def give(self, count: int) -> None:
        """Count permits that were given."""
        with self._lock:
            self._purse.give(count)
            self._batch_left -= count

    def sent(self) -> None:
        """Count an image that is on its way."""
        with self._lock:
            self._purse.sent()

    def end(self, *, spent: bool, was_sent: bool) -> None:
        """Count the end of a permit."""
        with self._lock:
            self._purse.end(spent=spent, was_sent=was_sent)
            if spent:
                self._unseen.spend(self._clock())
