"""The thread that walks: it sees whether the inboxes are still there, and scans them.

Everything that may block on a slow or dead filesystem is here, so that the thread that owns the candidates never does
for an inbox that nobody uses.
"""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from rembg_watch.intake.bell import Bell
from rembg_watch.intake.inbox import Health, Inbox, Mode, RootStatus, inboxes_of
from rembg_watch.intake.letters import Left, Offer, Scanned
from rembg_watch.intake.readiness import How
from rembg_watch.intake.roots import Root, Roots, Rounds
from rembg_watch.intake.scanner import Found, Summary, scan
from rembg_watch.intake.visits import Visit, Visits
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rembg_watch.config.model import Folder
    from rembg_watch.intake.candidate import KnownFiles
    from rembg_watch.intake.coverage import Coverage
    from rembg_watch.intake.watcher import News

log = structlog.get_logger()

BATCH = 500
"""How many found files are handed on at once."""


class Stopped(Exception):
    """The patrol is to end, or the inbox is gone."""


class Patrol:
    """Looks after all inboxes. ``post`` takes what is found; a scan waits while ``has_room`` says no."""

    def __init__(
        self,
        folders: Iterable[Folder],
        store: KnownFiles,
        post: Callable[[Offer | Scanned | Left], None],
        post_news: Callable[[News], None],
        has_room: Callable[[], bool],
        on_turn: Callable[[], None],
        *,
        clock: Callable[[], float],
        rounds: Rounds,
    ) -> None:
        self.inboxes = inboxes_of(folders)
        self.first_scan_done = threading.Event()
        self.busy_since = clock()
        """When it last showed life; infinity while it sleeps."""
        self.visiting: Inbox | None = None
        self.overflows = 0
        self._store = store
        self._post = post
        self._has_room = has_room
        self._on_turn = on_turn
        self._clock = clock
        self._rounds = rounds
        self._visits = Visits()
        self._on_visit = False
        self._stop = threading.Event()
        self._bell = Bell()
        self._roots = Roots(post_news, self._on_overflow, self._stop.wait, self._bell, clock=clock, rounds=rounds)
        self._rescan = False
        self._overflowed = False
        self._wanted = self.inboxes
        """What is to be looked after, from the next round on."""
        self._told: list[RootStatus] = []

    # -- from other threads

    def rescan_now(self) -> None:
        """Scan everything as soon as possible."""
        self._rescan = True
        self._bell.ring()

    def replace_folders(self, folders: Iterable[Folder]) -> None:
        """Look after these folders from now on: what is decided from here on is by their settings. For one thread."""
        wanted: list[Inbox] = []
        before = {inbox.name: inbox for inbox in self._wanted}
        for new in inboxes_of(folders):
            old = before.get(new.name)
            if (
                old is not None
                and old.root == new.root
                and (old.folder.watch, old.folder.recursive) == (new.folder.watch, new.folder.recursive)
            ):
                old.nested, old.folder = new.nested, new.folder
                wanted.append(old)
            else:
                wanted.append(new)
        for inbox in set(self._wanted).difference(wanted):
            inbox.gone = True
            self._post(Left(inbox))
        self._wanted = wanted
        self._bell.ring()

    def visit(self, inbox: Inbox, directory: str, how: How, *, recursive: bool) -> None:
        """Scan a folder of an inbox soon: at once if it was moved in, else when it had time to fill."""
        due = self._clock() + (0.0 if how is How.MOVED else self._rounds.made_folder)
        self._visits.add(Visit(inbox, directory, due, recursive, how))
        self._bell.ring()

    def stop(self) -> None:
        self._stop.set()
        self._bell.ring()

    def _on_overflow(self) -> None:
        self._overflowed = True
        self._bell.ring()

    # -- the thread

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._round()
                except Stopped:
                    continue
                except Exception:
                    log.exception("intake.patrol_failed", hint="it goes on; everything is scanned to be sure")
                    self._rescan = True
                    self._stop.wait(1.0)
                    continue
                self._sleep()
        finally:
            self._roots.close()

    def _sleep(self) -> None:
        """Wait for the bell, or until something is due; in between only see whether the roots are as they were."""
        times = [self._visits.next_due()]
        for root in self._roots:
            times += (root.next_scan, root.coverage.next_poll, root.coverage.next_compare)
        due, calm = min(times), self._roots.are_calm()
        look = self._rounds.calm if calm else self._rounds.health
        while True:
            self.busy_since = float("inf")
            rang = self._bell.wait(min(max(due - self._clock(), 0.01), look))
            self.busy_since = self._clock()
            if rang or not calm or self.busy_since >= due or not self._roots.are_unchanged():
                return

    def _round(self) -> None:
        self.busy_since = self._clock()
        if self.inboxes is not self._wanted:
            self._take_wanted()
        self._roots.prepare()
        for inbox in self.inboxes:
            self.visiting = inbox
            self._roots.look(inbox)
        self._make_visits()
        everything, self._rescan = self._rescan, False
        overflowed, self._overflowed = self._overflowed, False
        if overflowed:
            self.overflows += 1
            log.warning("intake.overflow", hint="events were lost; everything is scanned now", times=self.overflows)
        for inbox in self.inboxes:
            root = self._roots[inbox]
            lost_events = overflowed and inbox.mode is not Mode.SCAN
            if inbox.health in (Health.OK, Health.UNREADABLE) and (
                everything or lost_events or self._clock() >= root.next_scan
            ):
                self._scan_root(inbox, root, expected=everything or lost_events)
            if self._clock() >= root.coverage.next_compare:
                root.coverage.compare_fresh(self._clock())
            if self._clock() >= root.coverage.next_poll:
                self._poll_unwatched(inbox, root.coverage)
        self.visiting = None
        if not self.first_scan_done.is_set() and not self._stop.is_set():
            self.first_scan_done.set()
            log.info("intake.first_scan_done", folders=len(self.inboxes))
        before, self._told = self._told, [inbox.status() for inbox in self.inboxes]
        if self._told != before or not self._roots.are_calm():
            self._on_turn()

    def _breathe(self) -> None:
        """Between two folders of a long scan: show life, end if asked to, and see to what is urgent."""
        self.busy_since = self._clock()
        if self._stop.is_set() or (self.visiting is not None and self.visiting.gone):
            raise Stopped
        if not self._on_visit:
            self._make_visits()

    # -- scans

    def _scan_root(self, inbox: Inbox, root: Root, *, expected: bool) -> None:
        self.visiting = inbox
        summary = Summary()
        # What a periodic scan finds where all is watched is something that the events missed.
        by_rescan = root.scanned and not expected and inbox.mode is Mode.EVENTS and root.next_scan > 0
        root.next_scan = self._clock() + inbox.scan_seconds
        try:
            self._offer(inbox, "", summary, How.FOUND, recursive=True, by_rescan=by_rescan)
        except OSError as error:
            if inbox.health is Health.OK:
                log.warning("intake.root_unreadable", folder=printable(inbox.name), error=error.strerror)
            inbox.health = Health.UNREADABLE
            inbox.message = f"can't be read ({error.strerror}): let this user read it"
            return
        if inbox.health is Health.UNREADABLE:
            inbox.health, inbox.message = Health.OK, ""
            root.identity = None  # what could not be read could not be watched
        root.scanned = True
        root.next_scan = self._clock() + inbox.scan_seconds
        for path, problem in summary.problems:
            log.warning("intake.folder_unreadable", folder=printable(inbox.name), path=printable(path), error=problem)
        self._post(Scanned(inbox, summary))
        if inbox.mode is not Mode.SCAN and inbox.folder.recursive:
            root.coverage.compare(summary, self._clock(), self._stop.wait)

    def _offer(
        self, inbox: Inbox, directory: str, summary: Summary, how: How, *, recursive: bool, by_rescan: bool = False
    ) -> None:
        batch: list[Found] = []
        enter = partial(self._roots.watch_folder, inbox)
        for found in scan(
            inbox, self._store, summary, directory, recursive=recursive, enter=enter, breathe=self._breathe
        ):
            batch.append(found)
            if len(batch) == BATCH:
                self._post(Offer(inbox, batch, how, by_rescan))
                batch = []
                while not self._has_room():
                    if self._stop.wait(0.02):
                        raise Stopped
                    self.busy_since = self._clock()
        if batch:
            self._post(Offer(inbox, batch, how, by_rescan))

    def _make_visits(self) -> None:
        visiting = self.visiting
        self._on_visit = True
        try:
            for visit in self._visits.take_due(self._clock()):
                inbox, directory = visit.inbox, visit.directory
                if inbox.gone or inbox.health is not Health.OK:
                    continue
                self.visiting = inbox
                summary = Summary()
                try:
                    inode = Path(inbox.absolute(directory)).stat().st_ino
                    self._offer(inbox, directory, summary, visit.how, recursive=visit.recursive)
                except OSError:
                    continue  # it is gone again
                self._roots[inbox].coverage.add(summary.inodes | {inode: directory}, self._clock())
        finally:
            self._on_visit = False
            self.visiting = visiting

    def _poll_unwatched(self, inbox: Inbox, coverage: Coverage) -> None:
        self.visiting = inbox
        waiting = list(coverage.unwatched.values())
        while waiting:
            summary = Summary()
            try:
                self._offer(inbox, waiting.pop(), summary, How.FOUND, recursive=False)
            except OSError:
                continue  # it is gone
            # Folders made in an unwatched folder are unwatched, too, and nobody tells of them.
            fresh = {inode: path for inode, path in summary.inodes.items() if inode not in coverage.unwatched}
            fresh = coverage.missing(fresh)
            coverage.unwatched.update(fresh)
            waiting.extend(fresh.values())
        coverage.next_poll = self._clock() + self._rounds.poll

    # -- a new config

    def _take_wanted(self) -> None:
        before, self.inboxes = self.inboxes, self._wanted
        for inbox in set(before).difference(self.inboxes):
            self._roots.forget(inbox)
        self._roots.take_as_meant()
        self._rescan = True
