"""The source of one job: opened once, so that the same bytes are hashed, checked and sent.

Before the last bytes go out the file is looked at again: a photo that changed meanwhile is never sent whole, so it
costs nothing.
"""

from __future__ import annotations

import io
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Self

from rembg_watch import imagefile
from rembg_watch.delivery.faults import source_error
from rembg_watch.delivery.files import open_source
from rembg_watch.errors import PictureError, Refused, SourceChanged
from rembg_watch.picturehash import hash_photo
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from _typeshed import WriteableBuffer

    from rembg_watch.imagefile import Header, ReadAt
    from rembg_watch.jobs.model import Job

IN_MEMORY = 256 * 1024
"""Bytes up to which a photo is read once and sent from memory."""
_NEXT = "Nothing to do: its newest version is taken in by itself."


class Photo(io.RawIOBase):
    """One version of one file. As a readable file it returns its last bytes only while it is still that version."""

    def __init__(self, job: Job) -> None:
        """Open and read the job's source.

        Raises:
            SourceChanged: it is gone, or another version than the job's.
            SourceError: it can't be read, or is behind a link.
            Refused: it is no picture that the API takes.
        """
        super().__init__()
        self.path = os.path.join(job.folder, job.path)
        self._file, status = open_source(self.path)
        self._at = 0
        self.size = job.version.size
        """In bytes."""
        self._known = (self.size, job.version.mtime_ns, status.st_ctime_ns)
        self.waiting: Callable[[], AbstractContextManager[None]] = nullcontext
        """Entered for each read of the open file, which may hang."""
        self.data: bytes | None = None
        """The whole photo where it is small, else None."""
        try:
            if os.readlink(f"/proc/self/fd/{self._file.fileno()}") != self.path:
                raise SourceChanged(
                    f"{printable(self.path)} lies behind a link", "Links are not followed; move the file itself."
                )
            self._compare(status)
            if self.size > imagefile.MAX_BYTES:  # the watcher refuses it, but a retry by hand comes straight here
                raise Refused(
                    f"the file has {self.size / 1024 / 1024:.1f} MB ({self.size} bytes)",
                    f"The API takes at most 50 MB ({imagefile.MAX_BYTES} bytes). Export it smaller.",
                    "size",
                )
            if self.size <= IN_MEMORY:
                self.data = self._file.read(self.size + 1)
            read = imagefile.reader(self._file.fileno() if self.data is None else self.data)
            self.header = self._read_header(read)
            """Its kind and its size in pixels."""
            self.content = self._hash(read)
            """The picture hash."""
        except OSError as error:
            self._file.close()
            raise source_error(error, self.path) from error
        except BaseException:
            self._file.close()
            raise

    def _read_header(self, read: ReadAt) -> Header:
        try:
            header = imagefile.header_of(read)
        except PictureError as error:
            raise Refused(error.message, error.hint, "picture") from error
        if max(header.width, header.height) > imagefile.MAX_SIDE:
            raise Refused(
                f"the picture is {header.width} x {header.height} px",
                f"Scale it down; the limit is {imagefile.MAX_SIDE} px a side.",
                "pixels",
            )
        return header

    def _hash(self, read: ReadAt) -> str:
        content, size = hash_photo(self._file if self.data is None else self.data, read)
        if size != self.size:
            raise SourceChanged(f"{printable(self.path)} changed before it was sent", _NEXT)
        return content

    def check(self) -> None:
        """Raise unless the open file is still the job's version, and still has its name.

        Raises:
            SourceChanged: it is not.
            SourceError: that can't be told for now.
        """
        try:
            status = os.fstat(self._file.fileno())
        except OSError as error:
            raise source_error(error, self.path) from error
        self._compare(status)

    def _compare(self, status: os.stat_result) -> None:
        if (status.st_size, status.st_mtime_ns, status.st_ctime_ns) != self._known:
            raise SourceChanged(f"{printable(self.path)} changed before it was sent", _NEXT)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = self._file.seek(offset, whence)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with self.waiting():
            count: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
            self._at += count
            if self._at >= self.size:
                self.check()
        return count

    def close(self) -> None:
        if hasattr(self, "_file"):  # Python closes an object as well whose __init__ raised
            self._file.close()
        super().close()

    def __enter__(self) -> Self:
        return self
