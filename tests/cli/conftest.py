"""A config with two inboxes in a fresh directory, and the command line in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from blake3 import blake3
from cli_environment import environment
from cli_removing import KEY

from rembg_watch.cli import main
from rembg_watch.config.load import load_config
from rembg_watch.config.model import ResultsConfig
from rembg_watch.dispatch.results import Results
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import AttemptEnd, Ledger
from rembg_watch.jobs.model import Arrival, Charge, How, Key, Output, State, Version
from rembg_watch.jobs.queries import Queries
from rembg_watch.jobs.queue import Queue, Received, Sending
from rembg_watch.jobs.status_table import StatusTable


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class Place:
    """A directory with a config, its folders, and, once asked for, its job database."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shoes, self.bags = root / "in" / "shoes", root / "in" / "bags"
        for folder in (self.shoes, self.bags, root / "out"):
            folder.mkdir(parents=True)
        self.config = root / "config.yaml"
        self.write_config()
        self._database: Database | None = None

    def write_config(self, url="http://127.0.0.1:9", key="k-12345678", money="{}"):
        self.config.write_text(
            f"api: {{key: {key}, url: {url}/rmbg, usage_url: {url}/api/membership-usage}}\n"
            f"state_dir: {self.root}/state\n"
            f"credits: {money}\n"
            "profiles: {white: {format: png, bg_color: white}, clear: {format: webp}}\n"
            "folders:\n"
            f"  - {{inbox: {self.shoes}, outbox: {self.root}/out/shoes, profile: white}}\n"
            f"  - {{inbox: {self.bags}, outbox: {self.root}/out/bags, profile: clear, daily_limit: 50}}\n"
        )

    # -- what the daemon does

    @property
    def database(self) -> Database:
        if self._database is None:
            (self.root / "state").mkdir(mode=0o700, exist_ok=True)
            self._database = Database(self.root / "state" / "jobs.db")
        return self._database

    @property
    def queue(self):
        return Queue(self.database)

    @property
    def table(self):
        return StatusTable(self.database)

    @property
    def ledger(self):
        return Ledger(self.database)

    @property
    def queries(self):
        return Queries(self.database)

    @property
    def results(self):
        """The store as the daemon has it, with the default limits."""
        return Results(self.root / "state", self.queue, ResultsConfig())

    def arrive(self, *paths, inbox=None, now=1000.0):
        folder = str(inbox or self.shoes)
        profile = load_config(self.config).folder(folder).profile
        self.queue.enqueue(
            [Arrival(folder, path, Version(2_500_000, 1), profile.options.fingerprint, profile.name) for path in paths],
            now,
        )

    def mark_sent(self, job, now=1000.0):
        """Commit that a photo goes out; each has a picture hash of its own."""
        sending = Sending(job, self.key(job), 2000, 1500, f"{self.root}/out/{job.path}.webp")
        (attempt,) = self.queue.mark_sent([sending], now, now)
        return attempt

    def key(self, job):
        return Key(f"p1{job.id:064x}", job.fingerprint)

    def send(self, path, inbox=None, now=1000.0):
        """Send one photo and leave it there, as a crash would."""
        self.arrive(path, inbox=inbox, now=now)
        job = next(job for job in self.queries.select(limit=10_000) if job.path == path)
        return self.queries.get(job.id), self.mark_sent(job, now)

    def receive(self, path, inbox=None, now=1000.0, answer=b"cut out"):
        """Send one photo and keep its answer in the store; its delivery is what is left."""
        job, attempt = self.send(path, inbox, now)
        key, digest = self.key(job), blake3(answer).hexdigest()
        self.results.write(key, answer, digest, attempt)
        end = AttemptEnd(Charge.CHARGED, status=200, bytes_in=2_500_000, bytes_out=900_000, api_ms=1234.0)
        target = f"{self.root}/out/{path}.webp"
        self.queue.mark_received([Received(job, key, target, digest, 900_000, How.SENT, attempt, end)], now + 1)
        return job.id

    def deliver(self, path, inbox=None, now=1000.0, answer=b"cut out"):
        number = self.receive(path, inbox, now, answer)
        job = self.queries.get(number)
        output = Output(
            *(job.output, job.id, job.folder, job.path, job.content_hash, job.fingerprint),
            *(job.result_hash, 900_000, now + 1),
        )
        self.queue.mark_done([(job, output, How.SENT, None)], now + 1)
        return number

    def reject(self, path, now=1000.0, answer=b"another picture"):
        """Fail a photo whose answer was not what was asked for; return its job and the answer's path."""
        job, attempt = self.send(path, now=now)
        part = Path(self.results.part_path(self.key(job), attempt))
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(answer)
        self.results.reject(str(part))
        end = AttemptEnd(Charge.CHARGED, "wrong-size", 200, "the answer has another size", counted=True)
        self.queue.end(
            *(job, State.FAILED, now + 1),
            code="wrong-size", message="the answer has another size", hint="report it", attempt=(attempt, end),
        )  # fmt: skip
        return job.id, self.results.rejected(self.key(job), attempt)

    def fail(self, path, message="the API says: corrupt", inbox=None, now=1000.0):
        job, attempt = self.send(path, inbox, now)
        end = AttemptEnd(Charge.NOT_CHARGED, "image", 400, message)
        self.queue.end(
            job, State.FAILED, now + 1, code="image", message=message, hint="export it again", attempt=(attempt, end)
        )
        return job.id

    # -- what a person types

    def run(self, *args) -> Result:
        """Run a command in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main([*map(str, args), "-c", str(self.config)])
        return Result(ended.value.code or 0, out.getvalue(), err.getvalue())

    def spawn(self, *args, **more) -> subprocess.Popen:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "rembg_watch", *map(str, args), "-c", str(self.config)],
            cwd=self.root,
            env=environment(**more.pop("env", {})),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more},
        )

    def close(self):
        if self._database is not None:
            self._database.close()


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def remove(sandbox, tmp_path, tmp_path_factory):
    """Run the command in ``tmp_path``, with the key in the environment and the sandbox's address."""
    temporary = tmp_path_factory.mktemp("temporary")

    def run(*arguments: str, key: str | None = KEY, url: bool = True, stdin: bytes | None = None):
        env = environment(HOME=str(tmp_path), TMPDIR=str(temporary), **({} if key is None else {"REMBG_API_KEY": key}))
        done = subprocess.run(
            [sys.executable, "-m", "rembg_watch", "remove", *arguments, *(["--url", sandbox.url] if url else [])],
            cwd=tmp_path, env=env, capture_output=True, timeout=60, check=False, input=stdin,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr
        assert KEY.encode() not in done.stdout + done.stderr
        assert done.returncode or not list(temporary.iterdir())
        return done

    return run
