"""From a verified answer to a finished job: one thread for each outbox, in batches of all that has arrived.

The order of the steps, each for the whole batch before the next one begins:

1. *copy* the answer from the result store into a temporary file beside its place; *sync* it.
2. *mark as received*, in one commit: from here on the answer is found by its hash.
3. *rename* it to its final name; sync each folder once.
4. *mark as done*, in one commit; then put the sources away.

Everything here is paid for: no error may lose it. An error is about one item; the others go on. A hung outbox blocks
only its own thread: its answers are then synced in the store and marked as received by other threads.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from rembg_watch import clock
from rembg_watch.delivery import place, same_content, sync
from rembg_watch.delivery.copying import copy_into
from rembg_watch.delivery.faults import target_error
from rembg_watch.delivery.files import open_source, open_temp, temp_name
from rembg_watch.delivery.folders import fsync_folder, writable
from rembg_watch.delivery.placing import start_writeback
from rembg_watch.dispatch.holds import ALL, OUTBOX
from rembg_watch.dispatch.steps import Step
from rembg_watch.dispatch.targets import output_names
from rembg_watch.dispatch.tidying import disposition, put_away
from rembg_watch.errors import SourceError, StateError, TargetError, TargetTaken
from rembg_watch.jobs.model import How, Key, Output, State
from rembg_watch.jobs.queue import Received
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rembg_watch.config.model import Config, Folder
    from rembg_watch.delivery import TempFile
    from rembg_watch.dispatch.runtime import Components
    from rembg_watch.dispatch.targets import Target
    from rembg_watch.errors import FileError
    from rembg_watch.jobs.ledger import AttemptEnd
    from rembg_watch.jobs.model import Job

PLACE_AGAIN = 60.0
"""Seconds until an output is tried again whose place in the outbox, and no other, can't be written."""
UNDELIVERED = 4
"""Answers that may wait for one outbox, for each worker; then nothing more is sent there."""
NAMES_TRIED = 10
"""Names that are tried for one output while other programs take them."""
AT_ONCE = 100
SIBLINGS = 4
"""Requests in flight from which an answer waits ``GATHER`` seconds for others, which share its commits and syncs."""
GATHER = 0.04
UNSAVED = "unsaved"
"""The kind of the hold on everything while a paid answer is in memory alone."""

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Delivery:
    """A verified answer on its way to its place."""

    job: Job
    folder: Folder
    key: Key
    target: Target
    hash: str
    size: int
    how: How
    path: str = ""
    """Where the result store has it; empty where it does not."""
    data: bytes | None = None
    """The bytes, where they are small or on no disk."""
    temp: TempFile | None = None
    in_place: bool = False
    """Whether the output is there already."""
    attempt: int | None = None
    end: AttemptEnd | None = None
    profile: str = ""
    api_ms: float = 0.0
    has_key: bool = False
    """Whether its key ends with it: other jobs can't find the answer before it is delivered."""
    ended: bool = False


class Completers:
    """The completers by outbox. Safe for threads."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._by_outbox: dict[str, Completer] = {}

    def reload(self, config: Config) -> None:
        """Start a thread for each new outbox, and let all look for answers that wait to be delivered."""
        for outbox in {str(folder.outbox) for folder in config.folders}:
            self._of(outbox).look()

    def _of(self, outbox: str) -> Completer:
        with self._lock:
            if outbox not in self._by_outbox:
                self._by_outbox[outbox] = Completer(self._parts, outbox, self)
            return self._by_outbox[outbox]

    def _all(self) -> list[Completer]:
        with self._lock:
            return list(self._by_outbox.values())

    def put(self, delivery: Delivery) -> None:
        """Hand over a verified answer."""
        self._of(str(delivery.folder.outbox)).put(delivery)

    def put_away_sources(self, folder: Folder) -> None:
        """Put away the sources of this folder's jobs that have ended."""
        self._of(str(folder.outbox)).look_for_sources()

    def has_room(self, outbox: str) -> bool:
        """Return whether more may be sent for this outbox."""
        return self._of(outbox).backlog < UNDELIVERED * self._parts.live.config.workers

    def check_late(self) -> None:
        """Hold each outbox whose thread has been at one batch for too long, and save what waits for it."""
        for completer in self._all():
            completer.check_late()

    def has_unsaved(self) -> bool:
        """Return whether a paid answer is in memory alone."""
        return any(completer.has_unsaved for completer in self._all())

    def idle(self) -> bool:
        """Return whether nothing is being delivered."""
        return all(completer.backlog == 0 for completer in self._all())

    def wake(self) -> None:
        """Wake all completers, which look at their holds."""
        for completer in self._all():
            completer.wake()

    def stop(self, deadline: float) -> None:
        """Deliver what has arrived until ``deadline`` (monotonic seconds), and end; hung threads are left behind."""
        for completer in self._all():
            completer.stop()
        for completer in self._all():
            completer.join(deadline)


class Completer:
    """Delivers into one outbox."""

    def __init__(self, parts: Components, outbox: str, owner: Completers) -> None:
        self._parts = parts
        self._owner = owner
        self._outbox = outbox
        self._scope = f"{OUTBOX}{outbox}"
        self._changed = threading.Condition()
        self._arrived: list[Delivery] = []
        self._working: list[Delivery] = []
        self._unsaved: list[Delivery] = []
        """Answers that neither the store nor the outbox takes: they are in memory alone."""
        self._since: float | None = None
        """When the step in work began, in monotonic seconds; None while it waits."""
        self._late = False
        self._checks = True
        """Whether the outbox is to be looked at although it is not held."""
        self._looks = True
        """Whether the queue may have answers to be delivered that are not at hand."""
        self._tidies = True
        """Whether sources may be left to be put away."""
        self._next_tidy = 0.0
        self._next_look: float | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"completer-{os.path.basename(outbox)}", daemon=True)
        self._thread.start()

    # -- for other threads

    def put(self, delivery: Delivery) -> None:
        """Queue a verified answer for delivery."""
        if self._late and not delivery.in_place and self._save(delivery):
            self._drop(delivery)
            return
        with self._changed:
            self._arrived.append(delivery)
            self._changed.notify()

    def look(self) -> None:
        """Check the outbox, and the queue for answers and sources."""
        with self._changed:
            self._checks = self._looks = self._tidies = True
            self._next_tidy = 0.0
            self._changed.notify()

    def look_for_sources(self) -> None:
        """Check the queue for sources to be put away."""
        with self._changed:
            self._tidies, self._next_tidy = True, 0.0
            self._changed.notify()

    def wake(self) -> None:
        """Wake the thread, which looks at the hold of the outbox."""
        with self._changed:
            self._changed.notify()

    @property
    def backlog(self) -> int:
        """Answers that have arrived and are not delivered."""
        return len(self._arrived) + len(self._working) + len(self._unsaved)

    @property
    def has_unsaved(self) -> bool:
        """Whether a paid answer is in memory alone."""
        return bool(self._unsaved)

    def check_late(self) -> None:
        """Hold the outbox if the step in work takes too long; save what waits for it."""
        since, limit = self._since, self._parts.holds.timings.late
        if since is None or time.monotonic() - since < limit:
            return
        if not self._late:
            self._late = True
            message = f"the outbox {printable(self._outbox)} has not answered for {limit:.0f} s"
            release = "it goes on by itself when its disk or share answers; paid results are kept meanwhile"
            self._parts.holds.hold(self._scope, "late", message, release, check_in=None)
        for delivery in list(self._working):  # what only the outbox has is not asked for: it hangs
            if delivery.path or delivery.data is not None:
                self._save(delivery)
        with self._changed:
            waiting, self._arrived = self._arrived, []
        for delivery in waiting:
            if not delivery.in_place and (delivery.path or delivery.data is not None) and self._save(delivery):
                self._drop(delivery)
            else:
                with self._changed:
                    self._arrived.append(delivery)

    def stop(self) -> None:
        """End when all that has arrived is delivered."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self, deadline: float) -> None:
        """Wait for the end, until ``deadline`` (monotonic seconds)."""
        while self._thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            self._thread.join(min(left, 0.5))  # short: a signal that comes right before a wait is heard after it

    # -- the thread

    def _run(self) -> None:
        while True:
            try:
                if not self._turn():
                    return
            except StateError as error:
                if self._stopping or self._parts.database.fatal is not None:
                    return
                log.error("state.trouble", reason=error.message, hint=error.hint)
                time.sleep(1.0)
            except Exception:
                log.exception("completer.failed", hint="it goes on")
                time.sleep(1.0)

    def _turn(self) -> bool:
        with self._changed:
            if not (self._arrived or self._stopping or self._is_due()):
                self._changed.wait(self._seconds_to_next())
        if self._arrived and self._parts.rate.in_flight >= SIBLINGS:
            time.sleep(GATHER)  # not on the condition: each answer would wake this thread, which is what is saved
        with self._changed:
            batch, self._arrived = self._arrived, []
            if self._stopping:
                batch, self._unsaved = [*batch, *self._unsaved], []
            self._working = batch
            if not batch and self._stopping:
                return False
        self._beat()
        try:
            if batch:
                self._deliver(batch)
            if self._stopping:
                if self._unsaved:  # tried again until the time for stopping is over
                    time.sleep(1.0)
            else:
                self._check()
                self._probe()
                self._load_received()
                self._tidy()
        finally:
            self._working, self._since = [], None
            if self._late:
                self._late = False
                self._parts.holds.release(self._scope, "late")
                self._looks = True
        return True

    def _beat(self) -> None:
        """Restart the time of the step in work: a long batch is not a hung one."""
        self._since = time.monotonic()

    def _is_due(self) -> bool:
        return self._seconds_to_next() == 0.0

    def _seconds_to_next(self) -> float | None:
        holds = self._parts.holds
        times = [holds.next_check(self._scope)]
        if self._tidies:
            times.append(self._next_tidy)
        if self._checks:
            times.append(0.0)
        if not holds.is_open(self._scope):
            times.append(0.0 if self._looks else self._next_look)
        due = [at for at in times if at is not None]
        return max(0.0, min(due) - clock.now()) if due else None

    # -- delivering

    def _deliver(self, batch: list[Delivery]) -> None:
        """Deliver answers to their places. An unforeseen error puts off what has not ended."""
        try:
            self._deliver_all(batch)
        except StateError:  # the database is closed or damaged: the next start goes on from here
            for delivery in batch:
                if delivery.temp is not None:
                    delivery.temp.close()
            raise
        except Exception as error:
            log.exception("delivery.crashed", outbox=printable(self._outbox))
            failure = TargetError(f"an error inside rembg-watch: {error!r}", "Please report it with the log.", "name")
            for delivery in batch:
                if not delivery.ended and delivery not in self._unsaved:
                    self._put_off(delivery, failure)

    def _deliver_all(self, batch: list[Delivery]) -> None:
        queue, failpoint = self._parts.queue, self._parts.failpoint
        in_place = [delivery for delivery in batch if delivery.in_place]
        copied = self._each([delivery for delivery in batch if not delivery.in_place], self._copy)
        if len(copied) > 1:
            for delivery in copied:
                if delivery.temp is not None:
                    start_writeback(delivery.temp)
        synced = [*in_place, *self._each(copied, self._sync)]
        marked = queue.mark_received([_received(delivery) for delivery in synced], clock.now()) if synced else []
        received = []
        for delivery, is_marked in zip(synced, marked, strict=True):
            if is_marked:
                received.append(delivery)
                failpoint(Step.MARKED_RECEIVED)
            else:  # cancelled or replaced before it was sent
                self._discard(delivery)
        in_place = [delivery for delivery in received if delivery.in_place]
        placed = self._each([delivery for delivery in received if not delivery.in_place], self._place)
        if finished := self._sync_folders([*in_place, *placed]):
            self._finish(finished)

    def _each(self, deliveries: Sequence[Delivery], step: Callable[[Delivery], None]) -> list[Delivery]:
        """Do one step for each; return those that may go on. One that fails is put off, and does not stop others."""
        done = []
        for delivery in deliveries:
            self._beat()
            try:
                step(delivery)
            except TargetError as error:
                self._put_off(delivery, error)
            except SourceError:
                self._lost(delivery)
            else:
                done.append(delivery)
        return done

    def _copy(self, delivery: Delivery) -> None:
        if delivery.temp is not None:  # it came in there
            return
        temp = open_temp(delivery.target.root, delivery.target.relpath, self._parts.temp_tag(delivery.job))
        try:
            if delivery.data is not None:
                temp.file.write(delivery.data)
            else:
                file, _ = open_source(delivery.path)
                with file:
                    copy_into(file, temp)
        except BaseException:
            temp.discard()
            raise
        delivery.temp = temp

    def _sync(self, delivery: Delivery) -> None:
        assert delivery.temp is not None
        sync(delivery.temp)
        self._parts.failpoint(Step.SYNCED)

    def _place(self, delivery: Delivery) -> None:
        assert delivery.temp is not None
        for _ in range(NAMES_TRIED):
            target = delivery.target
            try:
                place(delivery.temp, target.relpath, replace=target.replace, hash_expected=delivery.hash)
                break
            except TargetTaken:  # another program took the name in this very moment
                self._take_another_name(delivery)
        else:
            raise TargetTaken(f"{printable(delivery.target.path)} is taken again and again by another program")
        self._parts.failpoint(Step.PLACED)

    def _take_another_name(self, delivery: Delivery) -> None:
        targets = self._parts.targets
        extension = os.path.splitext(delivery.target.path)[1].removeprefix(".")
        profile = delivery.folder.profile_for(delivery.job.path)
        names = output_names(delivery.job, delivery.folder, profile, delivery.key.content, time.time(), extension)
        delivery.target = targets.exchange(delivery.job, delivery.target, names)

    def _sync_folders(self, placed: list[Delivery]) -> list[Delivery]:
        """Sync each folder once; an output whose folder can't be synced is put off."""
        synced: dict[str, TargetError | None] = {}
        done = []
        for delivery in placed:
            folder = os.path.dirname(delivery.target.path)
            if folder not in synced:
                self._beat()
                synced[folder] = _sync_folder(folder, delivery.temp)
            if problem := synced[folder]:
                self._put_off(delivery, problem)
                continue
            if delivery.temp is not None:
                delivery.temp.close()
            self._parts.failpoint(Step.PLACE_SYNCED)
            done.append(delivery)
        return done

    def _finish(self, placed: list[Delivery]) -> None:
        parts, now = self._parts, clock.now()
        rows = []
        for one in placed:
            folder = parts.live.config.folder(one.job.folder) or one.folder  # what it says now counts
            output = Output(
                one.target.path, one.job.id, one.job.folder, one.job.path, *one.key, one.hash, one.size, now
            )
            rows.append((one.job, output, one.how, disposition(folder, failed=False)))
        parts.queue.mark_done(rows, now)
        parts.holds.succeeded(self._scope)
        for one, (_, _, _, tidy) in zip(placed, rows, strict=True):
            parts.failpoint(Step.FINISHED)
            log.info(
                "job.done",
                job=one.job.id,
                folder=printable(one.job.folder),
                path=printable(one.job.path),
                profile=one.profile or one.job.profile,
                output=printable(one.target.path),
                how=one.how.value,
                bytes_in=one.job.version.size,
                bytes_out=one.size,
                queue_ms=round((now - one.job.created_at) * 1000 - one.api_ms),
                api_ms=round(one.api_ms),
                attempt=one.job.attempts + 1,
                credits_left=parts.budget.left,
            )
            if tidy is not None:
                self._tidies, self._next_tidy = True, 0.0
            if one.path and parts.results.limits is None:
                parts.results.remove(one.path)
            self._drop(one)

    def _drop(self, delivery: Delivery) -> None:
        """Release a delivery: it is done, or its row says that it is to be delivered later."""
        delivery.ended = True
        if delivery.has_key:
            self._parts.claims.end_key(delivery.key)
        self._parts.targets.release(delivery.target)
        self._parts.claims.end(delivery.job)
        self._parts.holds.end_trial(delivery.job.id)

    def _discard(self, delivery: Delivery) -> None:
        if delivery.temp is not None:
            delivery.temp.discard()
        self._drop(delivery)

    # -- what can't be delivered now

    def _put_off(self, delivery: Delivery, error: TargetError) -> None:
        """Keep a paid answer for later, safe on a disk, and hold the outbox if that is what fails."""
        if delivery.in_place:  # it is where it belongs, and is found there again
            self._hold(error)
            self._drop(delivery)
            return
        is_saved = self._save(delivery)
        if delivery.temp is not None:  # after a failed sync it must be written again
            delivery.temp.discard()
            delivery.temp = None
        if not is_saved:
            self._unsaved.append(delivery)
            self._hold(error)
            self._parts.holds.hold(
                ALL,
                UNSAVED,
                "a paid result is in memory alone: neither the state directory nor the outbox takes it",
                "free some space in the state directory or in the outbox",
                check_in=None,
            )
            return
        one_place = error.code in {"name", "denied", "other", "taken"} and writable(self._outbox) is None
        again = clock.now() + PLACE_AGAIN if one_place else None
        code = "place" if one_place else error.code
        self._parts.queue.put_off(delivery.job, again, code, error.message, error.hint, clock.now())
        if again is None:
            self._hold(error)
        else:
            self._looks = True  # to find out when the next one is due
        self._drop(delivery)

    def _hold(self, error: TargetError) -> None:
        holds = self._parts.holds
        holds.hold(self._scope, error.code, error.message, error.hint, check_in=holds.timings.outbox_check)

    def _save(self, delivery: Delivery) -> bool:
        """Store a paid answer, force it to the disk, and commit that it is received; return whether that worked."""
        results = self._parts.results
        try:
            if not delivery.path:
                if delivery.data is None:
                    assert delivery.temp is not None
                    delivery.temp.file.seek(0)
                    delivery.data = delivery.temp.file.read()
                delivery.path = results.write(delivery.key, delivery.data, delivery.hash, delivery.attempt or 0)
            results.sync(delivery.path)
        except OSError as error:
            log.error("results.cannot_write", reason=str(error), hint="the paid result is held in memory")
            return False
        self._parts.queue.mark_received([_received(delivery)], clock.now())
        return True

    def _lost(self, delivery: Delivery) -> None:
        """Queue a job again whose answer is nowhere to be found."""
        log.warning("job.answer_lost", job=delivery.job.id, path=printable(delivery.job.path))
        self._parts.queue.end(delivery.job, State.QUEUED, clock.now())
        self._parts.queue.refresh_profiles(self._parts.live.current.options_of)  # it may be of a config before this one
        self._discard(delivery)

    def _probe(self) -> None:
        """Probe a held outbox; if it is well again, one delivery goes first."""
        holds = self._parts.holds
        due = [hold for hold, _ in holds.due(self._scope) if hold.scope == self._scope]
        if not due:
            return
        if (error := self._parts.outboxes.problem(self._outbox)) is None:
            for hold in due:
                holds.half_open(self._scope, hold.kind)
            self._working, self._unsaved = self._unsaved, []
            self._deliver(self._working)
            self._looks = True
        else:
            for hold in due:
                if hold.kind != error.code:
                    holds.release(self._scope, hold.kind)
            interval = max((interval for _, interval in holds.due(self._scope)), default=0.0)
            check = min(holds.timings.check, max(holds.timings.outbox_check, interval * 2))
            holds.hold(self._scope, error.code, error.message, error.hint, check_in=check)
        if not self._owner.has_unsaved():
            holds.release(ALL, UNSAVED)

    def _check(self) -> None:
        """Hold the outbox if it can't be written now: at the start and after a reload, before anything is sent."""
        if self._checks:
            self._checks = False
            if problem := self._parts.outboxes.problem(self._outbox):
                self._hold(problem)

    # -- answers that wait in the queue

    def _load_received(self) -> None:
        """Deliver the answers that the queue says are to be delivered here, and that are not at hand."""
        due = self._next_look is not None and self._next_look <= clock.now()
        if not (self._looks or due) or self._parts.holds.is_open(self._scope):
            return
        parts, config = self._parts, self._parts.live.config
        folders = {str(folder.inbox): folder for folder in config.folders if str(folder.outbox) == self._outbox}
        one_first = parts.holds.capacity([self._scope]) is not None
        self._looks, now = False, clock.now()
        jobs = parts.queue.received(list(folders), now, 1 if one_first else AT_ONCE, parts.claims.ids())
        self._next_look = parts.queue.next_received(list(folders), now)
        parts.claims.add(jobs)
        parts.claims.prepared(*jobs)
        batch: list[Delivery] = []
        for job in jobs:
            self._beat()
            try:
                delivery = self._load(job, folders[job.folder])
            except (TargetError, SourceError) as error:
                self._put_off_unloaded(job, error)
            except BaseException:
                for loaded in batch:
                    self._drop(loaded)
                parts.claims.end(*jobs)
                raise
            else:
                batch += [] if delivery is None else [delivery]
        self._working = batch
        if batch:
            self._deliver(batch)
        self._looks = self._looks or (bool(batch) and not parts.holds.is_open(self._scope))

    def _put_off_unloaded(self, job: Job, error: FileError) -> None:
        """Leave an answer for later that can't be found or placed now: for the outbox's sake, or only its own."""
        if isinstance(error, TargetError) and writable(self._outbox) is not None:
            self._hold(error)
        else:
            again = clock.now() + PLACE_AGAIN
            self._parts.queue.put_off(job, again, "place", error.message, error.hint, clock.now())
            self._looks = True
        self._parts.claims.end(job)

    def _load(self, job: Job, folder: Folder) -> Delivery | None:
        """Find the answer of a job that is to be delivered: in the store, in its place, or in its temporary file."""
        parts = self._parts
        assert job.output is not None
        assert job.result_hash is not None
        root, size = str(folder.outbox), job.result_size or 0
        key = Key(job.content_hash or "", job.fingerprint)
        if job.output.startswith(root + "/"):
            paths = [job.output]
        else:  # the config has another outbox by now, and perhaps another format
            was = os.path.splitext(job.output)[1].removeprefix(".")
            paths = output_names(job, folder, folder.profile_for(job.path), key.content, time.time(), was)
        parts.failpoint(Step.CLAIMED)
        is_placed = paths == [job.output] and same_content(job.output, job.result_hash, size)
        if is_placed:  # a crash came after the rename
            target = parts.targets.reserve_placed(job, root, job.output)
        else:
            target = parts.targets.reserve(job, root, paths)
        delivery = Delivery(job, folder, key, target, job.result_hash, size, job.how or How.SENT)
        if is_placed:
            delivery.in_place = True
            return delivery
        kept = parts.results.find(key)
        if kept is not None and (kept.hash, kept.size) == (job.result_hash, size):
            data = parts.results.read(kept)
            if data is not None:
                delivery.path, delivery.data = kept.path, data or None
                return delivery
        temp = os.path.join(os.path.dirname(job.output), temp_name(parts.temp_tag(job)))
        if same_content(temp, job.result_hash, size):  # the store lost it: a power cut, or somebody's hand
            with suppress(OSError, SourceError):
                file, _ = open_source(temp)
                with file:
                    delivery.data = file.read()
                return delivery
        if problem := parts.outboxes.problem(root):  # it may be on a disk that is away
            parts.targets.release(target)
            raise problem
        self._lost(delivery)
        return None

    # -- sources

    def _tidy(self) -> None:
        """Put away the sources of ended jobs, as their folders say now."""
        if not self._tidies or clock.now() < self._next_tidy:
            return
        parts, config = self._parts, self._parts.live.config
        folders = {str(folder.inbox): folder for folder in config.folders if str(folder.outbox) == self._outbox}
        self._tidies = False
        after, waits = 0, False
        while jobs := parts.queue.untidy(list(folders), after, AT_ONCE):
            for job in jobs:
                self._beat()
                if put_away(parts.queue, job, folders[job.folder]):
                    parts.failpoint(Step.TIDIED)
                else:
                    waits = True
            after = jobs[-1].id
            if len(jobs) < AT_ONCE or self._stopping:
                break
        if waits:
            self._tidies, self._next_tidy = True, clock.now() + parts.holds.timings.tidy


def _sync_folder(path: str, temp: TempFile | None) -> TargetError | None:
    """Sync the names in a folder; return why that can't be done, or None. ``temp`` has the folder open."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if temp is None else temp.folder
        try:
            fsync_folder(folder)
        finally:
            if temp is None:
                os.close(folder)
    except OSError as error:
        return target_error(error, path, "sync")
    return None


def _received(delivery: Delivery) -> Received:
    return Received(
        delivery.job,
        delivery.key,
        delivery.target.path,
        delivery.hash,
        delivery.size,
        delivery.how,
        delivery.attempt,
        delivery.end,
    )
