"""Somebody sets the clock, by an hour, in the middle of things."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import survival_clock
from survival_world import until

HOUR = 3600.0


@pytest.fixture
def clock(world):
    """A daemon with a clock that is set through a file."""
    file = world.root / "clock"
    running = []

    class Clock:
        def set(self, seconds):
            new = file.with_suffix(".new")
            new.write_text(f"{seconds}")
            new.rename(file)

        def start(self):
            process = subprocess.Popen(
                [sys.executable, survival_clock.__file__, world.config, world.log, file],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
            running.append(process)
            return process

        def stop(self, process, number=signal.SIGTERM):
            process.send_signal(number)
            return process.wait(60)

    made = Clock()
    made.set(0)
    yield made
    for process in running:
        process.kill()
        process.wait(60)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_set_while_jobs_wait(world, clock, jump):
    """What waits for a next try or for credits goes on when it would have, whichever way the clock was set."""
    world.write_config(workers=1, retry={"base_delay": 1.5, "max_delay": 1.5, "max_attempts": 50})
    for number in range(4):
        world.put(f"{number}.png")
    world.sandbox.set_faults({"500": 1.0})
    daemon = clock.start()
    until(lambda: world.states()["waiting"], what=world.tail)
    clock.set(jump)
    world.put("new.png")
    world.sandbox.clear_faults()
    until(lambda: world.states()["done"] == 5, what=world.tail)
    assert clock.stop(daemon) == 0
    world.check_sources()
    world.check_outputs()
    assert world.sandbox.charged == world.check_ledger().charged == 5


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_set_while_everything_is_held(world, clock, jump):
    """A hold is looked at when it would have been: a top-up is seen, whichever way the clock was set."""
    world.sandbox.set_credits(2)
    for number in range(4):
        world.put(f"{number}.png")
    daemon = clock.start()
    until(lambda: world.hold("credits"), what=world.tail)
    clock.set(jump)
    assert world.sandbox.charged == 2
    world.sandbox.top_up(10)
    until(lambda: world.states()["done"] == 4, what=world.tail)
    assert clock.stop(daemon) == 0
    world.check_outputs()
    assert world.sandbox.charged == world.check_ledger().charged == 4


def test_set_back_while_the_daemon_is_dead(world, clock):
    """What a dead daemon had put off is not put off for an hour more because the clock was set back meanwhile."""
    world.write_config(workers=1, retry={"base_delay": 1.5, "max_delay": 1.5, "max_attempts": 50})
    clock.set(HOUR)
    world.put("a.png")
    world.sandbox.set_faults({"500": 1.0})
    daemon = clock.start()
    until(lambda: world.states()["waiting"], what=world.tail)
    clock.stop(daemon, signal.SIGKILL)
    clock.set(0)
    world.sandbox.clear_faults()
    daemon = clock.start()
    until(lambda: world.states()["done"] == 1, what=world.tail)
    assert clock.stop(daemon) == 0
    assert world.sandbox.charged == 1


def test_a_photo_from_the_future(world, clock):
    """A photo whose time lies an hour ahead, or ten years back, is a photo like others."""
    for path, by in (("ahead.png", HOUR), ("behind.png", -10 * 365 * 24 * HOUR)):
        world.put(path)
        file = world.inbox / path
        os.utime(file, (file.stat().st_atime, file.stat().st_mtime + by))
    daemon = clock.start()
    until(lambda: world.states()["done"] == 2, what=world.tail)
    assert clock.stop(daemon) == 0
    world.check_outputs()
    assert Path(world.outbox / "ahead.png").exists()
