"""The schema, as the steps that led to it. A step that was released is never edited; the next one goes below it.

All times are Unix seconds (REAL), sizes bytes, names as ``names.py`` writes them. The partial indexes carry the
literal conditions of the queries that use them; SQLite uses them for nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rembg_watch.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path
    from sqlite3 import Connection

    from sqlite_utils import Database

SET = "rembg-watch"


def m001_jobs(db: Database) -> None:
    """One row for each version of a file; ``current`` marks the newest version of its path."""
    db.conn.execute("""
        CREATE TABLE jobs (
            id           INTEGER PRIMARY KEY,
            folder       TEXT NOT NULL,             -- the inbox, resolved
            dir          TEXT NOT NULL,             -- below the inbox; empty at its top
            name         TEXT NOT NULL,
            size         INTEGER NOT NULL,          -- of the source, at intake
            mtime_ns     INTEGER NOT NULL,
            current      INTEGER NOT NULL DEFAULT 1,
            fingerprint  TEXT NOT NULL,             -- of the options
            profile      TEXT NOT NULL,
            state        TEXT NOT NULL CHECK (state IN
                           ('queued', 'running', 'waiting', 'done', 'failed', 'cancelled', 'superseded')),
            priority     INTEGER NOT NULL DEFAULT 0,
            attempts     INTEGER NOT NULL DEFAULT 0, -- those that count against retry.max_attempts
            forced       INTEGER NOT NULL DEFAULT 0, -- asked for again: no reuse of earlier results
            created_at   REAL NOT NULL,
            updated_at   REAL NOT NULL,
            finished_at  REAL,
            not_before   REAL,                      -- waiting until then
            lease        TEXT,                      -- the token of the claim that works on it
            lease_until  REAL,
            content_hash TEXT,                      -- blake3 of the source
            output       TEXT,                      -- the path that the result goes to
            temp         TEXT,                      -- the file that the answer is written to first
            api_sent_at  REAL,                      -- committed before the body goes out
            result_hash  TEXT,                      -- blake3 of the verified answer
            result_size  INTEGER,
            how          TEXT CHECK (how IN ('sent', 'reused', 'adopted')),
            code         TEXT,                      -- why it failed or waits, in one word
            message      TEXT,
            hint         TEXT,
            tidy         TEXT CHECK (tidy IN ('archive', 'delete', 'move-failed'))  -- still to do with the source
        ) STRICT""")
    for index in (
        "jobs_ready ON jobs (priority DESC, id, folder, fingerprint) WHERE state = 'queued'",
        "jobs_kept ON jobs (id) WHERE state = 'queued' AND result_hash IS NOT NULL",
        "jobs_waiting ON jobs (not_before) WHERE state = 'waiting'",
        "jobs_leased ON jobs (lease_until) WHERE state = 'running'",
        "jobs_known ON jobs (folder, dir, name, size, mtime_ns) WHERE current = 1",
        "jobs_untidy ON jobs (id) WHERE tidy IS NOT NULL",
        "jobs_state ON jobs (state, folder)",
        "jobs_old ON jobs (finished_at) WHERE finished_at IS NOT NULL",
    ):
        db.conn.execute(f"CREATE INDEX {index}")


def m002_outputs_and_ledger(db: Database) -> None:
    """What was delivered, and one row for each attempt: the credit ledger."""
    db.conn.execute("""
        CREATE TABLE outputs (
            path         TEXT PRIMARY KEY,
            job_id       INTEGER NOT NULL,
            folder       TEXT NOT NULL,
            source       TEXT NOT NULL,             -- relative to the folder: whose output it is
            content_hash TEXT,                      -- of the source; NULL where it was adopted
            fingerprint  TEXT NOT NULL,
            hash         TEXT NOT NULL,             -- of the output itself
            size         INTEGER NOT NULL,
            created_at   REAL NOT NULL
        ) STRICT""")
    db.conn.execute("CREATE INDEX outputs_content ON outputs (content_hash, fingerprint)")
    db.conn.execute("CREATE INDEX outputs_source ON outputs (folder, source)")
    db.conn.execute("""
        CREATE TABLE attempts (
            id           INTEGER PRIMARY KEY,
            job_id       INTEGER NOT NULL,
            folder       TEXT NOT NULL,
            profile      TEXT NOT NULL,
            sent_at      REAL NOT NULL,
            ended_at     REAL,
            charge       TEXT NOT NULL CHECK (charge IN ('charged', 'not charged', 'possibly charged')),
            code         TEXT,
            status       INTEGER,
            message      TEXT,
            bytes_in     INTEGER,
            bytes_out    INTEGER,
            api_ms       REAL
        ) STRICT""")
    db.conn.execute("CREATE INDEX attempts_sent ON attempts (sent_at, charge, folder)")
    db.conn.execute("CREATE INDEX attempts_job ON attempts (job_id)")


def m003_what_status_shows(db: Database) -> None:
    """Holds, readings of the account, files that are not jobs yet, and single facts."""
    db.conn.execute("""
        CREATE TABLE holds (
            scope        TEXT NOT NULL,             -- all, profile:FINGERPRINT, outbox:PATH, inbox:PATH
            kind         TEXT NOT NULL,
            message      TEXT NOT NULL,
            release      TEXT NOT NULL,             -- what ends it
            since        REAL NOT NULL,
            next_check   REAL,
            PRIMARY KEY (scope, kind)
        ) STRICT""")
    db.conn.execute("""
        CREATE TABLE usage_checks (
            id           INTEGER PRIMARY KEY,
            at           REAL NOT NULL,
            available    INTEGER NOT NULL,
            api_usage    INTEGER NOT NULL,
            app_usage    INTEGER NOT NULL,
            period_start REAL,
            period_end   REAL,
            charged      INTEGER NOT NULL,          -- by us, in all, when this was read
            possibly     INTEGER NOT NULL
        ) STRICT""")
    db.conn.execute("CREATE INDEX usage_checks_at ON usage_checks (at)")
    db.conn.execute("""
        CREATE TABLE unready (
            folder       TEXT NOT NULL,
            path         TEXT NOT NULL,
            state        TEXT NOT NULL,
            reason       TEXT NOT NULL,
            since        REAL NOT NULL,
            PRIMARY KEY (folder, path)
        ) STRICT""")
    db.conn.execute("CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at REAL NOT NULL) STRICT")


def m004_cheaper_checks(db: Database) -> None:
    """The same rules for less: SQLite builds a table for each list in a CHECK, anew for each row that it writes.

    Which jobs run is found by their state: an index of its own was one more page to write for each photo.
    """
    for table in ("jobs", "attempts"):
        made = dict(db.conn.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name = ? ORDER BY rowid", (table,)))
        made.pop("jobs_leased", None)
        db.conn.execute(f"ALTER TABLE {table} RENAME TO before")
        db.conn.execute(_LIST_CHECK.sub(_one_by_one, made.pop(table)))
        db.conn.execute(f"INSERT INTO {table} SELECT * FROM before")
        db.conn.execute("DROP TABLE before")
        for index in made.values():
            db.conn.execute(index)


_LIST_CHECK = re.compile(r"CHECK \((\w+) IN\s*\((.+?)\)\)")


def _one_by_one(check: re.Match[str]) -> str:
    return f"CHECK ({' OR '.join(f'{check[1]} = {value}' for value in check[2].split(', '))})"


STEPS = (m001_jobs, m002_outputs_and_ledger, m003_what_status_shows, m004_cheaper_checks)


def applied(connection: Connection) -> list[str]:
    """Give the names of the steps that the database has behind it. Changes nothing."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone()
    if known is None:
        return []
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY rowid", (SET,))
    return [name for (name,) in rows]


def _refuse_newer(names: list[str], path: Path) -> None:
    if unknown := set(names) - {step.__name__ for step in STEPS}:
        raise StateError(
            f"{path} was made by a newer rembg-watch (it has {', '.join(sorted(unknown))})",
            "Use that version, or a newer one: going back would lose what only the newer one knows.",
        )


def migrate(connection: Connection, path: Path) -> None:
    """Bring the schema up to date, in one transaction: all steps or none.

    Raises:
        StateError: the database was made by a newer version.

    """
    names = applied(connection)
    _refuse_newer(names, path)
    if len(names) == len(STEPS):
        return
    from sqlite_utils import Database, Migrations  # noqa: PLC0415 - 0.1 s that only a new database needs

    migrations = Migrations(SET)
    for step in STEPS:
        migrations()(step)
    # Immediate, so that of two processes that start at once one waits, and then finds the work done.
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(Database(connection))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def require_current(connection: Connection, path: Path) -> None:
    """Check that the schema is the one of this version, and change nothing.

    Raises:
        StateError: the database was made by a newer version, or is still that of an older one.

    """
    names = applied(connection)
    _refuse_newer(names, path)
    if not names:
        raise StateError(f"{path} has no tables yet", "Try again when the daemon has started.")
    if len(names) < len(STEPS):
        raise StateError(
            f"{path} is still that of an older rembg-watch",
            "Restart the daemon with this version; that brings the database up to date.",
        )
