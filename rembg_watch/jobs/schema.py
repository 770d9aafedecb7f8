"""The schema of the job database, as sqlite-utils migrations. A released step is never edited; add the next below it.

All times are Unix seconds (REAL), sizes bytes, names as ``names.py`` writes them. SQLite uses a partial index only for
queries that carry its literal condition. A CHECK lists its values one by one with OR: for ``IN (...)`` SQLite builds a
table in memory for each row that it writes.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from rembg_watch.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path
    from sqlite3 import Connection

    from sqlite_utils import Database

MIGRATION_SET = "rembg-watch"
BUSY = "(state = 'running' OR state = 'received')"
"""The condition of the index ``jobs_busy``: jobs with a paid answer on its way, or waiting for its delivery."""


class NoTables(StateError):
    """The database is being created by a daemon at this moment."""


def m001_first_release(db: Database) -> None:
    """Create the job table, the delivered outputs, the credit ledger, and what ``status`` shows."""
    db.conn.execute("""
        CREATE TABLE jobs (
            id           INTEGER PRIMARY KEY,
            folder       TEXT NOT NULL,             -- the inbox, resolved
            dir          TEXT NOT NULL,             -- below the inbox; empty at its top
            name         TEXT NOT NULL,
            size         INTEGER NOT NULL,          -- of the source, when it came in
            mtime_ns     INTEGER NOT NULL,
            current      INTEGER NOT NULL DEFAULT 1, -- the newest version of its path
            fingerprint  TEXT NOT NULL,             -- of the options
            profile      TEXT NOT NULL,
            state        TEXT NOT NULL CHECK (state = 'queued' OR state = 'running' OR state = 'waiting'
                           OR state = 'received' OR state = 'done' OR state = 'failed' OR state = 'cancelled'
                           OR state = 'superseded'),
            priority     INTEGER NOT NULL DEFAULT 0,
            attempts     INTEGER NOT NULL DEFAULT 0, -- those that count against retry.max_attempts
            crashes      INTEGER NOT NULL DEFAULT 0, -- in a row, while it was sent
            forced       INTEGER NOT NULL DEFAULT 0, -- queued again by hand: no result is reused
            created_at   REAL NOT NULL,
            updated_at   REAL NOT NULL,
            finished_at  REAL,
            not_before   REAL,                      -- waiting, or received and put off, until then
            content_hash TEXT,                      -- the picture hash of the source
            width        INTEGER,                   -- of the source, in pixels
            height       INTEGER,
            output       TEXT,                      -- the path that the result goes to
            attempt      INTEGER,                   -- the newest row of attempts
            api_sent_at  REAL,                      -- committed before the body goes out
            result_hash  TEXT,                      -- blake3 of the verified answer
            result_size  INTEGER,
            how          TEXT CHECK (how = 'sent' OR how = 'reused' OR how = 'adopted'),
            code         TEXT,                      -- why it failed or waits, in one word
            message      TEXT,
            hint         TEXT,
            tidy         TEXT CHECK (tidy = 'archive' OR tidy = 'delete' OR tidy = 'move-failed'),
            retried_at   REAL                       -- when it was last queued again by hand
        ) STRICT""")
    for index in (
        "jobs_ready ON jobs (folder, fingerprint, id) WHERE state = 'queued'",
        "jobs_waiting ON jobs (folder, fingerprint, not_before) WHERE state = 'waiting'",
        "jobs_due ON jobs (not_before) WHERE state = 'waiting'",
        f"jobs_busy ON jobs (folder, dir, name) WHERE {BUSY}",
        "jobs_known ON jobs (folder, dir, name, size, mtime_ns) WHERE current = 1",
        "jobs_untidy ON jobs (folder, id) WHERE tidy IS NOT NULL",
        "jobs_state ON jobs (state, folder)",
        "jobs_old ON jobs (finished_at) WHERE finished_at IS NOT NULL",
    ):
        db.conn.execute(f"CREATE INDEX {index}")
    db.conn.execute("""
        CREATE TABLE outputs (
            path         TEXT PRIMARY KEY,
            job_id       INTEGER NOT NULL,
            folder       TEXT NOT NULL,
            source       TEXT NOT NULL,             -- relative to the folder
            content_hash TEXT,                      -- the picture hash of the source; NULL where it was adopted
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
            content_hash TEXT,                      -- what was sent: the picture hash and the options
            fingerprint  TEXT NOT NULL,
            sent_at      REAL NOT NULL,
            ended_at     REAL,
            charge       TEXT NOT NULL CHECK (charge = 'charged' OR charge = 'not charged'
                           OR charge = 'possibly charged'),
            code         TEXT,
            status       INTEGER,
            message      TEXT,
            bytes_in     INTEGER,
            bytes_out    INTEGER,
            api_ms       REAL,
            counted      INTEGER NOT NULL DEFAULT 0 -- it counts against retry.max_attempts
        ) STRICT""")
    db.conn.execute("CREATE INDEX attempts_sent ON attempts (sent_at, charge, folder, ended_at)")
    db.conn.execute("CREATE INDEX attempts_job ON attempts (job_id)")
    db.conn.execute(
        "CREATE INDEX attempts_wasted ON attempts (content_hash, fingerprint)"
        " WHERE code IS NOT NULL AND charge <> 'not charged'"
    )
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
            account      TEXT,                      -- which account was asked, as a hash
            available    INTEGER NOT NULL,
            api_usage    INTEGER NOT NULL,
            app_usage    INTEGER NOT NULL,
            prepaid      INTEGER NOT NULL,
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
    # Temporary files carry this name, so that two daemons with one outbox leave each other's alone.
    db.conn.execute("INSERT INTO facts VALUES ('instance', ?, 0)", (f'"{secrets.token_hex(4)}"',))


STEPS = (m001_first_release,)


def applied(connection: Connection) -> list[str]:
    """Return the names of the steps that the database has. Changes nothing."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone()
    if known is None:
        return []
    rows = connection.execute(
        "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY rowid", (MIGRATION_SET,)
    )
    return [name for (name,) in rows]


def _refuse_unknown(names: list[str], path: Path) -> None:
    if unknown := set(names) - {step.__name__ for step in STEPS}:
        raise StateError(
            f"{path} was made by another rembg-watch (it has {', '.join(sorted(unknown))})",
            "Use that version, or a newer one: this one does not know what is in it.",
        )


def migrate(connection: Connection, path: Path) -> None:
    """Bring the schema up to date in one transaction: all steps or none.

    Raises:
        StateError: the database was made by a newer version.
    """
    names = applied(connection)
    _refuse_unknown(names, path)
    if len(names) == len(STEPS):
        return
    from sqlite_utils import Database, Migrations  # noqa: PLC0415 - 0.1 s that only a new database needs

    migrations = Migrations(MIGRATION_SET)
    for step in STEPS:
        migrations()(step)
    # Immediate, so that of two processes that start at once the second waits and then finds the work done.
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(Database(connection))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def require_current(connection: Connection, path: Path) -> None:
    """Raise unless the schema is the one of this version. Changes nothing.

    Raises:
        NoTables: the database is empty.
        StateError: it was made by a newer version, or still has an older schema.
    """
    names = applied(connection)
    _refuse_unknown(names, path)
    if not names:
        raise NoTables(f"{path} has no tables yet", "Try again when the daemon has started.")
    if len(names) < len(STEPS):
        raise StateError(
            f"{path} still has the schema of an older rembg-watch",
            "Restart the daemon with this version; that brings the database up to date.",
        )
