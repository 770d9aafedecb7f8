"""The one SQLite file when it is full, locked, damaged, or where it can not be: said, and nothing lost."""

from __future__ import annotations

import os
import sqlite3

import pytest
from jobs_facts import facts, put

from rembg_watch.errors import StateError
from rembg_watch.jobs import database as database_module
from rembg_watch.jobs import sqlite
from rembg_watch.jobs.board import Board
from rembg_watch.jobs.database import Database


def test_full_disk_loses_nothing_that_was_committed(tmp_path):
    """When no page can be added any more, the write raises and says so; what was there is there, and goes on later."""
    with Database(tmp_path / "jobs.db") as database:
        database.write(put("before"))
        pages = database.read("PRAGMA page_count")[0][0]
        database._writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StateError, match="no room") as caught:
            database.write(lambda c: c.execute("INSERT INTO facts VALUES ('big', ?, 0)", ("x" * 1_000_000,)))
        assert "Free some disk space" in caught.value.hint
        database._writer.execute("PRAGMA max_page_count = 1000000")
        database.write(put("after"))
        assert facts(database) == ["before", "after"]


def test_locked_database_is_named(tmp_path, monkeypatch):
    """Somebody else's open write transaction is waited for, and then told apart from damage."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with Database(tmp_path / "jobs.db") as database:
        other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked by another program"):
            database.write(put("a"))
        assert facts(database) == []  # reading goes on
        other.execute("ROLLBACK")
        other.close()
        database.write(put("b"))


@pytest.mark.parametrize("how", ["not a database", "torn page", "cut short"])
def test_damaged_database_is_refused_and_left_alone(tmp_path, how):
    """It says what to do, never starts over silently, and does not touch the file."""
    path = tmp_path / "jobs.db"
    with Database(path) as database:
        database.write(lambda connection: [put(f"{number:0200}")(connection) for number in range(400)])
    raw = bytearray(path.read_bytes())
    if how == "not a database":
        raw[:] = b"my shopping list\n" * 300
    elif how == "torn page":
        raw[len(raw) // 2 : len(raw) // 2 + 8192] = os.urandom(8192)
    else:
        del raw[len(raw) // 2 :]
    path.write_bytes(raw)
    with pytest.raises(StateError, match="damaged") as caught:
        Database(path)
    assert "restore jobs.db from a backup" in caught.value.hint
    assert path.read_bytes() == raw


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_network_file_system_is_refused(tmp_path, monkeypatch, kind):
    """WAL breaks where the shared memory of two machines is not shared: no file is made there, and the hint says why."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:50 / {tmp_path.resolve()} rw - {kind} host:/x rw\n")
    monkeypatch.setattr("rembg_watch.fsutil.MOUNTINFO", mounts)
    with pytest.raises(StateError, match="network file system") as caught:
        Database(tmp_path / "jobs.db")
    assert kind in str(caught.value)
    assert "state_dir" in caught.value.hint
    assert not (tmp_path / "jobs.db").exists()


def test_missing_state_directory(tmp_path):
    """Is an error that says so, not a traceback."""
    with pytest.raises(StateError, match="No such file") as caught:
        Database(tmp_path / "nowhere" / "jobs.db")
    assert "Create the state directory" in caught.value.hint


def test_large_database_is_checked_only_after_an_unclean_end(tmp_path, monkeypatch):
    """A start with millions of rows is fast; after a crash it is thorough."""
    path = tmp_path / "jobs.db"
    with Database(path) as database:
        database.write(lambda connection: [put(f"{number:0200}")(connection) for number in range(400)])
        Board(database).set_fact("clean", value=True, now=1.0)
    raw = bytearray(path.read_bytes())
    where = raw.rindex(f"{300:0200}".encode())
    raw[where - 30 : where] = b"\xff" * 30
    path.write_bytes(raw)
    with pytest.raises(StateError, match="damaged"):
        Database(path)
    monkeypatch.setattr(database_module, "CHECK_ALWAYS_BELOW", 0)
    Database(path).close()
