"""Starting and ending: what a start refuses, what a stop waits for, and what the next run finds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading

import pytest
from daemon_photos import number_in, photo

from rembg_watch.config.load import load_config
from rembg_watch.daemon import Daemon
from rembg_watch.errors import AlreadyRunning, StateError

MISTAKES = """\
api:
  key: test-key-0001
  url: ftp://api.rembg.com/rmbg
workers: 0
shutdown_grace: soon
colour: red
credits:
  batch_size: -1
  resreve: 5
profiles:
  a: {format: gif}
  b: {mask: true, bg_color: red}
folders:
  - inbox: inbox
    outbox: out
    profile: c
    settle: -1
"""


def test_ten_mistakes_are_ten_lines_and_exit_78(place, run_daemon):
    """Every mistake is told at once, each with its line; nothing is started."""
    place.path.write_text(MISTAKES)
    process = run_daemon(place.path, ready=False)
    assert process.process.wait(60) == 78
    process.stop()
    lines = [line for line in process.lines if line.startswith(f"{place.path}:") or f"{place.path}:" in line]
    assert len(lines) == 10, process.lines
    for number, key in [(3, "api.url"), (4, "workers"), (5, "shutdown_grace"), (6, "colour"), (8, "batch_size")]:
        assert any(f":{number}:" in line and key in line for line in lines), (number, key)
    assert any("did you mean" in line and "reserve" in line for line in lines)
    assert not (place.root / "state").exists()


def test_a_second_daemon_is_refused_with_exit_75(place, sandbox, run_daemon):
    """Two daemons never share a state directory; the first one does not notice."""
    first = run_daemon(place.write())
    second = run_daemon(place.path, ready=False)
    assert second.process.wait(60) == 75
    second.stop()
    assert any(str(place.root / "state") in line for line in second.lines)
    place.drop("a.jpg", photo(120))
    place.settled(1)
    assert first.stop() == 0
    with place.daemon(), pytest.raises(AlreadyRunning):
        Daemon(load_config(place.path))


def test_a_refused_key_is_one_clear_line_and_no_image_is_sent(place, sandbox, run_daemon):
    """With a wrong key the daemon says so once, with what to do, sends nothing and waits for a better one."""
    sandbox.set_key("another-key")
    for number in range(5):
        place.drop(f"{number}.jpg", photo(number))
    daemon = run_daemon(place.write())
    place.wait_until(lambda: daemon.events("hold.begin"))
    place.wait_until(lambda: len(place.states()) == 5 and place.holds())  # it is told before it is written down
    assert place.cli_json("status")["holds"][0]["kind"] == "key"
    assert sandbox.requests == []
    loud = [event for event in daemon.events() if event["level"] in {"warning", "error"}]
    assert [event["event"] for event in loud] == ["hold.begin"]
    assert "key" in loud[0]["reason"]
    assert "api.key" in loud[0]["release"]
    place.settings["api"]["key"] = "another-key"
    place.write()
    daemon.send(signal.SIGHUP)
    place.settled(5)
    assert daemon.stop() == 0
    assert sandbox.charged == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_finishes(place, sandbox, run_daemon, number):
    """After the signal nothing new is sent; the photos in flight are delivered, and the rest waits for the next start."""
    place.settings["workers"] = 3
    sandbox.latency = 3600
    for index in range(12):
        place.drop(f"{index}.jpg", photo(index))
    daemon = run_daemon(place.write())
    place.wait_until(lambda: sandbox.working == 3)
    daemon.send(number)
    place.wait_until(lambda: daemon.events("stopping"))
    sandbox.latency = 0
    assert daemon.ended() == 0
    assert len(sandbox.requests) == 3
    assert sorted(place.states().values()) == ["done"] * 3 + ["queued"] * 9
    assert len(place.outputs()) == 3
    assert place.ledger() == (3, 0)
    assert not place.leftovers()
    with place.daemon():
        place.settled(12)
    assert sandbox.charged == 12


def test_nothing_goes_out_while_the_watching_ends(place, sandbox, monkeypatch):
    """To let go of a slow disk may take seconds: what stands in line is not sent meanwhile."""
    place.settings["workers"] = 1
    sandbox.latency = 3600
    for index in range(3):
        place.drop(f"{index}.jpg", photo(index))
    with place.daemon() as daemon:
        place.wait_until(lambda: sandbox.working == 1)
        end = daemon.intake.stop

        def slowly():
            sandbox.latency = 0
            place.wait_until(lambda: "done" in place.states().values())
            end()

        monkeypatch.setattr(daemon.intake, "stop", slowly)
    assert len(sandbox.requests) == 1
    assert sorted(place.states().values()) == ["done", "queued", "queued"]


def test_what_does_not_finish_in_time_is_given_back(place, sandbox, run_daemon):
    """After ``shutdown_grace`` the daemon ends; the photo is possibly charged, and delivered after the next start."""
    place.settings["shutdown_grace"] = 0.3
    place.settings["api"]["read_timeout"] = 600
    sandbox.next("stall")
    place.drop("a.jpg", photo(153))
    daemon = run_daemon(place.write())
    place.wait_until(lambda: sandbox.requests)
    assert daemon.stop() == 0
    assert place.states() == {"a.jpg": "running"}
    assert place.ledger() == (0, 1)
    with place.daemon():
        place.settled(1)
    assert place.ledger() == (1, 1)
    assert not place.leftovers()


def test_a_second_signal_ends_at_once(place, sandbox, run_daemon):
    """Asked twice, the daemon does not wait; nothing is lost, and no photo fails, however often that is done."""
    place.settings["shutdown_grace"] = 600
    place.settings["api"]["read_timeout"] = 600
    sandbox.next("stall", "stall", "stall")
    place.drop("a.jpg", photo(154))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        sent = len(sandbox.requests)
        daemon = run_daemon(place.write())
        place.wait_until(lambda n=sent: len(sandbox.requests) > n)
        daemon.send(number)
        place.wait_until(lambda d=daemon: d.events("stopping"))
        assert daemon.stop(number) == 128 + number
    with place.daemon():
        place.settled(1)
    assert place.states() == {"a.jpg": "done"}


def test_a_lost_database_costs_nothing(place, sandbox):
    """Outputs that stand in their places are adopted when the database is gone: nothing is paid for again."""
    names = ["a.jpg", "deep/er/b.png", "same.jpg", "same.png", os.fsdecode(b"bytes \xff.jpg")]
    with place.daemon():
        for number, name in enumerate(names):
            place.drop(name, photo(160 + number, "png" if name.endswith("png") else "jpg"))
        place.settled(len(names))
    before = {path: (place.outbox / path).stat().st_mtime_ns for path in place.outputs()}
    shutil.rmtree(place.root / "state")
    with place.daemon():
        place.settled(len(names))
        assert {job.how.value for job in place.jobs().values()} == {"adopted"}
        place.drop("new.jpg", photo(170))
        place.settled(len(names) + 1)
        place.drop("a.jpg", photo(171))  # a changed source is sent, and takes the place of what was adopted
        place.wait_until(lambda: number_in(place.outbox / "a.png") == 171)
    assert sandbox.charged == len(names) + 2
    assert {path: (place.outbox / path).stat().st_mtime_ns for path in before if path != "a.png"} == {
        path: at for path, at in before.items() if path != "a.png"
    }


def test_adoption_can_be_switched_off(place, sandbox):
    """With ``adopt_existing: false`` what lies in the outbox is somebody else's, and kept."""
    place.folder["adopt_existing"] = False
    place.outbox.mkdir()
    place.drop("a.jpg", photo(172))
    (place.outbox / "a.png").write_bytes(photo(173, "png"))
    with place.daemon():
        place.settled(1)
    assert (place.outbox / "a.png").read_bytes() == photo(173, "png")
    assert number_in(place.outbox / "a.jpg.png") == 172


def test_a_state_directory_that_others_may_write_is_refused(place, run_daemon):
    """Whoever can write the state could make the daemon spend: exit 73, with what to do."""
    state = place.root / "state"
    state.mkdir()
    state.chmod(0o777)
    process = run_daemon(place.write(), ready=False)
    assert process.process.wait(60) == 73
    process.stop()
    assert any("chmod o-w" in line for line in process.lines)
    with pytest.raises(StateError):
        Daemon(load_config(place.path))


def test_the_key_is_nowhere_to_be_seen(place, sandbox, run_daemon):
    """Neither the log, nor the database, nor the process list show the API key."""
    daemon = run_daemon(place.write())
    sandbox.next("500")
    place.drop("a.jpg", photo(177))
    place.settled(1)
    listed = subprocess.run(
        ["ps", "-ww", "-o", "args", "-p", str(daemon.process.pid)], capture_output=True, check=False
    )
    assert daemon.stop() == 0
    everything = listed.stdout + b"".join(
        path.read_bytes() for path in (place.root / "state").iterdir() if path.is_file()
    )
    assert b"test-key-0001" not in everything + daemon.log.read_bytes()
    assert sandbox.requests[0].headers["x-api-key"] == "test-key-0001"


def test_a_run_that_ends_before_its_sweep_leaves_it_to_the_next(place, monkeypatch):
    """What a killed run left is cleared away, even if the run after it was stopped, in good order, too soon for that."""
    left = place.outbox / "a" / ".rembg-watch-7-0123456789abcdef.part"
    let_go = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr("rembg_watch.startup.sweep", lambda *_: let_go.wait(20))
        with place.daemon():  # the very first run: nothing says that one before it ended well
            left.parent.mkdir()
            left.touch()
    let_go.set()
    with place.daemon():
        place.wait_until(lambda: not left.exists())
