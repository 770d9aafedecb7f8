"""A job database on the disk."""

from __future__ import annotations

import pytest
from jobs_table import Table

from rembg_watch.jobs.database import Database


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / "jobs.db") as opened:
        yield opened


@pytest.fixture
def table(database):
    return Table(database)


@pytest.fixture
def statements(database):
    """Return the SQL that a function runs, with its values."""

    def trace(work):
        seen: list[str] = []
        connections = (database._writer, database._reader)
        for connection in connections:
            connection.set_trace_callback(seen.append)
        work()
        for connection in connections:
            connection.set_trace_callback(None)
        return [sql for sql in seen if sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "COMMIT"))]

    return trace
