"""What was paid for already: answers that a crash or a full disk left somewhere, and results of the same bytes.

Each function gives the report of the finished job, or None where there is nothing to be had without paying.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from rembg_watch.api.picture import checked
from rembg_watch.delivery import copy_result, place, same_content, sync, sync_folder
from rembg_watch.delivery.faults import target_error
from rembg_watch.delivery.files import has_content, hash_file, open_source, reopen_temp, temp_name, temp_tag
from rembg_watch.dispatch.answer import answer_in, clear_away, spool_file
from rembg_watch.dispatch.delivering import deliver, finish
from rembg_watch.dispatch.photo import Photo
from rembg_watch.dispatch.report import Ended, Report
from rembg_watch.dispatch.steps import Step
from rembg_watch.dispatch.target import names_for
from rembg_watch.errors import ApiError, Refused, SourceChanged, SourceError, TargetError
from rembg_watch.jobs.model import Charge, How, Version
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_watch.delivery import TempFile
    from rembg_watch.dispatch.passage import Passage
    from rembg_watch.dispatch.target import Target
    from rembg_watch.jobs.model import Output

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
"""What proves that a file is gone, or something else than a file. A share that is away proves nothing."""

log = structlog.get_logger()


def deliver_kept(passage: Passage) -> Report | None:
    """A paid answer that is written down: it stands in its temporary file, or has its final name already."""
    job = passage.job
    assert job.result_hash is not None and job.output is not None  # noqa: PT018
    size = job.result_size or 0
    root = str(passage.folder.outbox)
    if any(output.job_id > job.id for output in passage.tools.outputs.of(job.folder, job.path)):
        raise SourceChanged(f"a newer version of {printable(job.path)} was delivered before", "Nothing to do.")
    trouble = None
    try:
        if _stands(job.output, job.result_hash, size):
            return finish(passage, job.output, job.result_hash, size, job.content_hash, How.SENT)
    except TargetError as error:
        trouble = error
    if job.temp is None or not _stands(job.temp, job.result_hash, size):
        if trouble := trouble or passage.tools.outbox_problem(root):  # it may be on a disk that is away
            raise trouble
        log.warning("job.answer_lost", job=job.id, path=printable(job.path), temp=printable(job.temp or ""))
        return None
    if not job.output.startswith(root + "/"):  # the config has another outbox by now
        was = os.path.splitext(job.output)[1].removeprefix(".")  # the profile may be for another format by now
        names: Sequence[str] = names_for(
            job, passage.folder, passage.profile, job.content_hash or "", passage.tools.clock(), was
        )
    else:
        names = [job.output[len(root) + 1 :]]
    with passage.tools.targets.reserve(job, root, names) as target:
        if os.path.dirname(job.temp) == os.path.dirname(target.path):
            temp = reopen_temp(root, target.relpath, temp_tag(job.temp))
            if temp is None:  # it was there a moment ago
                raise TargetError(f"{printable(job.temp)} is in use", "Nothing to do: it is tried again.")
            sync(temp)
            return deliver(passage, answer_in(temp), target, job.content_hash or "")
        return _deliver_copy(passage, job.temp, target, job.content_hash or "", job.result_hash)


def _stands(path: str, content_hash: str, size: int) -> bool:
    """Tell whether a paid answer stands there; TargetError where that can't be told: no reason to pay for it again."""
    try:
        return has_content(path, content_hash, size)
    except SourceError as error:
        if trouble := _may_be_there(error, path):
            raise trouble from error
        return False


def _may_be_there(error: SourceError, path: str) -> TargetError | None:
    """Give the trouble where a file could only not be read; None where it is gone, or something else than a file."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno not in _NOT_THERE:
        return target_error(cause, path, "read")
    return None


def found(passage: Passage, photo: Photo, target: Target, content_hash: str) -> Report | None:
    """After a crash: the answer may stand in the temporary file, though nobody had the time to write that down."""
    job = passage.job
    if job.result_hash is not None or job.temp is None:
        return None
    same = (job.content_hash, job.fingerprint) == (content_hash, passage.profile.options.fingerprint)
    # What was not sent is a copy that was cut short: begun anew, it gets another name.
    if job.api_sent_at is None or not same:
        clear_away(job.temp, passage.tools.config().state_dir)
        return None
    if os.path.dirname(job.temp) != os.path.dirname(target.path):  # in the spool, or in the outbox of before
        return _found_elsewhere(passage, photo, target, content_hash, job.temp)
    spooled = spool_file(passage.tools.config().state_dir, temp_tag(job.temp))
    temp = reopen_temp(target.root, target.relpath, temp_tag(job.temp))
    if temp is None:
        return _found_elsewhere(passage, photo, target, content_hash, spooled)
    try:
        checked(temp.file, passage.profile.options, (photo.header.width, photo.header.height))
        sync(temp)
    except ApiError:
        temp.discard()
        return _found_elsewhere(passage, photo, target, content_hash, spooled)
    except BaseException:
        temp.close()
        raise
    answer = answer_in(temp)
    passage.attempt = passage.tools.store.open_attempt(job)
    log.info("job.answer_found", job=job.id, path=printable(job.path))
    return deliver(passage, answer, target, content_hash)


def found_touched(passage: Passage) -> Report | None:
    """Likewise where only the file's time has changed since: the answer to the same bytes still serves."""
    job, folder = passage.job, passage.folder
    if job.temp is None or job.api_sent_at is None:
        return None
    try:
        status = os.lstat(os.path.join(job.folder, job.path))
        with Photo(replace(job, version=Version(status.st_size, status.st_mtime_ns))) as photo:
            content_hash = photo.hash()
            if content_hash != job.content_hash:
                return None
            names = names_for(job, folder, passage.profile, content_hash, passage.tools.clock())
            with passage.tools.targets.reserve(job, str(folder.outbox), names) as target:
                return found(passage, photo, target, content_hash)
    except (FileNotFoundError, NotADirectoryError, Refused):
        return None


def _found_elsewhere(passage: Passage, photo: Photo, target: Target, content_hash: str, place: str) -> Report | None:
    """Likewise where the answer stands on another disk than its target: the outbox could not take it, say."""
    tools, job = passage.tools, passage.job
    try:
        file, _ = open_source(place)
        with file:
            checked(file, passage.profile.options, (photo.header.width, photo.header.height))
            os.fsync(file.fileno())
            result_hash, size = hash_file(file)
    except ApiError:
        os.unlink(place)
        return None
    except SourceError as error:
        if trouble := _may_be_there(error, place):
            raise trouble from error
        return None
    except OSError as error:
        raise target_error(error, place) from error
    passage.attempt = tools.store.open_attempt(job)
    log.info("job.answer_found", job=job.id, path=printable(job.path))
    end = passage.attempt_end(Charge.CHARGED, None, None, 200)
    if not tools.store.mark_received(job, passage.attempt, end, result_hash, size, place, tools.clock()):
        return Report(Ended.LOST)
    passage.received = True
    passage.job = replace(job, result_hash=result_hash, result_size=size, temp=place)
    return _deliver_copy(passage, place, target, content_hash, result_hash)


def reuse(passage: Passage, target: Target, content_hash: str) -> Report | None:
    """The same bytes and options were paid for before: take that result, if it is still what was delivered."""
    tools, job, folder = passage.tools, passage.job, passage.folder
    for known in tools.outputs.with_content(content_hash, passage.profile.options.fingerprint):
        own = (known.folder, known.source) == (job.folder, job.path)
        if own and known.path == target.path and same_content(known.path, known.hash, known.size):
            return finish(passage, known.path, known.hash, known.size, content_hash, How.REUSED)
        if not folder.reuse_results and not own:
            continue
        if not same_content(known.path, known.hash, known.size):
            continue
        if _placed_before(passage, known):
            assert job.output is not None
            return finish(passage, job.output, known.hash, known.size, content_hash, How.REUSED)
        with suppress(SourceError):  # removed or edited in this moment: it is no longer a result
            temp = _copy(passage, known.path, target, content_hash, known.hash)
            try:
                place(temp, target.relpath, replace=target.replace, hash_expected=known.hash)
            except BaseException:
                temp.discard()
                raise
            tools.at(Step.PLACED)
            sync_folder(temp)
            tools.at(Step.PLACE_SYNCED)
            return finish(passage, target.path, known.hash, known.size, content_hash, How.REUSED)
    return None


def _placed_before(passage: Passage, known: Output) -> bool:
    """After a crash: the copy may have its place already, which is why that name was not free any more."""
    output = passage.job.output
    if output is None or not same_content(output, known.hash, known.size):
        return False
    owner = passage.tools.outputs.at(output).get(output)
    return owner is None or (owner.folder, owner.source) == (passage.job.folder, passage.job.path)


def _deliver_copy(passage: Passage, place: str, target: Target, content_hash: str, result_hash: str) -> Report:
    """Deliver an answer that stands on another disk, and only then let go of it there."""
    copy = _copy(passage, place, target, content_hash, result_hash)
    answer = answer_in(copy)
    passage.received = False
    try:
        return deliver(passage, answer, target, content_hash)
    finally:
        # Where the claim was taken over, the row leads to the answer where it stood, and nobody knows of the copy.
        with suppress(OSError):
            os.unlink(place if passage.received else copy.path)


def _copy(passage: Passage, source: str, target: Target, content_hash: str, expected: str) -> TempFile:
    """Copy a paid result beside its new place, synced; the copy is written down before it is begun."""
    job = passage.job
    tag = f"{job.id}-{job.lease}"
    temp_path = os.path.join(os.path.dirname(target.path), temp_name(tag))
    if job.result_hash is None:  # else the row already leads to the answer, and must not lose it
        passage.tools.store.mark_copy(job, content_hash, target.path, temp_path, passage.tools.clock())
    passage.tools.at(Step.MARKED_COPY)
    temp = copy_result(source, target.root, target.relpath, tag, expected)
    try:
        sync(temp)
    except BaseException:
        temp.discard()
        raise
    passage.tools.at(Step.COPIED)
    return temp
