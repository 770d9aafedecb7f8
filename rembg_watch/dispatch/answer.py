"""The answer on its way to the disk: written to the temporary file and hashed as it comes.

Its bytes are paid for. Where the outbox can't take them any more (a full disk), they go on into a *spool* file in the
state directory, from which they are delivered when the outbox has room again.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from blake3 import blake3

from rembg_watch.delivery import hash_file, sync
from rembg_watch.delivery.files import temp_tag
from rembg_watch.errors import TargetError

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import ReadableBuffer

    from rembg_watch.delivery import TempFile

_BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A picture in a temporary file: its blake3 hash in hex and its size in bytes."""

    temp: TempFile
    hash: str
    size: int


def spool_file(state_dir: Path, tag: str) -> str:
    """Give the path of the spool file of one attempt, by the tag of its temporary file."""
    return f"{state_dir}/spool/{tag}.part"


def clear_away(temp: str, state_dir: Path) -> None:
    """Remove what an attempt left of its answer, in the temporary file and in the spool. Never raises an OSError."""
    with suppress(OSError):
        os.unlink(temp)
    with suppress(OSError, ValueError):  # it may be the spool file that was named
        os.unlink(spool_file(state_dir, temp_tag(temp)))


class Sink(io.RawIOBase):
    """Where the client writes the answer's bytes. Errors of the disk come out as ``TargetError``."""

    def __init__(self, temp: TempFile, spool: str) -> None:
        super().__init__()
        self._temp = temp
        self._spool = spool
        self._hasher = blake3()
        self.file: BinaryIO = temp.file
        """Where the bytes are: the temporary file, or the spool file."""
        self.size = 0
        self.trouble: TargetError | None = None
        """Why the answer went to the spool file, or None."""

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data)
        try:
            self._write(view)
        except TargetError as error:
            if self.trouble is not None:
                raise
            self._divert(error)
            self._write(view)
        self._hasher.update(view)
        self.size += len(view)
        return len(view)

    def _write(self, view: memoryview) -> None:
        at = 0
        try:
            while at < len(view):  # an unbuffered file may take less than it was given
                at += self.file.write(view[at:])
        except OSError as error:  # the spool file's; the temporary file has errors of ours
            assert self.trouble is not None
            raise self.trouble from error

    def _divert(self, trouble: TargetError) -> None:
        """Go on in the spool file, with what the temporary file took so far; raises ``trouble`` if that fails too."""
        try:
            os.makedirs(os.path.dirname(self._spool), mode=0o700, exist_ok=True)
            descriptor = os.open(self._spool, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise trouble from error
        file = open(descriptor, "w+b", buffering=0)  # noqa: SIM115 - it is closed with the sink
        try:
            source = self._temp.file.fileno()
            for at in range(0, self.size, _BLOCK):
                os.write(descriptor, os.pread(source, min(_BLOCK, self.size - at), at))
        except OSError as error:
            file.close()
            with suppress(OSError):
                os.unlink(self._spool)
            raise trouble from error
        self.file, self.trouble = file, trouble

    def save(self) -> None:
        """Force the bytes to the disk, wherever they are; the temporary file's may go to the spool file for that.

        Raises:
            TargetError: they are on no disk.
        """
        if self.trouble is None:
            try:
                sync(self._temp)
            except TargetError as error:
                self._divert(error)
            else:
                return
        assert self.trouble is not None
        try:
            if hash_file(self.file) != (self.hash, self.size):
                raise self.trouble
            os.fsync(self.file.fileno())
        except OSError as error:
            raise self.trouble from error

    @property
    def hash(self) -> str:
        """The blake3 hash of what was written, in hex."""
        return self._hasher.hexdigest()

    @property
    def place(self) -> str:
        """The path of the file that has the bytes."""
        return self._temp.path if self.trouble is None else self._spool

    def answer(self) -> Answer:
        """Give what was written, to be placed."""
        return Answer(self._temp, self.hash, self.size)

    def discard(self) -> None:
        """Remove the temporary file and the spool file: there is no answer in them."""
        self._temp.discard()
        if self.trouble is not None:
            self.file.close()
            with suppress(OSError):
                os.unlink(self._spool)


def answer_in(temp: TempFile) -> Answer:
    """Give the answer that an earlier process left in a temporary file."""
    return Answer(temp, *hash_file(temp.file))
