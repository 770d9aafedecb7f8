"""Temporary files in a target's own folder, and files that are read: opened without a surprise, known by their hash."""

from __future__ import annotations

import fcntl
import io
import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Self

from blake3 import blake3

from rembg_watch.delivery.faults import source_error, target_error
from rembg_watch.delivery.folders import open_target_folder
from rembg_watch.errors import SourceError, TargetError
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed import ReadableBuffer

PREFIX = ".rembg-watch-"
SUFFIX = ".part"
_TAG = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_CHUNK = 256 * 1024
_ROOM = bytes(64 * 1024)
_TRIES = 5


def temp_name(tag: str) -> str:
    """Give the name of the temporary file with that tag; ValueError unless it is 1 to 128 of ``A-Za-z0-9_.-``."""
    if not _TAG.fullmatch(tag):
        raise ValueError(f"not a tag: {tag!r}")
    return PREFIX + tag + SUFFIX


def temp_tag(path: str) -> str:
    """Give the tag in a temporary file's path; ValueError where it is none."""
    name = os.path.basename(path)
    tag = name.removeprefix(PREFIX).removesuffix(SUFFIX)
    if name != PREFIX + tag + SUFFIX or not _TAG.fullmatch(tag):
        raise ValueError(f"not a temporary file of ours: {printable(path)}")
    return tag


class _TargetFile(io.FileIO):
    """A file that writes everything or raises a TargetError, whoever does the writing."""

    def __init__(self, descriptor: int, shown: str) -> None:
        super().__init__(descriptor, "r+b")
        self._shown = shown

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        total = len(rest)
        while rest:  # the kernel takes less than asked for when the disk gets full; only the next call says why
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                raise target_error(error, self._shown) from error
        return total

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            raise target_error(error, self._shown) from error


def lock(descriptor: int) -> bool | None:
    """Mark an open file as in use, until it is closed or the process dies.

    False where somebody else has done so, None on filesystems without locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


class TempFile:
    """A temporary file beside its target, to be filled through ``file`` and then placed or discarded.

    As a context manager it discards itself unless it was placed. ``file`` is unbuffered: write chunks, not bytes. It
    holds an flock for as long as it is open, so that a sweep, be it of another daemon with the same outbox, can tell
    it from one that a crash left behind.
    """

    def __init__(self, folder: int, root: str, target: str, name: str, descriptor: int) -> None:
        self.folder = folder
        """The descriptor of the open folder."""
        self.root = root
        self.name = name
        self.path = os.path.join(root, os.path.dirname(target), name)
        self.directory = os.path.dirname(self.path)
        """The folder's path. Another name in it than the target's may be chosen in the end."""
        self.file: BinaryIO = _TargetFile(descriptor, self.path)
        self.placed: str | None = None
        """The path at which it was placed."""

    def is_in_place(self) -> bool:
        """Whether the name still leads to this very file, and not to one that somebody put there instead."""
        mine = os.fstat(self.file.fileno())
        try:
            there = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def try_room(self) -> None:
        """Write 64 KiB into the empty file and take them back: this alone notices a quota.

        Raises:
            TargetError: there is no room for them.
        """
        self.file.write(_ROOM)
        self.file.truncate(0)
        self.file.seek(0)

    def close(self) -> None:
        """Let go of the file and the folder; what is on disk stays as it is."""
        with suppress(OSError):  # after the fsync nothing is left to be written
            self.file.close()
        if self.folder >= 0:
            os.close(self.folder)
            self.folder = -1

    def discard(self) -> None:
        """Remove it, unless it was placed. Never raises an OSError: what can't be removed now is swept later."""
        if self.folder >= 0 and self.placed is None:
            with suppress(OSError, ValueError):
                if self.is_in_place():
                    os.unlink(self.name, dir_fd=self.folder)
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def open_temp(root: str, relpath: str, tag: str) -> TempFile:
    """Open ``.rembg-watch-TAG.part`` in the folder of ``relpath`` below ``root``, making sub-folders as needed.

    Args:
        root: the outbox, archive or failed folder; it must exist.
        relpath: the target, relative to the root.
        tag: belongs to one attempt alone (a lease token, say); what an earlier run left under it is removed.

    Raises:
        TargetError: with the code of the hold.
        ValueError: ``relpath`` leads out of the root, or the tag is not one.
    """
    name = temp_name(tag)
    folder, _ = open_target_folder(root, relpath)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        for _ in range(_TRIES):
            try:
                descriptor = os.open(name, flags, 0o666, dir_fd=folder)
            except FileExistsError:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
                continue
            temp = TempFile(folder, root, relpath, name, descriptor)
            # Another daemon's sweep may have come between the two lines: better noticed now than after paying.
            if lock(descriptor) is not False and temp.is_in_place():
                return temp
            temp.file.close()
    except OSError as error:
        os.close(folder)
        raise target_error(error, os.path.join(root, os.path.dirname(relpath), name)) from error
    os.close(folder)
    raise TargetError(
        f"the temporary file for {printable(relpath)} is removed or locked as soon as it is made",
        "Find out what else works on files named .rembg-watch-*.part in that folder.",
    )


def reopen_temp(root: str, relpath: str, tag: str) -> TempFile | None:
    """Open the temporary file that a crash left behind, as it is; None where there is none, or it is in use.

    What it holds must be verified by its hash before it is placed.

    Raises:
        TargetError: with the code of the hold.
        ValueError: ``relpath`` leads out of the root, or the tag is not one.
    """
    name = temp_name(tag)
    folder, _ = open_target_folder(root, relpath)
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        os.close(folder)
        return None
    except OSError as error:
        os.close(folder)
        raise target_error(error, os.path.join(root, os.path.dirname(relpath), name)) from error
    temp = TempFile(folder, root, relpath, name, descriptor)
    if stat.S_ISREG(os.fstat(descriptor).st_mode) and lock(descriptor) is not False and temp.is_in_place():
        return temp
    temp.close()
    return None


def open_source(path: str, *, folder: int | None = None) -> tuple[BinaryIO, os.stat_result]:
    """Open a regular file for reading, following no link in its last part and waiting for no FIFO.

    Raises:
        SourceError: it can't be read, or is no regular file; SourceChanged: it is gone.
    """
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = io.FileIO(os.open(path, flags, dir_fd=folder), "rb")
    except OSError as error:
        raise source_error(error, path) from error
    try:
        status = os.fstat(file.fileno())
    except OSError as error:
        file.close()
        raise source_error(error, path) from error
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise SourceError(f"{printable(path)} is not a regular file", "Only plain files are read; it is left alone.")
    return file, status


def hash_file(file: BinaryIO | str) -> tuple[str, int]:
    """Give the blake3 hash in hex and the size in bytes, reading once from the start in blocks of 256 KiB.

    An open file's position is at its end afterwards. A memory map would be no faster on two cores, and a file that is
    cut short while it is mapped kills the process (SIGBUS); a read merely comes out short.

    Raises:
        SourceError: it can't be read; SourceChanged: it is gone.
    """
    if isinstance(file, str):
        opened, _ = open_source(file)
        with opened:
            return _hash(opened, file)
    return _hash(file, str(getattr(file, "name", "the file")))


def _hash(file: BinaryIO, shown: str) -> tuple[str, int]:
    hasher = blake3()
    size = 0
    try:
        file.seek(0)
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
    except OSError as error:
        raise source_error(error, shown) from error
    return hasher.hexdigest(), size


def same_content(path: str, content_hash: str, size: int) -> bool:
    """Whether ``path`` is a regular file with exactly these bytes; False as well where it can't be read."""
    try:
        return has_content(path, content_hash, size)
    except SourceError:
        return False


def has_content(path: str, content_hash: str, size: int) -> bool:
    """Likewise, where a file that can't be read is no answer. Raises SourceError."""
    file, status = open_source(path)
    with file:
        return status.st_size == size and _hash(file, path) == (content_hash, size)
