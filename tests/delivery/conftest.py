"""Real mounts (skipped where mounting is not permitted) and real kills for the tests that need them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from itertools import count

import pytest

from rembg_watch.delivery import placing


@pytest.fixture
def mount(tmp_path, mount_at):
    """Mount on a new folder, with the words that the command takes."""
    numbers = count()
    return lambda *words: mount_at(tmp_path / f"mount{next(numbers)}", *words)


@pytest.fixture
def tmpfs(mount):
    """Mount a tmpfs of so many KiB."""
    return lambda kib=1024: mount("-t", "tmpfs", "-o", f"size={kib}k", "rembg-watch-test")


@pytest.fixture
def read_only(mount):
    """Mount a folder once more, read-only."""

    def bind(folder):
        where = mount("--bind", str(folder))
        subprocess.run(["mount", "-o", "remount,ro,bind", where], check=True)
        return where

    return bind


def run_until_killed(count, call, means="flag"):
    """Run the call in a process of its own that kills itself before the count-th step; False if it came to its end.

    A step is whatever Python reports of files to its audit hooks (open, mkdir, rename, link, remove, rmdir, utime, chmod,
    ioctl, fcntl...), and the two things it does not report: the rename that replaces nothing, and fsync.
    """
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in {0, -signal.SIGKILL}, f"the call itself failed before step {count}"
        return status != 0
    left = [count]

    def step(event, _arguments):
        if event == "open" or (event.startswith(("os.", "fcntl.", "test.")) and event != "os.kill"):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def stepping(function):
        def stepped(*arguments):
            sys.audit("test.before")
            return function(*arguments)

        return stepped

    try:
        placing._renameat2 = None if means == "link" else stepping(placing._renameat2)
        os.fsync = stepping(os.fsync)
        sys.addaudithook(step)
        call()
    except BaseException:  # noqa: BLE001 - it goes to the child's stderr
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


@pytest.fixture
def killed_at():
    """Run a call in a process that kills itself at a step."""
    return run_until_killed


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture(params=["one filesystem", "two filesystems", "two bind mounts"])
def target(request, tmp_path):
    """A root to move photos to, on the inbox's filesystem, on another, and on the same one behind a bind mount."""
    if request.param == "two filesystems":
        return request.getfixturevalue("tmpfs")()
    (tmp_path / "target").mkdir()
    if request.param == "two bind mounts":
        return request.getfixturevalue("mount")("--bind", str(tmp_path / "target"))
    return tmp_path / "target"
