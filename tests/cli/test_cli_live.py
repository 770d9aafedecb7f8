"""Looking and steering beside the real daemon, with the real sandbox behind it."""

from __future__ import annotations

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


@pytest.fixture
def daemon(place, sandbox):
    """The daemon; it starts paused."""
    place.run("pause", "--reason", "not yet")
    with (place.root / "log").open("w") as log, place.spawn("run", stdout=log, stderr=log) as running:
        try:
            until(lambda: place.run("status", "--json").json["daemon"])
            yield running
        finally:
            if running.poll() is None:
                running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0, (place.root / "log").read_text()


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
