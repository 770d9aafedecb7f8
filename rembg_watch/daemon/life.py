"""The life of the daemon: all parts put together, and the order of start and stop."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import structlog

from rembg_watch import __version__, logs
from rembg_watch.config.client import client_for
from rembg_watch.daemon.arriving import enqueue
from rembg_watch.daemon.orders import Orders
from rembg_watch.daemon.places import hold_lost_inboxes, make_targets, may_be_there, prepare_state_dir, sweep
from rembg_watch.daemon.rereading import read_anew
from rembg_watch.daemon.signs import Signs
from rembg_watch.dispatch.account import Account
from rembg_watch.dispatch.dispatcher import Dispatcher
from rembg_watch.dispatch.holds import Holds
from rembg_watch.errors import ApiError, StateError
from rembg_watch.intake.adoption import Adoption
from rembg_watch.intake.intake import Intake
from rembg_watch.jobs.board import Board
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.lock import StateLock
from rembg_watch.jobs.outputs import Outputs
from rembg_watch.jobs.steering import Steering
from rembg_watch.jobs.store import JobStore
from rembg_watch.notify import Watchdog, extend, notify, reloading
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.config.model import Config
    from rembg_watch.dispatch.steps import Step
    from rembg_watch.jobs.model import Arrival

KEEP_HISTORY = 90 * 86400.0
"""Seconds for which ended jobs are remembered whose source has left the inbox."""
PULSE_SECONDS = 2.0
OPEN_SECONDS = 600.0
"""What the look through a large database may take that the run before did not close."""
SCAN_PATIENCE = 60.0
"""How long the first scan may be silent before it gets no more time to finish."""
SWEEP_PATIENCE = 5.0
"""Seconds for which the end waits for the sweep, which most often is over long before."""
PRUNE_SECONDS = 6 * 3600.0

log = structlog.get_logger()


class Daemon:
    """Everything that runs between start and stop. ``at`` is told each step of each job (tests break things there)."""

    def __init__(self, config: Config, *, at: Callable[[Step], None] = lambda _step: None) -> None:
        self.config = config
        logs.hide(config.require_key())
        prepare_state_dir(config.state_dir)
        self._lock = StateLock(config.state_dir).acquire()
        notify(STATUS="opening the job database")
        extend(OPEN_SECONDS)
        try:
            self.database = Database(config.state_dir / "jobs.db")
        except BaseException:
            self._lock.release()
            raise
        self.store = JobStore(self.database)
        self.outputs = Outputs(self.database)
        self.ledger = Ledger(self.database)
        self.board = Board(self.database)
        self.steering = Steering(self.database)
        self.holds = Holds(self.board)
        self._client = client_for(config.api, config.require_key(), pool_size=config.workers + 2)
        self.account = Account(lambda: self.config, lambda: self._client, self.ledger, self.board)
        self.dispatcher = Dispatcher(
            lambda: self.config,
            lambda: self._client,
            self.database,
            self.store,
            self.outputs,
            self.ledger,
            self.account,
            self.holds,
            again=self._look_again,
            on_turn=self._pulse,
            at=at,
        )
        self.intake = Intake(
            config.folders, self.store, self.take_in, adopt=Adoption(self.outputs), on_turn=self.dispatcher.stir
        )
        self._sweeper: threading.Thread | None = None
        self._swept = False
        self._signs = Signs(self.intake, self.dispatcher, self.account, self.holds, self.store, self.board)
        self._watchdog = Watchdog(self._unwell)
        self._orders = Orders(self._watchdog.feed)
        self._stopping = False
        self._next_pulse = 0.0
        self._next_prune = time.monotonic() + 60
        self._ready = False
        self._refused = ""
        """Why the config of the last reload was not taken over, or empty."""

    # -- start and stop

    def start(self) -> None:
        """Take back what a dead process had claimed, then send; the owner of the daemon sees to what comes in."""
        now = time.time()
        ended_cleanly = self.board.fact("clean") is True
        self.board.set_fact("clean", value=False, now=now)
        self.board.set_fact("started", {"at": now, "pid": os.getpid()}, now)
        self.store.mend_waiting(now)
        back = self.store.take_back(now)
        if back:
            log.warning("jobs.taken_back", jobs=len(back), hint="the run before ended in the middle of them")
        make_targets(self.config, self.board)
        self.holds.load(now)
        log.info(
            "started",
            version=__version__,
            config=str(self.config.path),
            state_dir=str(self.config.state_dir),
            folders=len(self.config.folders),
            workers=self.config.workers,
        )
        for warning in self.config.warnings:
            log.warning("config.warning", warning=warning)
        self._swept = ended_cleanly
        if not ended_cleanly:
            self._sweeper = threading.Thread(target=self._sweep, name="sweep", daemon=True)
            self._sweeper.start()
        self.dispatcher.start()

    def run(self) -> int:
        """Run until a signal ends it; gives the exit code."""
        self._orders.listen(self._on_stop_signal)
        try:
            self.start()
            self.intake.start()
            threading.Thread(target=self._say_ready, name="ready", daemon=True).start()
            while (order := self._orders.next()) != "stop":
                if order == "reload":
                    self.reload()
                elif order == "fatal":
                    break
        finally:
            self.stop()
        return self.dispatcher.fatal.exit_code if self.dispatcher.fatal else 0

    def _unwell(self) -> str | None:
        if self._stopping:
            return None
        return self._orders.unwell() or self.dispatcher.unwell() or self.intake.unwell()

    def _on_stop_signal(self, number: int, _frame: object) -> None:
        if self._stopping:
            os._exit(128 + number)  # asked twice: at once; the next start takes everything back
        self._stopping = True
        self._orders.give("stop")

    def _say_ready(self) -> None:
        while not self.intake.first_scan_done.wait(1.0):
            if self._stopping:
                return
            if waits_for := self.intake.waits_for():
                log.warning("ready.without_scan", folder=printable(waits_for), hint="its filesystem does not answer")
                break
            files = self.intake.counts()["settling"]
            notify(STATUS=f"first scan: {files} files to look at so far")
            if self.intake.silence < SCAN_PATIENCE:  # a scan that hangs is not waited for
                extend(30)
        self._ready = True
        log.info("ready")  # before systemd hears it: who waited for the start finds it in the journal
        notify(READY=1, STATUS="watching")
        self._look_ahead()  # only now: nobody waits for the network before we are ready

    def _look_ahead(self) -> None:
        """Ask about the account: who mistyped the key learns it at once, and not with the first photo. It is free."""
        try:
            self.account.look_ahead()
        except ApiError as error:
            if not self._stopping:
                self.dispatcher.reactions.look_failed(error)
        except StateError as error:
            if not self._stopping:
                log.error("state.cannot_write", reason=error.message, hint=error.hint)
        self._next_pulse = 0.0  # told at once
        self.dispatcher.wake()

    def stop(self) -> None:
        """End in good order."""
        self.finish()
        self.close()

    def finish(self) -> None:
        """Take nothing in any more, let what is in flight finish, give the rest back."""
        self._stopping = True
        self.dispatcher.halt()  # at once: to end intake may take a while
        grace = self.config.shutdown_grace
        flying = len(self.dispatcher.in_flight())
        notify(STOPPING=1, STATUS=f"stopping: up to {grace:g} s for {flying} photos in flight")
        log.info("stopping", grace=grace, in_flight=flying)
        extend(45)  # intake's three threads get 10 s each
        self.intake.stop()
        extend(grace + 30)
        self.dispatcher.stop(grace)
        try:
            self._publish(last=True)
            self.board.set_fact("clean", self.dispatcher.idle() and self._is_swept(), time.time())
        except StateError as error:
            log.error("state.cannot_write", reason=error.message, hint=error.hint)

    def close(self) -> None:
        """Let go of everything, once all is finished."""
        self._client.close()
        self.database.close()
        self._lock.release()
        log.info("stopped")

    def _sweep(self) -> None:
        sweep(self.config, self.store)
        self._swept = True

    def _is_swept(self) -> bool:
        """Tell whether nothing is left of a run that was killed; if not, the next run has to sweep."""
        if self._sweeper is not None:
            self._sweeper.join(SWEEP_PATIENCE)
        return self._swept

    def reload(self) -> None:
        """Take over the config file as it is now; one with mistakes is refused, and the old one goes on."""
        reloading()
        config = read_anew(self.config)
        self._refused = config if isinstance(config, str) else ""
        if not isinstance(config, str):
            try:
                self._take_over(config)
            except ApiError as error:  # no client can be made of it, as things are on this machine
                self._refused = error.message
                log.error("config.refused", reason=error.message, hint=error.hint)
            except StateError as error:
                log.error("state.cannot_write", reason=error.message, hint=error.hint)
        notify(READY=1)

    def _take_over(self, config: Config) -> None:
        logs.hide(config.key)
        old, client = self.config, self._client
        if (old.api, old.key, old.workers) != (config.api, config.key, config.workers):
            self._client = client_for(config.api, config.require_key(), pool_size=config.workers + 2)
        self.config = config  # after the client: whoever finds this config has its client, too
        self.intake.replace_folders(config.folders)
        self.intake.rescan_now()
        if (old.api, old.key) != (config.api, config.key):
            threading.Thread(target=self._look_ahead, name="look", daemon=True).start()
        try:
            make_targets(config, self.board)
        finally:  # half of a new config would be worse than what could not be written down
            if client is not self._client:
                client.close()  # requests under way go on to their end
            self.dispatcher.reload()
        log.info("reloaded", folders=len(config.folders), workers=config.workers)

    # -- what comes in

    def take_in(self, arrivals: list[Arrival]) -> None:
        """Enter finished files into the queue."""
        if enqueue(arrivals, self.config, self.store):
            self.dispatcher.tidy_now()
        self.dispatcher.wake()

    def _look_again(self, inbox: str, path: str) -> None:
        self.intake.offer(inbox, path)

    # -- signs of life, from the dispatcher's own loop

    def _pulse(self) -> None:
        now = time.monotonic()
        if now < self._next_pulse:
            return
        self._next_pulse = now + PULSE_SECONDS
        if self.dispatcher.fatal is not None:
            self._orders.give("fatal")
        self._watchdog.feed()
        if self._ready and not self._stopping:  # before what ``status`` shows, which must not be the older of the two
            self._signs.say(self._watchdog.reason, self._refused)
        self._publish()
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_SECONDS
            gone = self.steering.prune(time.time() - KEEP_HISTORY, may_be_there)
            log.info("history.pruned", jobs=gone)

    def _publish(self, *, last: bool = False) -> None:
        if hold_lost_inboxes(self.intake.roots(), self.holds):
            self.dispatcher.wake()
        self._signs.publish(last=last)
