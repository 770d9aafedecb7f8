"""Permits: never more than what is surely left, less the reserve and the limits, in whatever order things happen."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rembg_watch.dispatch.credits import Balance, Limits, Purse, day_start, month_start, next_day, next_month, permits

counts = st.integers(0, 50)
maybe = st.none() | counts
NOON = datetime(2026, 2, 28, 12, tzinfo=UTC).timestamp()


@given(
    available=counts,
    given_out=counts,
    reserve=counts,
    daily=maybe,
    monthly=maybe,
    today=counts,
    month=counts,
    unsent=counts,
    age=st.floats(0, 1200),
)
def test_never_more_than_every_bound_allows(available, given_out, reserve, daily, monthly, today, month, unsent, age):
    """A grant is the smallest of: left less reserve, what the day and what the month allow; and nothing on a stale reading."""
    balance = Balance(available, NOON - age, given_out, NOON + 5000)
    grant = permits(balance, Limits(reserve, daily, monthly, 600.0), now=NOON, today=today, month=month, unsent=unsent)
    bounds = [available - given_out - reserve]
    bounds += [daily - today - unsent] if daily is not None else []
    bounds += [monthly - month - unsent] if monthly is not None else []
    if age > 600.0:
        assert (grant.count, grant.kind) == (0, "usage")
    else:
        assert grant.count == max(0, min(bounds))
    if grant.count == 0:
        assert grant.kind in {"usage", "credits", "daily-limit", "monthly-limit"}
        assert grant.message
        assert grant.release
        assert grant.until is not None


def test_without_a_reading_nothing_is_granted():
    """Before the account was read once, no image may be sent."""
    grant = permits(None, Limits(), now=NOON, today=0, month=0, unsent=0)
    assert (grant.count, grant.kind) == (0, "usage")


@given(st.datetimes(datetime(2001, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - it is given
def test_days_and_months_are_those_of_utc(moment):
    """The day and the month begin at midnight UTC, and the next ones right where they end."""
    now = moment.timestamp()
    start, end = (datetime.fromtimestamp(at, UTC) for at in (month_start(now), next_month(now)))
    assert day_start(now) <= now < next_day(now)
    assert month_start(now) <= day_start(now)
    assert next_day(now) <= next_month(now)
    assert (start.year, start.month, start.day, start.hour) == (moment.year, moment.month, 1, 0)
    assert end.day == 1
    assert end.hour == 0
    assert (end - start).days in {28, 29, 30, 31}


class Bank(RuleBasedStateMachine):
    """The real account beside the purse: photos are charged at any time between their sending and their end."""

    def __init__(self):
        super().__init__()
        self.purse = Purse()
        self.account = 30
        self.out = []  # [sent, charged] of each permit
        self.reading = None
        self.overdrawn = False

    def permitted(self):
        if self.purse.balance is None:
            return 0
        return permits(self.purse.balance, Limits(), now=0.0, today=0, month=0, unsent=self.purse.unsent).count

    @precondition(lambda self: self.reading is None)
    @rule()
    def begin_reading(self):
        self.purse.begin_reading()
        self.reading = []

    @precondition(lambda self: self.reading == [])
    @rule()
    def account_answers(self):
        self.reading = [self.account]

    @precondition(lambda self: bool(self.reading))
    @rule(good=st.booleans())
    def end_reading(self, good):
        if good:
            self.purse.end_reading(self.reading[0], 0.0, None)
        else:
            self.purse.fail_reading()
        self.reading = None

    @rule(wanted=st.integers(1, 12))
    def give(self, wanted):
        count = min(wanted, self.permitted())
        if count > 0:
            self.purse.give(count)
            self.out += [[False, False] for _ in range(count)]

    @precondition(lambda self: any(not sent for sent, _ in self.out))
    @rule()
    def send(self):
        next(permit for permit in self.out if not permit[0])[0] = True
        self.purse.sent()

    @precondition(lambda self: any(sent and not charged for sent, charged in self.out))
    @rule()
    def charge(self):
        permit = next(permit for permit in self.out if permit[0] and not permit[1])
        permit[1] = True
        self.account -= 1

    @precondition(lambda self: bool(self.out))
    @rule(index=st.integers(0, 1000), doubt=st.booleans())
    def end(self, index, doubt):
        sent, charged = self.out.pop(index % len(self.out))
        self.purse.end(spent=charged or (sent and doubt), was_sent=sent)

    @rule(number=st.integers(1, 20))
    def top_up(self, number):
        self.account += number

    @invariant()
    def never_overdrawn(self):
        assert self.account >= 0
        assert self.account - sum(not charged for _, charged in self.out) >= 0
        assert self.purse.outstanding == len(self.out)
        assert self.purse.unsent == sum(not sent for sent, _ in self.out)
        assert self.permitted() <= self.account - sum(not charged for _, charged in self.out)


TestBank = Bank.TestCase


@given(st.floats(-1e6, 1e6))
def test_a_jump_of_the_clock_leaves_the_readings_age(seconds):
    """When the clock is set, the reading moves along."""
    purse = Purse()
    purse.shift(seconds)
    purse.begin_reading()
    purse.end_reading(5, 1000.0, None)
    purse.shift(seconds)
    assert purse.balance.at == 1000.0 + seconds
