"""The real daemon in a process of its own, that kills itself where it is told to. Runs in the child; imports no test.

Processes come from multiprocessing's fork server, which has everything imported already: a start costs milliseconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["rembg_watch.daemon", "rembg_watch.drain", "survival_process", "sqlite_utils"])


class Plan:
    """What happens at the points of the line: ``kill`` is a step and how many times it is reached before.

    ``touch`` writes a file at a step (the test waits for it), and ``hold`` stops there until the test takes it away;
    ``call`` runs a function of this module by its name, with arguments, once.
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


# -- the process


def _begin(log):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from rembg_watch import logs  # noqa: PLC0415 - only the child needs it

    logs.configure("json", "debug")


def _daemon(config, plan, clock):
    from rembg_watch.config.load import load_config  # noqa: PLC0415
    from rembg_watch.daemon import Daemon  # noqa: PLC0415

    if clock is not None:
        _shift_clock(clock)
    return Daemon(load_config(Path(config)), at=plan)


def _shift_clock(file):
    """Let the wall clock be off by the seconds that a file says, for all that runs here; monotonic time goes on."""
    real, seen = time.time, {}

    def shifted():
        try:
            mark = os.stat(file).st_mtime_ns
            if seen.get("mark") != mark:
                seen.update(mark=mark, by=float(Path(file).read_text() or 0))
        except (OSError, ValueError):
            pass
        return real() + seen.get("by", 0.0)

    time.time = shifted


def run(config, log, plan, clock=None):
    """Be the daemon until a signal."""
    _begin(log)
    from rembg_watch.errors import RembgWatchError  # noqa: PLC0415

    try:
        code = _daemon(config, Plan(**plan), clock).run()
    except RembgWatchError as error:
        print(json.dumps({"event": "refused", "message": error.message, "hint": error.hint}), flush=True)  # noqa: T201
        code = error.exit_code
    sys.exit(code)


def drain(config, log, plan, clock=None):
    """Handle what is there now."""
    _begin(log)
    from rembg_watch.drain import drain as drain_now  # noqa: PLC0415
    from rembg_watch.errors import RembgWatchError  # noqa: PLC0415

    try:
        code = drain_now(_daemon(config, Plan(**plan), clock), threading.Event()).exit_code
    except RembgWatchError as error:
        print(json.dumps({"event": "refused", "message": error.message, "hint": error.hint}), flush=True)  # noqa: T201
        code = error.exit_code
    sys.exit(code)
