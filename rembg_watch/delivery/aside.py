"""Removing a photo for good, but only the very version that was worked on.

Between looking at a file and unlinking it, a producer may write a new version under the same name; that version would
be gone unseen. So the file is first renamed, under its own name, into a private folder beside it, and judged there:
whoever opens the old name from now on makes a new file, and whoever still has this one open for writing is told of by
the kernel (a read lease is only given where nobody has). If it is the version we know, it is unlinked; if not, it goes
back.

What remains: on filesystems without leases (network ones), and for files of other users where the daemon may not take
leases, a program that opened the file before the rename and writes after the look goes unnoticed. Intake has waited
for quiet there, so that this takes a producer that pauses for longer than the whole job and then goes on.

The private folder keeps the file's own name, so that after a crash it can be put back by anyone who finds it: the
next run of the same removal, or the sweep.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from contextlib import suppress

from blake3 import blake3

from rembg_watch.delivery.faults import source_error
from rembg_watch.delivery.files import PREFIX
from rembg_watch.delivery.folders import FOLDER_FLAGS, fsync_folder
from rembg_watch.delivery.naming import numbered
from rembg_watch.delivery.placing import rename_noreplace
from rembg_watch.errors import SourceChanged, SourceError
from rembg_watch.printable import printable

SUFFIX = ".aside"
_MAX_NUMBER = 10_000


def aside_name(name: str) -> str:
    """Give the name of the private folder for a file: the same on every run, and no two files share one."""
    return PREFIX + blake3(os.fsencode(name)).hexdigest(length=8) + SUFFIX


def is_version(status: os.stat_result, expected: tuple[int, int]) -> bool:
    """Whether this is a regular file with the expected size in bytes and mtime in nanoseconds."""
    return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == tuple(expected)


def is_being_written(descriptor: int) -> bool:
    """Whether any process has the file open for writing; False where the kernel does not tell."""
    try:
        # A lease that is broken sends a signal, whose default would end the process; this one's default is nothing.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


def is_untouched(name: str, folder: int, expected: tuple[int, int]) -> bool:
    """Whether the file of that name is the expected version, and nobody is about to change it."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        return not is_being_written(descriptor) and is_version(os.fstat(descriptor), expected)
    finally:
        os.close(descriptor)


def wait_for_writers(name: str, folder: int, source: str) -> None:
    """Raise a SourceError while somebody has the file open for writing: whether that changes it is yet to be seen."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return  # who goes on sees why
    try:
        if is_being_written(descriptor):
            raise SourceError(
                f"somebody has {printable(source)} open for writing",
                "It is tidied away when it is closed, if it is the same then.",
            )
    finally:
        os.close(descriptor)


def put_back(name: str, where: int, own_name: str, folder: int) -> str:
    """Rename a file from the folder ``where`` back to its own name in ``folder``, or beside that if it is taken."""
    for number in range(1, _MAX_NUMBER):
        back = numbered(own_name, number)
        with suppress(FileExistsError):
            rename_noreplace(name, back, where, folder)
            fsync_folder(folder)
            return back
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def changed(source: str) -> SourceChanged:
    """Say that there is a newer version."""
    return SourceChanged(
        f"{printable(source)} is no longer the version that was worked on",
        "It is left where it is; the new version is a job of its own.",
    )


def remove(name: str, folder: int, expected: tuple[int, int], source: str) -> bool:
    """Remove the file if it is the expected version; False if it was gone already.

    Running it again after a crash at any point finishes what was begun.

    Raises:
        SourceChanged: it is another version; it stays.
        SourceError: the inbox does not allow it, or somebody has it open for writing.
    """
    aside = aside_name(name)
    try:
        _finish_earlier(aside, name, folder, expected)
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not is_version(status, expected):
            raise changed(source)
        wait_for_writers(name, folder, source)
        with suppress(FileExistsError):
            os.mkdir(aside, 0o700, dir_fd=folder)
        private = os.open(aside, FOLDER_FLAGS, dir_fd=folder)
        try:
            rename_noreplace(name, name, folder, private)
            gone = _judge(name, private, folder, expected)
        finally:
            os.close(private)
            with suppress(OSError):
                os.rmdir(aside, dir_fd=folder)
        fsync_folder(folder)
    except OSError as error:
        raise source_error(error, source, "remove") from error
    if not gone:
        raise changed(source)
    return True


def _judge(name: str, private: int, folder: int, expected: tuple[int, int]) -> bool:
    if is_untouched(name, private, expected):
        os.unlink(name, dir_fd=private)
        return True
    put_back(name, private, name, folder)
    return False


def _finish_earlier(aside: str, name: str, folder: int, expected: tuple[int, int]) -> None:
    try:
        private = os.open(aside, FOLDER_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        return
    try:
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=private, follow_symlinks=False)
            _judge(name, private, folder, expected)
    finally:
        os.close(private)
    with suppress(OSError):
        os.rmdir(aside, dir_fd=folder)
    fsync_folder(folder)


def restore(aside: str, folder: int) -> list[str]:
    """Put back whatever a crash left in a private folder, and remove that; gives the names as they are now."""
    private = os.open(aside, FOLDER_FLAGS, dir_fd=folder)
    try:
        back = [put_back(name, private, name, folder) for name in os.listdir(private)]
    finally:
        os.close(private)
    with suppress(OSError):
        os.rmdir(aside, dir_fd=folder)
    return back
