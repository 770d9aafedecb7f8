"""The end of the daemon, in good order or at once, and a new config while it runs."""

from __future__ import annotations

import os
import signal

from survival_world import until


def working(world, number):
    until(lambda: world.sandbox.working == number, what=world.tail)


def test_what_takes_too_long_is_given_back(world):
    """What does not finish within shutdown_grace is counted as possibly charged, and done by the next run."""
    world.write_config(shutdown_grace=0.3, api={"read_timeout": 1000})
    world.sandbox.latency = 3600
    world.put("a.png")
    daemon = world.start()
    working(world, 1)
    daemon.terminate()
    assert world.end(daemon) == 0
    assert world.states() == {"running": 1}
    assert world.paid() == (0, 1)
    world.sandbox.latency = 0.0
    working(world, 0)
    assert world.drain() == 0
    world.check_sources()
    world.check_outputs()
    assert not world.debris()
    assert world.check_ledger() == (1, 1)


def test_a_second_signal_ends_at_once(world):
    """Asked twice, it ends at once, as a kill does; the next run goes on with everything."""
    world.write_config(shutdown_grace=600, api={"read_timeout": 1000})
    world.sandbox.latency = 3600
    world.put("a.png")
    daemon = world.start()
    working(world, 1)
    daemon.terminate()
    until(lambda: world.events("stopping"))
    os.kill(daemon.pid, signal.SIGINT)
    assert world.end(daemon) == 128 + signal.SIGINT
    world.sandbox.latency = 0.0
    working(world, 0)
    assert world.drain() == 0
    world.check_outputs()
    assert not world.debris()
    world.check_ledger()


def test_a_folder_is_taken_out_of_the_config(world):
    """Jobs of a folder that the config has no longer wait; with the folder back, they go on."""
    second = world.root / "in2"
    second.mkdir()
    common = {"profile": "clear", "settle": 0.05}
    both = [
        {"inbox": str(world.inbox), "outbox": str(world.outbox), **common},
        {"inbox": str(second), "outbox": str(world.root / "out2"), **common},
    ]
    world.write_config(folders=both)
    world.sandbox.latency = 3600
    for number in range(4):
        world.put(f"{number}.png", inbox=second)
    daemon = world.start()
    working(world, 1)
    world.write_config(folders=both[:1])
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: world.events("reloaded"), what=world.tail)
    world.sandbox.latency = 0.0
    world.put("a.png")
    until(lambda: world.output("a.png").exists(), what=world.tail)
    until(lambda: len(list((world.root / "out2").glob("*.png"))) == 1, what=world.tail)
    assert world.states()["failed"] == 0
    assert len(world.sandbox.requests) == 2, "what was in flight, and a.png"
    world.write_config(folders=both)
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: len(list((world.root / "out2").glob("*.png"))) == 4, what=world.tail)
    assert world.stop(daemon) == 0
    assert world.sandbox.charged == 5
