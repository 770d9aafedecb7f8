"""What ``check`` can find, and how numbers become findings. Pure: the numbers are read elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rembg_watch.cli.show import count, duration, size
from rembg_watch.errors import EXIT_CANT_WRITE, EXIT_CONFIG, EXIT_KEY_REFUSED, EXIT_OK, EXIT_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rembg_watch.dispatch.results import Shortage

LITTLE_SPACE = 1024**3
"""Bytes of free disk below which ``check`` warns."""
NO_SPACE = 64 * 1024**2
"""Bytes of free disk that are not enough for one large result."""
MOST_SKEW = 300.0
"""Seconds that this machine's clock may differ from the API's."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what is so, and what to do. ``code`` is the exit code of a FAIL."""

    level: Level
    subject: str
    message: str
    hint: str = ""
    code: int = EXIT_OK


_FIRST = (EXIT_CONFIG, EXIT_KEY_REFUSED, EXIT_UNAVAILABLE, EXIT_CANT_WRITE)


def exit_code(findings: Iterable[Finding]) -> int:
    """Give the exit code: that of the first kind that fails, of config, key, API, and what can't be written."""
    codes = {finding.code for finding in findings if finding.level is Level.FAIL}
    return next((code for code in _FIRST if code in codes), max(codes, default=EXIT_OK))


def ok(subject: str, message: str) -> Finding:
    return Finding(Level.OK, subject, message)


def warn(subject: str, message: str, hint: str = "") -> Finding:
    return Finding(Level.WARN, subject, message, hint)


def fail(subject: str, message: str, hint: str, code: int) -> Finding:
    return Finding(Level.FAIL, subject, message, hint, code)


def sqlite_version(version: tuple[int, int, int]) -> Finding:
    """Judge SQLite's version. Source: sqlite.org, the WAL-reset bug, fixed in 3.51.3, 3.50.7 and 3.44.6."""
    shown = ".".join(map(str, version))
    if version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45):
        return ok("sqlite", f"SQLite {shown}")
    return warn(
        "sqlite",
        f"SQLite {shown} can, very rarely, damage a database when two connections reset its log at once",
        "It is fixed in 3.51.3, 3.50.7 and 3.44.6: update when your system has it, and back up jobs.db.",
    )


def watches(folders: int, limit: int | None) -> Finding:
    """Judge the kernel's limit of watched folders per user against how many there are."""
    if limit is None:
        return ok("inotify", f"{count(folders, 'folder')} to watch; the kernel's limit is not known")
    if folders > limit:
        return warn(
            "inotify",
            f"{folders} folders to watch, but the kernel allows {limit} in all; the rest is only scanned",
            _raise_sysctl("max_user_watches", max(folders * 2, 524_288)),
        )
    if folders * 5 > limit * 4:
        return warn(
            "inotify",
            f"{folders} folders to watch, and the kernel allows {limit} for all programs of this user",
            _raise_sysctl("max_user_watches", max(folders * 2, 524_288)),
        )
    return ok("inotify", f"{count(folders, 'folder')} to watch; the kernel allows {limit}")


def instances(*, free: bool, limit: int | None) -> Finding | None:
    """Say what to do where this user has no inotify instance left."""
    if free:
        return None
    most = "" if limit is None else f" (the kernel allows {limit})"
    return warn(
        "inotify",
        f"all inotify instances of this user are taken{most}; folders would only be scanned",
        _raise_sysctl("max_user_instances", max(2 * (limit or 0), 512)),
    )


def _raise_sysctl(name: str, value: int) -> str:
    return f"Raise it: sysctl fs.inotify.{name}={value} (and put it into /etc/sysctl.d)."


def space(subject: str, where: str, free: int) -> Finding | None:
    """Judge the free bytes of a disk; None where there is enough."""
    shown = f"{free / 1024**2:.0f} MB free on the disk of {where}"
    if free < NO_SPACE:
        return fail(subject, f"only {shown}", "Make room.", EXIT_CANT_WRITE)
    return warn(subject, f"only {shown}", "Make room soon.") if free < LITTLE_SPACE else None


def short_store(shortage: Shortage) -> Finding:
    """Warn of a result store that had to delete what was used a few days ago."""
    held = duration(shortage.held)
    if shortage.why == "max":
        why, hint = f"results.max ({size(shortage.limit)}) was reached", "Raise results.max."
    else:
        why, hint = "the disk of the state directory was more than 90 % full", "Make room there."
    return warn(
        "results",
        f"paid results had to be deleted {held} after their last use, because {why}",
        f"A picture that comes again after that may be paid again. {hint}",
    )


def clock(skew: float) -> Finding:
    """Judge by how many seconds this machine's clock is ahead of the API's."""
    if abs(skew) <= MOST_SKEW:
        return ok("clock", "agrees with the API's")
    way = "ahead of" if skew > 0 else "behind"
    return warn(
        "clock",
        f"this machine's clock is {abs(skew):.0f} s {way} the API's",
        "Set it right (timedatectl): limits by day and billing periods follow it.",
    )


def credit(available: int, reserve: int, warn_below: int) -> Finding:
    """Judge the credits that are left against what the config says of them."""
    left = f"{available} credits left, {reserve} of them kept in reserve" if reserve else f"{available} credits left"
    if available <= reserve:
        return warn("credits", f"{left}: nothing would be sent", "Buy credits, wait for the renewal, or lower reserve.")
    if available < warn_below:
        return warn("credits", f"{left}, fewer than warn_below ({warn_below})", "Buy credits in time.")
    return ok("credits", left)
