"""The lock of the state directory."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest
from jobs_table import python

from rembg_watch.errors import AlreadyRunning, StateError
from rembg_watch.jobs import lock
from rembg_watch.jobs.lock import StateLock, running_pid

HOLD = """
import sys
from pathlib import Path
from rembg_watch.jobs.lock import StateLock
StateLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    with python(HOLD, tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_daemon_is_refused(tmp_path, holder, monkeypatch):
    """Exit 75, with the process id of the first."""
    monkeypatch.setattr(lock, "ASKING_SECONDS", 0)
    with pytest.raises(AlreadyRunning, match=str(holder.pid)) as caught:
        StateLock(tmp_path).acquire()
    assert caught.value.exit_code == 75
    assert running_pid(tmp_path) == holder.pid


def test_killed_daemon_leaves_no_lock(tmp_path, holder):
    """The kernel releases it, however the process dies; the process id in the file proves nothing."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert running_pid(tmp_path) is None
    with StateLock(tmp_path):
        assert running_pid(tmp_path) == os.getpid()
    assert running_pid(tmp_path) is None
    assert (tmp_path / "lock").exists()


def test_no_lock_file_is_no_daemon(tmp_path):
    """Asking makes no file."""
    assert running_pid(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_questions_do_not_keep_a_daemon_out(tmp_path, monkeypatch):
    """While commands ask all the time whether a daemon runs, a daemon still gets its lock."""
    monkeypatch.setattr(lock, "ASKING_SECONDS", 60)  # on a busy machine a question may take long
    StateLock(tmp_path).acquire().release()
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            running_pid(tmp_path)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(20):
            StateLock(tmp_path).acquire().release()
    finally:
        stop.set()
        for thread in asking:
            thread.join()


def test_a_missing_state_directory(tmp_path):
    """The error says so."""
    with pytest.raises(StateError, match="No such file"):
        StateLock(tmp_path / "nowhere").acquire()


def test_a_full_disk(tmp_path, mount_at):
    """An error with a hint, and no lock is left behind."""
    state = mount_at(tmp_path / "state", "-t", "tmpfs", "-o", "size=4k,nr_inodes=10", "none")
    (state / "fill").write_bytes(b"x" * 4096)
    with pytest.raises(StateError, match="No space left") as caught:
        StateLock(state).acquire()
    assert "Make room" in caught.value.hint
    (state / "fill").unlink()
    with StateLock(state):
        pass
