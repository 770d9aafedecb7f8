"""One watched inbox while the program runs: its folder's settings, how it is watched, and how it is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from rembg_watch.intake.names import ignored_path
from rembg_watch.jobs.model import Unready

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rembg_watch.config.model import Folder

LISTED = 1000
"""How many ignored files of one inbox are kept by name; the others are counted."""


class Health(StrEnum):
    """How an inbox is. Only an ``ok`` one is scanned: a missing one is never taken for an empty one."""

    OK = "ok"
    MISSING = "missing"
    UNMOUNTED = "unmounted"
    UNREADABLE = "unreadable"
    SILENT = "silent"
    """Nothing has been heard of its filesystem for a while."""


class Mode(StrEnum):
    """How news of an inbox come."""

    EVENTS = "events"
    SCAN = "scan"
    BOTH = "events+scan"
    """Some of its folders could not be watched and are scanned."""


class RootStatus(NamedTuple):
    """An inbox for people: ``message`` is empty, or says what is wrong and what to do."""

    inbox: str
    health: Health
    mode: Mode
    message: str


class IgnoredFiles:
    """What of an inbox is left alone, and why: all of it counted, the first thousand by name."""

    def __init__(self) -> None:
        self._reasons: dict[str, tuple[str, float]] = {}
        self._unlisted = 0

    def add(self, path: str, reason: str, now: float) -> None:
        """Note one. Beyond those listed, counting is left to the scans: one file gives several hints."""
        if path in self._reasons or len(self._reasons) < LISTED:
            since = self._reasons[path][1] if path in self._reasons else now
            self._reasons[path] = (reason, since)

    def discard(self, path: str) -> None:
        self._reasons.pop(path, None)

    def replace(self, found: Iterable[tuple[str, str]], count: int, now: float) -> None:
        """Take what a whole scan found; what was known before keeps its time."""
        before = self._reasons
        self._reasons = {
            path: (reason, before[path][1] if path in before else now) for path, reason in islice(found, LISTED)
        }
        self._unlisted = count - len(self._reasons)

    def __len__(self) -> int:
        return len(self._reasons) + self._unlisted

    def listed(self) -> Iterator[tuple[str, str, float]]:
        """Give path, reason and since when (Unix seconds)."""
        for path, (reason, since) in self._reasons.copy().items():
            yield path, reason, since


@dataclass(eq=False)
class Inbox:
    """The running state of one inbox. ``root`` is its path with links resolved: a linked root gives no events."""

    folder: Folder
    name: str = field(init=False)
    """The inbox as the config and the job table call it."""
    root: str = field(init=False)
    nested: frozenset[str] = frozenset()
    """Relative paths of folders in it that are inboxes of their own."""
    network: bool = False
    health: Health = Health.OK
    mode: Mode = Mode.EVENTS
    message: str = ""
    gone: bool = False
    """It is no longer in the config."""
    ignored: IgnoredFiles = field(default_factory=IgnoredFiles)

    def __post_init__(self) -> None:
        self.name = str(self.folder.inbox)
        self.root = os.path.realpath(self.folder.inbox)

    def absolute(self, relpath: str) -> str:
        return f"{self.root}/{relpath}"

    def relative(self, path: str) -> str | None:
        """Give the path relative to the root, ``""`` for the root itself, or None if it is not below it."""
        if path == self.root:
            return ""
        return path[len(self.root) + 1 :] if path.startswith(self.root + "/") else None

    def is_nested(self, relpath: str) -> bool:
        """Tell whether a path belongs to another inbox that lies inside this one."""
        return any(relpath == inner or relpath.startswith(inner + "/") for inner in self.nested)

    def refuses(self, relpath: str) -> str | None:
        """Say why a file of this path is left alone by its name, or None if it is wanted."""
        return ignored_path(relpath) or self.folder.refuses(relpath)

    def wants(self, relpath: str) -> bool:
        """Tell whether a file of this path is this inbox's to take, by the settings of now."""
        return not self.gone and not self.is_nested(relpath) and self.refuses(relpath) is None

    def ignores_folder(self, relpath: str) -> bool:
        """Tell whether a folder is not entered, for its own name or that of one above it."""
        return ignored_path(relpath) is not None

    @property
    def scan_seconds(self) -> float:
        """How often it is scanned whole: rarely where events come, often where they do not."""
        return min(self.folder.rescan, 5.0) if self.mode is Mode.SCAN else self.folder.rescan

    def ignored_files(self) -> list[Unready]:
        return [Unready(self.name, path, "ignored", reason, since) for path, reason, since in self.ignored.listed()]

    def status(self) -> RootStatus:
        return RootStatus(self.name, self.health, self.mode, self.message)


def inboxes_of(folders: Iterable[Folder]) -> list[Inbox]:
    """Make the running state of every folder, each knowing which others lie inside it."""
    inboxes = [Inbox(folder) for folder in folders]
    for inbox in inboxes:
        inside = (inbox.relative(other.root) for other in inboxes if other is not inbox)
        inbox.nested = frozenset(relpath for relpath in inside if relpath)
    return inboxes
