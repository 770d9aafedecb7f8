"""What becomes of the source after its job: archived, deleted or moved, as its folder says at that moment."""

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
    from rembg_watch.config.model import Folder
    from rembg_watch.jobs.model import Job
    from rembg_watch.jobs.queue import Queue

log = structlog.get_logger()


def disposition(folder: Folder, *, failed: bool) -> Tidy | None:
    """Return what the folder wants done with the source of a job that ended; None: it stays."""
    if failed:
        return Tidy.MOVE_FAILED if folder.on_failure == "move" else None
    return {"archive": Tidy.ARCHIVE, "delete": Tidy.DELETE}.get(folder.on_success)


def put_away(queue: Queue, job: Job, folder: Folder) -> bool:
    """Archive, delete or move the source of an ended job; return False where that has to wait.

    ``job`` says which version of the file was worked on: a newer one with the same name is left alone. What the folder
    says now counts: a source that was to be deleted may be meant to stay since a reload.
    """
    what = disposition(folder, failed=job.state is State.FAILED)
    if what is None:
        queue.leave_source(job)
        return True
    source, inbox = os.path.join(job.folder, job.path), str(folder.inbox)
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
        return False
    queue.tidied(job)
    return True


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
