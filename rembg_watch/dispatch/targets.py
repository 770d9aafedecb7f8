"""The path of a job's output: its mirrored place, or the next name that belongs to no other source."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rembg_watch.delivery import Owner, candidates, choose
from rembg_watch.picturehash import RULE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from rembg_watch.config.model import Folder, Profile
    from rembg_watch.jobs.model import Job, Output
    from rembg_watch.jobs.outputs import Outputs


@dataclass(frozen=True, slots=True)
class Target:
    """A reserved path. ``replace``: the file there is this source's own earlier output."""

    root: str
    path: str
    replace: bool

    @property
    def relpath(self) -> str:
        """The path of the output below the root."""
        return self.path.removeprefix(self.root).lstrip("/")


def output_names(job: Job, folder: Folder, profile: Profile, content: str, now: float, ext: str = "") -> list[str]:
    """Return the names that the output may have, as absolute paths, in order of preference.

    ``content`` is the picture hash. ``ext`` is that of an answer that exists already; else it is the profile's. ``now``
    is Unix seconds.
    """
    names = candidates(
        job.path,
        folder.output_name,
        ext or profile.options.extension,
        profile.name,
        datetime.fromtimestamp(now, UTC).date().isoformat(),
        content.removeprefix(RULE),
    )
    return [os.path.join(folder.outbox, name) for name in names]


class Targets:
    """Reserves paths until their jobs have ended. Safe for threads."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._lock = threading.Lock()
        self._reserved: dict[str, tuple[Owner, int]] = {}
        """By path: who reserved it, and how many of its jobs did."""

    def recorded(self, paths: Collection[str]) -> dict[str, Output]:
        """Return what is known of the files at these paths, for :meth:`reserve`."""
        return self._outputs.at(paths)

    def reserve(self, job: Job, root: str, paths: Sequence[str], recorded: dict[str, Output] | None = None) -> Target:
        """Reserve the first of ``paths`` that is free or the job's own.

        ``recorded`` is what the outputs' table knows of them; it is asked where it is left out.

        Raises:
            TargetError: no name is left.
        """
        me = Owner(job.folder, job.path)
        known = self.recorded(paths) if recorded is None else recorded

        def owner(path: str) -> Owner | None:
            if path in self._reserved:
                return self._reserved[path][0]
            found = known.get(path) if path in paths else self.recorded([path]).get(path)  # else it is a numbered one
            return None if found is None else Owner(found.folder, found.source)

        while True:
            path = choose(paths, owner, os.path.lexists, me)  # not under the lock: a dead outbox may block it
            with self._lock:
                holder, count = self._reserved.get(path, (me, 0))
                if holder == me:
                    self._reserved[path] = (me, count + 1)
                    break
        found = known.get(path)
        return Target(root, path, found is not None and (found.folder, found.source) == (job.folder, job.path))

    def exchange(self, job: Job, taken: Target, paths: Sequence[str]) -> Target:
        """Reserve another path instead of one that another program has taken.

        Raises:
            TargetError: no name is left; the reservation stays.
        """
        self.release(taken)  # first: a path that is reserved for the job counts as its own
        try:
            return self.reserve(job, taken.root, paths)
        except BaseException:
            self.reserve_placed(job, taken.root, taken.path)
            raise

    def reserve_placed(self, job: Job, root: str, path: str) -> Target:
        """Reserve the path at which the job's own output is already."""
        me = Owner(job.folder, job.path)
        with self._lock:
            _, count = self._reserved.get(path, (me, 0))
            self._reserved[path] = (me, count + 1)
        return Target(root, path, replace=True)

    def release(self, target: Target) -> None:
        """Release the path for other jobs, unless the job has an output there by now."""
        with self._lock:
            owner, count = self._reserved.pop(target.path)
            if count > 1:
                self._reserved[target.path] = (owner, count - 1)
