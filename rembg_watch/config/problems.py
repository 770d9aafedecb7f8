"""One mistake in the config file, and how it is put into words. Pure.

No message holds the value of anything under ``api``, or one that came from an environment variable.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

KeyPath = tuple[str | int, ...]
"""Where in the file: ``("folders", 0, "inbox")``."""

LONGEST_SHOWN = 40
"""Characters of a value that a message shows at most."""
LONGEST_MESSAGE = 200


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: its line (1 is the first), where it is, and what is wrong."""

    line: int
    path: KeyPath
    text: str

    def shown(self, file: str) -> str:
        """Give the line that a user sees."""
        return (
            f"{file}:{self.line}: {dotted(self.path)}: {self.text}" if self.path else f"{file}:{self.line}: {self.text}"
        )


def brief(text: str, longest: int = LONGEST_SHOWN) -> str:
    """Cut ``text`` to ``longest`` characters, and escape what could do something to a terminal."""
    return printable(text if len(text) <= longest else f"{text[: longest - 3]}...")


def dotted(path: KeyPath) -> str:
    """Write a path as ``folders[0].inbox``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{brief(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give `` (did you mean 'x'?)`` for the most similar of ``known``, or nothing where none is similar."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""


def listed(words: Collection[str], last: str = "or") -> str:
    """Write ``a, b or c``."""
    *front, end = words
    return f"{', '.join(front)} {last} {end}" if front else end


def value_shown(value: object) -> str:
    """Write a value of the file as a user would recognise it."""
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{brief(value)}'" if value else "empty"
        case dict():
            return "a group of keys"
        case list():
            return "a list"
    return brief(str(value))


def in_words(error: Any, shown: str | None) -> str:
    """Put one of pydantic's errors into our words; ``shown`` is the value, or None where it must not be shown."""
    kind, ctx = str(error["type"]), error.get("ctx", {})
    but = f", not {shown}" if shown is not None else ""
    if kind == "value_error":
        return brief(str(ctx["error"]), LONGEST_MESSAGE)  # some of these messages quote the value
    if kind in {"literal_error", "enum"}:
        choices = re.findall(r"'([^']*)'", str(ctx["expected"]))
        hint = did_you_mean(shown.strip("'"), choices) if shown is not None else ""
        return f"must be {listed(choices)}{but}{hint}"
    for prefix, what in _EXPECTED.items():
        if kind.startswith(prefix):
            return f"must be {what}{but}"
    for name, what in _BOUNDS.items():
        if kind == name:
            return f"must be {what} {next(iter(ctx.values())):g}{but}"
    if kind == "missing":
        return "is missing: it is required"
    if kind == "too_short":
        return "needs at least one entry"
    return f"is not right{but}"


_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "bool": "true or false",
    "string_type": "text in quotes",
    "path": "text in quotes",
    "list": "a list, each entry with '- ' in front",
    "tuple": "a list, each entry with '- ' in front",
    "dict": "a group of keys",
    "model": "a group of keys",
}
_BOUNDS = {
    "greater_than_equal": "at least",
    "greater_than": "more than",
    "less_than_equal": "at most",
    "less_than": "less than",
}
