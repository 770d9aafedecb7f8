"""The worker pool: from a claimed job to a verified answer, read from top to bottom.

An executor has a photo from its first byte to its verified answer. Small photos are prepared in batches by one thread:
it reads and hashes each, looks for a result that is paid for, and names the output; then it marks as sent, in one
commit, as many as may go out, and hands each of them to an executor of its own. No photo is marked as sent that has no
thread and no place in flight at once: it must not stand behind a hung one.

1. *prepare*: open, read, hash, look for a result, reserve the output's name.
2. *mark as sent*, under the lock of the live runtime: holds, credits and limits are asked there, nowhere else.
3. *send*, receive into the result store; give back the place in flight.
4. *verify*, keep; hand over to the completer.

An executor never waits for another job with the same picture: the job is set aside (claims.py). One that hangs while it
reads an inbox or looks at an outbox is replaced, and that folder is held.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

import structlog

from rembg_watch import clock
from rembg_watch.api.picture import checked
from rembg_watch.api.verdict import About, Charge
from rembg_watch.delivery import same_content, writable
from rembg_watch.delivery.folders import check_folder
from rembg_watch.dispatch.budget import folder_over_limit, hold_account
from rembg_watch.dispatch.completer import PLACE_AGAIN, Delivery
from rembg_watch.dispatch.holds import ALL, INBOX, OUTBOX, PROFILE
from rembg_watch.dispatch.outcome import LONG_WAIT, UNREACHABLE, decide, is_spent
from rembg_watch.dispatch.photo import IN_MEMORY, Photo
from rembg_watch.dispatch.results import Body
from rembg_watch.dispatch.steps import Step
from rembg_watch.dispatch.targets import output_names
from rembg_watch.dispatch.tidying import disposition
from rembg_watch.errors import ApiError, Refused, SourceChanged, SourceError, StateError, TargetError
from rembg_watch.jobs.ledger import AttemptEnd
from rembg_watch.jobs.model import How, Key, State
from rembg_watch.jobs.queue import Sending
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rembg_watch.api.verdict import Verdict
    from rembg_watch.config.model import Folder, Profile
    from rembg_watch.dispatch.completer import Completers
    from rembg_watch.dispatch.results import Kept
    from rembg_watch.dispatch.runtime import Components, Runtime
    from rembg_watch.dispatch.targets import Target
    from rembg_watch.jobs.model import Job, Output

SPARE = 2
"""For so many requests in flight there is one more executor, which prepares the next photos or verifies answers."""
UNREADABLE_AGAIN = 60.0
"""Seconds until a photo is tried again that can't be read."""
INTERNAL_AGAIN = 600.0
"""Seconds until a job is tried again that met an error of ours."""
_INTERNAL = "an error inside rembg-watch"
_INTERNAL_HINT = "Please report it with the log; the job is tried again in 10 minutes."

log = structlog.get_logger()


@dataclass(slots=True)
class Attempt:
    """One photo on its way from its first byte to its verified answer."""

    runtime: Runtime
    job: Job
    folder: Folder
    profile: Profile
    photo: Photo
    key: Key
    target: Target = None  # type: ignore[assignment]  # reserved by the look-up
    number: int = 0
    """The ledger's row; 0 before it is marked as sent."""
    sent_wall: float = 0.0
    sent_at: float = 0.0
    """When it was sent, in monotonic seconds."""
    api_ms: float = 0.0
    bytes_out: int = 0

    def scopes(self) -> list[str]:
        """Return what may be held and concerns this photo."""
        return _scopes(self.folder, self.key.fingerprint)

    def end(self, charge: Charge, verdict: Verdict | None = None, *, counted: bool = False) -> AttemptEnd:
        """Return the attempt's end for the ledger."""
        code, status, message = (
            (None, 200, None) if verdict is None else (verdict.code, verdict.status, verdict.message)
        )
        size = self.job.version.size
        return AttemptEnd(charge, code, status, message, size, self.bytes_out, self.api_ms, counted, time.time())


@dataclass(slots=True)
class _Seat:
    """What one thread is doing, for the check whether it is late."""

    scope: str = ""
    """The inbox or outbox that it reads or looks at; empty while it does something else."""
    since: float = 0.0
    reserved: int = 0
    """Executors that are reserved for the batch it prepares, itself included."""
    in_flight: bool = False
    """Whether it has a place in flight."""
    replaced: bool = False
    thread: threading.Thread = field(init=False)


class Executors:
    """The worker pool. Safe for threads."""

    def __init__(self, parts: Components, completers: Completers) -> None:
        self._parts = parts
        self._completers = completers
        self._work: SimpleQueue[list[Job] | Attempt | None] = SimpleQueue()
        """None wakes one thread, which ends if there are too many."""
        self._lock = threading.Lock()
        self._seats: list[_Seat] = []
        self._here = threading.local()
        self._size = 0
        self._free = 0
        self._stopping = False
        self._started = 0
        self._waiting = 0
        """Threads that wait for an inbox or an outbox at this moment."""
        self._handed_on = 0
        """Photos that are marked as sent and that no executor has taken over yet."""

    # -- for the producer and the daemon

    def resize(self, workers: int) -> None:
        """Have threads for ``workers`` requests in flight, and half as many more; what is too many ends when free."""
        with self._lock:
            self._size = workers + max(1, workers // SPARE)
            while self._count() < self._size:
                self._start()
            for _ in range(self._count() - self._size):
                self._work.put(None)

    def _count(self) -> int:
        """Count the threads, without those that hang and are replaced."""
        return sum(not seat.replaced for seat in self._seats)

    def _start(self) -> None:
        self._started += 1
        self._free += 1
        seat = _Seat()
        seat.thread = threading.Thread(target=self._run, args=(seat,), name=f"executor-{self._started}", daemon=True)
        self._seats.append(seat)
        seat.thread.start()

    def reserve(self, most: int) -> int:
        """Reserve up to ``most`` free executors; return how many. Each takes one job of a batch, or is released."""
        with self._lock:
            count = max(0, min(most, self._free))
            self._free -= count
            return count

    @property
    def free(self) -> int:
        """How many executors are free for a batch; 0 while it would be too small.

        A batch shares its queries and its commit, so it is worth waiting until half of the executors that are neither
        in flight nor waiting for a folder are free. That half is soon there: the others only compute.
        """
        with self._lock:
            return self._free if self._is_enough() else 0

    def _is_enough(self) -> bool:
        computing = self._size - self._parts.rate.in_flight - self._waiting
        return self._free >= max(1, computing // 2)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue claimed jobs for executors, reserved one for each job: small photos of one inbox as a batch."""
        batches: dict[str, list[Job]] = {}
        for job in jobs:
            if job.version.size <= IN_MEMORY:
                batches.setdefault(job.folder, []).append(job)
            else:
                self._work.put([job])
        for batch in batches.values():
            self._work.put(batch)

    def check_late(self) -> None:
        """Hold each folder that an executor has been waiting for too long, and start another in its place."""
        limit = self._parts.holds.timings.late
        with self._lock:  # the hold as well: the thread that hangs may be back at any time, and ends it
            for seat in list(self._seats):
                if seat.scope and not seat.replaced and time.monotonic() - seat.since > limit:
                    self._replace(seat, limit)

    def _replace(self, seat: _Seat, limit: float) -> None:
        seat.replaced = True
        self._free += seat.reserved - 1  # what its batch would have needed is of use to others
        seat.reserved = 0
        if seat.in_flight:
            seat.in_flight = False
            self._parts.rate.give_back()
        self._start()
        name = seat.scope.partition(":")[2]
        what = "inbox" if seat.scope.startswith(INBOX) else "outbox"
        self._parts.holds.hold(
            seat.scope,
            "late",
            f"the {what} {printable(name)} has not answered for {limit:.0f} s",
            "it goes on by itself when its disk or share answers",
            check_in=None,
        )

    def stop(self, deadline: float) -> None:
        """Start nothing any more; wait for what is in flight until ``deadline`` (monotonic seconds)."""
        with self._lock:
            self._stopping = True
            seats = list(self._seats)
        for _ in seats:
            self._work.put(None)
        for seat in seats:
            while seat.thread.is_alive() and not seat.replaced and (left := deadline - time.monotonic()) > 0:
                seat.thread.join(min(left, 0.5))  # short: a signal that comes right before a wait is heard after it

    # -- one thread

    def _run(self, seat: _Seat) -> None:
        self._here.seat = seat
        while not seat.replaced:
            item = self._work.get()
            if item is None:
                with self._lock:
                    if self._count() > self._size or (self._stopping and not self._handed_on):
                        self._free -= 1
                        break
                if self._stopping:  # photos that are marked as sent are behind it, and go out first
                    self._work.put(None)
                continue
            try:
                if isinstance(item, Attempt):
                    with self._lock:
                        self._handed_on -= 1
                    seat.reserved = 1
                    self._send(item)
                elif self._stopping:
                    self._parts.claims.end(*item)
                else:
                    seat.reserved = len(item)
                    self._prepare(item)
            except StateError as error:
                self._parts.wake_daemon.set()  # it may be damaged
                if not self._stopping:
                    log.error("state.trouble", reason=error.message, hint=error.hint)
            except Exception:
                log.exception("executor.failed", hint="it goes on")
            finally:
                self._keep_reserved(0)
        with self._lock:
            self._seats.remove(seat)

    def _keep_reserved(self, count: int) -> None:
        """Release what this thread has reserved beyond ``count`` executors; wake the producer if enough are free."""
        seat: _Seat = self._here.seat
        with self._lock:
            spare = max(0, seat.reserved - count)
            seat.reserved -= spare
            self._free += spare
            is_enough = self._is_enough()
        if is_enough and not self._parts.wake_producer.is_set():
            self._parts.wake_producer.set()

    def _hand_on(self, attempt: Attempt) -> None:
        """Queue a photo for another executor, reserved by this one, to send."""
        seat: _Seat = self._here.seat
        with self._lock:
            seat.reserved -= 1
            self._handed_on += 1
        self._work.put(attempt)

    @contextmanager
    def _waiting_for(self, scope: str) -> Iterator[None]:
        """Record which folder this thread waits for meanwhile."""
        seat: _Seat = self._here.seat
        with self._lock:
            before, seat.since, seat.scope = seat.scope, time.monotonic(), scope
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                seat.since, seat.scope = time.monotonic(), before
                self._waiting -= 1
                if seat.replaced:
                    self._parts.holds.release(scope, "late")

    # -- 1. prepare

    def _prepare(self, jobs: list[Job]) -> None:
        """Prepare a batch of one inbox; send what has to be sent.

        The last photo is sent by this thread, each other one by an executor of its own.
        """
        runtime, seat = self._parts.live.current, self._here.seat
        todo, read, ready = deque(jobs), deque[Attempt](), deque[Attempt]()
        mine: Attempt | None = None
        try:
            with self._waiting_for(f"{INBOX}{jobs[0].folder}"):
                while todo and not seat.replaced:
                    if (attempt := self._read(runtime, todo[0])) is not None:
                        read.append(attempt)
                    todo.popleft()
            if read and not seat.replaced:
                with self._waiting_for(f"{OUTBOX}{read[0].folder.outbox}"):
                    self._look_up(runtime, read, ready)
            while ready and not seat.replaced:
                self._keep_reserved(len(ready))
                mine = self._send_some(runtime, ready)
        finally:  # a replaced thread drops its batch, which others take again when the folder is well
            for attempt in (*read, *ready):
                self._drop(attempt)
            self._parts.claims.end(*todo)
        if mine is not None:
            self._keep_reserved(1)
            self._send(mine)

    def _send_some(self, runtime: Runtime, ready: deque[Attempt]) -> Attempt | None:
        """Wait for places in flight, mark as many photos as sent, and hand them on; return the last of the batch."""
        parts = self._parts
        places = parts.rate.take(len(ready))
        try:
            if not self._may_go_on(runtime):
                while ready:
                    self._drop(ready.popleft())
                return None
            marked = self._mark_sent(runtime, [ready.popleft() for _ in range(places)])
            places -= len(marked)
        finally:
            parts.rate.give_back(places)
        mine = marked.pop() if marked and not ready else None
        for attempt in marked:
            self._hand_on(attempt)
        return mine

    def _may_go_on(self, runtime: Runtime) -> bool:
        """Return whether a batch may still be sent."""
        live = self._parts.live
        return not (self._parts.holds.is_open(ALL) or live.stopping or live.current is not runtime)

    def _read(self, runtime: Runtime, job: Job) -> Attempt | None:
        """Open, check and hash the photo of a job; return None where the job is done with, or set aside."""
        parts = self._parts
        parts.failpoint(Step.CLAIMED)
        folder = runtime.config.folder(job.folder)
        profile = None if folder is None else folder.profile_for(job.path)
        if folder is None or profile is None or profile.options.fingerprint != job.fingerprint:
            parts.claims.end(job)  # a reload came in between
            return None
        try:
            photo = Photo(job)
        except Exception as error:  # noqa: BLE001 - each kind is told apart there
            self._end_unsent(job, folder, error)
            return None
        parts.failpoint(Step.READ)
        key = Key(photo.content, job.fingerprint)
        if not parts.claims.begin_key(key, job):
            photo.close()
            return None
        return Attempt(runtime, job, folder, profile, photo, key)

    def _look_up(self, runtime: Runtime, read: deque[Attempt], ready: deque[Attempt]) -> None:
        """Deliver results that are paid for; name the outputs of the other photos, and move these to ``ready``."""
        parts, outbox = self._parts, str(read[0].folder.outbox)
        try:
            if problem := parts.outboxes.problem(outbox, by_writing=False):
                raise problem
            now = time.time()
            names = [output_names(one.job, one.folder, one.profile, one.key.content, now) for one in read]
            recorded = parts.targets.recorded([name for of_one in names for name in of_one])
            wasted = parts.ledger.wasted([(one.key, one.job.retried_at) for one in read])
            delivered = parts.outputs.with_keys([one.key for one in read])
            has_room = parts.results.has_room()
        except Exception as error:  # noqa: BLE001 - each kind is told apart there
            while read:
                self._give_up(read.popleft(), error)
            return
        checked_folders: set[str] = set()
        for paths, in_vain in zip(names, wasted, strict=True):
            attempt = read.popleft()
            job = attempt.job
            try:
                attempt.target = parts.targets.reserve(job, outbox, paths, recorded)
                delivery = None
                if not job.forced:
                    placed = recorded.get(attempt.target.path)
                    delivery = self._find_result(attempt, placed, delivered[attempt.key])
                parts.failpoint(Step.FOUND)
                if delivery is not None:
                    self._deliver_found(attempt, delivery)
                    continue
                if is_spent(in_vain, runtime.config.retry):
                    raise Refused(
                        "this picture was sent before with these options, and no usable result came of it",
                        f"Sending it again may cost a credit again. To do that: rembg-watch jobs retry {job.id}",
                        "wasted",
                    )
                self._check_before_sending(attempt, has_room=has_room, checked=checked_folders)
            except Exception as error:  # noqa: BLE001 - each kind is told apart there
                self._give_up(attempt, error)
            else:
                ready.append(attempt)

    def _deliver_found(self, attempt: Attempt, delivery: Delivery) -> None:
        """Hand over a result that was paid for before."""
        attempt.photo.close()
        self._parts.claims.prepared(attempt.job)
        self._completers.put(delivery)
        self._parts.claims.end_key(attempt.key)

    def _check_before_sending(self, attempt: Attempt, *, has_room: bool, checked: set[str]) -> None:
        """Raise where a photo is not meant to be sent any more, or its result could not be written.

        ``checked`` are the folders of the outbox that were looked at already.

        Raises:
            SourceChanged: a reload left the photo out of its folder.
            TargetError: the result store is full, or the output's own folder can't be written.
        """
        job, target = attempt.job, attempt.target
        if not job.forced and (reason := attempt.folder.refuses(job.path)):
            raise SourceChanged(reason, "It is sent when include, exclude and recursive let it in again.")
        if not has_room:
            raise TargetError(
                "the state directory is full", "Free some space there; sending goes on by itself.", "state-full"
            )
        if (place := os.path.dirname(target.path)) not in checked:
            check_folder(target.root, target.relpath)
            checked.add(place)

    def _find_result(self, attempt: Attempt, placed: Output | None, known: list[Output]) -> Delivery | None:
        """Return the delivery of a result that is paid for, or None.

        It may be in its place (``placed`` is what is known of the file there), in the store, or in one of the delivered
        files ``known`` to hold it.
        """
        parts, job, key = self._parts, attempt.job, attempt.key
        delivery = Delivery(job, attempt.folder, key, attempt.target, "", 0, How.REUSED, profile=attempt.profile.name)
        if placed is not None and (placed.folder, placed.source) == (job.folder, job.path):
            of_key = (placed.content_hash, placed.fingerprint) == key
            if of_key and same_content(placed.path, placed.hash, placed.size):  # only the file's time has changed
                delivery.hash, delivery.size, delivery.in_place = placed.hash, placed.size, True
                return delivery
        if not attempt.folder.reuse_results:
            known = [one for one in known if (one.folder, one.source) == (job.folder, job.path)]
            if not known:
                return None
        kept = parts.results.find(key)
        data = None if kept is None else parts.results.read(kept)
        if data is None:
            kept = next(filter(None, (self._take_in(attempt, one) for one in known)), None)
        if kept is None:
            return None
        delivery.hash, delivery.size, delivery.path, delivery.data = kept.hash, kept.size, kept.path, data or None
        return delivery

    def _take_in(self, attempt: Attempt, output: Output) -> Kept | None:
        """Copy a delivered result into the store; None where it is not what was delivered any more."""
        owner = attempt.runtime.config.folder(output.folder) or attempt.folder
        scope = f"{OUTBOX}{owner.outbox}"
        if scope != f"{OUTBOX}{attempt.target.root}" and self._parts.holds.has(scope, "late"):
            raise SourceError(
                f"the paid result of this picture is in {printable(str(owner.outbox))}, which does not answer",
                "It is copied when that folder answers again.",
            )
        try:
            with self._waiting_for(scope):
                return self._parts.results.take_in(attempt.key, output.path, output.hash, output.size)
        except OSError as error:
            raise TargetError(
                f"the state directory can't be written: {error.strerror}",
                "Free some space there; sending goes on by itself.",
                "state-full",
            ) from error

    def _give_up(self, attempt: Attempt, error: Exception) -> None:
        """End or put off a job whose photo was read and can't be sent."""
        try:
            if isinstance(error, StateError):
                raise error
            self._end_unsent(attempt.job, attempt.folder, error)
        finally:
            self._drop(attempt)

    def _end_unsent(self, job: Job, folder: Folder, error: Exception) -> None:
        """Write what became of a job that could not be sent."""
        try:
            match error:
                case StateError():
                    raise error
                case SourceError():
                    self._end_unread(job, error)
                case Refused():
                    log.warning(
                        "job.refused",
                        **_where(job),
                        bytes_in=job.version.size,
                        code=error.code,
                        reason=error.message,
                    )
                    self._fail(job, folder, error.code, error.message, error.hint)
                case TargetError():
                    self._hold_target(job, folder, error)
                case _:
                    log.error("job.crashed", job=job.id, path=printable(job.path), exc_info=error)
                    self._wait(job, INTERNAL_AGAIN, "internal", _INTERNAL, _INTERNAL_HINT, counted=True)
        finally:
            self._parts.claims.end(job)
            self._parts.holds.end_trial(job.id)

    def _end_unread(self, job: Job, error: SourceError, attempt: tuple[int, AttemptEnd] | None = None) -> None:
        """Write that a photo changed, or can't be read for now."""
        if not isinstance(error, SourceChanged):
            self._wait(job, UNREADABLE_AGAIN, "unreadable", error.message, error.hint, attempt=attempt)
            return
        self._parts.queue.end(
            job,
            State.SUPERSEDED,
            clock.now(),
            code="changed",
            message=error.message,
            hint=error.hint,
            attempt=attempt,
            forget=True,
        )
        self._parts.rescans.put((job.folder, job.path))
        self._parts.wake_daemon.set()

    def _wait(
        self,
        job: Job,
        seconds: float,
        code: str,
        message: str,
        hint: str,
        *,
        counted: bool = False,
        attempt: tuple[int, AttemptEnd] | None = None,
    ) -> None:
        """Write that a job waits for so many seconds before it is tried again."""
        now = clock.now()
        self._parts.queue.end(
            job,
            State.WAITING,
            now,
            code=code,
            message=message,
            hint=hint,
            counted=counted,
            not_before=now + seconds,
            attempt=attempt,
        )

    def _hold_target(self, job: Job, folder: Folder, error: TargetError) -> None:
        """Hold the outbox that can't be written; where only one place in it can't, put off that one job."""
        holds, outbox = self._parts.holds, str(folder.outbox)
        if error.code == "state-full":
            holds.hold(ALL, "full", error.message, error.hint, check_in=holds.timings.check)
        elif error.code in {"name", "denied", "other"} and writable(outbox) is None:
            self._wait(job, PLACE_AGAIN, "place", error.message, error.hint)
        else:
            holds.hold(f"{OUTBOX}{outbox}", error.code, error.message, error.hint, check_in=holds.timings.outbox_check)

    # -- 2. mark as sent

    def _mark_sent(self, runtime: Runtime, attempts: list[Attempt]) -> list[Attempt]:
        """Commit which of these photos go out now, and return them; the others are dropped, in memory alone."""
        parts, marked = self._parts, list[Attempt]()
        try:
            with parts.live.lock:
                wall = time.time()  # under the lock: a reading of the account counts what is marked after it
                may = [attempt for attempt in attempts if self._is_permitted(runtime, attempt)]
                jobs, over = parts.budget.take(runtime.config, [attempt.job for attempt in may], wall)
                chosen = {job.id for job in jobs}
                may = [attempt for attempt in may if attempt.job.id in chosen]
                numbers = (
                    parts.queue.mark_sent([_sending(attempt) for attempt in may], clock.now(), wall) if may else []
                )
                parts.budget.sent(sum(number is not None for number in numbers))
            for attempt, number in zip(may, numbers, strict=True):
                if number is not None:
                    attempt.number, attempt.sent_wall, attempt.sent_at = number, wall, time.monotonic()
                    marked.append(attempt)
        finally:
            for attempt in attempts:
                if not attempt.number:
                    self._drop(attempt)
        parts.claims.prepared(*(attempt.job for attempt in marked))
        for job in over:
            limit = getattr(runtime.config.folder(job.folder), "daily_limit", None) or 0
            folder_over_limit(parts.holds, job.folder, limit)
        for _ in marked:
            parts.failpoint(Step.MARKED_SENT)
        return marked

    def _is_permitted(self, runtime: Runtime, attempt: Attempt) -> bool:
        """Return whether a photo may go out, as things are at this moment. Asked under the lock of the runtime."""
        parts = self._parts
        if parts.live.stopping or parts.live.current is not runtime or not parts.budget.is_about(runtime):
            return False
        return parts.holds.admits(attempt.job.id, attempt.scopes())

    def _drop(self, attempt: Attempt) -> None:
        """Release a photo that was not sent: no row was written for it, so none is to be undone."""
        parts = self._parts
        attempt.photo.close()
        if attempt.target is not None:
            parts.targets.release(attempt.target)
        parts.holds.end_trial(attempt.job.id)
        parts.claims.end_key(attempt.key)
        parts.claims.end(attempt.job)

    # -- 3. send

    def _send(self, attempt: Attempt) -> None:
        """Send one photo that is marked as sent, and do with the answer what it deserves."""
        parts, job = self._parts, attempt.job
        delivery: Delivery | None = None
        try:
            try:
                body = self._ask(attempt)
                delivery = self._verify(attempt, body)
            except ApiError as error:
                self._judged(attempt, error.verdict)
            except SourceError as error:
                self._not_sent(attempt, error)
            except StateError:
                raise
            except Exception:
                log.exception("job.crashed", job=job.id, path=printable(job.path))
                self._crashed(attempt)
        finally:
            if delivery is None:
                parts.refresh_after(attempt.runtime)
                parts.targets.release(attempt.target)
                parts.holds.end_trial(job.id)
                parts.claims.end(job)
            else:
                self._completers.put(delivery)
            if delivery is None or not delivery.has_key:
                parts.claims.end_key(attempt.key)

    def _ask(self, attempt: Attempt) -> Body:
        """Send the photo and receive the answer into the result store."""
        parts, photo, target, seat = self._parts, attempt.photo, attempt.target, self._here.seat
        body: Body | None = None
        seat.in_flight = True
        photo.waiting = lambda: self._waiting_for(f"{INBOX}{attempt.job.folder}")
        try:
            body = Body(
                parts.results, attempt.key, attempt.number, target.root, target.relpath, parts.temp_tag(attempt.job)
            )
            parts.failpoint(Step.OPENED)
            photo.check()
            attempt.runtime.client.send(
                photo if photo.data is None else photo.data,  # type: ignore[arg-type]
                photo.size,
                photo.header.kind,
                attempt.profile.options,
                body,
            )
        except BaseException:
            if body is not None:
                attempt.bytes_out = body.size
                body.discard()
            raise
        finally:
            with self._lock:
                has_place, seat.in_flight = seat.in_flight, False
            if has_place:
                parts.rate.give_back()
            photo.close()
            attempt.api_ms = (time.monotonic() - attempt.sent_at) * 1000
        attempt.bytes_out = body.size
        return body

    # -- 4. verify

    def _verify(self, attempt: Attempt, body: Body) -> Delivery:
        """Check the answer to its last pixel, and keep it."""
        parts, header = self._parts, attempt.photo.header
        try:
            parts.failpoint(Step.ANSWERED)
            checked(body.to_verify, attempt.profile.options, (header.width, header.height))
            parts.failpoint(Step.VERIFIED)
        except BaseException:
            body.reject()
            raise
        body.keep()
        parts.rate.accepted(attempt.sent_at)
        parts.holds.service_answered()
        parts.holds.succeeded(f"{PROFILE}{attempt.key.fingerprint}")
        return Delivery(
            attempt.job,
            attempt.folder,
            attempt.key,
            attempt.target,
            body.hash,
            body.size,
            How.SENT,
            path=body.path,
            data=body.data,
            temp=body.temp,
            attempt=attempt.number,
            end=attempt.end(Charge.CHARGED),
            profile=attempt.profile.name,
            api_ms=attempt.api_ms,
            has_key=not body.is_stored,
        )

    # -- what else may come

    def _judged(self, attempt: Attempt, verdict: Verdict) -> None:
        """Write what an answer that is no picture means for the job, the service and the account."""
        parts, job, config = self._parts, attempt.job, attempt.runtime.config
        outcome = decide(
            verdict,
            job.attempts,
            parts.ledger.wasted([(attempt.key, job.retried_at)])[0],
            config.retry,
            now=clock.now(),
            jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
            healthy=parts.holds.healthy,
        )
        if verdict.charge is Charge.NOT_CHARGED:
            with parts.live.lock:
                parts.budget.not_charged(attempt.sent_wall)
        end = (attempt.number, attempt.end(verdict.charge, verdict, counted=outcome.counted))
        if outcome.state is State.FAILED:
            self._fail(job, attempt.folder, verdict.code, verdict.message, verdict.hint, end)
        else:
            parts.queue.end(
                job,
                outcome.state,
                clock.now(),
                code=verdict.code,
                message=verdict.message,
                hint=verdict.hint,
                not_before=outcome.not_before,
                counted=outcome.counted,
                attempt=end,
            )
        log.warning(
            "job.failed" if outcome.state is State.FAILED else "job.again",
            **_where(job),
            api_ms=round(attempt.api_ms),
            about=verdict.about.value,
            code=verdict.code,
            status=verdict.status,
            reason=verdict.message,
            charge=verdict.charge.value,
        )
        if outcome.accepted:
            parts.rate.accepted(attempt.sent_at)
        elif outcome.accepted is False:
            parts.rate.refused(attempt.sent_at, verdict.retry_after)
        if outcome.answered:
            parts.holds.service_answered()
        self._hold_for(attempt, verdict, fault=outcome.fault)

    def _hold_for(self, attempt: Attempt, verdict: Verdict, *, fault: bool) -> None:
        """Hold what the verdict says would be refused as well."""
        holds, config = self._parts.holds, self._parts.live.config
        if fault:
            paid = verdict.charge is not Charge.NOT_CHARGED
            unreachable = verdict.code in UNREACHABLE
            holds.service_failed(verdict.message, verdict.hint, unreachable=unreachable, paid=paid, job=attempt.job.id)
        elif verdict.about is About.PACE and (wait := verdict.retry_after or 0.0) > LONG_WAIT:
            holds.hold(ALL, "pace", verdict.message, f"the service asked to wait {wait:.0f} s", check_in=wait)
        elif verdict.about in (About.ACCOUNT, About.CREDITS):
            if attempt.runtime.account == self._parts.live.current.account:
                hold_account(holds, verdict)
        elif verdict.about is About.PROFILE:
            scope = f"{PROFILE}{attempt.key.fingerprint}"
            fields = "; ".join(f"{error.field}: {error.message}" for error in verdict.fields)
            if scope not in {s for folder in config.folders for s in _profile_scopes(folder)}:
                return  # a reload has corrected it
            if not holds.has(scope) or holds.is_trial(attempt.job.id, scope):
                holds.hold(
                    scope,
                    "options",
                    fields or verdict.message,
                    "correct the profile in the config and reload; one photo is tried at each check",
                    check_in=holds.timings.profile_check,
                )

    def _not_sent(self, attempt: Attempt, error: SourceError) -> None:
        """Write that a photo changed, or could not be read, before its last byte was out: nothing was charged."""
        end = AttemptEnd(Charge.NOT_CHARGED, "changed", None, error.message, 0, 0, attempt.api_ms, at=time.time())
        with self._parts.live.lock:
            self._parts.budget.not_charged(attempt.sent_wall)
        self._end_unread(attempt.job, error, (attempt.number, end))

    def _crashed(self, attempt: Attempt) -> None:
        """Write that an error of ours ended an attempt; it may have cost a credit, so it counts."""
        job, config = attempt.job, attempt.runtime.config
        end = AttemptEnd(
            Charge.POSSIBLY,
            "internal",
            None,
            _INTERNAL,
            job.version.size,
            attempt.bytes_out,
            attempt.api_ms,
            counted=True,
        )
        if job.attempts + 1 >= min(config.retry.max_attempts, 2):
            hint = f"Please report it with the log; then: rembg-watch jobs retry {job.id}"
            self._fail(job, attempt.folder, "internal", _INTERNAL, hint, (attempt.number, end))
        else:
            ended = (attempt.number, end)
            self._wait(job, INTERNAL_AGAIN, "internal", _INTERNAL, _INTERNAL_HINT, counted=True, attempt=ended)

    def _fail(
        self,
        job: Job,
        folder: Folder,
        code: str,
        message: str,
        hint: str,
        attempt: tuple[int, AttemptEnd] | None = None,
    ) -> None:
        """End a job as failed; its source is moved where the folder says so."""
        folder = self._parts.live.config.folder(job.folder) or folder  # what it says now counts
        tidy = disposition(folder, failed=True)
        self._parts.queue.end(
            job, State.FAILED, clock.now(), code=code, message=message, hint=hint, tidy=tidy, attempt=attempt
        )
        self._parts.failpoint(Step.FINISHED)
        if tidy is not None:
            self._completers.put_away_sources(folder)


def _scopes(folder: Folder, fingerprint: str) -> list[str]:
    return [ALL, f"{INBOX}{folder.inbox}", f"{OUTBOX}{folder.outbox}", f"{PROFILE}{fingerprint}"]


def _profile_scopes(folder: Folder) -> list[str]:
    return [f"{PROFILE}{fingerprint}" for fingerprint in folder.fingerprints]


def _sending(attempt: Attempt) -> Sending:
    header = attempt.photo.header
    return Sending(attempt.job, attempt.key, header.width, header.height, attempt.target.path)


def _where(job: Job) -> dict[str, object]:
    """Return what every log line about a job begins with."""
    return {
        "job": job.id,
        "folder": printable(job.folder),
        "path": printable(job.path),
        "profile": job.profile,
        "attempt": job.attempts + 1,
    }
