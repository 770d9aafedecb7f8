"""An inbox full of known files: what a rescan costs over a bare look at the folders, and how soon the daemon starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.contestants import DAEMON, Contestant
from benchmarks.service import ROOT
from benchmarks.table import Row, at_most, middle
from rembg_watch.jobs.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from sqlite3 import Connection

    from benchmarks.contestants import Arena
    from benchmarks.course import Course

RESCAN = 2.0
"""Times a bare scan with stat."""
RESCAN_MEMORY = 20.0
"""MB more than a bare scan."""
START = 1.0
"""Seconds over a rescan."""

_WALK = """
import json, os, resource, sys, time
how, inbox, database = sys.argv[1:]
if how == "bare":
    def work():
        waiting, files = [inbox], 0
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        entry.stat(follow_symlinks=False)
                        files += 1
        return files
else:
    from pathlib import Path
    from rembg_watch.api.options import Options
    from rembg_watch.config.load import load_config
    from rembg_watch.intake.inbox import inboxes_of
    from rembg_watch.intake.scanner import Summary, scan
    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.store import JobStore
    config = load_config(Path(database).parent.parent / "config.yaml")
    store = JobStore(Database(Path(database), readonly=True))
    (it,) = inboxes_of(config.folders)
    def work():
        summary = Summary()
        assert not list(scan(it, store, summary)), "unknown files"
        return summary.known
def resident():
    with open("/proc/self/status") as status:
        return {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Vm")}
before = int(resident()["VmRSS"])
start = time.perf_counter()
files = work()
seconds = time.perf_counter() - start
print(json.dumps({"files": files, "seconds": seconds, "memory": (int(resident()["VmHWM"]) - before) * 1024}))
"""


def _make(arena: Arena, count: int, folders: int) -> None:
    """Make empty files in ``folders`` folders."""
    each = count // folders
    for number in range(folders):
        folder = arena.inbox / f"folder-{number:05d}"
        folder.mkdir()
        here = os.open(folder, os.O_RDONLY)
        for name in range(each):
            os.close(os.open(f"photo-{name:06d}.jpg", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
        os.close(here)


def _know(arena: Arena) -> Path:
    """Write a job table that knows every file of the inbox."""
    arena.state.mkdir(mode=0o700)
    path = arena.state / "jobs.db"

    def rows() -> Iterator[tuple[object, ...]]:
        for folder in os.scandir(arena.inbox):
            for entry in os.scandir(folder):
                status = entry.stat()
                yield str(arena.inbox), folder.name, entry.name, status.st_size, status.st_mtime_ns

    def work(connection: Connection) -> None:
        connection.executemany(
            "INSERT INTO jobs (folder, dir, name, size, mtime_ns, fingerprint, profile, state, created_at, updated_at,"
            " finished_at, content_hash, how) VALUES (?, ?, ?, ?, ?, 'f', 'small', 'done', 1, 1, 1,"
            " lower(hex(randomblob(32))), 'sent')",
            rows(),
        )
        connection.execute("INSERT INTO facts VALUES ('clean', 'true', 1)")

    with Database(path) as database:
        database.write(work)
    return path


def _walk(how: str, arena: Arena, database: Path) -> tuple[float, float]:
    """Give seconds, and bytes over what the process held before."""
    done = subprocess.run(
        [sys.executable, "-c", _WALK, how, str(arena.inbox), str(database)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    told = json.loads(done.stdout)
    return told["seconds"], told["memory"]


def known(course: Course) -> list[Row]:
    """Scan in turns, bare and against the job table, each in a new process; then start the daemon on it."""
    count, folders = course.scale.known, course.scale.known_folders
    with course.arena() as arena:
        course.say(f"making {count:,} files in {folders:,} folders")
        _make(arena, count, folders)
        arena.write_config()
        database = _know(arena)
        times: dict[str, list[float]] = {"bare": [], "known": []}
        held: dict[str, list[float]] = {"bare": [], "known": []}
        _walk("bare", arena, database)  # so that nobody is the first to read the folders from the disk
        for _ in range(max(3, course.scale.repeats)):
            for how, seconds_of in times.items():
                seconds, size = _walk(how, arena, database)
                seconds_of.append(seconds)
                held[how].append(size / 1e6)
        bare, rescan = middle(times["bare"]), middle(times["known"])
        course.say(f"bare {bare:.2f} s, rescan {rescan:.2f} s")
        starts, first_scans = [], []
        for _ in range(course.scale.repeats):
            began = time.monotonic()
            with Contestant(DAEMON, arena) as daemon:
                daemon.wait_ready(600)
                starts.append(time.monotonic() - began)
                first_scans.append(processes.memory(daemon.pid)[1] / 1e6)
        course.say(f"start {middle(starts):.2f} s, {middle(first_scans):.0f} MB at most")
    note = f" ({rescan:.2f} s, {1e6 * rescan / count:.1f} us a file)"
    more = middle(held["known"]) - middle(held["bare"])
    name = f"{count:,} known files"
    return [
        at_most("known", f"rescan of {name}, x scandir + stat", rescan / bare, RESCAN, " x", note),
        at_most("known", f"rescan of {name}, memory over scandir + stat", more, RESCAN_MEMORY, " MB"),
        at_most(
            *("known", f"start with {name}, over a rescan", middle(starts) - rescan, START, " s"),
            f" ({middle(starts):.2f} s until ready)",
        ),
    ]
