"""``rembg-watch jobs``: list, show, retry and cancel jobs, while the daemon runs or not."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from rembg_watch.cli import options
from rembg_watch.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.model import Job

STATES = ("queued", "running", "waiting", "received", "done", "failed", "cancelled", "superseded")
NOT_JOBS = ("settling", "incomplete", "ignored")
"""What a file in an inbox can be that is not a job (yet)."""
_NUMBER = click.IntRange(min=1, max=2**63 - 1)


@click.group("jobs")
@options.config_option
def command(config_path: str | None) -> None:
    """Look at jobs, retry them, cancel them."""


@command.command("list")
@options.config_option
@click.option("--state", type=click.Choice((*STATES, *NOT_JOBS)), help="Only jobs, or files, in this state.")
@click.option("--folder", metavar="F", help="Only of this inbox: its path, or its name where that is unique.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many, the newest."
)
@options.json_option
def list_(config_path: str | None, state: str | None, folder: str | None, limit: int, *, as_json: bool) -> None:
    """List jobs, the newest first, and the files that are not jobs yet."""
    config = options.load(config_path)
    from rembg_watch.cli import show  # noqa: PLC0415
    from rembg_watch.cli.jobs_page import job_dict, list_page, unready_dict  # noqa: PLC0415
    from rembg_watch.jobs.model import State  # noqa: PLC0415
    from rembg_watch.jobs.queries import Queries  # noqa: PLC0415
    from rembg_watch.jobs.status_table import StatusTable  # noqa: PLC0415

    jobs, unready, tries = [], [], {}
    with options.reading(config) as database:
        inboxes = options.all_inboxes(config, database)
        inbox = None if folder is None else options.find_inbox(folder, inboxes)
        if database is not None and state not in NOT_JOBS:
            wanted = None if state is None else State(state)
            queries = Queries(database)
            jobs = queries.select(state=wanted, folder=inbox, limit=limit + 1)
            if as_json:
                tries = queries.times_sent(jobs[:limit])
        if database is not None and (state is None or state in NOT_JOBS):
            unready = [
                file
                for file in StatusTable(database).unready()
                if inbox in (None, file.folder) and state in (None, file.state)
            ]
    more = len(jobs) > limit or len(unready) > limit
    jobs, unready = jobs[:limit], unready[:limit]
    if as_json:
        listed = [job_dict(job, tries.get(job.id, 0)) for job in jobs]
        show.emit({"jobs": listed, "not_jobs_yet": list(map(unready_dict, unready)), "more": more})
        return
    show.show(list_page(jobs, unready, inboxes, time.time()))
    if more:
        click.echo(f"There are more: --limit {limit * 2} shows them.", err=True)


@command.command("show")
@options.config_option
@click.argument("number", metavar="ID", type=_NUMBER)
@options.json_option
def show_(config_path: str | None, number: int, *, as_json: bool) -> None:
    """Show everything about one job: why it is where it is, its attempts and its outputs."""
    config = options.load(config_path)
    from rembg_watch.cli import show  # noqa: PLC0415
    from rembg_watch.cli.jobs_page import attempt_dict, job_dict, job_page, output_dict, stored  # noqa: PLC0415
    from rembg_watch.jobs.queries import Queries  # noqa: PLC0415

    with options.reading(config) as database:
        queries = None if database is None else Queries(database)
        job = None if queries is None else queries.get(number)
        if queries is None or job is None:
            _unknown(number)
            sys.exit(EXIT_SOME_FAILED)
        attempts, outputs = queries.attempts(number), queries.outputs(job)
        files = stored(options.result_store(config, database), job, attempts)
    if as_json:
        shown: dict[str, Any] = job_dict(job, len(attempts))
        shown["kept"] = files.kept
        shown["attempts_made"] = [attempt_dict(attempt, files.rejected.get(attempt.id)) for attempt in attempts]
        shown["outputs"] = list(map(output_dict, outputs))
        show.emit({"job": shown})
    else:
        show.show(job_page(job, attempts, outputs, files, time.time()))


_ALREADY = {
    "queued": "is queued already",
    "running": "is being sent already",
    "received": "has its paid result already; it is delivered as soon as the outbox takes it",
}
"""Why a job is not queued again, by its state."""
_TOO_LATE = {
    "running": "it was already sent and charged",
    "received": "it was already sent and charged, and its result waits for the outbox",
}
"""Why a job that has not ended can't be cancelled, by its state."""


@command.command("retry")
@options.config_option
@click.argument("numbers", metavar="[ID]...", nargs=-1, type=_NUMBER)
@click.option("--failed", is_flag=True, help="All failed jobs.")
@click.option("--folder", metavar="F", help="With --failed: only of this inbox.")
def retry(config_path: str | None, numbers: tuple[int, ...], folder: str | None, *, failed: bool) -> None:
    """Queue jobs again. One that was done is sent again, even though its result is there: that costs a credit."""
    if bool(numbers) == failed:
        raise click.UsageError("Name the jobs by their IDs, or all failed ones with --failed.")
    if folder is not None and not failed:
        raise click.UsageError("--folder goes with --failed.")
    config = options.load(config_path)
    from rembg_watch.cli.show import count  # noqa: PLC0415
    from rembg_watch.jobs.queries import Queries  # noqa: PLC0415

    with options.writing(config) as database:
        inbox = None if folder is None else options.find_inbox(folder, options.all_inboxes(config, database))
        if database is None:
            _nothing(numbers, "No job has failed.")
            return
        known = _known(database, numbers)
        changed = Queries(database).retry(ids=list(known), failed=failed, folder=inbox, now=time.time())
    problems = _missing(numbers, known)
    for number in sorted(set(known) - set(changed)):
        job = known[number]
        if (already := _ALREADY.get(job.state.value)) is not None:
            click.echo(f"Job {number} {already}.")
        else:
            problems += 1
            click.echo(
                f"Job {number} can't be retried: its photo has changed or left the inbox since. "
                "A photo that lies there is a job of its own.",
                err=True,
            )
    if changed or failed:
        click.echo(f"{count(len(changed), 'job')} queued again{_numbers(changed)}.")
    sys.exit(EXIT_SOME_FAILED if problems else 0)


@command.command("cancel")
@options.config_option
@click.argument("numbers", metavar="[ID]...", nargs=-1, type=_NUMBER)
@click.option("--folder", metavar="F", help="All jobs of this inbox that wait for their turn.")
def cancel(config_path: str | None, numbers: tuple[int, ...], folder: str | None) -> None:
    """Cancel jobs that have not been sent. The photos stay where they are; 'jobs retry' takes it back."""
    if bool(numbers) == (folder is not None):
        raise click.UsageError("Name the jobs by their IDs, or all of an inbox with --folder.")
    config = options.load(config_path)
    from rembg_watch.cli.show import count  # noqa: PLC0415
    from rembg_watch.jobs.queries import Queries  # noqa: PLC0415

    with options.writing(config) as database:
        inbox = None if folder is None else options.find_inbox(folder, options.all_inboxes(config, database))
        if database is None:
            _nothing(numbers, "No job waits there.")
            return
        known = _known(database, numbers)
        queries = Queries(database)
        changed = queries.cancel(ids=list(known), folder=inbox, now=time.time()) if known or inbox else []
    problems = _missing(numbers, known)
    for number in sorted(set(known) - set(changed)):
        state = known[number].state.value
        if state == "cancelled":
            click.echo(f"Job {number} is cancelled already.")
            continue
        problems += 1
        click.echo(f"Job {number} can't be cancelled: {_TOO_LATE.get(state, f'it is {state} already')}.", err=True)
    if changed or inbox is not None:
        click.echo(f"{count(len(changed), 'job')} cancelled{_numbers(changed)}.")
    sys.exit(EXIT_SOME_FAILED if problems else 0)


def _known(database: Database, numbers: Sequence[int]) -> dict[int, Job]:
    from rembg_watch.jobs.queries import Queries  # noqa: PLC0415

    queries = Queries(database)
    return {number: job for number in dict.fromkeys(numbers) if (job := queries.get(number)) is not None}


def _unknown(number: int) -> None:
    click.echo(f"There is no job {number}. 'rembg-watch jobs list' shows which there are.", err=True)


def _missing(numbers: Sequence[int], known: dict[int, Job]) -> int:
    missing = [number for number in dict.fromkeys(numbers) if number not in known]
    for number in missing:
        _unknown(number)
    return len(missing)


def _nothing(numbers: Sequence[int], message: str) -> None:
    """Without a database there is no job."""
    if _missing(numbers, {}):
        sys.exit(EXIT_SOME_FAILED)
    click.echo(message)


def _numbers(changed: Sequence[int]) -> str:
    if not changed:
        return ""
    return ": " + ", ".join(map(str, changed[:20])) + (", ..." if len(changed) > 20 else "")
