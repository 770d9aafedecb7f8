"""The one SQLite file beside its daemon: who may read it, who may write it, and who is told that they can not."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from jobs_facts import facts, put

from rembg_watch.errors import StateError
from rembg_watch.jobs.database import Database

ROOT = Path(__file__).parents[2]


def test_the_file_is_nobody_elses(tmp_path):
    """The database tells where every customer's photo lies: neither it nor its log can be read by others."""
    path = tmp_path / "jobs.db"
    with Database(path) as database:
        database.write(put("a"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"jobs.db": 0o600, "jobs.db-wal": 0o600, "jobs.db-shm": 0o600}


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
