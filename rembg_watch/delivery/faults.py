"""The one place where an OSError of this room becomes an error of our tree."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from rembg_watch.errors import SourceChanged, SourceError, TargetError
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

GONE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN}
)

_TARGET: Mapping[int, tuple[str, str, str]] = {
    # errno: the code of the hold, what is the matter, what to do
    errno.ENOSPC: ("full", "the disk is full", "Free some space (or inodes) there; work goes on by itself."),
    errno.EDQUOT: ("full", "the disk quota is used up", "Raise the quota or free some space; work goes on by itself."),
    errno.EROFS: (
        "readonly",
        "the filesystem is read-only",
        "Mount it writable (a disk with errors is often remounted read-only: see dmesg); work goes on by itself.",
    ),
    errno.EACCES: (
        "denied",
        "permission denied",
        "Let the daemon's user write there, and list it in ReadWritePaths of the systemd unit.",
    ),
    errno.EPERM: (
        "denied",
        "not permitted",
        "Let the daemon's user write there; see also chattr (immutable, append-only) and the unit's ReadWritePaths.",
    ),
    errno.ENAMETOOLONG: (
        "name",
        "the name is too long for this filesystem",
        "Shorten the source's name, or choose a shorter output_name.",
    ),
    errno.EILSEQ: ("name", "this filesystem does not take the name", "Rename the source without special characters."),
    errno.EIO: (
        "other",
        "the disk reports an input/output error",
        "Look at dmesg: the disk or the share may be failing.",
    ),
    errno.ELOOP: (
        "other",
        "a link stands where a folder should be",
        "Links below the outbox, archive or failed folder are not followed; replace the link by a real folder.",
    ),
    errno.EFBIG: (
        "other",
        "the file is too big for this filesystem",
        "See the limits of the filesystem and ulimit -f.",
    ),
    errno.EMFILE: ("other", "too many open files", "Raise LimitNOFILE of the service, or lower workers."),
    errno.ENFILE: ("other", "too many open files on this machine", "Raise the sysctl fs.file-max."),
}
_MISSING = ("missing", "it is not there", "Mount or create it; work goes on by itself.")


def target_error(error: OSError, path: str, doing: str = "write") -> TargetError:
    """Say that ``path`` (an outbox, archive or failed folder, or something in it) could not be written, and why."""
    number = error.errno or 0
    if number in GONE:
        code, what, hint = _MISSING
    else:
        code, what, hint = _TARGET.get(
            number,
            ("other", error.strerror or str(error), "See the system's log for what is wrong with that filesystem."),
        )
    return TargetError(f"can't {doing} {printable(path)}: {what}", hint, code)


def source_error(error: OSError, path: str, doing: str = "read") -> SourceError:
    """Say that a photo could not be read, moved or removed; a photo that is gone is a :class:`SourceChanged`."""
    shown = printable(path)
    if error.errno in GONE:
        return SourceChanged(f"{shown} is gone", "It was moved or removed on the way; nothing more is done for it.")
    if error.errno == errno.ELOOP:
        return SourceError(f"{shown} is a link or lies behind one", "Links are left alone; put the file itself there.")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return SourceError(
            f"can't {doing} {shown}: {error.strerror}",
            "Let the daemon's user read the inbox, and write to it where originals are archived, deleted or moved.",
        )
    return SourceError(
        f"can't {doing} {shown}: {error.strerror or error}", "Look at dmesg and at the inbox's filesystem."
    )
