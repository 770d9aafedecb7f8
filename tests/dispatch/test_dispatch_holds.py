"""Holds as circuit breakers: open, half-open with one trial, closed; and those that belong to commands."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch import clock
from rembg_watch.dispatch.holds import ALL, OPENS_AFTER, Holds, Timings
from rembg_watch.jobs.model import Hold
from rembg_watch.jobs.status_table import TOO_MANY, StatusTable

OUTBOX, PROFILE = "outbox:/out", "profile:f"
TIMINGS = Timings()


class Clock:
    def __init__(self):
        self.now = 1000.0


@pytest.fixture
def time_is(monkeypatch):
    made = Clock()
    monkeypatch.setattr(clock, "now", lambda: made.now)
    return made


@pytest.fixture
def table(store):
    return StatusTable(store.database)


def new_holds():
    return Holds(TIMINGS, SimpleNamespace(set=lambda: None))


def shown(holds):
    return {(hold.scope, hold.kind) for hold in holds.all()}


def test_a_hold_lets_nothing_pass_then_one_then_all():
    """Its probe makes it half-open: not shown any more, with one job on trial; that job's success closes it."""
    holds = new_holds()
    holds.hold(OUTBOX, "full", "m", "r", check_in=2.0)
    assert holds.is_open(OUTBOX)
    assert (holds.capacity([ALL, OUTBOX]), holds.admits(1, [ALL, OUTBOX])) == (0, False)
    assert (holds.capacity(["outbox:/out2"]), holds.admits(1, ["outbox:/out2"])) == (None, True)
    holds.half_open(OUTBOX, "full")
    assert not holds.is_open(OUTBOX)
    assert shown(holds) == set()
    assert holds.capacity([OUTBOX]) == 1
    assert holds.admits(1, [ALL, OUTBOX])
    assert holds.capacity([OUTBOX]) == 0
    assert not holds.admits(2, [OUTBOX])
    assert holds.admits(1, [OUTBOX])
    holds.end_trial(1)
    assert holds.admits(2, [OUTBOX])
    assert holds.is_trial(2, OUTBOX)
    holds.succeeded(OUTBOX)
    assert holds.capacity([OUTBOX]) is None
    assert not holds.has(OUTBOX)


def test_a_trial_that_fails_opens_it_again(time_is):
    """It was not over: it keeps since when it is held, and is looked at half as often, down to a bound."""
    holds = new_holds()
    for scope, first, longest in ((OUTBOX, 2.0, TIMINGS.check), (PROFILE, 60.0, TIMINGS.longest_profile_check)):
        holds.hold(scope, "k", "m", "r", check_in=first)
        expected = first
        for _ in range(10):
            holds.hold(scope, "k", "m", "r", check_in=first)  # another job that was under way: nothing is doubled
            assert holds.next_check(scope) == time_is.now + expected
            time_is.now += expected
            assert [hold.kind for hold, _ in holds.due(scope)] == ["k"]
            holds.half_open(scope, "k")
            assert holds.due(scope) == []
            holds.hold(scope, "k", "m", "r", check_in=first)
            expected = min(longest, expected * 2)
        assert {hold.since for hold in holds.all() if hold.scope == scope} == {time_is.now - sum_of(first, longest)}
        holds.release(scope)


def sum_of(first, longest):
    """Return the sum of ten doubled intervals."""
    return sum(min(longest, first * 2**step) for step in range(10))


def test_a_hold_that_was_closed_begins_anew(time_is):
    """After a success another trouble is another one."""
    holds = new_holds()
    holds.hold(ALL, "key", "m", "r", check_in=30.0)
    holds.half_open(ALL, "key")
    holds.service_answered()
    time_is.now += 50
    holds.hold(ALL, "key", "m", "r", check_in=30.0)
    assert [hold.since for hold in holds.all()] == [1050.0]


def test_commands_own_pauses_and_brakes(table):
    """No probe, success, reload or publication ends them: only their row's end does. They survive a restart."""
    holds = new_holds()
    for scope, kind in ((ALL, "pause"), ("inbox:/in", TOO_MANY)):
        table.hold(Hold(scope, kind, "m", "r", 1.0))
    holds.load(table)
    both = {(ALL, "pause"), ("inbox:/in", TOO_MANY)}
    assert shown(holds) == both
    holds.release(ALL)
    holds.release("inbox:/in")
    holds.service_answered()
    holds.check_now()
    table.publish_holds(holds.all())
    assert shown(holds) == {(hold.scope, hold.kind) for hold in table.holds()} == both
    table.release(ALL, "pause")
    holds.reload_commands(table)
    assert shown(holds) == both - {(ALL, "pause")}


def test_a_restart_keeps_what_no_free_look_can_tell(table):
    """Pauses and refused profiles stand; credits, key, outboxes are looked at again by themselves."""
    for hold in (
        Hold(ALL, "pause", "m", "r", 1.0),
        Hold(PROFILE, "options", "m", "r", 2.0, 1e12),
        Hold(ALL, "credits", "m", "r", 3.0, 4.0),
        Hold(OUTBOX, "full", "m", "r", 3.0, 4.0),
    ):
        table.publish_holds([*table.holds(), hold])
    table.hold(Hold(ALL, "pause", "m", "r", 1.0))
    holds = new_holds()
    holds.load(table)
    assert shown(holds) == {(ALL, "pause"), (PROFILE, "options")}
    assert holds.next_check("profile:") <= clock.now() + TIMINGS.longest_profile_check


def test_a_reload_looks_at_everything_that_costs_nothing(time_is):
    """Each free probe is due at once; the paid trial of a profile keeps its time. What the config has no more ends."""
    holds = new_holds()
    for scope in (ALL, PROFILE, OUTBOX, "outbox:/old"):
        holds.hold(scope, "k", "m", "r", check_in=5000.0)
    holds.drop_unused({PROFILE, OUTBOX})
    holds.check_now()
    assert [hold.scope for prefix in (ALL, "profile:", "outbox:") for hold, _ in holds.due(prefix)] == [ALL, OUTBOX]


@pytest.mark.parametrize(("paid", "longest"), [(False, TIMINGS.longest_pause), (True, TIMINGS.longest_paid_pause)])
def test_the_service_is_tried_less_often_where_a_try_may_cost(time_is, paid, longest):
    """A service that takes the money and gives nothing is tried six times an hour at the end; a free one each minute."""
    holds = new_holds()
    for fault in range(OPENS_AFTER):
        assert not holds.has(ALL)
        holds.service_failed("m", "r", unreachable=False, paid=paid, job=fault)
    for job in range(20):
        time_is.now = holds.next_check(ALL)
        holds.half_open(ALL, "service")
        assert holds.admits(job, [ALL])
        holds.service_failed("m", "r", unreachable=False, paid=paid, job=99)  # was under way before
        holds.service_failed("m", "r", unreachable=False, paid=paid, job=job)
        assert holds.is_open(ALL)
    assert holds.next_check(ALL) == time_is.now + longest


@given(st.lists(st.sampled_from(["fault", "unreachable", "success"]), max_size=60))
def test_the_service_is_held_after_faults_in_a_row(events):
    """Five faults in a row open it, one of an unreachable service does at once; one success closes it."""
    holds, row = new_holds(), 0
    for event in events:
        if event == "success":
            row = 0
            holds.service_answered()
        elif not holds.has(ALL, "service"):
            row = OPENS_AFTER if event == "unreachable" else row + 1
            holds.service_failed("m", "r", unreachable=event == "unreachable", paid=False, job=1)
        assert holds.has(ALL, "service") == (row >= OPENS_AFTER)
        assert holds.healthy == (row < OPENS_AFTER)


@given(
    st.lists(st.tuples(st.sampled_from(["hold", "release", "half", "trial", "end"]), st.integers(0, 2)), max_size=40)
)
def test_never_two_on_trial_and_never_one_through_an_open_hold(events):
    """In any order of events a half-open scope has one job on trial, and an open one lets no job pass."""
    holds, trial = new_holds(), {}
    for job, (what, number) in enumerate(events):
        scope = f"outbox:/{number}"
        match what:
            case "hold":
                holds.hold(scope, "full", "m", "r", check_in=1.0)
                trial.pop(scope, None)
            case "release":
                holds.release(scope)
                trial.pop(scope, None)
            case "half":
                holds.half_open(scope, "full")
            case "trial":
                was_open, was_held = holds.is_open(scope), holds.has(scope)
                passed = holds.admits(job, [scope])
                assert passed == (not was_open and not (was_held and scope in trial))
                if passed and was_held:
                    trial[scope] = job
            case _:
                holds.end_trial(trial.pop(scope, -1))
        assert {hold.scope for hold in holds.all()} == {
            s for s in ("outbox:/0", "outbox:/1", "outbox:/2") if holds.is_open(s)
        }
