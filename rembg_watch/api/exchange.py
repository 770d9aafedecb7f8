"""One request and its answer on the wire: how far it is, and how long it may take.

urllib3's connections are extended by what it can't tell from outside: exactly how far a request came (whether it can
have been paid for), limits in time that a slow drip of bytes can't stretch, and no use of connections that have been
idle long enough for the server to be closing them.
"""

from __future__ import annotations

import http
import http.client
import io
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from rembg_watch.api.verdict import Stage

MAX_IDLE = 4.0
"""Seconds after which a pooled connection is not used again. Many servers close theirs after 5 s; a photo sent into
such a connection gets no answer, and nobody can tell whether it was paid for."""
BUFFER = 64 * 1024


@dataclass(slots=True)
class Exchange:
    """How far one request is. ``read_timeout`` is in seconds; a whole answer may take twice as long."""

    read_timeout: float
    connected: bool = False
    reused: bool = False
    sent: bool = False
    """The last byte of the body was handed to the kernel."""
    answered: bool = False
    sock: Any = field(default=None, repr=False)

    @property
    def stage(self) -> Stage:
        if not self.connected:
            return Stage.CONNECTING
        if not self.sent:
            return Stage.SENDING
        return Stage.RECEIVING if self.answered else Stage.WAITING

    def start_again(self) -> None:
        """Forget a try of which no byte can have been understood."""
        self.connected = self.reused = self.sent = self.answered = False
        self.sock = None

    def answer_is_early(self) -> bool:
        """Tell whether the server already answers, or has hung up, while the body is still going out.

        Only on plain connections: on TLS, bytes that wait may as well be session tickets.
        """
        sock = self.sock
        if type(sock) is not socket.socket or not _readable(sock):
            return False
        try:
            return not sock.recv(16, socket.MSG_PEEK).startswith(b"HTTP/1.1 1")  # "100 Continue" is no answer yet
        except OSError:
            return True


_of_this_thread = threading.local()


def begin(exchange: Exchange) -> None:
    """Let the connection that this thread uses next report to ``exchange``."""
    _of_this_thread.exchange = exchange


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _PacedBytes(io.RawIOBase):
    """The answer's bytes, with a deadline for all of them together."""

    def __init__(self, raw: io.RawIOBase, sock: Any, exchange: Exchange, connection: _Reporting) -> None:
        self._raw = raw
        self._sock = sock
        self._exchange = exchange
        self._connection = connection
        self._deadline = time.monotonic() + 2 * exchange.read_timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the whole answer took longer than {2 * self._exchange.read_timeout:g} s")
        if left < self._exchange.read_timeout:
            self._sock.settimeout(left)
        count = self._raw.readinto(buffer)
        if count and self._exchange.connected:
            self._exchange.answered = True
            self._connection.used_at = time.monotonic()
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """The final answer. http.client passes over "100 Continue" only; it would take a "103 Early Hints" for the answer,
    and leave the true one in the connection, for the next photo.
    """

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment]  # as before the first look
            super().begin()
        if self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.will_close = True  # what comes after it is no HTTP


class _Reporting(HTTPConnection):
    """A connection that tells the thread's exchange what becomes of its request."""

    used_at = 0.0
    _served = 0
    _spoiled = False
    """A body was not sent whole: the server would take the next request for the rest of it."""
    putheader = http.client.HTTPConnection.putheader
    """urllib3's own looks into each value for its mark "leave this header out", which nobody sets here."""

    @property
    def is_connected(self) -> bool:
        return not self._spoiled and time.monotonic() - self.used_at < MAX_IDLE and super().is_connected

    def connect(self) -> None:
        self._served = 0
        self._spoiled = False
        super().connect()
        self.used_at = time.monotonic()

    def request(self, method: str, url: str, body: Any = None, *args: Any, **kwargs: Any) -> None:
        exchange: Exchange = _of_this_thread.exchange
        if self.sock is None:
            self.connect()
        exchange.connected = True
        exchange.reused = self._served > 0
        exchange.sock = self.sock
        self._served += 1
        # urllib3 would send under the connect timeout: too short for a block of a photo on a slow line.
        self.timeout = exchange.read_timeout
        try:
            super().request(method, url, body, *args, **kwargs)
        except OSError:
            self._spoiled = True
            raise
        if body is None:
            exchange.sent = True

    def response_class(self, sock: Any, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        response = _Answer(sock, *args, **kwargs)
        paced = _PacedBytes(response.fp.detach(), sock, _of_this_thread.exchange, self)
        response.fp = io.BufferedReader(paced, BUFFER)
        return response

    def send(self, data: Any) -> None:
        try:
            super().send(data)
        except TimeoutError:
            # A server that answered and stopped reading, without closing: urllib3 reads the answer after a broken pipe.
            if self.sock is not None and _readable(self.sock):
                raise BrokenPipeError("the server answered before it had the whole photo") from None
            raise


class _ReportingTls(_Reporting, HTTPSConnection):
    def send(self, data: Any) -> None:
        try:
            super().send(data)
        except ssl.SSLEOFError:
            # TLS' own word for a broken pipe, after which urllib3 reads what the server had to say.
            raise BrokenPipeError("the server hung up before it had the whole photo") from None


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Reporting


class _PoolTls(HTTPSConnectionPool):
    ConnectionCls = _ReportingTls


POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _Pool, "https": _PoolTls}
