"""Names of files as text that is safe to show.

A name may hold any byte but ``/`` and NUL: newlines that forge a log line, escape sequences that drive a terminal,
marks that turn the reading direction, bytes that are no UTF-8. None of them reaches a terminal or a log as it is.
"""

from __future__ import annotations

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": r"\\"}


def _shown(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def printable(path: str) -> str:
    r"""Give ``path`` on one line, with everything that can't be seen written as an escape.

    Control characters and escapes become ``\n``, ``\x1b``; invisible characters ``\u202e``; bytes that are no UTF-8
    ``\xff``; the backslash itself is doubled, so that two different names never look alike for an escape.
    """
    return path if path.isprintable() and "\\" not in path else "".join(map(_shown, path))
