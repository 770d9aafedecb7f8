"""Whether each inbox is there, as it was, and heard of: its root, what is mounted at or below it, and its watch."""

from __future__ import annotations

import os
import stat as statmodes
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from rembg_watch.fsutil import MountTable, mount_of, mounts_below
from rembg_watch.intake import watcher
from rembg_watch.intake.coverage import Coverage
from rembg_watch.intake.inbox import Health, Inbox, Mode
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rembg_watch.fsutil import Mount
    from rembg_watch.intake.bell import Bell

log = structlog.get_logger()

MOUNT_PAUSE = 0.5
"""Seconds between two readings of the mounts: they come in bursts, and each asks the kernel for all its watches."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often to do what, in seconds. The defaults are the daemon's."""

    health: float = 2.0
    """Between looks at each root."""
    calm: float = 30.0
    """The same while all are well, watched, and on local disks: whatever may become of them is heard of at once."""
    poll: float = 5.0
    """Between scans of folders that could not be watched."""
    made_folder: float = 1.0
    """From the making of a folder to a second look into it."""
    revive: float = 30.0
    """Between attempts to get an inotify instance."""


@dataclass
class Root:
    """What an inbox was when it was set up, and when it is scanned next (monotonic seconds)."""

    coverage: Coverage
    identity: tuple[int, int] | None = None
    """Device and inode; None: it is to be set up anew."""
    mounts: tuple[Mount, ...] = ()
    is_mount: bool = False
    heeded: bool = False
    """It rings when the root, or a folder above it, is renamed or deleted."""
    seen_in: list[Mount] | None = None
    """The mount table of the last look."""
    next_scan: float = 0.0
    scanned: bool = False


class Roots:
    """Looks after the roots of all inboxes, and watches them. For one thread, as a look may block on a dead server.

    ``post_news`` and ``on_overflow`` are the watcher's; ``pause`` waits for so many seconds; ``bell`` wakes the thread.
    """

    def __init__(
        self,
        post_news: Callable[[watcher.News], None],
        on_overflow: Callable[[], None],
        pause: Callable[[float], object],
        bell: Bell,
        *,
        clock: Callable[[], float],
        rounds: Rounds,
    ) -> None:
        self._pause = pause
        self._bell = bell
        self._clock = clock
        self._rounds = rounds
        self._watcher = watcher.Watcher(post_news, on_overflow, bell.ring)
        self._next_start = 0.0
        self._watching = False
        self._mounts = MountTable()
        self._table = self._mounts.read()
        self._roots: dict[Inbox, Root] = {}

    def __getitem__(self, inbox: Inbox) -> Root:
        return self._roots[inbox]

    def __iter__(self) -> Iterator[Root]:
        return iter(self._roots.values())

    def close(self) -> None:
        self._watcher.stop()
        self._mounts.close()

    def watch_folder(self, inbox: Inbox, path: str) -> None:
        """Watch a folder (an absolute path) that is about to be read, if its inbox is watched."""
        self._watcher.watch_folder(inbox, path)

    def forget(self, inbox: Inbox) -> None:
        """Look after an inbox no longer."""
        self._watcher.unwatch(inbox)
        self._roots.pop(inbox, None)

    def take_as_meant(self) -> None:
        """Take a reload as a hint that things were seen to: a lost mount is none any more, a limit was raised.

        A root that still is a mount must not be lost unseen.
        """
        for inbox, root in self._roots.items():
            if inbox.health is Health.UNMOUNTED:
                root.is_mount = False
            if inbox.mode is Mode.SCAN and inbox.health is Health.OK and inbox.message:  # it could not be watched
                root.identity = None

    def are_calm(self) -> bool:
        """Tell whether the bell would ring if anything became of any root."""
        return self._watching and all(
            root.heeded and inbox.health is Health.OK and inbox.mode is Mode.EVENTS and not inbox.network
            for inbox, root in self._roots.items()
        )

    def are_unchanged(self) -> bool:
        """Take a quick look: tell whether every root is the folder that it was, and heard. Mounts are not looked at."""
        return self._watcher.alive and all(
            root.identity == _identity(inbox) and not self._is_deaf(inbox) for inbox, root in self._roots.items()
        )

    def prepare(self) -> None:
        """Before a look at all roots: see to the watcher, and read what is mounted if that has changed."""
        self._keep_watching()
        if self._mounts.changed():
            self._pause(MOUNT_PAUSE)
            self._mounts.changed()  # what came meanwhile is in the table as well
            self._table = self._mounts.read()

    def _keep_watching(self) -> None:
        if self._watcher.alive:
            return
        was_watching, self._watching = self._watching, False
        if was_watching:
            log.error("intake.watcher_died", hint="it is started again and everything is scanned")
            self._watcher.stop()
        if self._clock() >= self._next_start:
            self._next_start = self._clock() + self._rounds.revive
            try:
                self._watcher.start()
                self._watching = True
            except OSError as error:
                hint = f"raise {watcher.INSTANCE_SYSCTL}; everything is scanned instead"
                log.warning("intake.no_inotify", error=str(error), hint=hint)
        if self._watching or was_watching:
            for root in self._roots.values():
                root.identity = None  # watched anew, or scanned for as long as nobody watches

    def look(self, inbox: Inbox) -> None:
        """See whether an inbox is there and as it was; what is new or came back is watched, and to be scanned."""
        root = self._roots.get(inbox)
        if root is None:
            coverage = Coverage(inbox, self._watcher.watched_inodes, self._rounds.made_folder, self._rounds.poll)
            root = self._roots[inbox] = Root(coverage)
        remounted = root.seen_in is not self._table
        if remounted:  # before the first touch, which may block
            root.seen_in = self._table
            inbox.network = _is_network(mount_of(inbox.root, self._table))
        try:
            status = os.stat(inbox.root)
        except OSError as error:
            self._lose(
                inbox, root, Health.MISSING, f"{error.strerror}: create or mount it; it is looked for all the time"
            )
            return
        if not statmodes.S_ISDIR(status.st_mode):
            self._lose(inbox, root, Health.MISSING, "it is not a folder")
            return
        identity = (status.st_dev, status.st_ino)
        if identity != root.identity and self._mounts.changed():  # since they were read: no other folder has come
            self._table = self._mounts.read()
            self._bell.ring()  # for those that were looked at before
            self.look(inbox)
            return
        if identity != root.identity or remounted or self._is_deaf(inbox):  # it is not, for months on end
            self._compare(inbox, root, identity, remounted=remounted)

    def _compare(self, inbox: Inbox, root: Root, identity: tuple[int, int], *, remounted: bool) -> None:
        mounts = mounts_below(inbox.root, self._table)
        is_mount = any(mount.point == inbox.root for mount in mounts)
        if root.is_mount and not is_mount:
            self._lose(
                inbox,
                root,
                Health.UNMOUNTED,
                "what was mounted here is gone: mount it again, or reload the config if the folder is now a local one",
            )
            return
        # An unmount takes the watches with it.
        deaf = self._is_deaf(inbox) or (
            remounted and inbox.mode is not Mode.SCAN and identity[1] not in self._watcher.watched_inodes()
        )
        if identity == root.identity and mounts == root.mounts and not deaf:
            return
        came_back = root.identity is None or inbox.health is not Health.OK
        root.identity, root.mounts, root.is_mount = identity, mounts, is_mount
        self._set_up(inbox, root)
        if root.scanned:
            log.warning("intake.root_back" if came_back else "intake.root_changed", folder=printable(inbox.name))

    def _is_deaf(self, inbox: Inbox) -> bool:
        return inbox.mode is not Mode.SCAN and not self._watcher.hears(inbox)

    def _lose(self, inbox: Inbox, root: Root, health: Health, message: str) -> None:
        if inbox.health is health and inbox.message == message:
            return
        log.error("intake.root_lost", folder=printable(inbox.name), health=health.value, message=message)
        inbox.health, inbox.message = health, message
        root.identity = None
        root.coverage.clear()
        root.next_scan = float("inf")
        self._watcher.unwatch(inbox)

    def _set_up(self, inbox: Inbox, root: Root) -> None:
        """Watch first; the scan that follows then sees whatever came before."""
        wanted = inbox.folder.watch
        inbox.mode = Mode.SCAN if wanted == "scan" or (inbox.network and wanted == "auto") else Mode.EVENTS
        inbox.health, inbox.message = Health.OK, ""
        root.coverage.clear()
        root.next_scan = 0.0
        self._watcher.unwatch(inbox)
        if inbox.mode is Mode.EVENTS:
            try:
                self._watcher.watch(inbox)
            except OSError as error:
                inbox.mode = Mode.SCAN
                inbox.message = f"can't be watched ({error.strerror or error}) and is scanned instead: raise " + (
                    watcher.WATCH_SYSCTL if self._watcher.alive else watcher.INSTANCE_SYSCTL
                )
        # After the watches of the inbox, which needs them more. Should it be replaced just now, looking goes on.
        root.heeded = inbox.mode is Mode.EVENTS and self._bell.heed(inbox.root) and root.identity == _identity(inbox)


def _is_network(mount: Mount | None) -> bool:
    return mount is not None and mount.is_network


def _identity(inbox: Inbox) -> tuple[int, int] | None:
    try:
        status = os.stat(inbox.root)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if statmodes.S_ISDIR(status.st_mode) else None
