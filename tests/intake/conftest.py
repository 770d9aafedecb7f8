"""Real inboxes with a running intake in front of a real job table."""

from __future__ import annotations

import io
import os
import random
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from rembg_watch.api.options import Options
from rembg_watch.config.model import Folder, Profile
from rembg_watch.intake.intake import Intake
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.queue import Accepted, Queue

PROFILE = Profile("plain", Options())


def picture(kind="JPEG", seed=0, side=48):
    """Give the bytes of a small noisy picture that no other seed makes."""
    noise = random.Random(f"{kind}{seed}{side}").randbytes(side * side * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), noise).save(file, kind)
    return file.getvalue()


def eventually(condition, seconds=60.0, what=""):
    """Wait until ``condition`` gives something true, and give it."""
    end = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s: {what or condition}")
        time.sleep(0.005)


class Desk:
    """Takes arrivals to a real job table and remembers those that it did not know, with the time.

    The others are ``again``: where a thread was held up, a hint of a file may come after the file was handed over.
    """

    def __init__(self, database):
        self.store = Queue(database)
        self.arrivals = []
        self.again = []
        self.times = {}
        self.outcomes = Counter()
        self.came = threading.Event()

    def take(self, arrivals):
        for arrival, outcome in zip(arrivals, self.store.enqueue(arrivals, time.time()), strict=True):
            self.outcomes[outcome.value] += 1
            if outcome is Accepted.KNOWN:
                self.again.append(arrival.path)
                continue
            self.times[arrival.path] = time.monotonic()
            self.arrivals.append(arrival)
        self.came.set()

    @property
    def paths(self):
        return [arrival.path for arrival in self.arrivals]

    def of(self, path):
        return next((arrival for arrival in self.arrivals if arrival.path == path), None)


@pytest.fixture
def desk(tmp_path_factory):
    database = Database(tmp_path_factory.mktemp("state") / "jobs.db")
    yield Desk(database)
    database.close()


@pytest.fixture
def inbox(tmp_path):
    path = (tmp_path / "inbox").resolve()
    path.mkdir()
    return path


@pytest.fixture
def open_inbox():
    """An inbox that other users can reach, for tests that become somebody else; only root can."""
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory(prefix="intake-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()


@pytest.fixture
def elsewhere(tmp_path):
    path = tmp_path / "elsewhere"
    path.mkdir()
    return path


@pytest.fixture
def folder_for(tmp_path):
    def make(inbox, **settings):
        return Folder(Path(inbox), tmp_path / "outbox", settings.pop("profile", PROFILE), **settings)

    return make


@pytest.fixture
def running(desk, folder_for):
    """Start an intake for inboxes (paths or folders) that has done its first scan; it is stopped at the end."""

    @contextmanager
    def run(*places, wait=True, **settings):
        folders = [place if isinstance(place, Folder) else folder_for(place) for place in places]
        intake = Intake(folders, desk.store, desk.take, **settings)
        intake.start()
        try:
            if wait:
                assert intake.first_scan_done.wait(60)
            yield intake
        finally:
            intake.stop(60)

    return run


@pytest.fixture
def move_in(elsewhere):
    """Write a file elsewhere on the same filesystem and rename it into place."""

    def move(data, target):
        source = elsewhere / f"ready-{os.urandom(6).hex()}"
        source.write_bytes(data)
        source.rename(target)

    return move


@pytest.fixture
def pic():
    return picture


@pytest.fixture
def until():
    return eventually
