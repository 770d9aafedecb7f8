"""A place with inboxes and outboxes, and the real daemon in it: in this process, or as one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import yaml

from rembg_watch.config.load import load_config
from rembg_watch.daemon import Daemon
from rembg_watch.dispatch.holds import Timings
from rembg_watch.dispatch.steps import no_failpoint
from rembg_watch.intake import readiness
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.queries import Queries
from rembg_watch.jobs.status_table import StatusTable

OPEN = {"queued", "running", "waiting", "received"}
QUICK = {"retry": {"base_delay": 0.05, "max_delay": 0.2}, "shutdown_grace": 60}


class Place:
    """A config with one inbox and one outbox, to be changed at will, and what came of them."""

    def __init__(self, root, sandbox, wait_until):
        self.root = Path(os.path.realpath(root))
        self.sandbox = sandbox
        self.wait_until = wait_until
        self.inbox = self.root / "inbox"
        self.outbox = self.root / "outbox"
        self.inbox.mkdir()
        self.path = self.root / "config.yaml"
        self.timings = Timings()
        self.settings = {
            "api": {"key": "test-key-0001", "url": sandbox.url, "usage_url": sandbox.usage_url, "read_timeout": 60},
            "state_dir": str(self.root / "state"),
            "workers": 4,
            **deepcopy(QUICK),
            "folders": [
                {
                    "inbox": str(self.inbox),
                    "outbox": str(self.outbox),
                    "profile": {"format": "png"},
                    "settle": 0.05,
                    "rescan": 1,
                }
            ],
        }

    @property
    def folder(self):
        return self.settings["folders"][0]

    def add_folder(self, name, **settings):
        """Add an inbox with an outbox of its own; gives both."""
        inbox, outbox = self.root / name, self.root / f"{name}-out"
        inbox.mkdir()
        self.settings["folders"].append(
            {**self.folder, "inbox": str(inbox), "outbox": str(outbox), **settings},
        )
        return inbox, outbox

    def write(self):
        new = self.path.with_suffix(".new")
        new.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        new.chmod(0o600)
        new.rename(self.path)
        return self.path

    def drop(self, relpath, data, root=None):
        """Move a finished file into the inbox, as a program does that knows how."""
        target = (root or self.inbox) / relpath
        target.parent.mkdir(parents=True, exist_ok=True)
        part = self.root / f"part-{time.monotonic_ns()}"
        part.write_bytes(data)
        part.rename(target)
        return target

    def outputs(self, root=None):
        """Give the delivered files, relative to the outbox; temporary ones are not among them."""
        root = root or self.outbox
        return sorted(
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.is_file() and not path.name.startswith(".rembg-watch-")
        )

    def leftovers(self):
        """Give the temporary files that lie about."""
        return list(self.root.rglob(".rembg-watch-*"))

    @contextmanager
    def database(self):
        with Database(self.root / "state" / "jobs.db", readonly=True) as database:
            yield database

    def jobs(self):
        """Give all jobs by path, the newest version of each."""
        with self.database() as database:
            return {job.path: job for job in reversed(Queries(database).select(limit=5000))}

    def states(self):
        return {path: job.state.value for path, job in self.jobs().items()}

    def ledger(self):
        """Give (charged, possibly charged)."""
        with self.database() as database:
            return Ledger(database).totals()

    def holds(self):
        with self.database() as database:
            return {(hold.scope.partition(":")[0], hold.kind): hold for hold in StatusTable(database).holds()}

    def cli(self, *arguments, check=True):
        """Run a command as a person does; gives the finished process."""
        done = subprocess.run(
            [sys.executable, "-m", "rembg_watch", *arguments, "-c", str(self.path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done

    def cli_json(self, *arguments):
        return json.loads(self.cli(*arguments, "--json").stdout)

    @contextmanager
    def daemon(self, change=lambda config: config, failpoint=no_failpoint):
        """Run the daemon in this process, with its main loop in a thread; signals are left out.

        ``change`` may put into the config what no file can. ``failpoint`` is called at each step of each job.
        """
        daemon = Daemon(change(load_config(self.write())), failpoint=failpoint, timings=self.timings)
        loop = threading.Thread(target=daemon.loop, name="main loop")
        try:
            daemon.start()
            daemon.intake.start()
            loop.start()
            assert daemon.intake.first_scan_done.wait(60)
            yield daemon
        finally:
            daemon.finish()
            if loop.ident is not None:
                loop.join(60)
            daemon.close()

    def reload(self, daemon):
        """Write the settings and reload them."""
        self.write()
        daemon.reload()

    def settled(self, count, seconds=60.0):
        """Wait until so many jobs are there and all have ended; gives their states by path."""

        def ended():
            states = self.states()
            return len(states) >= count and not OPEN.intersection(states.values()) and states

        return self.wait_until(ended, seconds, lambda: (self.states(), self.holds()))


@pytest.fixture
def hurried(monkeypatch):
    """Let a daemon in this process give up waiting for the rest of a file after a second instead of two minutes."""
    monkeypatch.setattr("rembg_watch.intake.intake.Timings", partial(readiness.Timings, quiet=0.4, incomplete=1.0))


@pytest.fixture
def impatient(place):
    """Let a daemon in this process look at what it holds every few tenths of a second, so that a test need not wait."""
    place.timings = Timings(
        check=0.3,
        profile_check=0.3,
        outbox_check=0.2,
        usage_check=0.3,
        usage_retry=0.3,
        first_pause=0.2,
        longest_pause=0.4,
    )


@pytest.fixture
def place(tmp_path, sandbox, wait_until):
    return Place(tmp_path, sandbox, wait_until)


class Process:
    """The real daemon as a process of its own, with its log."""

    def __init__(self, config, log):
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rembg_watch", "run", "-c", str(config), "--log-level", "debug"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"},
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with self.log.open("ab") as copy:
            for line in self.process.stderr:
                copy.write(line)
                copy.flush()
                self.lines.append(line.decode(errors="replace").rstrip("\n"))

    def events(self, name=None):
        """Give the log's lines as objects; what is no JSON is left out."""
        found = []
        for line in list(self.lines):
            if line.startswith("{"):
                event = json.loads(line)
                if name in (None, event["event"]):
                    found.append(event)
        return found

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, seconds=60):
        """Ask it to end, and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended(seconds)

    def ended(self, seconds=60):
        """Wait for its end, and give its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(60)
        return code


@pytest.fixture
def run_daemon(tmp_path, wait_until):
    """Start ``rembg-watch run`` with a config and wait until it is ready; all are ended with the test."""
    started = []

    def run(config, *, ready=True):
        process = Process(config, tmp_path / f"daemon-{len(started)}.log")
        started.append(process)
        if ready:
            wait_until(
                lambda: process.events("ready") or process.process.poll() is not None, 60, lambda: process.lines[-20:]
            )
            assert process.process.poll() is None, process.lines
        return process

    yield run
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
        process.process.wait(60)
        process._reader.join(60)
        process.process.stdout.close()
        process.process.stderr.close()
