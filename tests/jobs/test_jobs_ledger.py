"""The credit ledger, and what the account says beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.jobs.ledger import AttemptEnd, Spent, UsageCheck
from rembg_watch.jobs.model import Charge, How, Output, State
from rembg_watch.jobs.reconcile import reconcile

DAY = 86400.0


@pytest.fixture
def spend(arrive, claim, store, deliver):
    """Send one photo; with no charge given its answer never comes."""

    def _spend(path, charge=None, *, folder="/srv/inbox", profile="white", now=1001.0):
        arrive(path, folder=folder, profile=profile)
        (job,) = claim()
        if charge is Charge.CHARGED:
            deliver(job, now)
            return
        attempt = store.mark_sent(job, "hash", "/o", "/t", now)
        if charge is not None:
            store.end(job, State.FAILED, now, attempt=(attempt, AttemptEnd(charge)))

    return _spend


def test_each_attempt_has_one_charge(spend, ledger):
    """Charged, not charged, and what can't be known: an attempt without an answer."""
    spend("a.jpg", Charge.CHARGED)
    spend("b.jpg", Charge.NOT_CHARGED)
    spend("c.jpg")
    assert ledger.totals() == (1, 1)
    assert ledger.spent_since(0.0) == 2


def test_limits_count_what_may_have_been_charged(spend, ledger):
    """Since an instant and by inbox: to be sure, a lost answer counts."""
    spend("a.jpg", Charge.CHARGED, now=1000.0)
    spend("b.jpg", folder="/srv/back\\slash", now=2000.0)
    assert ledger.spent_since(1500.0) == 1
    assert ledger.spent_since(0.0, "/srv/back\\slash") == 1
    assert ledger.spent_since(0.0, "/srv/nowhere") == 0


def test_report_by_folder_profile_and_day(spend, arrive, claim, store, ledger):
    """Sums by heading, sorted, with what was saved by copying a paid result; folders by their names on disk."""
    odd = "/srv/back\\slash"
    spend("a.jpg", Charge.CHARGED, now=1000.0)
    spend("b.jpg", folder=odd, now=DAY + 5)
    arrive("copy.jpg", folder=odd, profile="blue")
    (job,) = claim()
    output = Output("/o/copy.webp", job.id, job.folder, job.path, "h", job.fingerprint, "r", 1, DAY)
    store.finish(job, output, How.REUSED, None, DAY + 9)
    assert ledger.report("folder") == [Spent(odd, 0, 1, 1), Spent("/srv/inbox", 1, 0, 0)]
    assert ledger.report("profile") == [Spent("blue", 0, 0, 1), Spent("white", 1, 1, 0)]
    assert ledger.report("day") == [Spent("1970-01-01", 1, 0, 0), Spent("1970-01-02", 0, 1, 1)]
    assert ledger.report("folder", since=DAY) == [Spent(odd, 0, 1, 1)]


def test_readings_are_kept_for_400_days(ledger):
    """In their order; older ones are forgotten."""
    for day in (0, 10, 405):
        ledger.note_usage(check(at=day * DAY, api=day))
    assert [reading.api_usage for reading in ledger.usage_checks()] == [10, 405]
    assert [reading.api_usage for reading in ledger.usage_checks(since=100 * DAY)] == [405]


def check(at=0.0, *, api=0, app=0, period=0.0, charged=0, possibly=0):
    return UsageCheck(at, 100, api, app, period, None, charged, possibly)


def test_no_or_one_reading_says_nothing():
    """There is no growth to compare."""
    assert reconcile([]).readings == 0
    single = reconcile([check(api=50, charged=3)])
    assert (single.account, single.ours, single.others, single.uncounted) == (0, 0, 0, 0)


def test_somebody_else_is_seen():
    """The account grew by 30, we sent 10: 20 were somebody else's; the editor's are told apart."""
    told = reconcile([check(1.0, api=100, app=5, charged=50), check(2.0, api=130, app=9, charged=60)])
    assert (told.account, told.ours, told.others, told.uncounted, told.editor) == (30, 10, 20, 0, 4)


def test_what_we_thought_charged_and_was_not():
    """The account grew by less than we counted."""
    told = reconcile([check(1.0), check(2.0, api=7, charged=10)])
    assert (told.others, told.uncounted) == (0, 3)


def test_lag_of_the_account_is_not_somebody_else():
    """The account's count comes late: only the whole growth is compared, not each step's."""
    told = reconcile([check(1.0), check(2.0, api=0, charged=10), check(3.0, api=10, charged=10)])
    assert (told.others, told.uncounted) == (0, 0)


def test_renewal_begins_anew():
    """At a new period the account counts from zero: that is no negative use."""
    told = reconcile(
        [
            check(1.0, api=100),
            check(2.0, api=110, charged=10),
            check(3.0, api=2, charged=12, period=9.0),
            check(4.0, api=5, charged=15, period=9.0),
        ]
    )
    assert (told.account, told.ours, told.others, told.uncounted) == (13, 13, 0, 0)


readings = st.lists(
    st.builds(
        check,
        api=st.integers(0, 1000),
        app=st.integers(0, 1000),
        period=st.sampled_from([0.0, 1.0, None]),
        charged=st.integers(0, 1000),
        possibly=st.integers(0, 50),
    ),
    max_size=12,
)


@given(readings)
def test_sums_agree_whatever_the_readings(checks):
    """Account less ours is others less uncounted, and nothing of it is negative."""
    checks = sorted(checks, key=lambda reading: reading.charged)
    told = reconcile(checks)
    assert told.account - told.ours == told.others - told.uncounted
    assert min(told.account, told.ours, told.others, told.uncounted, told.editor, told.possibly) >= 0


def test_running_totals_are_the_totals(arrive, claim, store, ledger):
    """The sum that is kept for old attempts and the count of new ones make the whole, whenever they are asked."""
    for number, at in enumerate((1000.0, 5000.0, 9000.0, 20_000.0)):
        arrive(f"{number}.jpg")
        (job,) = claim(now=at)
        attempt = store.mark_sent(job, "hash", f"/o/{number}.webp", "/o/.x.part", at)
        assert ledger.running_totals(at + 1) == ledger.totals() == (number, 1)
        store.mark_received(job, attempt, AttemptEnd(Charge.CHARGED), "answer", 20, "/o/.x.part", at + 2)
        assert ledger.running_totals(at + 3) == ledger.totals() == (number + 1, 0)
