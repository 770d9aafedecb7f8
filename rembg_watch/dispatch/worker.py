"""One image, one straight line: read, check, send, verify, write, finish, tidy.

The order of the steps is what keeps the promises; ``Step`` names each point between two of them.

- What is sent, and where its answer will stand, is committed *before* the first byte goes out: after a crash the
  attempt is known, and so is the place to look for its answer.
- The answer is verified and synced *before* it is committed as received, and committed as received *before* it gets
  its final name: from then on it is found by its hash, and never paid for again.
- The output is in its place, and the place synced, *before* the job is done; the source is only tidied away after that.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import structlog

from rembg_watch.api.picture import checked
from rembg_watch.api.verdict import Charge as ApiCharge
from rembg_watch.delivery import copy_result, open_temp, place, same_content, sync, sync_folder, writable
from rembg_watch.delivery.files import hash_file, open_source, reopen_temp, temp_name, temp_tag
from rembg_watch.dispatch import retry
from rembg_watch.dispatch.answer import Sink, answer_in, spool_file
from rembg_watch.dispatch.photo import Photo
from rembg_watch.dispatch.report import Ended, Report
from rembg_watch.dispatch.target import names_for
from rembg_watch.dispatch.tidying import wish
from rembg_watch.errors import (
    ApiError,
    Refused,
    SourceChanged,
    SourceError,
    StateError,
    TargetError,
    TargetTaken,
)
from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import Charge, How, Output, State, Tidy
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rembg_watch.api.client import RembgClient
    from rembg_watch.api.verdict import Verdict
    from rembg_watch.config.model import Config, Folder, Profile
    from rembg_watch.delivery import TempFile
    from rembg_watch.dispatch.answer import Answer
    from rembg_watch.dispatch.contents import Contents
    from rembg_watch.dispatch.target import Target, Targets
    from rembg_watch.jobs.model import Job
    from rembg_watch.jobs.outputs import Outputs
    from rembg_watch.jobs.store import JobStore

log = structlog.get_logger()
T = TypeVar("T")

PLACE_AGAIN = 60.0
"""Seconds until a photo is tried again whose place in the outbox, and no other, can't be written."""


class Step(StrEnum):
    """The points between two steps of the line, in their order. A kill at any of them loses nothing.

    A paid result that is copied passes ``MARKED_COPY`` and ``COPIED`` where a photo that is sent passes the points from
    ``MARKED_SENT`` to ``MARKED_RECEIVED``.
    """

    CLAIMED = "claimed"
    READ = "read"
    MARKED_COPY = "marked-copy"
    COPIED = "copied"
    MARKED_SENT = "marked-sent"
    OPENED = "opened"
    ANSWERED = "answered"
    VERIFIED = "verified"
    SYNCED = "synced"
    MARKED_RECEIVED = "marked-received"
    PLACED = "placed"
    PLACE_SYNCED = "place-synced"
    FINISHED = "finished"
    TIDIED = "tidied"


@dataclass(frozen=True)
class Tools:
    """What the workers share."""

    config: Callable[[], Config]
    client: Callable[[], RembgClient]
    store: JobStore
    outputs: Outputs
    targets: Targets
    contents: Contents
    outbox_problem: Callable[[str], TargetError | None]
    """Says why an outbox can't take a result now, or None."""
    turn: Callable[[Job, str], None]
    """Waits for the next place in the line of requests, for a job and the fingerprint of its options; raises
    InterruptedError when nothing may be sent any more."""
    healthy: Callable[[], bool]
    """Whether the service works for others at this time."""
    sent: Callable[[], None]
    """Told when a photo is about to go out."""
    unpark: Callable[[Job], None]
    """Takes back a job that waited for another one's answer."""
    tidy: Callable[[Job, Folder, Tidy], object]
    """Archives, deletes or moves the source of an ended job, or leaves that for later."""
    again: Callable[[str, str], None]
    """Tells intake to look at a file again: inbox, relative path."""
    credits_left: Callable[[], int | None]
    clock: Callable[[], float] = time.time
    at: Callable[[Step], None] = lambda _step: None
    """Called at each point of the line: the place where tests break things."""


class Worker:
    """Takes a claimed job through the whole line. Has no state of its own between two jobs."""

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
            self._end(job, State.QUEUED, "folder", "its folder is not in the config any more")
            return Report(Ended.REFUSED)
        line = _Line(tools, job, folder, folder.profile_for(job.path))
        try:
            return line.run()
        except SourceChanged as error:
            return line.changed(error)
        except SourceError as error:
            return line.unreadable(error)
        except Refused as error:
            return line.refused(error)
        except TargetError as error:
            return line.held(error)
        except ApiError as error:
            return line.judged(error.verdict)
        except InterruptedError:
            self._end(job, State.QUEUED)
            return Report(Ended.REFUSED)
        except StateError as error:
            return Report(Ended.STATE, sent=line.sent_at > 0, spent=line.spent, state=error, sent_at=line.sent_at)
        except Exception:
            log.exception("job.crashed", job=job.id, path=printable(job.path))
            return line.crashed()

    def _end(self, job: Job, state: State, code: str | None = None, message: str | None = None) -> None:
        self._tools.store.end(job, state, self._tools.clock(), code=code, message=message, keep_answer=True)


def keep(write: Callable[[], T]) -> T:
    """Write down what was paid for, again and again until the database takes it: a full disk must not cost a credit."""
    while True:
        try:
            return write()
        except StateError as error:
            log.error("state.cannot_write", reason=error.message, hint=error.hint)
            time.sleep(1.0)


class _Line:
    """One job on its way, and how each kind of ending is written down."""

    def __init__(self, tools: Tools, job: Job, folder: Folder, profile: Profile) -> None:
        self.tools = tools
        self.job = job
        self.folder = folder
        self.profile = profile
        self.attempt: int | None = None
        self.spent = False
        self.sent_at = 0.0
        self.api_ms = 0.0
        self.bytes_out = 0
        self.received = False

    # -- the line

    def run(self) -> Report:
        tools, job, folder, profile = self.tools, self.job, self.folder, self.profile
        options = profile.options
        if job.fingerprint != options.fingerprint or job.profile != profile.name:
            tools.store.use_profile(job, options.fingerprint, profile.name)
        if job.result_hash is not None and (report := self._deliver_kept()):
            return report
        with Photo(job) as photo:
            content_hash = photo.hash()
            tools.at(Step.READ)
            key = (content_hash, options.fingerprint)
            if not tools.contents.begin(key, job):
                return Report(Ended.PARKED, fingerprint=options.fingerprint)
            try:
                names = names_for(job, folder, profile, content_hash, tools.clock())
                with tools.targets.reserve(job, str(folder.outbox), names) as target:
                    if report := self._found(photo, target, content_hash):
                        return report
                    if not job.forced and (report := self._reuse(target, content_hash)):
                        return report
                    answer = self._send(photo, target, content_hash)
                    return self._deliver(answer, target, content_hash)
            finally:
                for parked in tools.contents.end(key):
                    tools.unpark(parked)

    def _send(self, photo: Photo, target: Target, content_hash: str) -> Answer:
        tools, job, options = self.tools, self.job, self.profile.options
        if problem := tools.outbox_problem(target.root):
            raise problem
        tools.turn(job, options.fingerprint)
        photo.check()
        tag = f"{job.id}-{job.lease}"
        temp_path = os.path.join(os.path.dirname(target.path), temp_name(tag))
        self.attempt = tools.store.mark_sent(job, content_hash, target.path, temp_path, tools.clock())
        if self.attempt is None:
            raise InterruptedError
        self.sent_at = time.monotonic()
        tools.sent()
        tools.at(Step.MARKED_SENT)
        sink = Sink(open_temp(target.root, target.relpath, tag), spool_file(tools.config().state_dir, tag))
        try:
            tools.at(Step.OPENED)
            self.spent = True  # until the answer says otherwise
            try:
                tools.client().send(photo, photo.size, photo.header.kind, options, sink)  # type: ignore[arg-type]
            finally:
                self.api_ms = (time.monotonic() - self.sent_at) * 1000
                self.bytes_out = sink.size
            tools.at(Step.ANSWERED)
            checked(sink.file, options, (photo.header.width, photo.header.height))
            tools.at(Step.VERIFIED)
            sink.save()
        except BaseException:
            sink.discard()
            raise
        tools.at(Step.SYNCED)
        if sink.trouble is not None:  # paid for and safe, but not where it belongs
            self._receive(sink.answer(), sink.place)
            sink.file.close()
            sink.answer().temp.discard()
            raise sink.trouble
        return sink.answer()

    def _deliver(self, answer: Answer, target: Target, content_hash: str) -> Report:
        """From a verified, synced answer to a finished job. Paid for: no error from here on may lose it."""
        tools = self.tools
        if not self._receive(answer, answer.temp.path):
            # Given back while the answer came in. It stays where it is: the next claim finds it.
            answer.temp.close()
            return Report(Ended.LOST, sent=self.sent_at > 0, spent=True)
        tools.at(Step.MARKED_RECEIVED)
        try:
            place(answer.temp, target.relpath, replace=target.replace, hash_expected=answer.hash)
        except BaseException:
            answer.temp.close()
            raise
        tools.at(Step.PLACED)
        sync_folder(answer.temp)
        tools.at(Step.PLACE_SYNCED)
        return self._finish(target.path, answer.hash, answer.size, content_hash, How.SENT)

    def _receive(self, answer: Answer, where: str) -> bool:
        """Write down that the answer stands, safe, in the file ``where``; False where the claim was taken over."""
        tools, job = self.tools, self.job
        end = self._attempt_end(Charge.CHARGED, None, None, 200)
        self.received = keep(
            lambda: tools.store.mark_received(job, self.attempt, end, answer.hash, answer.size, where, tools.clock())
        )
        return self.received

    def _finish(self, path: str, result_hash: str, size: int, content_hash: str | None, how: How) -> Report:
        tools, job, folder = self.tools, self.job, self.folder
        tidy = wish(folder, failed=False)
        now = tools.clock()
        fingerprint = self.profile.options.fingerprint
        output = Output(path, job.id, job.folder, job.path, content_hash, fingerprint, result_hash, size, now)
        if not keep(lambda: tools.store.finish(job, output, how, tidy, now)):
            return Report(Ended.LOST, sent=self.sent_at > 0, spent=self.spent)
        tools.at(Step.FINISHED)
        log.info(
            "job.done",
            **self._canonical(),
            output=printable(path),
            how=how.value,
            bytes_in=job.version.size,
            bytes_out=size,
            credits_left=tools.credits_left(),
        )
        if tidy is not None:
            tools.tidy(job, folder, tidy)
            tools.at(Step.TIDIED)
        return Report(
            Ended.DONE, sent=self.sent_at > 0, spent=self.spent, fingerprint=fingerprint, sent_at=self.sent_at
        )

    # -- shortcuts that cost nothing

    def _found(self, photo: Photo, target: Target, content_hash: str) -> Report | None:
        """After a crash: the answer may stand in the temporary file, though nobody had the time to write that down."""
        job = self.job
        if job.result_hash is not None or job.temp is None:
            return None
        same = (job.content_hash, job.fingerprint) == (content_hash, self.profile.options.fingerprint)
        # What was not sent is a copy that was cut short: begun anew, it gets another name.
        if job.api_sent_at is None or not same or os.path.dirname(job.temp) != os.path.dirname(target.path):
            with suppress(OSError):
                os.unlink(job.temp)
            return None
        temp = reopen_temp(target.root, target.relpath, temp_tag(job.temp))
        if temp is None:
            return self._found_spooled(photo, target, content_hash)
        try:
            checked(temp.file, self.profile.options, (photo.header.width, photo.header.height))
            sync(temp)
        except ApiError:
            temp.discard()
            return self._found_spooled(photo, target, content_hash)
        except BaseException:
            temp.close()
            raise
        answer = answer_in(temp)
        self.attempt = self.tools.store.open_attempt(job)
        log.info("job.answer_found", job=job.id, path=printable(job.path))
        return self._deliver(answer, target, content_hash)

    def _found_spooled(self, photo: Photo, target: Target, content_hash: str) -> Report | None:
        """Likewise where the outbox could not take the answer: it stands in the spool file."""
        tools, job = self.tools, self.job
        assert job.temp is not None
        place = str(spool_file(tools.config().state_dir, temp_tag(job.temp)))
        try:
            file, _ = open_source(place)
            with file:
                checked(file, self.profile.options, (photo.header.width, photo.header.height))
                os.fsync(file.fileno())
                result_hash, size = hash_file(file)
        except ApiError:
            os.unlink(place)
            return None
        except (SourceError, OSError):
            return None
        self.attempt = tools.store.open_attempt(job)
        log.info("job.answer_found", job=job.id, path=printable(job.path))
        end = self._attempt_end(Charge.CHARGED, None, None, 200)
        if not tools.store.mark_received(job, self.attempt, end, result_hash, size, place, tools.clock()):
            return Report(Ended.LOST)
        self.received = True
        self.job = replace(job, result_hash=result_hash, result_size=size, temp=place)
        return self._deliver_copy(place, target, content_hash, result_hash)

    def _deliver_kept(self) -> Report | None:
        """A paid answer that is written down: it stands in its temporary file, or has its final name already."""
        job = self.job
        assert job.result_hash is not None and job.output is not None  # noqa: PT018
        size = job.result_size or 0
        root = str(self.folder.outbox)
        if same_content(job.output, job.result_hash, size):
            return self._finish(job.output, job.result_hash, size, job.content_hash, How.SENT)
        if job.temp is None or not same_content(job.temp, job.result_hash, size):
            log.warning("job.answer_lost", job=job.id, path=printable(job.path), temp=printable(job.temp or ""))
            return None
        if not job.output.startswith(root + "/"):  # the config has another outbox by now
            names: Sequence[str] = names_for(job, self.folder, self.profile, job.content_hash or "", self.tools.clock())
        else:
            names = [job.output[len(root) + 1 :]]
        with self.tools.targets.reserve(job, root, names) as target:
            if os.path.dirname(job.temp) == os.path.dirname(target.path):
                temp = reopen_temp(root, target.relpath, temp_tag(job.temp))
                if temp is None:
                    return None
                sync(temp)
                return self._deliver(answer_in(temp), target, job.content_hash or "")
            return self._deliver_copy(job.temp, target, job.content_hash or "", job.result_hash)

    def _deliver_copy(self, place: str, target: Target, content_hash: str, result_hash: str) -> Report:
        """Deliver an answer that stands on another disk, and only then let go of it there."""
        copy = self._copy(place, target, content_hash, result_hash)
        report = self._deliver(answer_in(copy), target, content_hash)
        with suppress(OSError):
            os.unlink(place)
        return report

    def _reuse(self, target: Target, content_hash: str) -> Report | None:
        """The same bytes and options were paid for before: take that result, if it is still what was delivered."""
        tools, job, folder = self.tools, self.job, self.folder
        for known in tools.outputs.with_content(content_hash, self.profile.options.fingerprint):
            own = (known.folder, known.source) == (job.folder, job.path)
            if own and known.path == target.path and same_content(known.path, known.hash, known.size):
                return self._finish(known.path, known.hash, known.size, content_hash, How.REUSED)
            if not folder.reuse_results and not own:
                continue
            if not same_content(known.path, known.hash, known.size):
                continue
            if self._placed_before(known):
                assert job.output is not None
                return self._finish(job.output, known.hash, known.size, content_hash, How.REUSED)
            with suppress(SourceError):  # removed or edited in this moment: it is no longer a result
                temp = self._copy(known.path, target, content_hash, known.hash)
                try:
                    place(temp, target.relpath, replace=target.replace, hash_expected=known.hash)
                except BaseException:
                    temp.discard()
                    raise
                tools.at(Step.PLACED)
                sync_folder(temp)
                tools.at(Step.PLACE_SYNCED)
                return self._finish(target.path, known.hash, known.size, content_hash, How.REUSED)
        return None

    def _placed_before(self, known: Output) -> bool:
        """After a crash: the copy may have its place already, which is why that name was not free any more."""
        output = self.job.output
        if output is None or not same_content(output, known.hash, known.size):
            return False
        owner = self.tools.outputs.at(output)
        return owner is None or (owner.folder, owner.source) == (self.job.folder, self.job.path)

    def _copy(self, source: str, target: Target, content_hash: str, expected: str) -> TempFile:
        """Copy a paid result beside its new place, synced; the copy is written down before it is begun."""
        job = self.job
        tag = f"{job.id}-{job.lease}"
        temp_path = os.path.join(os.path.dirname(target.path), temp_name(tag))
        if job.result_hash is None:  # else the row already leads to the answer, and must not lose it
            self.tools.store.mark_copy(job, content_hash, target.path, temp_path, self.tools.clock())
        self.tools.at(Step.MARKED_COPY)
        temp = copy_result(source, target.root, target.relpath, tag, expected)
        try:
            sync(temp)
        except BaseException:
            temp.discard()
            raise
        self.tools.at(Step.COPIED)
        return temp

    # -- endings without an output

    def changed(self, error: SourceChanged) -> Report:
        self._end(State.SUPERSEDED, "changed", error.message, error.hint, forget=True)
        self.tools.again(self.job.folder, self.job.path)
        return Report(Ended.REFUSED, sent=self.sent_at > 0)

    def unreadable(self, error: SourceError) -> Report:
        self._end(State.WAITING, "unreadable", error.message, error.hint, not_before=self.tools.clock() + 60)
        return Report(Ended.REFUSED, sent=self.sent_at > 0)

    def crashed(self) -> Report:
        """A fault of ours: the job waits, as if the service had failed, so that it can't spin; its permit is kept."""
        hint = "Please report it with the log; the job is tried again in 10 minutes."
        again = self.tools.clock() + 600
        self._end(
            State.WAITING,
            "internal",
            "an error inside rembg-watch",
            hint,
            not_before=again,
            counted=True,
            keep_answer=True,
        )
        return Report(Ended.REFUSED, sent=self.sent_at > 0, spent=self.spent)

    def refused(self, error: Refused) -> Report:
        self._fail(error.code, error.message, error.hint)
        return Report(Ended.REFUSED, sent=self.sent_at > 0, failed=True)

    def held(self, error: TargetError) -> Report:
        if isinstance(error, TargetTaken):  # somebody took the name in this very moment: the next claim finds another
            self._end(State.QUEUED, keep_answer=True)
            return Report(Ended.REFUSED, sent=self.sent_at > 0, spent=self.spent)
        charge = Charge.POSSIBLY if self.spent else Charge.NOT_CHARGED
        keep_answer = self.received or self.attempt is None
        if error.code in {"name", "denied", "other"} and writable(str(self.folder.outbox)) is None:
            # The outbox is well, but this one place in it is not: no reason for the others to wait.
            again = self.tools.clock() + PLACE_AGAIN
            self._end(
                State.WAITING,
                "place",
                error.message,
                error.hint,
                not_before=again,
                charge=charge,
                keep_answer=keep_answer,
            )
            return Report(Ended.REFUSED, sent=self.sent_at > 0, spent=self.spent)
        self._end(State.QUEUED, error.code, error.message, error.hint, charge=charge, keep_answer=keep_answer)
        return Report(Ended.TARGET, sent=self.sent_at > 0, spent=self.spent, target=error)

    def judged(self, verdict: Verdict) -> Report:
        self.spent = verdict.charge is not ApiCharge.NOT_CHARGED
        tools, job = self.tools, self.job
        decision = retry.decide(
            verdict,
            job.attempts,
            tools.config().retry,
            now=tools.clock(),
            jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
            healthy=tools.healthy(),
        )
        charge = Charge(verdict.charge.value)
        match decision:
            case retry.Fail():
                self._fail(verdict.code, verdict.message, verdict.hint, charge, verdict.status)
            case retry.Wait(not_before, counted):
                self._end(
                    State.WAITING,
                    verdict.code,
                    verdict.message,
                    verdict.hint,
                    not_before=not_before,
                    counted=counted,
                    charge=charge,
                    status=verdict.status,
                )
            case retry.Requeue():
                self._end(
                    State.QUEUED, verdict.code, verdict.message, verdict.hint, charge=charge, status=verdict.status
                )
        log.warning(
            "job.failed" if isinstance(decision, retry.Fail) else "job.again",
            **self._canonical(),
            about=verdict.about.value,
            code=verdict.code,
            status=verdict.status,
            reason=verdict.message,
            charge=charge.value,
        )
        return Report(
            Ended.VERDICT,
            sent=self.sent_at > 0,
            spent=self.spent,
            verdict=verdict,
            fingerprint=self.profile.options.fingerprint,
            sent_at=self.sent_at,
            failed=isinstance(decision, retry.Fail),
        )

    def _fail(
        self, code: str, message: str, hint: str, charge: Charge = Charge.NOT_CHARGED, status: int | None = None
    ) -> None:
        tidy = wish(self.folder, failed=True)
        self._end(State.FAILED, code, message, hint, charge=charge, status=status, tidy=tidy)
        self.tools.at(Step.FINISHED)
        if tidy is not None:
            self.tools.tidy(replace(self.job, code=code, message=message, hint=hint), self.folder, tidy)
            self.tools.at(Step.TIDIED)

    def _end(
        self,
        state: State,
        code: str | None = None,
        message: str | None = None,
        hint: str | None = None,
        *,
        not_before: float | None = None,
        counted: bool = False,
        tidy: Tidy | None = None,
        charge: Charge = Charge.NOT_CHARGED,
        status: int | None = None,
        keep_answer: bool = False,
        forget: bool = False,
    ) -> None:
        attempt = None
        if self.attempt is not None and not keep_answer:
            attempt = (self.attempt, self._attempt_end(charge, code, message, status))
        now = self.tools.clock()
        keep(
            lambda: self.tools.store.end(
                self.job,
                state,
                now,
                code=code,
                message=message,
                hint=hint,
                counted=counted,
                not_before=not_before,
                tidy=tidy,
                attempt=attempt,
                keep_answer=keep_answer,
                forget=forget,
            )
        )

    def _attempt_end(self, charge: Charge, code: str | None, message: str | None, status: int | None) -> AttemptEnd:
        size = self.job.version.size if self.attempt is not None else 0
        return AttemptEnd(charge, code, status, message, size, self.bytes_out, self.api_ms)

    def _canonical(self) -> dict[str, object]:
        job = self.job
        return {
            "job": job.id,
            "folder": printable(job.folder),
            "path": printable(job.path),
            "profile": self.profile.name,
            "queue_ms": round((self.tools.clock() - job.created_at) * 1000 - self.api_ms),
            "api_ms": round(self.api_ms),
            "attempt": job.attempts + 1,
        }
