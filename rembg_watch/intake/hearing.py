"""What an event means: a file to look at, one that may be gone, or a folder to visit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rembg_watch.intake.readiness import How
from rembg_watch.intake.watcher import News, What

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.intake.gate import Gate
    from rembg_watch.intake.inbox import Inbox


class PlanVisit(Protocol):
    """Lets a folder of an inbox be scanned soon."""

    def __call__(self, inbox: Inbox, directory: str, how: How, /, *, recursive: bool) -> None: ...


class Hearing:
    """Turns events into hints to the gate and into visits. ``wall`` gives Unix seconds. For the gate's thread."""

    def __init__(self, gate: Gate, plan_visit: PlanVisit, wall: Callable[[], float]) -> None:
        self._gate = gate
        self._plan_visit = plan_visit
        self._wall = wall

    def hear(self, news: News, deserted: set[Inbox]) -> None:
        """Take one event. An inbox whose files may be gone without events of their own is added to ``deserted``."""
        inbox, what, path, is_folder, source = news
        if inbox.gone:
            return
        if what is What.GONE:
            if is_folder:
                deserted.add(inbox)
            else:
                self._vanished(inbox, path)
        elif is_folder:
            moved = what is What.MOVED
            finished = moved and (not source or inbox.ignores_folder(source))
            self._visit(inbox, path, How.MOVED if finished else How.FOUND, recursive=moved)
        else:
            # What comes from outside, or from a name that is not taken, is finished.
            finished = what is What.MOVED and (not source or inbox.refuses(source) is not None)
            self._consider(inbox, path, How.MOVED if finished else How.WRITTEN)

    def _consider(self, inbox: Inbox, path: str, how: How) -> None:
        if inbox.is_nested(path):
            return
        if reason := inbox.refuses(path):
            inbox.ignored.add(path, reason, self._wall())
        else:
            self._gate.offer(inbox, path, how)

    def _vanished(self, inbox: Inbox, path: str) -> None:
        inbox.ignored.discard(path)
        self._gate.check(inbox, path)

    def _visit(self, inbox: Inbox, path: str, how: How, *, recursive: bool) -> None:
        if inbox.folder.recursive and not inbox.is_nested(path) and not inbox.ignores_folder(path):
            self._plan_visit(inbox, path, how, recursive=recursive)
