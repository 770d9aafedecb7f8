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

BLOCK = 512 * 1024
"""Bytes that are read and sent at once, and held in memory for each request. Each block costs a read, a send and a look
at the connection, and each of these may let another thread run first."""
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


class _AnsweredEarly(BrokenPipeError):
    """After a broken pipe urllib3 reads the answer."""


class _TooSlow(TimeoutError):
    """The server takes the body, but hardly."""


class Upload:
    """The body as urllib3 takes it: iterable. It can be iterated again from the start."""

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
        self._content_type = f"multipart/form-data; boundary={boundary}"
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file = file
        self._size = size
        self._exchange = exchange
        self._on_progress = on_progress
        self._on_wire = on_wire

    @property
    def headers(self) -> dict[str, str]:
        """What the request's head has to say of the body."""
        length = len(self._head) + self._size + len(self._tail)
        return {"Content-Type": self._content_type, "Content-Length": str(length)}

    def __iter__(self) -> Iterator[memoryview]:
        try:
            yield from self._blocks()
        except (_AnsweredEarly, _TooSlow):
            raise
        except Exception as error:
            raise BodyFailed(error) from error

    def _blocks(self) -> Iterator[memoryview]:
        deadline = time.monotonic() + 2 * self._exchange.read_timeout + self._size / SLOWEST
        if self._on_wire is not None:
            on_wire, self._on_wire = self._on_wire, None
            on_wire()
        self._report(0)
        block = min(self._size, BLOCK if self._on_progress is None else REPORTED_BLOCK, self._most_at_once())
        start, sent = len(self._head), 0
        buffer = memoryview(bytearray(start + block + len(self._tail)))
        buffer[:start] = self._head
        self._file.seek(0)
        while not self._exchange.sent:
            end = start + min(block, self._size - sent)
            self._fill(buffer[start:end])
            sent += end - start
            if sent == self._size:
                buffer[end : end + len(self._tail)] = self._tail
                end += len(self._tail)
            if self._exchange.answer_is_early():
                raise _AnsweredEarly("the server answered before it had the whole photo")
            if time.monotonic() > deadline:
                raise _TooSlow(f"the server takes less than {SLOWEST} bytes a second")
            yield buffer[:end]
            start = 0
            self._exchange.sent = sent == self._size
            self._report(sent)

    def _most_at_once(self) -> int:
        """As each block has the read timeout for itself, it is no larger than what a line just fast enough takes."""
        return max(1024, int(SLOWEST * self._exchange.read_timeout))

    def _fill(self, room: memoryview) -> None:
        while room:
            try:
                count = self._file.readinto(room)  # type: ignore[attr-defined]
            except OSError as error:
                raise SourceError(
                    f"the photo can't be read: {error.strerror or error}", "Check the file and its disk."
                ) from error
            if not count:
                raise SourceChanged(
                    "the photo became shorter while it was sent", "Nothing to do: it is looked at again."
                )
            room = room[count:]

    def _report(self, sent: int) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(sent, self._size))
