"""What a start does with the photos that the process before had sent and not finished.

The answer of an attempt may be in the result store: whole or not, verified or not. What is whole and what was asked for
becomes the kept answer, and its job is delivered; so a kill after the answer came costs nothing. Everything else was
possibly charged, and its job is queued again. A job that was sent in two crashes in a row without an answer fails: it
may be what crashes the process, and each time may cost a credit.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from rembg_watch import clock
from rembg_watch.api.picture import checked
from rembg_watch.delivery.files import hash_file, open_source, temp_name
from rembg_watch.delivery.sweep import sweep_folder
from rembg_watch.dispatch.results import Kept
from rembg_watch.dispatch.tidying import disposition
from rembg_watch.errors import ApiError, SourceError
from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Charge, How, Key, State
from rembg_watch.jobs.queue import Received
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from rembg_watch.api.options import Options
    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.results import Results
    from rembg_watch.jobs.model import Job
    from rembg_watch.jobs.queue import Queue

CRASHES = 2
"""Crashes in a row after which a job without an answer fails."""

log = structlog.get_logger()


def recover(queue: Queue, results: Results, config: Config, *, crashed: bool, instance: str) -> int:
    """Find the answer of every interrupted job, or queue it again; return how many there were.

    ``crashed`` is False where the process before ended in good order and merely ran out of time.
    """
    jobs = queue.running()
    if crashed:
        queue.forget_crashes()
    for job in jobs:
        crashes, kept = job.crashes + crashed, None
        if _has_answer(job, results):
            if crashed:
                queue.count_crash(job)  # before the look, which may be what crashes the process
            if crashes <= CRASHES:
                kept = _find_answer(job, results, config)
        _remove_temp(job, instance)
        if kept is not None and job.fingerprint == _wanted(job, config):
            _deliver(job, kept, queue)
        elif kept is None and crashes >= CRASHES:
            _fail(job, queue, config)
        else:  # without an answer, or with one to options that the config does not ask for any more
            queue.requeue_interrupted(job, clock.now(), crashes)  # the crash is counted in the same commit
    results.reject_parts()  # no attempt is open any more
    return len(jobs)


def _has_answer(job: Job, results: Results) -> bool:
    """Return whether the store has anything that came for a job's open attempt."""
    if job.attempt is None or job.content_hash is None:
        return False
    key = Key(job.content_hash, job.fingerprint)
    kept = results.find(key)
    return (kept is not None and kept.attempt == job.attempt) or os.path.lexists(results.part_path(key, job.attempt))


def _find_answer(job: Job, results: Results, config: Config) -> Kept | None:
    """Return the verified answer of a job's open attempt, or None where what came is not whole."""
    assert job.attempt is not None
    assert job.content_hash is not None
    key = Key(job.content_hash, job.fingerprint)
    kept = results.find(key)
    if kept is not None and kept.attempt == job.attempt and results.read(kept) is not None:
        return kept
    part = results.part_path(key, job.attempt)
    try:
        file, status = open_source(part)
    except SourceError:
        return None
    with file:
        try:
            options = _options(job, config)
            if options is None or job.width is None or job.height is None:
                return None
            checked(file, options, (job.width, job.height))
            found = Kept("", *hash_file(file), job.attempt)
        except ApiError as error:
            log.info("job.answer_rejected", job=job.id, path=printable(job.path), reason=error.message)
            results.reject(part)
            return None
    log.info("job.answer_found", job=job.id, path=printable(job.path), bytes_out=status.st_size)
    return Kept(results.rename(part, found, key), found.hash, found.size, job.attempt)


def _options(job: Job, config: Config) -> Options | None:
    """Return the options that a job was sent with, where the config still knows them."""
    return next(
        (profile.options for profile in config.profiles.values() if profile.options.fingerprint == job.fingerprint),
        None,
    )


def _wanted(job: Job, config: Config) -> str | None:
    folder = config.folder(job.folder)
    return job.fingerprint if folder is None else folder.profile_for(job.path).options.fingerprint


def _deliver(job: Job, kept: Kept, queue: Queue) -> None:
    assert job.output is not None
    assert job.content_hash is not None
    end = AttemptEnd(Charge.CHARGED, None, 200, None, job.version.size, kept.size)
    key = Key(job.content_hash, job.fingerprint)
    queue.mark_received([Received(job, key, job.output, kept.hash, kept.size, How.SENT, job.attempt, end)], clock.now())


def _fail(job: Job, queue: Queue, config: Config) -> None:
    message = f"rembg-watch crashed {CRASHES} times while this photo was being sent"
    hint = (
        "Please report it with the log. Each time may have cost a credit."
        f" To try again: rembg-watch jobs retry {job.id}"
    )
    end = AttemptEnd(Charge.POSSIBLY, "crash", None, message, job.version.size, 0, 0.0, counted=True)
    folder = config.folder(job.folder)
    tidy = None if folder is None else disposition(folder, failed=True)
    attempt = None if job.attempt is None else (job.attempt, end)
    queue.end(job, State.FAILED, clock.now(), code="crash", message=message, hint=hint, tidy=tidy, attempt=attempt)
    log.error("job.crash", job=job.id, path=printable(job.path), reason=message, hint=hint)


def _remove_temp(job: Job, instance: str) -> None:
    """Remove the temporary file that the crash may have left beside the output's place."""
    if job.output is not None:
        with suppress(OSError):
            os.unlink(os.path.join(os.path.dirname(job.output), temp_name(f"{instance}-{job.id}")))


def sweep_untidy(queue: Queue, config: Config) -> None:
    """Put back sources that a crash left set aside while they were archived, deleted or moved."""
    for folder in config.folders:
        after = 0
        done: set[str] = set()
        while jobs := queue.untidy([str(folder.inbox)], after):
            for job in jobs:
                for root in (folder.inbox, folder.archive, folder.failed):
                    place = os.path.dirname(os.path.join(root, job.path)) if root is not None else ""
                    if place and place not in done:
                        done.add(place)
                        for path in sweep_folder(place):
                            log.info("swept", path=printable(path))
            after = jobs[-1].id
