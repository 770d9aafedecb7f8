"""Copying a file's bytes into a temporary file: by the cheapest means that the filesystem has, and verified."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, BinaryIO

from rembg_watch.delivery.faults import source_error, target_error
from rembg_watch.delivery.files import hash_file, open_source, open_temp
from rembg_watch.errors import SourceChanged
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from rembg_watch.delivery.files import TempFile

_CHUNK = 256 * 1024
_FICLONE = 0x40049409
"""ioctl of linux/fs.h: share the other file's blocks (btrfs, XFS, bcachefs)."""
_NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EBADF}


def copy_into(source: BinaryIO, temp: TempFile) -> None:
    """Fill ``temp`` with the source's bytes: by shared blocks where possible, else in the kernel, else by hand.

    Raises:
        SourceError: the source can't be read; TargetError: the copy can't be written.
    """
    reader, writer = source.fileno(), temp.file.fileno()
    try:
        fcntl.ioctl(writer, _FICLONE, reader)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise target_error(error, temp.path) from error
    else:
        return
    at = 0
    try:
        while count := os.copy_file_range(reader, writer, 1 << 30, at, at):
            at += count
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise target_error(error, temp.path) from error
    # By hand from where the kernel stopped: nowhere, as a rule. It may also give up early and say 0 (FUSE, 9p).
    source.seek(at)
    temp.file.seek(at)
    while True:
        try:
            chunk = source.read(_CHUNK)
        except OSError as error:
            raise source_error(error, str(source.name), "read") from error
        if not chunk:
            return
        temp.file.write(chunk)


def copy_result(source_path: str, root: str, relpath: str, tag: str, expected_hash: str) -> TempFile:
    """Copy an earlier result into a temporary file for another output, and verify what arrived.

    Raises:
        SourceChanged: the earlier result is gone, or its bytes are no longer ``expected_hash``.
        SourceError: it can't be read.
        TargetError: the copy can't be written.
    """
    source, _ = open_source(source_path)
    with source:
        temp = open_temp(root, relpath, tag)
        try:
            copy_into(source, temp)
            arrived, _ = hash_file(temp.file)
        except BaseException:
            temp.discard()
            raise
    if arrived != expected_hash:
        temp.discard()
        raise SourceChanged(
            f"{printable(source_path)} is not the result that was delivered there",
            "It was edited or replaced since, so it is not used for another picture.",
        )
    return temp
