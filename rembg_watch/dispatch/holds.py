"""What is held, and why. A hold makes work wait with a reason, a next check and a way out; it never fails a job.

The registry is in memory, where the dispatcher asks it all the time; every change is written to the board for people.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from rembg_watch.dispatch.credits import next_day
from rembg_watch.jobs.board import PAUSE
from rembg_watch.jobs.model import Hold

if TYPE_CHECKING:
    from rembg_watch.jobs.board import Board

ALL = "all"
FIRST_CHECK = 30.0
"""Seconds from the start of a hold to its first free probe."""
LATEST_CHECK = 30.0
"""A hold that money or the network can end at any time is looked at this often, in seconds."""
LATEST_PROFILE_CHECK = 3600.0
AGAIN_SECONDS = 600.0
"""A hold that comes again within this time of its end was not over: its probe saw less than the work needs."""

log = structlog.get_logger()


def profile_scope(fingerprint: str) -> str:
    """Give the scope of a hold on one set of options."""
    return f"profile:{fingerprint}"


def outbox_scope(outbox: str) -> str:
    """Give the scope of a hold on one outbox."""
    return f"outbox:{outbox}"


def inbox_scope(inbox: str) -> str:
    """Give the scope of a hold on one inbox."""
    return f"inbox:{inbox}"


@dataclass
class _Held:
    hold: Hold
    interval: float
    until_tomorrow: bool = False


class Holds:
    """All holds that are in force. Safe for threads. Times are Unix seconds."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        """From a change until the board tells it: a hold that ends there before it has begun would stay there."""
        self._held: dict[tuple[str, str], _Held] = {}
        self._ended: dict[tuple[str, str], tuple[_Held, float]] = {}
        """Holds that a probe ended, and when (monotonic seconds); the work has not shown yet that they are over."""
        self._untold: set[tuple[str, str]] = set()
        """What has changed and could not be written to the board."""

    def load(self, now: float) -> None:
        """Take over the holds of the run before: a pause stands, the others are looked at anew."""
        for hold in self._board.holds():
            if (hold.scope, hold.kind) == PAUSE or hold.scope.startswith("profile:"):
                # Checked soon at the latest, whatever the clock said when the hold was written.
                soon = None if hold.next_check is None else min(hold.next_check, now + LATEST_PROFILE_CHECK)
                self._held[hold.scope, hold.kind] = _Held(replace(hold, next_check=soon), FIRST_CHECK)
            else:
                self._board.release(hold.scope, hold.kind)
        log.debug("holds.loaded", held=len(self._held), at=now)

    def reload_pause(self) -> None:
        """Look whether somebody paused or resumed from outside."""
        standing = {(hold.scope, hold.kind): hold for hold in self._board.holds()}
        with self._lock:
            was = PAUSE in self._held
            if PAUSE in standing:
                self._held[PAUSE] = _Held(standing[PAUSE], 0.0)
            else:
                self._held.pop(PAUSE, None)
        if was != (PAUSE in standing):
            log.info("paused" if PAUSE in standing else "resumed", reason=getattr(standing.get(PAUSE), "message", None))

    def hold(
        self,
        scope: str,
        kind: str,
        message: str,
        release: str,
        *,
        now: float,
        check_in: float | None = FIRST_CHECK,
        until_tomorrow: bool = False,
    ) -> None:
        """Set a hold, or renew it. ``check_in``: seconds to the next probe; None where somebody else ends it.

        ``until_tomorrow``: it is looked at as the UTC day ends on the wall clock, whatever that is set to meanwhile.

        One that comes again soon after a probe ended it goes on: since when it stands, and, for an outbox, how seldom
        it is looked at.
        """
        with self._changing:
            with self._lock:
                held = self._held.get((scope, kind))
                since = held.hold.since if held else now
                ended, at = self._ended.pop((scope, kind), (None, 0.0))
                if held is None and ended is not None and time.monotonic() - at < AGAIN_SECONDS:
                    since = min(now, ended.hold.since)
                    if check_in is not None and scope.startswith("outbox:"):
                        check_in = max(check_in, min(LATEST_CHECK, 2 * ended.interval))
                elif held is not None and check_in is not None and scope.startswith("outbox:"):
                    check_in = max(check_in, held.interval)  # what others had in flight is the same trouble
                next_check = next_day(now) if until_tomorrow else None if check_in is None else now + check_in
                hold = Hold(scope, kind, message, release, since, next_check)
                self._held[scope, kind] = _Held(hold, check_in or FIRST_CHECK, until_tomorrow)
            if held is None:
                log.warning("hold.begin", scope=scope, kind=kind, reason=message, release=release)
            if held is None or (held.hold.message, held.hold.next_check) != (message, next_check):
                self._tell((scope, kind))

    def release(self, scope: str, kind: str | None = None) -> bool:
        """End a hold, or every hold of a scope; False where there was none: then what ended before is over indeed."""
        if not self._keys(scope, kind):  # the usual case, with each photo: it waits for no board
            with self._lock:
                self._ended = {key: ended for key, ended in self._ended.items() if key[0] != scope}
            return False
        with self._changing:
            keys = self._keys(scope, kind)
            with self._lock:
                for key in keys:
                    self._ended[key] = (self._held.pop(key), time.monotonic())
            for key in keys:
                log.info("hold.end", scope=key[0], kind=key[1])
            self._tell(*keys)
        return bool(keys)

    def tell(self) -> None:
        """Write to the board what could not be written there as it changed.

        Raises:
            StateError: it still can't; it is kept in mind.
        """
        if self._untold:
            with self._changing:
                self._tell(*self._untold)

    def _tell(self, *keys: tuple[str, str]) -> None:
        self._untold.update(keys)
        for key in keys:
            with self._lock:
                held = self._held.get(key)
            if held is not None:
                self._board.hold(held.hold)
            else:
                self._board.release(*key)
            self._untold.discard(key)

    def _keys(self, scope: str, kind: str | None) -> list[tuple[str, str]]:
        with self._lock:
            return [key for key in self._held if key[0] == scope and kind in (None, key[1]) and key != PAUSE]

    def postpone(self, scope: str, kind: str, now: float, seconds: float) -> None:
        """Set the time of the next probe."""
        with self._changing:
            with self._lock:
                held = self._held.get((scope, kind))
                if held is None:
                    return
                old = held.hold
                held.hold = Hold(scope, kind, old.message, old.release, old.since, now + seconds)
                held.interval = seconds
                held.until_tomorrow = False
            self._tell((scope, kind))

    def look_now(self, now: float) -> None:
        """Let every probe that costs nothing be due: a new config may have ended the reason."""
        with self._lock:
            for (scope, _), held in self._held.items():
                if held.hold.next_check is not None and not scope.startswith("profile:"):
                    held.hold = replace(held.hold, next_check=now)

    def shift(self, seconds: float, now: float) -> None:
        """Follow a jump of the clock. A hold that was set after it is looked at when it would have been, or sooner."""
        with self._lock:
            for held in self._held.values():
                if held.hold.next_check is None:
                    continue
                if held.until_tomorrow:
                    later = min(held.hold.next_check, next_day(now))
                else:
                    later = min(held.hold.next_check + seconds, now + held.interval)
                held.hold = replace(held.hold, next_check=later)

    def due(self, now: float) -> list[tuple[Hold, float]]:
        """Give the holds whose probe is due, with the seconds that they were apart so far."""
        with self._lock:
            return [
                (held.hold, held.interval)
                for held in self._held.values()
                if held.hold.next_check is not None and held.hold.next_check <= now
            ]

    def next_check(self) -> float | None:
        """Give the time of the next probe, in Unix seconds."""
        with self._lock:
            checks = [held.hold.next_check for held in self._held.values() if held.hold.next_check is not None]
        return min(checks, default=None)

    def has(self, scope: str, kind: str | None = None) -> bool:
        """Tell whether a scope is held."""
        with self._lock:
            return any(key[0] == scope and kind in (None, key[1]) for key in self._held)

    def scopes(self, prefix: str) -> list[str]:
        """Give what is held below a prefix such as ``profile:``, without the prefix."""
        with self._lock:
            return [key[0].removeprefix(prefix) for key in self._held if key[0].startswith(prefix)]

    def all(self) -> list[Hold]:
        """Give all holds, the oldest first."""
        with self._lock:
            return sorted((held.hold for held in self._held.values()), key=lambda hold: hold.since)
