"""Commands that are told to end: by Ctrl-C, by SIGTERM, or by the terminal that is gone."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time

import pytest
from cli_environment import environment
from PIL import Image

from rembg_watch.sandbox import Sandbox


def until(condition, seconds=60.0):
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


@pytest.fixture
def slow(place):
    """An API that takes as long as a test may last."""
    with Sandbox(credits=100, key="k-12345678", latency=600.0) as running:
        place.write_config(url=running.url.removesuffix("/rmbg"))
        Image.new("RGB", (60, 40), "red").save(place.shoes / "a.png")
        yield running


def default_signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_drain_that_is_told_twice_ends_at_once(place, slow, number):
    """The first signal waits for the photo in flight, for up to a minute; the second one does not."""
    with place.spawn("drain", "-v", preexec_fn=default_signals) as process:
        until(lambda: slow.working)
        process.send_signal(number)
        for line in process.stderr:
            if '"stopping"' in line:
                break
        process.send_signal(number)
        assert process.wait(40) == 128 + number, "it waited for the photo"


@pytest.mark.parametrize("json_too", [True, False])
def test_a_drain_that_is_ended_counts_what_it_finished(place, slow, json_too):
    """What was in flight is waited for, and is told as done, not as still to do; and why it is no 0 for all that."""
    with place.spawn("drain", "-v", *(["--json"] if json_too else []), preexec_fn=default_signals) as process:
        until(lambda: slow.working)
        process.send_signal(signal.SIGTERM)
        for line in process.stderr:
            if '"stopping"' in line:
                break
        slow.latency = 0
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    if json_too:
        result = json.loads(told)
        assert (result["done"], result["open"], result["interrupted"], result["exit_code"]) == (1, 0, True, 1)
    else:
        assert "1 job done, 0 failed, 0 still to do.\nInterrupted: the next run goes on with what is left." in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_removal_that_is_ended_leaves_nothing_and_says_what_it_may_have_cost(place, slow, number):
    """No half file lies in the folder of the photos, and the picture under way is told as possibly charged."""
    out = place.root / "cut"
    with place.spawn("remove", place.shoes / "a.png", "-o", f"{out}/", preexec_fn=default_signals) as process:
        until(lambda: slow.working)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "a.png was being cut out: it was possibly charged." in said
    assert "Traceback" not in said
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_live_status_that_is_ended_gives_the_terminal_back(place, number):
    """The alternate screen is left and the cursor shown, whoever ends it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rembg_watch", "status", "--watch", "-c", place.config],
        env=environment(TERM="xterm"), stdin=theirs, stdout=theirs, stderr=theirs,
        preexec_fn=default_signals,  # noqa: PLW1509 - no threads here
    )  # fmt: skip
    os.close(theirs)
    seen, told = b"", False
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
            if b"work:" in seen and not told:
                told = True
                process.send_signal(number)
    except OSError:  # how a terminal says that nobody is at its other end
        pass
    os.close(ours)
    assert process.wait(60) == (0 if number == signal.SIGINT else 128 + number)
    assert seen.rindex(b"\x1b[?1049l") > seen.rindex(b"\x1b[?1049h")
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")


def test_ctrl_c_is_no_failed_work(place):
    """A command that is interrupted ends with 130, as a shell expects, and not with the 1 of failed work."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        place.write_config(url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with place.spawn("credits", preexec_fn=default_signals) as process:
            asked, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
            asked.close()
    assert process.returncode == 130
    assert said == "\nStopped.\n"
