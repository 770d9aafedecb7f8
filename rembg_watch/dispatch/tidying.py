"""What becomes of the source after its job: archived, deleted or moved, as its folder says."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import structlog

from rembg_watch.delivery import tidy as sources
from rembg_watch.errors import SourceChanged, SourceError, TargetError
from rembg_watch.jobs.model import State, Tidy
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.config.model import Config, Folder
    from rembg_watch.dispatch.steps import Tools
    from rembg_watch.jobs.model import Job
    from rembg_watch.jobs.store import JobStore

TIDY_SECONDS = 30.0
"""How often sources that could not be tidied away are tried again."""
AT_ONCE = 100

log = structlog.get_logger()


class Tidying:
    """Tries what was left for later again and again, a page at each turn. For one thread, the dispatcher's."""

    def __init__(self, store: JobStore, config: Callable[[], Config]) -> None:
        self._store = store
        self._config = config
        self._next = 0.0
        self._after = 0

    def soon(self) -> None:
        """Do it at the next turn."""
        self._next = 0.0

    def turn(self) -> None:
        """Tidy the next page, if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + TIDY_SECONDS  # should anything go wrong below, the next turns are for other work
        jobs = self._store.untidy(self._after, AT_ONCE)
        done = False
        for job in jobs:
            folder = self._config().folder(job.folder)
            if folder is None or not any(one.id == job.id for one in self._store.untidy(job.id - 1, 1)):
                continue  # the others may have taken long: somebody has asked for this one again meanwhile
            # As the folder says now: what waits for an archive or for a deletion may be meant to stay by now.
            what = wish(folder, failed=job.state is State.FAILED)
            if what is None:
                self._store.leave_source(job)
            done = what is None or tidy_source(self._store, job, folder, what) is None or done
        full = len(jobs) == AT_ONCE
        # From where this page ended, so that a hundred sources that can't be tidied don't stand before all others.
        self._after = jobs[-1].id if full else 0
        if full and done:
            self._next = now


def wish(folder: Folder, *, failed: bool) -> Tidy | None:
    """Say what the folder wants done with the source of a job that ended."""
    if failed:
        return Tidy.MOVE_FAILED if folder.on_failure == "move" else None
    return {"archive": Tidy.ARCHIVE, "delete": Tidy.DELETE}.get(folder.on_success)


def tidy_by_now(tools: Tools, job: Job, *, failed: bool) -> None:
    """Do with the source of a job that just ended what its folder wants at this moment; later, where it is gone."""
    folder = tools.config().folder(job.folder)
    if folder is None:
        return
    what = wish(folder, failed=failed)
    if what is None:
        tools.store.leave_source(job)
    else:
        tools.tidy(job, folder, what)


def tidy_source(store: JobStore, job: Job, folder: Folder, what: Tidy) -> TargetError | SourceError | None:
    """Do it, and write down that it is done; gives the error where it has to wait. Nothing is lost either way.

    ``job`` says which version of the file was worked on: a newer one that lies there by now is left alone.
    """
    source = os.path.join(job.folder, job.path)
    inbox = str(folder.inbox)
    expected = (job.version.size, job.version.mtime_ns)
    try:
        if what is Tidy.DELETE:
            sources.delete(source, expected, inbox=inbox)
        elif what is Tidy.ARCHIVE:
            assert folder.archive is not None
            sources.archive(source, inbox, str(folder.archive), job.path, expected)
        else:
            assert folder.failed is not None
            sources.move_failed(source, inbox, str(folder.failed), job.path, expected, _record(job))
    except SourceChanged:
        log.info("source.newer_version_stays", job=job.id, path=printable(job.path))
    except (TargetError, SourceError) as error:
        log.warning("source.tidy_waits", job=job.id, path=printable(job.path), reason=error.message, hint=error.hint)
        return error
    store.tidied(job)
    return None


def _record(job: Job) -> dict[str, object]:
    return {
        "job": job.id,
        "path": printable(job.path),
        "profile": job.profile,
        "code": job.code,
        "message": job.message,
        "hint": job.hint,
        "attempts": job.attempts,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.finished_at or time.time())),
    }
