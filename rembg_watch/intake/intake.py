"""From folders to finished files, for as long as the daemon runs.

Three threads: one owns the table of candidates and decides; one walks (watches, roots, scans); one decodes what has to
be decoded in full, so that neither waits for it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import structlog

from rembg_watch.intake import completeness
from rembg_watch.intake.completeness import Gone, NotAFile
from rembg_watch.intake.gate import NEVER, Gate
from rembg_watch.intake.hearing import Hearing
from rembg_watch.intake.inbox import Health, Inbox, RootStatus
from rembg_watch.intake.letters import Left, Offer, Scanned
from rembg_watch.intake.patrol import Patrol
from rembg_watch.intake.readiness import How, Timings
from rembg_watch.intake.roots import Rounds
from rembg_watch.intake.watcher import News

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rembg_watch.config.model import Folder
    from rembg_watch.intake.candidate import Adopt, DecodeOrder, KnownFile
    from rembg_watch.jobs.model import Arrival, Unready

log = structlog.get_logger()

SILENT_SECONDS = 30.0
"""After how long without an answer from a filesystem an inbox is called silent."""
TURN_SECONDS = 300.0
"""What a turn of the deciding thread may take at most: it looks at files, on slow filesystems too."""
WALK_SECONDS = 900.0
"""How long the walking thread may be at one folder of a local filesystem at most."""
GATHER_SECONDS = 0.005
"""The least time between two turns of the deciding thread: in a stream of news many files share one commit."""
_MAIL_AT_ONCE = 2000
_TABLE_ROOM = 20_000


class Decoded(NamedTuple):
    """The answer to a decode order: ``damage`` is None if the picture is whole. Not ``answered`` if it changed."""

    order: DecodeOrder
    damage: str | None
    answered: bool


class Wanted(NamedTuple):
    """A file that somebody wants to be looked at."""

    inbox: str
    path: str


Letter = News | Offer | Scanned | Left | Decoded | Wanted


class Intake:
    """Watches folders and gives finished files to ``on_arrivals``, in its own thread.

    ``on_arrivals`` may block and may raise: the files are handed over again later. ``adopt`` finds an output that
    already stands in place for a source that no row knows. ``on_turn`` is called, in any of the threads, whenever
    what is told here may have changed. ``clock`` is monotonic, ``wall`` is Unix time.
    """

    def __init__(
        self,
        folders: Sequence[Folder],
        store: KnownFile,
        on_arrivals: Callable[[list[Arrival]], None],
        *,
        adopt: Adopt | None = None,
        on_turn: Callable[[], None] = lambda: None,
        timings: Timings | None = None,
        rounds: Rounds | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._on_turn = on_turn
        self._clock = clock
        self._wall = wall
        self._orders: queue.SimpleQueue[DecodeOrder | None] = queue.SimpleQueue()
        self._gate = Gate(
            store, on_arrivals, self._orders.put, clock=clock, wall=wall, timings=timings or Timings(), adopt=adopt
        )
        self._mail: deque[Letter] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._busy_since = NEVER
        """When the deciding thread began its turn; it may sleep for months before the next one."""
        self._turned = clock()
        self._patrol = Patrol(
            folders, store, self._send, self._send, self._has_room, on_turn, clock=clock, rounds=rounds or Rounds()
        )
        self._hearing = Hearing(self._gate, self._patrol.visit, wall)
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (
                ("intake", self._run),
                ("intake-patrol", self._patrol.run),
                ("intake-decode", self._decode_orders),
            )
        ]

    # -- for the daemon

    def start(self) -> None:
        """Start watching, then scan. Call it in the main thread: it also sees to the signal of broken leases."""
        completeness.ignore_lease_signal()
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """End all threads; waits ``timeout`` seconds for each at most. Nothing is handed over after it."""
        self._stopping = True
        self._patrol.stop()
        self._orders.put(None)
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout)

    def rescan_now(self) -> None:
        """Scan every inbox as soon as possible."""
        self._patrol.rescan_now()

    def replace_folders(self, folders: Sequence[Folder]) -> None:
        """Go on with these folders: what is new is watched and scanned, what is gone is forgotten."""
        self._patrol.replace_folders(folders)

    def offer(self, inbox: str, path: str) -> None:
        """Look at one file again, such as one that changed while it was being sent."""
        self._send(Wanted(inbox, path))

    @property
    def first_scan_done(self) -> threading.Event:
        """Set once every inbox that is there was scanned."""
        return self._patrol.first_scan_done

    @property
    def silence(self) -> float:
        """For how many seconds the thread that walks through the inboxes has been at one folder; 0 while it sleeps."""
        return max(0.0, self._clock() - self._patrol.busy_since)

    def waits_for(self) -> str | None:
        """Name the inbox on a network filesystem that has not answered for a while, or None."""
        inbox = self._patrol.visiting
        return inbox.name if inbox is not None and inbox.network and self.silence > SILENT_SECONDS else None

    def unwell(self) -> str | None:
        """Say which loop has died, or has been at one thing far longer than that can take; None while all are well.

        A walk that waits for a network filesystem is an inbox that is silent, which no restart would mend.
        """
        if self._stopping or self._threads[-1].ident is None:
            return None
        for thread in self._threads:
            if not thread.is_alive():
                return f"the thread {thread.name} has died"
        if (seconds := self._clock() - self._busy_since) > TURN_SECONDS:
            return f"intake hangs: it has been at one turn for {seconds:.0f} s"
        if (seconds := self.silence) > WALK_SECONDS and self.waits_for() is None:
            return f"the walk through the inboxes hangs: nothing has moved there for {seconds:.0f} s"
        return None

    @property
    def found_by_rescan(self) -> int:
        """How many files only a rescan found, though events should have told of them."""
        return self._gate.found_by_rescan

    @property
    def overflows(self) -> int:
        """How often the kernel's event queue overflowed."""
        return self._patrol.overflows

    def roots(self) -> list[RootStatus]:
        """Say how each inbox is."""
        silence = self.silence
        visited = self._patrol.visiting
        return [
            RootStatus(
                inbox.name, Health.SILENT, inbox.mode, f"its filesystem has not answered for {silence:.0f} seconds"
            )
            if inbox is visited and silence > SILENT_SECONDS
            else inbox.status()
            for inbox in self._patrol.inboxes
        ]

    def unready(self) -> list[Unready]:
        """Give what is in the inboxes and not handed over, and why: candidates, then the ignored (1000 an inbox)."""
        files = self._gate.unready()
        for inbox in self._patrol.inboxes:
            files += inbox.ignored_files()
        return files

    def counts(self) -> dict[str, int]:
        """Count what is not handed over: ``settling``, ``incomplete``, ``ignored``."""
        settling = self._gate.pending()
        ignored = sum(len(inbox.ignored) for inbox in self._patrol.inboxes)
        return {"settling": settling, "incomplete": len(self._gate) - settling, "ignored": ignored}

    # -- the deciding thread

    def _send(self, letter: Letter) -> None:
        self._mail.append(letter)
        if not self._wake.is_set():  # a turn clears it before it reads the mail
            self._wake.set()

    def _has_room(self) -> bool:
        return len(self._mail) < _MAIL_AT_ONCE and self._gate.pending() < _TABLE_ROOM

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception:
                log.exception("intake.loop_failed", hint="it goes on; everything is scanned to be sure")
                self._patrol.rescan_now()
                self._wake.wait(0.5)

    def _turn(self) -> None:
        pause = 0.0 if self._mail else self._gate.next_due() - self._clock()
        if pause > 0:
            self._busy_since = NEVER
            self._wake.wait(None if pause == NEVER else pause)
        self._busy_since = self._clock()
        if (early := self._turned + GATHER_SECONDS - self._clock()) > 0:
            time.sleep(min(early, GATHER_SECONDS))
        self._wake.clear()
        deserted: set[Inbox] = set()
        for _ in range(min(len(self._mail), _MAIL_AT_ONCE)):
            self._open(self._mail.popleft(), deserted)
        for inbox in deserted:
            self._gate.check_inbox(inbox)
        if not self._stopping:
            self._gate.step()
        self._turned = self._clock()
        self._on_turn()

    def _open(self, letter: Letter, deserted: set[Inbox]) -> None:
        match letter:
            case News():
                self._hearing.hear(letter, deserted)
            case Offer(inbox, found, how, by_rescan):
                if not inbox.gone:
                    for file in found:
                        self._gate.offer(inbox, file.path, how, status=file.status, by_rescan=by_rescan)
            case Scanned(inbox, summary):
                inbox.ignored.replace(summary.ignored, summary.ignored_count, self._wall())
                self._gate.check_inbox(inbox)
            case Left(inbox):
                self._gate.drop_inbox(inbox)
            case Decoded(order, damage, answered):
                if answered:
                    self._gate.decoded(order, damage)
                else:
                    self._gate.undecided(order)
            case Wanted(name, path):
                for wanted in self._patrol.inboxes:
                    if wanted.name == name and not wanted.gone:
                        self._gate.offer(wanted, path, How.WRITTEN)

    # -- the decoding thread

    def _decode_orders(self) -> None:
        while (order := self._orders.get()) is not None and not self._stopping:
            damage: str | None = None
            answered = True
            try:
                damage = completeness.decode(order.path, order.identity)
            except (Gone, NotAFile):
                answered = False
            except Exception as error:
                log.exception("intake.decode_failed")
                damage = f"it could not be decoded: {error}"
            self._send(Decoded(order, damage, answered))
