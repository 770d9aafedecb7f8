"""The ends of a job without an output, and how each of them is written down."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from rembg_watch.delivery import writable
from rembg_watch.dispatch import retry
from rembg_watch.dispatch.answer import clear_away
from rembg_watch.dispatch.passage import keep
from rembg_watch.dispatch.report import Ended, Report
from rembg_watch.dispatch.retry import MAX_PAID_TRIES
from rembg_watch.dispatch.steps import Step
from rembg_watch.dispatch.tidying import tidy_by_now, wish
from rembg_watch.errors import TargetTaken
from rembg_watch.jobs.model import Charge, State

if TYPE_CHECKING:
    from rembg_watch.api.verdict import Verdict
    from rembg_watch.dispatch.passage import Passage
    from rembg_watch.errors import Refused, SourceChanged, SourceError, TargetError
    from rembg_watch.jobs.model import Tidy

log = structlog.get_logger()

PLACE_AGAIN = 60.0
"""Seconds until a photo is tried again whose place in the outbox, and no other, can't be written."""


def changed(passage: Passage, error: SourceChanged) -> Report:
    _end(passage, State.SUPERSEDED, "changed", error.message, error.hint, forget=True)
    if passage.job.temp is not None:  # what a killed run was told of the version before
        clear_away(passage.job.temp, passage.tools.config().state_dir)
    passage.tools.again(passage.job.folder, passage.job.path)
    return Report(Ended.REFUSED, sent=passage.sent_at > 0)


def unreadable(passage: Passage, error: SourceError) -> Report:
    again = passage.tools.clock() + 60
    keep_answer = passage.attempt is None  # a killed run may have left one: this one has not looked yet
    _end(passage, State.WAITING, "unreadable", error.message, error.hint, not_before=again, keep_answer=keep_answer)
    return Report(Ended.REFUSED, sent=passage.sent_at > 0)


def refused(passage: Passage, error: Refused) -> Report:
    _fail(passage, error.code, error.message, error.hint)
    size = passage.job.version.size
    log.warning("job.refused", **passage.canonical(), bytes_in=size, code=error.code, reason=error.message)
    return Report(Ended.REFUSED, sent=passage.sent_at > 0, failed=True)


def held(passage: Passage, error: TargetError) -> Report:
    if isinstance(error, TargetTaken):  # somebody took the name in this very moment: the next claim finds another
        _end(passage, State.QUEUED, keep_answer=True)
        return Report(Ended.REFUSED, sent=passage.sent_at > 0, spent=passage.spent)
    charge = Charge.POSSIBLY if passage.spent else Charge.NOT_CHARGED
    keep_answer = passage.received or passage.attempt is None
    if error.code in {"name", "denied", "other"} and writable(str(passage.folder.outbox)) is None:
        # The outbox is well, but this one place in it is not: no reason for the others to wait.
        again = passage.tools.clock() + PLACE_AGAIN
        _end(
            passage,
            State.WAITING,
            "place",
            error.message,
            error.hint,
            not_before=again,
            charge=charge,
            keep_answer=keep_answer,
        )
        return Report(Ended.REFUSED, sent=passage.sent_at > 0, spent=passage.spent)
    _end(passage, State.QUEUED, error.code, error.message, error.hint, charge=charge, keep_answer=keep_answer)
    outbox = str(passage.folder.outbox)
    return Report(Ended.TARGET, sent=passage.sent_at > 0, spent=passage.spent, target=error, outbox=outbox)


def judged(passage: Passage, verdict: Verdict) -> Report:
    passage.spent = verdict.charge is not Charge.NOT_CHARGED
    tools, job = passage.tools, passage.job
    decision = retry.decide(
        verdict,
        job.attempts,
        tools.config().retry,
        now=tools.clock(),
        jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
        healthy=tools.healthy(),
    )
    charge = verdict.charge
    match decision:
        case retry.Fail():
            _fail(passage, verdict.code, verdict.message, verdict.hint, charge, verdict.status)
        case retry.Wait(not_before, counted):
            _end(
                passage,
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
            _end(
                passage, State.QUEUED, verdict.code, verdict.message, verdict.hint, charge=charge, status=verdict.status
            )
    log.warning(
        "job.failed" if isinstance(decision, retry.Fail) else "job.again",
        **passage.canonical(),
        about=verdict.about.value,
        code=verdict.code,
        status=verdict.status,
        reason=verdict.message,
        charge=charge.value,
    )
    return Report(
        Ended.VERDICT,
        sent=passage.sent_at > 0,
        spent=passage.spent,
        verdict=verdict,
        fingerprint=passage.profile.options.fingerprint,
        sent_at=passage.sent_at,
        failed=isinstance(decision, retry.Fail),
    )


def crashed(passage: Passage) -> Report:
    """A fault of ours: the job waits, as if the service had failed, so that it can't spin; its permit is kept.

    One that may cost a credit each time, and brings no answer, is not paid for again and again.
    """
    message, hint = (
        "an error inside rembg-watch",
        "Please report it with the log; the job is tried again in 10 minutes.",
    )
    paid_in_vain = passage.spent and not passage.received
    if paid_in_vain and passage.job.attempts + 1 >= min(passage.tools.config().retry.max_attempts, MAX_PAID_TRIES):
        hint = f"Please report it with the log; then: rembg-watch jobs retry {passage.job.id}"
        _end(passage, State.FAILED, "internal", message, hint, counted=True, charge=Charge.POSSIBLY)
        return Report(Ended.REFUSED, sent=True, spent=True, failed=True)
    again = passage.tools.clock() + 600
    _end(
        passage,
        State.WAITING,
        "internal",
        message,
        hint,
        not_before=again,
        counted=True,
        keep_answer=True,
    )
    return Report(Ended.REFUSED, sent=passage.sent_at > 0, spent=passage.spent)


def _fail(
    passage: Passage, code: str, message: str, hint: str, charge: Charge = Charge.NOT_CHARGED, status: int | None = None
) -> None:
    tidy = wish(passage.folder_by_now, failed=True)
    _end(passage, State.FAILED, code, message, hint, charge=charge, status=status, tidy=tidy)
    passage.tools.at(Step.FINISHED)
    if tidy is not None:
        tidy_by_now(passage.tools, replace(passage.job, code=code, message=message, hint=hint), failed=True)
        passage.tools.at(Step.TIDIED)


def _end(
    passage: Passage,
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
    if passage.attempt is not None and not keep_answer:
        attempt = (passage.attempt, passage.attempt_end(charge, code, message, status))
    now = passage.tools.clock()
    keep(
        lambda: passage.tools.store.end(
            passage.job,
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
