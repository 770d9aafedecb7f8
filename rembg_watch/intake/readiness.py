"""Is the file finished? The decision about one candidate, as a pure function of what is known and the time.

Four ways lead to an answer:

    fast        moved in, or renamed from a name that is not taken; end there; nobody writes; unchanged for 20 ms
    normal      quiet for the folder's ``settle``, then the same checks
    slow        quiet for 5 s and every pixel decoded: no end to be judged, no lease to be had, network filesystem
    incomplete  none of it within 120 s: shown, not sent, and looked at again after any change

Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from rembg_watch.imagefile import Ending, Kind
from rembg_watch.intake.preflight import refuse_damaged

if TYPE_CHECKING:
    from rembg_watch.jobs.model import Refusal


class How(Enum):
    """How a file came to our notice."""

    MOVED = "moved"
    """Moved in from elsewhere, or renamed from a name that is not taken: its writer says that it is finished."""
    WRITTEN = "written"
    """Created, closed, or changed where it is."""
    FOUND = "found"
    """Found by a scan."""


class Writer(StrEnum):
    """Whether anybody has the file open for writing."""

    NOBODY = "nobody"
    SOMEBODY = "somebody"
    UNKNOWN = "unknown"
    """No lease to be had: somebody else's file without CAP_LEASE, or a filesystem without leases."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long to wait for what, in seconds. The defaults are the daemon's."""

    unchanged: float = 0.02
    """On the fast way."""
    settle: float | None = None
    """On the normal way; None takes each folder's own."""
    quiet: float = 5.0
    """On the slow way, and before a file that is no picture is refused."""
    incomplete: float = 120.0
    """Until a file that is still not finished is shown as incomplete."""
    relook: float = 600.0
    """Between looks at an incomplete file that does not change."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look at a file told. ``looked_at`` is when."""

    looked_at: float
    size: int
    writer: Writer = Writer.UNKNOWN
    kind: Kind | None = None
    ending: Ending = Ending.UNKNOWN
    blank: bool = False
    """It begins with nothing but zeros: its space was reserved, its bytes are still to come."""
    refusal: Refusal | None = None
    """What the API would refuse, if the file is finished as it is."""
    problem: str | None = None
    """Why it could not be looked at."""
    decoded: bool | None = None
    """Whether it decodes whole; None while nobody tried."""
    damage: str = ""
    """Why it does not."""

    def with_decode(self, damage: str | None) -> Facts:
        """Give the facts with the answer of a full decode: None if the picture is whole, else what is wrong."""
        if damage is None:
            return replace(self, decoded=True, damage="", refusal=None if _damaged(self) else self.refusal)
        return replace(self, decoded=False, damage=damage, refusal=refuse_damaged(damage))


@dataclass(frozen=True, slots=True)
class Moment:
    """A candidate as it stands: ``changed_at`` is when its identity was last seen to change."""

    how: How
    changed_at: float
    settle: float
    network: bool = False
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: ask again at ``until``. ``incomplete`` once it has been waited for long enough to be shown as that."""

    until: float
    reason: str
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """Open it and gather facts."""


@dataclass(frozen=True, slots=True)
class Decode:
    """Decode every pixel, off the fast way, and put the answer into the facts."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Finished. ``refusal`` is set where sending it would be pointless."""

    refusal: Refusal | None = None


Decision = Wait | Look | Decode | Ready


def decide(moment: Moment, now: float, timings: Timings) -> Decision:
    """Say what to do about a candidate. A Wait always ends after ``now``; whatever is not Ready costs no credit."""
    facts = moment.facts
    if facts is None:
        pause, reason = _before_first_look(moment, timings)
        first = moment.changed_at + pause
        return Wait(first, reason) if now < first else Look()
    if facts.problem is not None:
        return _hold(moment, facts, now, timings, facts.problem)
    if facts.size == 0:
        return _hold(moment, facts, now, timings, "it is empty (0 bytes) so far", last=facts.refusal)
    if facts.writer is Writer.SOMEBODY:
        return _hold(moment, facts, now, timings, "somebody still has it open for writing")
    if facts.kind is None:
        return _not_a_picture(moment, facts, now, timings)
    if facts.ending is Ending.INCOMPLETE:
        return _hold(moment, facts, now, timings, f"its end is missing: there are {facts.size} bytes so far")
    whole = facts.ending is Ending.COMPLETE
    if whole and facts.writer is Writer.NOBODY and not moment.network and not _damaged(facts):
        return Ready(facts.refusal)
    return _slowly(moment, facts, now, timings)


def _before_first_look(moment: Moment, timings: Timings) -> tuple[float, str]:
    if moment.network:
        return max(timings.quiet, moment.settle), "on a network filesystem: waiting until it is quiet"
    if moment.how is How.MOVED:
        return timings.unchanged, "just arrived"
    return moment.settle, "just written: waiting until it is quiet"


def _damaged(facts: Facts) -> bool:
    return facts.refusal is not None and facts.refusal.code == "damaged"


def _not_a_picture(moment: Moment, facts: Facts, now: float, timings: Timings) -> Decision:
    if facts.blank:
        reason = "it begins with zeros: its space is reserved, its bytes are still to come"
        return _hold(moment, facts, now, timings, reason)
    if facts.size < 12:  # too short to tell one format from another
        return _hold(moment, facts, now, timings, f"there are {facts.size} bytes so far", last=facts.refusal)
    quiet = moment.changed_at + max(timings.quiet, moment.settle)
    if now < quiet:
        return Wait(quiet, "no picture so far")
    return Ready(facts.refusal)


def _slowly(moment: Moment, facts: Facts, now: float, timings: Timings) -> Decision:
    quiet = moment.changed_at + max(timings.quiet, moment.settle)
    if now < quiet:
        return Wait(quiet, _why_slowly(moment, facts))
    if facts.refusal is not None and not _damaged(facts):  # it only grows: no use in decoding it
        return Ready(facts.refusal)
    if facts.decoded is None:
        return Decode()
    if facts.decoded:
        return Ready()
    # With its end in place it is all there, only broken: that will not change by waiting for ever.
    last = facts.refusal if facts.ending is Ending.COMPLETE else None
    return _hold(moment, facts, now, timings, facts.damage or "it does not decode", last=last)


def _why_slowly(moment: Moment, facts: Facts) -> str:
    if moment.network:
        return "on a network filesystem: waiting until it is quiet"
    if facts.ending is not Ending.COMPLETE:
        return "its end can't be judged: waiting until it is quiet"
    if facts.writer is Writer.UNKNOWN:
        return "can't tell whether somebody is writing it: waiting until it is quiet"
    return "it looks damaged: waiting until it is quiet"


def _hold(
    moment: Moment, facts: Facts, now: float, timings: Timings, reason: str, *, last: Refusal | None = None
) -> Decision:
    """Wait, looking again less and less often; after ``incomplete`` give ``last``, or go on as incomplete."""
    patience = moment.changed_at + max(timings.incomplete, moment.settle)
    pause = max(timings.unchanged, moment.settle, (facts.looked_at - moment.changed_at) / 2)
    again = facts.looked_at + min(pause, timings.relook)
    if now < patience:
        return Look() if now >= again else Wait(min(again, patience), reason)
    if facts.looked_at < patience:  # the verdict is never older than the patience
        return Look()
    if last is not None:
        return Ready(last)
    again = facts.looked_at + timings.relook
    return Look() if now >= again else Wait(again, reason, incomplete=True)
