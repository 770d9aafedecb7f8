"""The one SQLite file when all is well: writes that are safe on the disk, and that many threads share."""

from __future__ import annotations

import sqlite3
import threading

import pytest
import sqlite_utils.utils
from jobs_facts import facts, put

from rembg_watch.errors import StateError
from rembg_watch.jobs import sqlite
from rembg_watch.jobs.database import Database


def test_the_sqlite_module_is_that_of_sqlite_utils():
    """Migrations and queries go through one and the same SQLite library."""
    assert sqlite.sqlite3.sqlite_version == sqlite_utils.utils.sqlite3.sqlite_version
    assert sqlite.sqlite3.Connection is sqlite_utils.utils.sqlite3.Connection


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
    """32 threads write while the first write is held up: all arrive, and the next commit is one for all of them."""
    started, go = threading.Event(), threading.Event()

    def slow(connection):
        started.set()
        assert go.wait(60)
        put("slow")(connection)

    first = threading.Thread(target=database.write, args=(slow,))
    first.start()
    assert started.wait(60)
    commits: list[str] = []
    database._writer.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)

    threads = [threading.Thread(target=database.write, args=(put(str(number)),)) for number in range(32)]
    for thread in threads:
        thread.start()
    while len(database._waiting) < 32:
        assert all(thread.is_alive() for thread in threads)
    go.set()
    for thread in (*threads, first):
        thread.join()
    database._writer.set_trace_callback(None)
    assert len(facts(database)) == 33
    assert len(commits) == 2


def test_many_writes_at_once_all_arrive(database):
    """32 threads write 10 times each, as they come: each write waits for its own commit, and none for ever."""

    def work(number):
        for turn in range(10):
            database.write(put(f"{number}-{turn}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(facts(database)) == 320


def test_failing_write_undoes_only_itself(database):
    """Of three writes in one commit the bad one raises in its own thread, and leaves nothing behind."""
    started, go = threading.Event(), threading.Event()

    def slow(connection):
        started.set()
        assert go.wait(60)

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
    assert started.wait(60)
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
