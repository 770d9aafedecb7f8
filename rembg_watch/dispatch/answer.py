"""The answer on its way to the disk: written to the temporary file and hashed as it comes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from rembg_watch.delivery import hash_file

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from rembg_watch.delivery import TempFile


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified picture in a temporary file: its blake3 hash in hex and its size in bytes."""

    temp: TempFile
    hash: str
    size: int


class Sink(io.RawIOBase):
    """Where the client writes the answer's bytes. Errors of the disk come out as ``TargetError``."""

    def __init__(self, temp: TempFile) -> None:
        super().__init__()
        self._temp = temp
        self._hasher = blake3()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data)
        at = 0
        while at < len(view):  # an unbuffered file may take less than it was given
            at += self._temp.file.write(view[at:])
        self._hasher.update(view)
        self.size += len(view)
        return len(view)

    def answer(self) -> Answer:
        """Give what was written, to be verified and placed."""
        return Answer(self._temp, self._hasher.hexdigest(), self.size)


def answer_in(temp: TempFile) -> Answer:
    """Give the answer that an earlier process left in a temporary file."""
    return Answer(temp, *hash_file(temp.file))
