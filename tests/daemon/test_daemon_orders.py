"""What people tell a running daemon: pause and resume, a new config, jobs to be retried or cancelled."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from daemon_photos import corner_of, number_in, photo


def test_pause_and_resume_survive_a_restart(place, sandbox):
    """While paused nothing is sent though photos are taken in; a restart does not end it, ``resume`` does."""
    with place.daemon() as daemon:
        place.cli("pause", "--reason", "stocktaking")
        place.wait_until(lambda: daemon.holds.has("all", "pause"))
        place.drop("a.jpg", photo(121))
        place.wait_until(lambda: place.states() == {"a.jpg": "queued"})
    with place.daemon():
        assert place.cli_json("status")["holds"][0]["why"].find("stocktaking") >= 0
        place.drop("b.jpg", photo(122))
        place.wait_until(lambda: place.states() == {"a.jpg": "queued", "b.jpg": "queued"})
        assert sandbox.requests == []
        place.cli("resume")
        place.settled(2)
    assert sandbox.charged == 2


def test_a_pause_stops_what_waits_for_its_turn(place, sandbox):
    """A pause lets the photos in flight finish and keeps all others from going out."""
    place.settings["workers"] = 2
    sandbox.latency = 3600
    for number in range(10):
        place.drop(f"{number}.jpg", photo(number))
    with place.daemon() as daemon:
        place.wait_until(lambda: sandbox.working == 2)
        place.cli("pause")
        place.wait_until(lambda: daemon.holds.has("all", "pause"))
        sandbox.latency = 0
        place.wait_until(lambda: not sandbox.in_flight and daemon.idle())
        assert len(sandbox.requests) == 2
        assert sum(state == "done" for state in place.states().values()) == 2
        place.cli("resume")
        place.settled(10)
    assert sandbox.charged == 10


def test_reload_takes_over_profiles_folders_and_workers(place, sandbox, run_daemon):
    """After SIGHUP new folders are watched, new options used and more workers sent; old folders are left alone."""
    daemon = run_daemon(place.write())
    place.drop("a.jpg", photo(123))
    place.settled(1)
    new, new_out = place.add_folder("new")
    place.folder["profile"] = {"format": "png", "bg_color": "red"}
    place.settings["workers"] = 6
    place.write()
    place.drop("there before.jpg", photo(124), new)
    daemon.send(signal.SIGHUP)
    place.wait_until(lambda: daemon.events("reloaded"))
    place.drop("b.jpg", photo(125))
    place.settled(3)
    assert corner_of(place.outbox / "b.png") == (255, 0, 0, 255)
    assert corner_of(place.outbox / "a.png")[3] == 0
    assert number_in(new_out / "there before.png") == 124
    sandbox.latency = 3600
    for number in range(12):
        place.drop(f"n{number}.jpg", photo(130 + number), new)
    place.wait_until(lambda: len(place.states()) == 15 and sandbox.working == 6)
    sandbox.latency = 0
    place.settled(15)
    assert sandbox.max_in_flight == 6
    place.settings["folders"].pop(0)
    place.settings["workers"] = 1
    place.write()
    daemon.send(signal.SIGHUP)
    place.wait_until(lambda: len(daemon.events("reloaded")) == 2)
    place.drop("ignored.jpg", photo(150))
    place.drop("taken.jpg", photo(151), new)
    place.settled(16)
    assert "ignored.jpg" not in place.states()
    assert daemon.stop() == 0


def test_reload_refuses_a_config_with_mistakes(place, sandbox, run_daemon):
    """A bad config is refused with every mistake told, and the old one goes on."""
    daemon = run_daemon(place.write())
    good = place.path.read_text()
    place.path.write_text(good.replace("workers: 4", "wrokers: 4").replace("settle: 0.05", "settle: never"))
    daemon.send(signal.SIGHUP)
    place.wait_until(lambda: daemon.events("config.refused"))
    assert len(daemon.events("config.mistake")) == 2
    place.path.write_text(good)
    place.drop("a.jpg", photo(152))
    place.settled(1)
    place.path.write_text(good.replace("/state", "/elsewhere"))
    daemon.send(signal.SIGHUP)
    place.wait_until(lambda: len(daemon.events("config.refused")) == 2)
    assert "state_dir" in daemon.events("config.mistake")[-1]["problem"]
    assert daemon.stop() == 0


def test_jobs_can_be_retried_and_cancelled_from_outside(place, sandbox, run_daemon):
    """``jobs retry`` sends a done job again and ``jobs cancel`` takes a waiting one out, while the daemon runs."""
    daemon = run_daemon(place.write())
    place.drop("a.jpg", photo(174))
    place.settled(1)
    number = place.jobs()["a.jpg"].id
    place.cli("jobs", "retry", str(number))
    place.wait_until(lambda: sandbox.charged == 2)
    place.settled(1)
    assert place.outputs() == ["a.png"]
    place.cli("pause")
    place.wait_until(lambda: daemon.events("paused"))
    place.drop("b.jpg", photo(175))
    place.wait_until(lambda: place.states().get("b.jpg") == "queued")
    place.cli("jobs", "cancel", str(place.jobs()["b.jpg"].id))
    place.cli("resume")
    place.drop("c.jpg", photo(176))
    place.settled(3)
    assert place.states() == {"a.jpg": "done", "b.jpg": "cancelled", "c.jpg": "done"}
    assert daemon.stop() == 0


def test_reloads_leave_no_connections_behind(place, sandbox):
    """A daemon that is told of new settings again and again keeps no connections of the old ones open."""

    def sockets():
        count = 0
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # closed since
                count += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
        return count

    with place.daemon() as daemon:
        counts = []
        for number in range(6):
            place.drop(f"{number}.jpg", photo(number))
            place.settled(number + 1)
            counts.append(sockets())
            place.settings["workers"] = 1 + number % 2
            place.reload(daemon)
        place.wait_until(lambda: sockets() <= counts[0])
