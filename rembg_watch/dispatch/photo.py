"""The source of one job: opened once, so that what is hashed, checked and sent are the same bytes.

Before the last of them goes out the file is looked at again: a photo that changed under way is never sent whole, so it
costs nothing.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Self

from rembg_watch import imagefile
from rembg_watch.delivery.files import hash_file, open_source
from rembg_watch.errors import PictureError, Refused, SourceChanged
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from rembg_watch.imagefile import Header
    from rembg_watch.jobs.model import Job

_LOOK_AGAIN = "Nothing to do: its newest version is taken in by itself."


class Photo(io.RawIOBase):
    """One version of one file. As a readable file it gives its last bytes only while it is still that version."""

    def __init__(self, job: Job) -> None:
        """Open the job's source.

        Raises:
            SourceChanged: it is gone, or another version than the job's.
            SourceError: it can't be read, or is not in the inbox but behind a link.
            Refused: it is no picture that the API takes.
        """
        super().__init__()
        self.path = os.path.join(job.folder, job.path)
        self._file, status = open_source(self.path)
        self._at = 0
        self.size = job.version.size
        """In bytes."""
        self._known = (self.size, job.version.mtime_ns, status.st_ctime_ns)
        try:
            if os.readlink(f"/proc/self/fd/{self._file.fileno()}") != self.path:
                raise SourceChanged(
                    f"{printable(self.path)} lies behind a link", "Links are not followed; move the file itself."
                )
            self.check()
            self.header = self._header()
        except BaseException:
            self._file.close()
            raise

    def _header(self) -> Header:
        if self.size > imagefile.MAX_BYTES:  # intake refuses it, but a retry by hand comes straight here
            raise Refused(
                f"the file has {self.size / 1024 / 1024:.1f} MB ({self.size} bytes)",
                f"The API takes at most 50 MB ({imagefile.MAX_BYTES} bytes). Export it smaller.",
                "size",
            )
        try:
            header = imagefile.read_header(self._file)
        except PictureError as error:
            raise Refused(error.message, error.hint, "picture") from error
        if max(header.width, header.height) > imagefile.MAX_SIDE:
            raise Refused(
                f"the picture is {header.width} x {header.height} px",
                f"Scale it down; the limit is {imagefile.MAX_SIDE} px a side.",
                "pixels",
            )
        return header

    def check(self) -> None:
        """Look whether the open file is still the job's version, and still has its name.

        Raises:
            SourceChanged: it is not.
        """
        status = os.fstat(self._file.fileno())
        if (status.st_size, status.st_mtime_ns, status.st_ctime_ns) != self._known:
            raise SourceChanged(f"{printable(self.path)} changed before it was sent", _LOOK_AGAIN)

    def hash(self) -> str:
        """Give the blake3 hash of the content, in hex."""
        content_hash, size = hash_file(self._file)
        if size != self.size:
            raise SourceChanged(f"{printable(self.path)} changed before it was sent", _LOOK_AGAIN)
        return content_hash

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = self._file.seek(offset, whence)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self._at += count
        if self._at >= self.size:
            self.check()
        return count

    def close(self) -> None:
        if hasattr(self, "_file"):  # what could not be opened is closed by Python as well
            self._file.close()
        super().close()

    def __enter__(self) -> Self:
        return self
