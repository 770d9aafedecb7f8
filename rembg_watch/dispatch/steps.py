"""The points of the line that each image passes, and what the workers share on the way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from rembg_watch.api.client import RembgClient
    from rembg_watch.config.model import Config, Folder
    from rembg_watch.dispatch.contents import Contents
    from rembg_watch.dispatch.target import Targets
    from rembg_watch.errors import TargetError
    from rembg_watch.jobs.model import Job, Tidy
    from rembg_watch.jobs.outputs import Outputs
    from rembg_watch.jobs.store import JobStore


class Step(StrEnum):
    """The points between two steps of the line, in their order. A kill at any of them loses nothing.

    A paid result that is copied passes ``MARKED_COPY`` and ``COPIED`` where a photo that is sent passes the points from
    ``OPENED`` to ``MARKED_RECEIVED``.
    """

    CLAIMED = "claimed"
    READ = "read"
    MARKED_COPY = "marked-copy"
    COPIED = "copied"
    OPENED = "opened"
    MARKED_SENT = "marked-sent"
    ANSWERED = "answered"
    VERIFIED = "verified"
    SYNCED = "synced"
    MARKED_RECEIVED = "marked-received"
    PLACED = "placed"
    PLACE_SYNCED = "place-synced"
    FINISHED = "finished"
    TIDIED = "tidied"


@dataclass(frozen=True)
class Tools:
    """What the workers share."""

    config: Callable[[], Config]
    client: Callable[[], RembgClient]
    store: JobStore
    outputs: Outputs
    targets: Targets
    contents: Contents
    outbox_problem: Callable[[str], TargetError | None]
    """Says why an outbox can't take a result now, or None; whether there is room, the temporary file tells."""
    turn: Callable[[Job, Config, str], AbstractContextManager[None]]
    """Waits for the next place in the line of requests, for a job, its config and the fingerprint of its options, and
    keeps it to the end of the block; raises InterruptedError when it may not be sent any more, or not like this."""
    healthy: Callable[[], bool]
    """Whether the service works for others at this time."""
    sent: Callable[[], None]
    """Told when a photo is about to go out."""
    unpark: Callable[[Job], None]
    """Takes back a job that waited for another one's answer."""
    tidy: Callable[[Job, Folder, Tidy], object]
    """Archives, deletes or moves the source of an ended job, or leaves that for later."""
    again: Callable[[str, str], None]
    """Tells intake to look at a file again: inbox, relative path."""
    credits_left: Callable[[], int | None]
    clock: Callable[[], float] = time.time
    at: Callable[[Step], None] = lambda _step: None
    """Called at each point of the line: the place where tests break things."""
