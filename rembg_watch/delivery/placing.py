"""Putting a finished temporary file in its place: whole or not at all, and never on top of somebody else's file.

Three steps, apart so that each can be the last one before a crash:

1. :func:`sync`: the bytes are on the disk. A crash leaves a temporary file, which is swept.
2. :func:`place`: the name leads to them, by one rename. A crash leaves either the old state or the new one.
3. :func:`sync_folder`: the name itself is on the disk. A power cut before it may undo the rename.

Not replacing anything is a property of the rename, not of a look before it. By filesystem:

- ``renameat2(RENAME_NOREPLACE)``: ext4, XFS, btrfs, tmpfs, overlayfs, and FAT, exFAT and SMB in current kernels.
- ``link`` and ``unlink``: NFS. A crash in between leaves the file under both names; the temporary one is swept.
- neither (some FUSE filesystems): a claim, a file made with ``O_EXCL`` whose name follows from the target's, keeps
  every other rembg-watch out; then a look, then a plain rename. Only a foreign program that makes the very name within
  these microseconds would lose its file. (An empty placeholder under the final name would close that gap too, but after
  a crash it would stand in the outbox as an output of 0 bytes: not whole, and not absent.)
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from blake3 import blake3

from rembg_watch.delivery.faults import target_error
from rembg_watch.delivery.files import hash_file, lock, open_source, temp_name
from rembg_watch.delivery.folders import fsync_folder
from rembg_watch.errors import FileError, SourceError, TargetError, TargetTaken
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_watch.delivery.files import TempFile

_RENAME_NOREPLACE = 1
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EINVAL}
_libc = ctypes.CDLL(None, use_errno=True)
_sync_file_range: Callable[..., int] | None = getattr(_libc, "sync_file_range", None)
_SYNC_FILE_RANGE_WRITE = 2
_renameat2: Callable[..., int] | None = getattr(_libc, "renameat2", None)  # glibc 2.28, musl 1.2.6


def _by_flag(old: str, new: str, old_folder: int, new_folder: int) -> bool:
    """Rename with RENAME_NOREPLACE; False where that can't be had here."""
    if _renameat2 is None:
        return False
    if _renameat2(old_folder, os.fsencode(old), new_folder, os.fsencode(new), _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), new)


def _by_link(old: str, new: str, old_folder: int, new_folder: int) -> bool:
    """Link and unlink; False where there are no hard links."""
    try:
        os.link(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder, follow_symlinks=False)
    except FileExistsError:
        # NFS may say so about our own link, when the answer to the first request was lost.
        if not same_file(old, new, old_folder, new_folder):
            raise
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    os.unlink(old, dir_fd=old_folder)
    return True


def _by_claim(old: str, new: str, old_folder: int, new_folder: int) -> None:
    claim = temp_name("claim-" + blake3(os.fsencode(new)).hexdigest(length=8))
    held = os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=new_folder)
    try:
        lock(held)
        try:
            os.stat(new, dir_fd=new_folder, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
    finally:
        with suppress(OSError):
            os.unlink(claim, dir_fd=new_folder)
        os.close(held)


def same_file(one: str, other: str, one_folder: int, other_folder: int) -> bool:
    """Whether two names lead to one file."""
    a = os.stat(one, dir_fd=one_folder, follow_symlinks=False)
    b = os.stat(other, dir_fd=other_folder, follow_symlinks=False)
    return os.path.samestat(a, b)


def rename_noreplace(old: str, new: str, old_folder: int, new_folder: int) -> None:
    """Rename between two open folders, replacing nothing, by the best means that the filesystem has.

    Raises:
        FileExistsError: something has the new name.
        OSError: EXDEV across filesystems (and across bind mounts of one), or what else the kernel says.
    """
    where = (old, new, old_folder, new_folder)
    if not _by_flag(*where) and not _by_link(*where):
        _by_claim(*where)


def _final(temp: TempFile, final_path: str) -> tuple[str, str]:
    """Give the final name and the whole path; ``final_path`` is relative to the root, or whole."""
    whole = os.path.join(temp.root, final_path)
    folder, name = os.path.split(whole)
    if name in {"", ".", ".."} or folder != temp.directory:
        raise ValueError(f"{printable(final_path)} is not in the folder of the temporary file")
    return name, whole


def sync(temp: TempFile) -> None:
    """Step 1: force the bytes to the disk.

    Raises:
        TargetError: they did not get there. The file must be discarded and written anew: after a failed fsync the
            kernel counts the lost pages as clean, and a second fsync would say that all is well.
    """
    try:
        os.fsync(temp.file.fileno())
    except OSError as error:
        raise target_error(error, temp.path) from error


def start_writeback(temp: TempFile) -> None:
    """Start writing the bytes to the disk without waiting: the :func:`sync` that follows has less to wait for."""
    if _sync_file_range is not None:
        _sync_file_range(temp.file.fileno(), ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def place(temp: TempFile, final_path: str, *, replace: bool, hash_expected: str | None = None) -> str:
    """Step 2: give the file its final name, in the same folder; returns the whole path.

    Args:
        temp: written and synced.
        final_path: relative to the root, or whole.
        replace: whether a file that has the name is replaced (an output of this same source), in one step.
        hash_expected: the blake3 hash of the temporary file's bytes. Where the name is taken by a file of exactly these
            bytes and this spelling, that is our own placing from before a crash: it stays, and the temporary file goes.

    Raises:
        TargetTaken: without ``replace``, something has the name; the temporary file is still there.
        TargetError: with the code of the hold; the temporary file is still there.
        ValueError: ``final_path`` is in another folder.
    """
    name, whole = _final(temp, final_path)
    try:
        if not temp.is_in_place():
            raise TargetError(
                f"the temporary file {printable(temp.path)} was removed or replaced by somebody else",
                "Leave files named .rembg-watch-*.part alone; the work is done again.",
            )
        if replace:
            os.replace(temp.name, name, src_dir_fd=temp.folder, dst_dir_fd=temp.folder)
        else:
            rename_noreplace(temp.name, name, temp.folder, temp.folder)
    except FileExistsError as error:
        if hash_expected is None or not _is_ours(temp.folder, name, hash_expected):
            raise TargetTaken(f"{printable(whole)} is taken by another file") from error
        with suppress(OSError):
            os.unlink(temp.name, dir_fd=temp.folder)
    except IsADirectoryError as error:
        raise TargetTaken(f"{printable(whole)} is taken by a folder") from error
    except OSError as error:
        raise target_error(error, whole) from error
    temp.placed = whole
    return whole


def _is_ours(folder: int, name: str, expected: str) -> bool:
    try:
        file, _ = open_source(name, folder=folder)
        with file:
            # A folder that ignores case answers to another source's spelling too: only a listing tells them apart.
            return hash_file(file)[0] == expected and name in os.listdir(folder)
    except (SourceError, OSError):
        return False


def sync_folder(temp: TempFile) -> None:
    """Step 3: force the name to the disk, and let go of the file.

    Raises:
        TargetError: the folder could not be synced; the file is in place, but a power cut might undo that.
    """
    try:
        fsync_folder(temp.folder)
    except OSError as error:
        raise target_error(error, temp.directory, "sync") from error
    finally:
        temp.close()


def commit(temp: TempFile, final_path: str, *, replace: bool, hash_expected: str | None = None) -> str:
    """Do all three steps; returns the whole path. On any error the temporary file is gone, but for TargetTaken.

    After TargetTaken call again with another name of the same folder. Arguments and errors are those of :func:`place`.
    """
    try:
        sync(temp)
        whole = place(temp, final_path, replace=replace, hash_expected=hash_expected)
        sync_folder(temp)
    except TargetTaken:
        raise
    except (FileError, ValueError):
        temp.discard()
        raise
    return whole
