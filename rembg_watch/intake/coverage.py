"""Which folders of an inbox the kernel really watches: watchdog passes over the watch limit without a word."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from rembg_watch.intake.inbox import Mode
from rembg_watch.intake.watcher import WATCH_SYSCTL
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.intake.inbox import Inbox
    from rembg_watch.intake.scanner import Summary

log = structlog.get_logger()

NEVER = float("inf")


@dataclass
class Coverage:
    """The folders of one inbox against the kernel's own list. ``watched`` gives the inode numbers that it watches."""

    inbox: Inbox
    watched: Callable[[], set[int]]
    settle: float
    """Seconds from the making of a folder to the comparison."""
    poll: float
    """Seconds between scans of what is not watched."""
    unwatched: dict[int, str] = field(default_factory=dict)
    """Folders that nobody watches for us, by inode number: they are to be scanned by themselves."""
    next_poll: float = NEVER
    next_compare: float = NEVER
    _folders: int = 0
    _fresh: dict[int, str] = field(default_factory=dict)

    def clear(self) -> None:
        self.unwatched.clear()
        self._fresh.clear()
        self.next_poll = self.next_compare = NEVER

    def missing(self, folders: dict[int, str]) -> dict[int, str]:
        """Give those of ``folders`` that are not watched, but are still there."""
        watched = self.watched() if folders else set()
        missing = {}
        for path in [path for inode, path in folders.items() if inode not in watched]:
            with suppress(OSError):
                # Where something is mounted, this is another number than the one that was listed.
                inode = os.lstat(self.inbox.absolute(path)).st_ino
                if inode not in watched:
                    missing[inode] = path
        return missing

    def compare(self, summary: Summary, now: float, pause: Callable[[float], object]) -> None:
        """Compare what a whole scan saw. ``pause`` waits: a folder made during the scan is watched a moment later."""
        missing = self.missing(summary.inodes)
        if missing:
            pause(0.2)
            missing = self.missing(missing)
        self._folders = summary.folders
        if missing:
            self._note(missing, now)
        elif self.inbox.mode is Mode.BOTH:
            self.inbox.mode, self.inbox.message = Mode.EVENTS, ""
            self.clear()

    def add(self, folders: dict[int, str], now: float) -> None:
        """Take note of folders that were just made; they are compared a little later, all together."""
        self._fresh.update(folders)
        self.next_compare = min(self.next_compare, now + self.settle)

    def compare_fresh(self, now: float) -> None:
        """Compare the folders that were made since."""
        self.next_compare = NEVER
        fresh, self._fresh = self._fresh, {}
        self._folders += len(fresh)
        if self.inbox.mode is not Mode.SCAN and (missing := self.missing(fresh)):
            self._note(self.missing(self.unwatched) | missing, now)

    def _note(self, missing: dict[int, str], now: float) -> None:
        self.inbox.mode = Mode.BOTH
        closed = [
            path for path in missing.values() if not os.access(self.inbox.absolute(path), os.R_OK, effective_ids=True)
        ]
        if open_ones := len(missing) - len(closed):
            self.inbox.message = limit_advice(open_ones, self._folders)
        else:  # what can't be read can't be watched, whatever the limit
            more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
            self.inbox.message = (
                f"can't read the folder {printable(closed[0])}{more}: let this user read the whole inbox"
            )
        if self.unwatched.keys() != missing.keys():
            if open_ones:
                log.warning(
                    "intake.watch_limit",
                    folder=printable(self.inbox.name),
                    unwatched=open_ones,
                    hint=self.inbox.message,
                )
            self.next_poll = now
        else:
            self.next_poll = min(self.next_poll, now + self.poll)
        self.unwatched = missing


def limit_advice(unwatched: int, folders: int) -> str:
    """Say what to do about folders that could not be watched."""
    wanted = 1 << max(16, (2 * folders).bit_length())
    return (
        f"{unwatched} of {folders} folders are not watched and are scanned instead: raise {WATCH_SYSCTL}"
        f" (sysctl -w {WATCH_SYSCTL}={wanted})"
    )
