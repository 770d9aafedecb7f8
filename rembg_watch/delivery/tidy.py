"""What becomes of a photo after its job: archived, deleted, or moved to the failed folder with the reason beside it.

The order is always: first the new place is whole and on the disk, then the old one goes. After a crash at any point the
same call finishes the work: a photo that is in its new place already is recognised there, by its size and mtime (and by
its bytes, while the original is still there to compare with). Nothing is ever overwritten, and only the very version
that was worked on is moved or removed. Empty source folders stay: a producer may be about to fill them.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from rembg_watch.delivery.aside import (
    changed,
    is_being_written,
    is_untouched,
    is_version,
    put_back,
    remove,
    wait_for_writers,
)
from rembg_watch.delivery.copying import copy_into
from rembg_watch.delivery.faults import GONE, source_error, target_error
from rembg_watch.delivery.files import hash_file, open_source, open_temp
from rembg_watch.delivery.folders import fsync_folder, open_target_folder, source_folder
from rembg_watch.delivery.naming import numbered, with_suffix
from rembg_watch.delivery.placing import commit, place, rename_noreplace, sync, sync_folder
from rembg_watch.errors import FileError, SourceChanged, SourceError, TargetError, TargetTaken
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_NUMBER = 10_000
_MTIME_SLACK_NS = 2_000_000_000
"""FAT keeps times in steps of two seconds."""


def delete(source: str, expected: tuple[int, int], *, inbox: str = "") -> bool:
    """Delete a photo, if it is still the expected version; False if it was gone already.

    Args:
        source: the photo's path.
        expected: its size in bytes and its mtime in nanoseconds, as when the work began.
        inbox: the root below which no link is followed on the way to it.

    Raises:
        SourceChanged: it is another version by now; it stays.
        SourceError: the inbox is not there, or does not allow it, or somebody has the photo open for writing.
    """
    try:
        with source_folder(inbox, source) as (folder, name):
            return remove(name, folder, expected, source)
    except OSError as error:
        if error.errno in GONE and (not inbox or os.path.isdir(inbox)):
            return False
        raise _unreachable(error, inbox, source) from error


def archive(source: str, inbox: str, archive_root: str, relpath: str, expected: tuple[int, int]) -> str:
    """Move a photo to its mirrored place in the archive; returns where it is now.

    On one filesystem by a rename that replaces nothing, else by a copy that is synced and verified before the original
    goes; mtime and mode are kept. Where the name is taken, ``photo-2.jpg`` and so on.

    Args:
        source: the photo's path, below ``inbox``.
        inbox: the root below which no link is followed on the way to it.
        archive_root: must exist.
        relpath: the place in the archive.
        expected: the photo's size in bytes and its mtime in nanoseconds, as when the work began.

    Raises:
        SourceChanged: it is another version by now, or gone and not in the archive either.
        SourceError: the inbox is not there, or does not allow it, or somebody has the photo open for writing.
        TargetError: with the code of the hold.
    """
    try:
        with source_folder(inbox, source) as (folder, name):
            return _Move(source, name, folder, archive_root, relpath, expected).run()
    except OSError as error:
        if error.errno in GONE and os.path.isdir(inbox):
            return _arrived(archive_root, relpath, expected, source)
        raise _unreachable(error, inbox, source) from error


def move_failed(
    source: str, inbox: str, failed_root: str, relpath: str, expected: tuple[int, int], record: Mapping[str, Any]
) -> str:
    """Move a photo as :func:`archive` does and write ``NAME.error.json`` beside it; returns where the photo is now.

    ``record`` says why: code, message, hint, job, profile, attempts, time.
    """
    path = archive(source, inbox, failed_root, relpath, expected)
    # Invalid bytes in names are written as JSON's own escapes of lone surrogates, so the file is always ASCII.
    text = json.dumps(dict(record), indent=2, default=str) + "\n"
    beside = os.path.join(os.path.dirname(relpath), with_suffix(os.path.basename(path), ".error.json"))
    with open_temp(failed_root, beside, _tag(source)) as temp:
        temp.file.write(text.encode("ascii"))
        commit(temp, beside, replace=True)
    return path


def _tag(source: str) -> str:
    return "tidy-" + blake3(os.fsencode(source)).hexdigest(length=8)


def _unreachable(error: OSError, inbox: str, source: str) -> SourceError:
    if inbox and not os.path.isdir(inbox):
        return SourceError(f"the inbox {printable(inbox)} is not there", "Mount it; the photo is tidied away then.")
    return source_error(error, source)


def _arrived(root: str, relpath: str, expected: tuple[int, int], source: str) -> str:
    """Find a photo that is gone from the inbox in its new place."""
    folder, name = open_target_folder(root, relpath)
    try:
        for number in range(1, _MAX_NUMBER):
            there = numbered(name, number)
            try:
                status = os.stat(there, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                break
            if _looks_like(status, expected):
                return os.path.join(root, os.path.dirname(relpath), there)
    except OSError as error:
        raise target_error(error, root, "look into") from error
    finally:
        os.close(folder)
    raise SourceChanged(f"{printable(source)} is gone", "It was moved or removed by somebody else.")


def _looks_like(status: os.stat_result, expected: tuple[int, int]) -> bool:
    size, mtime_ns = expected
    return is_version(status, (size, status.st_mtime_ns)) and abs(status.st_mtime_ns - mtime_ns) <= _MTIME_SLACK_NS


class _Move:
    """One photo on its way from an open inbox folder to another root."""

    def __init__(self, source: str, name: str, folder: int, root: str, relpath: str, expected: tuple[int, int]) -> None:
        self.source = source
        self.name = name
        self.folder = folder
        self.root = root
        self.relpath = relpath
        self.expected = expected

    def run(self) -> str:
        """Move it, or find it moved."""
        try:
            status = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            path = _arrived(self.root, self.relpath, self.expected, self.source)
            remove(self.name, self.folder, self.expected, self.source)  # an earlier run may have stopped in the midst
            return path
        if not is_version(status, self.expected):
            raise changed(self.source)
        wait_for_writers(self.name, self.folder, self.source)
        there, own_name = open_target_folder(self.root, self.relpath)
        try:
            name = self._rename(own_name, there)
            if name is None:
                name = self._copy(own_name, there)
                remove(self.name, self.folder, self.expected, self.source)
        finally:
            os.close(there)
        return os.path.join(self.root, os.path.dirname(self.relpath), name)

    def _slot(self, own_name: str, there: int) -> tuple[str, bool]:
        """Give the first name that is free, or that has this very photo already (then with True)."""
        for number in range(1, _MAX_NUMBER):
            name = numbered(own_name, number)
            try:
                status = os.stat(name, dir_fd=there, follow_symlinks=False)
            except FileNotFoundError:
                return name, False
            except OSError as error:
                raise target_error(error, os.path.join(self.root, self.relpath), "look at") from error
            if _looks_like(status, self.expected) and self._same_bytes(name, there):
                return name, True
        raise TargetError(
            f"no free name is left for {printable(self.relpath)}", "Clear up the archive or failed folder."
        )

    def _same_bytes(self, name: str, there: int) -> bool:
        try:
            mine, _ = open_source(self.name, folder=self.folder)
            with mine:
                other, _ = open_source(name, folder=there)
                with other:
                    return hash_file(mine) == hash_file(other)
        except SourceError:
            return False

    def _rename(self, own_name: str, there: int) -> str | None:
        """Move by renaming; None where that does not reach, or where the photo is there already."""
        while True:
            name, already = self._slot(own_name, there)
            if already:
                return None
            try:
                rename_noreplace(self.name, name, self.folder, there)
            except FileExistsError:
                continue  # taken since the look
            except OSError as error:
                if error.errno == errno.EXDEV:
                    return None
                raise self._blame(error) from error
            if not is_untouched(name, there, self.expected):
                with suppress(OSError):  # where even that fails, the newer version is safe in its new place
                    put_back(name, there, self.name, self.folder)
                raise changed(self.source)
            try:
                fsync_folder(there)
                fsync_folder(self.folder)
            except OSError as error:
                raise target_error(error, self.root, "sync") from error
            return name

    def _blame(self, error: OSError) -> FileError:
        """Tell whether it was the inbox or the target that did not allow the rename."""
        try:
            os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except OSError as gone:
            return source_error(gone, self.source)
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            read_only = os.fstatvfs(self.folder).f_flag & os.ST_RDONLY
            if read_only or not os.access(".", os.W_OK | os.X_OK, dir_fd=self.folder, effective_ids=True):
                return source_error(error, self.source, "move")
        return target_error(error, os.path.join(self.root, self.relpath))

    def _copy(self, own_name: str, there: int) -> str:
        """Copy, verify and place; the photo's own hash is taken from the same open file that is copied."""
        while True:
            name, already = self._slot(own_name, there)
            if already:
                with suppress(OSError):
                    fsync_folder(there)
                return name
            final = os.path.join(os.path.dirname(self.relpath), name)
            photo, status = open_source(self.name, folder=self.folder)
            with photo, open_temp(self.root, self.relpath, _tag(self.source)) as temp:
                copy_into(photo, temp)
                if is_being_written(photo.fileno()) or hash_file(photo) != hash_file(temp.file):
                    raise changed(self.source)
                if not (is_version(status, self.expected) and is_version(os.fstat(photo.fileno()), self.expected)):
                    raise changed(self.source)
                _keep_looks(temp.file.fileno(), status)
                sync(temp)
                try:
                    place(temp, final, replace=False)
                except TargetTaken:
                    continue
                sync_folder(temp)
            return name


def _keep_looks(descriptor: int, status: os.stat_result) -> None:
    """Carry over owner, mode and mtime, as far as the filesystem and our rights allow."""
    with suppress(OSError):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    with suppress(OSError):
        os.fchmod(descriptor, status.st_mode & 0o777)
    with suppress(OSError):
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
