"""One question to the API: sent once, and answered by a 200, or by the error that says why there is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from rembg_watch.api.error_body import read_error_body
from rembg_watch.api.exchange import Exchange
from rembg_watch.api.upload import BLOCK, REPORTED_BLOCK, Progress, Upload
from rembg_watch.api.verdict import Fault, error_for, judge
from rembg_watch.errors import ApiError
from rembg_watch.imagefile import HEAD_BYTES, sniff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rembg_watch.api.transport import Reply, Transport

T = TypeVar("T")
MAX_ERROR = 64 * 1024
"""Bytes of an error's body that are read at most."""


class Sink(Protocol):
    """Whatever takes bytes: an open binary file, for one. Its ``write`` must take all that it is given."""

    def write(self, data: bytes, /) -> object: ...


class Question:
    """One request with the account's ``key``, and what becomes of it. ``read_timeout`` is in seconds."""

    def __init__(self, transport: Transport, key: str, read_timeout: float) -> None:
        self._transport = transport
        self._key = key
        self.exchange = Exchange(read_timeout)

    def ask(
        self, method: str, url: str, *, body: Upload | None = None, params: Mapping[str, str] | None = None
    ) -> Reply:
        """Send, and give the answer if it is a 200. Raises ApiError for any other, and what the body raises."""
        try:
            reply = self._transport.send(method, url, self.exchange, body=body, params=params)
        except Fault as fault:
            raise self._error(None, b"", fault) from None
        if reply.status == 200:
            return reply
        with reply:
            try:
                said = reply.read(MAX_ERROR)
            except Fault:  # the status counts even where the body breaks off
                said = b""
            raise self._error(reply, said)

    def receive(self, reply: Reply, sink: Sink, most: int, on_progress: Callable[[Progress], object] | None) -> int:
        """Write the answer into ``sink`` if it is a picture of at most ``most`` bytes, and give its length.

        Raises:
            ApiError: it is not, or not all of it came.
        """
        count = 0
        try:
            if reply.length is not None and reply.length > most:
                raise Fault("too-much", f"{reply.length} bytes are announced")
            for block in reply.blocks(BLOCK if on_progress is None else REPORTED_BLOCK):
                if count == 0 and sniff(block[:HEAD_BYTES]) is None:
                    raise self._error(reply, block[:MAX_ERROR])
                count += len(block)
                if count > most:
                    raise Fault("too-much", f"more than {most} bytes")
                sink.write(block)
                if on_progress is not None:
                    on_progress(Progress(count, reply.length))
        except Fault as fault:
            raise self._error(reply, b"", fault) from None
        if count == 0:
            raise self._error(reply, b"")
        return count

    def read(self, reply: Reply, most: int, parse: Callable[[bytes], T]) -> T:
        """Give what ``parse`` makes of the answer, which has at most ``most`` bytes.

        Raises:
            ApiError: it is longer, or ``parse`` says that it is nonsense; by its words where it is really an error.
        """
        try:
            body = reply.read(most + 1)
            if len(body) > most:
                raise Fault("too-much", f"more than {most} bytes")
        except Fault as fault:
            raise self._error(reply, b"", fault) from None
        try:
            return parse(body)
        except ApiError:
            said = read_error_body(reply.headers.get("content-type", ""), body)
            if said.is_html or (said.is_json and said.text):
                raise self._error(reply, body) from None
            raise

    def _error(self, reply: Reply | None, body: bytes, fault: Fault | None = None) -> ApiError:
        """Judge the exchange; a server that repeats the key in its answer does not get it into a message."""
        status, headers = (None, {}) if reply is None else (reply.status, dict(reply.headers))
        if len(self._key) >= 8:
            body = body.replace(self._key.encode(), b"***")
            headers = {name: value.replace(self._key, "***") for name, value in headers.items()}
        return error_for(judge(status, headers, body, fault, self.exchange.stage, time.time()))
