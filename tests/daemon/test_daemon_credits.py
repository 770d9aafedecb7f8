"""Credits: the reserve, the limits and the balance are never exceeded by one image, whoever else spends."""

from __future__ import annotations

import copy
import time
from collections import deque

import pytest
from daemon_photos import photo

from rembg_watch.sandbox import app


def _fill(place, count, root=None, first=0, prefix=""):
    for number in range(count):
        place.drop(f"{prefix}{number}.jpg", photo(first + number), root)


def _quiet(place, sandbox, daemon):
    """Wait until nothing is in flight any more and a hold says why."""
    place.wait_until(lambda: place.holds() and daemon.idle() and not sandbox.in_flight)


@pytest.mark.parametrize("workers", [1, 16])
def test_the_reserve_is_never_touched_and_a_top_up_is_seen(place, sandbox, impatient, workers):
    """Sending ends at the reserve, to the image; after a top-up it goes on by itself."""
    sandbox.set_credits(13)
    sandbox.set(latency=0.05)
    place.settings["workers"] = workers
    place.settings["credits"] = {"reserve": 5, "batch_size": 4}
    _fill(place, 20)
    with place.daemon() as daemon:
        _quiet(place, sandbox, daemon)
        assert sandbox.credits_left == 5
        assert sandbox.charged == 8
        hold = place.holds()["all", "credits"]
        assert "reserve is 5" in hold.message
        sandbox.top_up(7)
        place.wait_until(lambda: sandbox.charged == 15)
        _quiet(place, sandbox, daemon)
        assert sandbox.credits_left == 5
        sandbox.top_up(50)
        place.settled(20)
    assert set(place.states().values()) == {"done"}
    assert place.ledger() == (20, 0)
    assert all(request.status == 200 for request in sandbox.requests)


def test_somebody_else_spends_at_the_same_time(place, sandbox, impatient):
    """On a shared account the reserve holds but for what others take within one batch; no photo is refused for it."""
    sandbox.set_credits(60)
    place.settings["workers"] = 16
    place.settings["credits"] = {"reserve": 20, "batch_size": 4}
    sandbox.set(latency=0.02)
    _fill(place, 60)
    with place.daemon() as daemon:
        place.wait_until(lambda: sandbox.charged >= 8)
        sandbox.spend_elsewhere(15)
        _quiet(place, sandbox, daemon)
        assert 20 - 15 <= sandbox.credits_left <= 20
        assert all(request.status == 200 for request in sandbox.requests)
        assert place.ledger() == (len(sandbox.requests), 0)


@pytest.mark.parametrize(("limit", "kind"), [("daily_limit", "daily-limit"), ("monthly_limit", "monthly-limit")])
def test_a_limit_is_never_exceeded_by_one_image(place, sandbox, impatient, one_day, limit, kind):
    """With 16 workers exactly as many images are sent as the limit allows; a higher one in a reloaded config goes on."""
    place.settings["workers"] = 16
    place.settings["credits"] = {limit: 7, "batch_size": 5}
    sandbox.set(latency=0.03)
    _fill(place, 20)
    with place.daemon() as daemon:
        _quiet(place, sandbox, daemon)
        assert len(sandbox.requests) == sandbox.charged == 7
        assert "7 images" in place.holds()["all", kind].message
        place.settings["credits"][limit] = 12
        place.reload(daemon)
        place.wait_until(lambda: len(sandbox.requests) >= 12)
        _quiet(place, sandbox, daemon)
        assert len(sandbox.requests) == 12
        del place.settings["credits"][limit]
        place.reload(daemon)
        place.settled(20)
    assert sandbox.charged == 20


def test_a_limit_holds_over_a_restart(place, sandbox, impatient, one_day):
    """What was sent before a restart counts towards today's limit after it."""
    place.settings["credits"] = {"daily_limit": 5}
    _fill(place, 12)
    for _ in range(2):
        with place.daemon() as daemon:
            _quiet(place, sandbox, daemon)
    assert len(sandbox.requests) == 5


def test_a_folders_own_limit_holds_only_that_folder(place, sandbox, impatient, one_day):
    """A folder at its daily limit waits for tomorrow; the others go on; a higher limit counts from the reload on."""
    other, other_out = place.add_folder("other")
    place.folder["daily_limit"] = 3
    place.settings["workers"] = 16
    place.settings["credits"] = {"batch_size": 6}
    sandbox.set(latency=0.02)
    _fill(place, 10)
    _fill(place, 10, other, 50, "o")
    with place.daemon() as daemon:
        place.wait_until(lambda: len(place.outputs(other_out)) == 10)
        place.wait_until(lambda: ("inbox", "daily-limit") in place.holds() and not sandbox.in_flight)
        place.wait_until(lambda: len(place.outputs()) == 3)
        assert sandbox.charged == 13
        # A moment after the first hold they are claimed and given back, to see whether it is over.
        place.wait_until(lambda: sum(state == "queued" for state in place.states().values()) == 7)
        place.folder["daily_limit"] = 6
        place.reload(daemon)
        place.wait_until(lambda: len(place.outputs()) == 6)
        place.wait_until(lambda: ("inbox", "daily-limit") in place.holds() and not sandbox.in_flight)
        assert sandbox.charged == 16
        place.folder["daily_limit"] = None
        place.reload(daemon)
        place.settled(20)
    assert sandbox.charged == 20


def test_failed_attempts_give_their_permit_back(place, sandbox, impatient, one_day):
    """What was surely not charged counts against no limit."""
    place.settings["credits"] = {"daily_limit": 4, "batch_size": 2}
    place.settings["workers"] = 2
    sandbox.next("503", "503", "408")
    _fill(place, 6)
    with place.daemon() as daemon:
        place.wait_until(
            lambda: sandbox.charged == 4, what=lambda: (place.ledger(), place.states(), place.holds(), sandbox.requests)
        )
        _quiet(place, sandbox, daemon)
    assert sandbox.charged == 4
    assert place.ledger() == (4, 0)


def test_what_may_have_been_charged_counts_as_spent(place, sandbox, impatient, one_day):
    """Answers that were lost count against the limit, as the credit may be gone."""
    place.settings["credits"] = {"daily_limit": 4}
    place.settings["workers"] = 1
    sandbox.next("reset-after", "reset-after")
    _fill(place, 6)
    with place.daemon() as daemon:
        place.wait_until(lambda: len(sandbox.requests) == 4)
        _quiet(place, sandbox, daemon)
        assert sandbox.charged == 4
        assert place.ledger() == (2, 2)
        assert ("all", "daily-limit") in place.holds()


def test_the_next_check_overlaps_the_batch(place, sandbox):
    """A batch's last images are in flight while the next batch's check is made: the workers don't wait for it."""
    place.settings["credits"] = {"batch_size": 8}
    place.settings["workers"] = 4
    sandbox.latency = 3600
    _fill(place, 24)
    with place.daemon():
        # Four are worked on, two have been read and stand in line, two are left: the next batch is asked for.
        place.wait_until(lambda: sandbox.working == 4 and len(sandbox.usage_calls) == 2)
        assert sandbox.requests == []
        sandbox.latency = 0
        place.settled(24)
    assert sandbox.charged == 24


def test_a_usage_call_that_fails_uses_the_last_reading(place, sandbox, impatient):
    """For as long as the last good reading is fresh, work goes on with what it leaves; then everything waits."""
    place.settings["credits"] = {"batch_size": 3, "max_staleness": 600}
    sandbox.set_credits(10)
    with place.daemon() as daemon:
        _fill(place, 1)
        place.settled(1)
        sandbox.set_usage_faults({"nonsense": 1.0})
        _fill(place, 14, first=20, prefix="x")
        place.wait_until(lambda: sandbox.charged == 10)
        _quiet(place, sandbox, daemon)
        assert all(request.status == 200 for request in sandbox.requests)
        sandbox.clear_faults()
        sandbox.top_up(10)
        place.settled(15)
    assert sandbox.charged == 15


def test_without_any_reading_nothing_is_sent(place, sandbox, impatient):
    """Before the credits were read once, no image goes out; ``status`` says why."""
    sandbox.set_usage_faults({"html": 1.0})
    _fill(place, 2)
    with place.daemon():
        hold = place.wait_until(lambda: place.holds().get(("all", "usage")))
        assert "credits can't be read" in hold.message
        place.wait_until(lambda: len(sandbox.usage_calls) >= 3)
        assert sandbox.requests == []
        sandbox.clear_faults()
        place.settled(2)
    assert sandbox.charged == 2


def test_an_unsynced_billing_block_is_not_believed(place, sandbox, impatient, one_day):
    """Where the billing block fell back to the month, the calendar's numbers decide."""
    sandbox.set_credits(6)
    sandbox.set_synced(False)
    place.settings["credits"] = {"batch_size": 2}
    _fill(place, 10)
    with place.daemon() as daemon:
        _quiet(place, sandbox, daemon)
        assert sandbox.charged == 6
        assert all(request.status == 200 for request in sandbox.requests)


def test_what_is_charged_after_we_gave_up_is_not_sent_twice_from_the_reserve(place, sandbox, impatient):
    """A request that timed out may be charged later: until it must have been, it counts against each reading."""
    sandbox.set_credits(14)
    sandbox.latency = 3600
    place.settings["api"]["read_timeout"] = 1  # no answer comes
    place.settings["api"]["connect_timeout"] = 300  # for both of these together a charge may still come
    place.settings["workers"] = 4
    place.settings["credits"] = {"reserve": 10}
    place.settings["retry"] = {"base_delay": 0.01, "max_attempts": 50}
    _fill(place, 8)
    with place.daemon() as daemon:
        place.wait_until(lambda: sandbox.working == 4 and place.holds() and daemon.idle())
        calls = len(sandbox.usage_calls)
        place.wait_until(lambda: len(sandbox.usage_calls) >= calls + 3)  # each of them says that 14 are left
        assert (sandbox.working, sandbox.charged) == (4, 0)
        sandbox.latency = 0
        place.wait_until(lambda: sandbox.charged == 4)
        _quiet(place, sandbox, daemon)
        assert sandbox.credits_left == 10
    assert place.ledger() == (0, 4)


def test_a_usage_call_that_lags_behind(place, sandbox, impatient, monkeypatch):
    """A service that counts a second late is not believed to have what was spent in that second."""
    answer, account = app.usage_answer, sandbox._state.account
    before = deque([(time.time(), copy.deepcopy(account))])

    def lagging(_account, query, now):
        while len(before) > 1 and before[1][0] <= now - 1:
            before.popleft()
        return answer(before[0][1], query, now)

    monkeypatch.setattr(app, "usage_answer", lagging)
    sandbox.set_credits(40)
    before[0] = (time.time(), copy.deepcopy(account))
    sandbox._state.on_request = lambda _received: before.append((time.time(), copy.deepcopy(account)))
    place.settings["workers"] = 16
    place.settings["credits"] = {"reserve": 10, "batch_size": 5}
    sandbox.set(latency=0.05)
    _fill(place, 60)
    with place.daemon() as daemon:
        place.wait_until(lambda: sandbox.charged >= 30)
        _quiet(place, sandbox, daemon)
        assert sandbox.credits_left == 10
        assert place.ledger() == (30, 0)
