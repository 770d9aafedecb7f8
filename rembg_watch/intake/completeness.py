"""One look at a file on disk: is it a regular file, does anybody write it, what is it, is its end there?

The read lease answers "is anybody writing?" in microseconds: ``fcntl(F_SETLEASE, F_RDLCK)`` fails with EAGAIN while
the file is open for writing anywhere on this machine, and with EACCES where we may not ask (fcntl(2)).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat as statmodes
import threading
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from rembg_watch import imagefile
from rembg_watch.errors import PictureError
from rembg_watch.imagefile import Ending
from rembg_watch.intake import preflight
from rembg_watch.intake.readiness import Facts, Writer

if TYPE_CHECKING:
    from rembg_watch.jobs.model import Refusal

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TYPES = (
    (statmodes.S_ISLNK, "a link: links are not followed"),
    (statmodes.S_ISDIR, "a folder"),
    (statmodes.S_ISFIFO, "a pipe, not a file"),
    (statmodes.S_ISSOCK, "a socket, not a file"),
    (statmodes.S_ISCHR, "a device, not a file"),
    (statmodes.S_ISBLK, "a device, not a file"),
)


class Identity(NamedTuple):
    """What must stay the same while a file is judged. Times in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Gone(Exception):
    """There is nothing under that name any more."""


class NotAFile(Exception):
    """Not a regular file; ``reason`` says what it is."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Seen(NamedTuple):
    """A look's result: what the file was, and what it told."""

    identity: Identity
    facts: Facts


def ignore_lease_signal() -> None:
    """Ignore SIGIO, whose default action ends the process, if this is the main thread; harmless elsewhere."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGIO, signal.SIG_IGN)


def describe(path: str, mode: int, root: str) -> str:
    """Say why what is at ``path`` below ``root``, of this ``st_mode``, is left alone, as it is no regular file."""
    if statmodes.S_ISLNK(mode):
        return describe_link(path, root)
    return special(mode) or "not a regular file"


def special(mode: int) -> str | None:
    """Say what a thing is that is not a regular file, by its ``st_mode``, or None if it is one."""
    if statmodes.S_ISREG(mode):
        return None
    return next((reason for matches, reason in _TYPES if matches(mode)), "not a regular file")


def describe_link(path: str, root: str) -> str:
    """Say why the link at ``path`` below ``root`` is left alone."""
    try:
        os.stat(path)
    except OSError as error:
        # A circle, or too many links in a row for the kernel, which are too many for Python as well.
        if error.errno == errno.ELOOP:
            return "a link that leads nowhere"
    target = os.path.realpath(path)
    if target == root or target.startswith(root.rstrip("/") + "/"):
        return "a link to something in this inbox, which is taken by its own name"
    return "a link that leads out of the inbox: not followed"


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """Open for reading without following a link, waiting for a pipe, or waking a device; give its fstat with it.

    ``path`` must be absolute with links resolved: what is reached through a linked folder is not taken.

    Raises:
        Gone: nothing is there.
        NotAFile: something else is there.
        OSError: it can't be opened; EWOULDBLOCK where somebody holds a lease on it.
    """
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise Gone from None
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ENXIO, errno.ENODEV):  # a folder became a file; a socket; no device
            raise NotAFile("not a regular file") from None
        if error.errno == errno.ELOOP:
            raise NotAFile("a link: links are not followed") from None
        raise
    try:
        status = os.fstat(fd)
        if reason := special(status.st_mode):
            raise NotAFile(reason)
        if not _is_at(fd, path):
            raise NotAFile("in a linked folder: links are not followed")
    except BaseException:
        os.close(fd)
        raise
    return fd, status


def _is_at(fd: int, path: str) -> bool:
    try:
        actual = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # no /proc: ask the folders themselves
        actual = os.path.realpath(path)
    if actual == path:
        return True
    if actual.endswith(" (deleted)") or not os.path.lexists(path):
        raise Gone
    return os.path.realpath(path) == path  # renamed just now: no link in the way


def who_writes(fd: int) -> Writer:
    """Take a read lease on ``fd`` (opened O_RDONLY) and give it back at once."""
    try:
        # A lease that is broken in these microseconds sends a signal: make it one whose default action is nothing.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Writer.SOMEBODY if error.errno == errno.EAGAIN else Writer.UNKNOWN
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:  # broken by a writer who waits for it: closing releases it
        return Writer.SOMEBODY
    return Writer.NOBODY


def look(path: str, now: float) -> Seen:
    """Open the file and gather facts. ``now`` is when.

    Raises:
        Gone: nothing is there.
        NotAFile: something else is there.
    """
    try:
        fd, status = open_regular(path)
    except OSError as error:
        return _cannot_open(path, error, now)
    try:
        try:
            facts = _read(fd, status.st_size, who_writes(fd), now)
        except OSError as error:
            facts = Facts(now, status.st_size, problem=f"it can't be read: {error.strerror}")
        # What was read belongs to the later identity only if the two are one: else the caller sees the change.
        return Seen(Identity.of(os.fstat(fd)), facts)
    finally:
        os.close(fd)


def _cannot_open(path: str, error: OSError, now: float) -> Seen:
    try:
        status = os.lstat(path)
    except OSError:
        raise Gone from None
    if error.errno == errno.EWOULDBLOCK:
        return Seen(Identity.of(status), Facts(now, max(status.st_size, 1), Writer.SOMEBODY))
    return Seen(Identity.of(status), Facts(now, status.st_size, problem=f"it can't be opened: {error.strerror}"))


def _read(fd: int, size: int, writer: Writer, now: float) -> Facts:
    if size == 0:
        return Facts(now, 0, writer, refusal=preflight.refuse_empty())
    read = imagefile.reader(fd)
    head = read(0, imagefile.HEAD_BYTES)
    kind = imagefile.sniff(head)
    if kind is None:
        return Facts(now, size, writer, blank=not head.strip(b"\0"), refusal=preflight.refuse_type(head))
    if size < imagefile.HEAD_BYTES:
        return Facts(now, size, writer, kind, Ending.INCOMPLETE)
    refusal = _refusal(read, size)  # before the tail, while the head's block is at hand
    tail = read(max(0, size - imagefile.TAIL_BYTES), imagefile.TAIL_BYTES)
    return Facts(now, size, writer, kind, imagefile.ending(kind, head, tail, size), refusal=refusal)


def _refusal(read: imagefile.ReadAt, size: int) -> Refusal | None:
    if refusal := preflight.refuse_size(size):
        return refusal
    try:
        return preflight.refuse_dimensions(imagefile.header_of(read))
    except PictureError as error:
        return preflight.refuse_damaged(error.message)


def decode(path: str, identity: Identity) -> str | None:
    """Decode every pixel. Gives None if the picture is whole, else what is wrong.

    Raises:
        Gone: nothing is there, or it is not the file of ``identity`` (any more).
        NotAFile: something else is there.
    """
    try:
        fd, status = open_regular(path)
    except OSError as error:
        return f"it can't be opened: {error.strerror}"
    with os.fdopen(fd, "rb") as file:
        if Identity.of(status) != identity:
            raise Gone
        try:
            with _copy(file) as copy:
                kind = imagefile.sniff(copy.read(imagefile.HEAD_BYTES))
                if kind is not None and not imagefile.walk_to_end(copy, kind):
                    damage: str | None = f"its end is missing: there are {identity.size} bytes so far"
                else:
                    imagefile.decode(copy)
                    damage = None
        except PictureError as error:
            damage = error.message
        except OSError as error:
            damage = f"it can't be read: {error.strerror}"
        if Identity.of(os.fstat(fd)) != identity:
            raise Gone
        return damage


def _copy(file: BinaryIO) -> BinaryIO:
    """Copy a file of at most 50 MB into memory. A mapped file that its writer cuts short would kill us (SIGBUS)."""
    copy = os.fdopen(os.memfd_create("photo"), "w+b")
    shutil.copyfileobj(file, copy, 1 << 20)
    copy.seek(0)
    return copy
