"""The SQLite file: who may open it, how writes share commits, and what happens when the disk refuses or is damaged."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlite_utils.utils
import structlog
from jobs_table import facts, put, python

from rembg_watch.errors import StateError
from rembg_watch.jobs import database as database_module
from rembg_watch.jobs.database import Damaged, Database, Unavailable, from_sqlite
from rembg_watch.jobs.status_table import StatusTable

# -- who may open it


def test_only_its_owner_can_read_it(tmp_path):
    """The database has the path of every customer's photo: neither it nor its log is open to others."""
    with Database(tmp_path / "jobs.db") as database:
        database.write(put("a"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"jobs.db": 0o600, "jobs.db-wal": 0o600, "jobs.db-shm": 0o600}


def test_a_reader_never_makes_a_file(tmp_path):
    """Reading a database that does not exist is an error, and leaves nothing behind."""
    with pytest.raises(StateError, match="unable to open"):
        Database(tmp_path / "jobs.db", readonly=True)
    assert list(tmp_path.iterdir()) == []


READ = """
import sys
from pathlib import Path
from rembg_watch.errors import StateError
from rembg_watch.jobs.database import Database
database = Database(Path(sys.argv[1]), readonly=True)
print(database.read("SELECT key FROM facts WHERE key <> 'instance'"))
try:
    database.write(lambda connection: connection.execute("DELETE FROM facts"))
except StateError as error:
    print("refused:", error.hint)
"""


def test_another_process_reads_while_this_one_writes(tmp_path):
    """It sees what is committed, can't change anything, and an open write transaction does not keep it out."""
    with Database(tmp_path / "jobs.db") as database:
        database.write(put("a"))

        def read_meanwhile(connection):
            put("b")(connection)
            return python(READ, tmp_path / "jobs.db").communicate(timeout=60)[0].splitlines()

        seen, refused = database.write(read_meanwhile)
        assert seen == "[('a',)]"
        assert refused.startswith("refused: Make the state directory writable")
        assert facts(database) == ["a", "b"]


def test_a_reader_recovers_the_log_of_a_killed_daemon(tmp_path):
    """What was committed before the kill is seen, though nothing has emptied the log."""
    with Database(tmp_path / "jobs.db") as database:
        database.write(put("a"))
        (tmp_path / "dead").mkdir()
        for name in ("jobs.db", "jobs.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / "dead" / name)
    with Database(tmp_path / "dead" / "jobs.db", readonly=True) as database:
        assert facts(database) == ["a"]


@contextlib.contextmanager
def unprivileged():
    """Run as a user without rights, if this one has any."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_directory():
    """A directory that another user can reach; pytest's own can't be."""
    with tempfile.TemporaryDirectory(prefix="rembg-watch-test-") as made:
        yield Path(made)
        Path(made).chmod(0o700)


def test_a_reader_in_a_directory_that_it_can_not_write(public_directory):
    """A user who may only read the state reads it while no daemon writes."""
    path = public_directory / "jobs.db"
    with Database(path) as database:
        database.write(put("a"))
    path.chmod(0o644)
    public_directory.chmod(0o555)
    with unprivileged(), Database(path, readonly=True) as database:
        assert facts(database) == ["a"]
    assert [file.name for file in public_directory.iterdir()] == ["jobs.db"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_writer_in_a_directory_that_it_can_not_write(public_directory, exists):
    """The error says what to do, whether there is a database already or not."""
    path = public_directory / "jobs.db"
    if exists:
        Database(path).close()
        path.chmod(0o444)
    public_directory.chmod(0o555)
    with unprivileged(), pytest.raises(StateError, match="can't") as caught:
        Database(path)
    assert "writable for rembg-watch" in caught.value.hint


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_filesystem_is_refused(tmp_path, monkeypatch, kind):
    """WAL loses data there: no file is made, and the hint names the setting."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:50 / {tmp_path.resolve()} rw - {kind} host:/x rw\n")
    monkeypatch.setattr("rembg_watch.fsutil.MOUNTINFO", mounts)
    with pytest.raises(StateError, match=kind) as caught:
        Database(tmp_path / "jobs.db")
    assert "state_dir" in caught.value.hint
    assert not (tmp_path / "jobs.db").exists()


def test_a_missing_state_directory(tmp_path):
    """The error says so."""
    with pytest.raises(StateError, match="No such file") as caught:
        Database(tmp_path / "nowhere" / "jobs.db")
    assert "Create the state directory" in caught.value.hint


def test_changed_sees_the_writes_of_others_only(tmp_path):
    """A command beside the daemon writes at once, and the daemon notices; its own writes are no news."""
    with Database(tmp_path / "jobs.db") as daemon, Database(tmp_path / "jobs.db", guest=True) as guest:
        assert (daemon.is_new, guest.is_new) == (True, False)
        before = daemon.changed()
        daemon.write(put("a"))
        assert daemon.changed() == before
        guest.write(put("b"))
        assert daemon.changed() != before
        assert facts(daemon) == ["a", "b"]


# -- commits


def test_commits_survive_a_power_cut(database):
    """WAL with a sync at every commit, on the connection that writes."""
    assert database.write(lambda connection: connection.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert database.read("PRAGMA journal_mode") == [("wal",)]


def test_the_sqlite_library_is_that_of_sqlite_utils():
    """Migrations and queries use the same SQLite."""
    assert database_module.sqlite3.Connection is sqlite_utils.utils.sqlite3.Connection


WRITE = """
import sys
from itertools import count
from pathlib import Path
from rembg_watch.jobs.database import Database
database = Database(Path(sys.argv[1]))
for turn in count():
    rows = [(f"{turn}-{number}",) for number in range(50)]
    database.write(lambda connection: connection.executemany("INSERT INTO facts VALUES (?, '1', 0)", rows))
    print(turn, flush=True)
"""


def test_a_kill_leaves_each_write_whole_or_undone(tmp_path):
    """Every write that returned is there with all its rows; of the last one either all or none."""
    with python(WRITE, tmp_path / "jobs.db") as writer:
        returned = [writer.stdout.readline() for _ in range(5)]
        writer.send_signal(signal.SIGKILL)
        returned += writer.stdout.readlines()
    with Database(tmp_path / "jobs.db") as database:
        assert len(facts(database)) in {50 * len(returned), 50 * (len(returned) + 1)}


@pytest.fixture
def together(database, wait_until):
    """Run functions as one batch: each is written by a thread of its own while another commit is under way."""

    def run(*works):
        started, go = threading.Event(), threading.Event()

        def hold_up(connection):
            started.set()
            assert go.wait(60)

        def write(work):
            try:
                return database.write(work)
            except BaseException as error:  # noqa: BLE001 - what a test looks at
                return error

        with ThreadPoolExecutor(len(works) + 1) as pool:
            first = pool.submit(write, hold_up)
            assert started.wait(60)
            others = []
            for number, work in enumerate(works, 1):
                others.append(pool.submit(write, work))
                wait_until(lambda number=number: len(database._waiting) == number)
            go.set()
            first.result()
            return [other.result() for other in others]

    return run


def test_writes_of_many_threads_share_a_commit(database, together, statements):
    """32 writes that wait for a commit are committed by the next one."""
    ran = statements(lambda: together(*(put(str(number)) for number in range(32))))
    assert len(facts(database)) == 32
    assert ran.count("COMMIT") == 2


def test_writes_as_they_come_all_arrive(database):
    """32 threads write 10 times each."""
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda number: database.write(put(str(number))), range(320)))
    assert len(facts(database)) == 320


def test_a_write_that_raises_loses_only_its_own_changes(database, together):
    """The error is raised in its own thread; the others of its batch are committed."""

    def fail(connection):
        put("half")(connection)
        raise ValueError("changed its mind")

    results = together(put("one"), fail, put("one"), put("two"))
    assert facts(database) == ["one", "two"]
    assert [type(result) for result in results] == [sqlite3.Cursor, ValueError, StateError, sqlite3.Cursor]


def test_a_committed_write_is_never_run_again(database, together, monkeypatch):
    """One of a batch raises, the next is refused by the disk: the first was committed alone, and stays as it is."""
    monkeypatch.setattr(database_module, "RETRY_SECONDS", 0.01)
    database.commit_or_block()
    runs = []

    def fail(connection):
        raise ValueError

    def refused_twice(connection):
        runs.append(1)
        if len(runs) <= 2:
            raise sqlite3.OperationalError("database or disk is full")
        put("late")(connection)

    results = together(put("one"), fail, refused_twice)
    assert facts(database) == ["one", "late"]
    assert [isinstance(result, Exception) for result in results] == [False, True, False]


def test_an_interrupted_thread_takes_no_other_write_for_done(database, together):
    """The thread that commits for others is interrupted: each of them gets an error, and nothing is kept."""

    def interrupted(connection):
        raise KeyboardInterrupt

    results = together(put("a"), interrupted, put("b"))
    assert all(isinstance(result, BaseException) for result in results)
    assert facts(database) == []
    database.write(put("c"))
    assert facts(database) == ["c"]


def test_wrong_sql_is_an_error_and_never_retried(database):
    """sqlite3's exceptions are translated; the next write works."""
    database.commit_or_block()
    with pytest.raises(StateError, match="UNIQUE"):
        database.write(lambda connection: [put("a")(connection), put("a")(connection)])
    with pytest.raises(StateError, match="no such table"):
        database.write(lambda connection: connection.execute("DELETE FROM nowhere"))
    with pytest.raises(StateError, match="no such table"):
        database.read("SELECT * FROM nowhere")
    database.write(put("b"))
    assert facts(database) == ["b"]


# -- what the disk refuses


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("database is locked", Unavailable),
        ("database or disk is full", Unavailable),
        ("disk I/O error", Unavailable),
        ("attempt to write a readonly database", Unavailable),
        ("unable to open database file", Unavailable),
        ("database disk image is malformed", Damaged),
        ("file is not a database", Damaged),
        ("no such column: x", StateError),
    ],
)
def test_errors_are_told_apart(text, kind):
    """What a retry may help against, what is damaged, and what is a mistake of ours."""
    assert type(from_sqlite(sqlite3.DatabaseError(text), Path("jobs.db"))) is kind


@pytest.fixture
def full_disk(tmp_path, mount_at):
    """Fill the disk of the database; return the function that frees it."""
    disk = mount_at(tmp_path / "state", "-t", "tmpfs", "-o", "size=1m", "none")

    @contextlib.contextmanager
    def fill(database):
        with (disk / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        yield
        (disk / "fill").unlink()

    return fill


@pytest.fixture
def locked(tmp_path):
    """Lock the database by another process."""
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN IMMEDIATE'); print(1, flush=True); sys.stdin.read()"

    @contextlib.contextmanager
    def lock(database):
        with python(code, database.path, stdin=subprocess.PIPE) as process:
            process.stdout.readline()
            yield
            process.kill()

    return lock


def big(number):
    """Return a function that inserts more than a full disk takes."""
    return lambda connection: connection.execute("INSERT INTO facts VALUES (?, ?, 0)", (str(number), "x" * 50_000))


@pytest.mark.parametrize("trouble", ["full_disk", "locked"])
def test_a_write_that_the_disk_refuses(tmp_path, monkeypatch, request, wait_until, trouble):
    """A command fails at once; the daemon's writes wait, log one line, and succeed without an exception."""
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(database_module, "RETRY_SECONDS", 0.01)
    refuse = request.getfixturevalue(trouble)
    (tmp_path / "state").mkdir(exist_ok=True)
    tries = []

    def counted(connection):
        tries.append(1)
        return big("late")(connection)

    with Database(tmp_path / "state" / "jobs.db") as database, ThreadPoolExecutor() as pool:
        database.write(put("before"))
        waits: list[str] = []
        database._writer.set_trace_callback(lambda sql: waits.append(sql) if sql.startswith("BEGIN") else None)
        with structlog.testing.capture_logs() as logs:
            with refuse(database):
                with pytest.raises(Unavailable):
                    database.write(big("lost"))
                assert not database.blocked
                database.commit_or_block()
                late = pool.submit(database.write, counted)
                other = pool.submit(database.write, big("other"))
                wait_until(lambda: len(waits) > 3 and database.blocked)
                assert facts(database) == ["before"]  # reading goes on
            late.result(60)
            other.result(60)
        assert sorted(facts(database)) == ["before", "late", "other"]
        assert not database.blocked
        assert [entry["event"] for entry in logs] == ["state.cannot_write"]


def test_the_stop_ends_the_wait_with_an_error(tmp_path, locked, monkeypatch, wait_until):
    """fail_at_once: writes that wait, and later ones, raise; nothing of them is kept."""
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.01)
    with Database(tmp_path / "jobs.db") as database, ThreadPoolExecutor() as pool, locked(database):
        database.commit_or_block()
        waiting = pool.submit(database.write, put("a"))
        wait_until(lambda: database.blocked)
        database.fail_at_once()
        with pytest.raises(StateError, match="locked by another program"):
            waiting.result(60)
        with pytest.raises(StateError, match="locked by another program"):
            database.write(put("b"))
        assert not database.blocked
        assert facts(database) == []


# -- damage


@pytest.mark.parametrize("how", ["not a database", "torn page", "cut short"])
def test_a_damaged_database_is_refused_and_left_alone(tmp_path, how):
    """The error says what to do; the file is never replaced or changed."""
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
    with pytest.raises(Damaged) as caught:
        Database(path)
    assert "restore jobs.db from a backup" in caught.value.hint
    assert path.read_bytes() == raw


def test_a_large_database_is_checked_only_after_an_unclean_end(tmp_path, monkeypatch):
    """Its start is fast. Damage that a write or a read finds later is fatal and not retried."""
    path = tmp_path / "jobs.db"
    with Database(path) as database:
        database.write(lambda connection: [put(f"{number:0200}")(connection) for number in range(400)])
        StatusTable(database).set_fact("clean", value=True, now=1.0)
    raw = bytearray(path.read_bytes())
    for page in range(4096, len(raw), 4096):
        if f"{300:0200}".encode() in raw[page : page + 4096]:
            raw[page : page + 100] = b"\xff" * 100
    path.write_bytes(raw)
    with pytest.raises(Damaged):
        Database(path)
    monkeypatch.setattr(database_module, "CHECK_ALWAYS_BELOW", 0)
    for use in (lambda db: db.write(lambda connection: connection.execute("UPDATE facts SET updated_at = 1")), facts):
        with Database(path) as database, structlog.testing.capture_logs() as logs:
            database.commit_or_block()
            with pytest.raises(Damaged) as caught:
                use(database)
            assert database.fatal is caught.value
            assert logs == []
