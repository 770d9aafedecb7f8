"""From the queue to the workers: claims as many jobs as may be sent, keeps the workers busy, and ends in good order.

One thread claims. It asks for credits before each batch, while the workers are still busy with the batch before.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import structlog

from rembg_watch.dispatch.claims import Claims
from rembg_watch.dispatch.contents import Contents
from rembg_watch.dispatch.crew import Crew, spare
from rembg_watch.dispatch.line import RequestLine
from rembg_watch.dispatch.outboxes import Outboxes
from rembg_watch.dispatch.patience import lease_seconds, longest_turn
from rembg_watch.dispatch.reactions import Reactions
from rembg_watch.dispatch.renewal import end_gone_holds
from rembg_watch.dispatch.rest import Rest
from rembg_watch.dispatch.settling import Settling
from rembg_watch.dispatch.steps import Step, Tools
from rembg_watch.dispatch.target import Targets
from rembg_watch.dispatch.tidying import Tidying, tidy_source
from rembg_watch.dispatch.turns import Turns
from rembg_watch.dispatch.walltime import ClockWatch, read_clocks
from rembg_watch.dispatch.worker import Worker
from rembg_watch.errors import StateError
from rembg_watch.jobs.model import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.api.client import RembgClient
    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.account import Account
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.dispatch.report import Report
    from rembg_watch.jobs.database import Database
    from rembg_watch.jobs.ledger import Ledger
    from rembg_watch.jobs.model import Job
    from rembg_watch.jobs.outputs import Outputs
    from rembg_watch.jobs.store import JobStore

FAILED_SECONDS = 1.0
"""The sleep after a turn that failed."""

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
        self._account = account
        self._holds = holds
        self._clock = clock
        self._on_turn = on_turn
        self._line = RequestLine(config().api.max_per_second, config().workers)
        self._clock_watch = ClockWatch(*read_clocks(clock))
        self._outboxes = Outboxes()
        self._rest = Rest()
        self._tidying = Tidying(store, config)
        self.reactions = Reactions(holds, account, self._line, self._outboxes, clock)
        self._crew = Crew(self._work, self._settle, self.wake, clock)
        self._turns = Turns(config, holds, self.reactions, self._line, self._crew)
        self._worker = Worker(
            Tools(
                config=config,
                client=client,
                store=store,
                outputs=outputs,
                targets=Targets(outputs),
                contents=Contents(),
                outbox_problem=partial(self._outboxes.problem, by_writing=False),
                turn=self._turns.turn,
                healthy=self.reactions.healthy,
                sent=account.sent,
                unpark=self._crew.put,
                tidy=partial(tidy_source, store),
                again=again,
                credits_left=account.left,
                clock=clock,
                at=self._step,
            )
        )
        self._at = at
        self._orphans: deque[Job] = deque()
        """Claimed jobs that nobody works on, to be given back as soon as that can be written down."""
        self._claims = Claims(
            config, store, ledger, account, holds, self.reactions, self._crew, self._give_back, self._orphans, clock
        )
        self._settling = Settling(config, account, holds, self.reactions, self._claims, self._orphans, clock)
        self._stopping = self._started = False
        self._thread = threading.Thread(target=self._run, name="dispatch", daemon=True)
        self._seen_change = -1
        self.beat = time.monotonic()
        self.fatal: StateError | None = None
        """Why the dispatcher gave up, or None."""

    # -- for the daemon

    def start(self) -> None:
        """Start the workers and the claims."""
        self.reload()
        self._thread.start()

    def reload(self) -> None:
        """Take over a new config: workers, pace, folders; holds on what is gone or was corrected end.

        Raises:
            StateError: not all of it could be written down; it is taken over all the same.
        """
        config = self._config()
        self._settling.renewed()
        self._outboxes.forget()
        self._turns.renew()
        self._line.reload(config.api.max_per_second, config.workers)
        self._crew.resize(config.workers + spare(config.workers))
        self._holds.look_now(self._clock())
        self._started = True
        self._settling.drop(self._crew.recall())  # permits are given anew, by the limits of now
        self._claims.reload()
        end_gone_holds(config, self._holds)
        for folder in config.folders:
            if problem := self._outboxes.problem(str(folder.outbox)):
                self.reactions.hold_outbox(str(folder.outbox), problem)
        self.wake()

    def wake(self) -> None:
        """Look for work now."""
        self._rest.wake()

    def stir(self) -> None:
        """Say that something goes on elsewhere: what is told of it is told at the usual pace again."""
        self._rest.stir()

    def tidy_now(self) -> None:
        """Tidy at the next turn, as jobs ended without a worker (refused or adopted files)."""
        self._tidying.soon()
        self.wake()

    def halt(self) -> None:
        """Claim and send nothing more from now on; what is in flight goes on."""
        self._stopping = True
        self._line.close()
        self._crew.halt()
        self._rest.wake()

    def stop(self, grace: float) -> None:
        """Halt, let what is in flight finish for ``grace`` seconds, then give the rest back."""
        self.halt()
        if self._thread.ident is not None:  # a start that failed also stops
            self._thread.join(10)
        rest = [*self._crew.stop(grace), *self._orphans]
        for job in rest:
            self._give_back(job)
        if rest:
            log.info("dispatch.given_back", jobs=len(rest))

    def idle(self) -> bool:
        """Tell whether nothing is claimed."""
        return not self._crew.claimed() and not self._orphans

    def open_work(self) -> int:
        """Count the jobs that can still end without anything from outside: those that are not held."""
        return self._store.open_count(
            folders=self._claims.held_folders(), profiles=self._holds.scopes("profile:"), able=True
        )

    def unwell(self) -> str | None:
        """Say which loop has died, or has been at one thing far longer than that can take; None while all are well."""
        if self._stopping or self.fatal is not None or not self._started:
            return None
        if not self._thread.is_alive():
            return "the dispatcher has died"
        if (seconds := time.monotonic() - self.beat) > longest_turn(self._config()):
            return f"the dispatcher hangs: it has been at one turn for {seconds:.0f} s"
        return self._crew.unwell(lease_seconds(self._config()))

    def in_flight(self) -> list[tuple[Job, float]]:
        """Give the jobs whose photo is on its way to its answer, with the Unix time since when."""
        return self._crew.flying()

    def done_last_minute(self) -> int:
        """Count the jobs that were done in the last 60 s."""
        return self._crew.done_last_minute()

    def pace(self) -> float | None:
        """Give the pace that is in force, in requests a second; None while no limit is known."""
        return self._line.limit()

    # -- for the claiming thread, and for the workers

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
                self._rest.sleep(FAILED_SECONDS)
            except Exception:
                log.exception("dispatch.loop_failed", hint="it goes on")
                self._rest.sleep(FAILED_SECONDS)

    def _turn_around(self) -> None:
        self._on_turn()
        self._look_at_the_clock()
        self._look_outside()
        self._holds.tell()
        while self._orphans:
            self._give_back(self._orphans[0])
            self._orphans.popleft()
        self.reactions.probe()
        self._tidying.turn()
        config = self._config()
        jobs = [] if self._stopping else self._claims.next_batch()
        if self._config() is not config:  # they may have been claimed by the limits of before
            self._crew.leave(jobs)
            self._settling.drop(jobs)
            return
        for job in jobs:
            self._crew.put(job)
        if jobs:
            self._rest.stirred()
        else:
            self._rest.sleep(self._seconds_to_next(), self._has_news)

    def _has_news(self) -> bool:
        self.beat = time.monotonic()
        return self._look_at_the_clock() or self._database.changed() != self._seen_change

    def _look_at_the_clock(self) -> bool:
        now, steady = read_clocks(self._clock)
        jump = self._clock_watch.look(now, steady)
        if jump:
            log.warning("clock.jumped", seconds=round(jump), hint="what waits is shifted by as much")
            self._holds.shift(jump, now)
            self._account.shift(jump)
            self._store.shift_waiting(jump, self._clock_watch.since, now)  # last: it alone can fail
        return bool(jump)

    def _look_outside(self) -> None:
        if (change := self._database.changed()) != self._seen_change:
            self._seen_change = change
            self._holds.reload_pause()

    def _seconds_to_next(self) -> float:
        now = self._clock()
        times = [self._holds.next_check(), self._store.next_due()]
        look = self._rest.look_seconds(busy=self._crew.claimed() > 0 or self._store.ready())
        # What is due already and was not taken is held, or waits for a worker, who wakes us: only the future counts.
        soonest = min((at for at in times if at is not None and at > now), default=now + look)
        return max(0.005, min(look, soonest - now))

    def _give_back(self, job: Job) -> None:
        try:
            self._store.end(job, State.QUEUED, self._clock(), keep_answer=True)
        except StateError as error:
            if not self._stopping:
                raise
            log.error("dispatch.give_back_failed", job=job.id, reason=error.message, hint="the next start does it")

    def _work(self, job: Job) -> Report:
        return self._worker.run(job)

    def _settle(self, job: Job, report: Report) -> None:
        self._settling.settle(job, report)

    def _step(self, step: Step) -> None:
        self._crew.step_made()
        self._at(step)
