"""What a worker tells the dispatcher of a job that left its hands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rembg_watch.api.verdict import Verdict
    from rembg_watch.errors import StateError, TargetError


class Ended(StrEnum):
    """How a job left the worker."""

    DONE = "done"
    REFUSED = "refused"
    """The photo can't be sent as it is, changed or is gone."""
    VERDICT = "verdict"
    """The API, or the way to it, said something else than a picture."""
    TARGET = "target"
    """The outbox can't be written."""
    PARKED = "parked"
    """The same bytes are on their way for another job."""
    LOST = "lost"
    """The claim was taken over; nothing was changed."""
    STATE = "state"
    """The job database could not be written; the job is still claimed."""


@dataclass(frozen=True, slots=True)
class Report:
    """The end of one claim. ``spent``: the permit is used up, as the image was or may have been charged."""

    ended: Ended
    sent: bool = False
    spent: bool = False
    verdict: Verdict | None = None
    target: TargetError | None = None
    outbox: str = ""
    """Whose error ``target`` is."""
    state: StateError | None = None
    fingerprint: str = ""
    sent_at: float = 0.0
    """Monotonic seconds at which the request went out."""
    failed: bool = False
    """The job ended as failed."""
