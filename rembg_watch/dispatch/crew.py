"""The workers: threads that take claimed jobs one by one, and the books of what each of them is at."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from rembg_watch.dispatch.desk import Desk
from rembg_watch.dispatch.report import Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from rembg_watch.dispatch.report import Report
    from rembg_watch.jobs.model import Job

SPARE = 2
"""For so many requests in flight there is one more worker, who reads the next photo or delivers an answer."""
EAR_SECONDS = 0.5
"""The longest wait for a worker's end: a signal that comes right before a wait in the main thread is heard after it."""

log = structlog.get_logger()


class Crew:
    """The workers and the jobs that they have. Safe for threads.

    ``run`` does a job, ``settle`` hears how it left, ``hungry`` is told when few jobs are left to be taken.
    """

    def __init__(
        self,
        run: Callable[[Job], Report],
        settle: Callable[[Job, Report], None],
        hungry: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._run = run
        self._settle = settle
        self._hungry = hungry
        self._clock = clock
        self._local: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._claimed: dict[int, Job] = {}
        """Jobs that were claimed and have not ended: waiting here, parked or in work."""
        self._flying: dict[int, float] = {}
        """Since when a request is under way, by job."""
        self._steps: dict[int, float] = {}
        """By worker that is at a job: when it made its last step. One that waits for its turn is not here."""
        self._lost: str | None = None
        """Which worker has died, and of what."""
        self._size = 0
        """How many workers there are to be; those above it end one by one."""
        self._threads: list[threading.Thread] = []
        """Those that have not ended."""
        self._stopping = False
        self._desk = Desk()
        self._finished: deque[float] = deque()

    # -- for the dispatcher

    def resize(self, workers: int) -> None:
        """Go on with so many workers; one too many ends after its job."""
        for number in range(self._size, workers):
            thread = threading.Thread(target=self._work, name=f"worker-{number + 1}", daemon=True)
            with self._lock:
                self._threads.append(thread)
            thread.start()
        for _ in range(workers, self._size):
            self._local.put(None)
        self._size = workers

    def enter(self, jobs: list[Job]) -> None:
        """Note jobs that were claimed; :meth:`put` gives them to the workers."""
        with self._lock:
            self._claimed.update((job.id, job) for job in jobs)

    def put(self, job: Job) -> None:
        """Let a worker take this job, at once or again."""
        self._local.put(job)

    def recall(self) -> list[Job]:
        """Take the jobs that no worker has begun out of their hands."""
        jobs: list[Job] = []
        words = 0
        with suppress(queue.Empty):
            while True:
                if (job := self._local.get_nowait()) is None:
                    words += 1
                else:
                    jobs.append(job)
        for _ in range(words):  # those to the workers that are too many
            self._local.put(None)
        self.leave(jobs)
        return jobs

    def leave(self, jobs: list[Job]) -> None:
        """Forget jobs that were claimed and are not begun."""
        with self._lock:
            for job in jobs:
                self._claimed.pop(job.id, None)

    def waiting(self) -> int:
        """Count the jobs that no worker has taken yet."""
        return self._local.qsize()

    def claimed(self, folder: str | None = None) -> int:
        """Count the jobs that were claimed and have not ended, all of them or those of one inbox."""
        with self._lock:
            return sum(1 for job in self._claimed.values() if folder in (None, job.folder))

    def leases(self) -> frozenset[str | None]:
        """Give the lease of each job that was claimed and has not ended."""
        with self._lock:
            return frozenset(job.lease for job in self._claimed.values())

    def flying(self) -> list[tuple[Job, float]]:
        """Give the jobs whose photo is on its way to its answer, with the Unix time since when."""
        with self._lock:
            return [(self._claimed[n], since) for n, since in self._flying.items() if n in self._claimed]

    def done_last_minute(self) -> int:
        """Count the jobs that were done in the last 60 s."""
        now = time.monotonic()
        with self._lock:
            while self._finished and self._finished[0] < now - 60:
                self._finished.popleft()
            return len(self._finished)

    def unwell(self, longest_step: float) -> str | None:
        """Say which worker has died, or has been at one step for more than so many seconds; None if all are well."""
        if self._lost is not None:
            return self._lost
        now = time.monotonic()
        for ident, since in self._steps.copy().items():
            if (seconds := now - since) > longest_step:
                name = next((thread.name for thread in self._workers() if thread.ident == ident), "a worker")
                return f"{name} hangs: it has been at one step of one photo for {seconds:.0f} s"
        return None

    def halt(self) -> None:
        """Begin no job any more."""
        self._stopping = True

    def stop(self, grace: float) -> list[Job]:
        """Halt, wait ``grace`` seconds for the jobs in work, and give what is left: to be given back."""
        self.halt()
        while True:  # claimed but not begun
            try:
                self._local.get_nowait()
            except queue.Empty:
                break
        workers = self._workers()
        for _ in workers:
            self._local.put(None)
        deadline = time.monotonic() + grace
        for thread in workers:
            while thread.is_alive() and (left := deadline - time.monotonic()) > 0:
                thread.join(min(left, EAR_SECONDS))
        with self._lock:
            return list(self._claimed.values())

    def _workers(self) -> list[threading.Thread]:
        with self._lock:
            return self._threads.copy()

    # -- for the line

    def step_made(self) -> None:
        """Note that this worker goes on."""
        self._steps[threading.get_ident()] = time.monotonic()

    def step_waits(self) -> None:
        """Note that this worker waits for its turn: a slow pace makes many wait for long, and none of them hangs."""
        self._steps.pop(threading.get_ident(), None)

    def away(self) -> AbstractContextManager[None]:
        """Let others work at this worker's seat until the end of the block."""
        return self._desk.away()

    @contextmanager
    def in_flight(self, job: Job) -> Iterator[None]:
        """Show the job as in flight meanwhile."""
        with self._lock:
            self._flying[job.id] = self._clock()
        try:
            yield
        finally:
            with self._lock:
                del self._flying[job.id]

    # -- in each worker's thread

    def _work(self) -> None:
        try:
            while (job := self._local.get()) is not None:
                with self._desk.seat():
                    if not self._stopping:
                        self._do(job)
        except Exception as error:
            self._lost = f"{threading.current_thread().name} has died: {error}"
            log.exception("dispatch.worker_died")
        finally:  # any of them may be the one that is too many: the one that takes the word for it
            with self._lock:
                self._threads.remove(threading.current_thread())

    def _do(self, job: Job) -> None:
        self.step_made()
        try:
            report = self._run(job)
        finally:
            self.step_waits()
        with self._lock:
            if report.ended is not Ended.PARKED:
                self._claimed.pop(job.id, None)
            if report.ended is Ended.DONE:
                self._finished.append(time.monotonic())
        if report.ended is not Ended.PARKED:
            self._settle(job, report)
        if self.waiting() < self._size:
            self._hungry()


def spare(requests: int) -> int:
    """Give how many workers more than requests in flight there are."""
    return max(1, requests // SPARE)
