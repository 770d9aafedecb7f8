"""How the picture of everything reads: what is held first, then folders, work, money, and what went wrong. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_watch import __version__
from rembg_watch.cli import findings
from rembg_watch.cli.options import short_names
from rembg_watch.cli.show import Block, Grid, Line, ago, count, duration, moment, name, text

if TYPE_CHECKING:
    from rembg_watch.status import Credits, FolderQueue, Held, Snapshot

RUNNING_SHOWN = 12
_STATES = ("queued", "running", "waiting", "received", "done", "failed")
_ONLY_IF_ANY = ("waiting", "received")
"""Left out where no job is in them: a table with both is too wide for a terminal of 80 columns."""


def page(now: Snapshot) -> list[Block]:
    """Lay the picture out."""
    short = {inbox: name(shown) for inbox, shown in short_names(folder.inbox for folder in now.folders).items()}
    return [
        *(block for held in now.holds for block in _held(held, now)),
        *_daemon(now),
        Line(),
        *_folders(now, short),
        *_running(now, short),
        Line(),
        *_work(now),
        *_money(now),
        *_results(now),
        *_not_ready(now, short),
        *_failures(now, short),
    ]


def _held(held: Held, now: Snapshot) -> list[Block]:
    jobs = f", {count(held.jobs, 'job')} waiting" if held.jobs else ""
    title = "PAUSED" if held.kind == "pause" else f"HELD: {name(held.what)}"
    goes_on = text(held.release)
    if held.next_check is not None and now.daemon is not None:
        goes_on = f"{goes_on.rstrip('.')}; looked at next in {duration(held.next_check - now.at)}"
    return [
        Line(f"{title} for {duration(now.at - held.since)}{jobs}: {text(held.why)}", "held"),
        Line(f"  goes on: {goes_on}", "warn"),
    ]


def _daemon(now: Snapshot) -> list[Block]:
    daemon = now.daemon
    if daemon is None:
        hint = "" if now.database else ", and none has run here yet"
        return [Line(f"daemon: not running{hint}; start it with 'rembg-watch run'", "warn")]
    started = "" if daemon.started_at is None else f", up for {duration(now.at - daemon.started_at)}"
    lines: list[Block] = [Line(f"daemon: running (process {daemon.pid}{started})", "good")]
    if daemon.version not in (None, __version__):
        version = f"the daemon is version {text(daemon.version)}, this command is {__version__}: restart the daemon"
        lines.append(Line(f"  {version}", "warn"))
    if daemon.found_by_rescan:
        files = count(daemon.found_by_rescan, "file")
        lines.append(Line(f"  {files} found only by a rescan: events were lost, or none are given here", "warn"))
    return lines


def _folders(now: Snapshot, short: dict[str, str]) -> list[Block]:
    states = [s for s in _STATES if s not in _ONLY_IF_ANY or any(getattr(folder, s) for folder in now.folders)]
    columns = ("folder", "profile", *(f">{state}" for state in states), ">not ready", "watch")
    rows = [
        (
            short[folder.inbox],
            name(folder.profile) if folder.profile is not None else "(not in the config)",
            *(str(getattr(folder, state)) for state in states),
            str(folder.not_ready),
            _watch(folder),
        )
        for folder in now.folders
    ]
    lines: list[Block] = [Grid(columns, rows)]
    for folder in now.folders:
        if folder.message:
            lines.append(Line(f"  {short[folder.inbox]}: {text(folder.message)}", "bad"))
        if folder.daily_limit is not None:
            spent = f"{folder.spent_today} of {folder.daily_limit} images of today's limit"
            lines.append(Line(f"  {short[folder.inbox]}: {spent}"))
        if folder.ignored:
            lines.append(Line(f"  {short[folder.inbox]}: {count(folder.ignored, 'file')} ignored by name or type"))
    return lines


def _watch(folder: FolderQueue) -> str:
    if folder.health is None:
        return "-"
    return text(folder.health if folder.mode is None else f"{folder.health} ({folder.mode})")


def _running(now: Snapshot, short: dict[str, str]) -> list[Block]:
    if not now.running:
        return []
    rows = [
        (str(job.job), f"{short.get(job.folder, name(job.folder))}/{name(job.path)}", duration(now.at - job.since))
        for job in now.running[:RUNNING_SHOWN]
    ]
    interrupted = now.running[0].interrupted
    title = "interrupted; the next daemon goes on with them" if interrupted else "running"
    if len(now.running) > RUNNING_SHOWN:
        title += f" ({RUNNING_SHOWN} of {len(now.running)})"
    return [Line(), Line(title, "title"), Grid((">job", "photo", ">for"), rows)]


def _work(now: Snapshot) -> list[Block]:
    work = now.throughput
    parts = [f"{count(work.open, 'job')} to do"]
    if work.held:
        parts.append(f"{work.held} held")
    parts.append(f"{work.done_last_minute} done in the last minute")
    if work.seconds_to_empty is not None:
        parts.append(f"empty in about {duration(work.seconds_to_empty)}")
    if now.daemon is not None and now.daemon.per_second is not None:
        parts.append(f"the service allows about {now.daemon.per_second:.1f} a second")
    return [Line(f"work: {', '.join(parts)}")]


def _money(now: Snapshot) -> list[Block]:
    spent, limits = now.spent, []
    for word, number, limit in (
        ("today", spent.today, spent.daily_limit),
        ("this month", spent.month, spent.monthly_limit),
    ):
        limits.append(f"{number} {word}" if limit is None else f"{number} of {limit} {word}")
    return [_credits(now.credits, now), Line(f"spent: {', '.join(limits)} (UTC)")]


def _results(now: Snapshot) -> list[Block]:
    if now.results_short is None:
        return []
    found = findings.short_store(now.results_short)
    return [Line(f"{found.subject}: {found.message}", "warn"), Line(f"  {found.hint}", "warn")]


def _credits(credit: Credits | None, now: Snapshot) -> Line:
    if credit is None:
        return Line("credits: not read yet; 'rembg-watch credits' asks for them")
    parts = [f"{credit.left} left (read {ago(credit.at, now.at)})"]
    if credit.reserve:
        parts.append(f"{credit.reserve} of them kept in reserve")
    if credit.unsent:
        photos = f"the {count(credit.unsent, 'photo')} to send"
        parts.append(
            f"enough for {photos}" if credit.enough else f"{credit.unsent - credit.spendable} too few for {photos}"
        )
    if credit.days_left is not None:
        parts.append(f"about {credit.days_left:.0f} days at last week's pace")
    if credit.period_end is not None:
        parts.append(f"renewed {moment(credit.period_end)}")
    return Line(f"credits: {', '.join(parts)}", "" if credit.enough and credit.spendable else "bad")


def _not_ready(now: Snapshot, short: dict[str, str]) -> list[Block]:
    if not now.not_ready:
        return []
    rows = [
        (
            text(file.state),
            f"{short.get(file.folder, name(file.folder))}/{name(file.path)}",
            duration(now.at - file.since),
            text(file.reason),
        )
        for file in now.not_ready
    ]
    title = f"not jobs yet ({len(rows)} of {now.not_ready_count})"
    return [Line(), Line(title, "title"), Grid(("state", "file", ">for", "why"), rows)]


def _failures(now: Snapshot, short: dict[str, str]) -> list[Block]:
    if not now.failures:
        return []
    rows = [
        (
            str(job.job),
            f"{short.get(job.folder, name(job.folder))}/{name(job.path)}",
            ago(job.at, now.at),
            text(job.message),
        )
        for job in now.failures
    ]
    return [
        Line(),
        Line("failed last; 'rembg-watch jobs show JOB' tells what to do", "title"),
        Grid((">job", "photo", "when", "why"), rows),
    ]
