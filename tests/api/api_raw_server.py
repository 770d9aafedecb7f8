"""A server of bare sockets, for what no HTTP library would send."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Self

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable


class RawServer:
    """Gives each connection to ``script(connection, number)`` in a thread of its own; ``errors`` are what they raised."""

    def __init__(self, script: Callable[[Connection, int], None]) -> None:
        self._script = script
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/rmbg"
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(10)
        self._socket.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while not self.ended.is_set():
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(plain)
            thread = threading.Thread(target=self._serve, args=(plain, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        with Connection(plain, self) as connection, contextlib.suppress(OSError):
            self._script(connection, number)


class Connection:
    def __init__(self, plain: socket.socket, server: RawServer) -> None:
        self.socket = plain
        self.server = server
        self._file = plain.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.close()

    def read_head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self._file.readline()
            if not line:
                raise ConnectionError("closed")
            head += line
        return head

    def read_request(self) -> bytes:
        head = self.read_head()
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        left = length
        while left:
            block = self._file.read(min(left, 65536))
            if not block:
                raise ConnectionError("closed")
            left -= len(block)
        self.server.requests.append(head)
        return head

    def answer(self, body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> None:
        size = len(body) if length is None else length
        self.send(f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._file.close()
        self.socket.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def drip(self, data: bytes, pause: float, times: list[float]) -> None:
        """Send byte by byte until the client is gone; ``times`` gets the monotonic time of each."""
        for byte in data:
            self.send(bytes([byte]))
            times.append(time.monotonic())
            if self.server.ended.wait(pause):
                return


def picture(form: str = "JPEG", size: tuple[int, int] = (64, 48), color: object = "red", mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, color).save(out, form)
    return out.getvalue()


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition, and fail if it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
