"""Rows of the job table and the jobs that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rembg_watch.jobs import names
from rembg_watch.jobs.model import How, Job, State, Tidy, Version

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = (
    "id, folder, dir, name, size, mtime_ns, fingerprint, profile, state, priority, attempts, forced, created_at,"
    " updated_at, finished_at, not_before, lease, content_hash, output, temp, api_sent_at, result_hash, result_size,"
    " how, code, message, hint, tidy"
)


def job_of(row: Sequence[Any]) -> Job:
    """Build a job from a row of ``COLUMNS``."""
    number, folder, directory, name, size, mtime_ns, fingerprint, profile, state, priority, attempts, forced, *rest = (
        row
    )
    *middle, how, code, message, hint, tidy = rest
    created_at, updated_at, finished_at, not_before, lease, content_hash, output, temp, sent, result, length = middle
    return Job(
        id=number,
        folder=names.from_text(folder),
        path=names.join(directory, name),
        version=Version(size, mtime_ns),
        fingerprint=fingerprint,
        profile=profile,
        state=State(state),
        priority=priority,
        attempts=attempts,
        forced=bool(forced),
        created_at=created_at,
        updated_at=updated_at,
        finished_at=finished_at,
        not_before=not_before,
        lease=lease,
        content_hash=content_hash,
        output=None if output is None else names.from_text(output),
        temp=None if temp is None else names.from_text(temp),
        api_sent_at=sent,
        result_hash=result,
        result_size=length,
        how=None if how is None else How(how),
        code=code,
        message=message,
        hint=hint,
        tidy=None if tidy is None else Tidy(tidy),
    )
