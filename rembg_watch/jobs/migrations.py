"""The schema, as the steps that led to it. A step that was released is never edited; the next one goes below it.

All times are Unix seconds (REAL), sizes bytes, names as ``names.py`` writes them. The partial indexes carry the
literal conditions of the queries that use them; SQLite uses them for nothing else.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("rembg-watch")


@migrations()
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
        "jobs_waiting ON jobs (not_before) WHERE state = 'waiting'",
        "jobs_leased ON jobs (lease_until) WHERE state = 'running'",
        "jobs_known ON jobs (folder, dir, name, size, mtime_ns) WHERE current = 1",
        "jobs_untidy ON jobs (id) WHERE tidy IS NOT NULL",
        "jobs_state ON jobs (state, folder)",
        "jobs_old ON jobs (finished_at) WHERE finished_at IS NOT NULL",
    ):
        db.conn.execute(f"CREATE INDEX {index}")


@migrations()
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


@migrations()
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
