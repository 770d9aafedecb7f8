"""The one SQLite file: opening it, sharing it, gathering writes, and every way it can be unusable."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import sqlite_utils.utils

from rembg_watch.errors import StateError
from rembg_watch.jobs import database as database_module
from rembg_watch.jobs import sqlite
from rembg_watch.jobs.board import Board
from rembg_watch.jobs.database import Database

ROOT = Path(__file__).parents[2]


def facts(database):
    return [key for (key,) in database.read("SELECT key FROM facts ORDER BY rowid")]


def put(key):
    return lambda connection: connection.execute("INSERT INTO facts VALUES (?, '1', 0)", (key,))


def test_the_sqlite_module_is_that_of_sqlite_utils():
    """Migrations and queries go through one and the same SQLite library."""
    assert sqlite.sqlite3.sqlite_version == sqlite_utils.utils.sqlite3.sqlite_version
    assert sqlite.sqlite3.Connection is sqlite_utils.utils.sqlite3.Connection


def test_the_file_is_nobody_elses(tmp_path):
    """The database tells where every customer's photo lies: neither it nor its log can be read by others."""
    path = tmp_path / "jobs.db"
    with Database(path) as database:
        database.write(put("a"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"jobs.db": 0o600, "jobs.db-wal": 0o600, "jobs.db-shm": 0o600}


def test_commits_are_safe_against_a_power_cut(database):
    """WAL with a sync at every commit, on the connection that writes."""
    assert database.write(lambda c: c.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert database.read("PRAGMA journal_mode") == [("wal",)]


def test_write_is_on_disk_when_it_returns(tmp_path):
    """Another process sees it at once."""
    with Database(tmp_path / "jobs.db") as database:
        database.write(put("a"))
        other = sqlite3.connect(tmp_path / "jobs.db")
        assert other.execute("SELECT key FROM facts").fetchall() == [("a",)]
        other.close()


def test_writes_of_many_threads_share_commits(database):
    """32 threads write 10 times each while the first write is held up: all arrive, in far fewer commits."""
    started, go = threading.Event(), threading.Event()

    def slow(connection):
        started.set()
        assert go.wait(30)
        put("slow")(connection)

    first = threading.Thread(target=database.write, args=(slow,))
    first.start()
    assert started.wait(30)
    commits: list[str] = []
    database._writer.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)

    def work(number):
        for turn in range(10):
            database.write(put(f"{number}-{turn}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    while len(database._waiting) < 32:
        assert threading.active_count() > 32
    go.set()
    for thread in (*threads, first):
        thread.join()
    database._writer.set_trace_callback(None)
    assert len(facts(database)) == 321
    assert len(commits) < 107  # three or more share one, in the mean


def test_failing_write_undoes_only_itself(database):
    """Of three writes in one commit the bad one raises in its own thread, and leaves nothing behind."""
    started, go = threading.Event(), threading.Event()

    def slow(connection):
        started.set()
        assert go.wait(30)

    def bad(connection):
        put("half")(connection)
        raise ValueError("changed my mind")

    raised: list[BaseException] = []

    def try_bad():
        try:
            database.write(bad)
        except ValueError as error:
            raised.append(error)

    threads = [
        threading.Thread(target=target, args=args)
        for target, args in (
            (database.write, (slow,)),
            (database.write, (put("one"),)),
            (try_bad, ()),
            (database.write, (put("two"),)),
        )
    ]
    threads[0].start()
    assert started.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(database._waiting) < 3:
        assert all(thread.is_alive() for thread in threads)
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(facts(database)) == ["one", "two"]
    assert [str(error) for error in raised] == ["changed my mind"]


def test_broken_sql_is_a_state_error_and_the_next_write_works(database):
    """sqlite3's exceptions don't leave the room, and one of them does not spoil the connection."""
    with pytest.raises(StateError, match="UNIQUE"):
        database.write(lambda c: [put("a")(c), put("a")(c)])
    database.write(put("b"))
    assert facts(database) == ["b"]
    with pytest.raises(StateError, match="no such table"):
        database.read("SELECT * FROM nowhere")


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
        for number in range(400):
            database.write(put(f"{number:0200}"))
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
    monkeypatch.setattr("rembg_watch.jobs.mounts.MOUNTINFO", mounts)
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


def test_reader_needs_an_existing_file_and_never_makes_one(tmp_path):
    """A look at nothing leaves nothing behind."""
    with pytest.raises(StateError, match="unable to open"):
        Database(tmp_path / "jobs.db", readonly=True)
    assert list(tmp_path.iterdir()) == []


READ = """
import sys
from pathlib import Path
from rembg_watch.errors import StateError
from rembg_watch.jobs.database import Database
database = Database(Path(sys.argv[1]), readonly=True)
print(database.read("SELECT key FROM facts"))
try:
    database.write(lambda connection: connection.execute("DELETE FROM facts"))
except StateError as error:
    print("refused:", error.hint)
"""


def run_reader(path):
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.splitlines() or [done.stderr]


def test_second_process_reads_while_the_first_writes(tmp_path):
    """It sees what is committed, can't change anything, and is not kept out by an open write transaction."""
    with Database(tmp_path / "jobs.db") as database:
        database.write(put("a"))

        def during(connection):
            put("b")(connection)
            return run_reader(tmp_path / "jobs.db")

        seen, refused = database.write(during)
        assert seen == "[('a',)]"
        assert refused.startswith("refused: Make the state directory writable")
        assert facts(database) == ["a", "b"]


def test_reader_recovers_the_log_of_a_killed_daemon(tmp_path):
    """What a daemon had committed before it was killed is seen, though nobody has emptied its log."""
    with Database(tmp_path / "jobs.db") as database:
        database.write(put("a"))
        dead = tmp_path / "dead"
        dead.mkdir()
        for name in ("jobs.db", "jobs.db-wal"):
            shutil.copy(tmp_path / name, dead / name)
    assert run_reader(dead / "jobs.db")[0] == "[('a',)]"


@pytest.fixture
def somebody_else():
    """Give a way to do things as a user without rights, where that is possible; else as who we are."""

    @contextlib.contextmanager
    def _as():
        if os.getuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return _as


@pytest.fixture
def public_directory():
    """A directory that another user can reach; pytest's own can't be."""
    with tempfile.TemporaryDirectory(prefix="rembg-watch-test-") as made:
        directory = Path(made)
        yield directory
        directory.chmod(0o700)


def test_reader_in_a_directory_that_it_can_not_write(public_directory, somebody_else):
    """Somebody who may only read the state reads it, where no daemon is writing."""
    path = public_directory / "jobs.db"
    with Database(path) as database:
        database.write(put("a"))
    path.chmod(0o644)
    public_directory.chmod(0o555)
    with somebody_else(), Database(path, readonly=True) as database:
        assert facts(database) == ["a"]
    assert [file.name for file in public_directory.iterdir()] == ["jobs.db"]


@pytest.mark.parametrize("there", [False, True])
def test_writer_in_a_directory_that_it_can_not_write(public_directory, somebody_else, there):
    """Is told what is wrong and what to do, whether there is a database already or not."""
    path = public_directory / "jobs.db"
    if there:
        Database(path).close()
        path.chmod(0o444)
    public_directory.chmod(0o555)
    with somebody_else(), pytest.raises(StateError, match="can't") as caught:
        Database(path)
    assert "writable for rembg-watch" in caught.value.hint


def test_guest_neither_checks_nor_migrates(tmp_path):
    """A command beside the daemon writes at once, whatever the size of the database."""
    path = tmp_path / "jobs.db"
    with Database(path) as daemon, Database(path, guest=True) as guest:
        before = daemon.changed()
        guest.write(put("a"))
        assert facts(daemon) == ["a"]
        assert daemon.changed() != before
        again = daemon.changed()
        daemon.write(put("b"))
        assert daemon.changed() == again  # its own writes are no news


def test_large_database_is_checked_only_after_an_unclean_end(tmp_path, monkeypatch):
    """A start with millions of rows is fast; after a crash it is thorough."""
    path = tmp_path / "jobs.db"
    with Database(path) as database:
        for number in range(400):
            database.write(put(f"{number:0200}"))
        Board(database).set_fact("clean", value=True, now=1.0)
    raw = bytearray(path.read_bytes())
    where = raw.rindex(f"{300:0200}".encode())
    raw[where - 30 : where] = b"\xff" * 30
    path.write_bytes(raw)
    with pytest.raises(StateError, match="damaged"):
        Database(path)
    monkeypatch.setattr(database_module, "CHECK_ALWAYS_BELOW", 0)
    Database(path).close()
