"""What an event means: a file to look at, one that may be gone, or a folder to visit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from watchdog.events import DirCreatedEvent, DirDeletedEvent, DirMovedEvent, FileDeletedEvent, FileMovedEvent

from rembg_watch.intake.readiness import How
from rembg_watch.intake.watcher import News, paths_of

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
        inbox, event = news
        if inbox.gone:
            return
        source, target = paths_of(event)
        match event:
            case DirDeletedEvent():
                deserted.add(inbox)
            case DirCreatedEvent():
                self._visit(inbox, source, How.FOUND, recursive=False)
            case DirMovedEvent():
                if source:
                    deserted.add(inbox)
                if target:
                    how = How.MOVED if self._is_unwanted(inbox, source, folder=True) else How.FOUND
                    self._visit(inbox, target, how, recursive=True)
            case FileDeletedEvent():
                self._vanished(inbox, source)
            case FileMovedEvent():
                if source:
                    self._vanished(inbox, source)
                if target:
                    self._consider(inbox, target, How.MOVED if self._is_unwanted(inbox, source) else How.WRITTEN)
            case _:
                self._consider(inbox, source, How.WRITTEN)

    def _consider(self, inbox: Inbox, path: str, how: How) -> None:
        relpath = inbox.relative(path)
        if not relpath or inbox.is_nested(relpath):
            return
        if reason := inbox.refuses(relpath):
            inbox.ignored.add(relpath, reason, self._wall())
        else:
            self._gate.offer(inbox, relpath, how)

    def _vanished(self, inbox: Inbox, path: str) -> None:
        if relpath := inbox.relative(path):
            inbox.ignored.discard(relpath)
            self._gate.check(inbox, relpath)

    def _visit(self, inbox: Inbox, path: str, how: How, *, recursive: bool) -> None:
        relpath = inbox.relative(path)
        if relpath and inbox.folder.recursive and not inbox.is_nested(relpath) and not inbox.ignores_folder(relpath):
            self._plan_visit(inbox, relpath, how, recursive=recursive)

    def _is_unwanted(self, inbox: Inbox, source: str, *, folder: bool = False) -> bool:
        """Tell whether what is renamed came from outside or from a name that is not taken: then it is finished."""
        relpath = inbox.relative(source) if source else None
        if not relpath:
            return True
        return inbox.ignores_folder(relpath) if folder else inbox.refuses(relpath) is not None
