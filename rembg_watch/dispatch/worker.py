"""One image, one straight line: read, check, send, verify, write, finish, tidy.

The order of the steps is what keeps the promises; ``Step`` names each point between two of them.

- What is sent, and where its answer will stand, is committed *before* the first byte goes out: after a crash the
  attempt is known, and so is the place to look for its answer.
- The answer is verified and synced *before* it is committed as received, and committed as received *before* it gets
  its final name: from then on it is found by its hash, and never paid for again.
- The output is in its place, and the place synced, *before* the job is done; the source is only tidied away after that.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import structlog

from rembg_watch.api.picture import checked
from rembg_watch.delivery import open_temp
from rembg_watch.dispatch import endings
from rembg_watch.dispatch.answer import Sink, spool_file
from rembg_watch.dispatch.delivering import deliver, receive
from rembg_watch.dispatch.paid import deliver_kept, found, found_touched, reuse
from rembg_watch.dispatch.passage import Passage
from rembg_watch.dispatch.photo import Photo
from rembg_watch.dispatch.report import Ended, Report
from rembg_watch.dispatch.steps import Step
from rembg_watch.dispatch.target import names_for
from rembg_watch.errors import ApiError, Refused, SourceChanged, SourceError, StateError, TargetError
from rembg_watch.jobs.model import State
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.dispatch.answer import Answer
    from rembg_watch.dispatch.contents import Key
    from rembg_watch.dispatch.steps import Tools
    from rembg_watch.dispatch.target import Target
    from rembg_watch.jobs.model import Job

log = structlog.get_logger()


class Worker:
    """Takes a claimed job through the whole passage. Has no state of its own between two jobs."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def run(self, job: Job) -> Report:
        """Do one job and write down how it ended."""
        tools = self._tools
        tools.at(Step.CLAIMED)
        config = tools.config()
        folder = config.folder(job.folder)
        if folder is None:
            # Queued, where the dispatcher leaves it alone until the folder is back.
            return self._give_back(job, "folder", "its folder is not in the config any more")
        passage = Passage(tools, job, config, folder)
        try:
            return self._run(passage)
        except StateError as error:
            return Report(
                Ended.STATE, sent=passage.sent_at > 0, spent=passage.spent, state=error, sent_at=passage.sent_at
            )
        except Exception:
            log.exception("job.crashed", job=job.id, path=printable(job.path))
            return endings.crashed(passage)

    def _run(self, passage: Passage) -> Report:
        try:
            return _line(passage)
        except SourceChanged as error:
            return endings.changed(passage, error)
        except SourceError as error:
            return endings.unreadable(passage, error)
        except Refused as error:
            return endings.refused(passage, error)
        except TargetError as error:
            return endings.held(passage, error)
        except ApiError as error:
            return endings.judged(passage, error.verdict)
        except InterruptedError:
            return self._give_back(passage.job, sent=passage.sent_at > 0)

    def _give_back(
        self, job: Job, code: str | None = None, message: str | None = None, *, sent: bool = False
    ) -> Report:
        now = self._tools.clock()
        try:
            self._tools.store.end(job, State.QUEUED, now, code=code, message=message, keep_answer=True)
        except StateError as error:
            return Report(Ended.STATE, sent=sent, state=error)
        return Report(Ended.REFUSED, sent=sent)


def _line(passage: Passage) -> Report:
    """Read, check, send, verify, write, finish: the whole way of one image."""
    tools, job, profile = passage.tools, passage.job, passage.profile
    options = profile.options
    if job.result_hash is not None:
        return _alone(passage, (job.content_hash or "", job.fingerprint), partial(_kept, passage))
    if job.fingerprint != options.fingerprint or job.profile != profile.name:
        tools.store.use_profile(job, options.fingerprint, profile.name)
    try:
        opened = Photo(job)
    except SourceChanged:
        if report := found_touched(passage):
            return report
        raise
    with opened as photo:
        content_hash = photo.hash()
        tools.at(Step.READ)
        return _alone(passage, (content_hash, options.fingerprint), partial(_get, passage, photo, content_hash))


def _alone(passage: Passage, key: Key, work: Callable[[], Report]) -> Report:
    """Do the work while nobody else has the same bytes at hand; where somebody has, the job is parked for so long."""
    contents = passage.tools.contents
    if not contents.begin(key, passage.job):
        return Report(Ended.PARKED, fingerprint=key[1])
    try:
        return work()
    finally:
        for parked in contents.end(key):
            passage.tools.unpark(parked)


def _kept(passage: Passage) -> Report:
    """Deliver what is paid for as it was asked for, whatever the profile says now."""
    if report := deliver_kept(passage):
        return report
    passage.tools.store.forget_answer(passage.job)
    raise InterruptedError  # claimed as one that is only delivered: to be sent, it needs a permit


def _get(passage: Passage, photo: Photo, content_hash: str) -> Report:
    """Find a result that is paid for, or pay for one, and deliver it."""
    tools, job, folder = passage.tools, passage.job, passage.folder
    names = names_for(job, folder, passage.profile, content_hash, tools.clock())
    with tools.targets.reserve(job, str(folder.outbox), names) as target:
        if report := found(passage, photo, target, content_hash):
            return report
        if not job.forced and (report := reuse(passage, target, content_hash)):
            return report
        if not job.forced and (reason := folder.refuses(job.path)):  # the config has changed since it came in
            raise SourceChanged(reason, "It is sent when include, exclude and recursive let it in again.")
        answer = _send(passage, photo, target, content_hash)
        return deliver(passage, answer, target, content_hash)


def _send(passage: Passage, photo: Photo, target: Target, content_hash: str) -> Answer:
    """From a photo that is ready to an answer that is verified and safe on a disk."""
    tools, options = passage.tools, passage.profile.options
    sink = _open(passage, target)
    try:
        with tools.turn(passage.job, passage.config, options.fingerprint):
            _ask(passage, photo, target, content_hash, sink)
        tools.at(Step.ANSWERED)
        checked(sink.file, options, (photo.header.width, photo.header.height))
        tools.at(Step.VERIFIED)
        sink.save()
    except BaseException:
        sink.discard()
        raise
    tools.at(Step.SYNCED)
    if sink.trouble is not None:  # paid for and safe, but not where it belongs
        receive(passage, sink.answer(), sink.place)
        sink.file.close()
        sink.answer().temp.discard()
        raise sink.trouble
    return sink.answer()


def _open(passage: Passage, target: Target) -> Sink:
    """Make the temporary file for the answer, where that can be taken in at all."""
    tools, job = passage.tools, passage.job
    if problem := tools.outbox_problem(target.root):
        raise problem
    tag = f"{job.id}-{job.lease}"
    temp = open_temp(target.root, target.relpath, tag)
    try:
        temp.try_room()
        tools.at(Step.OPENED)
    except BaseException:
        temp.discard()
        raise
    return Sink(temp, spool_file(tools.config().state_dir, tag))


def _ask(passage: Passage, photo: Photo, target: Target, content_hash: str, sink: Sink) -> None:
    tools, job = passage.tools, passage.job
    photo.check()
    passage.attempt = tools.store.mark_sent(job, content_hash, target.path, sink.place, tools.clock())
    if passage.attempt is None:
        raise InterruptedError
    passage.sent_at = time.monotonic()
    tools.sent()
    tools.at(Step.MARKED_SENT)
    passage.spent = True  # until the answer says otherwise
    try:
        tools.client().send(photo, photo.size, photo.header.kind, passage.profile.options, sink)  # type: ignore[arg-type]
    finally:
        passage.api_ms = (time.monotonic() - passage.sent_at) * 1000
        passage.bytes_out = sink.size
