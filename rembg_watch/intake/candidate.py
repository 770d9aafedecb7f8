"""One file that may be finished soon, and what intake asks of others about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_watch.config.model import Folder
    from rembg_watch.intake.completeness import Identity
    from rembg_watch.intake.inbox import Inbox
    from rembg_watch.intake.readiness import Facts, How
    from rembg_watch.jobs.model import Version


class KnownFiles(Protocol):
    """What a scan asks of the job table."""

    def known_versions(self, folder: str, directory: str, /) -> Mapping[str, Version]:
        """Give the versions that are known of the files directly in one folder of an inbox, by name."""


class KnownFile(KnownFiles, Protocol):
    """What intake asks of the job table."""

    def known_version(self, folder: str, path: str, /) -> Version | None:
        """Give the version that is known of one file, or None."""


class Adopt(Protocol):
    """Finds the output that already stands in place for a source, newer than it."""

    def __call__(self, folder: Folder, relpath: str, mtime_ns: int, /) -> str | None: ...


class Key(NamedTuple):
    """A candidate's place in the table."""

    inbox: str
    path: str


class DecodeOrder(NamedTuple):
    """A full decode that the gate wants; the answer goes to :meth:`Gate.decoded`."""

    key: Key
    path: str
    identity: Identity


@dataclass(eq=False, slots=True)
class Candidate:
    """One file that may be finished soon. Times are monotonic, but ``since``, which is in Unix seconds."""

    inbox: Inbox
    path: str
    how: How
    since: float
    by_rescan: bool
    due: float = 0.0
    identity: Identity | None = None
    changed_at: float = 0.0
    facts: Facts | None = None
    decoding: bool = False
    arriving: bool = False
    """A move was announced and not yet looked at: the identity that it brings is no change by a writer."""
    reason: str = "just arrived"
