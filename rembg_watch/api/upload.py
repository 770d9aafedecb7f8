"""The multipart body of one photo, streamed from its open file: of known length, never whole in memory.

Source of the form: RFC 7578.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from rembg_watch.errors import SourceChanged, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rembg_watch.api.exchange import Exchange
    from rembg_watch.imagefile import Kind

BLOCK = 256 * 1024
"""Bytes that are read and sent at once."""
REPORTED_BLOCK = 64 * 1024
"""The same where somebody watches the progress."""
SLOWEST = 16 * 1024
"""Bytes a second below which an upload is given up, after a first allowance of twice the read timeout."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of the photo or of the answer has passed: ``loaded`` of ``total`` bytes; None where nobody knows."""

    loaded: int
    total: int | None

    @property
    def fraction(self) -> float | None:
        """0.0 to 1.0, or None where the total is unknown."""
        if self.total is None:
            return None
        return self.loaded / self.total if self.total else 1.0


class BodyFailed(Exception):
    """The body could not be given for a reason of our own; ``reason`` is the error to raise. No OSError, which urllib3
    would take for one of the network.
    """

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Upload:
    """The body as requests takes it: iterable, and of known length. It can be iterated again from the start."""

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        kind: Kind,
        fields: Mapping[str, str],
        exchange: Exchange,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        on_wire: Callable[[], object] | None = None,
    ) -> None:
        boundary = secrets.token_hex(16)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        extension = "jpg" if kind == "jpeg" else kind.value
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image.{extension}"\r\n'
            f"Content-Type: image/{kind.value}\r\n\r\n"
        )
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file = file
        self._size = size
        self._exchange = exchange
        self._on_progress = on_progress
        self._on_wire = on_wire

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        try:
            yield from self._blocks()
        except (BodyFailed, BrokenPipeError, TimeoutError, GeneratorExit):
            raise
        except Exception as error:
            raise BodyFailed(error) from error

    def _blocks(self) -> Iterator[bytes | memoryview]:
        deadline = time.monotonic() + 2 * self._exchange.read_timeout + self._size / SLOWEST
        if self._on_wire is not None:
            on_wire, self._on_wire = self._on_wire, None
            _ours(on_wire)
        self._report(0)
        block = BLOCK if self._on_progress is None else REPORTED_BLOCK
        head, tail, size = self._head, self._tail, self._size
        buffer = memoryview(bytearray(min(len(self), max(block, len(head) + len(tail)))))
        buffer[: len(head)] = head
        filled, sent = len(head), 0
        _ours(lambda: self._file.seek(0))
        while sent < size or filled:
            room = min(len(buffer) - filled, size - sent)
            self._fill(buffer[filled : filled + room])
            filled += room
            sent += room
            if sent == size and filled + len(tail) <= len(buffer):
                buffer[filled : filled + len(tail)] = tail
                filled += len(tail)
                tail = b""
            if self._exchange.answer_is_early():
                raise BrokenPipeError("the server answered before it had the whole photo")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server takes less than {SLOWEST} bytes a second")
            yield buffer[:filled]
            filled = 0
            self._report(sent)
            if sent == size and not tail:
                break
        if tail:
            yield tail
        self._exchange.sent = True

    def _fill(self, room: memoryview) -> None:
        at = 0
        while at < len(room):
            try:
                count = self._file.readinto(room[at:])  # type: ignore[attr-defined]
            except OSError as error:
                raise BodyFailed(
                    SourceError(f"the photo can't be read: {error.strerror or error}", "Check the file and its disk.")
                ) from error
            if not count:
                raise BodyFailed(
                    SourceChanged("the photo became shorter while it was sent", "Nothing to do: it is looked at again.")
                )
            at += count

    def _report(self, sent: int) -> None:
        if self._on_progress is not None:
            progress = self._on_progress
            _ours(lambda: progress(Progress(sent, self._size)))


def _ours(call: Callable[[], object]) -> None:
    """Keep errors of our own side apart from those of the network."""
    try:
        call()
    except Exception as error:
        raise BodyFailed(error) from error
