"""The rate against simulated servers on a virtual clock, and the places in flight that the limiter hands out."""

from __future__ import annotations

import threading

import pytest
from dispatch_paced_world import FixedWindow, SlidingWindow, TokenBucket, World
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.dispatch.rate import LONGEST_PAUSE, MIN_RATE, AdaptiveRate, RateLimiter

LONG = 1500.0
WARM = 300.0
"""Virtual seconds that it may take to find the limit."""


@pytest.mark.parametrize("says_when", [False, True], ids=["silent", "retry-after"])
@pytest.mark.parametrize(
    ("server", "rate", "workers", "latency"),
    [
        (TokenBucket(1, 3), 1, 4, 0.1),
        (TokenBucket(2, 4), 2, 16, 3.0),
        (TokenBucket(2, 4), 2, 64, 0.7),
        (TokenBucket(5, 5), 5, 8, 0.7),
        (TokenBucket(5, 50), 5, 64, 3.0),
        (TokenBucket(5, 300), 5, 16, 0.7),
        (TokenBucket(10, 10), 10, 64, 1.5),
        (TokenBucket(20, 20), 20, 4, 0.1),
        (TokenBucket(20, 200), 20, 64, 0.7),
        (FixedWindow(2, 2.0), 2, 4, 0.1),
        (FixedWindow(5), 5, 16, 0.7),
        (FixedWindow(20), 20, 8, 0.1),
        (SlidingWindow(5), 5, 8, 0.1),
        (FixedWindow(2, 10.0), 2, 8, 0.7),
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'burst', '')}" if hasattr(value, "admits") else None,
)
def test_a_long_run_uses_the_limit_and_is_seldom_refused(server, rate, workers, latency, says_when):
    """Of a limit of R requests a second at least 95% are used; at most 2% of the requests are refused."""
    world = World(type(server)(**_settings(server)), workers, latency, says_when=says_when).run(LONG)
    assert world.rate(WARM) >= 0.95 * rate
    assert world.refusals(WARM) <= 0.02
    assert sum(at < WARM for at in world.refused) <= 3 * workers + 60


def _settings(server):
    """Return what to build the server with: the parameters are shared by all runs."""
    names = ("rate", "burst") if isinstance(server, TokenBucket) else ("rate", "window")
    return {name: getattr(server, name) for name in names}


@pytest.mark.parametrize("window", [FixedWindow, SlidingWindow])
def test_a_quota_by_the_minute_is_used_without_hammering(window):
    """A service that counts by the minute is used to at least 90%, though it refuses for the rest of a used-up one."""
    world = World(window(2, 60.0), 8, 0.7).run(LONG)
    assert world.rate(WARM) >= 0.9 * 2
    assert world.refusals(WARM) <= 0.1


def test_without_refusals_only_the_workers_are_the_limit():
    """No request is delayed before the service has refused one."""
    world = World(TokenBucket(1e9, 1e9), workers=8, latency=0.5).run(60)
    assert world.rate() >= 0.9 * 8 / 0.5
    assert world.rate_limit.limit() is None


def test_a_limit_that_was_raised_is_found():
    """When the service allows three times as much, it is used within ten minutes."""
    world = World(TokenBucket(4, 8), 32, 0.7).run(600)
    world.server.rate = 12.0
    world.run(600)
    raised = world.now
    world.run(600)
    assert world.rate(raised) >= 0.95 * 12
    assert world.refusals(raised) <= 0.02


def test_a_limit_that_was_lowered_is_found_at_once():
    """When the service allows a quarter, the refusals end within a minute."""
    world = World(TokenBucket(12, 12), 32, 0.7).run(600)
    world.server.rate = 3.0
    world.run(60)
    lowered = world.now
    world.run(900)
    assert world.refusals(lowered) <= 0.02
    assert world.rate(lowered + 120) >= 0.9 * 3


def test_idle_hours_leave_the_rate_as_it_was():
    """A rate that is not used is not raised, and a burst after an idle night starts at what is known to work."""
    world = World(TokenBucket(4, 8), 16, 0.5).run(600)
    known = world.rate_limit.rate
    for step in range(200):
        assert world.rate_limit.take(world.now + 60.0 * step) <= 60
    assert world.rate_limit.rate <= 1.05 * known


@given(upper=st.floats(0.05, 50), workers=st.integers(1, 32), latency=st.floats(0.01, 3.0), allowed=st.floats(0.5, 60))
def test_max_per_second_is_never_exceeded(upper, workers, latency, allowed):
    """``api.max_per_second`` holds in every span of ten seconds, whatever the service allows."""
    world = World(TokenBucket(allowed, allowed + 1), workers, latency, upper=upper).run(40)
    for first in world.sent[:200]:
        inside = sum(first <= at < first + 10 for at in world.sent)
        assert inside <= upper * 10 + 2


@given(seconds=st.floats(0, 86400), at=st.floats(0, 1e6))
def test_retry_after_is_obeyed(seconds, at):
    """No request goes out before the time that the service asked for."""
    pace = AdaptiveRate()
    assert pace.take(at) == 0.0
    pace.refused(at + 0.1, at, seconds)
    wait = pace.take(at + 0.1)
    assert wait >= seconds - 1e-3
    assert pace.take(at + 0.1 + wait + 1e-3) == 0.0


@given(st.lists(st.tuples(st.sampled_from(["take", "ok", "no", "no-later"]), st.floats(0, 30)), max_size=200))
def test_no_order_of_events_breaks_it(events):
    """In any order of events the rate stays between its bounds, and the next slot comes."""
    pace, now = AdaptiveRate(), 1000.0
    for what, seconds in events:
        now += seconds
        match what:
            case "take":
                assert pace.take(now) <= max(LONGEST_PAUSE, 1 / MIN_RATE) * 2 + 30
            case "ok":
                pace.accepted(now, now - min(seconds, 2.0))
            case "no":
                pace.refused(now, now - min(seconds, 2.0), None)
            case _:
                pace.refused(now, now - 10.0, 5.0)
        assert pace.rate is None or MIN_RATE <= pace.rate < 1e6


class Takers:
    """Threads that each take one place and keep it."""

    def __init__(self, limiter):
        self.limiter = limiter
        self.taken = threading.Semaphore(0)
        self.gone = threading.Semaphore(0)

    def start(self, count):
        for _ in range(count):
            threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        while not (got := self.limiter.take(1)) and not self.limiter._closed:
            pass
        (self.taken if got else self.gone).release()


def test_no_more_are_in_flight_than_there_are_places():
    """At most ``workers`` requests are in flight, whatever the number of threads; a place given back is taken again."""
    limiter = RateLimiter(2, None)
    assert limiter.take(5) == 2
    assert limiter.take(1) == 0
    takers = Takers(limiter)
    takers.start(3)
    limiter.give_back(2)
    for _ in range(2):
        assert takers.taken.acquire(timeout=60)
    assert limiter.in_flight == 2
    limiter.reload(3, None)
    assert takers.taken.acquire(timeout=60)
    assert limiter.in_flight == 3


def test_a_closed_limiter_lets_its_waiting_threads_go():
    """A thread that waits for a place when the daemon stops gets none."""
    limiter = RateLimiter(1, None)
    assert limiter.take(1) == 1
    takers = Takers(limiter)
    takers.start(2)
    limiter.close()
    for _ in range(2):
        assert takers.gone.acquire(timeout=60)
    assert limiter.take(1) == 0
