"""How many images may be sent: never more than what is surely left, less the reserve and the limits."""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from rembg_watch.config.model import ApiConfig, CreditsConfig
from rembg_watch.dispatch.budget import Account, Budget, Reading, allowed, day_start, month_start, not_shown
from rembg_watch.dispatch.holds import Holds, Timings
from rembg_watch.dispatch.runtime import LiveRuntime
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.status_table import StatusTable
from rembg_watch.systemd import Heartbeats

counts = st.integers(0, 50)
maybe = st.none() | st.integers(1, 50)
WINDOW = 190.0
"""Seconds for which the account's count may lag: ``connect_timeout`` and ``read_timeout``."""


@given(left=st.integers(-20, 50), reserve=counts, daily=maybe, monthly=maybe, today=counts, month=counts)
def test_never_more_than_every_bound_allows(left, reserve, daily, monthly, today, month):
    """A grant is the smallest of: left less reserve, what the day and what the month allow."""
    limits = CreditsConfig(reserve=reserve, daily_limit=daily, monthly_limit=monthly)
    grant = allowed(left, limits, today=today, month=month)
    bounds = {"credits": left - reserve}
    bounds |= {} if daily is None else {"daily-limit": daily - today}
    bounds |= {} if monthly is None else {"monthly-limit": monthly - month}
    assert grant.count == max(0, min(bounds.values()))
    if grant.count == 0:
        assert bounds[grant.kind] <= 0
        assert grant.message
        assert grant.release


@given(st.datetimes(datetime(2001, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - it is given
def test_days_and_months_are_those_of_utc(moment):
    """The day and the month begin at midnight UTC."""
    now = moment.timestamp()
    start = datetime.fromtimestamp(month_start(now), UTC)
    assert month_start(now) <= day_start(now) <= now < day_start(now) + 86400
    assert (start.year, start.month, start.day, start.hour) == (moment.year, moment.month, 1, 0)


def reading(used, prepaid=0, period=1.0):
    return Reading("account", 0.0, 1000, used, prepaid, period)


def test_prepaid_credits_and_a_top_up():
    """What prepaid credits pay for shows in their balance; buying some hides nothing that is counted."""
    assert not_shown(reading(103, 45), reading(100, 50), between=8, recent=8) == 0
    assert not_shown(reading(105, 500), reading(103, 45), between=2, recent=2) == 0
    assert not_shown(reading(104, 500), reading(103, 45), between=2, recent=2) == 1


def test_another_period_shows_nothing():
    """A count that begins at 0 in a new billing period can't be compared: all that is recent may be missing."""
    assert not_shown(reading(3, period=2.0), reading(100), between=9, recent=7) == 7
    assert not_shown(reading(3), None, between=9, recent=7) == 7


class Books:
    """An account whose count lags, our ledger of it, and the budget that is made of both. Times are invented."""

    def __init__(self, folder):
        self.database = Database(Path(folder) / "jobs.db")
        self.ledger = Ledger(self.database)
        self.budget = Budget(self.ledger)
        config = SimpleNamespace(api=ApiConfig(connect_timeout=10, read_timeout=180), credits=CreditsConfig())
        self.runtime = SimpleNamespace(config=config, account="account")
        live, wake = LiveRuntime(self.runtime), SimpleNamespace(set=lambda: None)
        parts = SimpleNamespace(
            live=live, budget=self.budget, holds=Holds(Timings(), wake), ledger=self.ledger, wake_producer=wake
        )
        self.account = Account(parts, StatusTable(self.database), Heartbeats())
        self.now = 1_000_000.0
        self.total, self.others = 1000, 0
        self.sent = {}
        """By the ledger's row: when it was sent, and when the account counts it; None where it never does."""

    def send(self):
        row = self.database.write(
            lambda db: (
                db.execute(
                    "INSERT INTO attempts (job_id, folder, profile, fingerprint, sent_at, charge)"
                    " VALUES (1, 'f', 'p', 'f', ?, 'possibly charged')",
                    (self.now,),
                ).lastrowid
            )
        )
        self.budget.sent(1)
        self.sent[row] = [self.now, None]

    def end(self, charge, lag=0.0):
        """End the oldest request in flight; the account counts it ``lag`` seconds from now."""
        row = next((row for row, (_, counted) in self.sent.items() if counted is None), None)
        if row is None:
            return
        if charge == "not charged":
            self.budget.not_charged(self.sent.pop(row)[0])
        else:
            self.sent[row][1] = self.now + lag
        self.database.write(
            lambda db: db.execute("UPDATE attempts SET ended_at = ?, charge = ? WHERE id = ?", (self.now, charge, row))
        )

    def read(self):
        used = self.others + sum(counted is not None and counted <= self.now for _, counted in self.sent.values())
        usage = SimpleNamespace(
            available=self.total - used,
            api_usage=used,
            app_usage=0,
            prepaid_credits=0,
            period_start=1.0,
            period_end=2.0,
            membership="m",
            enforced=True,
        )
        self.account._take(self.runtime, usage, self.now)

    @property
    def really_left(self):
        """What is left when everything that was sent and may be charged has been counted."""
        return self.total - self.others - len(self.sent)


steps = st.lists(
    st.tuples(st.sampled_from(["send", "charged", "possibly charged", "not charged", "read", "pass"]), st.floats(0, 1)),
    max_size=40,
)


@settings(max_examples=150)
@given(steps)
def test_what_is_left_is_never_overestimated(events):
    """Whatever is in flight, charged late, or not charged at all: no more is granted than the account will have."""
    with tempfile.TemporaryDirectory() as folder:
        books = Books(folder)
        with closing(books.database):
            books.read()
            for what, part in events:
                books.now += 0.01
                match what:
                    case "send":
                        books.send()
                    case "read":
                        books.read()
                    case "pass":
                        books.now += part * 1.5 * WINDOW
                    case charge:
                        books.end(charge, lag=part * WINDOW)
                assert books.budget.left <= books.really_left
            while any(counted is None for _, counted in books.sent.values()):
                books.end("charged")
            books.now += 2 * WINDOW
            books.read()
            assert books.budget.left == books.really_left


def test_a_count_that_lags_behind_a_busy_hour(tmp_path):
    """What the account counts late is not taken for what was sent since: each image is expected in the count once."""
    books = Books(tmp_path)
    with closing(books.database):
        for _ in range(10):
            books.send()
            books.end("charged", lag=5.0)
        books.now += 1
        books.read()
        books.now += WINDOW + 10
        for _ in range(10):
            books.send()
            books.end("charged", lag=5.0)
        books.now += 1
        books.read()
        assert books.budget.left == books.really_left == 980


def test_a_request_that_takes_longer_than_any_lag_still_counts(tmp_path):
    """A large photo on a slow line was sent minutes before the reading, and is charged after it."""
    books = Books(tmp_path)
    with closing(books.database):
        books.send()
        books.now += 3 * WINDOW
        books.read()
        books.read()
        assert books.budget.left == books.really_left == 999


def test_what_others_use_hides_no_later_image(tmp_path):
    """However much others used up to a reading, what we send after it must show in the count."""
    books = Books(tmp_path)
    with closing(books.database):
        books.read()
        books.others = 500
        books.read()
        for _ in range(6):
            books.send()
            books.end("charged", lag=60.0)
        books.read()
        assert books.budget.left == books.really_left == 494


def test_a_restart_remembers_what_may_still_come(tmp_path):
    """The reading before a restart was stored: what was in flight then counts against the first one after it."""
    books = Books(tmp_path)
    with closing(books.database):
        books.read()
        for _ in range(4):
            books.send()
            books.end("possibly charged", lag=100.0)
        books.account._last, books.budget.reading = None, None
        books.now += 5
        books.read()
        assert books.budget.left == books.really_left == 996


def test_a_failed_reading_leaves_the_last_one_until_it_is_stale(tmp_path):
    """The last balance serves for another batch, less what was sent since; not for longer than ``max_staleness``."""
    books = Books(tmp_path)
    with closing(books.database):
        books.read()
        assert books.budget.needs_reading(SimpleNamespace(account="another"), 15.0)
        assert not books.budget.needs_reading(books.runtime, 15.0)
        for _ in range(CreditsConfig().batch_size):
            books.send()
        assert books.budget.needs_reading(books.runtime, 15.0)
        assert books.budget.go_on(books.runtime.config)
        assert not books.budget.needs_reading(books.runtime, 15.0)
        books.budget._read_at -= CreditsConfig().max_staleness + 1
        assert not books.budget.go_on(books.runtime.config)
