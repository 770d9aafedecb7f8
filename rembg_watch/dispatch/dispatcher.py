"""From the queue to the workers: claims as many jobs as may be sent, keeps the workers busy, and ends in good order.

One thread claims. It asks for credits before each batch, while the workers are still busy with the batch before.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import structlog

from rembg_watch.dispatch.contents import Contents
from rembg_watch.dispatch.credits import next_day
from rembg_watch.dispatch.holds import ALL, LATEST_CHECK, inbox_scope, outbox_scope
from rembg_watch.dispatch.line import RequestLine
from rembg_watch.dispatch.outboxes import Outboxes
from rembg_watch.dispatch.reactions import Reactions
from rembg_watch.dispatch.report import Ended, Report
from rembg_watch.dispatch.steps import Step, Tools
from rembg_watch.dispatch.target import Targets
from rembg_watch.dispatch.tidying import tidy_source
from rembg_watch.dispatch.walltime import ClockWatch, steady_clock
from rembg_watch.dispatch.worker import Worker
from rembg_watch.errors import ApiError, StateError
from rembg_watch.jobs.model import State
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.api.client import RembgClient
    from rembg_watch.config.model import Config, Folder
    from rembg_watch.dispatch.account import Account
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.ledger import Ledger
    from rembg_watch.jobs.model import Job, Tidy
    from rembg_watch.jobs.outputs import Outputs
    from rembg_watch.jobs.store import JobStore

LOOK_SECONDS = 2.0
"""How often the dispatcher looks at what others wrote into the database."""
TIDY_SECONDS = 30.0
"""How often sources that could not be tidied away are tried again."""
TURN_SECONDS = 60.0
"""What a turn of the dispatcher may take at most, besides a usage call."""

log = structlog.get_logger()


class Dispatcher:
    """Owns the workers. ``config`` and ``client`` are asked anew for each job, so that a reload takes effect."""

    def __init__(
        self,
        config: Callable[[], Config],
        client: Callable[[], RembgClient],
        database: Database,
        store: JobStore,
        outputs: Outputs,
        ledger: Ledger,
        account: Account,
        holds: Holds,
        *,
        again: Callable[[str, str], None],
        on_turn: Callable[[], None] = lambda: None,
        at: Callable[[Step], None] = lambda _step: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._database = database
        self._store = store
        self._ledger = ledger
        self._account = account
        self._holds = holds
        self._clock = clock
        self._on_turn = on_turn
        self._line = RequestLine(config().api.max_per_second)
        self._clock_watch = ClockWatch(clock(), steady_clock())
        self._outboxes = Outboxes()
        self.reactions = Reactions(holds, account, self._line, self._outboxes, clock)
        self._contents = Contents()
        self._worker = Worker(
            Tools(
                config=config,
                client=client,
                store=store,
                outputs=outputs,
                targets=Targets(outputs),
                contents=self._contents,
                outbox_problem=self._outboxes.problem,
                turn=self._turn,
                healthy=self.reactions.healthy,
                sent=account.sent,
                unpark=self._give_to_workers,
                tidy=self._tidy,
                again=again,
                credits_left=account.left,
                clock=clock,
                at=self._step,
            )
        )
        self._at = at
        self._local: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._claimed: dict[int, tuple[Job, float]] = {}
        """Jobs that were claimed and have not ended, with the time of the claim: waiting here, parked or in work."""
        self._working: dict[int, float] = {}
        self._steps: dict[threading.Thread, float] = {}
        """By worker that is at a job: when it made its last step. One that waits for its turn is not here."""
        self._lost: str | None = None
        """Which worker has died, and of what."""
        self._orphans: deque[Job] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, name="dispatch", daemon=True)
        self._seen_change = -1
        self._next_tidy = 0.0
        self._unknown: tuple[str, ...] = ()
        self._finished: deque[float] = deque()
        self.beat = time.monotonic()
        self.failed = 0
        """Jobs that ended as failed since the start."""
        self.fatal: StateError | None = None
        """Why the dispatcher gave up, or None."""

    # -- for the daemon

    def start(self) -> None:
        """Start the workers and the claims."""
        self.reload()
        self._thread.start()

    def reload(self) -> None:
        """Take over a new config: workers, pace, folders; holds of profiles that are gone or were corrected end."""
        config = self._config()
        self._outboxes.forget()
        for folder in config.folders:
            if problem := self._outboxes.problem(str(folder.outbox)):
                self.reactions.hold_outbox(str(folder.outbox), problem)
        self._line.set_upper(config.api.max_per_second)
        known = {str(folder.inbox) for folder in config.folders}
        self._unknown = tuple(folder for folder in self._store.folders() if folder not in known)
        fingerprints = {profile.options.fingerprint for profile in config.profiles.values()}
        for scope in self._holds.scopes("profile:"):
            if scope not in fingerprints:
                self._holds.release(f"profile:{scope}")
        self._holds.look_now(self._clock())
        while len(self._threads) < config.workers:
            thread = threading.Thread(target=self._work, name=f"worker-{len(self._threads) + 1}", daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in range(len(self._threads) - config.workers):
            self._threads.pop()
            self._local.put(None)
        self.wake()

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    def stop(self, grace: float) -> None:
        """Claim nothing more, let what is in flight finish for ``grace`` seconds, then give the rest back."""
        self._stopping = True
        self._line.close()
        self._wake.set()
        if self._thread.ident is not None:  # a start that failed also stops
            self._thread.join(10)
        while True:  # claimed but not begun
            try:
                self._local.get_nowait()
            except queue.Empty:
                break
        for _ in self._threads:
            self._local.put(None)
        deadline = time.monotonic() + grace
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            rest = [job for job, _ in self._claimed.values()] + list(self._orphans)
        for job in rest:
            self._give_back(job)
        if rest:
            log.info("dispatch.given_back", jobs=len(rest))

    def idle(self) -> bool:
        """Tell whether nothing is claimed."""
        with self._lock:
            return not self._claimed and not self._orphans

    def open_work(self) -> int:
        """Count the jobs that can still end without anything from outside: those that are not held."""
        return self._store.open_count(folders=self._held_folders(), profiles=self._holds.scopes("profile:"), able=True)

    def unwell(self) -> str | None:
        """Say which loop has died, or has been at one thing far longer than that can take; None while all are well."""
        if self._stopping or self.fatal is not None or not self._threads:
            return None
        now, config = time.monotonic(), self._config()
        if not self._thread.is_alive():
            return "the dispatcher has died"
        if (seconds := now - self.beat) > _longest_turn(config):
            return f"the dispatcher hangs: it has been at one turn for {seconds:.0f} s"
        if self._lost is not None:
            return self._lost
        for worker, since in self._steps.copy().items():
            if (seconds := now - since) > _lease(config):
                return f"{worker.name} hangs: it has been at one step of one photo for {seconds:.0f} s"
        return None

    def in_flight(self) -> list[tuple[Job, float]]:
        """Give the jobs that a worker is at, with the Unix time since when."""
        with self._lock:
            return [(self._claimed[n][0], since) for n, since in self._working.items() if n in self._claimed]

    def done_last_minute(self) -> int:
        """Count the jobs that were done in the last 60 s."""
        now = time.monotonic()
        with self._lock:
            while self._finished and self._finished[0] < now - 60:
                self._finished.popleft()
            return len(self._finished)

    def pace(self) -> float | None:
        """Give the pace that is in force, in requests a second; None while no limit is known."""
        return self._line.limit()

    # -- the claiming thread

    def _run(self) -> None:
        while not self._stopping:
            self.beat = time.monotonic()
            try:
                self._turn_around()
            except StateError as error:
                if "damaged" in error.message:
                    log.critical("state.damaged", reason=error.message, hint=error.hint)
                    self.fatal = error
                    self._on_turn()
                    return
                log.error("state.trouble", reason=error.message, hint=error.hint)
                self._wake.wait(1.0)
            except Exception:
                log.exception("dispatch.loop_failed", hint="it goes on")
                self._wake.wait(1.0)

    def _turn_around(self) -> None:
        self._on_turn()
        self._look_at_the_clock()
        self._look_outside()
        self._take_in_orphans()
        self.reactions.probe()
        self._tidy_up()
        claimed = self._fill()
        if not claimed:
            self._wake.wait(self._seconds_to_next())
            self._wake.clear()

    def _look_at_the_clock(self) -> None:
        now = self._clock()
        jump = self._clock_watch.look(now, steady_clock())
        if jump:
            log.warning("clock.jumped", seconds=round(jump), hint="what waits is shifted by as much")
            self._store.shift_waiting(jump, self._clock_watch.since, now)
            self._holds.shift(jump, now)
            self._account.shift(jump)

    def _look_outside(self) -> None:
        change = self._database.changed()
        if change != self._seen_change:
            self._seen_change = change
            self._holds.reload_pause()

    def _seconds_to_next(self) -> float:
        now = self._clock()
        times = [self._holds.next_check(), self._store.next_due()]
        # What is due already and was not taken is held, or waits for a worker, who wakes us: only the future counts.
        soonest = min((at for at in times if at is not None and at > now), default=now + LOOK_SECONDS)
        return max(0.005, min(LOOK_SECONDS, soonest - now))

    def _take_in_orphans(self) -> None:
        while self._orphans:
            self._give_back(self._orphans[0])
            self._orphans.popleft()

    def _give_back(self, job: Job) -> None:
        try:
            self._store.end(job, State.QUEUED, self._clock(), keep_answer=True)
        except StateError as error:
            if not self._stopping:
                raise
            log.error(
                "dispatch.give_back_failed", job=job.id, reason=error.message, hint="the next start takes it back"
            )

    def _fill(self) -> bool:
        """Claim the next batch if the workers will soon be out of work; tells whether anything was claimed."""
        if self._stopping or self._holds.has(ALL):
            return False
        waiting = self._local.qsize()
        if waiting >= self._config().workers or not self._due():
            return False
        profiles = self._holds.scopes("profile:")
        trial = next(iter(self.reactions.profiles_on_trial), None)
        one = self.reactions.on_trial or trial is not None
        if one and (self.reactions.on_trial and self._claimed):
            return False
        count = self._permitted()
        if count <= 0:
            return False
        folders = self._held_folders()
        jobs: list[Job] = []
        if trial is not None and not self.reactions.on_trial:
            jobs = self._claim(1, folders, [held for held in profiles if held != trial], only=trial)
            if not jobs:
                self.reactions.profiles_on_trial.discard(trial)
        if not jobs:
            jobs = self._claim(1 if self.reactions.on_trial else count, folders, profiles)
        for job in jobs:
            self._give_to_workers(job)
        return bool(jobs)

    def _due(self) -> bool:
        if self._store.ready():
            return True
        soonest = self._store.next_due()
        return soonest is not None and soonest <= self._clock()

    def _permitted(self) -> int:
        if self._account.needs_reading() and not self._read_account():
            return 0
        grant = self._account.grant()
        if grant.count <= 0 and not self._account.outstanding():
            # What was under way at the last reading was counted twice, to be safe. Now that nothing is, look again.
            if self._account.is_cautious() and self._read_account():
                grant = self._account.grant()
            if grant.count <= 0:
                check_in = LATEST_CHECK * random.uniform(0.8, 1.0)  # noqa: S311 - spreads the checks of many machines
                self._holds.hold(ALL, grant.kind, grant.message, grant.release, now=self._clock(), check_in=check_in)
        return grant.count

    def _read_account(self) -> bool:
        """Begin a new batch with a new reading, or on the last one; False where a hold came of it."""
        try:
            self._account.read()
        except ApiError as error:
            self.reactions.usage_failed(error, usable=self._account.grant().count > 0)
            return not self._holds.has(ALL)
        return True

    def _held_folders(self) -> list[str]:
        outboxes, inboxes = set(self._holds.scopes("outbox:")), set(self._holds.scopes("inbox:"))
        held = [
            str(folder.inbox)
            for folder in self._config().folders
            if str(folder.outbox) in outboxes or str(folder.inbox) in inboxes
        ]
        return [*held, *self._unknown]

    def _claim(self, count: int, folders: list[str], profiles: list[str], only: str | None = None) -> list[Job]:
        now = self._clock()
        jobs = self._store.claim(count, now, _lease(self._config()), folders=folders, profiles=profiles, only=only)
        jobs = self._within_folder_limits(jobs, now)
        with self._lock:
            for job in jobs:
                self._claimed[job.id] = (job, now)
        self._account.give(len(jobs))
        return jobs

    def _within_folder_limits(self, jobs: list[Job], now: float) -> list[Job]:
        """Give back what a folder's own daily limit does not allow, and hold that folder until tomorrow."""
        kept: list[Job] = []
        left: dict[str, int] = {}
        for job in jobs:
            folder = self._config().folder(job.folder)
            if folder is None or folder.daily_limit is None:
                kept.append(job)
                continue
            if job.folder not in left:
                with self._lock:
                    out = sum(1 for other, _ in self._claimed.values() if other.folder == job.folder)
                # What is claimed may be sent and in the ledger as well: counting it twice errs on the safe side.
                spent = self._ledger.spent_since(next_day(now) - 86400, job.folder)
                left[job.folder] = folder.daily_limit - spent - out
            if left[job.folder] > 0:
                left[job.folder] -= 1
                kept.append(job)
                continue
            self._give_back(job)
            with self._lock:
                busy = any(other.folder == job.folder for other, _ in self._claimed.values())
            self._holds.hold(
                inbox_scope(job.folder),
                "daily-limit",
                f"the folder's daily limit of {folder.daily_limit} images is reached",
                "a new UTC day, or a higher daily_limit",
                now=now,
                check_in=1.0 if busy else next_day(now) - now,
            )
        return kept

    # -- the workers

    def _give_to_workers(self, job: Job) -> None:
        self._local.put(job)

    def _work(self) -> None:
        try:
            self._take_jobs()
        except Exception as error:
            self._lost = f"{threading.current_thread().name} has died: {error}"
            log.exception("dispatch.worker_died")

    def _take_jobs(self) -> None:
        me = threading.current_thread()
        while (job := self._local.get()) is not None:
            if self._stopping:
                continue
            with self._lock:
                self._working[job.id] = self._clock()
            self._steps[me] = time.monotonic()
            try:
                report = self._worker.run(job)
            except Exception:
                log.exception("job.crashed", job=job.id, path=printable(job.path))
                report = self._crashed(job)
            finally:
                self._steps.pop(me, None)
            if report.ended is Ended.PARKED:
                with self._lock:
                    self._working.pop(job.id, None)
            else:
                self._settle(job, report)
            if self._local.qsize() < self._config().workers:
                self._wake.set()

    def _settle(self, job: Job, report: Report) -> None:
        with self._lock:
            self._claimed.pop(job.id, None)
            self._working.pop(job.id, None)
            if report.ended is Ended.DONE:
                self._finished.append(time.monotonic())
            self.failed += report.failed
        self._account.end(spent=report.spent, was_sent=report.sent)
        if report.ended is Ended.STATE:
            self._orphans.append(job)
        folder = self._config().folder(job.folder)
        self.reactions.react(job, str(folder.outbox) if folder else None, report)

    def _crashed(self, job: Job) -> Report:
        """A fault of ours: the job waits, as if the service had failed, so that it can't spin."""
        try:
            self._store.end(
                job,
                State.WAITING,
                self._clock(),
                code="internal",
                message="an error inside rembg-watch",
                hint="Please report it with the log; the job is tried again in 10 minutes.",
                not_before=self._clock() + 600,
                counted=True,
                keep_answer=True,
            )
        except StateError as error:
            return Report(Ended.STATE, state=error)
        return Report(Ended.REFUSED)

    def _turn(self, job: Job, fingerprint: str) -> None:
        folder = self._config().folder(job.folder)
        held = outbox_scope(str(folder.outbox)) if folder else ""

        def may_send() -> bool:
            if self._stopping or self._holds.has(ALL) or self._holds.has(held):
                return False
            on_trial = fingerprint in self.reactions.profiles_on_trial
            return on_trial or not self._holds.has(f"profile:{fingerprint}")

        me = threading.current_thread()
        self._steps.pop(me, None)  # a slow pace makes many wait for long
        self._line.wait(may_send)
        self._steps[me] = time.monotonic()

    def _step(self, step: Step) -> None:
        self._steps[threading.current_thread()] = time.monotonic()
        self._at(step)

    # -- sources of ended jobs

    def _tidy(self, job: Job, folder: Folder, what: Tidy) -> object:
        return tidy_source(self._store, job, folder, what)

    def _tidy_up(self) -> None:
        now = time.monotonic()
        if now < self._next_tidy:
            return
        self._next_tidy = now + TIDY_SECONDS
        for job in self._store.untidy():
            folder = self._config().folder(job.folder)
            if folder is not None and job.tidy is not None:
                self._tidy(job, folder, job.tidy)

    def tidy_now(self) -> None:
        """Tidy at the next turn, as jobs ended without a worker (refused or adopted files)."""
        self._next_tidy = 0.0
        self.wake()


def _lease(config: Config) -> float:
    """Longer than any request can take, so that no living worker ever loses its claim."""
    return config.api.connect_timeout + 4 * config.api.read_timeout + 3600


def _longest_turn(config: Config) -> float:
    """Give the seconds after which a turn hangs: it may hold a usage call, tried twice, to a host of several addresses.

    The call's answer may take two of its read timeouts, which are 30 s at most.
    """
    return TURN_SECONDS + 2 * (4 * config.api.connect_timeout + 2 * min(config.api.read_timeout, 30.0))
