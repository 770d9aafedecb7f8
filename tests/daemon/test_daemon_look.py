"""The look at the account when a daemon starts, or gets a new key, and has nothing to do: free, and told at once."""

from __future__ import annotations

import signal
import socket
import threading
import time

from daemon_photos import photo

from rembg_watch.systemd import notify


def test_a_refused_key_is_told_before_the_first_photo(place, sandbox, run_daemon):
    """With an empty inbox ``status`` says within a moment that everything is held for the key; nothing was sent."""
    sandbox.set_key("another-key")
    daemon = run_daemon(place.write())
    place.wait_until(lambda: daemon.events("hold.begin"))
    asked = len(sandbox.usage_calls)  # half a minute later it is asked again
    place.wait_until(place.holds)  # written down a moment after it is told
    assert [hold["kind"] for hold in place.cli_json("status")["holds"]] == ["key"]
    loud = [event for event in daemon.events() if event["level"] in {"warning", "error"}]
    assert [event["event"] for event in loud] == ["hold.begin"]
    assert (asked, sandbox.requests) == (1, [])
    place.settings["api"]["key"] = "another-key"
    place.write()
    daemon.send(signal.SIGHUP)
    place.wait_until(lambda: not place.holds())
    assert daemon.stop() == 0


def test_systemd_is_told_of_a_refused_key(place, sandbox, tmp_path, monkeypatch):
    """The status line of an idle service says that the key is refused."""
    sandbox.set_key("another-key")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        said = []
        # From the start on: a few lines that nobody reads, and further ones are dropped.
        listening = threading.Thread(
            target=lambda: said.extend(iter(lambda: systemd.recv(8192).decode(), "end")), daemon=True
        )
        listening.start()
        with place.daemon():
            why = place.wait_until(lambda: place.holds().get(("all", "key"))).message
            place.wait_until(lambda: any(f"held: {why}" in line for line in said))
        monkeypatch.delenv("NOTIFY_SOCKET")
        systemd.sendto(b"end", str(tmp_path / "notify"))
        listening.join()


def test_systemd_hears_a_line_that_it_could_not_take_before(place, sandbox, tmp_path, monkeypatch):
    """The status line is sent again after systemd did not listen, although nothing about it has changed."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    lost = []

    def note(**variables):
        heard = notify(**variables)
        if not heard:
            lost.append(variables.get("STATUS", ""))
        return heard

    monkeypatch.setattr("rembg_watch.status.notify", note)
    with place.daemon() as daemon:
        line = "0 to do; 0 done in the last minute; 10000 credits"
        place.wait_until(lambda: sandbox.usage_calls)
        place.reload(daemon)  # the next turn of the main loop sends the line
        place.wait_until(lambda: line in lost, what=lost)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(tmp_path / "notify"))
            systemd.settimeout(60)
            while line not in systemd.recv(8192).decode():
                pass
    monkeypatch.delenv("NOTIFY_SOCKET")


def test_the_look_is_the_first_reading(place, sandbox, run_daemon):
    """What is left is shown before anything is sent, and the first photo does not ask again."""
    daemon = run_daemon(place.write())
    place.wait_until(lambda: len(sandbox.usage_calls) == 1)
    place.wait_until(lambda: place.cli_json("status")["credits"])
    place.drop("a.jpg", photo(1))
    place.settled(1)
    assert daemon.stop() == 0
    assert len(sandbox.usage_calls) == sandbox.charged == 1


def test_a_look_that_fails_holds_nothing(place, sandbox, run_daemon):
    """A network that is not up yet is one warning; the photo that comes when it is goes out at once."""
    sandbox.set_usage_faults({"503": 1.0})
    daemon = run_daemon(place.write())
    place.wait_until(lambda: daemon.events("credits.unreadable"))
    assert place.holds() == {}
    sandbox.clear_faults()
    place.drop("a.jpg", photo(2))
    place.settled(1)
    loud = [event["event"] for event in daemon.events() if event["level"] in {"warning", "error"}]
    assert loud == ["credits.unreadable"]
    assert daemon.stop() == 0


def test_nobody_waits_for_a_look_that_hangs(place, sandbox, run_daemon):
    """It is ready while the usage call gets no answer, and ends at once when it is told to."""
    sandbox.set_usage_faults({"stall": 1.0})
    daemon = run_daemon(place.write())
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < 28  # the call would wait for 30 s
    assert [event["event"] for event in daemon.events() if event["level"] in {"warning", "error"}] == []


def test_a_new_key_is_looked_at(place, sandbox, run_daemon):
    """A reload with a key that is refused says so at once as well; one that changes no key asks nothing."""
    daemon = run_daemon(place.write())
    place.wait_until(lambda: len(sandbox.usage_calls) == 1)
    place.settings["workers"] = 2
    place.write()
    daemon.send(signal.SIGHUP)
    place.wait_until(lambda: daemon.events("reloaded"))
    sandbox.set_key("test-key-0001")
    place.settings["api"]["key"] = "mistyped"
    place.write()
    daemon.send(signal.SIGHUP)
    place.wait_until(lambda: ("all", "key") in place.holds())
    keys = [call.headers["x-api-key"] for call in sandbox.usage_calls]
    assert keys.count("test-key-0001") == 1
    assert "mistyped" in keys
    assert daemon.stop() == 0


def test_a_photo_that_comes_during_the_look_waits_for_its_reading(place, sandbox, run_daemon):
    """It does not ask a second time, and goes out with the answer."""
    sandbox.set(slow_seconds=1.5)
    sandbox.set_usage_faults({"slow": 1.0})
    daemon = run_daemon(place.write())
    place.drop("a.jpg", photo(3))
    place.settled(1)
    assert daemon.stop() == 0
    assert len(sandbox.usage_calls) == sandbox.charged == 1
