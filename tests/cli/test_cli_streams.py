"""Commands whose stdout or stderr is closed, on a full disk, or in another encoding."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_environment import environment
from PIL import Image

from rembg_watch.cli.streams import is_unwritable
from rembg_watch.sandbox import Sandbox

FULL = "/dev/full"


@pytest.fixture
def api(place):
    with Sandbox(credits=100, key="k-12345678") as running:
        place.write_config(url=running.url.removesuffix("/rmbg"))
        yield running


@pytest.fixture
def photo(place):
    Image.new("RGB", (60, 40), "red").save(place.shoes / "a.png")
    return place.shoes / "a.png"


def end(process):
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in (err or "")
    return process.returncode, out, err


def closing(place, *args, number):
    """Run a command with one of its streams closed; give its exit code and what is on the other one."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {number}>&-', "sh", sys.executable, "-m", "rembg_watch", *args, "-c", place.config],
        cwd=place.root, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "command", ["status", "status --json", "jobs list", "pause", "check --offline", "status --help"]
)
def test_a_full_disk_behind_stdout_is_one_clear_line(place, command):
    """73 and the reason, as for every other file that can't be written."""
    with open(FULL, "w") as full:
        code, _, said = end(place.spawn(*command.split(), stdout=full))
    assert code == 73
    assert said.startswith("rembg-watch: can't write the output: No space left on device\n")


@pytest.mark.parametrize("command", ["status", "status --json", "jobs list", "drain --dry-run", "pause"])
def test_a_closed_stdout_is_nobody_listening(place, command):
    """The command does its work and fails for nothing."""
    assert closing(place, *command.split(), number=1) == (0, "")


def test_only_what_is_printed_is_called_output():
    """A full disk under one of our files is no matter of stdout: whoever wrote is told apart."""
    with open(FULL, "wb", buffering=0) as full, pytest.raises(OSError, match="No space") as printed:
        click.echo(b"x", file=full)
    assert is_unwritable(printed.value)
    with open(FULL, "wb", buffering=0) as full, pytest.raises(OSError, match="No space") as written:
        full.write(b"x")
    assert not is_unwritable(written.value)


def test_a_picture_for_a_closed_stdout_is_not_sent(place, api, photo):
    """Where it can be known beforehand that the result is lost, nothing is paid for it."""
    code, said = closing(place, "remove", str(photo), "-o", "-", number=1)
    assert code == 2
    assert "stdout, which is closed" in said
    assert api.snapshot()["charged"] == 0


def test_a_picture_that_stdout_does_not_take_is_told_as_paid(place, api, photo):
    """A full disk behind stdout is only met with the paid result: that is said, and where it is."""
    with open(FULL, "w") as full:
        code, _, said = end(place.spawn("remove", photo, "-o", "-", stdout=full))
    assert code == 73
    assert "can't write the picture to stdout: No space left on device" in said
    kept = re.search("The picture was charged, and is kept as (.*): move it from there", said)
    Path(kept[1]).unlink()


def test_stdin_may_be_closed(place, api):
    """There is no picture on it, which is one failed picture and no crash."""
    process = place.spawn("remove", "-", "--base64", preexec_fn=lambda: os.close(0))
    code, _, said = end(process)
    assert code == 1
    assert "empty" in said


@pytest.mark.parametrize("stderr", ["full", "closed", "broken"])
def test_logs_that_can_not_be_written_stop_no_work(place, api, photo, stderr):
    """The photo is delivered, and the exit code is that of the work."""
    if stderr == "closed":
        assert closing(place, "drain", "-v", number=2)[0] == 0
    elif stderr == "full":
        with open(FULL, "w") as full:
            assert end(place.spawn("drain", "-v", stderr=full))[0] == 0
    else:
        ours, theirs = os.pipe()
        os.close(ours)
        process = place.spawn("drain", "-v", stderr=theirs)
        os.close(theirs)
        assert end(process)[0] == 0
    assert (place.root / "out/shoes/a.png").exists()


def test_what_is_no_text_is_no_crash(place):
    """A reason in another encoding is shown as what it is; it can't drive a terminal later."""
    assert place.run("pause", "--reason", "caf\udce9 \x1b[31m").code == 0
    assert r"caf\xe9 \x1b[31m" in place.run("status").out
    held = json.loads(place.run("status", "--json").out)["holds"]
    assert held[0]["why"] == "caf\\xe9 \x1b[31m"
