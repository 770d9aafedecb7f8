"""Where a job's output goes: its mirrored place, or the next name that belongs to nobody else."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rembg_watch.delivery import Owner, candidates, choose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rembg_watch.config.model import Folder, Profile
    from rembg_watch.jobs.model import Job
    from rembg_watch.jobs.outputs import Outputs


@dataclass(frozen=True, slots=True)
class Target:
    """The chosen place. ``replace``: what stands there is this source's own earlier output."""

    root: str
    relpath: str
    replace: bool

    @property
    def path(self) -> str:
        """The absolute path of the output."""
        return os.path.join(self.root, self.relpath)


def names_for(job: Job, folder: Folder, profile: Profile, content_hash: str, now: float) -> Sequence[str]:
    """Give the names that the output may have, relative to the outbox, in order of preference."""
    return candidates(
        job.path,
        folder.output_name,
        profile.options.extension,
        profile.name,
        datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d"),
        content_hash,
    )


class Targets:
    """Chooses places, each for one job at a time. Safe for threads."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._lock = threading.Lock()
        self._taken: dict[str, Owner] = {}

    @contextmanager
    def reserve(self, job: Job, root: str, names: Sequence[str]) -> Iterator[Target]:
        """Choose the first of ``names`` that is free or the job's own, and keep it from the other workers meanwhile."""
        me = Owner(job.folder, job.path)
        recorded: dict[str, Owner | None] = {}

        def look_up(*paths: str) -> None:
            found = self._outputs.at(*paths)
            recorded.update(
                (path, Owner(one.folder, one.source) if (one := found.get(path)) else None) for path in paths
            )

        def recorded_owner(path: str) -> Owner | None:
            if path not in recorded:
                look_up(path)
            return recorded[path]

        def owner(relpath: str) -> Owner | None:
            path = os.path.join(root, relpath)
            return self._taken.get(path) or recorded_owner(path)

        with self._lock:
            look_up(*(os.path.join(root, name) for name in names))
            relpath = choose(names, owner, lambda path: os.path.lexists(os.path.join(root, path)), me)
            target = Target(root, relpath, recorded_owner(os.path.join(root, relpath)) == me)
            self._taken[target.path] = me
        try:
            yield target
        finally:
            with self._lock:
                del self._taken[target.path]
