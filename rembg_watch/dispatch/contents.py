"""The same bytes are sent once, even when many copies of them are in flight at the same time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rembg_watch.jobs.model import Job

Key = tuple[str, str]
"""Content hash and options fingerprint."""


class Contents:
    """Which contents are on their way, and which jobs wait for them. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parked: dict[Key, list[Job]] = {}

    def begin(self, key: Key, job: Job) -> bool:
        """Tell whether this job may send these bytes; if not, it is parked until the one that does is through."""
        with self._lock:
            if key in self._parked:
                self._parked[key].append(job)
                return False
            self._parked[key] = []
            return True

    def end(self, key: Key) -> list[Job]:
        """Give the jobs that waited for these bytes; now they find a result, or one of them sends."""
        with self._lock:
            return self._parked.pop(key, [])
