"""What ends a hold: a free probe, the last reading of the account, or the end of the day on the wall clock."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from dispatch_pictures import QUICK

from rembg_watch.dispatch import producer

SLOW = replace(QUICK, check=600.0)


def hold_now(world, kind, check_in=0.0):
    """Hold everything, with a probe that is due."""
    world.daemon.holds.hold("all", kind, "what it was", "what to do", check_in=check_in)


def one_delivered(world, pic):
    """Have a reading of the account, and nothing to do."""
    world.drop("first.jpg", pic())
    world.wait_done()


def test_a_limit_that_is_over_ends_on_the_last_reading(world, pic):
    """A new day needs no usage call: where that fails, the reading of a minute ago allows to go on."""
    with world.running():
        one_delivered(world, pic)
        world.sandbox.set_usage_faults({"503": 1.0})
        hold_now(world, "daily-limit")
        world.wait_well()


def test_a_limit_that_is_not_over_stays(world, pic):
    """The last reading allows no more than the limit does."""
    world.settings["credits"] = {"daily_limit": 1}
    with world.running(timings=SLOW) as daemon:
        one_delivered(world, pic)
        world.sandbox.set_usage_faults({"503": 1.0})
        before = len(world.sandbox.usage_calls)
        hold_now(world, "daily-limit")
        world.wait_until(lambda: daemon.holds.next_check("all") > time.time() + 300)
        assert len(world.sandbox.usage_calls) == before + 1
        assert [hold.kind for hold in daemon.holds.all()] == ["daily-limit"]


def test_a_service_that_answers_is_tried_on_the_last_reading(world, pic):
    """Where only the usage call is broken, photos do not wait for it as long as ``max_staleness`` allows."""
    with world.running():
        one_delivered(world, pic)
        world.sandbox.set_usage_faults({"nonsense": 1.0})
        hold_now(world, "service")
        world.drop("a.jpg", pic("blue"))
        world.wait_for(a="done")
        world.wait_well()


def test_a_service_that_does_not_answer_stays_held_with_the_newest_reason(world, pic):
    """No photo tries what the free call found dead; people are told what is wrong now, and since when."""
    with world.running(timings=SLOW) as daemon:
        one_delivered(world, pic)
        world.sandbox.set_usage_faults({"reset": 1.0})
        hold_now(world, "service")
        (began,) = (hold.since for hold in daemon.holds.all())
        world.wait_until(lambda: daemon.holds.all()[0].message != "what it was")
        (hold,) = daemon.holds.all()
        assert (hold.kind, hold.since) == ("service", began)


@pytest.mark.parametrize("kind", ["key", "credits"])
def test_what_the_service_refused_does_not_end_on_an_older_reading(world, pic, kind):
    """A refusal is newer than the last reading, which knows nothing of it."""
    with world.running(timings=SLOW) as daemon:
        one_delivered(world, pic)
        world.sandbox.next_usage("503")
        hold_now(world, kind)
        world.wait_until(lambda: daemon.holds.next_check("all") > time.time() + 300)
        assert [hold.kind for hold in daemon.holds.all()] == [kind]
        daemon.holds.check_now()
        daemon.account.set()
        world.wait_well()  # the next usage call succeeds: one photo goes first


@pytest.mark.parametrize(("fault", "held"), [("401", ["key"]), ("503", []), ("html", [])])
def test_only_a_refusal_makes_a_look_ahead_a_hold(world, fault, held):
    """No photo waits for the reading at the start: what can't be reached now may be when one comes."""
    world.sandbox.next_usage(fault)
    with world.running(timings=SLOW) as daemon:
        daemon.account.look()
        world.wait_until(lambda: world.sandbox.usage_calls and not daemon.account._looking)
        world.wait_until(lambda: "account" not in daemon._heartbeats._deadlines)
        assert [hold.kind for hold in daemon.holds.all()] == held


def test_the_probe_of_one_hold_does_not_hasten_another(world, pic):
    """The pause after many faults lasts as long as it was meant to, whatever else is looked at meanwhile."""
    with world.running() as daemon:
        one_delivered(world, pic)
        hold_now(world, "pace", check_in=600.0)
        due = daemon.holds.next_check("all")
        hold_now(world, "usage")
        world.wait_until(lambda: not [hold for hold in daemon.holds.all() if hold.kind == "usage"])
        assert [(hold.kind, hold.next_check) for hold in daemon.holds.all()] == [("pace", due)]


def test_a_daily_limit_ends_at_midnight_of_the_wall_clock(world, pic, one_day, monkeypatch):
    """A folder's limit is looked at on the wall clock as it is now: a jump into the next day ends it."""
    world.folder["daily_limit"] = 1
    with world.running():
        one_delivered(world, pic)
        world.drop("a.jpg", pic("blue"))
        world.wait_held("daily-limit")
        tomorrow = time.time() + 86400
        monkeypatch.setattr(producer.time, "time", lambda: tomorrow)
        world.wait_for(a="done")
        world.wait_well()


def test_a_batch_asks_the_account_once(world, pic):
    """One usage call serves ``credits.batch_size`` photos, however many threads wait for it."""
    world.settings["credits"] = {"batch_size": 10}
    with world.running():
        world.drop_all({f"{number}.jpg": pic(size=(60 + number, 60)) for number in range(40)})
        world.wait_done(40)
    assert 4 <= len(world.sandbox.usage_calls) <= 6
