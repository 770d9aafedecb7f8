"""``status``: one picture of everything, from the database alone."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import sqlite3
import time

import pytest

from rembg_watch.config.load import load_config
from rembg_watch.jobs.lock import StateLock
from rembg_watch.jobs.model import Hold, State, Unready
from rembg_watch.jobs.status_table import PAUSE
from rembg_watch.status import snapshot

NOON = 1_700_000_000.0 // 86400 * 86400 + 12 * 3600
"""Noon of a UTC day in the middle of a month."""


def draw(place, now):
    return snapshot(load_config(place.config), place.database, now)


def test_nothing_is_there_yet(place):
    """Before the first run: an empty, clear picture, exit 0, and nothing made on the disk."""
    told = place.run("status")
    assert told.code == 0
    assert told.out.startswith("daemon: not running, and none has run here yet; start it with 'rembg-watch run'")
    assert re.search(r"^shoes +white +0 +0 +0 +0 +0 +-$", told.out, re.MULTILINE)
    shape = place.run("status", "--json").json
    assert (shape["database"], shape["daemon"], shape["holds"], shape["credits"]) == (False, None, [], None)
    assert [folder["inbox"] for folder in shape["folders"]] == [str(place.shoes), str(place.bags)]
    assert not (place.root / "state").exists()


def test_json_has_the_same_keys_with_and_without_a_database(place):
    """A script can rely on the shape."""
    empty = place.run("status", "--json").json
    place.arrive("a.jpg")
    full = place.run("status", "--json").json
    assert full.keys() == empty.keys()
    assert full["folders"][0].keys() == empty["folders"][0].keys()
    assert full["throughput"].keys() == empty["throughput"].keys()


def test_queue_by_folder_and_state(place):
    """Each inbox with its own numbers; one that the config has no more is shown as such."""
    place.deliver("done.jpg", now=NOON)
    place.fail("bad.jpg", now=NOON)
    place.arrive("a.jpg", "b.jpg")
    place.arrive("c.jpg", inbox=place.bags)
    place.database.write(lambda c: c.execute("UPDATE jobs SET folder = '/srv/gone' WHERE name = 'b.jpg'"))
    shoes, bags, gone = draw(place, NOON).folders
    assert (shoes.queued, shoes.done, shoes.failed, shoes.configured, shoes.profile) == (1, 1, 1, True, "white")
    assert (bags.queued, bags.daily_limit) == (1, 50)
    assert (gone.inbox, gone.queued, gone.configured, gone.profile) == ("/srv/gone", 1, False, None)
    assert "(not in the config)" in place.run("status").out


def test_what_is_held_comes_first_in_words(place):
    """What is held, since when, why, how many wait for it, what ends it and when it is looked at: the first lines."""
    place.arrive("a.jpg", "b.jpg")
    place.arrive("c.jpg", inbox=place.bags)
    now = time.time()
    fingerprint = load_config(place.config).profiles["white"].options.fingerprint
    place.table.hold(Hold(f"profile:{fingerprint}", "options", "'w' must be at least 1", "a new profile", now - 600))
    place.table.hold(
        Hold(f"outbox:{place.root}/out/bags", "full", "no room left", "free space.", now - 120, now + 3000)
    )
    with StateLock(place.root / "state"):
        told = place.run("status").out.splitlines()
    assert re.fullmatch(r"HELD: profile white for 1\d min, 2 jobs waiting: 'w' must be at least 1", told[0])
    assert told[1] == "  goes on: a new profile"
    assert re.match(rf"HELD: outbox {place.root}/out/bags for [2-9] min, 1 job waiting: no room left", told[2])
    assert re.match(r"  goes on: free space; looked at next in (50|4\d) min", told[3])
    assert place.run("status").out.splitlines()[3] == "  goes on: free space.", "without a daemon nobody looks"


def test_jobs_held_twice_are_counted_once(place):
    """And what is held does not count for the time to empty."""
    place.arrive("a.jpg", "b.jpg")
    place.arrive("c.jpg", inbox=place.bags)
    place.table.hold(Hold(f"inbox:{place.shoes}", "missing", "gone", "its return", NOON))
    place.table.hold(Hold(f"outbox:{place.root}/out/shoes", "full", "no room", "space", NOON))
    work = draw(place, NOON).throughput
    assert (work.open, work.held) == (3, 2)
    place.table.hold(Hold(*PAUSE, "lunch", "resume", NOON))
    picture = draw(place, NOON)
    assert picture.throughput.held == 3
    assert [held.jobs for held in picture.holds if held.kind == "pause"] == [3]


def test_time_to_empty(place):
    """From what the last minute got done; nothing is guessed where nothing moves."""
    for number in range(3):
        place.deliver(f"{number}.jpg", now=NOON - 30)
    assert draw(place, NOON).throughput.seconds_to_empty is None
    place.arrive(*(f"q{number}.jpg" for number in range(9)))
    work = draw(place, NOON).throughput
    assert (work.open, work.done_last_minute, work.seconds_to_empty) == (9, 3, 180.0)
    assert draw(place, NOON + 3600).throughput.seconds_to_empty is None


def test_credits_left_and_whether_they_last(place):
    """The reading, less what was sent since, less the reserve, against what is to do."""
    place.write_config(money="{reserve: 10, daily_limit: 100, monthly_limit: 1000}")
    place.deliver("before.jpg", now=NOON - 40 * 86400)
    place.deliver("yesterday.jpg", now=NOON - 86400)
    place.table.set_fact("credits", {"available": 14, "at": NOON - 60, "membership": "P", "source": "billing"}, NOON)
    place.deliver("since.jpg", now=NOON - 30)
    place.arrive("a.jpg", "b.jpg")
    picture = draw(place, NOON)
    credit = picture.credits
    assert (credit.left, credit.reserve, credit.spendable, credit.enough) == (13, 10, 3, True)
    assert credit.days_left == pytest.approx(10.5)
    assert (picture.spent.today, picture.spent.month, picture.spent.monthly_limit) == (1, 2, 1000)
    place.arrive("c.jpg", "d.jpg")
    assert not draw(place, NOON).credits.enough
    assert "1 too few for the 4 photos to send" in place.run("status").out


def test_running_with_and_without_a_daemon(place):
    """With a daemon what was sent, with its age; without one what it left, which the next one goes on with."""
    one, _ = place.send("a.jpg", now=NOON - 9)
    two, _ = place.send("b.jpg", now=NOON - 7)
    told = place.run("status").out
    assert "interrupted; the next daemon goes on with them" in told
    with StateLock(place.root / "state"):
        roots = [{"inbox": str(place.shoes), "health": "missing", "mode": "events", "message": "mount it"}]
        place.table.set_fact("started", {"pid": os.getpid(), "at": NOON - 60}, NOON)
        place.table.set_fact(
            "daemon",
            {"pid": os.getpid(), "version": "9.9", "roots": roots, "per_second": 2.5, "found_by_rescan": 3},
            NOON,
        )  # fmt: skip
        picture = draw(place, NOON)
        told = place.run("status").out
    assert [(job.job, job.since, job.interrupted) for job in picture.running] == [
        (one.id, NOON - 9, False),
        (two.id, NOON - 7, False),
    ]
    assert (picture.daemon.pid, picture.daemon.started_at) == (os.getpid(), NOON - 60)
    assert picture.folders[0].health == "missing"
    assert "the daemon is version 9.9" in told
    assert "shoes: mount it" in told
    assert "3 files found only by a rescan" in told
    assert place.queries.get(one.id).state is State.RUNNING


def test_received_results_are_work_that_needs_no_credit(place):
    """A full outbox holds them, a pause does not; the credits need only be enough for what is still to be sent."""
    place.receive("paid.jpg", now=NOON)
    place.arrive("a.jpg", now=NOON)
    place.table.set_fact("credits", {"available": 1, "at": NOON + 5}, NOON)
    place.table.hold(Hold(*PAUSE, "lunch", "resume", NOON))
    picture = draw(place, NOON + 9)
    assert (picture.folders[0].received, picture.folders[1].received) == (1, 0)
    assert (picture.throughput.open, picture.throughput.held) == (2, 1)
    assert (picture.credits.unsent, picture.credits.enough) == (1, True)
    assert "enough for the 1 photo to send" in place.run("status").out
    place.table.hold(Hold(f"outbox:{place.root}/out/shoes", "full", "no room left", "free space.", NOON))
    picture = draw(place, NOON + 9)
    assert [held.jobs for held in picture.holds] == [1, 2]
    assert picture.throughput.held == 2
    assert re.search(r"^FOLDER +PROFILE +QUEUED +RUNNING +RECEIVED +DONE ", place.run("status").out, re.MULTILINE)


def test_a_store_that_holds_too_little_is_told(place):
    """By the fact that the pruning leaves, for a week; a higher limit in the config ends it."""
    place.table.set_fact("results_short", {"at": NOON, "held": 3 * 86400, "why": "max", "limit": 20 * 10**9}, NOON)
    shown = draw(place, NOON + 86400).results_short
    assert (shown.held, shown.why) == (3 * 86400, "max")
    assert draw(place, NOON + 8 * 86400).results_short is None
    place.config.write_text(place.config.read_text() + "results: {max: 30GB}\n")
    assert draw(place, NOON + 86400).results_short is None
    place.config.write_text(place.config.read_text().replace("results: {max: 30GB}", "results: off"))
    assert draw(place, NOON + 86400).results_short is None


def test_facts_of_a_dead_daemon_are_not_shown(place):
    """What it said last of its roots and its flights is not true any more."""
    place.table.set_fact("daemon", {"pid": 1, "roots": [{"inbox": str(place.shoes), "health": "ok"}]}, NOON)
    picture = draw(place, NOON)
    assert picture.daemon is None
    assert picture.folders[0].health is None


def test_failures_and_files_that_are_not_jobs_yet(place):
    """With their reasons; what somebody must look at comes before what is ignored on purpose."""
    place.fail("bad.jpg", "not a valid image")
    place.table.publish_unready(
        [
            Unready(str(place.shoes), "x.tmp", "ignored", "a temporary name", 1.0),
            Unready(str(place.shoes), "half.jpg", "incomplete", "its end is missing", 2.0),
        ]
    )
    told = place.run("status").out
    assert re.search(r"bad\.jpg +.* ago +not a valid image", told)
    assert told.index("half.jpg") < told.index("x.tmp")
    folder = place.run("status", "--json").json["folders"][0]
    assert (folder["not_ready"], folder["ignored"]) == (1, 1)


EVIL = os.fsdecode(b"[bold red]a[/]\x1b[2J\n\xff\xe2\x80\xae.jpg")
SHOWN = r"[bold red]a[/]\x1b[2J\n\xff\u202e.jpg"


def test_hostile_names_are_escaped(place):
    """Escapes, newlines, bytes that are no UTF-8 and marks that turn the text are shown, not sent to a terminal."""
    place.fail(EVIL, "bad\x1b[2J")
    told = place.run("status")
    assert f"shoes/{SHOWN}" in told.out
    assert "\x1b" not in told.out
    assert r"bad\x1b[2J" in told.out
    (failure,) = place.run("status", "--json").json["failures"]
    assert failure["path"] == EVIL


def test_on_a_terminal(place):
    """Colour for what is held; names are text even where they look like markup; no escape of theirs gets through."""
    place.fail(EVIL)
    place.table.hold(Hold(*PAUSE, "lunch", "rembg-watch resume", time.time()))
    shown = on_terminal(place, "status")
    assert "PAUSED" in shown
    assert "\x1b[1;37;41m" in shown
    assert "[bold red]a[/]" in shown
    assert "\x1b[2J" not in shown


def on_terminal(place, *args, until=None):
    """Run a command on a terminal of its own and give what it wrote; with ``until`` it is interrupted then."""
    leader, follower = pty.openpty()
    process = place.spawn(
        *args,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "50"},
    )
    os.close(follower)
    seen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([leader], [], [], 1)[0]:
            continue
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other side is closed: it has ended
            break
        seen += part
        if until is not None and until in seen:
            process.send_signal(signal.SIGINT)
            until = None
    assert process.wait(60) == 0
    os.close(leader)
    return seen.decode("utf-8", "replace")


def test_watch_on_a_terminal_ends_with_ctrl_c(place):
    """It fills the screen, and gives it back as it was."""
    place.arrive("a.jpg")
    shown = on_terminal(place, "status", "--watch", until=b"1 job to do")
    assert "\x1b[?1049h" in shown
    assert "\x1b[?1049l" in shown


def test_watch_json_prints_a_line_for_each_change(place):
    """From before there is a database; each line is a whole picture; Ctrl-C ends it with exit 0."""
    with place.spawn("status", "--watch", "--json") as watching:
        assert json.loads(watching.stdout.readline())["database"] is False
        place.arrive("a.jpg")
        seen = next(p for p in map(json.loads, watching.stdout) if p["database"])
        assert seen["throughput"]["open"] == 1
        place.table.hold(Hold(*PAUSE, "lunch", "resume", 1.0))
        next(p for p in map(json.loads, watching.stdout) if p["holds"])
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0
        assert watching.stderr.read() == ""


def test_a_database_that_is_being_created_is_none_yet(place):
    """A live status that began before the first daemon does not end while that makes its tables."""
    (place.root / "state").mkdir()
    with contextlib.closing(sqlite3.connect(place.root / "state" / "jobs.db")) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("PRAGMA user_version = 1")
    told = place.run("status", "--json")
    assert (told.code, told.json["database"]) == (0, False)


def test_a_config_with_mistakes_is_exit_78(place):
    """As for every command."""
    place.config.write_text("folder: []\n")
    told = place.run("status")
    assert told.code == 78
    assert "did you mean" in told.err


def test_damaged_database_is_said(place):
    """Exit 73, with what to do."""
    place.database.close()
    (place.root / "state" / "jobs.db").write_bytes(b"my shopping list\n" * 300)
    told = place.run("status")
    assert told.code == 73
    assert "damaged" in told.err
    assert "restore" in told.err
