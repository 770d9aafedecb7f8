"""The real daemon in this process, with real files and the sandbox. The watcher is left out: tests hand photos in."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from dispatch_pictures import QUICK, picture

from rembg_watch.config.load import load_config
from rembg_watch.config.model import ResultsConfig
from rembg_watch.daemon import Daemon
from rembg_watch.dispatch.steps import no_failpoint
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.model import Arrival, Key, Version
from rembg_watch.jobs.queries import Queries
from rembg_watch.jobs.queue import Queue, Sending

WAIT = 20.0
"""Seconds after which a condition counts as never met."""


class World:
    """A config, its folders, and the daemon that works by it."""

    def __init__(self, root, sandbox, wait_until):
        self.root = Path(os.path.realpath(root))
        self.sandbox = sandbox
        self.wait_until = wait_until
        self.settings = {
            "api": {"key": "test-key-0001", "url": sandbox.url, "usage_url": sandbox.usage_url, "read_timeout": 60},
            "state_dir": str(self.root / "state"),
            "workers": 2,
            "shutdown_grace": 30,
            "retry": {"base_delay": 0.01, "max_delay": 0.02},
            "folders": [],
        }
        self.inbox, self.outbox = self.add_folder("in")
        self.results = self.root / "state" / "results"
        self.daemon: Daemon = None

    @property
    def folder(self):
        return self.settings["folders"][0]

    def add_folder(self, name, **settings):
        """Add an inbox with an outbox of its own to the config; return both paths."""
        inbox, outbox = self.root / name, self.root / f"{name}-out"
        inbox.mkdir()
        outbox.mkdir()
        base = deepcopy(self.folder) if self.settings["folders"] else {"profile": {"format": "png"}}
        self.settings["folders"].append({**base, "inbox": str(inbox), "outbox": str(outbox), **settings})
        return inbox, outbox

    def config(self):
        path = self.root / "config.yaml"
        path.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        path.chmod(0o600)
        return load_config(path)

    @contextmanager
    def running(self, *, failpoint=no_failpoint, timings=QUICK):
        """Run the daemon with its main loop in a thread."""
        daemon = self.daemon = Daemon(self.config(), failpoint=failpoint, timings=timings)
        daemon._ready = True
        daemon.start()
        loop = threading.Thread(target=daemon.loop, daemon=True)
        loop.start()
        try:
            yield daemon
        finally:
            daemon.stop()
            daemon.order("stop")
            loop.join(60)

    def drop(self, path, data=None, inbox=None):
        """Put a file into an inbox, and hand it in as the watcher does."""
        return self.drop_all({path: data}, inbox)[0]

    def drop_all(self, photos, inbox=None):
        """Hand in files together; those whose bytes are None are there already."""
        inbox = inbox or self.inbox
        files, arrivals = [], []
        for path, data in photos.items():
            file = inbox / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if data is not None:
                file.write_bytes(data)
            status = file.stat()
            profile = self.daemon.config.folder(str(inbox)).profile_for(path)
            version = Version(status.st_size, status.st_mtime_ns)
            arrivals.append(Arrival(str(inbox), path, version, profile.options.fingerprint, profile.name))
            files.append(file)
        self.daemon.take_in(arrivals)
        return files

    def pause(self):
        """Hold everything, as ``rembg-watch pause`` does."""
        self.change("INSERT INTO holds VALUES ('all', 'pause', 'paused', 'resume', 1, NULL)")
        self.wait_held("pause")

    def resume(self):
        self.change("DELETE FROM holds WHERE kind = 'pause'")

    def change(self, statement, *values):
        """Change the job database as another process does, and let the producer see it at once."""
        with Database(self.root / "state" / "jobs.db", guest=True) as database:
            database.write(lambda connection: connection.execute(statement, values))
        self.daemon._parts.wake_producer.set()

    @contextmanager
    def database(self):
        with Database(self.root / "state" / "jobs.db", readonly=True) as database:
            yield database

    def read(self, query):
        with self.database() as database:
            return database.read(query)

    def jobs(self):
        """Return the newest job of each path."""
        with self.database() as database:
            return {job.path: job for job in reversed(Queries(database).select(limit=5000))}

    def states(self):
        return {path: job.state.value for path, job in self.jobs().items()}

    def wait_for(self, **states):
        """Wait until the jobs of these paths (without their ending) have these states."""

        def there():
            found = {path.partition(".")[0]: state for path, state in self.states().items()}
            return all(found.get(path) == state for path, state in states.items())

        self.wait_until(there, WAIT, lambda: (self.jobs(), self.daemon.holds.all()))

    def wait_done(self, count=1):
        self.wait_until(
            lambda: self.read("SELECT count(*) FROM jobs WHERE state = 'done'")[0][0] >= count,
            WAIT,
            lambda: (self.states(), self.daemon.holds.all()),
        )

    def wait_held(self, kind):
        """Wait for a hold of this kind and return it."""
        return self.wait_until(
            lambda: next((hold for hold in self.daemon.holds.all() if hold.kind == kind), None),
            WAIT,
            lambda: (kind, self.daemon.holds.all(), self.states()),
        )

    def wait_well(self):
        """Wait until nothing is held."""
        self.wait_until(lambda: not self.daemon.holds.all(), WAIT, self.daemon.holds.all)

    def ledger(self):
        """Return how many images were charged, and how many possibly."""
        with self.database() as database:
            return Ledger(database).totals()

    def delivered(self, outbox=None):
        return sorted(path.name for path in (outbox or self.outbox).iterdir() if not path.name.startswith("."))

    def kept(self):
        """Return the verified answers in the result store."""
        return sorted(path for path in self.results.glob("??/*") if not path.name.endswith(".part"))


@pytest.fixture
def world(tmp_path, sandbox, wait_until):
    made = World(tmp_path, sandbox, wait_until)
    yield made
    with warnings.catch_warnings():  # the watcher was never started: what it has open is closed by the collector
        warnings.simplefilter("ignore", ResourceWarning)
        made.daemon = None
        gc.collect()


@pytest.fixture
def pic():
    return picture


class Gate:
    """A failpoint that stops the first threads that reach a step until it is opened."""

    def __init__(self, step, count=1):
        self._step, self._left = step, count
        self._lock = threading.Lock()
        self.reached = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, step):
        with self._lock:
            stop = step is self._step and self._left > 0
            self._left -= stop
        if stop:
            self.stop()

    def stop(self):
        """Stop this thread here."""
        self.reached.release()
        assert self._open.wait(60)

    def wait(self):
        """Wait until a thread is stopped here."""
        assert self.reached.acquire(timeout=60)

    def open(self):
        self._open.set()


@pytest.fixture
def gate():
    """Make gates, which open at the end of the test at the latest."""
    made = []

    def make(step=None, count=1):
        made.append(Gate(step, count))
        return made[-1]

    yield make
    for each in made:
        each.open()


class Store:
    """A result store with its job table, and no daemon."""

    def __init__(self, root):
        from rembg_watch.dispatch.results import Results  # noqa: PLC0415 - most tests go through the daemon

        self.state, self.outbox = Path(root) / "state", Path(root) / "out"
        self.state.mkdir()
        self.outbox.mkdir()
        self.database = Database(self.state / "jobs.db")
        self.queue = Queue(self.database)
        self.results = Results(self.state, self.queue, ResultsConfig())

    def key(self, number=0):
        return Key(f"p1{number:064x}", "ab" * 8)

    def sent_job(self, key, path="a.jpg"):
        """Insert a job that is marked as sent for ``key``; return it."""
        self.queue.enqueue([Arrival("/in", path, Version(1, 1), key.fingerprint, "plain")], 1.0)
        job = next(job for job in Queries(self.database).select() if job.path == path)
        self.queue.mark_sent([Sending(job, key, 80, 60, str(self.outbox / "a.png"))], 1.0, 1.0)
        return Queries(self.database).get(job.id)


@pytest.fixture
def store(tmp_path):
    made = Store(os.path.realpath(tmp_path))
    yield made
    made.database.close()
