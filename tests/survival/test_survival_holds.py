"""What makes work wait: with a reason, a next look that costs nothing, and an end that comes by itself."""

from __future__ import annotations

import os
import signal
import time

import pytest
from survival_world import cut_out, until

from rembg_watch.dispatch.holds import OPENS_AFTER, Timings
from rembg_watch.sandbox.texts import Refusal
from rembg_watch.sandbox.validate import parse_wish

HURRY = 0.3


@pytest.fixture
def held(world):
    """Wait until something is held, and see that ``status --json`` says it in words."""

    def wait(kind, process, jobs=1):
        _, shown = until(lambda: world.hold_shown(kind), what=lambda: f"{world.holds()} {world.tail()}")
        assert process.exitcode is None
        assert shown["release"]
        assert 0 <= time.time() - shown["since"] < 600
        until(lambda: world.status()["holds"] and world.status()["holds"][0]["jobs"] == jobs, what=world.tail)
        return shown

    return wait


def at_the_end(world, daemon, done):
    """Everything is delivered, no attempt was used up, and nothing is held any more."""
    until(lambda: world.states()["done"] == done, what=world.tail)
    until(lambda: not world.holds())
    assert world.stop(daemon) == 0
    world.check_outputs()
    assert {job.attempts for job in world.jobs()} == {0}
    world.check_ledger()


def test_looks_are_half_a_minute_apart():
    """What these tests hurry is a minute at most: a top-up is seen within that."""
    assert max(Timings().check, Timings().outbox_check, Timings().usage_check) < 60


def test_the_service_is_down(world, held):
    """While nobody answers, jobs wait; when the service is back, they go on. None lost an attempt."""
    for number in range(6):
        world.put(f"{number}.png")
    world.sandbox.stop()
    daemon = world.start(hurry=HURRY)
    held("usage", daemon, jobs=6)
    world.sandbox.start()
    at_the_end(world, daemon, 6)
    assert world.sandbox.charged == 6


def test_the_service_goes_down_in_the_middle(world, held):
    """A service that goes down while photos are on their way holds everything, and eats no attempts."""
    world.write_config(workers=2, retry={"base_delay": 0.05, "max_delay": 0.1, "max_attempts": 2})
    daemon = world.start(hurry=HURRY)
    for number in range(2):
        world.put(f"{number}.png")
    until(lambda: world.states()["done"] == 2, what=world.tail)
    world.sandbox.latency = 3600
    for number in range(2, 8):
        world.put(f"{number}.png")
    until(lambda: world.sandbox.working == 2, what=world.tail)
    world.sandbox.stop()
    until(world.holds, what=world.tail)
    for _ in range(3):  # several looks at a service that is still down
        before = world.holds()[0].next_check
        until(lambda before=before: world.holds() and world.holds()[0].next_check > before, what=world.tail)
    assert not world.states()["failed"]
    world.sandbox.latency = 0.0
    world.sandbox.start()
    until(lambda: world.states()["done"] == 8, what=world.tail)
    until(lambda: not world.holds())
    assert world.stop(daemon) == 0
    world.check_outputs()
    world.check_ledger()


@pytest.mark.parametrize("fault", ["503", "502-html"])
def test_the_breaker_opens(world, held, fault):
    """A service that answers nothing but faults is asked seldom; the jobs' attempts last until it is well."""
    world.write_config(workers=2, retry={"base_delay": 0.02, "max_delay": 0.05, "max_attempts": 4})
    for number in range(10):
        world.put(f"{number}.png")
    world.sandbox.set_faults({fault: 1.0})
    daemon = world.start(hurry=HURRY)
    until(lambda: world.hold("service"), what=world.tail)
    until(lambda: len(world.events("hold.begin")) >= 4, what=world.tail)
    asked, pauses = len(world.sandbox.requests), len(world.events("hold.begin"))
    # Until it opens, and what was under way by then; after that, one for each pause.
    assert asked <= OPENS_AFTER + 5 + pauses
    world.sandbox.clear_faults()
    until(lambda: world.states()["done"] == 10, what=lambda: f"{world.states()} {world.tail()}")
    until(lambda: not world.holds())
    assert world.stop(daemon) == 0
    world.check_outputs()
    assert world.check_ledger().charged == 10


def test_the_name_is_not_found(world, held):
    """A host that can't be found is a hold that says so, and ends with a config that is right."""
    world.put("a.png")
    right = world.config.read_text()
    nowhere = {"url": "https://api.rembg.invalid/rmbg", "usage_url": "https://api.rembg.invalid/usage"}
    world.write_config(api=nowhere)
    daemon = world.start(hurry=HURRY)
    assert "api.rembg.invalid" in held("usage", daemon)["why"] or "host name" in world.hold("usage").message
    world.config.write_text(right)
    os.kill(daemon.pid, signal.SIGHUP)
    at_the_end(world, daemon, 1)
    assert world.sandbox.charged == 1


def test_the_key_is_refused(world, held):
    """A refused key is one hold and no photo sent; with the right one, everything goes on."""
    world.sandbox.set_key("another")
    for number in range(3):
        world.put(f"{number}.png")
    daemon = world.start(hurry=HURRY)
    held("key", daemon, jobs=3)
    assert not world.sandbox.requests
    world.sandbox.set_key("survival-key")
    at_the_end(world, daemon, 3)
    assert world.sandbox.charged == 3


@pytest.mark.parametrize("answer", ["429", "402"])
def test_the_credits_are_used_up(make_world, answer):
    """Without credits nothing is sent; a top-up is seen by itself, and everything goes on."""
    world = make_world(credits=5, out_of_credits=answer)
    world.write_config(workers=3, credits={"reserve": 2, "batch_size": 4})
    for number in range(8):
        world.put(f"{number}.png")
    daemon = world.start(hurry=HURRY)
    hold = until(lambda: world.hold("credits"), what=world.tail)
    assert "2 credits are left" in hold.message
    assert world.sandbox.charged == 3
    assert world.sandbox.credits_left == 2
    world.sandbox.top_up(3)
    until(lambda: world.sandbox.charged == 6, what=world.tail)
    until(lambda: world.hold("credits"))
    assert world.sandbox.credits_left == 2
    world.sandbox.top_up(50)
    at_the_end(world, daemon, 8)
    assert world.sandbox.charged == 8


def test_the_reserve_over_a_kill(make_world):
    """What a killed daemon had sent counts against the credits, though the service has not counted it yet."""
    world = make_world(credits=10)
    world.write_config(workers=4, credits={"reserve": 5}, api={"read_timeout": 100})
    world.sandbox.latency = 3600
    for number in range(10):
        world.put(f"{number}.png")
    daemon = world.start()
    until(lambda: world.sandbox.working == 4, what=world.tail)
    world.kill(daemon)
    daemon = world.start(hurry=HURRY)
    until(lambda: world.sandbox.working == 5, what=world.tail)
    world.sandbox.latency = 0.0
    until(lambda: world.hold("credits") and not world.sandbox.in_flight, what=world.tail)
    assert world.sandbox.credits_left == 5
    world.sandbox.top_up(20)
    until(lambda: world.states()["done"] == 10, what=world.tail)
    assert world.stop(daemon) == 0
    world.check_outputs()
    assert world.check_ledger() == (10, 4)


def test_a_limit_over_a_kill(world, one_day):
    """Not one image more than the limit is sent, whatever kills and restarts there are."""
    world.write_config(workers=3, credits={"daily_limit": 4, "batch_size": 2})
    for number in range(8):
        world.put(f"{number}.png")
    process = world.start(kill=("answered", 3))
    world.end(process)
    daemon = world.start(hurry=HURRY)
    until(lambda: world.hold("daily-limit"), what=world.tail)
    assert world.stop(daemon) == 0
    until(lambda: world.sandbox.in_flight == 0)
    paid = world.check_ledger()
    assert paid.charged + paid.possibly == 4


@pytest.mark.parametrize("fault", ["500", "html", "nonsense", "stall", "truncate", "endless", "gzip-bomb", "unsynced"])
def test_the_usage_call_fails_or_lies(make_world, fault):
    """Whatever the usage call answers, no more is sent than the last good reading permits, and work goes on after it."""
    world = make_world(credits=8)
    # Short only where nothing comes.
    patience = 4 if fault == "stall" else 60
    world.write_config(api={"read_timeout": patience}, credits={"reserve": 3, "batch_size": 2, "max_staleness": 60})
    daemon = world.start(hurry=HURRY)
    world.put("0.png")
    until(lambda: world.states()["done"] == 1, what=world.tail)
    world.sandbox.set_usage_faults({fault: 1.0})
    for number in range(1, 9):
        world.put(f"{number}.png")
    until(lambda: world.sandbox.credits_left <= 3 or world.holds(), what=world.tail)
    until(world.holds, what=world.tail)
    assert world.sandbox.credits_left >= 3
    world.sandbox.clear_faults()
    world.sandbox.top_up(20)
    until(lambda: world.states()["done"] == 9, what=world.tail)
    assert world.stop(daemon) == 0


def test_the_options_are_refused(world, held, monkeypatch):
    """A profile that the API refuses is held with the field it named; the others go on; a right one ends the hold."""
    second = world.root / "in2"
    second.mkdir()
    folders = [
        {"inbox": str(world.inbox), "outbox": str(world.outbox), "profile": "clear", "settle": 0.05},
        {"inbox": str(second), "outbox": str(world.root / "out2"), "profile": "other", "settle": 0.05},
    ]
    world.write_config(folders=folders, profiles={"clear": {"format": "png"}, "other": {"format": "png", "w": 50}})

    def parse(fields):  # an API that has changed its mind about what it takes
        if fields.get("w") == "50":
            return [Refusal(400, "'w' must be at least 100, got: 50", "w")]
        return parse_wish(fields)

    monkeypatch.setattr("rembg_watch.sandbox.app.parse_wish", parse)
    for number in range(4):
        world.put(f"other {number}.png", inbox=second)
    daemon = world.start()
    shown = held("options", daemon, jobs=4)
    assert "'w' must be at least 100, got: 50" in shown["why"]
    assert shown["what"] == "profile other"
    # A second one may have gone out before the first was refused.
    until(lambda: world.states() == {"queued": 4} and not world.sandbox.in_flight, what=world.tail)
    asked = len(world.sandbox.requests)
    assert asked <= 2
    data = world.put("a.png")
    until(lambda: world.output("a.png").exists(), what=world.tail)
    assert len(world.sandbox.requests) == asked + 1
    assert world.output("a.png").read_bytes() == cut_out(data)

    world.write_config(folders=folders, profiles={"clear": {"format": "png"}, "other": {"format": "png", "w": 100}})
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: world.states()["done"] == 5, what=world.tail)
    until(lambda: not world.holds())
    assert world.stop(daemon) == 0
    assert {job.attempts for job in world.jobs()} == {0}
    assert world.sandbox.charged == 5
