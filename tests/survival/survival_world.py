"""A whole set-up in one directory: inboxes, outboxes, a config, a sandbox, and daemons that are started and killed."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import survival_process
import yaml
from PIL import Image, ImageDraw

from rembg_watch.config.load import load_config
from rembg_watch.errors import StateError
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.queries import Queries
from rembg_watch.jobs.status_table import StatusTable
from rembg_watch.sandbox import Sandbox
from rembg_watch.sandbox.cutout import open_picture, render
from rembg_watch.sandbox.validate import parse_wish
from rembg_watch.status import snapshot


def picture(number, size=(64, 48), kind="PNG"):
    """Give the bytes of a photo like no other: a disc of its own colour on a plain backdrop."""
    dice = random.Random(number)
    image = Image.new("RGB", size, (244, 244, 242))
    colour = tuple(dice.randrange(10, 180) for _ in range(3))
    ImageDraw.Draw(image).ellipse((size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4), fill=colour)
    for _ in range(20):
        image.putpixel(
            (dice.randrange(size[0] // 3, size[0] // 2), dice.randrange(size[1] // 3, size[1] // 2)), colour[::-1]
        )
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def cut_out(photo, **options):
    """Give the answer of the sandbox to a photo: the very bytes."""
    wish = parse_wish({"format": "PNG", **options})
    return render(open_picture(io.BytesIO(photo)), wish)


def until(condition, seconds=60.0, what=""):
    """Wait until ``condition`` gives something true, and give it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.01)
    pytest.fail(f"not within {seconds} s: {what() if callable(what) else what or condition}")


class Paid(NamedTuple):
    """What the ledger says was spent."""

    charged: int
    possibly: int


class World:
    """``root`` has ``in``, ``out``, ``archive``, ``failed`` and ``state``."""

    def __init__(self, root: Path, **sandbox) -> None:
        self.root = root
        self.inbox, self.outbox = root / "in", root / "out"
        self.archive, self.failed, self.state = root / "archive", root / "failed", root / "state"
        self.elsewhere = root / "elsewhere"
        self.inbox.mkdir(parents=True)
        self.elsewhere.mkdir()
        self.log = root / "log"
        self.config = root / "config.yaml"
        self.sandbox = Sandbox(**{"credits": 1000, **sandbox}).start()
        self.processes = []
        self.sources = {}
        """The bytes of each photo by its path in the inbox, as they were last put there."""
        self.write_config()

    # -- set-up

    def write_config(self, *, folders=None, api=None, **top):
        """Write a config; ``folder`` keys update those of the one folder, other keys those of the file."""
        folder = {
            "inbox": str(self.inbox),
            "outbox": str(self.outbox),
            "profile": "clear",
            "settle": 0.05,
            "rescan": 0.5,
            **top.pop("folder", {}),
        }
        written = {
            "api": {
                "key": "survival-key",
                "url": self.sandbox.url,
                "usage_url": self.sandbox.usage_url,
                "connect_timeout": 10,
                "read_timeout": 60,
                **(api or {}),
            },
            "state_dir": str(self.state),
            "workers": 1,
            "shutdown_grace": 60,
            "retry": {"base_delay": 0.05, "max_delay": 0.2},
            "profiles": {"clear": {"format": "png"}},
            "folders": folders or [folder],
            **top,
        }
        # Written aside and renamed: a reload never reads half of it.
        new = self.config.with_suffix(".new")
        new.write_text(yaml.safe_dump(written))
        new.rename(self.config)

    def put(self, path, data=None, inbox=None):
        """Move a finished photo into the inbox."""
        target = (inbox or self.inbox) / path
        data = picture(path) if data is None else data
        ready = self.elsewhere / f"ready-{os.urandom(6).hex()}"
        ready.write_bytes(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            ready.rename(target)
        except OSError:  # another filesystem
            beside = target.with_name(".moving.part")
            beside.write_bytes(data)
            beside.rename(target)
            ready.unlink()
        self.sources[path] = data
        return data

    # -- processes

    def start(self, what=survival_process.run, **plan):
        """Start a daemon; ``plan`` says what happens to it at which step, ``hurry`` how often it looks at its holds."""
        process = survival_process.SERVER.Process(target=what, args=(str(self.config), str(self.log), plan))
        process.start()
        self.processes.append(process)
        return process

    def run_until_killed(self, step, count=1):
        """Start a daemon that dies at a step, and see it dead."""
        process = self.start(kill=(step, count))
        self.end(process)
        assert process.exitcode == -signal.SIGKILL, f"it was not killed at {step}, it ended with {process.exitcode}"

    def end(self, process, seconds=60):
        """Wait for the end of a process and give its exit code."""
        process.join(seconds)
        assert process.exitcode is not None, f"it did not end within {seconds} s\n{self.tail()}"
        return process.exitcode

    def kill(self, process):
        process.kill()
        self.end(process)

    def stop(self, process):
        """End a daemon as an operator does."""
        process.terminate()
        return self.end(process)

    def drain(self, **plan):
        """Handle all that is there, and give the exit code."""
        return self.end(self.start(survival_process.drain, **plan), 60)

    def close(self):
        for process in self.processes:
            if process.exitcode is None:
                process.kill()
            process.join(60)
            process.close()
        # It takes a while, for which nobody needs to wait.
        stopping = threading.Thread(target=self.sandbox.stop)
        stopping.start()
        return stopping

    def events(self, name=None):
        """Give what was logged: whole, or the events of one name."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines() if self.log.exists() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if name is None or entry.get("event") == name:
                found.append(entry)
        return found

    def tail(self, lines=200):
        """Give the end of the log, and where each thread of the living daemons is."""
        for process in self.processes:
            if process.exitcode is None:
                os.kill(process.pid, signal.SIGUSR1)
                process.join(0.2)
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    # -- what can be seen

    def look(self, ask, default=None):
        """Ask the database, as any other process may."""
        if not (self.state / "jobs.db").exists():
            return default
        try:
            with Database(self.state / "jobs.db", readonly=True) as database:
                return ask(database)
        except StateError:  # it is being made at this very moment
            return default

    def paid(self):
        return Paid(*self.look(lambda database: Ledger(database).totals(), (0, 0)))

    def jobs(self):
        return self.look(lambda database: Queries(database).select(limit=100_000), [])

    def states(self):
        return Counter(job.state.value for job in self.jobs())

    def job(self, path):
        """Give the newest job of a path, or None."""
        return next((job for job in self.jobs() if job.path == path), None)

    def holds(self):
        return self.look(lambda database: StatusTable(database).holds(), [])

    def hold(self, kind):
        """Give the hold of a kind, or None."""
        return next((hold for hold in self.holds() if hold.kind == kind), None)

    def hold_shown(self, kind):
        """Give the hold of a kind and what ``status --json`` says of it, as soon as both are of one moment; or None."""
        if (hold := self.hold(kind)) is None:
            return None
        shown = [shown for shown in self.status().get("holds", ()) if shown["kind"] == kind]
        return (hold, shown[0]) if [one["why"] for one in shown] == [hold.message] else None

    def status(self):
        """Give what ``status --json`` prints."""
        config = load_config(self.config)
        return self.look(lambda database: snapshot(config, database, time.time()).as_dict(), {})

    def execute(self, sql, *values):
        with sqlite3.connect(self.state / "jobs.db", timeout=10) as connection:
            rows = connection.execute(sql, values).fetchall()
        connection.close()
        return rows

    def output(self, path):
        return self.outbox / Path(path).with_suffix(".png")

    def retry(self, path):
        """Ask for a job again, as ``jobs retry`` does."""
        with Database(self.state / "jobs.db", guest=True) as database:
            Queries(database).retry(ids=[self.job(path).id], now=time.time())

    # -- what is promised

    def kept(self):
        """Return the answers in the result store."""
        return [path for path in (self.state / "results").rglob("*") if path.is_file() and path.suffix != ".part"]

    def debris(self):
        """Return all that a crash may have left in the folders and in the result store, and that should be gone."""
        found = []
        for root in (self.inbox, self.outbox, self.archive, self.failed, self.state / "results"):
            found += [path for path in root.rglob("*") if path.name.startswith(".rembg") or path.suffix == ".part"]
        return found

    def check_sources(self, *, archived=False, deleted=False):
        """Every source is whole, in the inbox or, if they are archived, there instead; never in neither."""
        for path, data in self.sources.items():
            places = [place for place in (self.inbox / path, self.archive / path) if place.exists()]
            if deleted and not places:
                assert self.output(path).exists(), f"{path} is gone, and its output is not there"
                continue
            assert places, f"{path} is gone"
            assert archived or places == [self.inbox / path]
            for place in places:
                assert place.read_bytes() == data, f"{place} is not whole"

    def check_outputs(self, *, all_there=True, **options):
        """Every output is whole and its own source's, or absent; nothing else is in the outbox."""
        expected = {self.output(path): data for path, data in self.sources.items()}
        for output, data in expected.items():
            if output.exists():
                assert output.read_bytes() == cut_out(data, **options), f"{output} is not that of its source"
            else:
                assert not all_there, f"{output} is missing\n{self.tail()}"
        found = {p for p in self.outbox.rglob("*") if p.is_file() and not p.name.startswith(".rembg-watch-")}
        assert found <= set(expected), f"not ours: {found - set(expected)}"

    def check_ledger(self):
        """What the server counted lies between what we know to be charged and what may have been."""
        paid = self.paid()
        assert paid.charged <= self.sandbox.charged <= paid.charged + paid.possibly, (paid, self.sandbox.charged)
        return paid
