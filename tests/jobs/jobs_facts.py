"""The simplest rows there are, for tests of the file itself: single facts."""

from __future__ import annotations


def facts(database):
    """Give the keys of all facts, the oldest first."""
    return [key for (key,) in database.read("SELECT key FROM facts ORDER BY rowid")]


def put(key):
    """Give a piece of work that writes one fact."""
    return lambda connection: connection.execute("INSERT INTO facts VALUES (?, '1', 0)", (key,))
