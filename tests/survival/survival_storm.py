"""What people, the service and kills do to the daemon in a storm, and what holds at any instant of it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

from survival_world import cut_out, picture, until

from rembg_watch.jobs.queue import Queue

CALM = 120.0
"""Seconds that the rest may take when the storm is over."""
BUSY = 100
"""Photos that wait: with more of them people take a break."""
RESERVE = 5
WORKERS = 4
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
            api={"connect_timeout": 1, "read_timeout": 4},
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
        if self.world.look(lambda database: Queue(database).open_count(), 0) > BUSY:
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
