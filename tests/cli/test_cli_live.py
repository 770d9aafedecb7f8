"""Looking and steering beside the real daemon, with the real sandbox behind it."""

from __future__ import annotations

import contextlib
import signal
import time

import pytest
from PIL import Image

from rembg_watch.sandbox import Sandbox


def until(condition, seconds=60.0):
    """Wait for a condition and give what it gave."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to pass")


@pytest.fixture
def sandbox(place):
    with Sandbox(credits=100, key="k-12345678") as running:
        place.write_config(url=running.url.removesuffix("/rmbg"))
        yield running


@contextlib.contextmanager
def running(place, *, kill=False):
    """Run the daemon; end it at the end of the block, or kill it there."""
    with (place.root / "log").open("w") as log, place.spawn("run", stdout=log, stderr=log) as process:
        try:
            until(lambda: place.run("status", "--json").json["daemon"])
            yield process
        finally:
            if kill:
                process.kill()
                process.wait(60)
            else:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0, (place.root / "log").read_text()


@pytest.fixture
def daemon(place, sandbox):
    """The daemon; it starts paused."""
    place.run("pause", "--reason", "not yet")
    with running(place) as process:
        yield process


def drop(path, colour="red"):
    picture = Image.new("RGB", (120, 90), "white")
    picture.paste(colour, (30, 20, 90, 70))
    picture.save(path)


def states(place):
    return [job["state"] for job in place.run("jobs", "list", "--json").json["jobs"]]


def test_pause_resume_and_retry_beside_the_daemon(place, sandbox, daemon):
    """Photos are taken in while it is paused, sent once it goes on; a retry of a done job is sent again."""
    drop(place.shoes / "a.png")
    drop(place.bags / "b.png", "blue")
    until(lambda: states(place) == ["queued", "queued"])
    told = place.run("status").out
    assert told.startswith("PAUSED")
    assert "2 jobs waiting: not yet" in told
    assert f"daemon: running (process {daemon.pid}" in told
    assert sandbox.charged == 0
    assert place.run("resume").out == "Resumed.\n"
    until(lambda: states(place) == ["done", "done"])
    assert sandbox.charged == 2
    assert place.run("jobs", "retry", 1).code == 0
    until(lambda: sandbox.charged == 3)
    until(lambda: states(place) == ["done", "done"])
    shown = place.run("jobs", "show", 1, "--json").json["job"]
    assert [attempt["charge"] for attempt in shown["attempts_made"]] == ["charged", "charged"]
    assert place.run("credits", "report", "--json").json["total"]["charged"] == 3
    assert place.run("credits", "--json").json["available"] == 97


def test_files_that_are_not_jobs_yet_are_seen(place, daemon):
    """Half a picture is in the list, with its reason, while the daemon waits for the rest of it."""
    drop(place.root / "whole.png")
    (place.shoes / "half.png").write_bytes((place.root / "whole.png").read_bytes()[:-20])

    def seen():
        files = place.run("jobs", "list", "--json").json["not_jobs_yet"]
        return [file for file in files if file["path"] == "half.png"]

    (file,) = until(seen)
    assert file["state"] in ("settling", "incomplete")
    assert file["reason"]
    assert "half.png" in place.run("status").out


def test_too_many_photos_wait_until_their_inbox_is_resumed(place, sandbox):
    """None is sent before that; the price is told, and photos that came before do not count again."""
    text = place.config.read_text().replace("profile: white}", "profile: white, hold_above: 2, settle: 0.1}")
    place.config.write_text(text)
    for number in range(4):
        drop(place.shoes / f"{number}.png", (number * 60, 0, 0))
    place.run("pause")
    with running(place):
        (held,) = until(lambda: [h for h in place.run("status", "--json").json["holds"] if h["kind"] == "too-many"])
        until(lambda: states(place) == ["queued"] * 4)
        place.run("resume")
        drop(place.bags / "b.png", "blue")
        until(lambda: sandbox.charged == 1)
        assert "new photos came within 10 minutes, which would cost up to" in held["why"]
        assert "(hold_above is 2)" in held["why"]
        time.sleep(1)
        assert sandbox.charged == 1
        told = place.run("resume", "--folder", "shoes").out
        assert told.startswith(f"Resumed: 4 photos in {place.shoes} will be sent now, for up to 4 credits")
        until(lambda: sandbox.charged == 5)
        drop(place.shoes / "new.png", "green")
        until(lambda: states(place) == ["done"] * 6)
        assert place.run("status", "--json").json["holds"] == []


def test_a_photo_that_was_sent_in_two_crashes_in_a_row_fails(place):
    """It may be what crashes the daemon, and each time may cost a credit. Nothing more is sent before it is retried."""

    def sent(times):
        return place.ledger.spent_since(0.0) == times and states(place) == ["running"]

    drop(place.shoes / "a.png")
    with Sandbox(credits=100, key="k-12345678", latency=60) as slow:
        place.write_config(url=slow.url.removesuffix("/rmbg"))
        for times in (1, 2):
            with running(place, kill=True):
                until(lambda times=times: sent(times))
        with running(place):
            until(lambda: states(place) == ["failed"])
        shown = place.run("jobs", "show", 1).out
        assert "rembg-watch crashed 2 times while this photo was being sent [crash]" in shown
        assert shown.count("possibly charged") == 2
        assert (place.shoes / "a.png").exists()
