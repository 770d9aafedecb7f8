"""How it goes, told to people: to ``status`` through the database, to systemd in one line."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from rembg_watch import __version__
from rembg_watch.notify import notify
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from rembg_watch.dispatch.account import Account
    from rembg_watch.dispatch.dispatcher import Dispatcher
    from rembg_watch.dispatch.holds import Holds
    from rembg_watch.intake.intake import Intake
    from rembg_watch.jobs.board import Board
    from rembg_watch.jobs.store import JobStore

MOST_UNREADY = 2000
"""Files that are no jobs (yet) and are listed one by one; all of them are counted."""


class Signs:
    """Tells what has changed, and nothing twice."""

    def __init__(
        self, intake: Intake, dispatcher: Dispatcher, account: Account, holds: Holds, store: JobStore, board: Board
    ) -> None:
        self._intake = intake
        self._dispatcher = dispatcher
        self._account = account
        self._holds = holds
        self._store = store
        self._board = board
        self._published: tuple[object, ...] = ()
        self._said = ""

    def publish(self, *, last: bool = False) -> None:
        """Write what ``status`` shows, where it has changed; ``last``: as the daemon ends, with nothing in flight."""
        now = time.time()
        unready = self._intake.unready()[:MOST_UNREADY]
        facts = {
            "pid": os.getpid(),
            "version": __version__,
            "in_flight": [
                {"job": job.id, "folder": printable(job.folder), "path": printable(job.path), "since": since}
                for job, since in self._dispatcher.in_flight()
            ]
            if not last
            else [],
            "done_last_minute": self._dispatcher.done_last_minute(),
            "per_second": self._dispatcher.pace(),
            "roots": [status._asdict() for status in self._intake.roots()],
            "found_by_rescan": self._intake.found_by_rescan,
            "unready": self._intake.counts(),
        }
        listed = [(file.folder, file.path, file.state, file.reason) for file in unready]
        if not last and self._published == (facts, listed):
            return
        if not self._published or self._published[1] != listed:
            self._board.show_unready(unready)
        self._published = (facts, listed)
        self._board.set_fact("daemon", {**facts, "updated_at": now}, now)

    def say(self, unwell: str | None, refused: str) -> None:
        """Tell systemd in one line; ``refused``: why the config of the last reload was not taken over, or empty."""
        summary = self._summary(unwell, refused)
        if summary != self._said and notify(STATUS=summary):
            self._said = summary

    def _summary(self, unwell: str | None, refused: str) -> str:
        """Say in one line how it goes, what is wrong first: ``systemctl status`` shows it."""
        holds = self._holds.all()
        left = self._account.left()
        words = [f"not well: {unwell}"] if unwell else []
        words += [f"new config refused: {refused}"] if refused else []
        words += [
            f"{root.inbox} is {root.health}: {root.message}" for root in self._intake.roots() if root.health != "ok"
        ]
        words += [f"held: {hold.message}" for hold in holds]
        words += [
            f"{self._store.open_count()} to do",
            f"{self._dispatcher.done_last_minute()} done in the last minute",
            "credits unknown" if left is None else f"{left} credits",
        ]
        return "; ".join(words)
