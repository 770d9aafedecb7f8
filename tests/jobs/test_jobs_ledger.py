"""The credit ledger, and what the account says beside it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobs_table import Table

from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import RECENT_SECONDS, AttemptEnd, Spent, UsageCheck, Wasted, begin_attempts, end_attempts
from rembg_watch.jobs.ledger import reconcile as compare
from rembg_watch.jobs.model import Charge, How, Key, State

DAY = 86400.0


@pytest.fixture
def spend(table):
    """Send one photo and end its attempt; without a charge the answer never comes."""

    def _spend(path, charge=None, code=None, *, now=1000.0, counted=False, **more):
        job = table.add(path, **more)
        attempt = table.send(job, now)
        if charge is Charge.CHARGED and code is None:
            table.receive(job, attempt, now)
            table.finish(job, now)
        elif charge is not None:
            end = (attempt, AttemptEnd(charge, code, counted=counted))
            table.queue.end(job, State.FAILED, now, attempt=end)
        return job

    return _spend


def test_limits_count_what_may_have_been_charged(spend, table):
    """Since an instant and by inbox; a lost answer counts, and what was surely not charged does not."""
    odd = "/srv/back\\slash"
    spend("a.jpg", Charge.CHARGED)
    spend("b.jpg", Charge.NOT_CHARGED)
    spend("c.jpg", folder=odd, now=2000.0)
    assert table.ledger.totals() == (1, 1)
    assert (table.ledger.spent_since(0.0), table.ledger.spent_since(1500.0)) == (2, 1)
    assert (table.ledger.spent_since(0.0, odd), table.ledger.spent_since(0.0, "/srv/nowhere")) == (1, 0)
    assert table.ledger.spent_by_folder(0.0) == {"/srv/inbox": 1, odd: 1}


def test_an_attempt_ends_once(spend, table):
    """The first end counts: a later one does not change the charge."""
    job = spend("a.jpg", Charge.CHARGED)
    (attempt,) = table.queries.attempts(job.id)
    table.database.write(lambda c: end_attempts(c, [(attempt.id, AttemptEnd(Charge.NOT_CHARGED, "late"))], 2000.0))
    assert table.queries.attempts(job.id) == [attempt]


STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(["/srv/inbox", "/srv/other"])),
    st.tuples(st.just("end"), st.tuples(st.integers(0, 50), st.sampled_from(Charge))),
    st.tuples(st.just("pass"), st.floats(0, 3 * RECENT_SECONDS)),
    st.tuples(st.just("set back"), st.floats(0, 3 * RECENT_SECONDS)),
)


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=40))
def test_what_is_counted_once_equals_the_whole_count(tmp_path_factory, steps):
    """spent_in_period and running_totals: charges corrected while an attempt may last, and a clock that is set back."""
    with Database(tmp_path_factory.mktemp("ledger") / "jobs.db") as database:
        table = Table(database)
        ledger, job = table.ledger, table.add()
        now = DAY
        passed = 0.0
        sent = []
        for step, value in steps:
            if step == "send":
                row = table.add(f"{len(sent)}.jpg", folder=value)
                number = len(sent) + 1
                database.write(lambda c, r=row, n=number, at=now: begin_attempts(c, [(r, table.key(job), n)], at))
                sent.append((passed, number))
            elif step == "end" and sent:
                began, attempt = sent[value[0] % len(sent)]
                if passed - began < RECENT_SECONDS:
                    database.write(lambda c, a=attempt, v=value, at=now: end_attempts(c, [(a, AttemptEnd(v[1]))], at))
            elif step == "pass":
                now, passed = now + value, passed + value
            elif step == "set back":
                now = max(DAY, now - value)
            assert ledger.running_totals(now) == ledger.totals()
            for folder in (None, "/srv/inbox"):  # the budget asks before each photo
                assert ledger.spent_in_period(DAY, now, folder) == ledger.spent_since(DAY, folder)


def test_unsettled_counts_what_a_reading_may_not_show_yet(spend, table):
    """Sent before the reading, and ended after ``since`` or not at all; what was not charged never shows."""
    spend("before.jpg", Charge.CHARGED, now=900.0)
    spend("flying.jpg", now=950.0)
    spend("ended.jpg", Charge.CHARGED, now=1010.0)
    spend("free.jpg", Charge.NOT_CHARGED, now=1010.0)
    spend("later.jpg", now=1100.0)
    assert table.ledger.unsettled(1000.0, 1050.0) == 2


def test_wasted_counts_by_picture_and_options_over_all_jobs(spend, table):
    """Complete answers that are the wrong picture, and counted attempts without one; not what cost nothing."""
    job = spend("a.jpg", Charge.CHARGED, "wrong-size", counted=True)
    spend("a.jpg", Charge.POSSIBLY, "reset", counted=True, mtime=2, now=2000.0)
    spend("a.jpg", Charge.POSSIBLY, "timeout", mtime=3)
    spend("a.jpg", Charge.NOT_CHARGED, "service", counted=True, mtime=4)
    spend("a.jpg", Charge.CHARGED, "wrong-format", folder="/srv/other", now=3000.0)
    spend("a.jpg", Charge.CHARGED, "wrong-size", profile="blue", mtime=5)
    spend("b.jpg", Charge.CHARGED, "wrong-size")
    spend("a.jpg", Charge.CHARGED, mtime=6)
    key = table.key(job)
    assert table.ledger.wasted([(key, None)])[0] == Wasted(complete=2, lost=1)
    assert table.ledger.wasted([(key, 1500.0)])[0] == Wasted(complete=1, lost=1)
    assert table.ledger.wasted([(Key("nothing", "white-fp"), None)])[0] == Wasted(0, 0)


def test_a_report_by_folder_profile_and_day(spend, table):
    """Sums by heading, sorted, with what was saved by reusing a result; folders by their names on the disk."""
    odd = "/srv/back\\slash"
    spend("a.jpg", Charge.CHARGED)
    spend("b.jpg", folder=odd, now=DAY + 5)
    copy = table.add("copy.jpg", folder=odd, profile="blue")
    table.receive(copy)
    table.finish(copy, DAY + 9, how=How.REUSED)
    report = table.ledger.report
    assert report("folder") == [Spent(odd, 0, 1, 1), Spent("/srv/inbox", 1, 0, 0)]
    assert report("profile") == [Spent("blue", 0, 0, 1), Spent("white", 1, 1, 0)]
    assert report("day") == [Spent("1970-01-01", 1, 0, 0), Spent("1970-01-02", 0, 1, 1)]
    assert report("folder", since=DAY) == [Spent(odd, 0, 1, 1)]


def reading(at=0.0, *, api=0, app=0, period=0.0, charged=0, possibly=0, account="key"):
    return UsageCheck(at, 100, api, app, period, None, charged, possibly, 0, account)


def test_readings_are_kept_for_400_days(table):
    """In their order; the last one of an account can be asked for."""
    for day in (0, 10, 405):
        table.ledger.note_usage(reading(day * DAY, api=day))
    assert [check.api_usage for check in table.ledger.usage_checks()] == [10, 405]
    assert [check.api_usage for check in table.ledger.usage_checks(since=100 * DAY)] == [405]
    assert table.ledger.last_usage_check("key", 405 * DAY) == reading(10 * DAY, api=10)
    assert table.ledger.last_usage_check("other", 500 * DAY) is None


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([], (0, 0, 0, 0, 0)),
        ([reading(api=50, charged=3)], (0, 0, 0, 0, 0)),
        ([reading(1.0, api=100, app=5, charged=50), reading(2.0, api=130, app=9, charged=60)], (30, 10, 20, 0, 4)),
        ([reading(1.0), reading(2.0, api=7, charged=10)], (7, 10, 0, 3, 0)),
        ([reading(1.0), reading(2.0, charged=10), reading(3.0, api=10, charged=10)], (10, 10, 0, 0, 0)),
        (
            [
                reading(1.0, api=100),
                reading(2.0, api=110, charged=10),
                reading(3.0, api=2, charged=12, period=9.0),
                reading(4.0, api=5, charged=15, period=9.0),
            ],
            (13, 13, 0, 0, 0),
        ),
    ],
    ids=["no reading", "one reading", "another program", "not charged", "the account lags", "renewal"],
)
def test_our_count_is_compared_with_the_account(checks, expected):
    """What the account used, what we counted, what others used, what does not show, and the web editor's."""
    result = compare(checks)
    assert (result.account, result.ours, result.others, result.uncounted, result.editor) == expected
    assert result.readings == len(checks)


READINGS = st.lists(
    st.builds(
        reading,
        api=st.integers(0, 1000),
        app=st.integers(0, 1000),
        period=st.sampled_from([0.0, 1.0, None]),
        charged=st.integers(0, 1000),
        possibly=st.integers(0, 50),
    ),
    max_size=12,
)


@given(READINGS)
def test_the_comparison_adds_up(checks):
    """Account less ours is others less uncounted, and nothing is negative."""
    result = compare(sorted(checks, key=lambda check: check.charged))
    assert result.account - result.ours == result.others - result.uncounted
    assert min(result.account, result.ours, result.others, result.uncounted, result.editor, result.possibly) >= 0
