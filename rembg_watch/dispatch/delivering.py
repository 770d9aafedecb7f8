"""From a verified answer to a finished job. It is paid for: no error on this way may lose it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rembg_watch.delivery import place, sync_folder
from rembg_watch.dispatch.passage import keep
from rembg_watch.dispatch.report import Ended, Report
from rembg_watch.dispatch.steps import Step
from rembg_watch.dispatch.tidying import tidy_by_now, wish
from rembg_watch.jobs.model import Charge, How, Output
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from rembg_watch.dispatch.answer import Answer
    from rembg_watch.dispatch.passage import Passage
    from rembg_watch.dispatch.target import Target

log = structlog.get_logger()


def deliver(passage: Passage, answer: Answer, target: Target, content_hash: str) -> Report:
    """From a verified, synced answer to a finished job. Paid for: no error from here on may lose it."""
    tools = passage.tools
    if not receive(passage, answer, answer.temp.path):
        # Given back while the answer came in. It stays where it is: the next claim finds it.
        answer.temp.close()
        return Report(Ended.LOST, sent=passage.sent_at > 0, spent=True)
    try:
        tools.at(Step.MARKED_RECEIVED)
        place(answer.temp, target.relpath, replace=target.replace, hash_expected=answer.hash)
    except BaseException:
        answer.temp.close()
        raise
    tools.at(Step.PLACED)
    sync_folder(answer.temp)
    tools.at(Step.PLACE_SYNCED)
    return finish(passage, target.path, answer.hash, answer.size, content_hash, How.SENT)


def receive(passage: Passage, answer: Answer, where: str) -> bool:
    """Write down that the answer stands, safe, in the file ``where``; False where the claim was taken over."""
    tools, job = passage.tools, passage.job
    end = passage.attempt_end(Charge.CHARGED, None, None, 200)
    passage.received = keep(
        lambda: tools.store.mark_received(job, passage.attempt, end, answer.hash, answer.size, where, tools.clock())
    )
    return passage.received


def finish(passage: Passage, path: str, result_hash: str, size: int, content_hash: str | None, how: How) -> Report:
    tools, job = passage.tools, passage.job
    tidy = wish(passage.folder_by_now, failed=False)
    now = tools.clock()
    fingerprint = passage.profile.options.fingerprint if job.result_hash is None else job.fingerprint
    output = Output(path, job.id, job.folder, job.path, content_hash, fingerprint, result_hash, size, now)
    if not keep(lambda: tools.store.finish(job, output, how, tidy, now)):
        return Report(Ended.LOST, sent=passage.sent_at > 0, spent=passage.spent)
    tools.at(Step.FINISHED)
    log.info(
        "job.done",
        **passage.canonical(),
        output=printable(path),
        how=how.value,
        bytes_in=job.version.size,
        bytes_out=size,
        credits_left=tools.credits_left(),
    )
    if tidy is not None:
        tidy_by_now(tools, job, failed=False)
        tools.at(Step.TIDIED)
    return Report(
        Ended.DONE, sent=passage.sent_at > 0, spent=passage.spent, fingerprint=fingerprint, sent_at=passage.sent_at
    )
