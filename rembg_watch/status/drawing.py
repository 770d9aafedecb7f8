"""Draws the picture of everything out of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rembg_watch.dispatch.credits import day_start, month_start
from rembg_watch.jobs.board import Board
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.lock import running_pid
from rembg_watch.jobs.model import State
from rembg_watch.jobs.overview import Overview
from rembg_watch.jobs.steering import Steering
from rembg_watch.jobs.store import JobStore
from rembg_watch.status.picture import (
    Credits,
    Daemon,
    Failure,
    FolderQueue,
    Held,
    NotReady,
    Running,
    Snapshot,
    Spent,
    Throughput,
)

if TYPE_CHECKING:
    from rembg_watch.config.model import Config
    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.model import Hold, Unready

FAILURES_SHOWN = 5
UNREADY_SHOWN = 20
RATE_SECONDS = 60.0
WEEK = 7 * 86400.0


def snapshot(config: Config, database: Database | None, now: float) -> Snapshot:
    """Draw the picture at ``now`` (Unix seconds). Without a database it is empty, but whole.

    Raises:
        StateError: the database can't be read.

    """
    pid = running_pid(config.state_dir)
    if database is None:
        return Snapshot(
            at=now,
            database=False,
            daemon=None if pid is None else Daemon(pid),
            holds=(),
            folders=_folders(config, {}, {}, [], {}),
            running=(),
            throughput=Throughput(0, 0, 0, None),
            credits=None,
            spent=Spent(0, config.credits.daily_limit, 0, config.credits.monthly_limit),
            not_ready=(),
            not_ready_count=0,
        )
    board, ledger, overview = Board(database), Ledger(database), Overview(database)
    fact = (board.fact("daemon") or {}) if pid is not None else {}
    counts = Steering(database).counts()
    unready = sorted(board.unready(), key=lambda file: _UNREADY_ORDER.get(file.state, 0))
    waiting_turn = _add(overview.queued(), overview.waiting())
    holds = [_in_words(hold, config, waiting_turn) for hold in board.holds()]
    held = sum(n for lane, n in waiting_turn.items() if any(_touches(hold.scope, lane, config) for hold in holds))
    open_jobs = sum(numbers.get(state, 0) for numbers in counts.values() for state in _OPEN)
    today = overview.spent_by_folder(day_start(now))
    return Snapshot(
        at=now,
        database=True,
        daemon=None if pid is None else _daemon(pid, fact, board.fact("started") or {}),
        holds=tuple(holds),
        folders=_folders(config, counts, fact, unready, today),
        running=_running(database, pid, fact),
        throughput=_throughput(overview, open_jobs, held, now),
        credits=_credits(board, ledger, config, open_jobs, now),
        spent=Spent(
            sum(today.values()),
            config.credits.daily_limit,
            ledger.spent_since(month_start(now)),
            config.credits.monthly_limit,
        ),
        not_ready=tuple(NotReady(f.folder, f.path, f.state, f.reason, f.since) for f in unready[:UNREADY_SHOWN]),
        not_ready_count=max(len(unready), sum((fact.get("unready") or {}).values())),
        failures=tuple(
            Failure(job.id, job.folder, job.path, job.finished_at, job.code, job.message, job.hint)
            for job in overview.last_failures(FAILURES_SHOWN)
        ),
    )


_OPEN = (State.QUEUED, State.RUNNING, State.WAITING)
_UNREADY_ORDER = {"incomplete": 0, "settling": 1, "ignored": 2}
"""What somebody must look at comes first; ignored files are many, and meant to be."""
_Lanes = dict[tuple[str, str], int]
"""Jobs that wait for their turn, by (folder, fingerprint)."""


def _add(first: _Lanes, second: _Lanes) -> _Lanes:
    return {lane: first.get(lane, 0) + second.get(lane, 0) for lane in first | second}


def _daemon(pid: int, fact: dict[str, Any], started: dict[str, Any]) -> Daemon:
    if fact.get("pid") != pid:  # an earlier one's; this one has not spoken yet
        return Daemon(pid)
    return Daemon(
        pid,
        fact.get("version"),
        started.get("at") if started.get("pid") == pid else None,
        fact.get("updated_at"),
        fact.get("per_second"),
        fact.get("found_by_rescan") or 0,
    )


def _touches(scope: str, lane: tuple[str, str], config: Config) -> bool:
    folder, fingerprint = lane
    kind, _, name = scope.partition(":")
    if kind == "outbox":
        known = config.folder(folder)
        return known is not None and str(known.outbox) == name
    return scope == "all" or name == {"inbox": folder, "profile": fingerprint}.get(kind)


def _in_words(hold: Hold, config: Config, lanes: _Lanes) -> Held:
    kind, _, name = hold.scope.partition(":")
    what = "everything" if kind == "all" else f"{kind} {name}"
    if kind == "profile":
        named = {profile.name for profile in config.profiles.values() if profile.options.fingerprint == name}
        what = f"profile {' and '.join(sorted(named)) or name}"
    jobs = sum(count for lane, count in lanes.items() if _touches(hold.scope, lane, config))
    return Held(hold.scope, hold.kind, what, hold.message, hold.release, hold.since, hold.next_check, jobs)


def _folders(
    config: Config,
    counts: dict[str, dict[State, int]],
    fact: dict[str, Any],
    unready: list[Unready],
    today: dict[str, int],
) -> tuple[FolderQueue, ...]:
    roots = {root.get("inbox"): root for root in fact.get("roots") or ()}
    configured = [str(folder.inbox) for folder in config.folders]
    rows = []
    for inbox in (*configured, *sorted(set(counts) - set(configured))):
        folder, numbers, root = config.folder(inbox), counts.get(inbox, {}), roots.get(inbox, {})
        here = [file for file in unready if file.folder == inbox]
        rows.append(
            FolderQueue(
                inbox=inbox,
                profile=None if folder is None else folder.profile.name,
                configured=folder is not None,
                **{state.value: numbers.get(state, 0) for state in State},
                not_ready=sum(file.state != "ignored" for file in here),
                ignored=sum(file.state == "ignored" for file in here),
                spent_today=today.get(inbox, 0),
                daily_limit=None if folder is None else folder.daily_limit,
                health=root.get("health"),
                mode=root.get("mode"),
                message=root.get("message") or None,
            )
        )
    return tuple(rows)


def _running(database: Database, pid: int | None, fact: dict[str, Any]) -> tuple[Running, ...]:
    jobs = JobStore(database).running()
    # The daemon claims more than it sends at once: what is in flight, and since when, only it can tell.
    since = {flight.get("job"): flight.get("since") for flight in fact.get("in_flight") or ()}
    shown = [job for job in jobs if job.id in since] if since else jobs
    return tuple(
        Running(job.id, job.folder, job.path, since.get(job.id) or job.api_sent_at or job.updated_at, pid is None)
        for job in shown
    )


def _throughput(overview: Overview, open_jobs: int, held: int, now: float) -> Throughput:
    done = overview.done_since(now - RATE_SECONDS)
    moving = open_jobs - held
    seconds = moving / done * RATE_SECONDS if done and moving > 0 else None
    return Throughput(open_jobs, held, done, seconds)


def _credits(board: Board, ledger: Ledger, config: Config, open_jobs: int, now: float) -> Credits | None:
    fact = board.fact("credits")
    if not fact or fact.get("available") is None:
        return None
    at = fact.get("at") or 0.0
    left = max(0, fact["available"] - ledger.spent_since(at))
    reserve = config.credits.reserve
    spendable = max(0, left - reserve)
    week = ledger.spent_since(now - WEEK)
    return Credits(
        available=fact["available"],
        at=at,
        left=left,
        reserve=reserve,
        spendable=spendable,
        enough=spendable >= open_jobs,
        days_left=spendable / (week / 7) if week else None,
        membership=fact.get("membership"),
        source=fact.get("source"),
        period_end=fact.get("period_end"),
    )
