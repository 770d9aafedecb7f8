"""The lock of the state directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rembg_watch.errors import AlreadyRunning, StateError
from rembg_watch.jobs import lock
from rembg_watch.jobs.lock import StateLock, running_pid

ROOT = Path(__file__).parents[2]
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
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_second_daemon_is_refused_with_the_first_ones_process(tmp_path, holder):
    """Exit 75, with a hint, and the pid of who is there."""
    with pytest.raises(AlreadyRunning, match=str(holder.pid)) as caught:
        StateLock(tmp_path).acquire()
    assert caught.value.exit_code == 75
    assert running_pid(tmp_path) == holder.pid


def test_killed_daemon_leaves_no_lock(tmp_path, holder):
    """However it dies, the kernel gives the lock back; its pid in the file proves nothing."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert running_pid(tmp_path) is None
    with StateLock(tmp_path):
        assert running_pid(tmp_path) == os.getpid()
    assert running_pid(tmp_path) is None
    assert (tmp_path / "lock").exists()


def test_no_lock_file_is_no_daemon(tmp_path):
    """And asking makes none."""
    assert running_pid(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_questions_do_not_keep_a_daemon_out(tmp_path, monkeypatch):
    """While others ask all the time who runs, a daemon still gets its lock, each time."""
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


def test_missing_state_directory_is_said(tmp_path):
    """Not a traceback."""
    with pytest.raises(StateError, match="No such file"):
        StateLock(tmp_path / "nowhere").acquire()


def test_a_full_disk_is_said(tmp_path, mount_at):
    """The lock is where a full state directory is noticed first: an error with a hint, and no lock left held."""
    state = mount_at(tmp_path / "state", "-t", "tmpfs", "-o", "size=4k,nr_inodes=10", "none")
    (state / "fill").write_bytes(b"x" * 4096)
    with pytest.raises(StateError, match="No space left") as caught:
        StateLock(state).acquire()
    assert "Make room" in caught.value.hint
    (state / "fill").unlink()
    with StateLock(state):
        pass
