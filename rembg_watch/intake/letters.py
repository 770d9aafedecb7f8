"""What the walking thread tells the deciding one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rembg_watch.intake.inbox import Inbox
    from rembg_watch.intake.readiness import How
    from rembg_watch.intake.scanner import Found, Summary


class Offer(NamedTuple):
    """Files that a scan found. ``by_rescan`` if events should have told of them."""

    inbox: Inbox
    found: list[Found]
    how: How
    by_rescan: bool


class Scanned(NamedTuple):
    """A whole inbox was scanned."""

    inbox: Inbox
    summary: Summary


class Left(NamedTuple):
    """An inbox is no longer in the config."""

    inbox: Inbox
