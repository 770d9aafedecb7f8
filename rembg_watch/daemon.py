"""The one place where everything is put together: start and stop order, signals, reload."""

from __future__ import annotations

import os
import queue
import select
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from rembg_watch import __version__, logs
from rembg_watch.api.client import RembgClient
from rembg_watch.config.load import load_config
from rembg_watch.delivery.files import temp_name
from rembg_watch.delivery.sweep import sweep_temps
from rembg_watch.dispatch.account import Account
from rembg_watch.dispatch.dispatcher import Dispatcher
from rembg_watch.dispatch.holds import Holds, inbox_scope
from rembg_watch.dispatch.tidying import wish
from rembg_watch.errors import ConfigError, StateError
from rembg_watch.intake.adoption import Adoption
from rembg_watch.intake.inbox import Health
from rembg_watch.intake.intake import Intake
from rembg_watch.jobs.arrivals import Accepted
from rembg_watch.jobs.board import Board
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.lock import StateLock
from rembg_watch.jobs.outputs import Outputs
from rembg_watch.jobs.steering import Steering
from rembg_watch.jobs.store import JobStore
from rembg_watch.notify import Watchdog, extend, notify, reloading, watchdog_seconds
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rembg_watch.config.model import Config, Folder
    from rembg_watch.dispatch.steps import Step
    from rembg_watch.jobs.model import Arrival

KEEP_HISTORY = 90 * 86400.0
"""Seconds for which ended jobs are remembered whose source has left the inbox."""
PULSE_SECONDS = 2.0
OPEN_SECONDS = 600.0
"""What the look through a large database may take that the run before did not close."""
ORDER_SECONDS = 300.0
"""What a reload may take at most."""
SCAN_PATIENCE = 60.0
"""How long the first scan may be silent before it gets no more time to finish."""
PRUNE_SECONDS = 6 * 3600.0

LOST = "inbox"
"""The kind of the hold on an inbox that is missing, unmounted or silent."""

log = structlog.get_logger()


def prepare_state_dir(state_dir: Path) -> None:
    """Make the state directory, for our eyes only.

    Raises:
        StateError: it can't be made, or others could write to it.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = state_dir.stat().st_mode
    except OSError as error:
        raise StateError(
            f"can't make the state directory {state_dir}: {error.strerror}",
            "Set state_dir to a folder we may write to.",
        ) from error
    if mode & 0o002:
        raise StateError(f"others can write to the state directory {state_dir}", f"Run: chmod o-w {state_dir}")


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
        self._client = _client(config)
        self._retired: list[RembgClient] = []
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
        self.intake = Intake(config.folders, self.store, self.take_in, adopt=Adoption(self.outputs))
        self._orders: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        """Rings for each order and each signal. Never closed: a late signal must not ring elsewhere."""
        self._stopping = False
        self._next_pulse = 0.0
        self._next_prune = time.monotonic() + 60
        self._published: tuple[object, ...] = ()
        self._ready = False
        self._order_beat = float("inf")
        self._refused = ""
        """Why the config of the last reload was not taken over, or empty."""
        self._said = ""
        self._watchdog = Watchdog(self._unwell)

    # -- start and stop

    def start(self) -> None:
        """Take back what a dead process had claimed, then watch, scan and send."""
        now = time.time()
        ended_cleanly = self.board.fact("clean") is True
        self.board.set_fact("clean", value=False, now=now)
        self.board.set_fact("started", {"at": now, "pid": os.getpid()}, now)
        self.store.mend_waiting(now)
        back = self.store.take_back(now)
        if back:
            log.warning("jobs.taken_back", jobs=len(back), hint="the run before ended in the middle of them")
        self.make_folders()
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
        if not ended_cleanly:
            threading.Thread(target=self._sweep, name="sweep", daemon=True).start()
        self.dispatcher.start()

    def _sweep(self) -> None:
        """Clear away what a killed process left behind; what a job still knows of stays."""

        def kept(name: str) -> bool:
            return name in {os.path.basename(path) for path in self.store.temps()}

        roots = {
            str(root)
            for folder in self.config.folders
            for root in (folder.outbox, folder.archive, folder.failed, folder.inbox)
            if root is not None
        }
        for root in sorted(roots):
            for path in sweep_temps(root, kept):
                log.info("swept", path=printable(path))
        for spooled in (self.config.state_dir / "spool").glob("*.part"):
            if not kept(spooled.name) and not kept(temp_name(spooled.stem)):  # the row still names the temporary file
                spooled.unlink(missing_ok=True)

    def make_folders(self) -> None:
        """Make the outboxes, archives and failed folders that were never there before.

        One that was there once and is gone is not made again: that is an unmounted disk, and a hold.
        """
        known = set(self.board.fact("targets") or [])
        for folder in self.config.folders:
            for target in (folder.outbox, folder.archive, folder.failed):
                if target is None or str(target) in known:
                    continue
                try:
                    target.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    log.warning("folder.cannot_make", path=str(target), reason=error.strerror)
                else:
                    known.add(str(target))
        self.board.set_fact("targets", sorted(known), time.time())

    def run(self) -> int:
        """Run until a signal ends it; gives the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGHUP, lambda *_: self._order("reload"))
        signal.set_wakeup_fd(self._bell[1], warn_on_full_buffer=False)
        try:
            self.start()
            self.intake.start()
            threading.Thread(target=self._say_ready, name="ready", daemon=True).start()
            while (order := self._next_order()) != "stop":
                if order == "reload":
                    self.reload()
                elif order == "fatal":
                    break
        finally:
            self.stop()
        return self.dispatcher.fatal.exit_code if self.dispatcher.fatal else 0

    def _next_order(self) -> str:
        while True:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                pass
            else:
                self._order_beat = time.monotonic()
                return order
            self._order_beat = float("inf")  # it may wait for months
            self._watchdog.feed()
            limit = watchdog_seconds()
            # Not on the queue itself: a signal that comes right before such a wait is only seen after it.
            select.select([self._bell[0]], [], [], None if limit is None else limit / 4)
            with suppress(BlockingIOError):
                os.read(self._bell[0], 4096)

    def _order(self, what: str) -> None:
        self._orders.put(what)
        with suppress(OSError):  # full: it rings already; closed: nobody takes orders any more
            os.write(self._bell[1], b"!")

    def _unwell(self) -> str | None:
        if self._stopping:
            return None
        if (seconds := time.monotonic() - self._order_beat) > ORDER_SECONDS:
            return f"a reload hangs for {seconds:.0f} s"
        return self.dispatcher.unwell() or self.intake.unwell()

    def _on_stop_signal(self, number: int, _frame: object) -> None:
        if self._stopping:
            os._exit(128 + number)  # asked twice: at once; the next start takes everything back
        self._stopping = True
        self._order("stop")

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
        notify(READY=1, STATUS="watching")
        log.info("ready")

    def stop(self) -> None:
        """End in good order: take nothing in, let what is in flight finish, give the rest back."""
        self._stopping = True
        grace = self.config.shutdown_grace
        flying = len(self.dispatcher.in_flight())
        notify(STOPPING=1, STATUS=f"stopping: up to {grace:g} s for {flying} photos in flight")
        log.info("stopping", grace=grace, in_flight=flying)
        extend(45)  # intake's three threads get 10 s each
        self.intake.stop()
        extend(grace + 30)
        self.dispatcher.stop(grace)
        try:
            self._publish(force=True)
            self.board.set_fact("clean", self.dispatcher.idle(), time.time())
        except StateError as error:
            log.error("state.cannot_write", reason=error.message, hint=error.hint)
        for client in (*self._retired, self._client):
            client.close()
        self.database.close()
        self._lock.release()
        log.info("stopped")

    def reload(self) -> None:
        """Take over the config file as it is now; one with mistakes is refused, and the old one goes on."""
        reloading()
        self._refused = ""
        try:
            config = load_config(self.config.path)
            config.require_key()
            if config.state_dir != self.config.state_dir:
                raise ConfigError([f"{config.path}: state_dir: can't change while running; restart for that"])
        except ConfigError as error:
            self._refused = error.problems[0]
            for problem in error.problems:
                log.error("config.mistake", problem=problem)
            log.error("config.refused", hint="The config before goes on. Correct the file and reload again.")
        except OSError as error:
            self._refused = str(error)
            log.error("config.refused", reason=str(error), hint="The config before goes on.")
        else:
            try:
                self._take_over(config)
            except StateError as error:
                log.error("state.cannot_write", reason=error.message, hint=error.hint)
        notify(READY=1)

    def _take_over(self, config: Config) -> None:
        logs.hide(config.key)
        old, self.config = self.config, config
        if (old.api, old.key, old.workers) != (config.api, config.key, config.workers):
            self._retired.append(self._client)
            self._client = _client(config)
        self.intake.replace_folders(config.folders)
        self.intake.rescan_now()
        self.make_folders()
        self.dispatcher.reload()
        log.info("reloaded", folders=len(config.folders), workers=config.workers)

    # -- what comes in

    def take_in(self, arrivals: list[Arrival]) -> None:
        """Enter finished files into the queue."""
        config = self.config
        with_wishes = [_with_wish(arrival, config.folder(arrival.folder)) for arrival in arrivals]
        outcomes = self.store.enqueue(with_wishes, time.time())
        for arrival, outcome in zip(with_wishes, outcomes, strict=True):
            where = {"folder": printable(arrival.folder), "path": printable(arrival.path)}
            if outcome is Accepted.REFUSED and arrival.refusal is not None:
                log.warning("job.refused", **where, code=arrival.refusal.code, reason=arrival.refusal.message)
            elif outcome is Accepted.ADOPTED:
                log.info("job.adopted", **where, output=printable(arrival.adopt or ""))
            else:
                log.debug("job.queued", **where, outcome=outcome.value)
        if any(arrival.tidy for arrival in with_wishes):
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
            self._order("fatal")
        self._watchdog.feed()
        self._publish()
        if self._ready and not self._stopping and (summary := self._summary()) != self._said:
            self._said = summary
            notify(STATUS=summary)
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_SECONDS
            gone = self.steering.prune(time.time() - KEEP_HISTORY, _is_there)
            log.info("history.pruned", jobs=gone)

    def _publish(self, *, force: bool = False) -> None:
        """Write what ``status`` shows, where it has changed."""
        now = time.time()
        unready = self.intake.unready()[:2000]
        roots = [status._asdict() for status in self.intake.roots()]
        self._hold_lost_inboxes()
        facts = {
            "pid": os.getpid(),
            "version": __version__,
            "in_flight": [
                {"job": job.id, "folder": printable(job.folder), "path": printable(job.path), "since": since}
                for job, since in self.dispatcher.in_flight()
            ]
            if not force
            else [],
            "done_last_minute": self.dispatcher.done_last_minute(),
            "per_second": self.dispatcher.pace(),
            "roots": roots,
            "found_by_rescan": self.intake.found_by_rescan,
            "unready": self.intake.counts(),
        }
        listed = [(file.folder, file.path, file.state, file.reason) for file in unready]
        if not force and self._published == (facts, listed):
            return
        if not self._published or self._published[1] != listed:
            self.board.show_unready(unready)
        self._published = (facts, listed)
        self.board.set_fact("daemon", {**facts, "updated_at": now}, now)

    def _hold_lost_inboxes(self) -> None:
        """Photos of an inbox that is not there wait; they are not gone."""
        for root in self.intake.roots():
            scope = inbox_scope(root.inbox)
            if root.health is not Health.OK:
                self.holds.hold(scope, LOST, root.message, "it is looked at every 2 s", now=time.time(), check_in=None)
            elif self.holds.has(scope, LOST) and self.holds.release(scope, LOST):
                self.dispatcher.wake()

    def _summary(self) -> str:
        """Say in one line how it goes, what is wrong first: ``systemctl status`` shows it."""
        holds = self.holds.all()
        left = self.account.left()
        words = [f"not well: {self._watchdog.reason}"] if self._watchdog.reason else []
        words += [f"new config refused: {self._refused}"] if self._refused else []
        words += [
            f"{root.inbox} is {root.health}: {root.message}" for root in self.intake.roots() if root.health != "ok"
        ]
        words += [f"held: {hold.message}" for hold in holds]
        words += [
            f"{self.store.open_count()} to do",
            f"{self.dispatcher.done_last_minute()} done in the last minute",
            "credits unknown" if left is None else f"{left} credits",
        ]
        return "; ".join(words)


def _client(config: Config) -> RembgClient:
    return RembgClient(
        config.require_key(),
        url=config.api.url,
        usage_url=config.api.usage_url,
        connect_timeout=config.api.connect_timeout,
        read_timeout=config.api.read_timeout,
        pool_size=config.workers + 2,
    )


def _with_wish(arrival: Arrival, folder: Folder | None) -> Arrival:
    """Add what is to become of the source of a job that ends as it begins."""
    if folder is None or (arrival.refusal is None and arrival.adopt is None):
        return arrival
    return replace(arrival, tidy=wish(folder, failed=arrival.refusal is not None))


def _is_there(folder: str, path: str) -> bool:
    """Tell whether a file may still be in its inbox; an inbox that is not there itself proves nothing."""
    return os.path.lexists(os.path.join(folder, path)) or not os.path.isdir(folder)
