"""The real daemon in a process of its own, that kills itself where it is told to. Runs in the child; imports no test.

Processes come from multiprocessing's fork server, which has everything imported already: a start costs milliseconds.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import survival_mount

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["rembg_watch.daemon", "rembg_watch.drain", "survival_process", "sqlite_utils"])


class Plan:
    """What happens at the points of the line: ``kill`` is a step and at which time of reaching it.

    ``calls`` are (step, name of a function of this module, its arguments), each done once; ``stops`` are (step, path):
    the file is made, and all waits there until the test takes it away.
    """

    def __init__(self, kill=None, stops=(), calls=()):
        self._kill = kill
        self._stops = {step: Path(path) for step, path in stops}
        self._calls = {step: (name, arguments) for step, name, arguments in calls}
        self._seen = {}
        self._lock = threading.Lock()

    def __call__(self, step):
        name = step.value
        with self._lock:
            self._seen[name] = self._seen.get(name, 0) + 1
            if self._kill == (name, self._seen[name]):
                os.kill(os.getpid(), signal.SIGKILL)
            stop = self._stops.pop(name, None)
            call = self._calls.pop(name, None)
        if call is not None:
            globals()[call[0]](*call[1])
        if stop is not None:
            stop.touch()
            while stop.exists():
                time.sleep(0.005)


# -- what may happen at a step


def write(path, data):
    Path(path).write_bytes(data)


def replace(path, data):
    new = Path(path).with_name(".new.tmp")
    new.write_bytes(data)
    new.rename(path)


def remove(path):
    Path(path).unlink()


def move(path, to):
    Path(path).rename(to)


def fill(folder):
    """Use up the last byte of a filesystem."""
    with Path(folder, "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def make_read_only(folder):
    survival_mount.mount("rembg-watch-test", folder, None, survival_mount.REMOUNT | survival_mount.READ_ONLY)


# -- the process


def _begin(log, plan):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.register(signal.SIGUSR1)  # where every thread is, for a test that fails
    from rembg_watch import logs  # noqa: PLC0415 - only the child needs it

    logs.configure("json", "debug")


def _daemon(config, plan):
    from rembg_watch.config.load import load_config  # noqa: PLC0415
    from rembg_watch.daemon import Daemon  # noqa: PLC0415

    timings = _timings(plan.pop("hurry", None))
    return Daemon(load_config(Path(config)), failpoint=Plan(**plan), timings=timings)


def _timings(seconds):
    """Look at everything that is held this often; an operator's half minutes are too long for a test."""
    from rembg_watch.dispatch.holds import Timings  # noqa: PLC0415

    if seconds is None:
        return Timings()
    looks = ("check", "profile_check", "outbox_check", "usage_check", "first_pause", "longest_pause", "tidy")
    return Timings(**dict.fromkeys(looks, seconds))


def run(config, log, plan):
    """Be the daemon until a signal."""
    _begin(log, plan)
    from rembg_watch.errors import RembgWatchError  # noqa: PLC0415

    try:
        code = _daemon(config, plan).run()
    except RembgWatchError as error:
        print(json.dumps({"event": "refused", "message": error.message, "hint": error.hint}), flush=True)  # noqa: T201
        code = error.exit_code
    sys.exit(code)


def drain(config, log, plan):
    """Handle what is there now."""
    _begin(log, plan)
    from rembg_watch import drain as draining  # noqa: PLC0415
    from rembg_watch.errors import RembgWatchError  # noqa: PLC0415

    draining._LOOK = 0.02
    try:
        code = draining.drain(_daemon(config, plan), threading.Event()).exit_code
    except RembgWatchError as error:
        print(json.dumps({"event": "refused", "message": error.message, "hint": error.hint}), flush=True)  # noqa: T201
        code = error.exit_code
    sys.exit(code)
