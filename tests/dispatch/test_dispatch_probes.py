"""What ends a hold: its own time, a free probe, the last reading, or the end of the day on the wall clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rembg_watch.config.model import CreditsConfig
from rembg_watch.dispatch.credits import next_day
from rembg_watch.dispatch.holds import ALL, LATEST_CHECK, inbox_scope
from rembg_watch.errors import ApiError

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0


def _kinds(bench):
    return {hold.kind for hold in bench.holds.all()}


def _hold(bench, kind, check_in):
    bench.holds.hold(ALL, kind, "what it was", "what to do", now=bench.now, check_in=check_in)


# -- the usage call fails


def test_a_limit_that_is_over_ends_on_the_last_reading(bench):
    """A new day needs no usage call: where that fails, the reading of a minute ago allows to go on."""
    _hold(bench, "daily-limit", 30.0)
    bench.account.read()
    bench.sandbox.next_usage("503")
    bench.now += 31
    bench.reactions.probe()
    assert _kinds(bench) == set()
    assert bench.reactions.on_trial


def test_a_limit_that_is_not_over_stays(bench):
    """The last reading allows no more than the limit does."""
    bench.config = replace(bench.config, credits=CreditsConfig(daily_limit=1))
    _hold(bench, "daily-limit", 30.0)
    bench.account.read()
    bench.account.give(1)
    bench.sandbox.next_usage("503")
    bench.now += 31
    bench.reactions.probe()
    assert _kinds(bench) == {"daily-limit"}


def test_a_service_that_answers_is_tried_on_the_last_reading(bench):
    """Where only the usage call is broken, the photos do not wait for it as long as ``max_staleness`` allows."""
    bench.account.read()
    _hold(bench, "service", 5.0)
    bench.sandbox.next_usage("nonsense")
    bench.now += 6
    bench.reactions.probe()
    assert _kinds(bench) == set()
    assert bench.reactions.on_trial


def test_a_service_that_does_not_answer_stays_held_with_the_newest_reason(bench):
    """No photo tries what the free call found dead; people are told what is wrong now, and since when."""
    bench.account.read()
    began = bench.now
    _hold(bench, "service", 5.0)
    bench.sandbox.set_usage_faults({"reset": 1.0})
    bench.now += 6
    bench.reactions.probe()
    (hold,) = bench.holds.all()
    assert (hold.kind, hold.since, hold.next_check) == ("service", began, bench.now + LATEST_CHECK)
    assert hold.message != "what it was"
    assert bench.board.holds() == [hold]


def test_without_a_reading_the_newest_reason_is_told(bench):
    """Credits that could not be read for one reason, and now can't for another."""
    _hold(bench, "usage", 10.0)
    bench.sandbox.next_usage("503")
    bench.now += 11
    bench.reactions.probe()
    (hold,) = bench.holds.all()
    assert hold.kind == "usage"
    assert hold.message.startswith("the credits can't be read: ")


@pytest.mark.parametrize("kind", ["key", "credits"])
def test_what_the_service_refused_does_not_end_on_an_older_reading(bench, kind):
    """A refusal is newer than the last reading, which knows nothing of it."""
    bench.account.read()
    _hold(bench, kind, 30.0)
    bench.sandbox.next_usage("503")
    bench.now += 31
    bench.reactions.probe()
    assert _kinds(bench) == {kind}


def test_a_key_that_the_probe_finds_refused_ends_nothing(bench):
    """Whatever was held stays, and the key is held beside it."""
    bench.account.read()
    _hold(bench, "daily-limit", 5.0)
    bench.sandbox.next_usage("401")
    bench.now += 6
    bench.reactions.probe()
    assert _kinds(bench) == {"daily-limit", "key"}


# -- two holds at once


@pytest.mark.parametrize("fails", [False, True])
def test_the_probe_of_one_hold_does_not_hasten_the_service(bench, fails):
    """The pause after so many faults lasts as long as it was meant to, whatever else is looked at meanwhile."""
    _hold(bench, "service", 60.0)
    _hold(bench, "usage", 10.0)
    due = bench.now + 60
    if fails:
        bench.sandbox.next_usage("503")
    bench.now += 11
    bench.reactions.probe()
    assert _kinds(bench) == ({"service", "usage"} if fails else {"service"})
    assert {hold.next_check for hold in bench.holds.all() if hold.kind == "service"} == {due}
    bench.now = due
    bench.reactions.probe()
    assert _kinds(bench) == set()


# -- the clock


def _hold_until_tomorrow(bench, now):
    bench.holds.hold(inbox_scope("/in"), "daily-limit", "reached", "tomorrow", now=now, until_tomorrow=True)


@pytest.mark.parametrize(
    ("jump", "check"),
    [
        pytest.param(HOUR, next_day(NOON), id="forward"),
        pytest.param(-HOUR, next_day(NOON), id="back"),
        pytest.param(13 * HOUR, next_day(NOON), id="into the next day: it is due"),
        pytest.param(-365 * 24 * HOUR, next_day(NOON - 365 * 24 * HOUR), id="back from a year that was wrong"),
    ],
)
def test_a_daily_limit_ends_at_midnight_of_the_wall_clock(bench, jump, check):
    """The day that counts is the clock's: a jump neither lengthens nor shortens it."""
    _hold_until_tomorrow(bench, NOON)
    bench.holds.shift(jump, NOON + jump)
    assert bench.holds.next_check() == check


def test_a_look_in_a_second_follows_the_clock(bench):
    """While photos of the folder are under way it is looked at by the second, also after the clock was set back."""
    bench.holds.hold(inbox_scope("/in"), "daily-limit", "reached", "tomorrow", now=NOON, check_in=1.0)
    bench.holds.shift(-HOUR, NOON - HOUR)
    assert bench.holds.next_check() == NOON - HOUR + 1
    _hold_until_tomorrow(bench, NOON - HOUR)
    assert bench.holds.next_check() == next_day(NOON)


# -- looking ahead


def test_a_look_ahead_is_made_once_a_key(bench):
    """The reading that the first photo would ask for is there already; a second look asks nothing."""
    bench.account.look_ahead()
    bench.account.look_ahead()
    assert len(bench.sandbox.usage_calls) == 1
    assert not bench.account.needs_reading()
    assert not bench.account.is_looking_ahead()


def test_a_new_key_is_read_before_anything_is_sent_with_it(bench):
    """The last reading is another account's."""
    bench.account.read()
    assert not bench.account.needs_reading()
    before, bench.client = (
        bench.client,
        type(bench.client)("another", url=bench.sandbox.url, usage_url=bench.sandbox.usage_url),
    )
    bench.config = replace(bench.config, key="another")
    try:
        assert bench.account.needs_reading()
        bench.account.read()
        assert not bench.account.needs_reading()
    finally:
        before.close()


@pytest.mark.parametrize(("fault", "held"), [("401", {"key"}), ("503", set()), ("html", set())])
def test_only_a_refusal_makes_a_look_ahead_a_hold(bench, fault, held):
    """Nothing waits for this reading: who can't be reached now may be when a photo comes."""
    bench.sandbox.next_usage(fault)
    with pytest.raises(ApiError) as failed:
        bench.account.look_ahead()
    bench.reactions.look_failed(failed.value)
    assert _kinds(bench) == held
