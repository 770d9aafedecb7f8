"""Roots and the folders below them: opened without following a link, made as needed, asked for room.

A folder is reached from its root one part at a time, each opened relative to the one before with ``O_NOFOLLOW``, and
everything in it is then done through that open folder. A comparison of ``realpath`` with the root would be shorter,
but whoever can write to the outbox can swap a folder for a link right after it; an open folder can't be swapped.
The root itself may be, or lie behind, a link: that is the operator's own choice in the config.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rembg_watch.delivery.faults import target_error
from rembg_watch.delivery.naming import split_relpath
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_watch.errors import TargetError

ENOUGH_SPACE = 1 << 20
"""Bytes that must be free in an outbox for it to count as writable: about one cut-out."""
_ROOT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FOLDER_FLAGS = _ROOT_FLAGS | os.O_NOFOLLOW
_PROBE = b"\0" * 65536


def fsync_folder(descriptor: int) -> None:
    """Make the names in an open folder last; filesystems that can't (some FUSE, SMB) are taken at their word."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise


def _enter(parent: int, part: str, *, create: bool) -> int:
    for _ in range(3):  # somebody tidying up may remove the folder between our making and our opening it
        try:
            return os.open(part, FOLDER_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
        except NotADirectoryError as error:
            # Linux says ENOTDIR for a link too, with O_DIRECTORY and O_NOFOLLOW together.
            if stat.S_ISLNK(os.stat(part, dir_fd=parent, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, "a link stands where a folder should be") from error
            raise OSError(errno.EEXIST, "a file stands where a folder should be") from error
        with suppress(FileExistsError):
            os.mkdir(part, dir_fd=parent)
            fsync_folder(parent)
    return os.open(part, FOLDER_FLAGS, dir_fd=parent)


def open_below(root: str, parts: tuple[str, ...], *, create: bool = False) -> int:
    """Open the folder that ``parts`` name below ``root`` and give its descriptor; raises plain OSError."""
    here = os.open(root, _ROOT_FLAGS)
    try:
        for part in parts:
            there = _enter(here, part, create=create)
            os.close(here)
            here = there
    except BaseException:
        os.close(here)
        raise
    return here


def open_target_folder(root: str, relpath: str) -> tuple[int, str]:
    """Open the folder of an output, making it if needed; give its descriptor and the output's own name.

    The root is never made here: where it is missing, a disk or a share is most likely not mounted, and what is written
    to the bare mount point would be buried when it comes back.

    Raises:
        TargetError: ``missing`` for a missing root; ``other`` where a link or a file stands in the way.
        ValueError: ``relpath`` leads out of the root.
    """
    *parts, name = split_relpath(relpath)
    try:
        return open_below(root, tuple(parts), create=True), name
    except OSError as error:
        where = os.path.join(root, *parts) if os.path.isdir(root) else root
        raise target_error(error, where, "open the folder") from error


def check_folder(root: str, relpath: str) -> None:
    """Create the folder of an output below ``root`` if needed, and check that files can be created there.

    The root itself is looked at by ``writable``.

    Raises:
        TargetError: a link or a file stands in the way, or permission is missing.
        ValueError: ``relpath`` leads out of the root.
    """
    if "/" not in relpath:
        return
    folder, _ = open_target_folder(root, relpath)
    try:
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True):
            raise target_error(
                OSError(errno.EACCES, os.strerror(errno.EACCES)), os.path.join(root, os.path.dirname(relpath))
            )
    finally:
        os.close(folder)


@contextmanager
def source_folder(inbox: str, source: str) -> Iterator[tuple[int, str]]:
    """Open the folder that a photo lies in, following no link below ``inbox``; raises plain OSError."""
    relative = os.path.relpath(source, inbox) if inbox else os.path.basename(source)
    *parts, name = split_relpath(relative)
    folder = open_below(inbox or os.path.dirname(source) or ".", tuple(parts))
    try:
        yield folder, name
    finally:
        os.close(folder)


def space_left(root: str) -> int:
    """Give the bytes that this user may still write below ``root``.

    Raises:
        TargetError: the root is not there.
    """
    try:
        room = os.statvfs(root)
    except OSError as error:
        raise target_error(error, root, "use") from error
    return room.f_bavail * room.f_frsize


def writable(root: str, need: int = ENOUGH_SPACE, *, by_writing: bool = True) -> TargetError | None:
    """Probe whether outputs could be written below ``root`` now; give what speaks against it, or None.

    Free and without debris: permissions and ``statvfs`` first, then 64 KiB into a file without a name (``O_TMPFILE``,
    gone when closed, even by a crash), which alone notices a quota. ``need`` is in bytes.

    Where a temporary file is made next, its own ``try_room`` is the better probe, and ``by_writing`` false: ext4 passes
    over each file number that was freed in the last minutes, so that a nameless file for each photo makes every new
    file dearer.
    """
    try:
        room = os.statvfs(f"{root}/")  # the slash: only a folder will do
        if room.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not os.access(root, os.W_OK | os.X_OK, effective_ids=True):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        # Filesystems that do not count (0 blocks, 0 inodes in all) say nothing about what is free.
        if (room.f_blocks and room.f_bavail * room.f_frsize < need) or (room.f_files and not room.f_favail):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if by_writing:
            _write_nowhere(root)
    except OSError as error:
        return target_error(error, root)
    return None


def _write_nowhere(root: str) -> None:
    try:
        nameless = os.open(root, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS}:
            return  # this filesystem has no nameless files
        raise
    try:
        if os.write(nameless, _PROBE) < len(_PROBE):
            raise OSError(errno.ENOSPC, f"{printable(root)}: {os.strerror(errno.ENOSPC)}")
    finally:
        os.close(nameless)
