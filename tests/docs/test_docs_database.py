"""The database's tables are documented, all of them and all of their columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlite_utils

from rembg_watch.jobs.database import Database

TEXT = (Path(__file__).parents[2] / "docs" / "database.md").read_text("utf-8")


@pytest.fixture
def tables(tmp_path):
    Database(tmp_path / "jobs.db").close()
    database = sqlite_utils.Database(tmp_path / "jobs.db")
    try:
        return {table.name: [column.name for column in table.columns] for table in database.tables}
    finally:
        database.close()


def test_every_column_of_every_table_is_named(tables):
    """Who opens the file with a tool finds each of its names on the page."""
    words = set(re.findall(r"`([a-z_]+)`", TEXT))
    headings = set(re.findall(r"^## ([a-z_]+)$", TEXT, re.MULTILINE))
    ours = {name: columns for name, columns in tables.items() if not name.startswith("_")}
    assert set(ours) <= words | headings
    for name in ("jobs", "attempts", "outputs", "usage_checks", "holds", "unready"):
        assert set(ours[name]) - {"id", "folder", "path"} <= words, name
