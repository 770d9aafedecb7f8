"""The end of the daemon, in good order or at once, and a new config while it runs."""

from __future__ import annotations

import os
import signal

import pytest
from survival_world import until


def in_flight(world, number):
    until(lambda: world.sandbox.in_flight == number, what=world.tail)


def test_what_is_in_flight_finishes(world):
    """SIGTERM: no new work begins; what is in flight is delivered; the rest waits for the next run. Exit code 0."""
    world.write_config(workers=2)
    world.sandbox.latency = 0.5
    for number in range(6):
        world.put(f"{number}.png")
    daemon = world.start()
    in_flight(world, 2)
    assert world.stop(daemon) == 0
    world.check_outputs(all_there=False)
    states = world.states()
    assert states == {"done": len(world.sandbox.requests), "queued": 6 - len(world.sandbox.requests)}
    assert 2 <= len(world.sandbox.requests) <= 4
    assert world.check_ledger() == (states["done"], 0)
    world.sandbox.latency = 0.0
    assert world.drain() == 0
    world.check_outputs()
    assert world.sandbox.charged == 6


def test_what_takes_too_long_is_given_back(world):
    """What does not finish within shutdown_grace is given back, counted as possibly charged, and done by the next run."""
    world.write_config(shutdown_grace=0.3, api={"read_timeout": 20})
    world.sandbox.latency = 3.0
    world.put("a.png")
    daemon = world.start()
    in_flight(world, 1)
    daemon.terminate()
    assert world.end(daemon, 3) == 0, "it waited for longer than the grace"
    assert world.states() == {"queued": 1}
    assert world.paid() == (0, 1)
    world.sandbox.latency = 0.0
    assert world.drain() == 0
    world.check_sources()
    world.check_outputs()
    assert not world.debris()
    in_flight(world, 0)
    assert world.check_ledger() == (1, 1)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(world, second):
    """Asked twice, it ends at once, as a kill does; the next run goes on with everything."""
    world.write_config(shutdown_grace=60, api={"read_timeout": 20})
    world.sandbox.latency = 2.0
    world.put("a.png")
    daemon = world.start()
    in_flight(world, 1)
    daemon.terminate()
    until(lambda: world.events("stopping"))
    os.kill(daemon.pid, second)
    assert world.end(daemon, 2) == 128 + second
    world.sandbox.latency = 0.0
    assert world.drain() == 0
    world.check_outputs()
    assert not world.debris()
    in_flight(world, 0)
    world.check_ledger()


def test_interrupted_drain(world):
    """A drain that is asked to end finishes what is in flight, and says with its exit code that something is left."""
    world.sandbox.latency = 0.3
    for number in range(5):
        world.put(f"{number}.png")
    daemon = world.start()
    in_flight(world, 1)
    os.kill(daemon.pid, signal.SIGINT)
    assert world.end(daemon) == 0
    assert 0 < world.states()["done"] < 5
    assert world.check_ledger().possibly == 0


def test_a_bad_config_is_refused_while_it_runs(world):
    """SIGHUP with a config of mistakes: every one is logged, and the old config goes on."""
    daemon = world.start()
    until(lambda: world.events("ready"))
    world.config.write_text(world.config.read_text() + "wrokers: 3\nretry: {max_attempts: none}\n")
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: world.events("config.refused"), what=world.tail)
    problems = "\n".join(event["problem"] for event in world.events("config.mistake"))
    assert "wrokers" in problems
    assert "workers" in problems
    world.put("a.png")
    until(lambda: world.states()["done"] == 1, what=world.tail)
    assert world.stop(daemon) == 0


def test_a_new_config_takes_effect(world):
    """SIGHUP: profiles, folders, workers and limits change without a restart, for what is sent from then on."""
    second = world.root / "in2"
    second.mkdir()
    world.put("a.png")
    world.write_config(credits={"daily_limit": 1})
    daemon = world.start(hurry=0.3)
    world.put("b.png")
    until(lambda: world.hold("daily-limit"), what=world.tail)
    common = {"profile": "clear", "settle": 0.05}
    world.sandbox.latency = 0.3
    for number in range(4):
        world.put(f"new {number}.png", inbox=second)
    world.write_config(
        workers=4,
        profiles={"clear": {"format": "png", "bg_color": "white"}},
        folders=[
            {"inbox": str(world.inbox), "outbox": str(world.outbox), **common},
            {"inbox": str(second), "outbox": str(world.root / "out2"), **common},
        ],
    )
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: world.states()["done"] == 6, what=world.tail)
    assert world.stop(daemon) == 0
    assert world.sandbox.max_in_flight >= 2
    fields = [dict(request.fields) for request in world.sandbox.requests]
    assert "bg_color" not in fields[0]
    assert all(field["bg_color"].lower() in {"#fff", "#ffffff"} for field in fields[1:])
    assert len(list((world.root / "out2").iterdir())) == 4
    assert world.check_ledger() == (6, 0)


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
    world.sandbox.latency = 0.2
    for number in range(4):
        world.put(f"{number}.png", inbox=second)
    daemon = world.start()
    in_flight(world, 1)
    world.write_config(folders=both[:1])
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: world.events("reloaded"), what=world.tail)
    in_flight(world, 0)
    world.put("a.png")
    until(lambda: world.output("a.png").exists(), what=world.tail)
    assert world.states()["failed"] == 0
    assert 0 < len(list((world.root / "out2").glob("*.png"))) < 4
    world.write_config(folders=both)
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: len(list((world.root / "out2").glob("*.png"))) == 4, what=world.tail)
    assert world.stop(daemon) == 0
    assert world.sandbox.charged == 5


def test_paused(world):
    """A pause survives a kill; photos are taken in meanwhile, and sent after resume."""
    daemon = world.start()
    until(lambda: world.events("ready"))
    world.execute("INSERT INTO holds VALUES ('all', 'pause', 'paused', 'rembg-watch resume', unixepoch(), NULL)")
    until(lambda: world.events("paused"), what=world.tail)
    world.kill(daemon)
    world.put("a.png")
    daemon = world.start()
    until(lambda: world.states()["queued"] == 1, what=world.tail)
    until(lambda: len(world.events("ready")) == 2)
    assert not world.sandbox.requests
    world.execute("DELETE FROM holds")
    until(lambda: world.states()["done"] == 1, what=world.tail)
    assert world.stop(daemon) == 0
