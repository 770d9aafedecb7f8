"""The daemon: the one place where everything is put together, and the main loop that looks after it.

Threads: the main thread is the maintenance loop (signals, reload, status, watchdog, pruning). The watcher has its own
threads. The *producer* takes jobs from the queue, *executors* read and send photos and verify answers, a *completer*
for each outbox delivers them, and the *account* thread asks for the credits.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import asdict, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import structlog

from rembg_watch import __version__, clock, logs, startup
from rembg_watch.config.client import client_for
from rembg_watch.config.load import load_config
from rembg_watch.dispatch.budget import Account, Budget
from rembg_watch.dispatch.claims import Claims
from rembg_watch.dispatch.completer import Completers
from rembg_watch.dispatch.executor import Executors
from rembg_watch.dispatch.holds import INBOX, OUTBOX, PROFILE, Holds, Timings
from rembg_watch.dispatch.outboxes import Outboxes
from rembg_watch.dispatch.producer import Producer
from rembg_watch.dispatch.rate import RateLimiter
from rembg_watch.dispatch.recovery import recover, sweep_untidy
from rembg_watch.dispatch.results import SHORTAGE, Results
from rembg_watch.dispatch.runtime import Components, LiveRuntime, Runtime
from rembg_watch.dispatch.steps import no_failpoint
from rembg_watch.dispatch.targets import Targets
from rembg_watch.dispatch.tidying import disposition
from rembg_watch.errors import ApiError, ConfigError, StateError
from rembg_watch.intake.adoption import Adoption
from rembg_watch.intake.intake import Intake
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.ledger import Ledger
from rembg_watch.jobs.lock import StateLock
from rembg_watch.jobs.model import Hold
from rembg_watch.jobs.outputs import Outputs
from rembg_watch.jobs.queries import Queries
from rembg_watch.jobs.queue import Accepted, Queue
from rembg_watch.jobs.status_table import TOO_MANY, StatusTable
from rembg_watch.printable import printable
from rembg_watch.status import Publisher
from rembg_watch.systemd import Heartbeats, Watchdog, extend, notify, reloading, watchdog_seconds

if TYPE_CHECKING:
    from types import FrameType

    from rembg_watch.config.model import Config, Folder
    from rembg_watch.dispatch.steps import Failpoint
    from rembg_watch.jobs.model import Arrival

KEEP_HISTORY = 90 * 86400.0
"""Seconds for which ended jobs are kept whose source has left the inbox."""
PULSE_SECONDS = 2.0
"""Between two turns of the main loop while something happens."""
IDLE_PULSE_SECONDS = 5.0
READY_SECONDS = 0.1
"""Between two looks whether the first scan is through."""
PRUNE_SECONDS = 3600.0
OPEN_SECONDS = 600.0
"""What the check of a large database may take after an unclean end."""
SCAN_PATIENCE = 60.0
"""How long the first scan may be silent before it gets no more time to finish."""
NOTE_SECONDS = 1.0
"""How long a stop waits until it is noted as one; a full disk must not hold it up."""
RELOAD_SECONDS = 300.0
"""What a turn of the main loop, such as a reload, may take at most."""
BRAKE_SECONDS = 600.0
"""The time in which ``hold_above`` counts new photos."""

log = structlog.get_logger()


class Wakeup:
    """A pipe that wakes the main loop: from other threads by ``set``, and by signals. Never closed."""

    def __init__(self) -> None:
        self._read, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def set(self) -> None:
        """End the wait, now or the next one."""
        with suppress(OSError):  # full: it is set already
            os.write(self.write_end, b"!")

    def wait(self, seconds: float) -> None:
        """Wait until ``set``, a signal, or for so many seconds."""
        select.select([self._read], [], [], seconds)
        with suppress(BlockingIOError):
            os.read(self._read, 4096)


class Daemon:
    """Everything between start and stop. ``failpoint`` is called at each step of each job (tests break things there).

    Raises:
        StateError: the state directory can't be used; AlreadyRunning: another daemon uses it.
    """

    def __init__(self, config: Config, *, failpoint: Failpoint = no_failpoint, timings: Timings | None = None) -> None:
        logs.hide(config.require_key())
        startup.prepare_state_dir(config.state_dir)
        self._lock = StateLock(config.state_dir).acquire()
        notify(STATUS="opening the job database")
        extend(OPEN_SECONDS)
        try:
            self.database = Database(config.state_dir / "jobs.db")
        except BaseException:
            self._lock.release()
            raise
        self.queue = Queue(self.database)
        self.queries = Queries(self.database)
        self.ledger = Ledger(self.database)
        self.table = StatusTable(self.database)
        self.outputs = Outputs(self.database)
        self._wakeup = Wakeup()
        producer_wakeup = threading.Event()
        self.live = LiveRuntime(_runtime(config))
        self.holds = Holds(timings or Timings(), producer_wakeup, self._wakeup)
        self.budget = Budget(self.ledger)
        self.results = Results(config.state_dir, self.queue, config.results)
        self._heartbeats = Heartbeats()
        self._watchdog = Watchdog(self.unhealthy)
        self._parts = Components(
            live=self.live,
            database=self.database,
            queue=self.queue,
            outputs=self.outputs,
            ledger=self.ledger,
            results=self.results,
            holds=self.holds,
            rate=RateLimiter(config.workers, config.api.max_per_second),
            budget=self.budget,
            claims=Claims(producer_wakeup),
            targets=Targets(self.outputs),
            outboxes=Outboxes(),
            instance=self.table.fact("instance") or "0",
            rescans=SimpleQueue(),
            wake_daemon=self._wakeup,
            wake_producer=producer_wakeup,
            failpoint=failpoint,
        )
        self.completers = Completers(self._parts)
        self.executors = Executors(self._parts, self.completers)
        self.account = Account(self._parts, self.table, self._heartbeats)
        self.producer = Producer(
            self._parts,
            self.executors,
            self.completers,
            self.account,
            self.table,
            self._heartbeats,
            self._watchdog,
        )
        self.intake = Intake(config.folders, self.queue, self.take_in, adopt=Adoption(self.outputs))
        self._publisher = Publisher(self._parts, self.intake, self.table, self.queries)
        self._orders: SimpleQueue[str] = SimpleQueue()
        self._stopping = self._ready = self._started = False
        self._next_pulse = 0.0
        self._next_prune = time.monotonic() + 60
        self._new_photos: dict[str, deque[tuple[float, int]]] = {}
        """By inbox: when new photos came, and how many."""
        self._braked: set[str] = set()
        self.refused = ""
        """Why the config of the last reload was not taken over, or empty."""

    @property
    def config(self) -> Config:
        """The config in force."""
        return self.live.config

    # -- start

    def start(self) -> None:
        """Recover what the process before left, then begin to send; the caller starts the watching."""
        now, config = clock.now(), self.config
        ended_cleanly = self.table.fact("clean") is True
        crashed = not ended_cleanly and self.table.fact("stopping") is not True
        self.table.set_fact("clean", value=False, now=now)
        self.table.set_fact("stopping", value=False, now=now)
        self.table.set_fact("started", {"at": time.time(), "pid": os.getpid()}, now)
        self.database.commit_or_block()
        self.queue.mend_waiting(now)
        startup.make_targets(config, self.table)
        self.results.load_keys()
        if recovered := recover(self.queue, self.results, config, crashed=crashed, instance=self._parts.instance):
            log.warning("jobs.recovered", jobs=recovered, hint="the run before ended while they were being sent")
        if not ended_cleanly:
            sweep_untidy(self.queue, config)
        if self.table.fact("swept") is not True:
            threading.Thread(target=self._sweep, args=(config,), name="sweep", daemon=True).start()
        self.holds.load(self.table)
        log.info(
            "started",
            version=__version__,
            config=str(config.path),
            state_dir=str(config.state_dir),
            folders=len(config.folders),
            workers=config.workers,
        )
        for warning in config.warnings:
            log.warning("config.warning", warning=warning)
        self._apply(config)
        self._started = True
        self.account.start()
        self.producer.start()

    def _sweep(self, config: Config) -> None:
        """Remove what a run with another job database left; a run that ends before leaves that to the next one."""
        startup.sweep(config)
        with suppress(StateError):  # the run has ended meanwhile
            self.table.set_fact("swept", value=True, now=clock.now())

    def _apply(self, config: Config) -> None:
        """Apply the config in force to every part."""
        self.queue.refresh_profiles(self.live.current.options_of)
        self.results.limits = config.results
        self._parts.rate.reload(config.workers, config.api.max_per_second)
        self.holds.drop_unused(
            {
                *(f"{PROFILE}{fingerprint}" for folder in config.folders for fingerprint in folder.fingerprints),
                *(f"{OUTBOX}{folder.outbox}" for folder in config.folders),
                *(f"{INBOX}{folder.inbox}" for folder in config.folders),
            }
        )
        self.executors.resize(config.workers)
        self.producer.reload(config)
        self.completers.reload(config)
        self._parts.wake_producer.set()

    def run(self) -> int:
        """Run until a signal ends it; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGHUP, lambda *_: self.order("reload"))
        signal.set_wakeup_fd(self._wakeup.write_end, warn_on_full_buffer=False)
        try:
            self.start()
            self.intake.start()
            self.loop()
        finally:
            self.stop()
        return self.database.fatal.exit_code if self.database.fatal else 0

    def order(self, what: str) -> None:
        """Ask the main loop to ``reload`` or to ``stop``; from any thread or signal handler."""
        self._orders.put(what)
        self._wakeup.set()

    def _on_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping:
            os._exit(128 + number)  # asked twice: at once; the next start recovers everything
        self._stopping = True
        self.order("stop")

    # -- the main loop

    def loop(self) -> None:
        """Run the main loop until it is to stop."""
        seconds = 0.0
        while True:
            self._wakeup.wait(seconds)
            try:
                seconds = self.turn()
            except StateError as error:
                if self.database.fatal is None and not self._stopping:
                    log.error("state.trouble", reason=error.message, hint=error.hint)
                seconds = PULSE_SECONDS
            except Exception:
                log.exception("daemon.failed", hint="it goes on")
                seconds = PULSE_SECONDS
            if self._stopping or self.database.fatal is not None:
                break
        if self.database.fatal is not None:
            log.critical("state.damaged", reason=self.database.fatal.message, hint=self.database.fatal.hint)

    def turn(self) -> float:
        """Do what is due; return the seconds to the next turn."""
        self._heartbeats.beat("main loop", within=RELOAD_SECONDS)
        with suppress(Empty):
            while (order := self._orders.get_nowait()) != "stop":
                if order == "reload":
                    self.reload()
            self._stopping = True
        if self._stopping:
            return 0.0
        with suppress(Empty):
            while True:
                self.intake.offer(*self._parts.rescans.get_nowait())
        if not self._ready and self._started:
            self._check_ready()
        if self.holds.changed:
            self._publisher.publish_holds()
            self.completers.wake()
            self.account.set()
        now = time.monotonic()
        if now >= self._next_pulse:
            busy = self._pulse(now)
            limit = watchdog_seconds()
            pulse = PULSE_SECONDS if busy or not self._ready else IDLE_PULSE_SECONDS
            self._next_pulse = now + (pulse if limit is None else min(pulse, limit / 4))
        seconds = self._next_pulse - now
        return seconds if self._ready else min(seconds, READY_SECONDS)

    def _pulse(self, now: float) -> bool:
        """Check the threads, publish the status, prune; return whether something happens."""
        self.executors.check_late()
        self.completers.check_late()
        startup.hold_lost_inboxes(self.intake.roots(), self.holds)
        self._watchdog.feed()
        if self._ready:  # before what ``status`` shows, which must not be the older of the two
            self._publisher.tell_systemd(self._watchdog.reason, self.refused)
        busy = self._publisher.publish() or len(self._parts.claims) > 0
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_SECONDS
            gone = self.queries.prune(clock.now() - KEEP_HISTORY, startup.may_be_there)
            freed = self.results.prune()
            log.info("history.pruned", jobs=gone, result_bytes=freed)
        if (shortage := self.results.take_shortage()) is not None:
            self.table.set_fact(SHORTAGE, asdict(shortage), clock.now())
        return busy

    def _check_ready(self) -> None:
        """Report to systemd that the daemon is ready, once the first scan is through or waits for a dead share."""
        if not self.intake.first_scan_done.is_set():
            waits_for = self.intake.waits_for()
            if waits_for is None:
                files = self.intake.counts()["settling"]
                notify(STATUS=f"first scan: {files} files to look at so far")
                if self.intake.silence < SCAN_PATIENCE:  # a scan that hangs is not waited for
                    extend(30)
                return
            log.warning("ready.without_scan", folder=printable(waits_for), hint="its filesystem does not answer")
        self._ready = True
        log.info("ready")  # before systemd hears it: who waited for the start finds it in the journal
        notify(READY=1, STATUS="watching")
        self._next_pulse = 0.0
        self.account.look()  # only now: nothing waits for the network before the daemon is ready

    # -- reload

    def reload(self) -> None:
        """Reload the config file; refuse one with mistakes, and keep the old one in force."""
        reloading()
        try:
            config = load_config(self.config.path)
            config.require_key()
            if config.state_dir != self.config.state_dir:
                raise ConfigError([f"{config.path}: state_dir: can't change while running; restart for that"])
            self._take_over(config)
            self.refused = ""
        except ConfigError as error:
            for problem in error.problems:
                log.error("config.mistake", problem=problem)
            log.error("config.refused", hint="The config before goes on. Correct the file and reload again.")
            self.refused = error.problems[0]
        except ApiError as error:  # no client can be made of it, as things are on this machine
            self.refused = error.message
            log.error("config.refused", reason=error.message, hint=error.hint)
        except OSError as error:
            self.refused = str(error)
            log.error("config.refused", reason=str(error), hint="The config before goes on.")
        finally:
            self._next_pulse = 0.0
            notify(READY=1)

    def _take_over(self, config: Config) -> None:
        logs.hide(config.key)
        old = self.live.current
        same = (old.config.api, old.config.key, old.config.workers) == (config.api, config.key, config.workers)
        runtime = Runtime(config, old.client) if same else _runtime(config)
        self.live.replace(runtime)
        self._parts.outboxes.forget()
        self.intake.replace_folders(config.folders)
        self.intake.rescan_now()
        startup.make_targets(config, self.table)
        self.holds.check_now()
        self._apply(config)
        if not same:
            old.client.close()  # requests under way go on to their end
        if runtime.account != old.account:
            self.account.look()
        log.info("reloaded", folders=len(config.folders), workers=config.workers)

    # -- what comes in

    def take_in(self, arrivals: list[Arrival]) -> None:
        """Queue finished files; called by the watcher."""
        runtime = self.live.current
        config = runtime.config
        prepared = [_as_configured(arrival, runtime) for arrival in arrivals]
        outcomes = self.queue.enqueue(prepared, clock.now())
        self._parts.refresh_after(runtime)
        for arrival, outcome in zip(prepared, outcomes, strict=True):
            self._log_arrival(arrival, outcome)
        new = Counter(
            arrival.folder
            for arrival, outcome in zip(prepared, outcomes, strict=True)
            if outcome in (Accepted.NEW, Accepted.CHANGED)
        )
        for inbox in {arrival.folder for arrival in prepared}:
            if (folder := config.folder(inbox)) is not None:
                if new[inbox]:
                    self._brake(folder, new[inbox])
                if any(arrival.tidy and arrival.folder == inbox for arrival in prepared):
                    self.completers.put_away_sources(folder)
        self._parts.wake_producer.set()

    def _log_arrival(self, arrival: Arrival, outcome: Accepted) -> None:
        where = {
            "folder": printable(arrival.folder),
            "path": printable(arrival.path),
            "profile": arrival.profile,
            "bytes_in": arrival.version.size,
        }
        if outcome is Accepted.REFUSED and arrival.refusal is not None:
            log.warning("job.refused", **where, code=arrival.refusal.code, reason=arrival.refusal.message)
        elif outcome is Accepted.ADOPTED:
            log.info("job.adopted", **where, output=printable(arrival.adopt or ""))
        elif outcome is not Accepted.KNOWN:
            log.debug("job.queued", **where, outcome=outcome.value)

    def _brake(self, folder: Folder, new: int) -> None:
        """Hold a folder into which more new photos came than somebody most likely meant to drop."""
        inbox, scope, now = str(folder.inbox), f"{INBOX}{folder.inbox}", clock.now()
        recent = self._new_photos.setdefault(inbox, deque())
        if inbox in self._braked:
            self.holds.reload_commands(self.table)  # it may have been resumed in this very moment
        held = self.holds.has(scope, TOO_MANY)
        if inbox in self._braked and not held:  # somebody has resumed it: what is there was agreed to
            self._braked.discard(inbox)
            recent.clear()
        recent.append((now, new))
        while not held and recent[0][0] < now - BRAKE_SECONDS:
            recent.popleft()
        count = sum(photos for _, photos in recent)
        if folder.hold_above is None or count <= folder.hold_above:
            return
        self._braked.add(inbox)
        message = (
            f"{count} new photos came within 10 minutes, which would cost up to {count} credits"
            f" (hold_above is {folder.hold_above})"
        )
        release = f"rembg-watch resume --folder {shlex.quote(printable(inbox))}"
        self.table.hold(Hold(scope, TOO_MANY, message, release, time.time()))
        self.holds.reload_commands(self.table)

    # -- what others ask

    def unhealthy(self) -> str | None:
        """Return which loop hangs, or None. A wait for the database is no hang."""
        if self.database.blocked:
            return None
        return self._heartbeats.late() or self.intake.unwell()

    def idle(self) -> bool:
        """Return whether no job is at hand."""
        return len(self._parts.claims) == 0 and self.completers.idle()

    def open_work(self) -> int:
        """Count the jobs that can still end without anything from outside: those that are not held."""
        held = {
            *self.holds.scopes(INBOX),
            *(str(f.inbox) for f in self.config.folders if self.holds.is_open(f"{OUTBOX}{f.outbox}")),
        }
        folders = [str(folder.inbox) for folder in self.config.folders if str(folder.inbox) not in held]
        return self.queue.open_count(folders, held_profiles=self.holds.scopes(PROFILE), able=True)

    # -- stop

    def stop(self) -> None:
        """End in good order."""
        self.finish()
        self.close()

    def finish(self) -> None:
        """Send nothing more, let what is in flight finish and be delivered; the rest is recovered by the next start."""
        self._stopping = True
        self._wakeup.set()  # for a main loop that runs in a thread of its own
        self.live.stop()  # at once: to end the watching may take a while
        self._parts.rate.close()
        self._parts.wake_producer.set()
        self.account.stop()
        noting = threading.Thread(target=self._note_stopping, name="note-stopping", daemon=True)
        noting.start()
        noting.join(NOTE_SECONDS)
        grace = self.config.shutdown_grace
        flying = self._parts.rate.in_flight
        notify(STOPPING=1, STATUS=f"stopping: up to {grace:g} s for {flying} photos in flight")
        log.info("stopping", grace=grace, in_flight=flying)
        deadline = time.monotonic() + grace
        extend(45)  # the watcher's three threads get 10 s each
        self.intake.stop()
        extend(grace + 30)
        self.producer.join(10)
        self.executors.stop(deadline)
        self.completers.stop(max(deadline, time.monotonic() + 1.0))
        self.database.fail_at_once()  # the time is over: what the disk does not take now is recovered by the next start
        try:
            self._publisher.publish_holds()
            self._publisher.publish(last=True)
            self.table.set_fact("clean", value=self._started, now=clock.now())
        except StateError as error:
            log.error("state.cannot_write", reason=error.message, hint=error.hint)

    def _note_stopping(self) -> None:
        """Write that the end was asked for: if it is cut short, that is no crash of which a photo may be the cause."""
        with suppress(StateError):
            self.table.set_fact("stopping", value=True, now=clock.now())

    def close(self) -> None:
        """Close the database, the client and the lock."""
        self.live.current.client.close()
        self.database.fail_at_once()
        self.database.close()
        self._lock.release()
        log.info("stopped")


def _runtime(config: Config) -> Runtime:
    return Runtime(config, client_for(config.api, config.require_key(), pool_size=config.workers + 2))


def _as_configured(arrival: Arrival, runtime: Runtime) -> Arrival:
    """Add the options of now, and what is to become of the source of a job that ends as it begins."""
    folder = runtime.config.folder(arrival.folder)
    if folder is None:
        return arrival
    profile = folder.profile_for(arrival.path)
    if profile.options.fingerprint != arrival.fingerprint:  # a reload came in between
        arrival = replace(arrival, fingerprint=profile.options.fingerprint, profile=profile.name)
    if arrival.refusal is None and arrival.adopt is None:
        return arrival
    return replace(arrival, tidy=disposition(folder, failed=arrival.refusal is not None))


__all__ = ["Daemon", "Timings", "Wakeup"]
