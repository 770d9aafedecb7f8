"""From the schema of an older version to that of this one: whole, once, and with every row."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from jobs_facts import facts, put

from rembg_watch.errors import StateError
from rembg_watch.jobs import migrations
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.model import Arrival, Version
from rembg_watch.jobs.store import JobStore

ROOT = Path(__file__).parents[2]


def test_two_processes_that_start_at_once_make_one_schema(tmp_path):
    """Of several that find no database, one makes the tables and the others find them."""
    code = "import sys; from pathlib import Path; from rembg_watch.jobs.database import Database as D; D(Path(sys.argv[1])).close()"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "jobs.db")], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in started] == [(b"", 0)] * 4
    with Database(tmp_path / "jobs.db", readonly=True) as database:
        assert migrations.applied(database._reader) == [step.__name__ for step in migrations.STEPS]


def test_migrations_go_on_from_where_the_database_is(tmp_path, monkeypatch):
    """A database of the version before gets the new step, and keeps what it holds."""
    path = tmp_path / "jobs.db"
    steps = migrations.STEPS
    with Database(path) as database:
        database.write(put("kept"))

    def m999_next(db):
        db.conn.execute("CREATE TABLE next (a INTEGER) STRICT")

    monkeypatch.setattr(migrations, "STEPS", (*steps, m999_next))
    for beside in ({"readonly": True}, {"guest": True}):
        with pytest.raises(StateError, match="older rembg-watch"):
            Database(path, **beside)
    with Database(path) as database:
        assert database.read("SELECT count(*) FROM next") == [(0,)]
        assert facts(database) == ["kept"]
    monkeypatch.setattr(migrations, "STEPS", steps)
    for way in ({}, {"readonly": True}, {"guest": True}):
        with pytest.raises(StateError, match="newer rembg-watch"):
            Database(path, **way)


def test_cheaper_checks_are_the_same_rules(tmp_path, monkeypatch):
    """A database from before gets them with all its rows and its other indexes, and takes no value that it did not."""
    path = tmp_path / "jobs.db"
    with monkeypatch.context() as before:
        before.setattr(migrations, "STEPS", migrations.STEPS[:3])
        with Database(path) as database:
            store = JobStore(database)
            store.enqueue([Arrival("/in", f"{i}.jpg", Version(i, i), "fp", "p") for i in range(9)], 1.0)
            for job in store.claim(5, 2.0, 60.0):
                store.mark_sent(job, "hash", "/out/a", "/out/b", 3.0)
            rows = [database.read(f"SELECT * FROM {table}") for table in ("jobs", "attempts")]
            indexes = {name for (name,) in database.read("SELECT name FROM sqlite_master WHERE type = 'index'")}
    with Database(path) as database:
        assert [database.read(f"SELECT * FROM {table}") for table in ("jobs", "attempts")] == rows
        now = {name for (name,) in database.read("SELECT name FROM sqlite_master WHERE type = 'index'")}
        assert indexes - now == {"jobs_leased"}
        assert [job.id for job in JobStore(database).running()] == [1, 2, 3, 4, 5]
        for table, column, value in (
            ("jobs", "state", "resting"),
            ("jobs", "how", "found"),
            ("jobs", "tidy", "burn"),
            ("attempts", "charge", "free"),
        ):
            with pytest.raises(StateError, match="CHECK constraint failed"):
                database.write(lambda c, t=table, k=column, v=value: c.execute(f"UPDATE {t} SET {k} = ?", (v,)))
        database.write(lambda c: c.execute("UPDATE jobs SET state = 'superseded', how = NULL, tidy = 'delete'"))


def test_failed_migration_changes_nothing(tmp_path, monkeypatch):
    """All steps or none: half a schema would be nobody's."""
    path = tmp_path / "jobs.db"

    def m998_good(db):
        db.conn.execute("CREATE TABLE good (a INTEGER) STRICT")

    def m999_bad(db):
        db.conn.execute("CREATE TABLE good (a INTEGER) STRICT")

    with monkeypatch.context() as changed:
        changed.setattr(migrations, "STEPS", (*migrations.STEPS, m998_good, m999_bad))
        with pytest.raises(StateError, match="already exists"):
            Database(path)
    with Database(path) as database:
        assert migrations.applied(database._reader) == [step.__name__ for step in migrations.STEPS]
