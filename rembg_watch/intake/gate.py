"""The table of candidates: every file that may be finished soon, each with the time of its next question.

Not thread-safe: one thread owns it. What takes long (a full decode) is asked for with a callback and told back later.
"""

from __future__ import annotations

import heapq
import os
import stat as statmodes
from itertools import count
from typing import TYPE_CHECKING

import structlog

from rembg_watch.intake import completeness
from rembg_watch.intake.candidate import Candidate, DecodeOrder, Key
from rembg_watch.intake.completeness import Gone, Identity, NotAFile
from rembg_watch.intake.handover import Finished, Handover
from rembg_watch.intake.readiness import Decode, How, Look, Moment, Ready, Timings, Wait, decide
from rembg_watch.jobs.model import Unready
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.config.model import Folder
    from rembg_watch.intake.candidate import Adopt, KnownFile
    from rembg_watch.intake.inbox import Inbox
    from rembg_watch.jobs.model import Arrival

log = structlog.get_logger()

HANDOVER_RETRY = 1.0
"""Seconds until files are handed over again that could not be."""
LOOK_RETRY = 30.0
"""Seconds until a file is looked at again at which something unforeseen happened."""
NEVER = float("inf")


class Gate:
    """Takes hints of files, gives finished ones to ``on_arrivals``, and knows what is not finished and why."""

    def __init__(
        self,
        store: KnownFile,
        on_arrivals: Callable[[list[Arrival]], None],
        on_decode: Callable[[DecodeOrder], None],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        timings: Timings,
        adopt: Adopt | None = None,
        retry: bool = True,
    ) -> None:
        self._retry = retry
        self._handover = Handover(store, on_arrivals, adopt)
        self._on_decode = on_decode
        self._clock = clock
        self._wall = wall
        self._timings = timings
        self._table: dict[Key, Candidate] = {}
        self._heap: list[tuple[float, int, Candidate]] = []
        self._order = count()
        self._incomplete: set[Candidate] = set()

    def __len__(self) -> int:
        return len(self._table)

    # -- hints

    def offer(
        self,
        inbox: Inbox,
        path: str,
        how: How,
        *,
        status: os.stat_result | None = None,
        by_rescan: bool = False,
    ) -> None:
        """Take a hint that something may be new at ``path``. ``status`` is its lstat, where it is at hand."""
        key = Key(inbox.name, path)
        candidate = self._table.get(key)
        if candidate is None:
            candidate = self._table[key] = Candidate(inbox, path, how, self._wall(), by_rescan)
        elif status is not None and candidate.identity == Identity.of(status) and how is not How.MOVED:
            return  # a scan saw what we know
        elif how is How.WRITTEN:
            self._look_again(candidate)
        if how is How.MOVED:
            candidate.how, candidate.arriving = How.MOVED, True
        candidate.by_rescan &= by_rescan
        if not candidate.decoding:
            self._at(candidate, self._clock())

    def check(self, inbox: Inbox, path: str) -> None:
        """Take a hint that the file at ``path`` may be gone."""
        candidate = self._table.get(Key(inbox.name, path))
        if candidate is not None and not candidate.decoding:
            self._at(candidate, self._clock())

    def check_inbox(self, inbox: Inbox) -> None:
        """See whether the incomplete files of an inbox are still there and as they were."""
        now = self._clock()
        for candidate in self._incomplete:
            if candidate.inbox is inbox and not candidate.decoding:
                self._at(candidate, now)

    def decoded(self, order: DecodeOrder, damage: str | None) -> None:
        """Take the answer to a decode order: None if the picture is whole."""
        candidate = self._table.get(order.key)
        if candidate is None or not candidate.decoding:
            return
        candidate.decoding = False
        if candidate.facts is not None and candidate.identity == order.identity:
            candidate.facts = candidate.facts.with_decode(damage)
        self._at(candidate, self._clock())

    def undecided(self, order: DecodeOrder) -> None:
        """Take the news that the file of a decode order changed or went away meanwhile."""
        candidate = self._table.get(order.key)
        if candidate is not None and candidate.decoding:
            candidate.decoding = False
            self._at(candidate, self._clock())

    def drop_inbox(self, inbox: Inbox) -> None:
        """Forget the candidates of an inbox."""
        for key in [key for key, candidate in self._table.items() if candidate.inbox is inbox]:
            self._forget(self._table[key])

    # -- the passing of time

    def next_due(self) -> float:
        """Give the time of the next question, or infinity."""
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else NEVER

    def pending(self) -> int:
        """Count the candidates that will be decided soon: all but the incomplete ones."""
        return len(self._table) - len(self._incomplete)

    def step(self, limit: int = 256) -> int:
        """Ask up to ``limit`` questions that are due and hand over what is finished; give the number of questions."""
        finished: list[Finished] = []
        asked = 0
        while asked < limit and self.next_due() <= self._clock():
            _, _, candidate = heapq.heappop(self._heap)
            candidate.due = NEVER
            asked += 1
            try:
                self._ask(candidate, finished)
            except Exception as error:
                if not self._retry:
                    raise
                log.exception("intake.look_failed", path=printable(candidate.path), hint="it is looked at again")
                candidate.reason, candidate.decoding = f"it could not be looked at: {error}", False
                self._at(candidate, self._clock() + LOOK_RETRY)
        if finished:
            self._hand_over(finished)
        return asked

    def _ask(self, candidate: Candidate, finished: list[Finished]) -> None:
        if not candidate.inbox.wants(candidate.path) or not self._identify(candidate):
            self._forget(candidate)
            return
        for _ in range(2):  # a look is followed by the decision about what it told
            inbox = candidate.inbox
            moment = Moment(
                candidate.how, candidate.changed_at, self._settle(inbox.folder), inbox.network, candidate.facts
            )
            decision = decide(moment, self._clock(), self._timings)
            match decision:
                case Wait(until, reason, incomplete):
                    candidate.reason = reason
                    if incomplete:
                        self._incomplete.add(candidate)
                    self._at(candidate, until)
                    return
                case Decode():
                    assert candidate.identity is not None
                    candidate.reason, candidate.decoding = "decoding it, to be sure that it is whole", True
                    key = Key(inbox.name, candidate.path)
                    self._on_decode(DecodeOrder(key, inbox.absolute(candidate.path), candidate.identity))
                    return
                case Ready(refusal):
                    finished.append(Finished(candidate, refusal))
                    return
                case Look():
                    if not self._look(candidate):
                        self._forget(candidate)
                        return
        self._at(candidate, self._clock())

    def _identify(self, candidate: Candidate) -> bool:
        """Stat the file and notice a change; False if it is gone or is left alone."""
        inbox, path = candidate.inbox, candidate.path
        try:
            status = os.lstat(inbox.absolute(path))
        except OSError:  # gone, or a folder on the way is
            return False
        if not statmodes.S_ISREG(status.st_mode):
            if not statmodes.S_ISDIR(status.st_mode):
                reason = completeness.describe(inbox.absolute(path), status.st_mode, inbox.root)
                inbox.ignored.add(path, reason, self._wall())
            return False
        self._note(candidate, Identity.of(status))
        return True

    def _note(self, candidate: Candidate, identity: Identity) -> None:
        arriving, candidate.arriving = candidate.arriving, False
        if identity == candidate.identity:
            return
        now = self._clock()
        if candidate.identity is not None:
            candidate.since = self._wall()
            if not arriving:
                candidate.how = How.WRITTEN  # whatever it was at first: somebody is at it
        candidate.changed_at = now
        if candidate.identity is None and candidate.how is How.FOUND and not candidate.inbox.network:
            # The time since its last change counts as quiet, but for no more than the normal way asks: the two
            # clocks are not one, and what needs longer has to be seen to be quiet.
            age = self._wall() - identity.ctime_ns / 1e9
            candidate.changed_at -= min(max(age, 0.0), self._settle(candidate.inbox.folder))
        candidate.identity, candidate.facts = identity, None
        self._incomplete.discard(candidate)

    def _look(self, candidate: Candidate) -> bool:
        before = candidate.facts
        try:
            seen = completeness.look(candidate.inbox.absolute(candidate.path), self._clock())
        except Gone:
            return False
        except NotAFile as other:
            candidate.inbox.ignored.add(candidate.path, other.reason, self._wall())
            return False
        changed = seen.identity != candidate.identity
        self._note(candidate, seen.identity)
        if changed:
            return True  # what was read may belong to neither version: look again when it is quiet
        candidate.facts = seen.facts
        if before is not None and before.decoded is not None and seen.facts.kind is not None:
            candidate.facts = seen.facts.with_decode(None if before.decoded else before.damage)
        return True

    def _look_again(self, candidate: Candidate) -> None:
        """Let the next question be a look: somebody closed the file, so what we know of its writers is old."""
        if candidate.facts is not None and candidate.facts.decoded is None:
            candidate.facts = None

    def _settle(self, folder: Folder) -> float:
        return folder.settle if self._timings.settle is None else self._timings.settle

    def _at(self, candidate: Candidate, due: float) -> None:
        if candidate.due == due:
            return
        candidate.due = due
        heapq.heappush(self._heap, (due, next(self._order), candidate))

    def _forget(self, candidate: Candidate) -> None:
        candidate.due = NEVER
        self._incomplete.discard(candidate)
        self._table.pop(Key(candidate.inbox.name, candidate.path), None)

    # -- what comes out

    def _hand_over(self, finished: list[Finished]) -> None:
        try:
            self._handover.give(finished)
        except Exception:
            if not self._retry:
                raise
            # The files are still there and still ours to hand over: a job table that is locked now is not later.
            log.exception("intake.handover_failed", files=len(finished))
            again = self._clock() + HANDOVER_RETRY
            for candidate, _ in finished:
                candidate.reason = "finished, but it could not be entered in the job table"
                self._at(candidate, again)
            return
        for candidate, _ in finished:
            self._forget(candidate)

    @property
    def found_by_rescan(self) -> int:
        """How many files only a rescan found, though events should have told of them."""
        return self._handover.found_by_rescan

    def unready(self) -> list[Unready]:
        """Give the candidates, each with why it is not handed over yet."""
        return [
            Unready(
                candidate.inbox.name,
                candidate.path,
                "incomplete" if candidate in self._incomplete else "settling",
                candidate.reason,
                candidate.since,
            )
            for candidate in list(self._table.values())
        ]
