r"""File names as database text, and back.

A name on disk is bytes; one that is not UTF-8 reaches Python with surrogate escapes, which SQLite can't store. In the
database such bytes are written as ``\xff`` and a backslash as ``\\``, so that every name has one readable text and
every text one name.
"""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"\\(\\|x[0-9a-f]{2})")


def to_text(name: str) -> str:
    """Convert a name with surrogate escapes to text that any SQLite tool can show."""
    if name.isascii() and "\\" not in name:
        return name
    return name.replace("\\", "\\\\").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def from_text(text: str) -> str:
    """Convert the database's text back to the name, exactly."""
    if "\\" not in text:
        return text

    def plain(match: re.Match[str]) -> str:
        escape = match[1]
        return "\\" if escape == "\\" else chr(0xDC00 + int(escape[1:], 16))

    return _ESCAPED.sub(plain, text)


def split(path: str) -> tuple[str, str]:
    """Split a relative path into the database's ``dir`` and ``name`` columns (``dir`` is empty at the top)."""
    folder, _, name = to_text(path).rpartition("/")
    return folder, name


def join(folder: str, name: str) -> str:
    """Join the ``dir`` and ``name`` columns into the relative path as the file system knows it."""
    return from_text(f"{folder}/{name}" if folder else name)
