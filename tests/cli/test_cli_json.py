"""docs/json.md is true: every key that a listing prints is explained there, under its heading."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from PIL import Image

from rembg_watch.jobs.model import Hold, Unready
from rembg_watch.jobs.status_table import PAUSE
from rembg_watch.sandbox import Sandbox

DOC = Path(__file__).parents[2] / "docs" / "json.md"


def keys(value):
    """All keys, at every depth."""
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def explained(heading):
    section = re.search(rf"^## `{re.escape(heading)}`\n(.*?)(?=^## |\Z)", DOC.read_text(), re.MULTILINE | re.DOTALL)
    text = section[1]
    return set(re.findall(r"`(\w+)`", text)) | set(re.findall(r'"(\w+)"', text))


@pytest.fixture
def busy(place):
    """A place where every listing has something to show."""
    place.fail("bad.jpg")
    place.deliver("good.jpg", now=time.time())
    place.reject("odd.jpg")
    place.receive("paid.jpg")
    shortage = {"at": time.time() - 60, "held": 86400, "why": "disk", "limit": 20 * 10**9}
    place.table.set_fact("results_short", shortage, time.time())
    place.send("lost.jpg")
    place.table.hold(Hold(*PAUSE, "lunch", "resume", 1.0))
    place.table.publish_unready([Unready(str(place.shoes), "x.tmp", "ignored", "a temporary name", 2.0)])
    place.table.set_fact("credits", {"available": 14, "at": 1.0}, 1.0)
    with Sandbox(key="k-12345678") as running:
        place.write_config(url=running.url.removesuffix("/rmbg"))
        yield place


@pytest.mark.parametrize(
    ("heading", "commands"),
    [
        ("status --json", [("status",)]),
        ("jobs list --json", [("jobs", "list")]),
        ("results list --json", [("results", "list")]),
        ("credits --json", [("credits",), ("credits", "--cycles"), ("credits", "--month", "2026-03")]),
        ("credits report --json", [("credits", "report")]),
        ("check --json", [("check",)]),
        ("drain --dry-run --json", [("drain", "--dry-run")]),
    ],
)
def test_every_key_is_explained(busy, heading, commands):
    """Nobody has to guess what a key means."""
    for command in commands:
        shown = busy.run(*command, "--json").json
        assert keys(shown) - explained(heading) == set()


def test_every_key_of_a_job_is_explained(busy):
    """Those that it shares with the list stand there."""
    shown = busy.run("jobs", "show", 2, "--json").json
    assert keys(shown) - explained("jobs show ID --json") - explained("jobs list --json") == set()


def test_every_key_of_a_drain_is_explained(busy):
    """One that has something to tell of each: what is held, what was left alone, which inbox can't be read."""
    (busy.shoes / "x.tmp").write_bytes(b"half")
    busy.bags.rmdir()
    with busy.spawn("drain", "--json") as process:
        shown = json.loads(process.communicate(timeout=60)[0])
    assert shown["holds"]
    assert shown["left"]
    assert shown["unreadable"]
    assert keys(shown) - explained("drain --json") == set()


def test_every_key_of_a_removal_is_explained(busy):
    """Of a picture that is done, and of one that is not."""
    Image.new("RGB", (60, 40), "white").save(busy.root / "shoe.jpg")
    (busy.root / "bad.jpg").write_text("no picture")
    shown = busy.run("remove", busy.root / "shoe.jpg", busy.root / "bad.jpg", "--json").json
    assert [note["ok"] for note in shown] == [True, False]
    assert keys(shown) - explained("remove --json") == set()


def test_no_key_is_explained_that_does_not_exist(busy):
    """The tables name real keys only."""
    for heading, command in (
        ("status --json", ("status",)),
        ("results list --json", ("results", "list")),
        ("credits report --json", ("credits", "report")),
    ):
        shown = keys(busy.run(*command, "--json").json)
        section = DOC.read_text().split(f"## `{heading}`")[1].split("\n## ")[0]
        first_cells = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
        named = {key for cell in first_cells for key in re.findall(r"`(\w+)`", cell)}
        assert named
        assert named <= shown
