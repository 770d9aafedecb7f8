"""docs/database.md names every table, column and state of the job database, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlite_utils

from rembg_watch.jobs.database import Database
from rembg_watch.jobs.model import Charge, How, State, Tidy

TEXT = (Path(__file__).parents[2] / "docs" / "database.md").read_text("utf-8")
WORDS = set(re.findall(r"`([a-z_ -]+)`", TEXT)) | set(re.findall(r"^## ([a-z_]+)$", TEXT, re.MULTILINE))


@pytest.fixture
def tables(tmp_path):
    """The columns of each table, by its name."""
    Database(tmp_path / "jobs.db").close()
    database = sqlite_utils.Database(tmp_path / "jobs.db")
    try:
        return {table.name: set(table.columns_dict) for table in database.tables if not table.name.startswith("_")}
    finally:
        database.close()


def test_every_table_and_column_is_named(tables):
    """A reader of the file finds each name on the page."""
    columns = set.union(*tables.values())
    assert set(tables) <= WORDS
    assert columns <= WORDS


@pytest.mark.parametrize("values", [State, How, Tidy, Charge])
def test_every_value_is_explained(values):
    """The values that columns can have."""
    assert {value.value for value in values} <= WORDS


@pytest.mark.parametrize(("heading", "table"), [("jobs", "jobs"), ("attempts", "attempts")])
def test_the_tables_on_the_page_have_no_other_columns(tables, heading, table):
    """What was removed from the schema is removed from the page."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0].split("The states:")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z_]+)`", " ".join(rows))) <= tables[table]
