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
    path: str
    replace: bool

    @property
    def relpath(self) -> str:
        """The path of the output below the root."""
        return self.path.removeprefix(self.root).lstrip("/")


def names_for(
    job: Job, folder: Folder, profile: Profile, content_hash: str, now: float, extension: str = ""
) -> Sequence[str]:
    """Give the names that the output may have, relative to the outbox, in order of preference.

    ``extension``: that of an answer which is here already; else it is the profile's.
    """
    return candidates(
        job.path,
        folder.output_name,
        extension or profile.options.extension,
        profile.name,
        datetime.fromtimestamp(now, UTC).date().isoformat(),
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
        paths = [os.path.join(root, name) for name in names]
        with self._lock:
            recorded = self._recorded(*paths)

            def owner(path: str) -> Owner | None:
                if path not in paths:  # a numbered one
                    recorded.update(self._recorded(path))
                return self._taken.get(path) or recorded.get(path)

            path = choose(paths, owner, os.path.lexists, me)
            self._taken[path] = me
        try:
            yield Target(root, path, recorded.get(path) == me)
        finally:
            with self._lock:
                del self._taken[path]

    def _recorded(self, *paths: str) -> dict[str, Owner]:
        return {path: Owner(one.folder, one.source) for path, one in self._outputs.at(*paths).items()}
