"""News from inotify, through watchdog: one observer for all inboxes, of which every event is only a hint.

What is set here against watchdog's defaults, as measured on 7.1.0:

- An event filter, always: with the default mask our own reads come back as events, and with thousands of folders the
  observer never comes to rest.
- Full events, which tell a file that was moved in (finished) from one that is created (being written).
- No delay for pairing the two halves of a rename: at the default of 0.5 s every event behind a move out of the tree
  waits for half a second. At 0 renames still pair, as both halves arrive together.
- No walk of its own: a folder is watched when a scan is about to read it. Watchdog's walk would read a million names
  for the folders among them, and the scan behind it once more.
- The handler does nothing but append: an exception in it would end all dispatching, and its time is everybody's.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyFD
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.api import ObservedWatch
    from watchdog.observers.inotify_c import InotifyEvent

    from rembg_watch.intake.inbox import Inbox

log = structlog.get_logger()

FILTER: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
WATCH_SYSCTL = "fs.inotify.max_user_watches"
INSTANCE_SYSCTL = "fs.inotify.max_user_instances"
_INODE = re.compile(rb"^inotify wd:\S+ ino:([0-9a-f]+) ", re.MULTILINE)


class News(NamedTuple):
    """One event of one inbox, as watchdog gave it."""

    inbox: Inbox
    event: FileSystemEvent


class _Append(FileSystemEventHandler):
    def __init__(self, inbox: Inbox, post: Callable[[News], None]) -> None:
        self._inbox = inbox
        self._post = post

    def dispatch(self, event: FileSystemEvent) -> None:
        self._post(News(self._inbox, event))


class _Inotify(InotifyFD):
    """The inotify reader, which also tells us of an overflow: watchdog itself only writes a line to its log."""

    def __init__(self, on_overflow: Callable[[], None], on_end: Callable[[], None]) -> None:
        super().__init__()
        self._on_overflow = on_overflow
        self._on_end = on_end

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._on_end()

    def handle_event(self, event: InotifyEvent) -> None:
        super().handle_event(event)
        if event.is_queue_overflow:  # told last: by now watchdog has set the watches anew
            self._on_overflow()

    @property
    def descriptor(self) -> int:
        return self._inotify_fd


class _Group(InotifyWatchGroup):
    """The watches of one inbox. What is made or moved in under a watched folder is watched by watchdog itself."""

    def _activate(self) -> None:
        with self._lock:
            self._add_callback(self.path)
            self._is_active = True

    def add(self, path: bytes) -> None:
        """Watch one folder, if it is not yet; one that can't be watched is passed over."""
        with self._lock:
            if self._is_active and path not in self._active_callbacks_by_path:
                self._add_callback(path)


class _Emitter(InotifyFullEmitter):
    """watchdog's emitter of full events, around our own group of watches."""

    def on_thread_start(self) -> None:
        self._inotify = _Group(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(),
        )

    def add(self, path: str) -> None:
        if isinstance(group := self._inotify, _Group):  # else it has ended
            group.add(os.fsencode(path))


class _Observer(BaseObserver):
    """watchdog's InotifyObserver with full events, around our own reader."""

    def __init__(self, inotify: _Inotify, on_end: Callable[[], None]) -> None:
        super().__init__(_Emitter, inotify_fd=inotify)
        self._inotify = inotify
        self._on_end = on_end

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._on_end()

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self._inotify.stop()
        self._inotify.join()


class Watcher:
    """Watches inboxes and posts what it hears. ``on_overflow`` is called when events were lost, ``on_end`` when one of
    the threads that carry them ends.

    Not thread-safe, but for these three, which are called on watchdog's threads.
    """

    def __init__(
        self, post: Callable[[News], None], on_overflow: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        self._post = post
        self._on_overflow = on_overflow
        self._on_end = on_end
        self._inotify: _Inotify | None = None
        self._observer: _Observer | None = None
        self._watches: dict[Inbox, ObservedWatch] = {}
        self._emitters: dict[Inbox, _Emitter] = {}

    def start(self) -> None:
        """Start without any inbox. Raises OSError where no inotify instance is to be had."""
        InotifyMoveEventGrouper.delay = 0.0
        # Folders that are made while their parent is being added are added twice, which is harmless.
        warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)
        self._inotify = _Inotify(self._on_overflow, self._on_end)
        self._inotify.start()
        self._observer = _Observer(self._inotify, self._on_end)
        self._observer.start()

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
        self._observer = self._inotify = None
        self._watches.clear()
        self._emitters.clear()

    @property
    def alive(self) -> bool:
        """Tell whether the threads that carry events are alive. (They stay so when an inbox is gone.)"""
        return (
            self._observer is not None
            and self._observer.is_alive()
            and self._inotify is not None
            and self._inotify.is_alive()
        )

    def watch(self, inbox: Inbox) -> None:
        """Watch the root of an inbox, or watch it anew; what is in it follows with :meth:`watch_folder`.

        Raises:
            OSError: it can't be watched.
        """
        self.unwatch(inbox)
        if self._observer is None:
            raise OSError("no inotify instance")
        handler = _Append(inbox, self._post)
        try:
            watch = self._observer.schedule(handler, inbox.root, recursive=inbox.folder.recursive, event_filter=FILTER)
        except OSError as error:
            log.warning("intake.cannot_watch", folder=printable(inbox.name), error=str(error))
            raise
        self._watches[inbox] = watch
        emitters = (emitter for emitter in self._observer.emitters if emitter.watch is watch)
        self._emitters[inbox] = cast("_Emitter", next(emitters))

    def watch_folder(self, inbox: Inbox, path: str) -> None:
        """Watch one folder (an absolute path) of a watched inbox: before it is read, so that nothing is missed."""
        if (emitter := self._emitters.get(inbox)) is not None:
            emitter.add(path)

    def unwatch(self, inbox: Inbox) -> None:
        watch = self._watches.pop(inbox, None)
        self._emitters.pop(inbox, None)
        if watch is not None and self._observer is not None:
            self._observer.unschedule(watch)

    def hears(self, inbox: Inbox) -> bool:
        """Tell whether the inbox's own thread still runs; it ends when the root is deleted."""
        emitter = self._emitters.get(inbox)
        return emitter is not None and emitter.is_alive()

    def watched_inodes(self) -> set[int]:
        """Give the inode numbers of all folders that the kernel watches for us, as it says itself.

        watchdog passes over the watch limit without a word, so this is what to compare the folders with.
        """
        if self._inotify is None:
            return set()
        try:
            text = Path(f"/proc/self/fdinfo/{self._inotify.descriptor}").read_bytes()
        except OSError:
            return set()
        return {int(inode, 16) for inode in _INODE.findall(text)}


def limit_advice(unwatched: int, folders: int) -> str:
    """Say what to do about folders that could not be watched."""
    wanted = 1 << max(16, (2 * folders).bit_length())
    return (
        f"{unwatched} of {folders} folders are not watched and are scanned instead: raise {WATCH_SYSCTL}"
        f" (sysctl -w {WATCH_SYSCTL}={wanted})"
    )


def paths_of(event: FileSystemEvent) -> tuple[str, str]:
    """Give an event's source and destination as text; either may be empty."""
    return os.fsdecode(event.src_path or b""), os.fsdecode(event.dest_path or b"")
