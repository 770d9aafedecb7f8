"""From the schema of an older version to that of this one: all steps or none, and with every row."""

from __future__ import annotations

import pytest
from jobs_table import facts, put, python

from rembg_watch.errors import StateError
from rembg_watch.jobs import schema
from rembg_watch.jobs.database import Database

STEPS = [step.__name__ for step in schema.STEPS]
BESIDE = ({"readonly": True}, {"guest": True})


def m998_next(db):
    db.conn.execute("CREATE TABLE next (a INTEGER) STRICT")


def m999_broken(db):
    db.conn.execute("CREATE TABLE next (a INTEGER) STRICT")


def test_processes_that_start_at_once_make_one_schema(tmp_path):
    """One makes the tables, and the others find them."""
    code = "import sys; from pathlib import Path; from rembg_watch.jobs.database import Database; Database(Path(sys.argv[1])).close()"
    started = [python(code, tmp_path / "jobs.db") for _ in range(4)]
    assert [(process.communicate(timeout=60), process.returncode) for process in started] == [(("", None), 0)] * 4
    with Database(tmp_path / "jobs.db", readonly=True) as database:
        assert schema.applied(database._reader) == STEPS


def test_a_new_step_is_applied_and_an_unknown_one_refused(tmp_path, monkeypatch):
    """The daemon migrates and keeps what is there; commands beside it wait for that; an older version refuses."""
    path = tmp_path / "jobs.db"
    with Database(path) as database:
        database.write(put("kept"))
    with monkeypatch.context() as newer:
        newer.setattr(schema, "STEPS", (*schema.STEPS, m998_next))
        for beside in BESIDE:
            with pytest.raises(StateError, match="older rembg-watch"):
                Database(path, **beside)
        with Database(path) as database:
            assert not database.is_new
            assert database.read("SELECT count(*) FROM next") == [(0,)]
            assert facts(database) == ["kept"]
    for way in ({}, *BESIDE):
        with pytest.raises(StateError, match="another rembg-watch"):
            Database(path, **way)


def test_a_failed_migration_changes_nothing(tmp_path, monkeypatch):
    """All steps or none."""
    with monkeypatch.context() as broken:
        broken.setattr(schema, "STEPS", (*schema.STEPS, m998_next, m999_broken))
        with pytest.raises(StateError, match="already exists"):
            Database(tmp_path / "jobs.db")
    with Database(tmp_path / "jobs.db") as database:
        assert schema.applied(database._reader) == STEPS


def test_a_guest_needs_tables(tmp_path):
    """A command beside the daemon never makes them."""
    (tmp_path / "jobs.db").touch()
    for beside in BESIDE:
        with pytest.raises(StateError, match="no tables yet"):
            Database(tmp_path / "jobs.db", **beside)


@pytest.mark.parametrize(
    ("column", "value"), [("state", "resting"), ("how", "found"), ("tidy", "burn"), ("current", "yes")]
)
def test_a_row_takes_known_values_only(table, column, value):
    """A mistake in the code never reaches the disk."""
    table.add()
    with pytest.raises(StateError, match=r"constraint failed|cannot store"):
        table.database.write(lambda connection: connection.execute(f"UPDATE jobs SET {column} = ?", (value,)))
