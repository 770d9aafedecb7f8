"""The life of the daemon: start, mistakes, a second one, pause, reload, signals, and a database that was lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading

import pytest
from daemon_photos import corner_of, number_in, photo

from rembg_watch.config.load import load_config
from rembg_watch.daemon import Daemon, life
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
    assert process.process.wait(20) == 78
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
    assert second.process.wait(20) == 75
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
    place.wait_until(lambda: len(place.states()) == 5)
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


def test_pause_and_resume_survive_a_restart(place, sandbox):
    """While paused nothing is sent though photos are taken in; a restart does not end it, ``resume`` does."""
    with place.daemon():
        place.cli("pause", "--reason", "stocktaking")
        place.wait_until(lambda: ("all", "pause") in place.holds())
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
    sandbox.set(latency=0.5)
    for number in range(10):
        place.drop(f"{number}.jpg", photo(number))
    with place.daemon() as daemon:
        place.wait_until(lambda: sandbox.in_flight == 2)
        place.cli("pause")
        place.wait_until(lambda: daemon.holds.has("all", "pause"))
        place.wait_until(lambda: not sandbox.in_flight and daemon.dispatcher.idle())
        sent = len(sandbox.requests)
        assert sent < 10
        assert sum(state == "done" for state in place.states().values()) == sent
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
    sandbox.set(latency=0.5)
    for number in range(12):
        place.drop(f"n{number}.jpg", photo(130 + number), new)
    place.settled(15)
    assert sandbox.max_in_flight == 6
    sandbox.set(latency=0)
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_finishes(place, sandbox, run_daemon, number):
    """After the signal nothing new is sent; the photos in flight are delivered, and the rest waits for the next start."""
    place.settings["workers"] = 3
    sandbox.set(latency=1.0)
    for index in range(12):
        place.drop(f"{index}.jpg", photo(index))
    daemon = run_daemon(place.write())
    place.wait_until(lambda: sandbox.in_flight == 3)
    seen = len(sandbox.requests) + 3
    assert daemon.stop(number) == 0
    assert len(sandbox.requests) == seen
    states = place.states()
    assert sorted(states.values()) == ["done"] * seen + ["queued"] * (12 - seen)
    assert len(place.outputs()) == seen
    assert place.ledger() == (seen, 0)
    assert not place.leftovers()
    sandbox.set(latency=0)
    with place.daemon():
        place.settled(12)
    assert sandbox.charged == 12


def test_what_does_not_finish_in_time_is_given_back(place, sandbox, run_daemon):
    """After ``shutdown_grace`` the daemon ends; the photo is possibly charged, and delivered after the next start."""
    place.settings["shutdown_grace"] = 0.3
    sandbox.next("stall")
    place.drop("a.jpg", photo(153))
    daemon = run_daemon(place.write())
    place.wait_until(lambda: sandbox.in_flight == 1)
    assert daemon.stop(seconds=10) == 0
    assert place.states() == {"a.jpg": "queued"}
    assert place.ledger() == (0, 1)
    with place.daemon():
        place.settled(1)
    assert place.ledger() == (1, 1)
    assert not place.leftovers()


def test_a_second_signal_ends_at_once(place, sandbox, run_daemon):
    """Asked twice, the daemon does not wait; nothing is lost."""
    sandbox.next("stall")
    place.drop("a.jpg", photo(154))
    daemon = run_daemon(place.write())
    place.wait_until(lambda: sandbox.in_flight == 1)
    daemon.send(signal.SIGTERM)
    place.wait_until(lambda: daemon.events("stopping"))
    assert daemon.stop(seconds=5) == 128 + signal.SIGTERM
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
    assert process.process.wait(20) == 73
    process.stop()
    assert any("chmod o-w" in line for line in process.lines)
    with pytest.raises(StateError):
        Daemon(load_config(place.path))


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
    place.drop("b.jpg", photo(175))
    place.wait_until(lambda: place.states().get("b.jpg") == "queued")
    place.cli("jobs", "cancel", str(place.jobs()["b.jpg"].id))
    place.cli("resume")
    place.drop("c.jpg", photo(176))
    place.settled(3)
    assert place.states() == {"a.jpg": "done", "b.jpg": "cancelled", "c.jpg": "done"}
    assert daemon.stop() == 0


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
    monkeypatch.setattr(life, "SWEEP_PATIENCE", 0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Daemon, "_sweep", lambda _: let_go.wait(20))
        with place.daemon():  # the very first run: nothing says that one before it ended well
            left.parent.mkdir()
            left.touch()
    let_go.set()
    monkeypatch.undo()
    with place.daemon():
        place.wait_until(lambda: not left.exists())
