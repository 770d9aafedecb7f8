"""The jobs at hand: claimed in memory by this process, which alone owns the queue."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rembg_watch.jobs.model import Job, Key


class Claims:
    """Which jobs are at hand, and which keys are in progress. Safe for threads.

    A key is sent for once: a job with a key in progress is set aside, without a thread that waits for it. When the key
    is done with, its jobs are not at hand any more: the producer claims them again, and they find the result.
    """

    def __init__(self, producer: threading.Event) -> None:
        self._producer = producer
        self._lock = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._preparing: set[int] = set()
        self._unsent: Counter[str] = Counter()
        self._keys: dict[Key, list[Job]] = {}

    def add(self, jobs: Iterable[Job]) -> None:
        """Claim jobs."""
        with self._lock:
            for job in jobs:
                self._jobs[job.id] = job
                self._unsent[job.folder] += 1
                self._preparing.add(job.id)

    def end(self, *jobs: Job) -> None:
        """Release jobs: they have ended, or may be claimed again."""
        with self._lock:
            for job in jobs:
                self._jobs.pop(job.id, None)
                self._prepared(job)
        if not self._producer.is_set():
            self._producer.set()

    def prepared(self, *jobs: Job) -> None:
        """Mark jobs as prepared: they are marked as sent, or need no sending."""
        with self._lock:
            for job in jobs:
                self._prepared(job)

    def _prepared(self, job: Job) -> None:
        if job.id in self._preparing:
            self._preparing.discard(job.id)
            self._unsent[job.folder] -= 1

    def unsent(self, folder: str | None = None) -> int:
        """Count the jobs at hand that may still be sent: of one inbox, or of all."""
        return self._unsent[folder] if folder is not None else len(self._preparing)

    def begin_key(self, key: Key, job: Job) -> bool:
        """Return whether this job may look for, or send for, the answer of ``key``; if not, it is set aside."""
        with self._lock:
            if key in self._keys:
                self._keys[key].append(job)
                self._prepared(job)
                return False
            self._keys[key] = []
            return True

    def end_key(self, key: Key) -> None:
        """Release the jobs that were set aside for ``key``: they may be claimed again."""
        with self._lock:
            aside = self._keys.pop(key, [])
        if aside:
            self.end(*aside)

    def ids(self) -> list[int]:
        """Return the numbers of the jobs at hand."""
        with self._lock:
            return list(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)
