"""Runs the daemon as its unit does, and at its first run lets one part of it hang. The instance's name says which.

The times after which a part counts as hung are minutes in real life; here they are seconds.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from pathlib import Path

from rembg_watch import daemon as daemon_module
from rembg_watch import logs
from rembg_watch.api.client import RembgClient
from rembg_watch.config.load import load_config
from rembg_watch.daemon import Daemon
from rembg_watch.dispatch import budget, producer
from rembg_watch.intake import intake, watcher

SECONDS = 2.0
SLOW = 12.0
"""Longer than the TimeoutStartSec of the test."""


def forever(*_: object, **__: object) -> None:
    while True:
        threading.Event().wait()


def hold_the_interpreter() -> None:
    """Sleep in C without giving any other thread a turn."""
    time.sleep(1)
    ctypes.PyDLL(None).sleep(600)


def main() -> None:
    part, path = sys.argv[1:]
    logs.configure()
    config = load_config(path)
    marker = Path(os.environ["STATE_DIRECTORY"], "was-hung")
    first = not marker.exists()
    marker.touch()
    if not first:
        sys.exit(Daemon(config).run())
    if part == "account":
        budget.longest_call = lambda _config: SECONDS
        RembgClient.membership_usage = forever
    producer.TURN_SECONDS = producer.LOOK_SECONDS + SECONDS
    intake.TURN_SECONDS = SECONDS
    intake.WALK_SECONDS = SECONDS * 2
    daemon_module.RELOAD_SECONDS = daemon_module.IDLE_PULSE_SECONDS + SECONDS
    daemon = Daemon(config)
    if part == "producer":
        daemon.queue.ready = forever
    elif part == "intake":
        daemon.intake._gate.step = forever
    elif part == "reload":
        daemon.reload = forever
    elif part == "stop":
        daemon.stop = forever
    elif part == "slow-start":
        visit, pauses = daemon.intake._patrol._roots.look, iter([SLOW])
        daemon.intake._patrol._roots.look = lambda *a, **k: (time.sleep(next(pauses, 0)), visit(*a, **k))
    elif part == "interpreter":
        threading.Thread(target=hold_the_interpreter, daemon=True).start()
    elif part in {"observer", "walk"}:
        threading.Thread(target=end_observer, args=(daemon, part), daemon=True).start()
    sys.exit(daemon.run())


def end_observer(daemon: Daemon, part: str) -> None:
    """Let the thread that reads events die of an exception."""
    daemon.intake.first_scan_done.wait()
    roots = daemon.intake._patrol._roots
    if part == "walk":
        roots.prepare = forever
    observer, tell = roots._watcher._inotify, watcher._Teller.put_event
    watcher._Teller.put_event = lambda *_: sys.exit()
    while observer.is_alive():
        Path(daemon.config.folders[0].outbox.parent, f"{part}-in", "news.tmp").write_text("news")
        time.sleep(0.05)
    watcher._Teller.put_event = tell
    roots._next_start = 0.0  # as it is half a minute after a start


main()
