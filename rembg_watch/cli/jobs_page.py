"""How jobs read, for people and as JSON. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rembg_watch.cli.options import short_names
from rembg_watch.cli.show import Block, Grid, Line, ago, count, duration, moment, name, size, text
from rembg_watch.jobs.model import Key, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rembg_watch.dispatch.results import Results
    from rembg_watch.jobs.model import Job, Output, Unready
    from rembg_watch.jobs.queries import Attempt

HOW = {
    "sent": "sent to the API",
    "reused": "copied from a paid result of the same bytes and options",
    "adopted": "the output was already in its place",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """Paths in the result store: of the kept answer to a job, and of the rejected answers to its attempts."""

    kept: str | None
    rejected: dict[int, str]


def stored(results: Results, job: Job, attempts: Sequence[Attempt]) -> Stored:
    """Find what the store has of a job. Reads names only."""
    kept, rejected = None, {}
    if job.content_hash is not None:
        kept = results.find(Key(job.content_hash, job.fingerprint))
    for attempt in attempts:
        if attempt.content_hash is not None:
            path = results.rejected(Key(attempt.content_hash, attempt.fingerprint), attempt.id)
            if path is not None:
                rejected[attempt.id] = path
    return Stored(None if kept is None else kept.path, rejected)


def job_dict(job: Job, attempts: int) -> dict[str, Any]:
    """Return a job as JSON shows it.

    ``attempts``: how often it was sent. The job itself counts only the faults that may make it fail in the end.
    """
    shown = asdict(job)
    shown |= shown.pop("version")
    return shown | {"attempts": attempts, "faults": job.attempts}


def attempt_dict(attempt: Attempt, rejected: str | None) -> dict[str, Any]:
    """Return an attempt as JSON shows it; ``rejected`` is the path of its rejected answer."""
    return asdict(attempt) | {"rejected": rejected}


def output_dict(output: Output) -> dict[str, Any]:
    """Return an output as JSON shows it, without what the job says already."""
    return {key: getattr(output, key) for key in ("path", "job_id", "hash", "size", "created_at")}


def unready_dict(file: Unready) -> dict[str, Any]:
    """Return a file that is not a job (yet) as JSON shows it."""
    return asdict(file)


def list_page(jobs: Sequence[Job], unready: Sequence[Unready], inboxes: Iterable[str], now: float) -> list[Block]:
    """Lay out the list of jobs, and below it the files that are not jobs yet."""
    short = {inbox: name(shown) for inbox, shown in short_names(inboxes).items()}
    page: list[Block] = []
    if jobs:
        rows = [
            (
                str(job.id),
                job.state.value,
                duration(now - job.updated_at),
                size(job.version.size),
                name(job.profile),
                f"{short.get(job.folder, name(job.folder))}/{name(job.path)}",
                _why(job, now),
            )
            for job in jobs
        ]
        page.append(Grid((">job", "state", ">for", ">size", "profile", "photo", "why"), rows))
    else:
        page.append(Line("No jobs."))
    if unready:
        files = [
            (
                text(file.state),
                duration(now - file.since),
                f"{short.get(file.folder, name(file.folder))}/{name(file.path)}",
                text(file.reason),
            )
            for file in unready
        ]
        page += [Line(), Line("not jobs yet", "title"), Grid(("state", ">for", "file", "why"), files)]
    return page


def _why(job: Job, now: float) -> str:
    parts = [text(job.message)] if job.message else []
    if job.state is State.RECEIVED and not parts:
        parts.append("paid; its result waits for the outbox")
    if job.not_before is not None:
        parts.append(f"tried again in {duration(job.not_before - now)}")
    if not parts and job.how is not None and job.how.value != "sent":
        parts.append(job.how.value)
    return "; ".join(parts)


def job_page(
    job: Job, attempts: Sequence[Attempt], outputs: Sequence[Output], files: Stored, now: float
) -> list[Block]:
    """Lay out everything about one job."""
    facts = [
        ("photo", name(job.path)),
        ("inbox", name(job.folder)),
        ("profile", name(job.profile)),
        ("state", f"{job.state.value} for {duration(now - job.updated_at)}"),
        ("why", text(job.message) + (f" [{text(job.code)}]" if job.code else "")),
        ("do", text(job.hint)),
        ("how", HOW.get(job.how.value, "") if job.how else ""),
        ("next", f"tried again in {duration(job.not_before - now)}" if job.not_before is not None else ""),
        ("priority", str(job.priority) if job.priority else ""),
        ("asked for", "sent again, whatever is there already" if job.forced else ""),
        ("size", size(job.version.size)),
        ("content", job.content_hash or ""),
        ("came in", moment(job.created_at)),
        ("sent", moment(job.api_sent_at) if job.api_sent_at is not None else ""),
        ("result", _result(job, files)),
        ("ended", moment(job.finished_at) if job.finished_at is not None else ""),
        ("output", name(job.output) if job.output is not None and not outputs else ""),
        ("still to do", f"{job.tidy.value} the photo" if job.tidy else ""),
        ("crashes", _crashes(job)),
        ("faults", f"{count(job.attempts, 'attempt')} counted against retry.max_attempts" if job.attempts else ""),
    ]
    width = max(len(key) for key, value in facts if value) + 1
    page: list[Block] = [Line(f"job {job.id}", "title")]
    page += [Line(f"  {key + ':':<{width}} {value}") for key, value in facts if value]
    if attempts:
        page += [Line(), Line("attempts", "title"), Grid(_ATTEMPT, [_attempt(attempt, now) for attempt in attempts])]
    if files.rejected:
        page += [Line(), Line("rejected answers: paid, but not what was asked for", "title")]
        page += [Line(f"  {name(path)}") for path in files.rejected.values()]
    if outputs:
        rows = [
            (name(output.path), size(output.size) if output.hash else "-", ago(output.created_at, now))
            for output in outputs
        ]
        page += [Line(), Line("outputs", "title"), Grid(("file", ">size", "made"), rows)]
    return page


def _result(job: Job, files: Stored) -> str:
    if job.state is State.RECEIVED:
        return f"paid ({size(job.result_size)}); it waits for the outbox, and is not paid again"
    return "" if files.kept is None else f"kept in {name(files.kept)}"


def _crashes(job: Job) -> str:
    return f"rembg-watch ended {count(job.crashes, 'time')} while it was sent" if job.crashes else ""


_ATTEMPT = ("sent", ">took", "credit", ">status", ">in", ">out", "what happened")


def _attempt(attempt: Attempt, now: float) -> tuple[str, ...]:
    ended = attempt.ended_at is not None
    took = f"{attempt.api_ms / 1000:.1f} s" if attempt.api_ms else "-"
    what = text(attempt.message or attempt.code) if ended else "no answer (yet)"
    return (
        ago(attempt.sent_at, now),
        took,
        attempt.charge.value,
        str(attempt.status or "-"),
        size(attempt.bytes_in if ended else None),
        size(attempt.bytes_out if ended else None),
        what,
    )
