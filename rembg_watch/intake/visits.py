"""Folders to be looked into soon: just made (so that nothing is missed while they fill), or just moved in."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rembg_watch.intake.inbox import Inbox
    from rembg_watch.intake.readiness import How


class Visit(NamedTuple):
    """One folder of an inbox, to be scanned at ``due`` (monotonic seconds)."""

    inbox: Inbox
    directory: str
    due: float
    recursive: bool
    how: How


class Visits:
    """The visits to make, one for each folder. Safe for threads."""

    def __init__(self) -> None:
        self._visits: dict[tuple[Inbox, str], Visit] = {}
        self._lock = threading.Lock()

    def add(self, visit: Visit) -> None:
        """Plan a visit; a planned one that goes deeper stays that deep."""
        key = (visit.inbox, visit.directory)
        with self._lock:
            before = self._visits.get(key)
            if before is not None and before.recursive:
                visit = visit._replace(recursive=True, due=min(visit.due, before.due))
            self._visits[key] = visit

    def take_due(self, now: float) -> list[Visit]:
        with self._lock:
            due = [visit for visit in self._visits.values() if visit.due <= now]
            for visit in due:
                del self._visits[visit.inbox, visit.directory]
        return due

    def next_due(self) -> float:
        """Give the time of the next visit, or infinity."""
        with self._lock:
            return min((visit.due for visit in self._visits.values()), default=float("inf"))
