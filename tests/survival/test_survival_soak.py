"""A storm: hundreds of photos, a service with faults in 30 of 100 answers, kills, money that comes and goes.

It takes two minutes at most; the long one, with ``--long``, half an hour, or ``REMBG_WATCH_SOAK_MINUTES``.
``REMBG_WATCH_SEED`` repeats one.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest
from survival_world import cut_out, picture, until

from rembg_watch.jobs.store import JobStore

SHORT = 80.0
LONG = float(os.environ.get("REMBG_WATCH_SOAK_MINUTES", "30")) * 60
CALM = 60.0
"""Seconds that the rest may take when the storm is over."""
BUSY = 100
"""Photos that wait: with more of them people take a break."""
RESERVE = 5
WORKERS = 4

FAULTS = {
    "500": 0.03,
    "500-charged": 0.02,
    "502-html": 0.03,
    "503": 0.02,
    "504-charged": 0.015,
    "408": 0.015,
    "429": 0.05,
    "402": 0.005,
    "413": 0.01,
    "html": 0.015,
    "json200": 0.015,
    "reset-before": 0.015,
    "reset-after": 0.015,
    "stall": 0.005,
    "stall-charged": 0.005,
    "truncate": 0.01,
    "short": 0.01,
    "garbage": 0.01,
    "wrong-length": 0.005,
    "wrong-format": 0.005,
}
USAGE_FAULTS = {"500": 0.05, "html": 0.03, "reset": 0.03, "nonsense": 0.02, "truncate": 0.02}
KINDS = {"keep": {}, "archive": {"bg_color": "#ffffff"}, "delete": {"mask": "true"}}
"""The folders by what becomes of their sources, and their options."""


class Till:
    """Watches each credit as it goes: none of ours may go below the reserve, but for what others took since we looked."""

    def __init__(self, sandbox):
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._elsewhere = []
        self.overdrawn = []
        sandbox._state.on_request = self._look

    def spend(self, number):
        with self._lock:
            self._elsewhere.append((time.time(), self._sandbox.spend_elsewhere(number)))

    def _look(self, received):
        if not received.charged:
            return
        readings = [call.at for call in self._sandbox.usage_calls if call.fault is None]
        # What is in flight when a reading is made was permitted by the one before.
        since = readings[-2] if len(readings) > 1 else 0.0
        left = self._sandbox.credits_left + sum(number for at, number in self._elsewhere if at >= since - 1)
        if left < RESERVE:
            self.overdrawn.append((received.at, left))


class Storm:
    def __init__(self, world, seed):
        self.world, self.dice = world, random.Random(seed)
        self.till = Till(world.sandbox)
        self.history = {}
        """By folder and path: every picture that the path ever had."""
        self.now = {}
        """By folder and path: what lies there at last."""
        self.results = {}
        self.number = 0
        self.kills = 0
        for kind in KINDS:
            (world.inbox / kind).mkdir()
        common = {"settle": 0.05, "rescan": 1}
        world.write_config(
            api={"read_timeout": 1},
            workers=WORKERS,
            shutdown_grace=0.5,
            credits={"reserve": RESERVE, "batch_size": 8, "max_staleness": 5},
            retry={"base_delay": 0.05, "max_delay": 0.5, "max_attempts": 8},
            profiles={
                "keep": {"format": "png"},
                "archive": {"format": "png", "bg_color": "white"},
                "delete": {"format": "png", "mask": True},
            },
            folders=[
                {
                    "inbox": str(world.inbox / kind),
                    "outbox": str(world.outbox / kind),
                    "profile": kind,
                    **common,
                    **more,
                }
                for kind, more in (
                    ("keep", {}),
                    ("archive", {"on_success": "archive", "archive": str(world.archive)}),
                    ("delete", {"on_success": "delete", "on_failure": "move", "failed": str(world.failed)}),
                )
            ],
        )

    # -- what people do

    def put(self, kind, path, data):
        key = (kind, path)
        # Known before it is there: the output may be there a moment later.
        self.history.setdefault(key, set()).add(data)
        self.now[key] = data
        self.world.put(path, data, self.world.inbox / kind)

    def new(self):
        if self.world.look(lambda database: JobStore(database).open_count(), 0) > BUSY:
            return
        for _ in range(self.dice.randrange(1, 6)):
            self.number += 1
            kind = self.dice.choice(list(KINDS))
            self.put(kind, f"{self.dice.choice(['', 'a/', 'a/b/'])}{self.number}.png", picture(self.number))

    def duplicate(self):
        if self.now:
            self.number += 1
            data = self.dice.choice(list(self.now.values()))
            self.put(self.dice.choice(list(KINDS)), f"copy {self.number}.png", data)

    def _kept(self):
        keys = [key for key in self.now if key[0] == "keep"]
        return self.dice.choice(keys) if keys else None

    def touch(self):
        if key := self._kept():
            os.utime(self.world.inbox / key[0] / key[1])

    def rename(self):
        if key := self._kept():
            self.number += 1
            path = f"renamed {self.number}.png"
            data = self.now.pop(key)
            self.history[key[0], path] = {data}
            self.now[key[0], path] = data
            (self.world.inbox / "keep" / key[1]).rename(self.world.inbox / "keep" / path)

    def replace(self):
        if key := self._kept():
            self.number += 1
            self.put(*key, picture(self.number))

    def top_up(self):
        self.world.sandbox.top_up(self.dice.randrange(5, 40))

    def spend(self):
        self.till.spend(self.dice.randrange(1, 4))

    # -- the storm

    def rage(self, seconds):
        acts = (
            [self.new] * 6 + [self.duplicate, self.touch, self.rename, self.replace] + [self.top_up] * 2 + [self.spend]
        )
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            daemon = self.world.start()
            last = time.monotonic() + self.dice.choice([0.05, 0.3, 1.0, 2.0, 4.0])
            while time.monotonic() < min(last, end):
                self.dice.choice(acts)()
                time.sleep(self.dice.uniform(0, 0.15))
            if self.dice.random() < 0.2:
                assert self.world.stop(daemon) in {0, -signal.SIGTERM}  # it may not have begun yet
            else:
                self.world.kill(daemon)
                assert daemon.exitcode == -signal.SIGKILL, f"it ended by itself\n{self.world.tail()}"
                self.kills += 1
            self.check_whole()

    def settle(self):
        """Faults off, money in: everything comes to its end."""
        self.world.sandbox.clear_faults()
        self.world.sandbox.top_up(10_000)
        daemon = self.world.start()

        def ended():
            states = self.world.states()
            tidy = any(job.tidy for job in self.world.jobs())
            known = {(job.folder, job.path) for job in self.world.jobs()}
            all_known = all((str(self.world.inbox / kind), path) in known for kind, path in self.now)
            return all_known and not tidy and not states.keys() & {"queued", "running", "waiting"}

        until(ended, CALM, self.world.tail)
        assert self.world.stop(daemon) == 0

    # -- what holds at any time

    def result(self, kind, data):
        if (kind, data) not in self.results:
            self.results[kind, data] = cut_out(data, **KINDS[kind])
        return self.results[kind, data]

    def check_whole(self):
        """At any instant: each output is whole and its own source's, each source is somewhere, whole."""
        for kind in KINDS:
            for output in (self.world.outbox / kind).rglob("*.png"):
                path = str(output.relative_to(self.world.outbox / kind))
                found = output.read_bytes()
                assert any(found == self.result(kind, data) for data in self.history[kind, path]), f"{output}: whose?"
        for (kind, path), data in self.now.items():
            places = [self.world.inbox / kind / path]
            if kind == "archive":
                places.append(self.world.archive / path)
            if kind == "delete":
                places.append(self.world.failed / path)
            there = [place.read_bytes() for place in places if place.exists()]
            if kind == "delete" and not there:
                output = self.world.outbox / kind / path
                assert output.exists() or list((self.world.inbox / kind).rglob(".rembg-watch-*/*")), f"{path} is lost"
                continue
            assert there, f"{kind}/{path} is lost"
            assert all(found == data for found in there), f"{kind}/{path} is not whole"


@pytest.mark.timeout(SHORT + CALM + 60)
def test_storm(make_world):
    """Everything is delivered, or failed for what really happened; the ledger agrees with the server; nothing is left over."""
    weather(make_world, SHORT)


@pytest.mark.long
@pytest.mark.timeout(LONG + CALM + 60)
def test_long_storm(make_world):
    """The same for as long as one likes."""
    weather(make_world, LONG)


def weather(make_world, seconds):
    seed = int(os.environ.get("REMBG_WATCH_SEED") or random.randrange(10**6))
    print(f"seed {seed}")  # noqa: T201 - what a failure needs to be repeated
    began = time.monotonic()
    world = make_world(credits=30, latency=0.02, seed=seed, faults=FAULTS)
    world.sandbox.set_usage_faults(USAGE_FAULTS)
    storm = Storm(world, seed)

    storm.rage(seconds)
    storm.settle()
    storm.check_whole()

    jobs = {}
    for job in world.jobs():  # the newest first
        jobs.setdefault((os.path.basename(job.folder), job.path), job)
    failed = 0
    for key, data in storm.now.items():
        kind, path = key
        output, job = world.outbox / kind / path, jobs[key]
        if job.state == "failed":
            failed += 1
            check_reason(world, job, data)
            continue
        assert job.state == "done", (key, job)
        assert output.read_bytes() == storm.result(kind, data), key
        assert (world.inbox / kind / path).exists() == (kind == "keep")
        assert (world.archive / path).exists() == (kind == "archive")
    until(lambda: world.sandbox.in_flight == 0)
    paid = world.check_ledger()
    assert not storm.till.overdrawn
    assert not world.debris()
    faults = sum(received.fault is not None for received in world.sandbox.requests)
    print(  # noqa: T201 - what it showed
        f"{len(storm.now)} photos, {len(world.sandbox.requests)} requests, {faults} faults, {storm.kills} kills,"
        f" {world.sandbox.charged} charged by the server, {paid.charged} + at most {paid.possibly} by the ledger,"
        f" {failed} failed, {time.monotonic() - began:.0f} s"
    )


def check_reason(world, job, data):
    """The reason that a failed job gives is what the service last said to it."""
    ((status, code),) = world.execute(
        "SELECT status, code FROM attempts WHERE job_id = ? ORDER BY id DESC LIMIT 1", job.id
    )
    assert job.code == code
    said = [r for r in world.sandbox.requests if r.size == len(data) and r.fault is not None]
    assert any((r.status or None) == status for r in said), (job, status, said)


def test_three_of_ten_answers_are_wrong():
    """The storm is as bad as it is said to be."""
    assert sum(FAULTS.values()) == pytest.approx(0.3, abs=0.02)
