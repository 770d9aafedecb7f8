"""A real table, real files, the real sandbox and the real client for everything around one job."""

from __future__ import annotations

import io
import os
import threading
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw

from rembg_watch.api.client import RembgClient
from rembg_watch.api.options import Options
from rembg_watch.config.model import Config, CreditsConfig, Folder, Profile, RetryConfig
from rembg_watch.config.written import ApiConfig
from rembg_watch.dispatch.account import Account
from rembg_watch.dispatch.contents import Contents
from rembg_watch.dispatch.holds import Holds
from rembg_watch.dispatch.line import RequestLine
from rembg_watch.dispatch.outboxes import Outboxes
from rembg_watch.dispatch.reactions import Reactions
from rembg_watch.dispatch.steps import Tools
from rembg_watch.dispatch.target import Targets
from rembg_watch.dispatch.worker import Worker
from rembg_watch.jobs.board import Board
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.model import Arrival, Version
from rembg_watch.jobs.outputs import Outputs
from rembg_watch.jobs.steering import Steering
from rembg_watch.jobs.store import JobStore


def picture(color="red", size=(80, 60), form="JPEG"):
    """Give the bytes of a disc on white."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4), color)
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


class Bench:
    """One folder, one worker, and all that it needs; the dispatcher's part is done by hand."""

    def __init__(self, root, sandbox):
        self.root = Path(os.path.realpath(root))
        self.inbox, self.outbox, self.state = self.root / "in", self.root / "out", self.root / "state"
        for folder in (self.inbox, self.outbox, self.state):
            folder.mkdir()
        self.sandbox = sandbox
        self.profile = Profile("plain", Options(format="png"))
        self.folder = Folder(self.inbox, self.outbox, self.profile)
        self.config = Config(
            api=ApiConfig(url=sandbox.url, usage_url=sandbox.usage_url, read_timeout=60),
            state_dir=self.state,
            workers=2,
            shutdown_grace=5,
            credits=CreditsConfig(),
            retry=RetryConfig(max_attempts=3, base_delay=0.01, max_delay=0.02),
            folders=(self.folder,),
            profiles={"plain": self.profile},
            path=self.root / "config.yaml",
            key="any",
        )
        self.client = RembgClient("any", url=sandbox.url, usage_url=sandbox.usage_url, read_timeout=60)
        self.database = Database(self.state / "jobs.db")
        self.store = JobStore(self.database)
        self.outputs = Outputs(self.database)
        self.ledger = Ledger(self.database)
        self.board = Board(self.database)
        self.steering = Steering(self.database)
        self.now = time.time()
        self.clock = lambda: self.now
        self.account = Account(lambda: self.config, lambda: self.client, self.ledger, self.board, self.clock)
        self.holds = Holds(self.board)
        self.line = RequestLine(None, self.config.workers)
        self.outboxes = Outboxes()
        self.reactions = Reactions(self.holds, self.account, self.line, self.outboxes, self.clock)
        self.seen = SimpleNamespace(steps=[], tidied=[], again=[], unparked=[])
        self.at = lambda _step: None
        self.worker = Worker(
            Tools(
                config=lambda: self.config,
                client=lambda: self.client,
                store=self.store,
                outputs=self.outputs,
                targets=Targets(self.outputs),
                contents=Contents(),
                outbox_problem=partial(self.outboxes.problem, by_writing=False),
                turn=lambda *_job: nullcontext(),
                healthy=lambda: True,
                sent=lambda: None,
                unpark=self.seen.unparked.append,
                tidy=lambda job, _folder, what: self.seen.tidied.append((job.path, what)),
                again=lambda _folder, path: self.seen.again.append(path),
                credits_left=lambda: None,
                clock=self.clock,
                at=self._step,
            )
        )

    def _step(self, step):
        self.seen.steps.append(step)
        self.at(step)

    def arrive(self, path, data=None):
        """Put a file into the inbox and a job into the table."""
        file = self.inbox / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if data is not None:
            file.write_bytes(data)
        status = file.stat()
        version = Version(status.st_size, status.st_mtime_ns)
        profile = self.folder.profile_for(path)
        self.store.enqueue(
            [Arrival(str(self.inbox), path, version, profile.options.fingerprint, profile.name)], self.now
        )
        return file

    def claim(self):
        (job,) = self.store.claim(1, self.now, 100.0)
        return job

    def work(self, path=None, data=None):
        """Let the worker do one job; gives its report."""
        if path is not None:
            self.arrive(path, data)
        return self.worker.run(self.claim())

    def job(self, path):
        return next(job for job in self.steering.select(limit=100) if job.path == path)

    def close(self):
        self.line.close()
        self.client.close()
        self.database.close()


@pytest.fixture
def bench(tmp_path, sandbox):
    made = Bench(tmp_path, sandbox)
    yield made
    made.close()


@pytest.fixture
def pic():
    return picture


@pytest.fixture
def in_thread():
    """Run something beside the test; it is waited for at the end."""
    started = []

    def run(target):
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        started.append(thread)
        return thread

    yield run
    for thread in started:
        thread.join(10)
