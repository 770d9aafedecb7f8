"""The service that everybody in the race uploads to: as fast as one process can be, and nothing but a timer.

Run as ``python -m benchmarks.server --latency SECONDS [--tls CERT KEY]``; the first line on stdout is its port.

It reads each request to its end, waits for the latency by a timer, and answers with one ready-made picture. It writes
down when the first byte of each upload came, when the last one did, and when the answer went out; ``GET /_log`` gives
these, as times of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import json
import re
import signal
import ssl
import sys
import time

from PIL import Image

SIDE = 64
"""Width and height of the picture in every answer, in pixels."""
ROOM = 512 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)


def _picture() -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((SIDE, SIDE)).convert("RGB").save(out, "WEBP", quality=80)
    return out.getvalue()


def _answer(body: bytes, kind: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind.encode(), len(body), body)


class Service:
    """What all connections share: the latency, the picture, and the log."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.picture = _answer(_picture(), "image/webp")
        self.uploads: list[tuple[int, int, int]] = []
        """First byte, last byte and answer of each upload, in nanoseconds of the monotonic clock."""
        self.usage_calls = 0

    def usage(self) -> bytes:
        self.usage_calls += 1
        now = int(time.time())
        cycle = {
            "periodStartUnix": now - 86400,
            "periodEndUnix": now + 29 * 86400,
            "appUsage": 0,
            "apiUsage": len(self.uploads),
            "includedCredits": 10**9,
            "prepaidCredits": 0,
            "usedIncludedCredits": len(self.uploads),
            "remainingIncludedCredits": 10**9 - len(self.uploads),
            "stripeBillingSynced": True,
        }
        body = {"membership": "Benchmark", "credits": 10**9, "prepaidCredits": 0, "app_usage": 0, "api_usage": 0}
        return _answer(json.dumps({**body, "billingCycle": cycle}).encode(), "application/json")

    def log(self) -> bytes:
        return _answer(
            json.dumps({"uploads": self.uploads, "usage_calls": self.usage_calls}).encode(), "application/json"
        )


class Connection(asyncio.BufferedProtocol):
    """One connection: a head, a body that is counted and thrown away, an answer; and again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = memoryview(bytearray(ROOM))
        self._head = b""
        self._missing = 0
        self._first = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._missing:
            self._missing -= nbytes
            if self._missing <= 0:
                self._uploaded()
            return
        if not self._head:
            self._first = time.monotonic_ns()
        self._head += self._buffer[:nbytes]
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return
        head, rest = self._head[: end + 2], len(self._head) - end - 4
        self._head = b""
        if head.startswith(b"GET /_log"):
            self._transport.write(self._service.log())
        elif head.startswith(b"GET"):
            self._transport.write(self._service.usage())
        else:
            found = _LENGTH.search(head)
            self._missing = (int(found[1]) if found else 0) - rest
            if _CONTINUE.search(head):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self._missing <= 0:
                self._uploaded()

    def _uploaded(self) -> None:
        self._missing = 0
        last = time.monotonic_ns()
        if self._service.latency:
            asyncio.get_running_loop().call_later(self._service.latency, self._reply, self._first, last)
        else:
            self._reply(self._first, last)

    def _reply(self, first: int, last: int) -> None:
        self._service.uploads.append((first, last, time.monotonic_ns()))
        if not self._transport.is_closing():
            self._transport.write(self._service.picture)


async def serve(latency: float, tls: ssl.SSLContext | None) -> None:
    """Serve on a free port of the loopback until SIGTERM."""
    service = Service(latency)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, ssl=tls, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    options = parser.parse_args()
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
    gc.freeze()
    asyncio.run(serve(options.latency, context))


if __name__ == "__main__":
    main()
