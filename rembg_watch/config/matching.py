"""Which files a folder takes, and which subfolder a file is in. Pure, and called once per file of a scan."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import PurePosixPath

T = TypeVar("T")

_PLAIN_ENDING = re.compile(r"\*(\.[^*?\[\]/]+)")


def _never(_: str) -> bool:
    return False


def _regex(patterns: Iterable[str]) -> re.Pattern[str] | None:
    parts = [fnmatch.translate(pattern) for pattern in patterns]
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def any_of(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Compile ``patterns`` into one question for a path relative to the inbox. Upper or lower case does not matter.

    A pattern without a slash is for the name, one with a slash for the whole path (there ``*`` crosses slashes).
    ``drafts/`` is everything in that folder; ``**/`` in front is any folder, or none.
    """
    endings: list[str] = []
    names: list[str] = []
    paths: list[str] = []
    for written in patterns:
        pattern = written.removeprefix("./")
        anchored = pattern.startswith("/")
        pattern = pattern.lstrip("/")
        if pattern.endswith("/"):
            pattern += "*"
        forms = [pattern]
        while pattern.startswith("**/"):
            pattern = pattern[3:]
            forms.append(pattern)
        for form in forms:
            if anchored or "/" in form:
                paths.append(form)
            elif plain := _PLAIN_ENDING.fullmatch(form):
                endings.append(plain[1].lower())
            else:
                names.append(form)
    suffixes, name_regex, path_regex = tuple(endings), _regex(names), _regex(paths)
    if not (suffixes or name_regex or path_regex):
        return _never

    def matches(relpath: str) -> bool:
        # Nearly every pattern is a plain ending, and this is ten times faster than a regex for them.
        if suffixes and relpath.lower().endswith(suffixes):
            return True
        if name_regex and name_regex.match(relpath, relpath.rfind("/") + 1):
            return True
        return bool(path_regex and path_regex.match(relpath))

    return matches


def by_folder(subfolders: Mapping[PurePosixPath, T]) -> dict[str, T]:
    """Make the table that :func:`nearest` looks into.

    Each path is in it as composed and as decomposed Unicode: a Mac writes the same ``é`` otherwise than a config does.
    """
    return {
        unicodedata.normalize(form, path.as_posix()): value
        for path, value in subfolders.items()
        for form in ("NFC", "NFD")
    } | {path.as_posix(): value for path, value in subfolders.items()}


def nearest(table: Mapping[str, T], relpath: str, default: T) -> T:
    """Give the value of the longest path of ``table`` that ``relpath`` lies below."""
    folder = relpath.rpartition("/")[0]
    while folder:
        if folder in table:
            return table[folder]
        folder = folder.rpartition("/")[0]
    return default
