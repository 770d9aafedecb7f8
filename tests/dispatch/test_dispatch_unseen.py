"""What was spent and is not in the service's own count yet: it counts against a reading for a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.dispatch.unseen import Unseen


def reading(unseen, used, prepaid=0, *, in_flight=0, since=0.0):
    unseen.begin_reading(in_flight)
    return unseen.end_reading(used, prepaid, since)


def spend(unseen, count, now=10.0):
    for _ in range(count):
        unseen.spend(now)


def test_a_count_that_keeps_up_lacks_nothing():
    """Where the service has counted what we spent, a reading stands as it is."""
    unseen = Unseen()
    assert reading(unseen, 100) == 0
    spend(unseen, 7)
    assert reading(unseen, 107) == 0


def test_a_count_that_lags():
    """What it does not show counts against the reading, until it shows it."""
    unseen = Unseen()
    reading(unseen, 100)
    spend(unseen, 7)
    assert reading(unseen, 102) == 5
    assert reading(unseen, 102) == 5
    assert reading(unseen, 107) == 0


def test_what_never_comes_is_not_waited_for_longer_than_it_could_take():
    """A request that was given up, and never charged, is let go of."""
    unseen = Unseen()
    reading(unseen, 100)
    spend(unseen, 3, now=10.0)
    assert reading(unseen, 100, since=5.0) == 3
    assert reading(unseen, 100, since=11.0) == 0
    spend(unseen, 1, now=20.0)
    assert reading(unseen, 101, since=15.0) == 0


def test_what_is_in_flight_may_be_counted_already():
    """A count that is ahead of us by what is in flight is not a lack a moment later."""
    unseen = Unseen()
    reading(unseen, 100)
    assert reading(unseen, 104, in_flight=4) == 0
    spend(unseen, 4)
    assert reading(unseen, 104) == 0


def test_what_others_use_hides_no_later_lack():
    """However much others used meanwhile, what we spend after that must show."""
    unseen = Unseen()
    reading(unseen, 100)
    reading(unseen, 5000)
    spend(unseen, 6)
    assert reading(unseen, 5000) == 6


def test_prepaid_credits_and_a_top_up():
    """What prepaid credits pay for shows in their balance; buying some hides nothing that is counted."""
    unseen = Unseen()
    reading(unseen, 100, prepaid=50)
    spend(unseen, 8)
    assert reading(unseen, 103, prepaid=45) == 0
    spend(unseen, 2)
    assert reading(unseen, 105, prepaid=500) == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.booleans())))
def test_never_more_than_was_spent_never_less_than_is_hidden(steps):
    """With nobody else on the account, what a lagging count hides is told exactly."""
    unseen = Unseen()
    reading(unseen, 0)
    spent = counted = 0
    for more, shown, renewed in steps:
        spend(unseen, more)
        spent += more
        counted = min(spent, counted + shown)
        assert reading(unseen, counted, since=0.0) == spent - counted
        if renewed:
            unseen.shift(3600.0)
