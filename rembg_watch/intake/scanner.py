"""What is in an inbox, and what of it is unknown or changed. The folder is the truth; events are only hints.

One pass with scandir and stat, compared folder by folder with what the job table knows: nothing is held for longer
than one folder's names. A file that is known and unchanged costs nothing else. Links are never followed.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rembg_watch.intake.completeness import describe
from rembg_watch.intake.names import ignored_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rembg_watch.intake.candidate import KnownFiles
    from rembg_watch.intake.inbox import Inbox
    from rembg_watch.jobs.model import Version


class Found(NamedTuple):
    """A file that no row knows in this version. ``before`` is the version that a row knows."""

    path: str
    status: os.stat_result
    before: Version | None


@dataclass
class Summary:
    """What a scan saw besides what it yielded."""

    folders: int = 0
    files: int = 0
    known: int = 0
    ignored_count: int = 0
    ignored: list[tuple[str, str]] = field(default_factory=list)
    """The first ones, with the reason."""
    inodes: dict[int, str] = field(default_factory=dict)
    """The folders by inode number, with their relative paths."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Folders that could not be read, with the reason."""

    def leave(self, path: str, reason: str, listed: int) -> None:
        self.ignored_count += 1
        if len(self.ignored) < listed:
            self.ignored.append((path, reason))


def scan(
    inbox: Inbox,
    store: KnownFiles,
    summary: Summary,
    directory: str = "",
    *,
    recursive: bool = True,
    listed: int = 1000,
    enter: Callable[[str], None] = lambda _path: None,
    breathe: Callable[[], None] = lambda: None,
    on_known: Callable[[str], None] | None = None,
) -> Iterator[Found]:
    """Go through an inbox, or one folder of it, and give what is unknown or changed; the rest goes into ``summary``.

    ``enter`` is called with the absolute path of each folder before it is read, ``breathe`` after it. Folders that
    vanish on the way are passed over.

    Raises:
        OSError: the first folder itself can't be read. It is not empty then, but unknown.
    """
    waiting = [directory]
    first = True
    while waiting:
        current = waiting.pop()
        path = inbox.absolute(current) if current else inbox.root
        enter(path)
        try:
            entries = os.scandir(path)
        except OSError as error:
            if first:
                raise
            _cannot_enter(current, error, summary, listed)
            continue
        first = False
        summary.folders += 1
        prefix = f"{current}/" if current else ""
        with entries:
            known = store.known_versions(inbox.name, current)
            folders: list[str] = []
            yield from _files(inbox, entries, prefix, known, folders, summary, listed, on_known)
        if recursive and inbox.folder.recursive:
            waiting.extend(reversed(folders))
        breathe()


def _files(
    inbox: Inbox,
    entries: Iterator[os.DirEntry[str]],
    prefix: str,
    known: Mapping[str, Version],
    folders: list[str],
    summary: Summary,
    listed: int,
    on_known: Callable[[str], None] | None,
) -> Iterator[Found]:
    nested = inbox.nested
    while True:
        try:
            entry = next(entries, None)
        except OSError as error:
            summary.problems.append((prefix, _why(error)))
            return
        if entry is None:
            return
        name = entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                path = prefix + name
                if reason := ignored_name(name):
                    summary.leave(path, f"a folder that is not entered: {reason}", listed)
                elif path not in nested:
                    folders.append(path)
                    summary.inodes[entry.inode()] = path
                continue
            summary.files += 1
            version = known.get(name)
            if not entry.is_file(follow_symlinks=False):
                summary.leave(prefix + name, _what(inbox, entry), listed)
                continue
            status = entry.stat(follow_symlinks=False)
            # The usual case, in an inbox of a million known files: nothing else is asked of it.
            if version is not None and version.size == status.st_size and version.mtime_ns == status.st_mtime_ns:
                summary.known += 1
                if on_known is not None:
                    on_known(prefix + name)
                continue
        except FileNotFoundError:
            continue
        except OSError as error:
            summary.leave(prefix + name, f"can't be looked at: {_why(error)}", listed)
            if (prefix, _why(error)) not in summary.problems[-1:]:  # one warning for all files of a folder
                summary.problems.append((prefix, _why(error)))
            continue
        path = prefix + name
        if reason := inbox.refuses(path):
            summary.leave(path, reason, listed)
            continue
        yield Found(path, status, version)


def _what(inbox: Inbox, entry: os.DirEntry[str]) -> str:
    return describe(entry.path, entry.stat(follow_symlinks=False).st_mode, inbox.root)


def _cannot_enter(path: str, error: OSError, summary: Summary, listed: int) -> None:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):  # it went away, or became something else, meanwhile
        return
    summary.problems.append((path, _why(error)))
    summary.leave(path, f"a folder that can't be read: {_why(error)}", listed)


def _why(error: OSError) -> str:
    return "the path is too long" if error.errno == errno.ENAMETOOLONG else str(error.strerror).lower()
