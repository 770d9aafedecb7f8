"""The producer: takes jobs from the queue, no more than there are free executors, and hands them on.

One thread. It asks the queue only for what may be sent: folders and profiles of the config that are not held. Among
folders of one priority it takes turns, and within each the oldest job goes first, so that a large drop in one folder
does not keep the others waiting.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import structlog

from rembg_watch import clock
from rembg_watch.dispatch.budget import day_start
from rembg_watch.dispatch.holds import ALL, INBOX, OUTBOX, PROFILE
from rembg_watch.errors import StateError
from rembg_watch.fsutil import mount_of, read_mounts
from rembg_watch.systemd import watchdog_seconds

if TYPE_CHECKING:
    from rembg_watch.config.model import Config, Folder
    from rembg_watch.dispatch.budget import Account
    from rembg_watch.dispatch.completer import Completers
    from rembg_watch.dispatch.executor import Executors
    from rembg_watch.dispatch.runtime import Components
    from rembg_watch.jobs.model import Job
    from rembg_watch.jobs.status_table import StatusTable
    from rembg_watch.systemd import Heartbeats, Watchdog

LOOK_SECONDS = 5.0
"""Between two looks whether another process (``pause``, ``jobs retry``) has changed the database."""
GATHER = 0.004
"""Seconds from a wake-up to the turn: executors and completers wake the producer in bursts."""
TURN_SECONDS = 60.0
"""What one turn may take at most."""

log = structlog.get_logger()


class Producer:
    """Claims jobs for the executors. ``set`` (through ``Components.wake_producer``) makes it look at once."""

    def __init__(
        self,
        parts: Components,
        executors: Executors,
        completers: Completers,
        account: Account,
        table: StatusTable,
        heartbeats: Heartbeats,
        watchdog: Watchdog,
    ) -> None:
        self._parts = parts
        self._executors = executors
        self._completers = completers
        self._account = account
        self._table = table
        self._heartbeats = heartbeats
        self._watchdog = watchdog
        self._change = -1
        self._asked_again = False
        self._network: frozenset[str] = frozenset()
        self._last_served = ""
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def reload(self, config: Config) -> None:
        """Find out which inboxes are on network filesystems."""
        mounts = read_mounts()
        inboxes = [str(folder.inbox) for folder in config.folders]
        self._network = frozenset(
            inbox for inbox in inboxes if (mount := mount_of(inbox, mounts)) is not None and mount.is_network
        )

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, after the live runtime was stopped."""
        if self._thread.ident is not None:  # a start that failed stops as well
            self._thread.join(seconds)

    def _run(self) -> None:
        wake, live = self._parts.wake_producer, self._parts.live
        while not live.stopping:
            self._heartbeats.beat("producer", within=TURN_SECONDS)
            self._watchdog.feed()
            try:
                wake.clear()
                seconds = 0.0 if self._turn() else self._seconds_to_next()
            except StateError as error:
                self._parts.wake_daemon.set()  # it may be damaged
                if not live.stopping:
                    log.error("state.trouble", reason=error.message, hint=error.hint)
                seconds = 1.0
            except Exception:
                log.exception("producer.failed", hint="it goes on")
                seconds = 1.0
            if seconds and not live.stopping:
                wake.wait(seconds)
                time.sleep(GATHER)  # not on the event: each photo would wake this thread several times
        self._heartbeats.clear("producer")

    def _turn(self) -> bool:
        """Hand on what may be sent now; return whether there may be more."""
        parts, config = self._parts, self._parts.live.config
        if (change := parts.database.changed()) != self._change:
            self._change = change
            parts.holds.reload_commands(self._table)
        self._end_holds(config)
        free = self._executors.free
        if free <= 0 or parts.live.stopping:
            return False
        jobs = self._select(config, free)
        if not jobs:
            return False
        count = self._permitted(config) - parts.claims.unsent()
        jobs = jobs[: max(0, count)]
        reserved = self._executors.reserve(len(jobs))
        jobs = jobs[:reserved]
        if not jobs:
            return False
        self._last_served = jobs[-1].folder
        parts.claims.add(jobs)
        self._ask_in_time()
        self._executors.submit(jobs)
        return True

    # -- what may be sent

    def _select(self, config: Config, most: int) -> list[Job]:
        """Return up to ``most`` jobs that may be sent, in the order in which they should be."""
        holds = self._parts.holds
        if (capacity := holds.capacity([ALL])) is not None:
            most = min(most, capacity)
        chosen: list[Job] = []
        for priority in sorted({folder.priority for folder in config.folders}, reverse=True):
            if len(chosen) >= most:
                break
            folders = [folder for folder in config.folders if folder.priority == priority]
            chosen += self._take_turns(self._rotated(folders), most - len(chosen))
        return chosen

    def _rotated(self, folders: list[Folder]) -> list[Folder]:
        """Return the folders in turn, the one behind the last served first."""
        names = [str(folder.inbox) for folder in folders]
        at = names.index(self._last_served) + 1 if self._last_served in names else 0
        return folders[at:] + folders[:at]

    def _take_turns(self, folders: list[Folder], most: int) -> list[Job]:
        waiting = [deque(jobs) for folder in folders if (jobs := self._of_folder(folder, most))]
        chosen: list[Job] = []
        while waiting and len(chosen) < most:
            for of_folder in list(waiting):
                if len(chosen) < most:
                    chosen.append(of_folder.popleft())
                if not of_folder:
                    waiting.remove(of_folder)
        return chosen

    def _of_folder(self, folder: Folder, most: int) -> list[Job]:
        """Return the jobs of one folder that may be sent, the oldest first."""
        parts, inbox, outbox = self._parts, str(folder.inbox), str(folder.outbox)
        capacity = parts.holds.capacity([f"{INBOX}{inbox}", f"{OUTBOX}{outbox}"])
        if capacity is not None:
            most = min(most, capacity)
        if inbox in self._network:  # a dead share must not take all executors
            most = min(most, max(1, parts.live.config.workers // 2) - parts.claims.unsent(inbox))
        if most <= 0 or not self._completers.has_room(outbox):
            return []
        fingerprints = []
        for fingerprint in folder.fingerprints:
            room = parts.holds.capacity([f"{PROFILE}{fingerprint}"])
            if room == 1:
                most = 1
            if room != 0:
                fingerprints.append(fingerprint)
        return parts.queue.ready(inbox, fingerprints, clock.now(), most, parts.claims.ids())

    def _permitted(self, config: Config) -> int:
        """Return how many images the account and the limits allow now; hold everything where it is none."""
        parts, runtime = self._parts, self._parts.live.current
        retry = parts.holds.timings.usage_retry
        if parts.budget.needs_reading(runtime, retry):
            self._account.want()
            return 0
        self._ask_in_time()
        grant = parts.budget.grant(config, time.time())
        if grant.count > 0:
            self._asked_again = False
            return grant.count
        if parts.rate.in_flight or parts.claims.unsent():
            return 0  # what turns out not to be charged may be given again
        if grant.kind == "credits" and parts.budget.is_cautious and not self._asked_again:
            self._asked_again = True  # what was under way at the last reading was counted twice, to be safe
            self._account.want()
            return 0
        self._asked_again = False
        check = parts.holds.timings.check * random.uniform(0.8, 1.0)  # noqa: S311 - spreads many machines' checks
        parts.holds.hold(ALL, grant.kind, grant.message, grant.release, check_in=check)
        return 0

    def _ask_in_time(self) -> None:
        """Ask the account for the next batch while the last photos of this one are being sent."""
        parts = self._parts
        if parts.budget.runs_short(parts.live.current, parts.holds.timings.usage_retry, parts.claims.unsent()):
            self._account.want()

    # -- holds that only the clock ends

    def _end_holds(self, config: Config) -> None:
        """Admit one photo of each refused profile as a trial, and end the daily limits of folders that are over."""
        holds = self._parts.holds
        for hold, _ in holds.due(PROFILE):
            holds.half_open(hold.scope, hold.kind)
        for hold, _ in holds.due(ALL):
            if hold.kind == "full":
                if self._parts.results.has_room():
                    holds.release(ALL, "full")
                else:
                    holds.postpone(ALL, "full", holds.timings.check)
        now = time.time()
        for hold, _ in holds.due(INBOX):
            folder = config.folder(hold.scope.removeprefix(INBOX))
            limit = None if folder is None else folder.daily_limit
            if hold.kind != "daily-limit":
                continue
            spent = self._parts.ledger.spent_in_period(day_start(now), now, hold.scope.removeprefix(INBOX))
            if limit is None or spent < limit:
                holds.release(hold.scope, hold.kind)
            else:
                holds.postpone(hold.scope, hold.kind, holds.timings.check)

    def _seconds_to_next(self) -> float:
        now, holds = clock.now(), self._parts.holds
        due = self._parts.queue.next_due() if self._executors.free else None
        times = [due, *(holds.next_check(scope) for scope in (PROFILE, INBOX, ALL))]
        # What is due already and was not taken is held, or waits for an executor, who wakes us: only the future counts.
        soonest = min((at for at in times if at is not None and at > now), default=now + LOOK_SECONDS)
        longest = LOOK_SECONDS if (limit := watchdog_seconds()) is None else min(LOOK_SECONDS, limit / 4)
        return max(0.005, min(longest, soonest - now))
