"""News from inotify: watchdog reads it and keeps the watches, one reader for all inboxes; every event is only a hint.

What is done without of watchdog, as measured on 7.1.0:

- Its default mask: with that our own reads come back as events, and with thousands of folders it never comes to rest.
- Its queues and the thread of each inbox behind them, which cost a photo several times what reading its event does.
  What the reader hears is told at once, by appending: an exception there would end all hearing, and its time is
  everybody's.
- Its delay for pairing the two halves of a rename, 0.5 s for every event behind a move out of the tree. The second half
  comes right behind the first, so the first is told at once and remembered.
- Its first walk: a folder is watched when a scan is about to read it. The walk would read a million names for the
  folders among them, and the scan behind it once more.
- Its memory of folders that were moved out: it would take the watch of one for that of the next folder of its name, and
  the end of the two watches in an unexpected order ends its thread.
"""

from __future__ import annotations

import errno
import os
import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog
from watchdog.observers.inotify import InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyFD, Mask
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper, PathedInotifyEvent

from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.inotify_c import CallbackId, InotifyEvent, WatchCallback, WatchDescriptor

    from rembg_watch.intake.inbox import Inbox

log = structlog.get_logger()

WATCH_SYSCTL = "fs.inotify.max_user_watches"
INSTANCE_SYSCTL = "fs.inotify.max_user_instances"
_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_DELETE_SELF
)
_INODE = re.compile(rb"^inotify wd:\S+ ino:([0-9a-f]+) ", re.MULTILINE)


class What(Enum):
    """What happened to a path."""

    GONE = "gone"
    """It was deleted, or moved from here."""
    MOVED = "moved"
    """It was moved here, complete: from ``source``, or from outside."""
    WRITTEN = "written"
    """It was made, or closed by a writer."""


class News(NamedTuple):
    """One event of one inbox. ``path`` and ``source`` are relative to it; the root itself, and outside, are empty."""

    inbox: Inbox
    what: What
    path: str
    is_folder: bool
    source: str = ""


class _Inotify(InotifyFD):
    """The inotify reader, which also tells us of an overflow: watchdog itself only writes a line to its log."""

    def __init__(self, on_overflow: Callable[[], None], on_end: Callable[[], None]) -> None:
        super().__init__()
        self._on_overflow = on_overflow
        self._on_end = on_end
        self._has_ended = False

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._has_ended = True
            self._on_end()

    @property
    def reads(self) -> bool:
        """Tell whether it reads. ``is_alive`` would say so also to those who look as they are told of its end."""
        return self.is_alive() and not self._has_ended

    def handle_event(self, event: InotifyEvent) -> None:
        super().handle_event(event)
        if event.is_queue_overflow:  # told last: by now watchdog has set the watches anew
            self._on_overflow()

    @property
    def descriptor(self) -> int:
        return self._inotify_fd

    def _add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        # watchdog would warn of a folder that is added twice, as one is that was made while its parent was being added,
        # and keep one that can't be read as watch -1, for good.
        watch = self._get_or_create_watch(path, mask)
        if watch.wd < 0:
            del self._watch_for_wd[watch.wd]
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        watch.callbacks[id_] = callback
        return watch.wd


class _Teller(InotifyMoveEventGrouper):
    """Stands where watchdog would queue events for another thread: it turns them into news at once."""

    def __init__(self, inbox: Inbox, post: Callable[[News], None]) -> None:
        self._inbox = inbox
        self._post = post
        self._below = len(os.fsencode(inbox.root)) + 1
        self._moved_from: PathedInotifyEvent | None = None

    def put_event(self, event: PathedInotifyEvent) -> None:
        inotify, path = event
        source = ""
        if inotify.is_moved_to:
            what = What.MOVED
            if (half := self.get_queued_moved_from_event(inotify.cookie)) is not None:
                source = self._relative(half.path)
        elif inotify.is_create or inotify.is_close_write:
            what = What.WRITTEN
        else:
            what = What.GONE
            if inotify.is_moved_from:
                self._moved_from = event
        self._post(News(self._inbox, what, self._relative(path), inotify.is_directory, source))

    def get_queued_moved_from_event(self, cookie: int) -> PathedInotifyEvent | None:
        half = self._moved_from
        return half if half is not None and half.ev.cookie == cookie else None

    def discard_pending_events(self) -> None:
        """Nothing is pending."""

    def close(self) -> None:
        """Nobody waits."""

    def _relative(self, path: bytes) -> str:
        return os.fsdecode(path[self._below :])


class _Group(InotifyWatchGroup):
    """The watches of one inbox. What is made or moved in under a watched folder is watched by watchdog itself."""

    def __init__(self, inotify: _Inotify, inbox: Inbox, post: Callable[[News], None]) -> None:
        self._teller = _Teller(inbox, post)
        super().__init__(inotify, os.fsencode(inbox.root), _MASK, is_recursive=inbox.folder.recursive)

    def _activate(self) -> None:
        self._move_event_grouper = self._teller
        with self._lock:
            self._add_callback(self.path)
            self._is_active = True

    def add(self, path: bytes) -> None:
        """Watch one folder, if it is not yet; one that can't be watched is passed over."""
        with self._lock:
            if self._is_active and path not in self._active_callbacks_by_path:
                self._add_callback(path)

    def on_event(self, event: InotifyEvent) -> None:
        if event.is_delete_self:  # the parent tells of it, but for the root, which has none here
            if self._active_callbacks_by_watch.get(event.wd) == self.path:
                self._is_active = False
            return
        super().on_event(event)
        if event.is_directory and self.is_recursive:
            if event.is_moved_from:
                self._forget(event)
            elif event.is_moved_to and self._source_for_move(event.cookie) is None:
                self._tell_what_came_with(event)

    def _forget(self, folder: InotifyEvent) -> None:
        """End the watches of a folder that was moved: it may be gone for good, and is else watched where it went."""
        with self._lock:
            if (path := self._build_event_source_path(folder)) is not None:
                below = path + b"/"
                watches = self._active_callbacks_by_watch.items()
                self._remove_callbacks([wd for wd, at in watches if at == path or at.startswith(below)])

    def _move_watches(self, _source: bytes, _target: bytes) -> bool:
        return False  # by now the name may be another folder's

    def _add_callback(self, path: bytes) -> None:
        # A folder that was renamed unheard has the watch that it had: watchdog would go on to take that for one of its
        # old name, too, and the next folder of that name for watched.
        try:
            watch = self._inotify_fd.add_callback(path, self.event_mask, self, self._id)
        except OSError:
            if path == self.path:
                raise
            return
        self._remove_watch_internally(watch)
        self._active_callbacks_by_path[path] = watch
        self._active_callbacks_by_watch[watch] = path

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        # A watch may end after another one has taken its path, and after that one's end: a folder that is deleted while
        # somebody has it open goes when it is closed.
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]

    def _tell_what_came_with(self, folder: InotifyEvent) -> None:
        """Tell what is in a folder that was moved in: the scan that is to come may have to wait for a dead disk."""
        with self._lock:
            path = self._build_event_source_path(folder)
            for event in self._recursive_simulate(path) if path else ():
                if inner := self._build_event_source_path(event):
                    self._teller.put_event(PathedInotifyEvent(event, inner))


class Watcher:
    """Watches inboxes and posts what it hears. ``on_overflow`` is called when events were lost, ``on_end`` when the
    thread that reads them ends.

    Not thread-safe, but for these three, which are called on that thread.
    """

    def __init__(
        self, post: Callable[[News], None], on_overflow: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        self._post = post
        self._on_overflow = on_overflow
        self._on_end = on_end
        self._inotify: _Inotify | None = None
        self._groups: dict[Inbox, _Group] = {}

    def start(self) -> None:
        """Start without any inbox. Raises OSError where no inotify instance is to be had."""
        self._inotify = _Inotify(self._on_overflow, self._on_end)
        self._inotify.start()

    def stop(self) -> None:
        if self._inotify is not None:
            self._inotify.stop()
            self._inotify.join()
        self._inotify = None
        self._groups.clear()

    @property
    def alive(self) -> bool:
        """Tell whether the thread that reads events is alive. (It stays so when an inbox is gone.)"""
        return self._inotify is not None and self._inotify.reads

    def watch(self, inbox: Inbox) -> None:
        """Watch the root of an inbox, or watch it anew; what is in it follows with :meth:`watch_folder`.

        Raises:
            OSError: it can't be watched.
        """
        self.unwatch(inbox)
        if self._inotify is None:
            raise OSError("no inotify instance")
        try:
            self._groups[inbox] = _Group(self._inotify, inbox, self._post)
        except OSError as error:
            log.warning("intake.cannot_watch", folder=printable(inbox.name), error=str(error))
            raise

    def watch_folder(self, inbox: Inbox, path: str) -> None:
        """Watch one folder (an absolute path) of a watched inbox: before it is read, so that nothing is missed."""
        if (group := self._groups.get(inbox)) is not None:
            group.add(os.fsencode(path))

    def unwatch(self, inbox: Inbox) -> None:
        if (group := self._groups.pop(inbox, None)) is not None:
            group.deactivate()

    def hears(self, inbox: Inbox) -> bool:
        """Tell whether the root of the inbox is watched still; it no longer is when it was deleted."""
        group = self._groups.get(inbox)
        return group is not None and group.is_active

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
