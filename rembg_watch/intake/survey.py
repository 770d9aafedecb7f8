"""The inboxes as they are now: all that is in them handled once, for ``drain``, or only told of, for its dry run."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from rembg_watch.fsutil import MountTable, mount_of
from rembg_watch.intake import completeness
from rembg_watch.intake.completeness import Gone, Identity, NotAFile
from rembg_watch.intake.gate import Gate
from rembg_watch.intake.inbox import Health, Inbox, RootStatus, inboxes_of
from rembg_watch.intake.readiness import Facts, How, Look, Moment, Ready, Timings, Wait, decide
from rembg_watch.intake.scanner import Found, Summary, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rembg_watch.config.model import Folder
    from rembg_watch.intake.candidate import Adopt, DecodeOrder, KnownFile, KnownFiles
    from rembg_watch.jobs.model import Arrival, Unready

QUICK = Timings(quiet=1.0, incomplete=3.0, relook=3.0)
"""The slow way for somebody who waits for the end: shorter, with the same checks."""
PATIENCE = 60.0
"""Seconds after which a drain leaves alone what is still being written."""
GLANCE = 5.0
"""Seconds for which a survey waits for what was just written to have been quiet for long enough."""
_MARGIN = 0.02
_ROOM = 20_000


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did: how many files it handed over, what it left and why, and the inboxes that it can't read."""

    handed: int
    left: list[Unready]
    lost: list[RootStatus]


def drain_folders(
    folders: Sequence[Folder],
    store: KnownFile,
    on_arrivals: Callable[[list[Arrival]], None],
    *,
    adopt: Adopt | None = None,
    timings: Timings = QUICK,
    patience: float = PATIENCE,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Drained:
    """Hand over every finished file that is in the inboxes now, waiting for each to become finished or not.

    A file that still changes after ``patience`` seconds is left, as is one that is incomplete. Blocks meanwhile; an
    error of ``on_arrivals`` comes out at once.
    """
    handed = 0
    orders: deque[DecodeOrder] = deque()

    def hand_over(arrivals: list[Arrival]) -> None:
        nonlocal handed
        on_arrivals(arrivals)
        handed += len(arrivals)

    gate = Gate(store, hand_over, orders.append, clock=clock, wall=wall, timings=timings, adopt=adopt, retry=False)
    give_up = clock() + patience

    def decide_until(pending: int) -> None:
        """Decide candidates until at most so many are pending."""
        while gate.pending() > pending and clock() < give_up:
            gate.step()
            if orders:
                _decode(gate, orders.popleft())
            elif (pause := gate.next_due() - clock()) > 0 and gate.pending() > pending:
                sleep(min(pause, max(give_up - clock(), 0.0)))

    inboxes = _inboxes(folders)
    for inbox in inboxes:
        summary = Summary()
        for found in _scan(inbox, store, summary):
            gate.offer(inbox, found.path, How.FOUND, status=found.status)
            if gate.pending() >= _ROOM:
                decide_until(_ROOM // 2)
        inbox.ignored.replace(summary.ignored, summary.ignored_count, wall())
    decide_until(0)
    left = gate.unready()
    for inbox in inboxes:
        left += inbox.ignored_files()
    return Drained(handed, left, [inbox.status() for inbox in inboxes if inbox.health is not Health.OK])


def _decode(gate: Gate, order: DecodeOrder) -> None:
    try:
        damage = completeness.decode(order.path, order.identity)
    except (Gone, NotAFile):
        gate.undecided(order)
    else:
        gate.decoded(order, damage)


def _inboxes(folders: Sequence[Folder]) -> list[Inbox]:
    inboxes = inboxes_of(folders)
    with MountTable() as table:
        mounts = table.read()
    for inbox in inboxes:
        mount = mount_of(inbox.root, mounts)
        inbox.network = mount is not None and mount.is_network
    return inboxes


def _scan(
    inbox: Inbox, store: KnownFiles, summary: Summary, on_known: Callable[[str], None] | None = None
) -> Iterator[Found]:
    try:
        yield from scan(inbox, store, summary, on_known=on_known)
    except OSError as error:
        inbox.health = Health.MISSING if isinstance(error, FileNotFoundError) else Health.UNREADABLE
        inbox.message = f"can't be read ({error.strerror}): create or mount it, or let this user read it"


class Verdict(StrEnum):
    """What a drain would do with a file."""

    WOULD_SEND = "would-send"
    KNOWN = "known"
    IGNORED = "ignored"
    REFUSED = "refused"
    SETTLING = "settling"
    UNREADABLE = "unreadable"
    """Not a file, but a whole inbox that can't be read."""


class Surveyed(NamedTuple):
    """One file of an inbox and what would become of it. ``profile`` names the options where it would be sent."""

    folder: str
    path: str
    verdict: Verdict
    reason: str = ""
    profile: str = ""


def survey(
    folders: Sequence[Folder],
    store: KnownFiles,
    *,
    adopt: Adopt | None = None,
    timings: Timings = QUICK,
    patience: float = GLANCE,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Surveyed]:
    """Say of everything in the inboxes what a drain would do with it. Changes nothing.

    What was written so lately that it is too early to tell comes last: it is waited for, as a drain would, but for
    ``patience`` seconds at most. How long a file has been quiet is taken from its last change by the wall clock. Of the
    ignored files of an inbox the first thousand are told.
    """
    fresh: list[tuple[Inbox, Found]] = []
    for inbox in _inboxes(folders):
        summary = Summary()
        known: list[str] = []
        for found in _scan(inbox, store, summary, known.append):
            judged = _judge(inbox, found, adopt, timings, wall())
            if judged.again_at is not None and len(fresh) < _ROOM:
                fresh.append((inbox, found))
            else:
                yield Surveyed(inbox.name, found.path, *judged[:3])
        for path in known:
            yield Surveyed(inbox.name, path, Verdict.KNOWN, "it is in the job table")
        for path, reason in summary.ignored:
            yield Surveyed(inbox.name, path, Verdict.IGNORED, reason)
        if inbox.health is not Health.OK:
            yield Surveyed(inbox.name, "", Verdict.UNREADABLE, inbox.message)
    give_up = wall() + patience
    for inbox, found in fresh:
        while (judged := _judge(inbox, _now(inbox, found), adopt, timings, wall())).again_at is not None:
            if judged.again_at > give_up:
                break
            sleep(max(judged.again_at - wall(), 0.0) + _MARGIN)
        yield Surveyed(inbox.name, found.path, *judged[:3])


class _Judged(NamedTuple):
    """What would become of a file, and when it is worth asking again, if soon it might be something else."""

    verdict: Verdict
    reason: str = ""
    profile: str = ""
    again_at: float | None = None


def _now(inbox: Inbox, found: Found) -> Found:
    try:
        return found._replace(status=os.stat(inbox.absolute(found.path), follow_symlinks=False))
    except OSError:
        return found  # gone: the next look tells


def _judge(inbox: Inbox, found: Found, adopt: Adopt | None, timings: Timings, now: float) -> _Judged:
    folder, path = inbox.folder, inbox.absolute(found.path)
    identity = Identity.of(found.status)
    settle = folder.settle if timings.settle is None else timings.settle
    changed_at = min(identity.ctime_ns / 1e9, now)
    facts: Facts | None = None
    while True:
        match decide(Moment(How.FOUND, changed_at, settle, inbox.network, facts), now, timings):
            case Wait(until, reason, incomplete):
                return _Judged(Verdict.SETTLING, reason, again_at=None if incomplete else until)
            case Ready(None):
                new = found.before is None and folder.adopt_existing
                if new and adopt and adopt(folder, found.path, identity.mtime_ns):
                    return _Judged(Verdict.KNOWN, "its output already stands in place")
                return _Judged(Verdict.WOULD_SEND, profile=folder.profile_for(found.path).name)
            case Ready(refusal):
                assert refusal is not None
                return _Judged(Verdict.REFUSED, f"{refusal.message} ({refusal.hint})")
            case decision:
                try:
                    if isinstance(decision, Look):
                        seen, facts = completeness.look(path, now)
                        if seen != identity:
                            return _Judged(Verdict.SETTLING, "it is just being changed", again_at=now)
                    else:
                        assert facts is not None
                        facts = facts.with_decode(completeness.decode(path, identity))
                except (Gone, NotAFile):
                    return _Judged(Verdict.SETTLING, "it is just being changed")
