"""Measure a rescan of known files against a bare scan of the folders, and the start of the daemon on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.runners import DAEMON, Runner
from benchmarks.service import ROOT
from benchmarks.table import Row, at_most, middle, row
from rembg_watch.jobs.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from sqlite3 import Connection

    from benchmarks.runners import Workspace
    from benchmarks.suite import Suite

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
    from rembg_watch.jobs.queue import Queue
    config = load_config(Path(database).parent.parent / "config.yaml")
    queue = Queue(Database(Path(database), readonly=True))
    (it,) = inboxes_of(config.folders)
    def work():
        summary = Summary()
        assert not list(scan(it, queue, summary)), "unknown files"
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


def _make(workspace: Workspace, count: int, folders: int) -> None:
    """Make empty files in ``folders`` folders."""
    each = count // folders
    for number in range(folders):
        folder = workspace.inbox / f"folder-{number:05d}"
        folder.mkdir()
        here = os.open(folder, os.O_RDONLY)
        for name in range(each):
            os.close(os.open(f"photo-{name:06d}.jpg", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
        os.close(here)


def _write_jobs(workspace: Workspace) -> Path:
    """Write a database with a done job for each file of the inbox."""
    workspace.state.mkdir(mode=0o700)
    path = workspace.state / "jobs.db"

    def rows() -> Iterator[tuple[object, ...]]:
        for folder in os.scandir(workspace.inbox):
            for entry in os.scandir(folder):
                status = entry.stat()
                yield str(workspace.inbox), folder.name, entry.name, status.st_size, status.st_mtime_ns

    def work(connection: Connection) -> None:
        connection.executemany(
            "INSERT INTO jobs (folder, dir, name, size, mtime_ns, fingerprint, profile, state, created_at, updated_at,"
            " finished_at, content_hash, how) VALUES (?, ?, ?, ?, ?, 'f', 'cutout', 'done', 1, 1, 1,"
            " lower(hex(randomblob(32))), 'sent')",
            rows(),
        )
        connection.execute("INSERT INTO facts VALUES ('clean', 'true', 1)")

    with Database(path) as database:
        database.write(work)
    return path


def _walk(how: str, workspace: Workspace, database: Path) -> tuple[float, float]:
    """Return the seconds of a scan, and the bytes that it held more than the process before it."""
    done = subprocess.run(
        [sys.executable, "-c", _WALK, how, str(workspace.inbox), str(database)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    scan = json.loads(done.stdout)
    return scan["seconds"], scan["memory"]


def rescan(suite: Suite) -> list[Row]:
    """Scan bare and against the database in turns, each in a new process; then start the daemon."""
    count, folders = suite.scale.known, suite.scale.known_folders
    with suite.workspace() as workspace:
        suite.progress(f"making {count:,} files in {folders:,} folders")
        _make(workspace, count, folders)
        workspace.write_config()
        database = _write_jobs(workspace)
        times: dict[str, list[float]] = {"bare": [], "known": []}
        held: dict[str, list[float]] = {"bare": [], "known": []}
        _walk("bare", workspace, database)  # reads the folders from the disk for all that follow
        for _ in range(max(3, suite.scale.repeats)):
            for how, seconds_of in times.items():
                seconds, size = _walk(how, workspace, database)
                seconds_of.append(seconds)
                held[how].append(size / 1e6)
        bare, known = middle(times["bare"]), middle(times["known"])
        suite.progress(f"bare {bare:.2f} s, rescan {known:.2f} s")
        starts, peaks = [], []
        for _ in range(suite.scale.repeats):
            began = time.monotonic()
            with Runner(DAEMON, workspace) as daemon:
                daemon.wait_ready(600)
                starts.append(time.monotonic() - began)
                peaks.append(processes.memory(daemon.pid)[1] / 1e6)
        suite.progress(f"start {middle(starts):.2f} s, {middle(peaks):.0f} MB at most")
    ratios = [mine / base for mine, base in zip(times["known"], times["bare"], strict=True)]
    note = f", {known:.2f} s, {1e6 * known / count:.1f} us a file"
    more = middle(held["known"]) - middle(held["bare"])
    over = [start - known for start in starts]
    name = f"{count:,} known files"
    return [
        row("rescan", f"rescan of {name}, x scandir + stat", ratios, " x", at_most(2), note),
        row("rescan", f"rescan of {name}, memory over scandir + stat", more, " MB", at_most(20)),
        row(
            "rescan",
            f"start with {name}, over a rescan",
            over,
            " s",
            at_most(1),
            f", {middle(starts):.2f} s until ready",
        ),
    ]
